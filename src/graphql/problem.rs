//! What went wrong, as GraphQL says it: a message and `extensions.code`.

use async_graphql::{ErrorExtensions, InputType, Response, Value, to_value, value};
use tracing::error;

use crate::{error::Error, json::Flaw, model::CommandRecord};

/// The code of what is wrong with the operation itself.
pub const INVALID: &str = "INVALID";

/// An [`Error`] on its way out. Inner causes stay in the log.
// No `Display`: async-graphql would take anything that has it for an error without a code.
#[derive(Clone, Debug)]
pub struct Problem {
    code: &'static str,
    message: String,
    /// What stands beside the code.
    more: Vec<(&'static str, Value)>,
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
            | Error::Denied { .. }
            | Error::Unavailable(_)
            | Error::Setup(_) => problem.to_string(),
        };
        Problem { code: problem.code(), message, more: more(&problem) }
    }
}

/// What a program wants to know of a problem, by name.
fn more(problem: &Error) -> Vec<(&'static str, Value)> {
    match problem {
        Error::KindContradicted { seqs, .. } => vec![("seqs", seqs.clone().into())],
        Error::CommandInFlight { command: Some(id), .. } => vec![("command", id.0.into())],
        Error::KindAmbiguous { candidates, .. } => vec![("candidates", candidates.clone().into())],
        Error::PayloadInvalid(flaws) => vec![("flaws", flaws.iter().map(flaw).collect())],
        Error::ConfirmationTimeout(record) => {
            vec![("command", record.id.0.into()), ("record", as_in_rest(record))]
        }
        Error::Denied { why, record } => {
            let mut more = more(why);
            // Another command that stands against it is named already.
            if !more.iter().any(|(name, _)| *name == "command") {
                more.push(("command", record.id.0.into()));
            }
            more.push(("record", as_in_rest(record)));
            more
        }
        Error::CommandInFlight { command: None, .. }
        | Error::NotFound { .. }
        | Error::Invalid(_)
        | Error::IdempotencyConflict(_)
        | Error::DeviceOffline { .. }
        | Error::ArmingRequired(_)
        | Error::Unavailable(_)
        | Error::Setup(_)
        | Error::Internal(_) => Vec::new(),
    }
}

fn as_in_rest(record: &CommandRecord) -> Value {
    to_value(record).unwrap_or_default()
}

fn flaw(Flaw { reason, pointer, detail }: &Flaw) -> Value {
    value!({ "pointer": (pointer), "reason": (reason.to_value()), "detail": (detail) })
}

impl From<Problem> for async_graphql::Error {
    fn from(problem: Problem) -> async_graphql::Error {
        async_graphql::Error::new(problem.message).extend_with(|_, extensions| {
            extensions.set("code", problem.code);
            for (name, value) in problem.more {
                extensions.set(name, value);
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
    use crate::model::RejectionReason;
    use serde_json::json;

    #[test]
    fn causes_are_not_shown() {
        let shown: async_graphql::Error =
            Problem::from(Error::internal(anyhow::anyhow!("disk /dev/sda1 is full"))).into();
        assert_eq!(shown.message, "internal error");
        assert_eq!(shown.extensions.unwrap().get("code"), Some(&"INTERNAL".into()));
    }

    #[test]
    fn each_flaw_of_a_payload_is_told_with_its_place() {
        let (reason, pointer) = (RejectionReason::OutOfRange, "/duty".to_owned());
        let flaw = Flaw { reason, pointer, detail: "expected a number from 0 to 1, got 2".to_owned() };
        let shown: async_graphql::Error = Problem::from(Error::PayloadInvalid(vec![flaw])).into();
        let extensions = serde_json::to_value(shown.extensions.unwrap()).unwrap();
        let flaw = json!({ "pointer": "/duty", "reason": "OUT_OF_RANGE", "detail": "expected a number from 0 to 1, got 2" });
        assert_eq!(extensions, json!({ "code": "PAYLOAD_INVALID", "flaws": [flaw] }));
    }
}
