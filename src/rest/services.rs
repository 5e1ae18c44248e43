//! Services: what they are, how that is known, and what they said last.

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    answers::{WhenAsking, WhenForgetting, WhenPinning},
    examples,
    paging::Nothing,
    problem::{Body, Path, Problem, Query},
    readings::Reading,
};
use crate::{
    address,
    app::App,
    model::{Evidence, Page, Seq, ServiceName, ServiceReading, ServiceState, ServiceTopic, Timestamp},
    registry::{self, ServiceFilter},
};

type ServiceSummaryPage = Page<Summary>;

/// A service as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ServiceSummary)]
pub struct Summary {
    /// The first level of its topics.
    pub firmware: String,
    /// The second level of its topics.
    pub name: String,
    /// How well its kind is known.
    pub state: ServiceState,
    /// Its kind, by name. Null while it may be several.
    pub kind: Option<&'static str>,
    /// The kinds that it may be by what it said, the most likely first. All of them when it said nothing.
    pub candidates: Vec<&'static str>,
    /// The messages that left fewer kinds each, oldest first.
    pub evidence: Vec<Evidence>,
    /// The place of what was last learnt of its kind.
    pub seq: Seq,
    /// When that was.
    pub at: Timestamp,
    /// When it was first heard of.
    pub first_at: Timestamp,
    /// When it last spoke. Null when it never did.
    pub last_message_at: Option<Timestamp>,
    /// How long ago that is, in milliseconds.
    pub last_message_age_ms: Option<i64>,
}

/// A service as it is now, and what it said last.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Service {
    #[serde(flatten)]
    pub summary: Summary,
    /// The latest reading of each of its topics, by suffix.
    pub latest: Vec<LatestReading>,
}

/// The latest reading of a topic.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LatestReading {
    #[serde(flatten)]
    pub reading: Reading,
    /// How long ago it arrived, in milliseconds.
    pub age_ms: i64,
}

/// Which services are meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Services {
    /// Only those of this firmware.
    #[param(value_type = String, required = false, example = "board1")]
    firmware: Option<String>,
    /// Only those of this name, in whatever firmware.
    #[param(value_type = String, required = false, example = "fan")]
    service: Option<String>,
    /// Only those of this kind.
    #[param(value_type = String, required = false, example = json!(examples::kind().name))]
    kind: Option<String>,
    /// Only those whose kind is known as well as this.
    #[param(value_type = ServiceState, required = false, example = "PINNED")]
    state: Option<ServiceState>,
}

/// What kind a service is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "kind": examples::kind().name }))]
pub struct Pin {
    /// Its name in the catalog.
    kind: String,
    /// Even if what the service said contradicts it, which then counts no more.
    #[serde(default)]
    #[schema(required = false, default = false)]
    force: bool,
}

/// A service in a path: one that there could be.
pub struct Named(pub ServiceName);

impl FromRequestParts<App> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Named, Problem> {
        let Path((firmware, name)) = Path::<(String, String)>::from_request_parts(parts, app).await?;
        Ok(Named(address::service(&firmware, &name, &app.config.pair)?))
    }
}

/// All services.
///
/// Every service that ever spoke, was spoken to or is pinned, by name. Ages are told as of now, so that the answer has
/// no tag.
#[utoipa::path(get, path = "/api/v1/services", tag = "services", operation_id = "list_services", params(Services),
    responses(
        (status = 200, description = "All that are meant", body = ServiceSummaryPage, example = json!(examples::services())),
        WhenAsking))]
pub async fn list(
    State(app): State<App>,
    Query(asked): Query<Services>,
) -> Result<Json<ServiceSummaryPage>, Problem> {
    let Services { firmware, service, kind, state } = asked;
    let filter = ServiceFilter { firmware, service, kind, state }.checked()?;
    let now = Timestamp::now();
    let items = app.registry.list(&filter).iter().map(|service| Summary::of(service, now)).collect();
    Ok(Json(Page { items, next: None }))
}

/// One service.
///
/// As it is now, with the latest reading of each of its topics. Ages are told as of now, so that the answer has no tag.
#[utoipa::path(get, path = "/api/v1/services/{firmware}/{service}", tag = "services", operation_id = "service",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "fan")),
    responses(
        (status = 200, description = "As it is now", body = Service, example = json!(examples::service())),
        WhenAsking))]
pub async fn one(
    State(app): State<App>,
    Named(name): Named,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Json<Service>, Problem> {
    Service::now(&app, &*app.registry.get(&name)?).await
}

/// Say what kind a service is.
///
/// Also ahead of its first message. Whatever it said is then told as the types of that kind. It is refused when what it
/// said contradicts it, unless it is forced. To say it again changes nothing.
#[utoipa::path(put, path = "/api/v1/services/{firmware}/{service}", tag = "services", operation_id = "pin_service",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "fan")),
    request_body(content = Pin, examples(
        ("pinned" = (summary = "If nothing speaks against it", value = json!({ "kind": examples::kind().name }))),
        ("forced" = (summary = "Whatever it said",
            value = json!({ "kind": examples::kind().name, "force": true }))))),
    responses(
        (status = 200, description = "As it is now", body = Service, example = json!(examples::service())),
        WhenPinning))]
pub async fn pin(
    State(app): State<App>,
    Named(name): Named,
    Query(Nothing {}): Query<Nothing>,
    Body(pin): Body<Pin>,
) -> Result<Json<Service>, Problem> {
    Service::now(&app, &*app.registry.pin(&name, &pin.kind, pin.force).await?).await
}

/// Forget what kind a service was said to be.
///
/// It is again what its messages say. What is not pinned stays as it is.
#[utoipa::path(delete, path = "/api/v1/services/{firmware}/{service}", tag = "services",
    operation_id = "unpin_service",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "fan")),
    responses(
        (status = 200, description = "As it is now", body = Service, example = json!(examples::inferred_service())),
        WhenForgetting))]
pub async fn unpin(
    State(app): State<App>,
    Named(name): Named,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Json<Service>, Problem> {
    Service::now(&app, &*app.registry.unpin(&name).await?).await
}

impl Summary {
    fn of(service: &registry::Service, now: Timestamp) -> Summary {
        let last_message_at = service.last_message_at();
        Summary {
            firmware: service.name.firmware().to_owned(),
            name: service.name.name().to_owned(),
            state: service.state,
            kind: service.kind.map(|kind| kind.name),
            candidates: service.likely.iter().map(|kind| kind.name).collect(),
            evidence: service.evidence.clone(),
            seq: service.seq,
            at: service.at,
            first_at: service.first_at,
            last_message_at,
            last_message_age_ms: last_message_at.map(|at| now.millis_since(at)),
        }
    }
}

impl Service {
    async fn now(app: &App, service: &registry::Service) -> Result<Json<Service>, Problem> {
        let mut readings = app.store.service_readings_at(&service.latest()).await?;
        let by_rank = |one: &ServiceReading, other: &ServiceReading| {
            ServiceTopic::rank(one.topic.suffix()).cmp(&ServiceTopic::rank(other.topic.suffix()))
        };
        readings.sort_by(by_rank);
        let now = Timestamp::now();
        let latest = readings.into_iter().map(|reading| {
            let age_ms = now.millis_since(reading.at);
            LatestReading { reading: Reading::of(app, reading), age_ms }
        });
        Ok(Json(Service { summary: Summary::of(service, now), latest: latest.collect() }))
    }
}
