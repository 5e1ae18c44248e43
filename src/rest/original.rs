//! The routes that scripts have used from the beginning, byte for byte.

use std::net::SocketAddr;

use axum::{
    extract::{ConnectInfo, FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};

use tracing::warn;

use super::{answers::WhenKeptOut, commands::origin, problem::nothing_at};
use crate::{
    app::App,
    desk::{Ask, Wait},
    model::{Action, CommandRecord},
};

/// First levels that belong to others.
const RESERVED: [&str; 4] = ["api", "graphql", "mqtt", "assets"];

/// Play, stop or resume.
///
/// It answers as soon as the message is out. Programs that are written anew use
/// `/api/v1/devices/{device}/commands`, which tells more.
#[utoipa::path(post, path = "/{action}/{device}", tag = "original", operation_id = "send_original_command",
    params(
        ("action" = Action, Path, description = "What to do", example = "play"),
        ("device" = String, Path, description = "Its name", example = "esp32"),
    ),
    responses(
        (status = 200, description = "It is out", body = String, content_type = "text/plain", example = "Sent 'play' command to esp32"),
        (status = 400, description = "The device, or else the action, is unknown", body = String, content_type = "text/plain",
            examples(("device" = (value = json!("Unknown device"))), ("action" = (value = json!("Unknown action"))))),
        (status = 500, description = "It could not be sent", body = String, content_type = "text/plain",
            example = "Failed to send command to esp32"),
        WhenKeptOut))]
pub async fn send(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Words { action, device }: Words,
) -> Result<String, Refusal> {
    order(&app, peer, &action, &device).await?;
    Ok(format!("Sent '{action}' command to {device}"))
}

async fn order(app: &App, peer: SocketAddr, action: &str, device: &str) -> Result<CommandRecord, Refusal> {
    if !app.devices.knows(device) {
        return Err(Refusal::UnknownDevice);
    }
    let action = Action::named(action).ok_or(Refusal::UnknownAction)?;
    let sent = app.desk.send(Ask::play(device, action), origin(peer, None), Wait::Out).await;
    sent.map_err(|why| {
        warn!(device, "could not send '{}' to {device}: {why}", action.name());
        Refusal::Failed { device: device.to_owned() }
    })
}

/// The two levels of the path.
pub struct Words {
    action: String,
    device: String,
}

impl FromRequestParts<App> for Words {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Words, Response> {
        let words = Path::<(String, String)>::from_request_parts(parts, app).await;
        // What is no UTF-8 is no device's name.
        let Path((action, device)) = words.map_err(|_| Refusal::UnknownDevice.into_response())?;
        if RESERVED.contains(&action.as_str()) {
            return Err(nothing_at(parts.uri.path()).into_response());
        }
        Ok(Words { action, device })
    }
}

/// Why nothing was sent.
pub enum Refusal {
    UnknownDevice,
    UnknownAction,
    Failed { device: String },
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::UnknownDevice => (StatusCode::BAD_REQUEST, "Unknown device").into_response(),
            Refusal::UnknownAction => (StatusCode::BAD_REQUEST, "Unknown action").into_response(),
            Refusal::Failed { device } => {
                let text = format!("Failed to send command to {device}");
                (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_could_not_be_sent_is_said_byte_for_byte() {
        let response = Refusal::Failed { device: "esp32".to_owned() }.into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert_eq!(body, "Failed to send command to esp32");
    }
}
