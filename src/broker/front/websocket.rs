//! MQTT over WebSocket: a stream of bytes in binary frames, subprotocol `mqtt`.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, OnceLock},
};

use axum::extract::ws;
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt, future::ready};
use tokio::{net::TcpStream, time::timeout_at};
use tokio_tungstenite::tungstenite::{
    self,
    handshake::server::{ErrorResponse, Request, Response},
    http::{
        HeaderValue, StatusCode,
        header::{HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL},
    },
    protocol::WebSocketConfig,
};
use tokio_util::{
    io::{CopyToBytes, InspectReader, SinkWriter, StreamReader},
    sync::CancellationToken,
};
use tracing::debug;

use super::{
    Arrival, Front,
    connect::{self, MAX_CONNECT},
    session::MAX_PACKET,
};
use crate::origin;

/// The subprotocol that MQTT clients ask for.
pub const SUBPROTOCOL: &str = "mqtt";
/// In bytes, for each WebSocket. Messages are small; the library's own 128 KiB would be mostly empty.
const READ_BUFFER: usize = 16 * 1024;

/// Has a WebSocket give way that says more than a CONNECT can be long before there is one: its frames, which may be as long as
/// the longest packet, are gathered before a byte of them is seen.
#[derive(Clone, Default)]
pub struct Allowance(Arc<OnceLock<CancellationToken>>);

impl Allowance {
    /// Counts what is read of the socket, once the WebSocket waits.
    pub fn counter(&self) -> impl FnMut(&[u8]) + Send + use<> {
        let (Allowance(wait), mut left) = (self.clone(), MAX_CONNECT);
        move |read| {
            let Some(wait) = wait.get() else { return };
            left = left.saturating_sub(read.len());
            if left == 0 {
                // Nobody listens to that any more when the CONNECT is through.
                wait.cancel();
            }
        }
    }

    fn begins(&self, arrival: &Arrival) {
        // A connection becomes a WebSocket once.
        let _ = self.0.set(arrival.waiting.gives_way());
    }
}

/// Serves a connection to the WebSocket listener, its handshake included.
pub async fn serve_tcp(front: Arc<Front>, socket: TcpStream, arrival: Arrival) {
    let allowance = Allowance::default();
    allowance.begins(&arrival);
    let socket = InspectReader::new(socket, allowance.counter());
    let Arrival { peer, deadline, ref waiting, .. } = arrival;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_PACKET))
        .max_frame_size(Some(MAX_PACKET))
        .read_buffer_size(READ_BUFFER);
    let handshake = tokio_tungstenite::accept_hdr_async_with_config(socket, agree(&front), Some(config));
    let socket = match waiting.meanwhile(timeout_at(deadline, handshake)).await {
        None => return,
        Some(Ok(Ok(socket))) => socket,
        Some(Ok(Err(why))) => return debug!(%peer, "no WebSocket from {peer}: {why}"),
        Some(Err(_)) => return debug!(%peer, "no WebSocket from {peer} in time"),
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
    serve(front, stream, sink, arrival).await;
}

/// Serves a WebSocket of the HTTP server, whose socket is read through the counter of `allowance`.
pub async fn serve_axum(front: Arc<Front>, socket: ws::WebSocket, peer: SocketAddr, allowance: &Allowance) {
    let arrival = front.arrival(peer);
    allowance.begins(&arrival);
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
    tasks.track_future(serve(front, stream, sink, arrival)).await;
}

async fn serve(
    front: Arc<Front>,
    stream: impl Stream<Item = io::Result<Bytes>> + Send,
    sink: impl Sink<Bytes, Error = io::Error> + Send,
    arrival: Arrival,
) {
    let (stream, sink) = (pin!(stream), pin!(sink));
    let writer = SinkWriter::new(CopyToBytes::new(sink));
    connect::serve(front, StreamReader::new(stream), writer, arrival).await;
}

/// Agrees on the subprotocol, which MQTT demands, with pages that may use the gateway.
// The type of the refusal is the library's.
#[allow(clippy::result_large_err)]
fn agree(front: &Front) -> impl FnOnce(&Request, Response) -> Result<Response, ErrorResponse> + Unpin {
    let (hosts, origins) = (front.allow_host.clone(), front.allow_origin.clone());
    move |request, mut response| {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        let host = header(HOST);
        if let Some(host) = host.filter(|host| !origin::host_allowed(host, &hosts)) {
            let why = format!("the gateway is not called {host:?}; --allow-host makes a name known to it\n");
            return Err(refusal(StatusCode::MISDIRECTED_REQUEST, why));
        }
        if let Some(page) = header(ORIGIN).filter(|page| !origin::allowed(page, host, &origins)) {
            let why = format!("pages of {page:?} may not use the gateway; --allow-origin lets them\n");
            return Err(refusal(StatusCode::FORBIDDEN, why));
        }
        let asked = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
        let mut wanted =
            asked.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        if !wanted.any(|protocol| protocol.trim() == SUBPROTOCOL) {
            let why = format!("ask for the WebSocket subprotocol {SUBPROTOCOL:?}\n");
            return Err(refusal(StatusCode::BAD_REQUEST, why));
        }
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        Ok(response)
    }
}

fn refusal(status: StatusCode, why: String) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(why));
    *refusal.status_mut() = status;
    refusal
}
