//! What could not be understood.

use std::fmt;

use async_graphql::{ComplexObject, Enum, SimpleObject};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::{Seq, Timestamp};
/// Why a message could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RejectionReason {
    /// The topic is in one of the gateway's namespaces, and means nothing there.
    UnknownTopic,
    /// The payload is no UTF-8.
    #[serde(rename = "NOT_UTF8")]
    #[graphql(name = "NOT_UTF8")]
    NotUtf8,
    /// The payload is no JSON.
    NotJson,
    /// A field that must be there is not.
    MissingField,
    /// A value is of another type than it must be.
    TypeMismatch,
    /// A number is larger or smaller than it can be.
    OutOfRange,
    /// A number is infinite or none at all.
    NonFinite,
    /// The service is of a kind that does not say this.
    KindConflict,
    /// A command was to be retained, which would repeat it to every device that connects.
    RetainedCommand,
    /// The payload is larger than any that is kept.
    TooLarge,
    /// There are as many devices as the gateway keeps in mind.
    Denied,
}

/// A message that could not be understood, kept byte for byte.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
#[graphql(complex)]
pub struct Rejection {
    /// Its place in the journal.
    pub seq: Seq,
    /// When the message came.
    pub at: Timestamp,
    /// On which it came.
    pub topic: String,
    /// With which it was published: 0, 1 or 2.
    #[schema(minimum = 0, maximum = 2)]
    pub qos: u8,
    /// Whether it was to be kept for those who subscribe later.
    pub retain: bool,
    /// The MQTT client that published it.
    pub client_id: String,
    /// Why it could not be understood.
    pub reason: RejectionReason,
    /// JSON pointer of what was wrong; empty for the payload as a whole.
    pub pointer: String,
    /// What was expected and what came.
    pub detail: String,
    #[graphql(skip)]
    #[serde(flatten, serialize_with = "as_text_and_base64")]
    #[schema(value_type = PayloadForms)]
    pub payload: Bytes,
}

#[ComplexObject]
impl Rejection {
    /// The payload as text. Null when it is no UTF-8.
    async fn payload(
        &self,
        #[graphql(desc = "Only so many characters of its beginning. All of it when this is not given.")]
        characters: Option<u32>,
    ) -> Option<&str> {
        let text = self.text()?;
        let end = characters.and_then(|count| text.char_indices().nth(usize::try_from(count).ok()?));
        Some(end.map_or(text, |(end, _)| &text[..end]))
    }

    /// The payload byte for byte, in base 64.
    async fn payload_base64(&self) -> String {
        STANDARD.encode(&self.payload)
    }
}

/// The payload of a rejection: whatever it is, JSON can say it.
#[derive(Serialize, ToSchema)]
struct PayloadForms<'a> {
    /// The payload as text. Null when it is no UTF-8.
    payload: Option<&'a str>,
    /// The payload byte for byte.
    #[schema(content_encoding = "base64")]
    payload_base64: String,
}

fn as_text_and_base64<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let forms =
        PayloadForms { payload: std::str::from_utf8(payload).ok(), payload_base64: STANDARD.encode(payload) };
    forms.serialize(serializer)
}

/// How often messages on a topic were rejected for the same reason. Samples of them are kept as rejections.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
#[graphql(complex)]
pub struct RejectionCount {
    /// Empty for all topics beyond those that are counted one by one.
    pub topic: String,
    /// Why they could not be understood.
    pub reason: RejectionReason,
    /// How many there were.
    #[graphql(skip)]
    pub count: i64,
    /// When the last of them came.
    pub last_at: Timestamp,
}

#[ComplexObject]
impl RejectionCount {
    /// How many there were. An `Int` would end after some weeks of a client that sends nonsense.
    async fn count(&self) -> f64 {
        self.count as f64
    }
}

/// What became of a rejection that was replayed.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
pub struct Replay {
    /// The seq of the rejection.
    pub rejection: Seq,
    /// What became of it.
    pub outcome: ReplayOutcome,
    /// The seq of the reading that was made of it, now or before.
    pub reading: Option<Seq>,
    /// Why it still cannot be understood.
    pub reason: Option<RejectionReason>,
    /// What was expected and what came, and where.
    pub detail: Option<String>,
}

/// What became of a rejection that was replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplayOutcome {
    /// It was understood: it is a reading in the journal now, with the time at which it came.
    Recorded,
    /// It still cannot be understood.
    Rejected,
    /// It was recorded by an earlier replay.
    RecordedBefore,
    /// It is understood, and is no reading: who was there, and what was asked of whom, is past.
    Past,
}

impl Rejection {
    fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.payload).ok()
    }
}
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.detail),
            pointer => write!(f, "{pointer}: {}", self.detail),
        }
    }
}
