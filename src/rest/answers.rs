//! What each operation may answer instead, as the OpenAPI document tells it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::json;
use utoipa::{
    IntoResponses,
    openapi::{
        ContentBuilder, Ref, RefOr, Response, ResponseBuilder,
        example::{Example, ExampleBuilder},
    },
};

use super::{
    examples,
    problem::{self, Concerned, Problem},
};
use crate::{
    json::Flaw,
    model::{RejectionReason, Seq},
};

/// An answer that is not what was asked for.
struct Answer {
    status: u16,
    code: &'static str,
    meaning: &'static str,
    /// Paths, and what may be said there.
    examples: &'static [(&'static str, &'static str)],
    /// Adds the members that are this problem's own.
    more: fn(Problem) -> Problem,
}

const DEVICE: &str = "/api/v1/devices/esp32";

const COMMANDS: &str = "/api/v1/services/board1/fan/commands/config";

const COMMAND_IN_FLIGHT: &str = "COMMAND_IN_FLIGHT";
const DEVICE_OFFLINE: &str = "DEVICE_OFFLINE";
const IDEMPOTENCY_CONFLICT: &str = "IDEMPOTENCY_CONFLICT";
const KIND_AMBIGUOUS: &str = "KIND_AMBIGUOUS";
const KIND_CONTRADICTED: &str = "KIND_CONTRADICTED";

/// What stands against a command to a service, all with one status.
const COMMAND_CONFLICTS: [&str; 4] =
    [COMMAND_IN_FLIGHT, DEVICE_OFFLINE, KIND_AMBIGUOUS, IDEMPOTENCY_CONFLICT];
/// The name of the answer that they are.
const COMMAND_CONFLICT: &str = "CommandConflict";

/// All of them, whichever operation they come from.
const ANSWERS: [Answer; 17] = [
    Answer {
        status: 400,
        code: "INVALID",
        meaning: "a parameter, a header or the body is not as described here",
        examples: &[
            ("/api/v1/devices/esp32/readings", "limit: a page has 1 to 1000 items, not 0"),
            ("/api/v1/devices/esp32/commands", "missing field `action` at line 1 column 2"),
            (
                "/api/v1/services",
                "state: unknown variant `pinned`, expected one of `UNKNOWN`, `AMBIGUOUS`, `INFERRED`, `PINNED`",
            ),
        ],
        more: none,
    },
    Answer {
        status: 403,
        code: "ORIGIN_NOT_ALLOWED",
        meaning: "a page of another origin asks; `--allow-origin` lets it",
        examples: &[(
            "/play/esp32",
            "pages of \"http://evil.example\" may not use the gateway; --allow-origin lets them",
        )],
        more: none,
    },
    Answer {
        status: 404,
        code: "NOT_FOUND",
        meaning: "nothing has this name",
        examples: &[
            ("/api/v1/devices/esp23", "there is no device \"esp23\""),
            ("/api/v1/commands/4712", "there is no command \"4712\""),
            ("/api/v1/services/board1/fun", "there is no service \"board1/fun\""),
        ],
        more: none,
    },
    Answer {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        meaning: "the path knows other methods; the header `Allow` says which",
        examples: &[(DEVICE, "DELETE cannot be done here; the header `Allow` says what can")],
        more: none,
    },
    Answer {
        status: 409,
        code: IDEMPOTENCY_CONFLICT,
        meaning: "the key belongs to another command, or to one that is on its way",
        examples: &[(
            "/api/v1/devices/esp32/commands",
            "the idempotency key \"3f1c0a52\" belongs to play for raspberry",
        )],
        more: none,
    },
    Answer {
        status: 409,
        code: COMMAND_IN_FLIGHT,
        meaning: "one command at a time: on the topic is one under way, `command`; wait for its end",
        examples: &[(COMMANDS, "board1/fan/config has a command under way, 4711; wait for its end")],
        more: |problem| Problem { command: Some(Concerned::Other(Seq(4711))), ..problem },
    },
    Answer {
        status: 409,
        code: DEVICE_OFFLINE,
        meaning: "the client that spoke last under the firmware is gone; `offline=allow` sends it nevertheless",
        examples: &[(
            COMMANDS,
            "board1 is offline: its client board1-7f is gone, and nothing is kept for it",
        )],
        more: none,
    },
    Answer {
        status: 409,
        code: KIND_AMBIGUOUS,
        meaning: "of which kind the service is, one of `candidates`, is not known; pin it",
        examples: &[(
            "/api/v1/services/board1/scale/commands/tare",
            "board1/scale may be loadcell, analog_in: pin it to a kind to command it",
        )],
        more: |problem| {
            let candidates = ["loadcell", "analog_in"].map(str::to_owned);
            Problem { candidates: Some(candidates.to_vec()), ..problem }
        },
    },
    Answer {
        status: 409,
        code: KIND_CONTRADICTED,
        meaning: "what the service said, at the places in `seqs`, is not of that kind; `force` has it forgotten",
        examples: &[(
            "/api/v1/services/board1/fan",
            "board1/fan is no bme280: the readings at 4711 say otherwise; force it to have them forgotten",
        )],
        more: |problem| Problem { seqs: Some(vec![4711]), ..problem },
    },
    Answer {
        status: 413,
        code: "TOO_LARGE",
        meaning: "the body is larger than any that makes sense here",
        examples: &[("/api/v1/devices/esp32/commands", "length limit exceeded")],
        more: none,
    },
    Answer {
        status: 415,
        code: "UNSUPPORTED_MEDIA_TYPE",
        meaning: "the body is not said to be JSON or, if it is a payload, plain text",
        examples: &[(
            "/api/v1/devices/esp32/commands",
            "Expected request with `Content-Type: application/json`",
        )],
        more: none,
    },
    Answer {
        status: 421,
        code: "HOST_NOT_ALLOWED",
        meaning: "the gateway is called by an unknown name; `--allow-host` makes it known",
        examples: &[(
            DEVICE,
            "the gateway is not called \"plant.local\"; --allow-host makes a name known to it",
        )],
        more: none,
    },
    Answer {
        status: 422,
        code: "PAYLOAD_INVALID",
        meaning: "the device would not understand the payload: `flaws` says where, and what was expected there",
        examples: &[(COMMANDS, "/duty: expected a number from 0 to 1, got 1.5")],
        more: |problem| {
            let flaw = Flaw {
                reason: RejectionReason::OutOfRange,
                pointer: "/duty".to_owned(),
                detail: "expected a number from 0 to 1, got 1.5".to_owned(),
            };
            Problem { flaws: Some(vec![flaw]), ..problem }
        },
    },
    Answer {
        status: 423,
        code: "ARMING_REQUIRED",
        meaning: "with `--arm-hazards` a command that can hurt is armed, and then executed once within ten seconds",
        examples: &[
            (COMMANDS, "a command to board1/fan/config can hurt: arm it, and execute it within ten seconds"),
            (
                "/api/v1/commands/execute",
                "nothing is armed under this token: it was executed, or its ten seconds are over; arm it anew",
            ),
        ],
        more: none,
    },
    Answer {
        status: 500,
        code: "INTERNAL",
        meaning: "the log of the gateway says why",
        examples: &[(DEVICE, "internal error")],
        more: none,
    },
    Answer {
        status: 503,
        code: "UNAVAILABLE",
        meaning: "the gateway cannot do it now; the same request may work later",
        examples: &[("/api/v1/devices/esp32/commands", "the journal is not available")],
        more: none,
    },
    Answer {
        status: 504,
        code: "CONFIRMATION_TIMEOUT",
        meaning: "it was published, and no answer came in time; `command` is its record, to which a late one is attached",
        examples: &[(
            COMMANDS,
            "a command to board1/fan/config was published and not answered within 5000 ms",
        )],
        more: |problem| {
            let record = Box::new(examples::timed_out());
            Problem { command: Some(Concerned::This(record)), ..problem }
        },
    },
];

fn none(problem: Problem) -> Problem {
    problem
}

const CONFLICT: u16 = 409;

/// Answers that no operation refers to: those that stand in [`COMMAND_CONFLICT`] alone, and that to a wrong method, which
/// whoever asks in the way of an operation does not get.
const NEVER_ALONE: [&str; 3] = ["METHOD_NOT_ALLOWED", COMMAND_IN_FLIGHT, DEVICE_OFFLINE];

/// Has seen this answer before.
const NOT_MODIFIED: (&str, &str) = ("304", "NotModified");

/// What may keep a question from any answer.
pub struct WhenLooking;

/// What a list may answer instead.
pub struct WhenListing;

/// What a question about one thing may answer instead.
pub struct WhenAsking;

/// What whoever has the answer already is told.
pub struct WhenSeen;

/// What a command may answer instead.
pub struct WhenSending;

/// What a command to a service may answer instead.
pub struct WhenTelling;

/// What may be answered instead to whoever arms one.
pub struct WhenArming;

/// What may be answered instead to whoever executes one.
pub struct WhenExecuting;

/// What a replay may answer instead.
pub struct WhenReplaying;

/// What may be answered instead to whoever says what a service is.
pub struct WhenPinning;

/// What may be answered instead to whoever takes that back.
pub struct WhenForgetting;

/// What may keep a command from the original routes, whose other answers are text.
pub struct WhenKeptOut;

impl IntoResponses for WhenLooking {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[421], &[])
    }
}

impl IntoResponses for WhenListing {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 421, 500, 503], &[])
    }
}

impl IntoResponses for WhenAsking {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 404, 421, 500, 503], &[])
    }
}

impl IntoResponses for WhenSeen {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let (status, name) = NOT_MODIFIED;
        BTreeMap::from([(status.to_owned(), Ref::from_response_name(name).into())])
    }
}

impl IntoResponses for WhenSending {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 413, 415, 421, 500, 503], &[IDEMPOTENCY_CONFLICT])
    }
}

impl IntoResponses for WhenTelling {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 413, 415, 421, 422, 423, 500, 503, 504], &COMMAND_CONFLICTS)
    }
}

impl IntoResponses for WhenArming {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 413, 415, 421, 422, 500, 503], &[KIND_AMBIGUOUS])
    }
}

impl IntoResponses for WhenExecuting {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 413, 415, 421, 422, 423, 500, 503, 504], &COMMAND_CONFLICTS)
    }
}

impl IntoResponses for WhenReplaying {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 413, 415, 421, 500, 503], &[])
    }
}

impl IntoResponses for WhenPinning {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 413, 415, 421, 500, 503], &[KIND_CONTRADICTED])
    }
}

impl IntoResponses for WhenForgetting {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 421, 500, 503], &[])
    }
}

impl IntoResponses for WhenKeptOut {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[403, 404, 421], &[])
    }
}

/// Those with these statuses, and of those with status 409 the ones with these codes.
fn documented(statuses: &[u16], conflicts: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let answers = ANSWERS.iter().filter(|answer| statuses.contains(&answer.status));
    let mut named: BTreeMap<u16, String> = answers.map(|answer| (answer.status, answer.name())).collect();
    match conflicts {
        [] => {}
        [code] => drop(named.insert(CONFLICT, name(code))),
        _ => drop(named.insert(CONFLICT, COMMAND_CONFLICT.to_owned())),
    }
    let referred = |(status, name): (u16, String)| (status.to_string(), Ref::from_response_name(name).into());
    named.into_iter().map(referred).collect()
}

/// `NotFound` of `NOT_FOUND`.
fn name(code: &str) -> String {
    code.split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect()
}

impl Answer {
    fn name(&self) -> String {
        name(self.code)
    }

    fn description(&self) -> String {
        format!("{}: {}", self.code, self.meaning)
    }

    fn examples(&self) -> impl Iterator<Item = Example> {
        let status = StatusCode::from_u16(self.status).expect("it is a status of HTTP");
        self.examples.iter().map(move |(path, detail)| {
            let problem = (self.more)(Problem::new(status, self.code, *detail).of(path));
            ExampleBuilder::new().summary(*path).value(Some(json!(problem))).build()
        })
    }
}

/// Several answers with one status are told a paragraph each.
fn response(answers: &[&Answer]) -> Response {
    let numbered = (1..).map(|n: u8| n.to_string()).zip(answers.iter().flat_map(|answer| answer.examples()));
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(numbered)
        .build();
    let described: Vec<String> = answers.iter().map(|answer| answer.description()).collect();
    ResponseBuilder::new().description(described.join("\n\n")).content(problem::MEDIA_TYPE, content).build()
}

/// The answers that operations refer to, by name.
pub fn components() -> BTreeMap<String, RefOr<Response>> {
    let answers = ANSWERS.iter().filter(|answer| !NEVER_ALONE.contains(&answer.code));
    let mut components: BTreeMap<_, _> =
        answers.map(|answer| (answer.name(), RefOr::T(response(&[answer])))).collect();
    let conflicts = ANSWERS.iter().filter(|answer| COMMAND_CONFLICTS.contains(&answer.code));
    let conflict = response(&conflicts.collect::<Vec<_>>());
    components.insert(COMMAND_CONFLICT.to_owned(), RefOr::T(conflict));
    let not_modified = ResponseBuilder::new()
        .description("It is what `If-None-Match` names")
        .header_ref("ETag", Ref::new("#/components/headers/ETag"))
        .build();
    components.insert(NOT_MODIFIED.1.to_owned(), RefOr::T(not_modified));
    components
}

/// All codes and what they mean, as a list in Markdown.
pub fn codes() -> String {
    let lines = ANSWERS
        .iter()
        .map(|Answer { status, code, meaning, .. }| format!("* `{code}` ({status}): {meaning}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn every_error_is_an_answer_that_is_described() {
        for error in [
            Error::NotFound { what: "device", name: String::new() },
            Error::Invalid(String::new()),
            Error::IdempotencyConflict(String::new()),
            Error::KindContradicted { service: String::new(), kind: "", seqs: Vec::new() },
            Error::CommandInFlight { topic: String::new(), command: None },
            Error::DeviceOffline { firmware: String::new(), client_id: String::new() },
            Error::KindAmbiguous { service: String::new(), candidates: Vec::new() },
            Error::PayloadInvalid(Vec::new()),
            Error::ArmingRequired(String::new()),
            Error::ConfirmationTimeout(Box::new(examples::record())),
            Error::Unavailable("the journal"),
            Error::Setup(String::new()),
            Error::internal(anyhow::anyhow!("why")),
        ] {
            let Problem { status, code, .. } = Problem::from(error);
            assert!(
                ANSWERS.iter().any(|answer| answer.status == status.as_u16() && answer.code == code),
                "{status} {code}"
            );
        }
    }
}
