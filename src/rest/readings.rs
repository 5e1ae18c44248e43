//! What services say, typed by what is known of their kind.

use axum::extract::State;
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    answers::{WhenAsking, WhenSeen},
    etag::Tagged,
    examples,
    paging::{Limit, Moment},
    problem::{Problem, Query},
    services::Named,
};
use crate::{
    app::App,
    catalog::Payload,
    error::Error,
    model::{Cursor, Page, Part, Seq, ServiceReading, Timestamp},
};

type ServiceReadingPage = Page<Reading>;

/// What a service measured or reported.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ServiceReading)]
pub struct Reading {
    /// Its place in the journal.
    pub seq: Seq,
    /// When it arrived.
    pub at: Timestamp,
    /// The first level of its topic.
    pub firmware: String,
    /// The second level of its topic.
    pub service: String,
    /// What follows the service in its topic: empty, or beginning with a slash.
    pub suffix: String,
    /// What stands for the placeholder of the suffix. Null where there is none, or while `type` is null.
    pub index: Option<u16>,
    /// The kind of the service, by name. Null while it is not known.
    pub kind: Option<&'static str>,
    /// The name of the payload's type. Null while the kind is not known, and for what does not fit a kind that the
    /// service was pinned to by force.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// The rejection that it was made of, when its message was understood later. Such a reading is history: it is the
    /// latest only of a topic that has no other.
    pub replay_of: Option<Seq>,
    /// The payload byte for byte, as on the wire.
    #[serde(serialize_with = "as_on_the_wire")]
    #[schema(value_type = Payload)]
    pub payload: Bytes,
}

/// A part of what a service said.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Readings {
    /// Only what it said on the topic with this suffix: empty, or beginning with a slash.
    #[param(value_type = String, required = false, example = "/response")]
    suffix: Option<String>,
    /// A seq: what comes after it, oldest first. Or the `next` of a page: what follows on it. Without it a
    /// page begins with the newest.
    #[param(value_type = String, required = false, example = "4711")]
    after: Option<Cursor>,
    /// Only what happened at this moment or later: RFC 3339, with any offset.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-11-21T21:00:00+01:00")]
    from: Option<Moment>,
    /// Only what happened before this moment: RFC 3339, with any offset.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-11-21T20:30:00Z")]
    to: Option<Moment>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = u32, required = false, default = 100, minimum = 1, maximum = 1000, example = 100)]
    limit: Limit,
}

/// What a service said.
///
/// Newest first, or with `after` oldest first. That is the order of the journal; with `from` or `to` it is the
/// order of `at`, which differs where a clock was set or a rejection was replayed. A `next` goes on with the
/// moments that it was given for. A page ends early after 4 MiB of payloads. Types are those of the kind that the
/// service has now, also for what it said before that was known.
#[utoipa::path(get, path = "/api/v1/services/{firmware}/{service}/readings", tag = "services",
    operation_id = "service_readings",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "fan"),
        Readings),
    responses(
        (status = 200, description = "A page of readings", body = ServiceReadingPage,
            example = json!(examples::service_readings())),
        WhenSeen, WhenAsking))]
pub async fn list(
    State(app): State<App>,
    Named(name): Named,
    Query(asked): Query<Readings>,
) -> Result<Tagged<ServiceReadingPage>, Problem> {
    let service = app.registry.get(&name)?;
    let (suffix, part) = asked.parts()?;
    let page = app.store.service_readings(&[service.name.as_str()], suffix.as_deref(), part).await?;
    let items = page.items.into_iter().map(|reading| Reading::of(&app, reading)).collect();
    Ok(Tagged(Page { items, next: page.next }))
}

impl Readings {
    fn parts(self) -> Result<(Option<String>, Part), Error> {
        let at = |moment: Option<Moment>| moment.map(|Moment(at)| at);
        let part =
            Part::of(self.after, self.limit.0).between(at(self.from), at(self.to)).map_err(Error::Invalid)?;
        Ok((self.suffix, part))
    }
}

impl Reading {
    pub fn of(app: &App, reading: ServiceReading) -> Reading {
        let typed = app.registry.typed(&reading.topic, &reading.payload);
        let kind = typed.as_ref().map(|typed| typed.kind).or_else(|| app.registry.kind(&reading.topic));
        Reading {
            seq: reading.seq,
            at: reading.at,
            firmware: reading.topic.firmware().to_owned(),
            service: reading.topic.name().to_owned(),
            suffix: reading.topic.suffix().to_owned(),
            index: typed.as_ref().and_then(|typed| typed.index),
            kind: kind.map(|kind| kind.name),
            type_name: typed.map(|typed| typed.name()),
            replay_of: reading.replay_of,
            payload: reading.payload,
        }
    }
}

/// The payload of every reading was parsed as JSON when it came in.
fn as_on_the_wire<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let raw: &RawValue = serde_json::from_slice(payload).map_err(S::Error::custom)?;
    raw.serialize(serializer)
}
