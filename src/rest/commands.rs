//! Commands: sent to a device, and what became of them.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    Json,
    extract::{ConnectInfo, FromRequestParts, State},
    http::{HeaderName, HeaderValue, StatusCode, header::LOCATION, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    answers::{WhenAsking, WhenListing, WhenSeen, WhenSending},
    etag::Tagged,
    examples,
    paging::{Limit, Nothing},
    problem::{Body, Path, Problem, Query},
};
use crate::{
    app::App,
    catalog::{Kind, Payload, Topic},
    desk::{Ask, Origin, Wait},
    error::Error,
    model::{Action, CommandRecord, CommandState, Cursor, Page, Part, Seq, Surface},
    store::CommandFilter,
};

/// A header of HTTP APIs in general; see also [`Origin::idempotency_key`].
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// RFC 7240.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const RESPOND_ASYNC: &str = "respond-async";

type CommandRecordPage = Page<Record>;

/// What a device of the pair is asked to do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "action": "play" }))]
pub struct Command {
    /// Whether it plays, is silent, or follows its peer.
    action: Action,
}

/// A command and its life so far, typed by the kind of the service that it is for.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CommandRecord)]
pub struct Record {
    #[serde(flatten)]
    #[schema(inline)]
    record: CommandRecord,
    /// The kind of the service that it is for, by name. Null while it is not known, and when it is for a device.
    kind: Option<&'static str>,
    /// The name of the payload's type. Null when it is for a device, while the kind of the service is not known, and for
    /// what does not fit that kind.
    #[serde(rename = "type")]
    type_name: Option<String>,
    /// The payload as JSON. Null when `type` is.
    #[schema(value_type = Option<Payload>)]
    typed: Option<Box<RawValue>>,
}

/// A part of the command log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Commands {
    /// Only commands for this device. A name that nobody has ever commanded has none.
    #[param(value_type = String, required = false, example = "esp32")]
    device: Option<String>,
    /// Only commands for services of this firmware.
    #[param(value_type = String, required = false, example = "board1")]
    firmware: Option<String>,
    /// Only commands for services of this name.
    #[param(value_type = String, required = false, example = "fan")]
    service: Option<String>,
    /// Only commands on topics of services with this suffix: empty, or beginning with a slash.
    #[param(value_type = String, required = false, example = "/config")]
    suffix: Option<String>,
    /// Only commands that ask a device for this.
    #[param(value_type = Action, required = false, example = "play")]
    action: Option<Action>,
    /// Only commands whose newest state is this.
    #[param(value_type = CommandState, required = false, example = "EXPIRED")]
    state: Option<CommandState>,
    /// Only commands that came in here.
    #[param(value_type = Surface, required = false, example = "MQTT")]
    surface: Option<Surface>,
    /// The id of a command: those after it, oldest first. Or the `next` of a page: what follows on it. Without
    /// it a page begins with the newest.
    #[param(value_type = String, required = false, example = "4711")]
    after: Option<Cursor>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = u32, required = false, default = 100, minimum = 1, maximum = 1000, example = 100)]
    limit: Limit,
}

/// Send a command to a device.
///
/// It answers as soon as a subscriber has acknowledged the message, and after a second at the latest; with
/// `Prefer: respond-async` as soon as the log says that it is out. The device itself has no way to confirm what it does.
#[utoipa::path(post, path = "/api/v1/devices/{device}/commands", tag = "commands", operation_id = "send_command",
    params(
        ("device" = String, Path, description = "Its name", example = "esp32"),
        Manners,
    ),
    request_body(content = Command, example = json!({ "action": "play" })),
    responses(
        (status = 200, description = "It is out, and its acknowledgement was waited for",
            headers(("Location" = String, description = "Where the record stays, such as `/api/v1/commands/4711`")),
            body = Record, example = json!(examples::command())),
        (status = 202, description = "It is out, as it was preferred; the record goes on at its location",
            headers(
                ("Location" = String, description = "Where the record stays, such as `/api/v1/commands/4711`"),
                ("Preference-Applied" = String, description = "`respond-async`")),
            body = Record, example = json!(examples::command_under_way())),
        WhenSending))]
pub async fn send(
    State(app): State<App>,
    Path(device): Path<String>,
    Query(Nothing {}): Query<Nothing>,
    Caller(origin): Caller,
    patience: Patience,
    Body(command): Body<Command>,
) -> Result<Sent, Problem> {
    let sent = app.desk.send(Ask::play(&device, command.action), origin, patience.wait()).await;
    Sent::of(&app, sent, patience)
}

/// The command log.
///
/// Commands in their newest states, whoever sent them and by whichever way: newest first, or with `after`
/// oldest first.
#[utoipa::path(get, path = "/api/v1/commands", tag = "commands", operation_id = "list_commands", params(Commands),
    responses(
        (status = 200, description = "A page of commands", body = CommandRecordPage, example = json!(examples::commands())),
        WhenSeen, WhenListing))]
pub async fn list(
    State(app): State<App>,
    Query(asked): Query<Commands>,
) -> Result<Tagged<CommandRecordPage>, Problem> {
    let Commands { device, firmware, service, suffix, action, state, surface, after, limit } = asked;
    let filter = CommandFilter { device, firmware, service, suffix, action, state, surface };
    let page = app.store.commands(&filter, Part::of(after, limit.0)).await?;
    let items = page.items.into_iter().map(|record| Record::of(&app, record)).collect();
    Ok(Tagged(Page { items, next: page.next }))
}

/// One command.
///
/// In its newest state. A final state never changes; the delivery may still rise to `ACKNOWLEDGED`, and an answer that came
/// late is attached.
#[utoipa::path(get, path = "/api/v1/commands/{id}", tag = "commands", operation_id = "command",
    params(("id" = Seq, Path, description = "The `id` of its record", example = 4711)),
    responses(
        (status = 200, description = "Its record", body = Record, examples(
            ("confirmed" = (summary = "A service did it", value = json!(examples::confirmed()))),
            ("mismatch" = (summary = "A service reports otherwise", value = json!(examples::mismatch()))),
            ("device" = (summary = "For a device of the pair", value = json!(examples::command()))))),
        WhenSeen, WhenAsking))]
pub async fn one(
    State(app): State<App>,
    Path(Id(id)): Path<Id>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Tagged<Record>, Problem> {
    let record = app.store.command(id).await?;
    let record = record.ok_or_else(|| Error::NotFound { what: "command", name: id.to_string() })?;
    Ok(Tagged(Record::of(&app, record)))
}

impl Record {
    fn of(app: &App, record: CommandRecord) -> Record {
        let topic = record.target.service();
        let kind = topic.and_then(|topic| app.registry.kind(topic)).map(|kind| kind.name);
        let typed = topic.and_then(|topic| app.registry.typed(topic, record.payload.as_bytes()));
        let payload = typed.as_ref().and_then(|_| RawValue::from_string(record.payload.clone()).ok());
        Record { kind, type_name: typed.map(|typed| typed.name()), typed: payload, record }
    }

    pub fn id(&self) -> Seq {
        self.record.id
    }

    /// For a device.
    pub fn untyped(record: CommandRecord) -> Record {
        Record { record, kind: None, type_name: None, typed: None }
    }

    /// For a service that is of this kind for sure.
    pub fn of_kind(kind: &'static Kind, topic: &Topic, record: CommandRecord) -> Record {
        let typed = RawValue::from_string(record.payload.clone()).ok();
        Record { kind: Some(kind.name), type_name: Some((topic.shape.name)().into_owned()), typed, record }
    }
}

/// Where the record of a command stays.
pub fn location(id: Seq) -> String {
    format!("/api/v1/commands/{id}")
}

/// The id of a command, in a path.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Id(Seq);

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Id, String> {
        let id = text.parse().map_err(|_| format!("id: {text:?} is no number, as the id of a command is"))?;
        Ok(Id(Seq(id)))
    }
}

/// How a command is sent, beside what it is.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is read as `Caller` and `Patience`")]
pub struct Manners {
    /// The same key and command again: the same record, and nothing is sent.
    #[param(
        rename = "Idempotency-Key",
        nullable = false,
        min_length = 1,
        max_length = 255,
        example = "3f1c0a52"
    )]
    idempotency_key: Option<String>,
    /// `respond-async`: nobody waits for what becomes of it. Other preferences are ignored.
    #[param(rename = "Prefer", nullable = false, example = "respond-async")]
    prefer: Option<String>,
}

/// A command that is out.
pub struct Sent {
    record: Record,
    patience: Patience,
}

impl Sent {
    /// Whoever waited for an answer that did not come in time is told so, and whose command was denied where that stands.
    #[allow(clippy::result_large_err, reason = "a problem is as large as what it tells")]
    pub fn of(app: &App, sent: Result<CommandRecord, Error>, patience: Patience) -> Result<Sent, Problem> {
        match sent {
            Ok(record) if patience == Patience::Usual && record.state == CommandState::TimedOut => {
                let late = Problem::from(Error::ConfirmationTimeout(Box::new(record.clone())));
                Err(late.about(Record::of(app, record)))
            }
            Ok(record) => Ok(Sent { record: Record::of(app, record), patience }),
            Err(Error::Denied { why, record }) => Err(Problem::from(*why).about(Record::of(app, *record))),
            Err(why) => Err(why.into()),
        }
    }
}

impl IntoResponse for Sent {
    fn into_response(self) -> Response {
        let Sent { record, patience } = self;
        let location = [(LOCATION, location(record.id()))];
        match patience {
            Patience::Usual => (location, Json(record)).into_response(),
            Patience::RespondAsync => {
                let applied = [(PREFERENCE_APPLIED, HeaderValue::from_static(RESPOND_ASYNC))];
                (StatusCode::ACCEPTED, location, applied, Json(record)).into_response()
            }
        }
    }
}

/// How long a caller waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    Usual,
    RespondAsync,
}

impl Patience {
    pub fn wait(self) -> Wait {
        match self {
            Patience::Usual => Wait::Final,
            Patience::RespondAsync => Wait::Recorded,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Patience {
    type Rejection = Infallible;

    /// Preferences that cannot be read are ignored, as RFC 7240 wants it.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Patience, Infallible> {
        let preferred = parts.headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        let mut names = preferred
            .flat_map(|value| value.split(','))
            .map(|one| one.split([';', '=']).next().unwrap_or_default().trim());
        let respond_async = names.any(|name| name.eq_ignore_ascii_case(RESPOND_ASYNC));
        Ok(if respond_async { Patience::RespondAsync } else { Patience::Usual })
    }
}

/// Who asks, as the desk wants to know it.
pub struct Caller(pub Origin);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Problem> {
        let peer = ConnectInfo::<SocketAddr>::from_request_parts(parts, app).await;
        let ConnectInfo(peer) = peer.map_err(Error::internal)?;
        let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let key = keys.next().map(|key| key.to_str().map(str::to_owned));
        if keys.next().is_some() {
            return Err(Error::Invalid("Idempotency-Key: it stands there twice".to_owned()).into());
        }
        let key = key.transpose().map_err(|_| {
            Error::Invalid("Idempotency-Key: only visible ASCII characters make a key".to_owned())
        })?;
        Ok(Caller(origin(peer, key)))
    }
}

/// A caller over HTTP.
pub fn origin(peer: SocketAddr, idempotency_key: Option<String>) -> Origin {
    Origin { surface: Surface::Rest, address: Some(peer.to_string()), idempotency_key }
}
