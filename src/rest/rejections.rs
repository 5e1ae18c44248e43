//! Rejections: what could not be understood, and its replay.

use axum::{Json, extract::State};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    answers::{WhenListing, WhenReplaying, WhenSeen},
    etag::Tagged,
    examples,
    paging::{Limit, Nothing},
    problem::{Body, Problem, Query},
};
use crate::{
    app::App,
    error::Error,
    model::{Cursor, Page, Part, Rejection, RejectionCount, RejectionReason, Replay, Seq},
    store::RejectionFilter,
};

type RejectionPage = Page<Rejection>;
type RejectionCountPage = Page<RejectionCount>;
type ReplayPage = Page<Replay>;

/// Counters there can be: more than the gateway counts one by one.
const ALL: u32 = u32::MAX;

/// A part of the rejections.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Rejections {
    /// Only those that were rejected for this reason.
    #[param(inline = false, example = "TYPE_MISMATCH")]
    reason: Option<RejectionReason>,
    /// Only those that came on exactly this topic.
    #[param(value_type = String, required = false, example = "sensors/esp32")]
    topic: Option<String>,
    /// A seq: what comes after it, oldest first. Or the `next` of a page: what follows on it. Without it a
    /// page begins with the newest.
    #[param(value_type = String, required = false, example = "4711")]
    after: Option<Cursor>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = u32, required = false, default = 100, minimum = 1, maximum = 1000, example = 100)]
    limit: Limit,
}

/// Messages that could not be understood.
///
/// Newest first, or with `after` oldest first. Of each reason on each topic the first 20 are kept, byte for
/// byte; how many there were in all, the counts say.
#[utoipa::path(get, path = "/api/v1/rejections", tag = "rejections", operation_id = "list_rejections", params(Rejections),
    responses(
        (status = 200, description = "A page of rejections", body = RejectionPage, example = json!(examples::rejections())),
        WhenSeen, WhenListing))]
pub async fn list(
    State(app): State<App>,
    Query(asked): Query<Rejections>,
) -> Result<Tagged<RejectionPage>, Problem> {
    let filter = RejectionFilter { reason: asked.reason, topic: asked.topic };
    Ok(Tagged(app.store.rejections(&filter, Part::of(asked.after, asked.limit.0)).await?))
}

/// How often messages were rejected.
///
/// All counters, by topic and reason; the one that grew last comes first.
#[utoipa::path(get, path = "/api/v1/rejections/counts", tag = "rejections", operation_id = "count_rejections",
    responses(
        (status = 200, description = "All of them", body = RejectionCountPage, example = json!(examples::rejection_counts())),
        WhenSeen, WhenListing))]
pub async fn counts(
    State(app): State<App>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Tagged<RejectionCountPage>, Problem> {
    Ok(Tagged(Page { items: app.store.rejection_counts(ALL).await?, next: None }))
}

/// Replay rejections.
///
/// Looks at rejected messages anew, after the gateway has learnt what they mean. What is a reading now is
/// recorded with the time at which it came; it is history, so that it is the latest reading only of a device that
/// has no other, and changes nobody's presence. A rejection is recorded once, however often it is replayed.
#[utoipa::path(post, path = "/api/v1/rejections/replay", tag = "rejections", operation_id = "replay_rejections",
    request_body(content = ReplayRequest, examples(
        ("chosen" = (summary = "Those with these seqs", value = json!({ "rejections": [4711, 4712] }))),
        ("matching" = (summary = "Those of one reason on one topic",
            value = json!({ "reason": "TYPE_MISMATCH", "topic": "sensors/esp32" }))),
        ("all" = (summary = "All of them, in steps of a thousand", value = json!({ "after": 0, "limit": 1000 }))))),
    responses(
        (status = 200, description = "What became of each, in the order of the journal", body = ReplayPage,
            example = json!(examples::replays())),
        WhenReplaying))]
pub async fn replay(
    State(app): State<App>,
    Query(Nothing {}): Query<Nothing>,
    Body(request): Body<ReplayRequest>,
) -> Result<Json<ReplayPage>, Problem> {
    let page = match Which::try_from(request)? {
        Which::Chosen(rejections) => Page { items: app.replays.of(&rejections).await?, next: None },
        Which::Matching { filter, after, limit } => app.replays.matching(&filter, after, limit).await?,
    };
    Ok(Json(page))
}

/// Which rejections are replayed: those that are chosen one by one, or else those that match a filter of
/// `reason`, `topic` or `after`. One of the two must be given: `{}` is an error, and `{"after": 0}` means all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The seqs of rejections, in any order.
    #[schema(nullable = false, min_items = 1, max_items = 1000)]
    rejections: Option<Vec<Seq>>,
    /// Those that were rejected for this reason.
    #[schema(nullable = false)]
    reason: Option<RejectionReason>,
    /// Those that came on exactly this topic.
    #[schema(nullable = false)]
    topic: Option<String>,
    /// Those that come after this seq, oldest first; the `next` of a page may stand here. The beginning if
    /// it is not given.
    #[serde(default, deserialize_with = "number_or_text")]
    #[schema(schema_with = place)]
    after: Option<Seq>,
    /// How many of those that match at most.
    #[schema(value_type = u32, required = false, default = 100, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
}

/// Which rejections are replayed.
enum Which {
    Chosen(Vec<Seq>),
    Matching { filter: RejectionFilter, after: Seq, limit: u32 },
}

impl TryFrom<ReplayRequest> for Which {
    type Error = Error;

    fn try_from(request: ReplayRequest) -> Result<Which, Error> {
        let ReplayRequest { rejections, reason, topic, after, limit } = request;
        let filtered = reason.is_some() || topic.is_some() || after.is_some();
        let wrong = |why: &str| Err(Error::Invalid(why.to_owned()));
        match rejections {
            Some(_) if filtered || limit.is_some() => {
                wrong("rejections: give either these or a filter of reason, topic, after and limit")
            }
            Some(chosen) if chosen.is_empty() => wrong("rejections: the list is empty"),
            Some(chosen) => Ok(Which::Chosen(chosen)),
            None if !filtered => {
                wrong("give rejections, or a filter of reason, topic or after; {\"after\": 0} means all")
            }
            None => {
                let filter = RejectionFilter { reason, topic };
                let (after, limit) = (after.unwrap_or_default(), limit.unwrap_or_default().0);
                Ok(Which::Matching { filter, after, limit })
            }
        }
    }
}

/// A seq as a number, or as text in the way of `next`.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Seq>, D::Error> {
    let place = Option::<Value>::deserialize(deserializer)?;
    let seq = match &place {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    match (seq, place) {
        (Some(seq), _) if seq >= 0 => Ok(Some(Seq(seq))),
        (_, place) => Err(D::Error::custom(format!("{} is no seq", place.unwrap_or_default()))),
    }
}

fn place() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
    let said = "Those that come after this seq, oldest first; the `next` of a page may stand here. The beginning if \
        it is not given.";
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::String]))
        .description(Some(said))
        .minimum(Some(0))
        .build()
}
