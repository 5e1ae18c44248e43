//! Who is there.

use std::fmt;

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Seq, SessionId, Timestamp};
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

/// What is said on a presence topic, by the device or for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PresencePayload {
    Online,
    Offline,
}

impl PresencePayload {
    pub fn text(self) -> &'static str {
        match self {
            PresencePayload::Online => "online",
            PresencePayload::Offline => "offline",
        }
    }

    /// What a payload says. Case does not matter, nor does space around it.
    pub fn of_payload(payload: &str) -> Option<PresencePayload> {
        [PresencePayload::Online, PresencePayload::Offline]
            .into_iter()
            .find(|said| payload.trim().eq_ignore_ascii_case(said.text()))
    }
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
    /// It comes and goes: of its changes one a second is told, and the last of them always is.
    pub flapping: bool,
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
