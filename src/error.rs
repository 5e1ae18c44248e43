//! One error, in the gateway's own words. It knows no transport: surfaces translate it last.

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
