//! Commands: sent to a device, and what became of them.

use std::net::SocketAddr;

use axum::{
    Json,
    extract::{ConnectInfo, FromRequestParts, State},
    http::{HeaderName, header::LOCATION, request::Parts},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    examples,
    problem::{Body, Path, Problem, WhenAsking, WhenSending},
};
use crate::{
    app::App,
    desk::{Origin, Wait},
    error::Error,
    model::{Action, CommandRecord, Seq, Surface},
};

/// A header of HTTP APIs in general; see also [`Origin::idempotency_key`].
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a device of the pair is asked to do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "action": "play" }))]
pub struct Command {
    action: Action,
}

/// Send a command to a device.
///
/// It answers as soon as a subscriber has acknowledged the message, and after a second at the latest. The
/// device itself has no way to confirm what it does.
#[utoipa::path(post, path = "/api/v1/devices/{device}/commands", tag = "commands", operation_id = "send_command",
    params(
        ("device" = String, Path, description = "Its name", example = "esp32"),
        ("Idempotency-Key" = Option<String>, Header, max_length = 255,
            description = "The same key and command again: the same record, and nothing is sent"),
    ),
    request_body = Command,
    responses(
        (status = 200, description = "It is out", headers(("Location" = String, description = "Where the record stays")),
            body = CommandRecord, example = json!(examples::command())),
        WhenSending))]
pub async fn send(
    State(app): State<App>,
    Path(device): Path<String>,
    Caller(origin): Caller,
    Body(command): Body<Command>,
) -> Result<([(HeaderName, String); 1], Json<CommandRecord>), Problem> {
    let record = app.desk.send(&device, command.action, origin, Wait::Acknowledged).await?;
    Ok(([(LOCATION, format!("/api/v1/commands/{}", record.id))], Json(record)))
}

/// A command in its newest state.
#[utoipa::path(get, path = "/api/v1/commands/{id}", tag = "commands", operation_id = "command",
    params(("id" = i64, Path, description = "The `id` of its record", example = 4711)),
    responses((status = 200, description = "Its record", body = CommandRecord, example = json!(examples::command())), WhenAsking))]
pub async fn one(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<CommandRecord>, Problem> {
    let record = app.store.command(Seq(id)).await?;
    Ok(Json(record.ok_or_else(|| Error::NotFound { what: "command", name: id.to_string() })?))
}

/// Who asks, as the desk wants to know it.
pub struct Caller(Origin);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Problem> {
        let peer = ConnectInfo::<SocketAddr>::from_request_parts(parts, app).await;
        let ConnectInfo(peer) = peer.map_err(Error::internal)?;
        let key = parts.headers.get(IDEMPOTENCY_KEY).map(|key| key.to_str().map(str::to_owned));
        let key = key.transpose().map_err(|_| {
            Error::Invalid("Idempotency-Key: only visible ASCII characters make a key".to_owned())
        })?;
        Ok(Caller(origin(peer, key)))
    }
}

/// A caller over HTTP.
pub fn origin(peer: SocketAddr, idempotency_key: Option<String>) -> Origin {
    Origin { surface: Surface::Rest, address: Some(peer.to_string()), idempotency_key }
}
