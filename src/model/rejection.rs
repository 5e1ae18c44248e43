//! What could not be understood.

use std::fmt;

use async_graphql::Enum;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Seq, Timestamp};
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
