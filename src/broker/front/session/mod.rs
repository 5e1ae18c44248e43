//! One client's life, from its CONNACK to its end.
//!
//! One task does everything for a client: it reads, writes, drains the client's link to the router and
//! acknowledges what has become history. It waits for one of these alone only where the router takes a subscription, which it does
//! between two rations, or is replaced.

mod end;
mod inward;
mod outward;
mod relink;

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::Arc,
};

use bytes::{BufMut, BytesMut};
use futures_util::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    task::coop::unconstrained,
    time::{Duration, Instant, sleep_until},
};
use tracing::info;

pub use self::end::{End, Farewell};
use self::relink::Heard;
use super::{
    FanOut, Front, Incoming,
    clients::Place,
    codec::{self, Ack, Code, Connect, Packet, Properties, Property, Version, Will},
    kept::{Kept, MAX_EXPIRY, Memory, Outbox, Resumed},
    outgoing::TooSlow,
    subscriptions::{Held, Whose, levels},
    vitals::Vitals,
    writer::Writer,
};
use crate::{
    broker::{Ended, Inbound, Input, Room, Settled, router::Link},
    model::{SessionEnd, SessionId, Timestamp},
};

/// A client that takes nothing for so long is gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How often a session looks at its deadlines at least.
const WATCH: Duration = Duration::from_secs(10);
/// The longest packet: a payload that is too long to be recorded must still come in, to be told so.
pub const MAX_PACKET: usize = 2 * 1024 * 1024;
/// Messages of one client that may wait for the disk before its socket is read no further.
pub const MAX_UNSETTLED: usize = 1_000;
/// Bytes of their payloads for which there is no room yet, before its socket is read no further.
const MAX_HELD_BYTES: usize = 1024 * 1024;
/// The longest packet with a reason, in bytes: SUBACK with a thousand codes, and a sentence.
const MAX_EXPLAINED: u32 = 1_280;
/// Bytes that wait for the socket before more are made.
const HIGH_WATER: usize = 64 * 1024;
/// Bytes for which there is space at least, and those that are read at a time: what they bring is dealt with before others have a
/// turn.
const READ: usize = 4 * 1024;
const MAX_READ: usize = 16 * 1024;
/// With less space than this, a new buffer. Small messages share one: each keeps its whole buffer
/// until it is on disk.
const LEAST_SPACE: usize = 1024;

/// An acknowledgement that goes out once everything before it has.
struct Unsettled {
    packet: Packet,
    /// Its message is on the way to the disk.
    waits: bool,
}

/// Who is served.
pub struct Who {
    pub session: SessionId,
    pub client_id: Arc<str>,
    pub peer: SocketAddr,
    pub vitals: Arc<Vitals>,
    /// How long the session outlives the connection, in seconds.
    pub expiry: u32,
    /// The client asked for that, be it granted or not.
    pub lasting: bool,
}

/// One client while it is connected.
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
    /// It wants to be told why, in every packet that can say so.
    wants_reasons: bool,
    /// It asked for a session that outlives its connection.
    lasting: bool,
    /// From the first subscription on, unless the session is persistent.
    link: Option<Link>,
    heard: Heard,
    subscriptions: Vec<Held>,
    /// Of all their filters together.
    levels: usize,
    /// Filters that it ever asked for.
    asked_for: usize,
    unsettled: VecDeque<Unsettled>,
    settled: Arc<Settled>,
    settled_now: u64,
    /// Messages for which there was no room on the way to the disk.
    held: VecDeque<Inbound>,
    held_bytes: usize,
    outbox: Arc<Outbox>,
    /// Packet ids of QoS 2 messages that came in and are not released yet, and whether they are written down.
    received: HashMap<u16, bool>,
    /// Absent when the session ends with its connection.
    kept: Option<Arc<Kept>>,
    /// In seconds.
    expiry: u32,
    last_heard: Instant,
    last_written: Instant,
    /// The client is not read on at the moment.
    paused: bool,
    vitals: Arc<Vitals>,
    front: Arc<Front>,
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> Session<R, W> {
    /// `input` is what was read behind the CONNECT already.
    pub fn new(
        front: Arc<Front>,
        who: Who,
        connect: &Connect,
        resumed: Resumed,
        reader: R,
        input: BytesMut,
        writer: Writer<W>,
    ) -> Session<R, W> {
        let Who { session: id, client_id, peer, vitals, expiry, lasting } = who;
        let Resumed { kept, memory, .. } = resumed;
        let outbox = match &kept {
            Some(kept) => kept.outbox.clone(),
            None => {
                let (window, room) = (connect.properties.receive_maximum(), front.room.clone());
                Arc::new(Outbox::of(id, window, room))
            }
        };
        vitals.listens(&memory.subscriptions);
        let max_packet = connect.properties.maximum_packet_size();
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
            max_packet,
            wants_reasons: connect.properties.request_problem_info().unwrap_or(true) && explained(max_packet),
            lasting,
            link: None,
            heard: Heard::default(),
            levels: memory.subscriptions.iter().map(|held| levels(&held.wanted.filter)).sum(),
            subscriptions: memory.subscriptions,
            asked_for: 0,
            unsettled: VecDeque::new(),
            settled: Arc::default(),
            settled_now: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            outbox,
            received: memory.received,
            kept,
            expiry,
            last_heard: Instant::now(),
            last_written: Instant::now(),
            paused: false,
            vitals,
            front,
        }
    }

    /// Serves the client until something ends it.
    pub async fn run(&mut self, place: &mut Place) -> End {
        let stopping = self.front.stopping.clone();
        let settled = self.settled.clone();
        let outbox = self.outbox.clone();
        let watch = sleep_until(self.deadline());
        tokio::pin!(watch);
        let mut waits = None;
        loop {
            let crowd = self.front.router.crowd();
            // Who has waited for room has a turn, however quickly others filled it again, and until something was handled.
            let publishes = !crowd.is_there || waits.is_some_and(|since| crowd.eased > since);
            let came = self.input.len();
            if let Err(end) = self.handle_input(publishes).await {
                return end;
            }
            if self.input.len() < came {
                waits = None;
            }
            let crowded = !publishes && codec::is_publish(&self.input);
            if crowded {
                waits.get_or_insert(crowd.eased);
            }
            self.fill_output();
            let (queued, in_flight) = {
                let outgoing = self.outbox.lock();
                if outgoing.is_overrun() {
                    return TooSlow.into();
                }
                outgoing.owed()
            };
            self.vitals.owes(queued, in_flight);
            let behind = self.kept.is_some() && self.front.intake.crowded();
            let reading = !crowded && !behind && self.reads();
            let resumed = reading && self.paused;
            self.paused = !reading;
            if resumed {
                self.last_heard = Instant::now();
                watch.as_mut().reset(self.deadline());
            }
            if self.input.capacity() - self.input.len() < LEAST_SPACE {
                self.input.reserve(READ);
            }
            tokio::select! {
                _ = stopping.cancelled() => return End::Shutdown,
                successor = place.taken() => return End::Takeover(successor),
                () = settled.changed(), if !self.unsettled.is_empty() => self.acknowledge(),
                relief = relief(&self.front, &self.held), if !self.held.is_empty() => self.relieve(relief),
                () = self.front.router.eased(waits.unwrap_or_default()), if crowded => {}
                () = self.front.intake.calm(), if behind => {}
                () = outbox.arrived(), if self.kept.is_some() => {}
                routed = outward::next(&mut self.link), if self.link.is_some() => {
                    let heard = match routed {
                        Ok(first) => self.drain(first),
                        Err(gone) => self.relink(gone).await,
                    };
                    if let Err(end) = heard {
                        return end;
                    }
                }
                written = self.writer.write(), if self.writer.has_output() => match written {
                    Ok(()) => self.last_written = Instant::now(),
                    Err(_) => return End::SocketError,
                },
                read = read(&mut self.reader, &mut self.input), if reading => match read {
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
            && self.held_bytes < MAX_HELD_BYTES
            && self.writer.output.len() < HIGH_WATER
    }

    fn deadline(&self) -> Instant {
        let watch = Instant::now() + WATCH;
        let keep_alive = self.keep_alive.filter(|_| !self.paused);
        keep_alive.map_or(watch, |keep_alive| watch.min(self.last_heard + keep_alive))
    }

    fn overdue(&mut self) -> Option<End> {
        if self.writer.has_output() && self.last_written.elapsed() > WRITE_DEADLINE {
            return Some(End::SocketError);
        }
        let keep_alive = self.keep_alive.filter(|_| !self.paused)?;
        if self.last_heard.elapsed() < keep_alive {
            return None;
        }
        // What has come in counts, even if there was no time to read it: the whole machine may have slept.
        match unconstrained(read(&mut self.reader, &mut self.input)).now_or_never() {
            None => Some(End::Keepalive),
            Some(Ok(0)) => Some(End::Closed),
            Some(Ok(_)) => {
                self.last_heard = Instant::now();
                None
            }
            Some(Err(_)) => Some(End::SocketError),
        }
    }

    /// Handles every whole packet that has come in, up to a message unless that may go in.
    async fn handle_input(&mut self, publishes: bool) -> Result<(), End> {
        let mut fan_out = FanOut::new();
        let mut result = Ok(());
        while result.is_ok() && self.reads() && (publishes || !codec::is_publish(&self.input)) {
            result = match codec::decode(&mut self.input, Some(self.version), MAX_PACKET) {
                Ok(Some(Packet::Publish(publish))) => self.receive(publish, &mut fan_out),
                Ok(Some(packet)) => {
                    // What was published before is out before what comes after is done.
                    self.front.router.publish(&mut fan_out);
                    self.handle(packet).await
                }
                Ok(None) => break,
                Err(malformed) => Err(malformed.into()),
            };
        }
        self.front.router.publish(&mut fan_out);
        result
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::PubAck(ack) => self.acknowledged(&ack),
            Packet::PubRec(ack) => self.received_by(&ack),
            Packet::PubComp(ack) => {
                self.outbox.lock().acknowledge(ack.packet_id);
            }
            Packet::PubRel(ack) => {
                self.release(ack.packet_id);
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await?,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe)?,
            Packet::PingReq => self.send(&Packet::PingResp),
            Packet::Disconnect(disconnect) => {
                let expiry = disconnect.properties.session_expiry();
                if !self.lasting && expiry.is_some_and(|expiry| expiry > 0) {
                    return Err(protocol_error(
                        "a session that ends with its connection cannot be made to last",
                    ));
                }
                return Err(End::Disconnect { with_will: disconnect.code != Code::SUCCESS, expiry });
            }
            Packet::Connect(_) => return Err(protocol_error("a second CONNECT")),
            Packet::Publish(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => return Err(protocol_error("a packet that only a server sends")),
        }
        Ok(())
    }

    fn send(&mut self, packet: &Packet) {
        codec::encode(packet, self.version, &mut self.writer.output);
    }

    /// Says goodbye to the others: the router, history, and those who wait for the will. What is left
    /// is to tell the client why.
    pub fn end(mut self, end: End, will: Option<Will>) -> (R, Writer<W>, Option<Farewell>) {
        if self.kept.is_none() {
            let whose = self.whose();
            for held in std::mem::take(&mut self.subscriptions) {
                self.front.subscriptions.remove(&whose, &held.wanted.filter);
            }
        }
        self.link = None;
        if let End::Disconnect { expiry: Some(expiry), .. } = end {
            self.expiry = expiry.min(MAX_EXPIRY);
        }
        let mut reason = None;
        let (kind, successor, code) = match end {
            End::Disconnect { with_will: false, .. } => (SessionEnd::Disconnect, None, None),
            End::Disconnect { with_will: true, .. } => (SessionEnd::DisconnectWithWill, None, None),
            End::Closed => (SessionEnd::Closed, None, None),
            End::SocketError => (SessionEnd::SocketError, None, None),
            End::Keepalive => (SessionEnd::Keepalive, None, Some(Code::KEEP_ALIVE_TIMEOUT)),
            End::Takeover(by) => (SessionEnd::Takeover, Some(by), Some(Code::SESSION_TAKEN_OVER)),
            End::Refused(code, what) => {
                info!(client_id = &*self.client_id, "ends the session of {}: {what}", self.client_id);
                reason = Some(what);
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
        front.flaps(&client_id, self.peer, kind);
        for inbound in std::mem::take(&mut self.held) {
            // There is nobody left to wait.
            front.intake.send(Input::Publish(inbound));
        }
        let will = will.map(|will| {
            let delay = will.properties.will_delay().map(|seconds| Duration::from_secs(seconds.into()));
            let incoming = Incoming {
                session: self.id,
                client_id: client_id.clone(),
                topic: will.topic,
                payload: will.payload,
                qos: will.qos,
                retain: will.retain,
                properties: will.properties,
                at: Timestamp::now(),
                will: true,
            };
            (delay.unwrap_or_default(), incoming)
        });
        // It waits, in case the client comes back to its session.
        let waits = |delay: &Duration| self.kept.is_some() && self.expiry > 0 && !delay.is_zero();
        let (later, will) = match will {
            Some((delay, will)) if waits(&delay) => (Some((delay, will)), None),
            will => (None, will.map(|(_, will)| will)),
        };
        let will_published = will.is_some();
        // The will stands and is heard before history is told of the end: what the gateway says to correct
        // it comes later, and is not said at all when the will has said it. The session is still this connection's,
        // so that its own subscriptions may leave the will out.
        let will = will.and_then(|will| front.publish_will(will));
        if let Some(kept) = self.kept.take() {
            let subscriptions = std::mem::take(&mut self.subscriptions);
            let memory = Memory::of(subscriptions, std::mem::take(&mut self.received));
            front.leave(&kept, memory, self.expiry, later);
        }
        front.intake.send(Input::Ended(Ended {
            session: self.id,
            client_id,
            address: self.peer.to_string(),
            at: Timestamp::now(),
            end: kind,
            will_published,
            successor,
        }));
        if let Some(will) = will {
            front.intake.send(Input::Publish(will));
        }
        let explained = explained(self.max_packet);
        (self.reader, self.writer, code.map(|code| Farewell { code, reason, explained }))
    }
}

impl<R, W> Session<R, W> {
    fn whose(&self) -> Whose {
        match &self.kept {
            Some(kept) => Whose::Kept(kept.outbox.clone()),
            None => Whose::Linked(self.id),
        }
    }

    /// Why something was refused, for a client that wants to know.
    fn reason(&self, why: impl Into<String>) -> Properties {
        let said = self.wants_reasons.then(|| Property::ReasonString(why.into()));
        said.into_iter().collect()
    }
}

/// Whether packets to a client that takes no longer ones than this may have reasons in them.
pub fn explained(max_packet: Option<u32>) -> bool {
    max_packet.is_none_or(|max| max >= MAX_EXPLAINED)
}

fn bare(packet_id: u16) -> Ack {
    Ack { packet_id, code: Code::SUCCESS, properties: Properties::none() }
}

fn protocol_error(what: &'static str) -> End {
    End::Refused(Code::PROTOCOL_ERROR, what)
}

async fn read(reader: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> io::Result<usize> {
    reader.read_buf(&mut input.limit(MAX_READ)).await
}

/// What messages that are held have waited for.
enum Relief {
    /// For the first of them.
    Room(Room),
    JournalFails,
}

/// Cancelling takes nothing.
async fn relief(front: &Front, held: &VecDeque<Inbound>) -> Relief {
    let Some(first) = held.front() else { return std::future::pending().await };
    tokio::select! {
        room = front.intake.room(first) => Relief::Room(room),
        () = front.intake.until_failing(), if held.iter().any(Inbound::may_go_unrecorded) => Relief::JournalFails,
    }
}
