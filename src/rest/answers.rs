//! What each operation may answer instead, as the OpenAPI document tells it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::json;
use utoipa::{
    IntoResponses,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, example::ExampleBuilder},
};

use super::problem::{self, Problem};

/// An answer that is not what was asked for.
struct Answer {
    status: u16,
    code: &'static str,
    meaning: &'static str,
    /// Paths, and what may be said there.
    examples: &'static [(&'static str, &'static str)],
    /// Places in the journal that stand against the request, if there are such.
    seqs: Option<&'static [i64]>,
}

const DEVICE: &str = "/api/v1/devices/esp32";

const IDEMPOTENCY_CONFLICT: &str = "IDEMPOTENCY_CONFLICT";
const KIND_CONTRADICTED: &str = "KIND_CONTRADICTED";

/// All of them, whichever operation they come from.
const ANSWERS: [Answer; 11] = [
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
        seqs: None,
    },
    Answer {
        status: 403,
        code: "ORIGIN_NOT_ALLOWED",
        meaning: "a page of another origin asks; `--allow-origin` lets it",
        examples: &[(
            "/play/esp32",
            "pages of \"http://evil.example\" may not use the gateway; --allow-origin lets them",
        )],
        seqs: None,
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
        seqs: None,
    },
    Answer {
        status: 405,
        code: "METHOD_NOT_ALLOWED",
        meaning: "the path knows other methods; the header `Allow` says which",
        examples: &[(DEVICE, "DELETE cannot be done here; the header `Allow` says what can")],
        seqs: None,
    },
    Answer {
        status: 409,
        code: IDEMPOTENCY_CONFLICT,
        meaning: "the key belongs to another command, or to one that is on its way",
        examples: &[(
            "/api/v1/devices/esp32/commands",
            "the idempotency key \"3f1c0a52\" belongs to play for raspberry",
        )],
        seqs: None,
    },
    Answer {
        status: 409,
        code: KIND_CONTRADICTED,
        meaning: "what the service said, at the places in `seqs`, is not of that kind; `force` has it forgotten",
        examples: &[(
            "/api/v1/services/board1/fan",
            "board1/fan is no bme280: the readings at 4711 say otherwise; force it to have them forgotten",
        )],
        seqs: Some(&[4711]),
    },
    Answer {
        status: 413,
        code: "TOO_LARGE",
        meaning: "the body is larger than any that makes sense here",
        examples: &[("/api/v1/devices/esp32/commands", "length limit exceeded")],
        seqs: None,
    },
    Answer {
        status: 415,
        code: "UNSUPPORTED_MEDIA_TYPE",
        meaning: "the body is not said to be JSON",
        examples: &[(
            "/api/v1/devices/esp32/commands",
            "Expected request with `Content-Type: application/json`",
        )],
        seqs: None,
    },
    Answer {
        status: 421,
        code: "HOST_NOT_ALLOWED",
        meaning: "the gateway is called by an unknown name; `--allow-host` makes it known",
        examples: &[(
            DEVICE,
            "the gateway is not called \"plant.local\"; --allow-host makes a name known to it",
        )],
        seqs: None,
    },
    Answer {
        status: 500,
        code: "INTERNAL",
        meaning: "the log of the gateway says why",
        examples: &[(DEVICE, "internal error")],
        seqs: None,
    },
    Answer {
        status: 503,
        code: "UNAVAILABLE",
        meaning: "the gateway cannot do it now; the same request may work later",
        examples: &[("/api/v1/devices/esp32/commands", "the journal is not available")],
        seqs: None,
    },
];

/// What no operation answers: whoever asks in the way of one has its method.
const OF_NO_OPERATION: &str = "METHOD_NOT_ALLOWED";

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
        documented(&[421], None)
    }
}

impl IntoResponses for WhenListing {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 421, 500, 503], None)
    }
}

impl IntoResponses for WhenAsking {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 404, 421, 500, 503], None)
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
        documented(&[400, 403, 404, 413, 415, 421, 500, 503], Some(IDEMPOTENCY_CONFLICT))
    }
}

impl IntoResponses for WhenReplaying {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 413, 415, 421, 500, 503], None)
    }
}

impl IntoResponses for WhenPinning {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 413, 415, 421, 500, 503], Some(KIND_CONTRADICTED))
    }
}

impl IntoResponses for WhenForgetting {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[400, 403, 404, 421, 500, 503], None)
    }
}

impl IntoResponses for WhenKeptOut {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        documented(&[403, 404, 421], None)
    }
}

/// Those with these statuses, and of those with status 409 the one with this code.
fn documented(statuses: &[u16], conflict: Option<&str>) -> BTreeMap<String, RefOr<Response>> {
    let answers =
        ANSWERS.iter().filter(|answer| statuses.contains(&answer.status) || conflict == Some(answer.code));
    answers.map(|answer| (answer.status.to_string(), Ref::from_response_name(answer.name()).into())).collect()
}

impl Answer {
    /// `NotFound` of `NOT_FOUND`.
    fn name(&self) -> String {
        let words = self.code.split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase());
        words.collect()
    }

    fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("it is a status of HTTP");
        let examples = self.examples.iter().map(|(path, detail)| {
            let seqs = self.seqs.map(<[i64]>::to_vec);
            let problem = Problem { seqs, ..Problem::new(status, self.code, *detail).of(path) };
            ExampleBuilder::new().summary(*path).value(Some(json!(problem))).build()
        });
        let numbered = (1..).map(|n: u8| n.to_string()).zip(examples);
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .examples_from_iter(numbered)
            .build();
        let description = format!("{}: {}", self.code, self.meaning);
        ResponseBuilder::new().description(description).content(problem::MEDIA_TYPE, content).build()
    }
}

/// The answers that operations refer to, by name.
pub fn components() -> BTreeMap<String, RefOr<Response>> {
    let answers = ANSWERS.iter().filter(|answer| answer.code != OF_NO_OPERATION);
    let mut components: BTreeMap<_, _> =
        answers.map(|answer| (answer.name(), RefOr::T(answer.response()))).collect();
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
