//! What is said everywhere: readings, presence, commands, rejections, and their place in the journal.
//!
//! The same types go out by REST and GraphQL, so each is written once.

use std::{fmt, str::FromStr};

use async_graphql::{Enum, InputValueError, InputValueResult, Scalar, ScalarType, SimpleObject, Value};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{PartialSchema, ToSchema};

/// A place in the journal. Counts from 1, without holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub i64);

impl Seq {
    /// Before the first entry.
    pub const ZERO: Seq = Seq(0);

    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the journal: an integer that only grows, beyond 32 bits in time.
#[Scalar(name = "Seq")]
impl ScalarType for Seq {
    fn parse(value: Value) -> InputValueResult<Seq> {
        match &value {
            Value::Number(number) => match number.as_i64() {
                Some(seq) if seq >= 0 => Ok(Seq(seq)),
                _ => Err(InputValueError::custom(format!("{number} is no place in the journal"))),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

impl PartialSchema for Seq {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        i64::schema()
    }
}

impl ToSchema for Seq {}

/// A moment, in microseconds since 1970. Shown as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn now() -> Timestamp {
        Timestamp(Utc::now().timestamp_micros())
    }

    /// Milliseconds from `earlier` to here, never negative.
    pub fn millis_since(self, earlier: Timestamp) -> i64 {
        (self.0 - earlier.0).max(0) / 1000
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_micros(self.0).unwrap_or_default();
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-21T20:15:00.250Z`.
#[Scalar(name = "DateTime")]
impl ScalarType for Timestamp {
    fn parse(value: Value) -> InputValueResult<Timestamp> {
        let Value::String(text) = &value else {
            return Err(InputValueError::expected_type(value));
        };
        let time = DateTime::parse_from_rfc3339(text)
            .map_err(|why| InputValueError::custom(format!("{text:?} is no RFC 3339 time: {why}")))?;
        Ok(Timestamp(time.timestamp_micros()))
    }

    fn to_value(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for Timestamp {}

/// One connection of one client, from CONNECT to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<SessionId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(SessionId).map_err(serde::de::Error::custom)
    }
}

/// One connection of one client, as an opaque string.
#[Scalar(name = "SessionId")]
impl ScalarType for SessionId {
    fn parse(value: Value) -> InputValueResult<SessionId> {
        match &value {
            Value::String(text) => Ok(SessionId(text.parse()?)),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl PartialSchema for SessionId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl ToSchema for SessionId {}

/// What a device measured.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
#[graphql(complex)]
pub struct Reading {
    /// Its place in the journal.
    pub seq: Seq,
    /// When it arrived.
    pub at: Timestamp,
    /// Who measured.
    pub device: String,
    /// In `unit`, degrees Celsius unless the device says otherwise.
    pub temperature: f64,
    /// Relative humidity in percent.
    pub humidity: f64,
    /// The temperature from which the peer plays.
    pub threshold: f64,
    /// As the device says it, else whether `temperature` has reached `threshold`.
    pub over_threshold: bool,
    /// Of the temperatures, if the device says one.
    pub unit: Option<String>,
    /// The payload byte for byte, as on the wire.
    #[graphql(skip)]
    #[serde(serialize_with = "as_json")]
    #[schema(value_type = Object)]
    pub payload: Bytes,
}

/// The payload of every reading was parsed as JSON when it came in.
fn as_json<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let raw: &serde_json::value::RawValue =
        serde_json::from_slice(payload).map_err(serde::ser::Error::custom)?;
    raw.serialize(serializer)
}

#[async_graphql::ComplexObject]
impl Reading {
    /// The payload as on the wire, with the fields that the gateway does not know.
    async fn raw(&self) -> async_graphql::Result<async_graphql::Json<serde_json::Value>> {
        Ok(async_graphql::Json(serde_json::from_slice(&self.payload)?))
    }
}

/// What a device says in a reading. Fields that are not named here are kept in the payload alone.
#[derive(Clone, Debug, Deserialize)]
pub struct SensorPayload {
    pub temperature: f64,
    pub humidity: f64,
    pub threshold: f64,
    #[serde(default)]
    pub over_threshold: Option<bool>,
    #[serde(default)]
    pub unit: Option<String>,
}

impl SensorPayload {
    /// The reading that `payload`, from which this was parsed, says.
    pub fn typed(self, seq: Seq, at: Timestamp, device: String, payload: Bytes) -> Reading {
        Reading {
            seq,
            at,
            device,
            temperature: self.temperature,
            humidity: self.humidity,
            threshold: self.threshold,
            over_threshold: self.over_threshold.unwrap_or(self.temperature >= self.threshold),
            unit: self.unit,
            payload,
        }
    }
}

/// Whether a device is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// A live session speaks for it.
    Online,
    /// The session lives, but no valid reading has come for three of its periods.
    Stale,
    /// No session speaks for it.
    Offline,
    /// The gateway has started and the device has not spoken yet.
    #[default]
    Unknown,
}

/// How the gateway knows the presence of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PresenceReason {
    /// It said `online`.
    Announced,
    /// It sent a reading.
    Reading,
    /// It connected again with the same client id while its old session still lived.
    Takeover,
    /// The session that spoke for it has ended, and another one speaks on.
    Handover,
    /// Its session lives, but it is silent; or it was silent for so long that it counts as gone.
    Silence,
    /// The gateway started anew.
    Restart,
    /// Its connection closed without a DISCONNECT, and its will was published.
    Will,
    /// Nothing came for one and a half keepalives.
    Keepalive,
    /// Its connection was closed.
    Closed,
    /// Its connection was reset, or could not be written to.
    SocketError,
    /// Somebody published `offline` on its topic while its session lived.
    SelfReported,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Online => "ONLINE",
            Status::Stale => "STALE",
            Status::Offline => "OFFLINE",
            Status::Unknown => "UNKNOWN",
        })
    }
}

impl PresenceReason {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            PresenceReason::Announced => "it said so",
            PresenceReason::Reading => "it sent a reading",
            PresenceReason::Takeover => "it connected again while its old connection was still open",
            PresenceReason::Handover => "another of its sessions speaks on",
            PresenceReason::Silence => "it has sent no reading for a while",
            PresenceReason::Restart => "the gateway has started and it has not spoken yet",
            PresenceReason::Will => "its connection closed without a farewell, and its will was published",
            PresenceReason::Keepalive => "nothing came from it for one and a half keepalives",
            PresenceReason::Closed => "its connection was closed",
            PresenceReason::SocketError => "its connection broke",
            PresenceReason::SelfReported => "offline was published on its topic",
        }
    }
}

/// The presence of a device, and how it came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, SimpleObject, ToSchema)]
pub struct Presence {
    /// Whether the device is there.
    pub status: Status,
    /// When this status began.
    pub since: Option<Timestamp>,
    /// How the gateway knows. Absent when it does not.
    pub reason: Option<PresenceReason>,
    /// When the device was last heard.
    pub last_message_at: Option<Timestamp>,
    /// The MQTT client that speaks, or spoke last, for the device.
    pub client_id: Option<String>,
    /// The connection on which it speaks, or spoke last.
    pub session: Option<SessionId>,
}

/// A change in the presence of a device.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
pub struct PresenceChange {
    /// Its place in the journal.
    pub seq: Seq,
    /// When it happened.
    pub at: Timestamp,
    /// Whose presence changed.
    pub device: String,
    #[graphql(flatten)]
    #[serde(flatten)]
    pub presence: Presence,
}

/// A client connected to the broker, or left it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionChange {
    pub seq: Seq,
    pub at: Timestamp,
    pub session: SessionId,
    pub client_id: String,
    /// The client's address and port.
    pub address: String,
    /// Absent when the session begins.
    pub ended: Option<SessionEnd>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SessionEnd {
    /// The client said DISCONNECT.
    Disconnect,
    /// The client said DISCONNECT and asked for its will to be published.
    DisconnectWithWill,
    /// The client closed its connection without a word.
    Closed,
    SocketError,
    Keepalive,
    /// The same client id connected again.
    Takeover,
    /// The client broke the protocol, or was too slow to be served.
    Refused,
    /// The gateway stops.
    Shutdown,
}

/// What a command asks of a device of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Play, whatever the peer measures.
    Play,
    /// Be silent, whatever the peer measures.
    Stop,
    /// Follow the peer again.
    Resume,
}

impl Action {
    /// The payload that asks for it.
    pub fn payload(self) -> &'static str {
        match self {
            Action::Play => "true",
            Action::Stop => "false",
            Action::Resume => "",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Action::Play => "play",
            Action::Stop => "stop",
            Action::Resume => "resume",
        }
    }

    pub fn named(name: &str) -> Option<Action> {
        [Action::Play, Action::Stop, Action::Resume].into_iter().find(|action| action.name() == name)
    }

    /// What the firmware makes of a payload.
    pub fn of_payload(payload: &str) -> Action {
        let text = payload.trim().to_lowercase();
        match text.as_str() {
            "" => return Action::Resume,
            "true" | "1" | "on" | "play" => return Action::Play,
            "false" | "0" | "off" | "stop" => return Action::Stop,
            _ => {}
        }
        if let Ok(number) = text.parse::<f64>() {
            return if number > 0.0 { Action::Play } else { Action::Stop };
        }
        match serde_json::from_str::<serde_json::Value>(&text).ok().as_ref().and_then(|v| v.get("play")) {
            Some(serde_json::Value::Null) => Action::Resume,
            Some(serde_json::Value::String(inner)) => Action::of_payload(inner),
            Some(inner @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => {
                Action::of_payload(&inner.to_string())
            }
            _ => Action::Stop,
        }
    }
}

/// How far a command has come. A final state never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommandState {
    /// It is in the command log and not yet published.
    Accepted,
    /// Its message is out.
    Published,
    /// It was published; the device has no way to answer it. Final.
    Unconfirmable,
    /// It could not be published in time, or the gateway stopped before it was. Final.
    Expired,
}

/// What became of the command's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Delivery {
    /// No connected client was subscribed to the topic.
    NoSubscriber,
    /// It went to every subscriber; none has acknowledged it.
    Sent,
    /// A subscriber acknowledged the message.
    Acknowledged,
}

/// Where a command came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Surface {
    /// By REST, or by the routes of the original server.
    Rest,
    /// By GraphQL.
    #[graphql(name = "GRAPHQL")]
    #[serde(rename = "GRAPHQL")]
    GraphQl,
    /// Another MQTT client published it.
    Mqtt,
}

/// A command and its life so far.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
pub struct CommandRecord {
    /// The seq of its first entry in the journal.
    pub id: Seq,
    /// The seq of its newest state.
    pub seq: Seq,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When its newest state began.
    pub at: Timestamp,
    /// Whom it is for.
    pub device: String,
    /// What the device makes of the payload.
    pub action: Action,
    /// Where its message goes.
    pub topic: String,
    /// As on the wire.
    pub payload: String,
    /// How far it has come.
    pub state: CommandState,
    /// What became of its message. Absent before it is published.
    pub delivery: Option<Delivery>,
    /// Where it came in.
    pub surface: Surface,
    /// The MQTT client that published it, when it came by MQTT.
    pub client_id: Option<String>,
    /// The address that it came from.
    pub address: Option<String>,
    /// The key under which the same command again is this record.
    pub idempotency_key: Option<String>,
}

/// Why a message could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RejectionReason {
    UnknownTopic,
    #[serde(rename = "NOT_UTF8")]
    #[graphql(name = "NOT_UTF8")]
    NotUtf8,
    NotJson,
    MissingField,
    TypeMismatch,
    OutOfRange,
    NonFinite,
    KindConflict,
    RetainedCommand,
    TooLarge,
    Denied,
}

/// A message that could not be understood, kept byte for byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    pub seq: Seq,
    pub at: Timestamp,
    pub topic: String,
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    pub retain: bool,
    pub client_id: String,
    pub reason: RejectionReason,
    /// JSON pointer of what was wrong; empty for the payload as a whole.
    pub pointer: String,
    /// What was expected and what came.
    pub detail: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.detail),
            pointer => write!(f, "{pointer}: {}", self.detail),
        }
    }
}

/// Whatever happens, in the order of the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Reading(Reading),
    Presence(PresenceChange),
    Session(SessionChange),
    Command(CommandRecord),
    Rejection(Rejection),
}

impl Event {
    pub fn seq(&self) -> Seq {
        match self {
            Event::Reading(reading) => reading.seq,
            Event::Presence(change) => change.seq,
            Event::Session(change) => change.seq,
            Event::Command(record) => record.seq,
            Event::Rejection(rejection) => rejection.seq,
        }
    }

    pub fn at(&self) -> Timestamp {
        match self {
            Event::Reading(reading) => reading.at,
            Event::Presence(change) => change.at,
            Event::Session(change) => change.at,
            Event::Command(record) => record.at,
            Event::Rejection(rejection) => rejection.at,
        }
    }

    /// Gives the event its place in the journal. A command's first place is its id.
    pub fn place(&mut self, seq: Seq) {
        match self {
            Event::Reading(reading) => reading.seq = seq,
            Event::Presence(change) => change.seq = seq,
            Event::Session(change) => change.seq = seq,
            Event::Command(record) => {
                record.seq = seq;
                if record.id == Seq::ZERO {
                    record.id = seq;
                }
            }
            Event::Rejection(rejection) => rejection.seq = seq,
        }
    }
}

/// A message that the broker keeps for those who subscribe later.
#[derive(Clone, Debug, PartialEq)]
pub struct Retained {
    pub topic: String,
    /// Empty: the topic keeps nothing any more.
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    pub at: Timestamp,
}

/// Some of many. `next` is the `after` of the following page, and absent when there is nothing more yet.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

/// Where a page goes on: after a seq towards what is newer, or before one towards what is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    After(Seq),
    Before(Seq),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cursor::After(seq) => write!(f, "{seq}"),
            Cursor::Before(seq) => write!(f, "before-{seq}"),
        }
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Cursor, String> {
        let (cursor, seq): (fn(Seq) -> Cursor, _) = match text.strip_prefix("before-") {
            Some(seq) => (Cursor::Before, seq),
            None => (Cursor::After, text),
        };
        match seq.parse() {
            Ok(seq) if seq >= 0 => Ok(cursor(Seq(seq))),
            _ => Err(format!("{text:?} is neither a seq nor the next of a page")),
        }
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cursor, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for Cursor {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl ToSchema for Cursor {}

/// Who follows whom: by default the raspberry and the esp32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair(pub String, pub String);

impl Pair {
    pub fn contains(&self, device: &str) -> bool {
        self.peer(device).is_some()
    }

    pub fn peer(&self, device: &str) -> Option<&str> {
        match device {
            _ if device == self.0 => Some(&self.1),
            _ if device == self.1 => Some(&self.0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(payloads: &[&str], action: Action) {
        for payload in payloads {
            assert_eq!(Action::of_payload(payload), action, "{payload:?}");
        }
    }

    #[test]
    fn an_empty_command_resumes() {
        all(&["", " ", "\r\n", r#"{"play":""}"#, r#"{"play":null}"#], Action::Resume);
    }

    #[test]
    fn words_and_numbers_above_zero_play() {
        all(&["true", " TRUE ", "1", "on", "Play\n", "0.5", "2", "1e3"], Action::Play);
        all(&[r#"{"play":1}"#, r#"{"play":true}"#, r#" {"Play": "ON"} "#, r#"{"play":0.1}"#], Action::Play);
    }

    #[test]
    fn words_and_numbers_up_to_zero_stop() {
        all(&["false", "FALSE", "0", "off", " Stop", "0.0", "-0", "-3"], Action::Stop);
        all(&[r#"{"play":0}"#, r#"{"play":false}"#, r#"{"play":"off"}"#], Action::Stop);
    }

    #[test]
    fn any_other_text_stops() {
        all(
            &["banana", "{}", "[]", "null", "nan", r#"{"play":[1]}"#, r#"{"play":"#, "true true"],
            Action::Stop,
        );
    }

    #[test]
    fn what_an_action_sends_asks_for_it() {
        for action in [Action::Play, Action::Stop, Action::Resume] {
            assert_eq!(Action::of_payload(action.payload()), action);
            assert_eq!(Action::named(action.name()), Some(action));
        }
    }
}
