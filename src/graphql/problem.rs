//! What went wrong, as GraphQL says it: a message and `extensions.code`.

use async_graphql::{ErrorExtensions, Response};
use tracing::error;

use crate::error::Error;

/// The code of what is wrong with the operation itself.
pub const INVALID: &str = "INVALID";

/// An [`Error`] on its way out. Inner causes stay in the log.
// No `Display`: async-graphql would take anything that has it for an error without a code.
#[derive(Clone, Debug)]
pub struct Problem {
    code: &'static str,
    message: String,
    /// The places in the journal that stand against the operation.
    seqs: Option<Vec<i64>>,
}

impl Problem {
    pub fn invalid(message: impl Into<String>) -> Problem {
        Error::Invalid(message.into()).into()
    }
}

impl From<Error> for Problem {
    fn from(problem: Error) -> Problem {
        let message = match &problem {
            Error::Internal(cause) => {
                error!("GraphQL could not answer: {cause:#}");
                problem.to_string()
            }
            Error::NotFound { .. }
            | Error::Invalid(_)
            | Error::IdempotencyConflict(_)
            | Error::KindContradicted { .. }
            | Error::CommandInFlight { .. }
            | Error::DeviceOffline { .. }
            | Error::KindAmbiguous { .. }
            | Error::PayloadInvalid(_)
            | Error::ArmingRequired(_)
            | Error::ConfirmationTimeout(_)
            | Error::Unavailable(_)
            | Error::Setup(_) => problem.to_string(),
        };
        let code = problem.code();
        let seqs = match problem {
            Error::KindContradicted { seqs, .. } => Some(seqs),
            _ => None,
        };
        Problem { code, message, seqs }
    }
}

impl From<Problem> for async_graphql::Error {
    fn from(problem: Problem) -> async_graphql::Error {
        async_graphql::Error::new(problem.message).extend_with(|_, extensions| {
            extensions.set("code", problem.code);
            if let Some(seqs) = problem.seqs {
                extensions.set("seqs", seqs);
            }
        })
    }
}

/// Gives a code to the errors that have none: what async-graphql finds wrong is wrong in the operation.
pub fn coded(mut response: Response) -> Response {
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", INVALID);
        }
    }
    response
}

/// Whether the operation was refused before any of it was executed.
pub fn refused(response: &Response) -> bool {
    !response.errors.is_empty()
        && response.data == async_graphql::Value::Null
        && response.errors.iter().all(|error| error.path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_not_shown() {
        let shown: async_graphql::Error =
            Problem::from(Error::internal(anyhow::anyhow!("disk /dev/sda1 is full"))).into();
        assert_eq!(shown.message, "internal error");
        assert_eq!(shown.extensions.unwrap().get("code"), Some(&"INTERNAL".into()));
    }
}
