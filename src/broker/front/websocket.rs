//! MQTT over WebSocket: a stream of bytes in binary frames, subprotocol `mqtt`.

use std::{io, net::SocketAddr, pin::pin, sync::Arc};

use axum::extract::ws;
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt, future::ready};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::tungstenite::{
    self,
    handshake::server::{ErrorResponse, Request, Response},
    http::{HeaderValue, StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
    protocol::WebSocketConfig,
};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tracing::debug;

use super::{
    Front,
    connect::{self, CONNECT_DEADLINE},
    session::MAX_PACKET,
};

/// The subprotocol that MQTT clients ask for.
pub const SUBPROTOCOL: &str = "mqtt";

/// Serves a connection to the WebSocket listener, its handshake included.
pub async fn serve_tcp(front: Arc<Front>, socket: TcpStream, peer: SocketAddr) {
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_PACKET)).max_frame_size(Some(MAX_PACKET));
    let handshake = tokio_tungstenite::accept_hdr_async_with_config(socket, agree, Some(config));
    let socket = match timeout(CONNECT_DEADLINE, handshake).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(why)) => return debug!(%peer, "no WebSocket from {peer}: {why}"),
        Err(_) => return debug!(%peer, "no WebSocket from {peer} in time"),
    };
    let (sink, stream) = socket.split();
    let stream = stream.filter_map(|message| {
        ready(match message {
            Ok(tungstenite::Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(tungstenite::Message::Text(_)) => Some(Err(io::ErrorKind::InvalidData.into())),
            Ok(_) => None,
            Err(why) => Some(Err(io::Error::other(why))),
        })
    });
    let sink =
        sink.sink_map_err(io::Error::other).with(|bytes| ready(Ok(tungstenite::Message::Binary(bytes))));
    serve(front, stream, sink, peer).await;
}

/// Serves a WebSocket of the HTTP server.
pub async fn serve_axum(front: Arc<Front>, socket: ws::WebSocket, peer: SocketAddr) {
    let Ok(_permit) = front.connections.clone().try_acquire_owned() else {
        metrics::counter!("crosslink_mqtt_refused_total").increment(1);
        return;
    };
    let (sink, stream) = socket.split();
    let stream = stream.filter_map(|message| {
        ready(match message {
            Ok(ws::Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(ws::Message::Text(_)) => Some(Err(io::ErrorKind::InvalidData.into())),
            Ok(_) => None,
            Err(why) => Some(Err(io::Error::other(why))),
        })
    });
    let sink = sink.sink_map_err(io::Error::other).with(|bytes| ready(Ok(ws::Message::Binary(bytes))));
    let tasks = front.tasks.clone();
    tasks.track_future(serve(front, stream, sink, peer)).await;
}

async fn serve(
    front: Arc<Front>,
    stream: impl Stream<Item = io::Result<Bytes>> + Send,
    sink: impl Sink<Bytes, Error = io::Error> + Send,
    peer: SocketAddr,
) {
    let (stream, sink) = (pin!(stream), pin!(sink));
    let writer = SinkWriter::new(CopyToBytes::new(sink));
    connect::serve(front, StreamReader::new(stream), writer, peer).await;
}

/// Agrees on the subprotocol, which MQTT demands.
// The type of the refusal is the library's.
#[allow(clippy::result_large_err)]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let asked = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let wanted = asked.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if wanted.into_iter().any(|protocol| protocol.trim() == SUBPROTOCOL) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(Some("ask for the WebSocket subprotocol \"mqtt\"\n".into()));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Err(refusal)
}
