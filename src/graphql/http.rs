//! GraphQL over HTTP: POST for all operations, GET for queries, upgrade for subscriptions.
//!
//! Only `application/json` is taken, so that no page of another origin can command a device with a plain form.

use std::net::SocketAddr;

use async_graphql::{
    ParseRequestError, Request, Response as Answer, ServerError, parser::types::OperationType,
};
use async_graphql_axum::GraphQLRequest;
use axum::{
    Extension, RequestExt, Router,
    extract::{
        ConnectInfo, DefaultBodyLimit, FromRequest, Query, State, WebSocketUpgrade,
        rejection::QueryRejection, ws::rejection::WebSocketUpgradeRejection,
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    Schema,
    mutation::Peer,
    problem::{INVALID, refused},
    schema, websocket,
};
use crate::app::App;

/// One operation with its variables, in bytes: many times the longest that people write.
const MAX_REQUEST: usize = 256 * 1024;
/// A socket's share of memory while nothing is said; the default is 128 KiB.
const READ_BUFFER: usize = 4 * 1024;

const JSON: &str = "application/json";
const GRAPHQL_JSON: &str = "application/graphql-response+json";

#[derive(Clone)]
struct Door {
    schema: Schema,
    /// Sockets outlive the server that opened them.
    stopping: CancellationToken,
}

type From = Option<Extension<ConnectInfo<SocketAddr>>>;

pub fn router(app: App) -> Router {
    let stopping = app.stopping.clone();
    Router::new()
        .route("/graphql", get(look).post(operate))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(Door { schema: schema(app), stopping })
}

/// Queries, mutations.
async fn operate(State(door): State<Door>, from: From, request: axum::extract::Request) -> Response {
    let headers = request.headers().clone();
    if !is_json(&headers) {
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, &format!("the content type is {JSON}"));
    }
    match GraphQLRequest::<Unreadable>::from_request(request.with_limited_body(), &()).await {
        Ok(request) => answer(&headers, door.schema.execute(request.into_inner().data(peer(from))).await),
        Err(unreadable) => unreadable.into_response(),
    }
}

/// A body that is no request.
struct Unreadable(ParseRequestError);

impl std::convert::From<ParseRequestError> for Unreadable {
    fn from(why: ParseRequestError) -> Unreadable {
        Unreadable(why)
    }
}

impl IntoResponse for Unreadable {
    fn into_response(self) -> Response {
        // The limit reaches the library as a text.
        let too_large =
            matches!(&self.0, ParseRequestError::Io(why) if why.to_string().contains("length limit"));
        let (status, why) = match self.0 {
            _ if too_large => {
                (StatusCode::PAYLOAD_TOO_LARGE, format!("a request has at most {MAX_REQUEST} bytes"))
            }
            why => (StatusCode::BAD_REQUEST, format!("the body is no GraphQL request: {why}")),
        };
        refusal(status, &why)
    }
}

/// A socket, or a query.
async fn look(
    State(door): State<Door>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    from: From,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => return open(door, upgrade, peer(from)),
        Err(why) if headers.contains_key(header::UPGRADE) => return why.into_response(),
        Err(_) => {}
    }
    let request = match asked {
        Ok(Query(asked)) => asked.request(),
        Err(why) => return refusal(StatusCode::BAD_REQUEST, &why.body_text()),
    };
    let mut request = match request {
        Ok(request) => request,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, &why),
    };
    if !only_asks(&mut request) {
        let refusal = refusal(StatusCode::METHOD_NOT_ALLOWED, "GET is for queries: POST a mutation");
        return ([(header::ALLOW, "POST")], refusal).into_response();
    }
    answer(&headers, door.schema.execute(request.data(peer(from))).await)
}

fn open(door: Door, upgrade: WebSocketUpgrade, peer: Peer) -> Response {
    let upgrade = upgrade
        .protocols([websocket::PROTOCOL])
        .read_buffer_size(READ_BUFFER)
        .max_message_size(MAX_REQUEST)
        .max_frame_size(MAX_REQUEST);
    if upgrade.selected_protocol().is_none() {
        return refusal(StatusCode::BAD_REQUEST, &format!("the subprotocol is {}", websocket::PROTOCOL));
    }
    let Door { schema, stopping } = door;
    upgrade.on_upgrade(move |socket| async move {
        tokio::select! {
            () = websocket::serve(socket, schema, peer, stopping.clone()) => {}
            // A client that does not take what it is sent is not waited for.
            () = stopped(stopping) => {}
        }
    })
}

async fn stopped(stopping: CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(websocket::GOODBYE_WITHIN).await;
}

/// An operation in a query string.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    query: Option<String>,
    operation_name: Option<String>,
    /// As JSON.
    variables: Option<String>,
}

impl Asked {
    fn request(self) -> Result<Request, String> {
        let query = self.query.ok_or("GET takes ?query=, POST an operation, a WebSocket subscriptions")?;
        let mut request = Request::new(query);
        request.operation_name = self.operation_name;
        if let Some(variables) = self.variables {
            request.variables = serde_json::from_str(&variables)
                .map_err(|why| format!("the variables are no JSON: {why}"))?;
        }
        Ok(request)
    }
}

/// Whether the operation is a query, which changes nothing. What cannot be parsed changes nothing either.
fn only_asks(request: &mut Request) -> bool {
    let chosen = request.operation_name.clone();
    let Ok(document) = request.parsed_query() else { return true };
    let mut candidates = document
        .operations
        .iter()
        .filter(|(name, _)| chosen.is_none() || name.map(|name| name.as_str()) == chosen.as_deref());
    candidates.all(|(_, operation)| operation.node.ty == OperationType::Query)
}

fn peer(from: From) -> Peer {
    Peer(from.map(|Extension(ConnectInfo(address))| address.to_string()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split(';').next().is_some_and(|said| said.trim().eq_ignore_ascii_case(JSON))
}

fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let said = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    said.flat_map(|value| value.split(','))
        .filter_map(|media_range| media_range.split(';').next())
        .any(|accepted| accepted.trim().eq_ignore_ascii_case(media))
}

/// With the newer media type the status says whether the operation was executed; `application/json` is always 200.
fn answer(headers: &HeaderMap, answer: Answer) -> Response {
    if !accepts(headers, GRAPHQL_JSON) {
        return json(StatusCode::OK, JSON, &answer);
    }
    let status = if refused(&answer) { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    json(status, GRAPHQL_JSON, &answer)
}

fn refusal(status: StatusCode, why: &str) -> Response {
    let mut error = ServerError::new(why, None);
    error.extensions.get_or_insert_default().set("code", code(status));
    json(status, JSON, &Answer::from_errors(vec![error]))
}

/// As REST names it.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => "METHOD_NOT_ALLOWED",
        StatusCode::PAYLOAD_TOO_LARGE => "TOO_LARGE",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "UNSUPPORTED_MEDIA_TYPE",
        _ => INVALID,
    }
}

fn json(status: StatusCode, media: &'static str, answer: &Answer) -> Response {
    /// `data` is absent when nothing was executed.
    #[derive(Serialize)]
    struct Refusal<'a> {
        errors: &'a [ServerError],
    }
    let body = if refused(answer) {
        serde_json::to_vec(&Refusal { errors: &answer.errors })
    } else {
        serde_json::to_vec(answer)
    };
    let body = body.expect("what GraphQL answers is JSON");
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(media))], body).into_response()
}
