//! One client's life, from its CONNACK to its end.
//!
//! One task does everything for a client: it reads, writes, drains the client's link to the router and
//! acknowledges what has become history. It never waits for one of these while another could go on.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::{Duration, Instant, sleep_until},
};
use tracing::info;

use super::{
    FanOut, Front, Incoming,
    clients::Place,
    codec::{
        self, Ack, Code, Connect, Malformed, Packet, Properties, Publish, QoS, RetainHandling, SubAck,
        Subscribe, Subscription, UnsubAck, Unsubscribe, Version, Will,
    },
    outgoing::{Delivery, Outgoing, TooSlow},
    subscriptions::{is_filter, is_topic, matches},
    writer::Writer,
};
use crate::{
    address::is_command,
    broker::{
        Ended, Inbound, Input, Settled,
        router::{Link, Routed, RouterGone},
    },
    model::{RejectionReason, SessionEnd, SessionId, Timestamp},
};

/// A client that takes nothing for so long is gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How often a session looks at its deadlines at least.
const WATCH: Duration = Duration::from_secs(10);
/// The longest packet: a payload that is too long to be recorded must still come in, to be told so.
pub const MAX_PACKET: usize = 2 * 1024 * 1024;
/// Messages of one client that may wait for the disk before its socket is read no further.
pub const MAX_UNSETTLED: usize = 1_000;
/// Bytes that wait for the socket before more are made.
const HIGH_WATER: usize = 64 * 1024;
/// Bytes read at a time.
const READ: usize = 4 * 1024;
/// Messages taken from the router at a time, so that the socket gets its turn.
const DRAIN: usize = 256;
/// Filters that one client may subscribe to.
const MAX_SUBSCRIPTIONS: usize = 1_000;
/// Why a session ends.
pub enum End {
    Disconnect {
        with_will: bool,
    },
    Closed,
    SocketError,
    Keepalive,
    Takeover(SessionId),
    /// The client broke the protocol or does not keep up.
    Refused(Code, &'static str),
    Shutdown,
}

impl From<Malformed> for End {
    fn from(malformed: Malformed) -> End {
        End::Refused(malformed.code, malformed.what)
    }
}

impl From<TooSlow> for End {
    fn from(TooSlow: TooSlow) -> End {
        End::Refused(Code::QUOTA_EXCEEDED, "the client does not keep up with its subscriptions")
    }
}

impl From<RouterGone> for End {
    fn from(RouterGone: RouterGone) -> End {
        End::Refused(Code::SERVER_UNAVAILABLE, "the router stopped")
    }
}

/// An acknowledgement that goes out once everything before it has.
struct Unsettled {
    packet: Packet,
    /// Its message is on the way to the disk.
    waits: bool,
}

pub struct Session<R, W> {
    reader: R,
    input: BytesMut,
    writer: Writer<W>,
    version: Version,
    id: SessionId,
    client_id: Arc<str>,
    peer: SocketAddr,
    /// One and a half times what the client promised.
    keep_alive: Option<Duration>,
    max_packet: Option<u32>,
    /// From the first subscription on.
    link: Option<Link>,
    subscriptions: Vec<Subscription>,
    unsettled: VecDeque<Unsettled>,
    settled: Arc<Settled>,
    settled_now: u64,
    /// Messages for which there was no room on the way to the disk.
    held: VecDeque<Inbound>,
    outgoing: Outgoing,
    /// Packet ids of QoS 2 messages that came in and are not released yet.
    received: HashSet<u16>,
    last_heard: Instant,
    last_written: Instant,
    /// The client is not read on at the moment.
    paused: bool,
    front: Arc<Front>,
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> Session<R, W> {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        front: Arc<Front>,
        reader: R,
        input: BytesMut,
        writer: Writer<W>,
        connect: &Connect,
        id: SessionId,
        client_id: Arc<str>,
        peer: SocketAddr,
    ) -> Session<R, W> {
        let keep_alive = Duration::from_millis(u64::from(connect.keep_alive) * 1_500);
        Session {
            reader,
            input,
            writer,
            version: connect.version,
            id,
            client_id,
            peer,
            keep_alive: (!keep_alive.is_zero()).then_some(keep_alive),
            max_packet: connect.properties.maximum_packet_size(),
            link: None,
            subscriptions: Vec::new(),
            unsettled: VecDeque::new(),
            settled: Arc::default(),
            settled_now: 0,
            held: VecDeque::new(),
            outgoing: Outgoing::new(connect.properties.receive_maximum()),
            received: HashSet::new(),
            last_heard: Instant::now(),
            last_written: Instant::now(),
            paused: false,
            front,
        }
    }

    /// Serves the client until something ends it.
    pub async fn run(&mut self, place: &mut Place) -> End {
        let stopping = self.front.stopping.clone();
        let settled = self.settled.clone();
        let watch = sleep_until(self.deadline());
        tokio::pin!(watch);
        loop {
            if let Err(end) = self.handle_input().await {
                return end;
            }
            self.fill_output();
            let reading = self.reads();
            if reading && self.paused {
                self.last_heard = Instant::now();
            }
            self.paused = !reading;
            self.input.reserve(READ);
            tokio::select! {
                _ = stopping.cancelled() => return End::Shutdown,
                successor = place.taken() => return End::Takeover(successor),
                () = settled.changed(), if !self.unsettled.is_empty() => self.acknowledge(),
                () = room(&self.front, self.held.front()), if !self.held.is_empty() => self.hand_over(),
                routed = next(&mut self.link), if self.link.is_some() => {
                    if let Err(end) = routed.map_err(End::from).and_then(|routed| self.drain(routed)) {
                        return end;
                    }
                }
                written = self.writer.write(), if self.writer.has_output() => match written {
                    Ok(()) => self.last_written = Instant::now(),
                    Err(_) => return End::SocketError,
                },
                read = self.reader.read_buf(&mut self.input), if reading => match read {
                    Ok(0) => return End::Closed,
                    Ok(_) => self.last_heard = Instant::now(),
                    Err(_) => return End::SocketError,
                },
                () = &mut watch => {
                    if let Some(end) = self.overdue() {
                        return end;
                    }
                    watch.as_mut().reset(self.deadline());
                }
            }
        }
    }

    /// Whether the client is read on. While it is not, its keepalive stands still.
    fn reads(&self) -> bool {
        self.unsettled.len() < MAX_UNSETTLED
            && self.held.len() < MAX_UNSETTLED
            && self.writer.output.len() < HIGH_WATER
    }

    fn deadline(&self) -> Instant {
        let watch = Instant::now() + WATCH;
        let keep_alive = self.keep_alive.filter(|_| !self.paused);
        keep_alive.map_or(watch, |keep_alive| watch.min(self.last_heard + keep_alive))
    }

    fn overdue(&self) -> Option<End> {
        if self.writer.has_output() && self.last_written.elapsed() > WRITE_DEADLINE {
            return Some(End::SocketError);
        }
        let keep_alive = self.keep_alive.filter(|_| !self.paused)?;
        (self.last_heard.elapsed() >= keep_alive).then_some(End::Keepalive)
    }

    /// Handles every whole packet that has come in.
    async fn handle_input(&mut self) -> Result<(), End> {
        let mut fan_out = FanOut::new();
        let mut result = Ok(());
        while result.is_ok() && self.reads() {
            result = match codec::decode(&mut self.input, Some(self.version), MAX_PACKET) {
                Ok(Some(Packet::Publish(publish))) => self.receive(publish, &mut fan_out),
                Ok(Some(packet)) => {
                    // What was published before is out before what comes after is done.
                    self.front.router.publish(fan_out.drain(..));
                    self.handle(packet).await
                }
                Ok(None) => break,
                Err(malformed) => Err(malformed.into()),
            };
        }
        self.front.router.publish(fan_out);
        result
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) => {
                if let Some(command) = self.outgoing.acknowledge(ack.packet_id) {
                    self.front.intake.send(Input::Delivered { command });
                }
            }
            Packet::PubRel(ack) => {
                let known = self.received.remove(&ack.packet_id);
                let code = if known { Code::SUCCESS } else { Code::PACKET_ID_NOT_FOUND };
                self.answer(Packet::PubComp(Ack { code, ..bare(ack.packet_id) }), false);
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await?,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe)?,
            Packet::PingReq => self.send(&Packet::PingResp),
            Packet::Disconnect(disconnect) => {
                return Err(End::Disconnect { with_will: disconnect.code == Code::DISCONNECT_WITH_WILL });
            }
            Packet::PubComp(_) => {}
            Packet::Connect(_) => return Err(protocol_error("a second CONNECT")),
            Packet::Publish(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => return Err(protocol_error("a packet that only a server sends")),
        }
        Ok(())
    }

    fn receive(&mut self, publish: Publish, fan_out: &mut FanOut) -> Result<(), End> {
        if publish.properties.topic_alias().is_some() {
            return Err(End::Refused(Code::TOPIC_ALIAS_INVALID, "topic aliases are not supported"));
        }
        if publish.topic.is_empty() || publish.topic.contains(['+', '#']) {
            return Err(End::Refused(
                Code::TOPIC_INVALID,
                "a topic to publish on is neither empty nor a pattern",
            ));
        }
        metrics::counter!("crosslink_mqtt_received_total").increment(1);
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        let answer = move |code| match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Packet::PubAck(Ack { code, ..bare(packet_id) })),
            QoS::ExactlyOnce => Some(Packet::PubRec(Ack { code, ..bare(packet_id) })),
        };
        if !is_topic(&publish.topic) {
            if let Some(packet) = answer(Code::TOPIC_INVALID) {
                self.answer(packet, false);
            }
            return Ok(());
        }
        if qos == QoS::ExactlyOnce && !self.received.insert(packet_id) {
            // Sent again: it came in already. Its first answer, if still due, goes out before this one.
            self.answer(Packet::PubRec(bare(packet_id)), false);
            return Ok(());
        }
        let incoming = Incoming {
            session: self.id,
            client_id: self.client_id.clone(),
            topic: publish.topic,
            payload: publish.payload,
            qos,
            retain: publish.retain,
            will: false,
        };
        let recorded = self.front.judge(incoming, fan_out);
        let code = match recorded.as_ref().and_then(|inbound| inbound.refused) {
            Some(RejectionReason::TooLarge) => Code::PACKET_TOO_LARGE,
            Some(_) => Code::NOT_AUTHORIZED,
            None => Code::SUCCESS,
        };
        if code.is_failure() && self.version == Version::V5 {
            // A refusal ends the exchange: no PUBREL follows.
            self.received.remove(&packet_id);
        }
        match (recorded, answer(code)) {
            (Some(mut inbound), Some(packet)) => {
                inbound.ack = Some(self.settled.ack());
                self.answer(packet, true);
                self.hold(inbound);
            }
            (Some(_), None) if self.front.intake.failing() => {
                metrics::counter!("crosslink_unrecorded_total").increment(1);
            }
            (Some(inbound), None) => self.hold(inbound),
            (None, Some(packet)) => self.answer(packet, false),
            (None, None) => {}
        }
        Ok(())
    }

    /// Sends an acknowledgement in its turn: at once, or when the disk has what it acknowledges.
    fn answer(&mut self, packet: Packet, waits: bool) {
        self.unsettled.push_back(Unsettled { packet, waits });
        self.acknowledge();
    }

    fn acknowledge(&mut self) {
        self.settled_now += self.settled.take();
        while let Some(first) = self.unsettled.front() {
            if first.waits && self.settled_now == 0 {
                break;
            }
            self.settled_now -= u64::from(first.waits);
            codec::encode(&first.packet, self.version, &mut self.writer.output);
            self.unsettled.pop_front();
        }
    }

    /// Hands a message on to history, after those that are held already.
    fn hold(&mut self, inbound: Inbound) {
        self.held.push_back(inbound);
        self.hand_over();
    }

    fn hand_over(&mut self) {
        while let Some(inbound) = self.held.pop_front() {
            if let Err(inbound) = self.front.intake.offer(inbound) {
                self.held.push_front(inbound);
                break;
            }
        }
    }

    async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), End> {
        if self.link.is_none() {
            let router = self.front.router.clone();
            let link = tokio::task::spawn_blocking(move || router.link()).await;
            self.link = Some(link.map_err(|_| RouterGone)??);
        }
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut granted = Vec::new();
        for mut subscription in subscribe.filters {
            subscription.qos = subscription.qos.min(QoS::AtLeastOnce);
            let known = self.subscriptions.iter().position(|held| held.filter == subscription.filter);
            let code = match &subscription.filter {
                filter if filter.starts_with("$share/") => Code::SHARED_NOT_SUPPORTED,
                filter if !is_filter(filter) => Code::FILTER_INVALID,
                _ if known.is_none() && self.subscriptions.len() >= MAX_SUBSCRIPTIONS => Code::QUOTA_EXCEEDED,
                _ => Code(subscription.qos.as_u8()),
            };
            codes.push(code);
            if code.is_failure() {
                continue;
            }
            let new = known.is_none();
            match known {
                Some(at) => self.subscriptions[at] = subscription.clone(),
                None => self.subscriptions.push(subscription.clone()),
            }
            granted.push((subscription, new));
        }
        let new: Vec<String> = granted
            .iter()
            .filter(|(_, new)| *new)
            .map(|(subscription, _)| subscription.filter.clone())
            .collect();
        if let (Some(link), false) = (&mut self.link, new.is_empty()) {
            // The router has the filter before the index says that somebody listens.
            link.subscribe(&new)?;
        }
        for (subscription, _) in &granted {
            self.front.subscriptions.add(self.id, &subscription.filter, subscription.no_local);
        }
        let properties = Properties::none();
        self.send(&Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes, properties }));
        for (subscription, new) in granted {
            self.send_retained(&subscription, new)?;
        }
        Ok(())
    }

    fn send_retained(&mut self, subscription: &Subscription, new: bool) -> Result<(), TooSlow> {
        match subscription.retain_handling {
            RetainHandling::Never => return Ok(()),
            RetainHandling::SendIfNew if !new => return Ok(()),
            RetainHandling::SendIfNew | RetainHandling::Send => {}
        }
        for message in self.front.retained.matching(&subscription.filter) {
            let qos = QoS::from_u8(message.qos).unwrap_or(QoS::AtLeastOnce).min(subscription.qos);
            let (topic, payload) = (message.topic, message.payload);
            self.outgoing.push(Delivery {
                topic,
                payload,
                qos,
                retain: true,
                expires: false,
                command: None,
            })?;
        }
        Ok(())
    }

    fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<(), End> {
        let mut codes = Vec::with_capacity(unsubscribe.filters.len());
        for filter in &unsubscribe.filters {
            let Some(at) = self.subscriptions.iter().position(|held| held.filter == *filter) else {
                codes.push(Code::NO_SUBSCRIPTION_EXISTED);
                continue;
            };
            self.subscriptions.swap_remove(at);
            self.front.subscriptions.remove(self.id, filter);
            if let Some(link) = &mut self.link {
                link.unsubscribe(filter)?;
            }
            codes.push(Code::SUCCESS);
        }
        let properties = Properties::none();
        self.send(&Packet::UnsubAck(UnsubAck { packet_id: unsubscribe.packet_id, codes, properties }));
        Ok(())
    }

    /// Takes what the router has for this client.
    fn drain(&mut self, routed: Option<Routed>) -> Result<(), End> {
        let mut routed = Some(Ok(routed));
        for _ in 0..DRAIN {
            match routed {
                Some(message) => {
                    if let Some(message) = message? {
                        self.deliver(message)?;
                    }
                }
                None => break,
            }
            routed = self.link.as_mut().and_then(Link::try_next);
        }
        Ok(())
    }

    fn deliver(&mut self, routed: Routed) -> Result<(), End> {
        // What goes in is UTF-8.
        let Ok(topic) = std::str::from_utf8(&routed.topic) else { return Ok(()) };
        let header = routed.header;
        let mut matching = 0;
        let mut best: Option<(QoS, bool)> = None;
        for held in self.subscriptions.iter().filter(|held| matches(topic, &held.filter)) {
            matching += 1;
            if held.no_local && header.origin == self.id {
                continue;
            }
            let (qos, as_published) = best.unwrap_or((QoS::AtMostOnce, false));
            best = Some((qos.max(held.qos), as_published || held.retain_as_published));
        }
        let Some((granted, as_published)) = best else { return Ok(()) };
        if !self.outgoing.is_first_copy(header.number, matching) {
            return Ok(());
        }
        let delivery = Delivery {
            topic: topic.to_owned(),
            payload: routed.payload,
            qos: header.qos.min(granted),
            retain: header.retain && as_published,
            expires: is_command(topic, &self.front.pair),
            command: header.command,
        };
        Ok(self.outgoing.push(delivery)?)
    }

    /// Turns what waits for the client into bytes, as far as they can be taken.
    fn fill_output(&mut self) {
        while self.writer.output.len() < HIGH_WATER {
            let Some(publish) = self.outgoing.next() else { break };
            let too_large =
                self.max_packet.is_some_and(|max| codec::publish_len(&publish, self.version) > max as usize);
            if too_large {
                self.outgoing.acknowledge(publish.packet_id);
                continue;
            }
            codec::encode_publish(&publish, self.version, &mut self.writer.output);
        }
        if !self.writer.has_output() {
            self.last_written = Instant::now();
        }
    }

    fn send(&mut self, packet: &Packet) {
        codec::encode(packet, self.version, &mut self.writer.output);
    }

    /// Says goodbye to the others: the router, history, and those who wait for the will. What is left
    /// is to tell the client why.
    pub fn end(mut self, end: End, will: Option<Will>) -> (Writer<W>, Option<Code>) {
        for subscription in std::mem::take(&mut self.subscriptions) {
            self.front.subscriptions.remove(self.id, &subscription.filter);
        }
        self.link = None;
        let (kind, successor, code) = match end {
            End::Disconnect { with_will: false } => (SessionEnd::Disconnect, None, None),
            End::Disconnect { with_will: true } => (SessionEnd::DisconnectWithWill, None, None),
            End::Closed => (SessionEnd::Closed, None, None),
            End::SocketError => (SessionEnd::SocketError, None, None),
            End::Keepalive => (SessionEnd::Keepalive, None, Some(Code::KEEP_ALIVE_TIMEOUT)),
            End::Takeover(by) => (SessionEnd::Takeover, Some(by), Some(Code::SESSION_TAKEN_OVER)),
            End::Refused(code, what) => {
                info!(client_id = &*self.client_id, "ends the session of {}: {what}", self.client_id);
                (SessionEnd::Refused, None, Some(code))
            }
            End::Shutdown => (SessionEnd::Shutdown, None, Some(Code::SERVER_SHUTTING_DOWN)),
        };
        let will = will.filter(|will| match kind {
            SessionEnd::Disconnect | SessionEnd::Shutdown => false,
            // The client is there: only its connection is new.
            SessionEnd::Takeover => !self.front.is_presence(&will.topic),
            SessionEnd::DisconnectWithWill
            | SessionEnd::Closed
            | SessionEnd::SocketError
            | SessionEnd::Keepalive
            | SessionEnd::Refused => true,
        });
        let (front, client_id) = (self.front.clone(), self.client_id.clone());
        info!(client_id = &*client_id, end = ?kind, "{client_id} left: {kind:?}");
        for inbound in std::mem::take(&mut self.held) {
            // There is nobody left to wait.
            front.intake.send(Input::Publish(inbound));
        }
        front.intake.send(Input::Ended(Ended {
            session: self.id,
            client_id: client_id.clone(),
            address: self.peer.to_string(),
            at: Timestamp::now(),
            end: kind,
            will_published: will.is_some(),
            successor,
        }));
        if let Some(will) = will {
            let incoming = Incoming {
                session: self.id,
                client_id,
                topic: will.topic,
                payload: will.payload,
                qos: will.qos,
                retain: will.retain,
                will: true,
            };
            let mut fan_out = FanOut::new();
            if let Some(inbound) = front.judge(incoming, &mut fan_out) {
                front.intake.send(Input::Publish(inbound));
            }
            front.router.publish(fan_out);
        }
        (self.writer, code)
    }
}

fn bare(packet_id: u16) -> Ack {
    Ack { packet_id, code: Code::SUCCESS, properties: Properties::none() }
}

fn protocol_error(what: &'static str) -> End {
    End::Refused(Code::PROTOCOL_ERROR, what)
}

async fn next(link: &mut Option<Link>) -> Result<Option<Routed>, RouterGone> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn room(front: &Front, held: Option<&Inbound>) {
    match held {
        Some(inbound) => front.intake.room(inbound).await,
        None => std::future::pending().await,
    }
}
