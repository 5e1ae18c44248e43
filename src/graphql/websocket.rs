//! Operations over one WebSocket, by the protocol `graphql-transport-ws`.
//!
//! Streams are pulled: the next item is made when the one before it has left. A client that does not read
//! therefore holds one item and its place in the journal, and is caught up when it reads again. All operations
//! of a socket have their turn, however much one of them has to say.

use async_graphql::{Request, Response, ServerError, http::ClientMessage};
use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, WebSocket},
};
use futures_util::{
    FutureExt, SinkExt, StreamExt,
    stream::{self, BoxStream, SplitSink},
};
use serde::Serialize;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_stream::StreamMap;
use tokio_util::sync::CancellationToken;

use super::{
    Schema,
    mutation::Peer,
    problem::{coded, refused},
};

pub const PROTOCOL: &str = "graphql-transport-ws";

/// A client that has not introduced itself by then is no client of ours.
const INIT_WITHIN: Duration = Duration::from_secs(10);
/// Keeps middleboxes from forgetting the connection, and finds out who is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A slow client has much to read before it comes to a ping: more than a minute for it.
const MAX_UNANSWERED: u32 = 4;
/// A client that takes not even one message in this time is gone, or will come back with `after`.
const SENT_WITHIN: Duration = Duration::from_secs(60);
/// A stop of the gateway does not wait longer for a client.
pub const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
/// Operations at a time on one socket: a page has some ten.
const MAX_OPERATIONS: usize = 64;

/// Serves a socket until one side closes it.
pub async fn serve(socket: WebSocket, schema: Schema, peer: Peer, stopping: CancellationToken) {
    let (mut sink, mut frames) = socket.split();
    let mut client = Client { schema, peer, introduced: false, operations: StreamMap::new() };
    let introduced_by = Instant::now() + INIT_WITHIN;
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unanswered = 0;
    loop {
        let step = tokio::select! {
            frame = frames.next() => {
                unanswered = 0;
                match frame {
                    Some(Ok(frame)) => client.hear(frame),
                    Some(Err(_)) | None => return,
                }
            }
            Some((id, said)) = client.operations.next() => Step::Say(client.tell(id, said)),
            _ = pings.tick() => {
                if unanswered == MAX_UNANSWERED {
                    return;
                }
                unanswered += 1;
                Step::Say(Message::Ping(Bytes::new()))
            }
            () = sleep_until(introduced_by), if !client.introduced => {
                Step::Close(4408, "Connection initialisation timeout".to_owned())
            }
            () = stopping.cancelled() => Step::Close(1001, "the gateway stops".to_owned()),
        };
        let frame = match step {
            Step::Listen => continue,
            Step::Say(frame) => frame,
            Step::Close(code, reason) => return close(&mut sink, code, reason).await,
        };
        if !matches!(timeout(SENT_WITHIN, sink.send(frame)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn close(sink: &mut SplitSink<WebSocket, Message>, code: u16, reason: String) {
    let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    // The client may be gone already.
    let _ = timeout(GOODBYE_WITHIN, sink.send(frame)).await;
}

/// What follows from what was heard.
enum Step {
    Listen,
    Say(Message),
    /// With a code of the protocol.
    Close(u16, String),
}

/// The messages of the protocol.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ServerMessage {
    ConnectionAck,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<serde_json::Value>,
    },
    Next {
        id: String,
        payload: Response,
    },
    /// The operation was refused.
    Error {
        id: String,
        payload: Vec<ServerError>,
    },
    Complete {
        id: String,
    },
}

impl ServerMessage {
    fn frame(&self) -> Message {
        Message::Text(serde_json::to_string(self).expect("what GraphQL answers is JSON").into())
    }
}

struct Client {
    schema: Schema,
    peer: Peer,
    introduced: bool,
    /// What they have to say; at last, that they are complete.
    operations: StreamMap<String, BoxStream<'static, Option<Response>>>,
}

impl Client {
    fn hear(&mut self, frame: Message) -> Step {
        let text = match frame {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => return Step::Listen,
            Message::Close(_) => return Step::Close(1000, String::new()),
            Message::Binary(_) => return Step::Close(4400, "a message is text".to_owned()),
        };
        match ClientMessage::from_bytes(text.as_str()) {
            Ok(ClientMessage::ConnectionInit { .. }) if self.introduced => {
                Step::Close(4429, "Too many initialisation requests".to_owned())
            }
            Ok(ClientMessage::ConnectionInit { .. }) => {
                self.introduced = true;
                Step::Say(ServerMessage::ConnectionAck.frame())
            }
            Ok(ClientMessage::Ping { payload }) => Step::Say(ServerMessage::Pong { payload }.frame()),
            Ok(ClientMessage::Pong { .. }) => Step::Listen,
            Ok(ClientMessage::Start { id, payload }) => self.start(id, payload),
            Ok(ClientMessage::Stop { id }) => {
                self.operations.remove(&id);
                Step::Listen
            }
            Ok(ClientMessage::ConnectionTerminate) => Step::Close(1000, String::new()),
            Err(_) => Step::Close(4400, format!("no message of {PROTOCOL}")),
        }
    }

    fn start(&mut self, id: String, request: Request) -> Step {
        if !self.introduced {
            return Step::Close(4401, "Unauthorized".to_owned());
        }
        if self.operations.contains_key(&id) {
            return Step::Close(4409, "Subscriber for that id already exists".to_owned());
        }
        if self.operations.len() == MAX_OPERATIONS {
            let why = format!("one socket carries at most {MAX_OPERATIONS} operations at a time");
            let refusal = coded(Response::from_errors(vec![ServerError::new(why, None)]));
            return Step::Say(ServerMessage::Error { id, payload: refusal.errors }.frame());
        }
        let items = self.schema.execute_stream(request.data(self.peer.clone())).map(Some);
        let mut said = items.chain(stream::once(std::future::ready(None))).boxed();
        // It begins now: what the client does after it has asked, it will see.
        let first = said.next().now_or_never().flatten();
        self.operations.insert(id.clone(), said);
        first.map_or(Step::Listen, |first| Step::Say(self.tell(id, first)))
    }

    fn tell(&mut self, id: String, said: Option<Response>) -> Message {
        let message = match said {
            Some(response) if refused(&response) => {
                self.operations.remove(&id);
                ServerMessage::Error { id, payload: response.errors }
            }
            Some(payload) => ServerMessage::Next { id, payload },
            None => {
                self.operations.remove(&id);
                ServerMessage::Complete { id }
            }
        };
        message.frame()
    }
}
