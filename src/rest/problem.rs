//! What went wrong, as `application/problem+json` (RFC 9457).
//!
//! The `code` is the same as in GraphQL; `title` and `type` are spelt from it.

use std::{any::Any, fmt, marker::PhantomData};

use axum::{
    Json,
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection},
    },
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use tracing::error;
use utoipa::ToSchema;

use super::commands::{Record, location};
use crate::{error::Error, json::Flaw, model::Seq};

pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong (RFC 9457).
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(example = json!(Problem::from(Error::NotFound { what: "device", name: "esp23".into() }).of("/api/v1/devices/esp23")))]
pub struct Problem {
    /// Names the kind of problem, as `code` does.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// As in the status line.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16, minimum = 400, maximum = 599)]
    pub status: StatusCode,
    /// What is wrong with this request, for a person to read.
    pub detail: String,
    /// Stable, for programs. The same codes are used in GraphQL.
    pub code: &'static str,
    /// The path that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub instance: Option<String>,
    /// The places in the journal that stand against the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub seqs: Option<Vec<i64>>,
    /// The command that stands against the request, or that it has become.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub command: Option<Concerned>,
    /// The kinds that the service may be, the most likely first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub candidates: Option<Vec<String>>,
    /// What is wrong with the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub flaws: Option<Vec<Flaw>>,
    /// The command that it is about, whose record stays.
    #[serde(skip)]
    pub about: Option<Seq>,
}

/// The command that a problem is about: its id if it is another one than was asked for, else its record.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ConcernedCommand)]
pub enum Concerned {
    Other(Seq),
    This(Box<Record>),
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        let word = code.to_lowercase();
        let title = word.replace('_', " ");
        Problem {
            kind: format!("urn:crosslink:problem:{}", word.replace('_', "-")),
            title: title[..1].to_uppercase() + &title[1..],
            status,
            detail: detail.into(),
            code,
            ..Problem::default()
        }
    }

    fn invalid(status: StatusCode, rejection: &impl std::error::Error) -> Problem {
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "TOO_LARGE",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "UNSUPPORTED_MEDIA_TYPE",
            _ => "INVALID",
        };
        let status = if code == "INVALID" { StatusCode::BAD_REQUEST } else { status };
        Problem::new(status, code, innermost(rejection))
    }

    /// About a command, whose record this is. One that stands against it is named instead.
    pub fn about(self, record: Record) -> Problem {
        let about = Some(record.id());
        let command = self.command.or_else(|| Some(Concerned::This(Box::new(record))));
        Problem { command, about, ..self }
    }

    pub fn of(mut self, path: &str) -> Problem {
        self.instance = Some(path.to_owned());
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let problem = Problem::new(status(&error), error.code(), error.to_string());
        match error {
            Error::KindContradicted { seqs, .. } => Problem { seqs: Some(seqs), ..problem },
            Error::CommandInFlight { command, .. } => {
                Problem { command: command.map(Concerned::Other), ..problem }
            }
            Error::KindAmbiguous { candidates, .. } => Problem { candidates: Some(candidates), ..problem },
            Error::PayloadInvalid(flaws) => Problem { flaws: Some(flaws), ..problem },
            Error::Denied { why, .. } => Problem::from(*why),
            Error::Setup(why) => internal(&why),
            Error::Internal(why) => internal(&format!("{why:#}")),
            _ => problem,
        }
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        Error::Invalid(_) => StatusCode::BAD_REQUEST,
        Error::IdempotencyConflict(_)
        | Error::KindContradicted { .. }
        | Error::CommandInFlight { .. }
        | Error::DeviceOffline { .. }
        | Error::KindAmbiguous { .. } => StatusCode::CONFLICT,
        Error::PayloadInvalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Error::ArmingRequired(_) => StatusCode::LOCKED,
        Error::ConfirmationTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
        Error::Denied { why, .. } => status(why),
        Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::Setup(_) | Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Logs the cause, which a client is not shown.
fn internal(why: &str) -> Problem {
    error!("a request failed: {why}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "internal error")
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Problem {
        Problem::invalid(rejection.status(), &rejection)
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        Problem::invalid(rejection.status(), &rejection)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::invalid(rejection.status(), &rejection)
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        Problem::invalid(rejection.status(), &rejection)
    }
}

/// The cause alone says what is wrong and where; what wraps it says in whose words it was read.
fn innermost(rejection: &impl std::error::Error) -> String {
    let mut cause = rejection.source();
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| rejection.to_string(), ToString::to_string)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(location) = self.about.and_then(|id| location(id).parse().ok()) {
            response.headers_mut().insert(LOCATION, location);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Says in each problem which path was asked for.
pub async fn with_instance(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let (parts, body) = problem.of(&path).into_response().into_parts();
    response.headers_mut().remove(CONTENT_LENGTH);
    // Other layers have added headers to the answer: those stay.
    response.headers_mut().extend(parts.headers);
    *response.body_mut() = body;
    response
}

/// There is nothing under this path.
pub fn nothing_at(path: &str) -> Problem {
    Problem::from(Error::NotFound { what: "resource", name: path.to_owned() })
}

pub async fn no_route(request: Request) -> Problem {
    nothing_at(request.uri().path())
}

pub async fn wrong_method(request: Request) -> Problem {
    let detail = format!("{} cannot be done here; the header `Allow` says what can", request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
}

/// A handler panicked.
pub fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    internal(&format!("panic: {}", text.unwrap_or("without words"))).into_response()
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

/// Names in the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub struct Path<T>(pub T);

#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub struct Query<T>(pub T);

/// A JSON object as the body.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Problem> {
        let Json(Object(body)) = Json::from_request(request, state).await?;
        Ok(Body(body))
    }
}

/// What is read from an object alone: a list of the right values would be taken for the fields in their order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Object<T>, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }

        json.deserialize_map(Fields(PhantomData))
    }
}
