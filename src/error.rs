//! One error, in the gateway's own words. It knows no transport: surfaces translate it last.

use crate::{
    json::Flaw,
    model::{CommandRecord, Seq},
};

/// What can go wrong, as a user of the gateway would say it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no {what} {name:?}")]
    NotFound { what: &'static str, name: String },
    #[error("{0}")]
    Invalid(String),
    /// An idempotency key was used before with another command.
    #[error("{0}")]
    IdempotencyConflict(String),
    /// A service was to be pinned to a kind that its readings, at these places, are not of.
    #[error("{service} is no {kind}: the readings at {} say otherwise; force it to have them forgotten", places(.seqs))]
    KindContradicted { service: String, kind: &'static str, seqs: Vec<i64> },
    /// One command at a time: no answer says which of several it is for.
    #[error("{topic} has a command under way{}; wait for its end", named(.command))]
    CommandInFlight { topic: String, command: Option<Seq> },
    /// The client that spoke last under a firmware is gone.
    #[error("{firmware} is offline: its client {client_id} is gone, and nothing is kept for it")]
    DeviceOffline { firmware: String, client_id: String },
    /// What a command would have to look like is not known.
    #[error("{service} may be {}: pin it to a kind to command it", .candidates.join(", "))]
    KindAmbiguous { service: String, candidates: Vec<String> },
    /// A command that its device would not understand.
    #[error("{}", flaws(.0))]
    PayloadInvalid(Vec<Flaw>),
    /// A command that can hurt takes two steps.
    #[error("{0}")]
    ArmingRequired(String),
    /// The command stands as it is, in the command log.
    #[error("{} was published and not answered within {} ms", .0.target, .0.timeout_ms.unwrap_or_default())]
    ConfirmationTimeout(Box<CommandRecord>),
    /// A command that was refused for a reason of these, and stands so in the command log.
    #[error("{why}")]
    Denied { why: Box<Error>, record: Box<CommandRecord> },
    #[error("{0} is not available")]
    Unavailable(&'static str),
    /// Something the person who starts the gateway has to change; the message says how.
    #[error("{0}")]
    Setup(String),
    /// Logged in full, shown as "internal error".
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    /// Stable name, for clients: `code` in REST, `extensions.code` in GraphQL.
    pub fn code(&self) -> &'static str {
        match self {
            Error::NotFound { .. } => "NOT_FOUND",
            Error::Invalid(_) => "INVALID",
            Error::IdempotencyConflict(_) => "IDEMPOTENCY_CONFLICT",
            Error::KindContradicted { .. } => "KIND_CONTRADICTED",
            Error::CommandInFlight { .. } => "COMMAND_IN_FLIGHT",
            Error::DeviceOffline { .. } => "DEVICE_OFFLINE",
            Error::KindAmbiguous { .. } => "KIND_AMBIGUOUS",
            Error::PayloadInvalid(_) => "PAYLOAD_INVALID",
            Error::ArmingRequired(_) => "ARMING_REQUIRED",
            Error::ConfirmationTimeout(_) => "CONFIRMATION_TIMEOUT",
            Error::Denied { why, .. } => why.code(),
            Error::Unavailable(_) => "UNAVAILABLE",
            Error::Setup(_) | Error::Internal(_) => "INTERNAL",
        }
    }

    pub fn internal(source: impl Into<anyhow::Error>) -> Error {
        Error::Internal(source.into())
    }
}

fn places(seqs: &[i64]) -> String {
    let places: Vec<String> = seqs.iter().map(i64::to_string).collect();
    places.join(", ")
}

fn named(command: &Option<Seq>) -> String {
    command.map_or(String::new(), |id| format!(", {id}"))
}

fn flaws(flaws: &[Flaw]) -> String {
    let flaws: Vec<String> = flaws.iter().map(Flaw::to_string).collect();
    flaws.join("; ")
}
