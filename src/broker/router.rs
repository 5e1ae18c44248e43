//! rumqttd's router: it fans messages out to the clients that are connected, and does nothing else.
//!
//! Everything that can stop it is kept from it: topics and filters are prefixed, every message goes in
//! as QoS 0 and unretained, a link says its farewell last. What the router forgets about a message
//! (who published it, with which QoS) travels in a small header before the payload.

#![allow(clippy::disallowed_types)]

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use rumqttd::{
    Notification, RouterConfig,
    local::{LinkBuilder, LinkRx, LinkTx},
    protocol::{
        self, Disconnect, DisconnectReasonCode, Filter, Packet, PingReq, Publish, RetainForwardRule,
        Subscribe, Unsubscribe,
    },
};
use tokio::time::Instant;
use tracing::{error, info};

use super::front::codec::QoS;
use crate::model::{Seq, SessionId};

/// Links that the router can hold: twice the connections of the front, so that those that leave and
/// those that come never meet the limit.
const MAX_LINKS: usize = 2 * super::front::MAX_CONNECTIONS;
/// Each filter has a log of its own; 16 MiB of messages wait in it for a link that is behind.
const SEGMENT_BYTES: usize = 1024 * 1024;
const SEGMENTS: usize = 16;
/// Messages that the router hands to a link at a time.
const OUTGOING_PACKETS: u64 = 200;
/// No topic begins with `$` or outside ASCII inside the router: both stop it.
const PREFIX: &str = "m/";

/// The router is gone. It is built anew; whoever had a link to the old one connects again.
#[derive(Debug, thiserror::Error)]
#[error("the router stopped")]
pub struct RouterGone;

/// What the router carries for us with each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Grows with each message that goes in.
    pub number: u64,
    pub origin: SessionId,
    /// The command that the message is, when the gateway sent it.
    pub command: Option<Seq>,
    /// How long it may wait for a stalled client, to the millisecond. Zero is for as long as the client may.
    pub life: Duration,
    pub qos: QoS,
    pub retain: bool,
    /// Worth nothing from then on, to the millisecond.
    pub expires: Option<Instant>,
    /// What travels with it in MQTT 5, as that writes it, without the length.
    pub properties: Bytes,
}

/// A message that has come through the router.
#[derive(Debug)]
pub struct Routed {
    pub header: Header,
    pub topic: Bytes,
    pub payload: Bytes,
}

/// The router, rebuilt in the process when it stops.
pub struct Router(Mutex<State>);

/// None when the router is gone.
type Connect = Arc<dyn Fn(&str) -> Option<(LinkTx, LinkRx)> + Send + Sync>;

struct State {
    connect: Connect,
    inlet: LinkTx,
    // Held so that the router can speak to its link; nothing is ever subscribed on it.
    _outlet: LinkRx,
    number: u64,
    /// Names of links that have left. The router never forgets a name, so names are used again.
    free_names: Vec<u32>,
    names: u32,
    generation: u64,
    /// Moments in headers are counted from here.
    epoch: Instant,
}

impl Router {
    pub fn start() -> Result<Router, RouterGone> {
        Ok(Router(Mutex::new(State::start(0)?)))
    }

    /// Puts messages in, in order. The number in each header is set here.
    pub fn publish(&self, messages: &mut Vec<(Header, String, Bytes)>) {
        let Some((header, topic, payload)) = messages.pop() else { return };
        let mut state = self.lock();
        {
            let state = &mut *state;
            let mut waiting = state.inlet.buffer();
            for (header, topic, payload) in messages.drain(..) {
                state.number += 1;
                waiting.push_back(packet(state.number, header, &topic, &payload, state.epoch));
            }
        }
        state.number += 1;
        let last = packet(state.number, header, &topic, &payload, state.epoch);
        // The future is ready at once: inside, the send blocks until the router's channel has room.
        if let Some(Err(_)) = state.inlet.send(last).now_or_never() {
            state.rebuild();
        }
    }

    /// A new link. It blocks until the router has answered.
    pub fn link(self: &Arc<Router>) -> Result<Link, RouterGone> {
        let (connect, name, generation, epoch) = {
            let mut state = self.lock();
            let name = state.free_names.pop().unwrap_or_else(|| {
                state.names += 1;
                state.names
            });
            (state.connect.clone(), name, state.generation, state.epoch)
        };
        match connect(&format!("c{name}")) {
            Some((tx, rx)) => Ok(Link { tx, rx, name, generation, epoch, router: self.clone() }),
            None => Err(self.gone(generation)),
        }
    }

    /// The router of this generation is dead: if nobody has built a new one yet, do.
    fn gone(&self, generation: u64) -> RouterGone {
        let mut state = self.lock();
        if state.generation == generation {
            state.rebuild();
        }
        RouterGone
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn start(generation: u64) -> Result<State, RouterGone> {
        let config = RouterConfig {
            max_connections: MAX_LINKS,
            max_outgoing_packet_count: OUTGOING_PACKETS,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        };
        // The type of the router's sender cannot be named outside rumqttd, so a closure holds it.
        let sender = rumqttd::Router::new(0, config).spawn();
        let connect: Connect = Arc::new(move |name| {
            let (tx, rx, _) = LinkBuilder::new(name, sender.clone()).build().ok()?;
            Some((tx, rx))
        });
        let (inlet, outlet) = connect("inlet").ok_or(RouterGone)?;
        Ok(State {
            connect,
            inlet,
            _outlet: outlet,
            number: 0,
            free_names: Vec::new(),
            names: 0,
            generation,
            epoch: Instant::now(),
        })
    }

    fn rebuild(&mut self) {
        error!("the router stopped; building a new one");
        metrics::counter!("crosslink_router_rebuilds_total").increment(1);
        match State::start(self.generation + 1) {
            Ok(state) => {
                *self = state;
                info!("the router runs again; clients that were subscribed connect again");
            }
            Err(RouterGone) => error!("the router cannot be built: MQTT clients do not hear each other"),
        }
    }
}

/// What the router tells a link.
enum Heard {
    Message(Routed),
    Answer,
    Nothing,
}

/// One client's link to the router. It must be drained at all times; dropping it leaves the router.
pub struct Link {
    tx: LinkTx,
    rx: LinkRx,
    name: u32,
    generation: u64,
    epoch: Instant,
    router: Arc<Router>,
}

impl Link {
    /// Waits for the next message. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Option<Routed>, RouterGone> {
        match self.heard().await? {
            Heard::Message(routed) => Ok(Some(routed)),
            Heard::Answer | Heard::Nothing => Ok(None),
        }
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Result<Option<Routed>, RouterGone>> {
        self.next().now_or_never()
    }

    /// Subscribes, and waits until the router has: what is published from then on comes. What comes by
    /// older subscriptions meanwhile is returned.
    pub async fn subscribe(&mut self, filters: &[String]) -> Result<Vec<Routed>, RouterGone> {
        let filters = filters
            .iter()
            .map(|filter| Filter {
                path: format!("{PREFIX}{filter}"),
                qos: protocol::QoS::AtMostOnce,
                nolocal: false,
                preserve_retain: false,
                retain_forward_rule: RetainForwardRule::Never,
            })
            .collect();
        self.send(Packet::Subscribe(Subscribe { pkid: 1, filters }, None))?;
        self.answered().await
    }

    /// Unsubscribes, and waits until the router has: a farewell that it found together with this would overtake what was
    /// said in between, and stop it. What comes meanwhile is returned.
    pub async fn unsubscribe(&mut self, filters: &[String]) -> Result<Vec<Routed>, RouterGone> {
        let filters = filters.iter().map(|filter| format!("{PREFIX}{filter}")).collect();
        self.tx.buffer().push_back(Packet::Unsubscribe(Unsubscribe { pkid: 1, filters }, None));
        // The router answers each filter that it knows, and this always.
        self.send(Packet::PingReq(PingReq))?;
        self.answered().await
    }

    async fn answered(&mut self) -> Result<Vec<Routed>, RouterGone> {
        let mut meanwhile = Vec::new();
        loop {
            match self.heard().await? {
                Heard::Answer => return Ok(meanwhile),
                Heard::Message(routed) => meanwhile.push(routed),
                Heard::Nothing => {}
            }
        }
    }

    async fn heard(&mut self) -> Result<Heard, RouterGone> {
        let notification = self.rx.next().await.map_err(|_| self.gone())?;
        match notification {
            Some(Notification::Forward(forward)) => {
                Ok(Header::split(forward.publish, self.epoch).map_or(Heard::Nothing, Heard::Message))
            }
            // Answered at once and only here: at any other time it would wake a link that is not there.
            Some(Notification::Unschedule) => {
                self.rx.ready().map_err(|_| self.gone())?;
                Ok(Heard::Nothing)
            }
            Some(Notification::Disconnect(..)) => Err(self.gone()),
            Some(other) => match Option::<Packet>::from(other) {
                Some(Packet::SubAck(..) | Packet::PingResp(..)) => Ok(Heard::Answer),
                Some(_) | None => Ok(Heard::Nothing),
            },
            None => Ok(Heard::Nothing),
        }
    }

    fn send(&mut self, packet: Packet) -> Result<(), RouterGone> {
        match self.tx.send(packet).now_or_never() {
            Some(Err(_)) => Err(self.gone()),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    fn gone(&self) -> RouterGone {
        self.router.gone(self.generation)
    }
}

impl Drop for Link {
    /// The farewell is the last thing that a link ever sends.
    fn drop(&mut self) {
        let farewell = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        let _ = self.tx.send(Packet::Disconnect(farewell, None)).now_or_never();
        let mut state = self.router.lock();
        if state.generation == self.generation {
            state.free_names.push(self.name);
        }
    }
}

fn packet(number: u64, header: Header, topic: &str, payload: &[u8], epoch: Instant) -> Packet {
    let header = Header { number, ..header };
    Packet::Publish(
        Publish::new(Bytes::from(format!("{PREFIX}{topic}")), header.before(payload, epoch), false),
        None,
    )
}

const RETAIN: u8 = 0b100;
const NEVER: u64 = u64::MAX;
/// Without the properties.
const HEADER_BYTES: usize = 41;

impl Header {
    /// The payload with the header before it. The router so never sees an empty payload, which would
    /// mean something to it.
    fn before(&self, payload: &[u8], epoch: Instant) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + self.properties.len() + payload.len());
        bytes.put_u8(self.qos.as_u8() | if self.retain { RETAIN } else { 0 });
        bytes.put_u64(self.number);
        bytes.put_i64(self.origin.0);
        bytes.put_i64(self.command.map_or(0, |command| command.0));
        bytes.put_u32(u32::try_from(self.life.as_millis()).unwrap_or(u32::MAX));
        let expires = self.expires.map(|expires| expires.saturating_duration_since(epoch).as_millis());
        bytes.put_u64(expires.map_or(NEVER, |millis| u64::try_from(millis).unwrap_or(NEVER)));
        // A packet is far shorter than 4 GiB.
        bytes.put_u32(self.properties.len() as u32);
        bytes.put_slice(&self.properties);
        bytes.put_slice(payload);
        bytes.freeze()
    }

    fn split(publish: Publish, epoch: Instant) -> Option<Routed> {
        let (mut topic, mut payload) = (publish.topic, publish.payload);
        if topic.len() <= PREFIX.len() || payload.len() < HEADER_BYTES {
            return None;
        }
        topic.advance(PREFIX.len());
        let flags = payload.get_u8();
        let mut header = Header {
            number: payload.get_u64(),
            origin: SessionId(payload.get_i64()),
            command: Some(Seq(payload.get_i64())).filter(|command| *command != Seq::ZERO),
            life: Duration::from_millis(payload.get_u32().into()),
            qos: QoS::from_u8(flags & 0b11)?,
            retain: flags & RETAIN != 0,
            expires: Some(payload.get_u64())
                .filter(|millis| *millis != NEVER)
                .map(|millis| epoch + Duration::from_millis(millis)),
            properties: Bytes::new(),
        };
        let properties = payload.get_u32() as usize;
        if properties > payload.len() {
            return None;
        }
        header.properties = payload.split_to(properties);
        Some(Routed { header, topic, payload })
    }
}
