//! Commands to services, with their payloads as on the wire: sent in one step, or in two.

use std::{borrow::Cow, collections::BTreeSet};

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use serde::Deserialize;
use tokio::time::Duration;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{Ref, RefOr, Schema, schema::AnyOfBuilder},
};

use super::{
    answers::{WhenArming, WhenExecuting, WhenTelling},
    commands::{Caller, Manners, Patience, Record, Sent},
    examples,
    paging::Nothing,
    problem::{Body, Path, Problem, Query},
};
use crate::{
    address,
    app::App,
    catalog::KINDS,
    desk::{Armed, Ask, LONGEST_TIMEOUT, SHORTEST_TIMEOUT, USUAL_TIMEOUT},
    error::Error,
    json,
};

/// On which terms a service is told something.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Terms {
    /// For how long the answer of the device is waited for, in milliseconds.
    #[serde(default)]
    #[param(value_type = u32, required = false, default = 5000, minimum = 100, maximum = 60000, example = 5000)]
    timeout_ms: Within,
    /// `allow`: even if the client that spoke last under the firmware is gone. Nothing is kept for it.
    #[param(inline, required = false, nullable = false, example = "allow")]
    offline: Option<Offline>,
}

/// What a service is told, as on the wire: the payload of one of the commands in the catalog.
pub struct CommandPayload;

/// What was armed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "token": examples::armed().token }))]
pub struct Execution {
    /// As whoever armed it was told.
    token: String,
}

/// Send a command to a service.
///
/// On the topic of the service itself: of most kinds, commands have a suffix. It answers when the device has, as is told of the
/// other route.
#[utoipa::path(post, path = "/api/v1/services/{firmware}/{service}/commands", tag = "commands",
    operation_id = "send_service_command",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "fan"),
        Terms, Manners),
    request_body(description = "The payload, byte for byte as on the wire", content(
        (CommandPayload = "application/json"), (String = "text/plain", example = "true"))),
    responses(
        (status = 200, description = "It has come to its end, which `state` tells",
            headers(("Location" = String, description = "Where the record stays, such as `/api/v1/commands/4711`")),
            body = Record, examples(
                ("confirmed" = (summary = "The device did it", value = json!(examples::confirmed()))),
                ("mismatch" = (summary = "The device reports otherwise", value = json!(examples::mismatch()))))),
        (status = 202, description = "It is out, as it was preferred; the record goes on at its location",
            headers(
                ("Location" = String, description = "Where the record stays, such as `/api/v1/commands/4711`"),
                ("Preference-Applied" = String, description = "`respond-async`")),
            body = Record, example = json!(examples::published())),
        WhenTelling))]
pub async fn send(
    State(app): State<App>,
    Caller(origin): Caller,
    patience: Patience,
    Told(ask): Told,
) -> Result<Sent, Problem> {
    Sent::of(&app, app.desk.send(ask, origin, patience.wait()).await, patience)
}

/// Send a command to a service on a suffix of its topic.
///
/// It answers when the device has: `CONFIRMED`, `REFUSED` with the device's words, or `MISMATCH` with what it reports otherwise.
/// A command that the device has no way to answer is `UNCONFIRMABLE` within a second. Without an answer in time it is 504, and the
/// record goes on: a late answer is attached to it. One command at a time is under way on a topic.
#[utoipa::path(post, path = "/api/v1/services/{firmware}/{service}/commands/{*suffix}", tag = "commands",
    operation_id = "send_service_command_on",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "fan"),
        ("suffix" = String, Path, description = "What follows the service in the topic, without its first slash",
            example = "config"),
        Terms, Manners),
    request_body(description = "The payload, byte for byte as on the wire", content(
        (CommandPayload = "application/json"), (String = "text/plain", example = "true"))),
    responses(
        (status = 200, description = "It has come to its end, which `state` tells",
            headers(("Location" = String, description = "Where the record stays, such as `/api/v1/commands/4711`")),
            body = Record, examples(
                ("confirmed" = (summary = "The device did it", value = json!(examples::confirmed()))),
                ("mismatch" = (summary = "The device reports otherwise", value = json!(examples::mismatch()))))),
        (status = 202, description = "It is out, as it was preferred; the record goes on at its location",
            headers(
                ("Location" = String, description = "Where the record stays, such as `/api/v1/commands/4711`"),
                ("Preference-Applied" = String, description = "`respond-async`")),
            body = Record, example = json!(examples::published())),
        WhenTelling))]
pub async fn send_on(
    app: State<App>,
    caller: Caller,
    patience: Patience,
    told: Told,
) -> Result<Sent, Problem> {
    send(app, caller, patience, told).await
}

/// Arm a command to a service.
///
/// On the topic of the service itself. Nothing is sent: `/api/v1/commands/execute` does it within ten seconds.
#[utoipa::path(post, path = "/api/v1/services/{firmware}/{service}/arm", tag = "commands",
    operation_id = "arm_service_command",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "fan"),
        Terms),
    request_body(description = "The payload, byte for byte as on the wire", content(
        (CommandPayload = "application/json"), (String = "text/plain", example = "true"))),
    responses(
        (status = 201, description = "It is armed", body = Armed, example = json!(examples::armed())),
        WhenArming))]
pub async fn arm(State(app): State<App>, Told(ask): Told) -> Result<(StatusCode, Json<Armed>), Problem> {
    Ok((StatusCode::CREATED, Json(app.desk.arm(ask)?)))
}

/// Arm a command to a service on a suffix of its topic.
///
/// With `--arm-hazards` a command that can hurt takes two steps: this one makes a token for exactly this payload, which is valid for
/// ten seconds, and `/api/v1/commands/execute` sends it. What can hurt, the catalog says.
#[utoipa::path(post, path = "/api/v1/services/{firmware}/{service}/arm/{*suffix}", tag = "commands",
    operation_id = "arm_service_command_on",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "fan"),
        ("suffix" = String, Path, description = "What follows the service in the topic, without its first slash",
            example = "config"),
        Terms),
    request_body(description = "The payload, byte for byte as on the wire", content(
        (CommandPayload = "application/json"), (String = "text/plain", example = "true"))),
    responses(
        (status = 201, description = "It is armed", body = Armed, example = json!(examples::armed())),
        WhenArming))]
pub async fn arm_on(app: State<App>, told: Told) -> Result<(StatusCode, Json<Armed>), Problem> {
    arm(app, told).await
}

/// Send what was armed.
///
/// Once, and within ten seconds. It answers as the command's own route does.
#[utoipa::path(post, path = "/api/v1/commands/execute", tag = "commands", operation_id = "execute_command", params(Manners),
    request_body(content = Execution, example = json!({ "token": examples::armed().token })),
    responses(
        (status = 200, description = "It has come to its end, which `state` tells",
            headers(("Location" = String, description = "Where the record stays, such as `/api/v1/commands/4711`")),
            body = Record, examples(
                ("confirmed" = (summary = "The device did it", value = json!(examples::confirmed()))),
                ("mismatch" = (summary = "The device reports otherwise", value = json!(examples::mismatch()))))),
        (status = 202, description = "It is out, as it was preferred; the record goes on at its location",
            headers(
                ("Location" = String, description = "Where the record stays, such as `/api/v1/commands/4711`"),
                ("Preference-Applied" = String, description = "`respond-async`")),
            body = Record, example = json!(examples::published())),
        WhenExecuting))]
pub async fn execute(
    State(app): State<App>,
    Query(Nothing {}): Query<Nothing>,
    Caller(origin): Caller,
    patience: Patience,
    Body(Execution { token }): Body<Execution>,
) -> Result<Sent, Problem> {
    Sent::of(&app, app.desk.execute(&token, origin, patience.wait()).await, patience)
}

/// What a service is to be told: by the path, the query and the body.
pub struct Told(Ask);

/// A topic in a path. A suffix stands there without its first slash.
#[derive(Deserialize)]
struct Place {
    firmware: String,
    service: String,
    suffix: Option<String>,
}

impl FromRequest<App> for Told {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Told, Problem> {
        let (mut parts, body) = request.into_parts();
        let Path(Place { firmware, service, suffix }) = Path::from_request_parts(&mut parts, app).await?;
        let service = address::service(&firmware, &service, &app.config.pair)?;
        let suffix = suffix.map_or_else(String::new, |suffix| format!("/{suffix}"));
        let Query(terms) = Query::<Terms>::from_request_parts(&mut parts, app).await?;
        if !is_text(&parts.headers) {
            let detail = "expected request with `Content-Type: application/json` or `text/plain`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail));
        }
        let payload = Bytes::from_request(Request::from_parts(parts, body), app).await?;
        let payload = json::text(&payload).map_err(|flaw| Error::PayloadInvalid(vec![flaw]))?;
        Ok(Told(Ask {
            timeout: terms.timeout_ms.0,
            offline: terms.offline.is_some(),
            ..Ask::tell(service.topic(&suffix), payload.to_owned())
        }))
    }
}

/// Whether the body is said to be JSON, or plain text.
fn is_text(headers: &HeaderMap) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
    let essence = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "text/plain"
        || essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// For how long an answer is waited for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
struct Within(Duration);

impl Default for Within {
    fn default() -> Within {
        Within(USUAL_TIMEOUT)
    }
}

impl TryFrom<u32> for Within {
    type Error = String;

    fn try_from(millis: u32) -> Result<Within, String> {
        let within = Duration::from_millis(millis.into());
        match (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&within) {
            true => Ok(Within(within)),
            false => {
                let (shortest, longest) = (SHORTEST_TIMEOUT.as_millis(), LONGEST_TIMEOUT.as_millis());
                Err(format!("an answer is waited for from {shortest} to {longest} ms, not {millis}"))
            }
        }
    }
}

/// What is to be done when nobody is there.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Offline {
    Allow,
}

impl PartialSchema for CommandPayload {
    fn schema() -> RefOr<Schema> {
        let topics = KINDS.iter().flat_map(|kind| kind.commands());
        let names: BTreeSet<Cow<str>> = topics.map(|topic| (topic.shape.name)()).collect();
        let said = "What a service is told, as on the wire: which of these it is, the kind of the service and the suffix say.";
        names
            .into_iter()
            .fold(AnyOfBuilder::new(), |all, name| all.item(Ref::from_schema_name(name)))
            .description(Some(said))
            .into()
    }
}

impl ToSchema for CommandPayload {}
