//! What waits to be sent to one client, and what it has not acknowledged yet.
//!
//! The queue of a persistent session outlives its connections: whoever publishes puts messages into it directly, and each that
//! the client has to acknowledge is written down with the message that it is.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::codec::{Properties, Property, Publish, QoS};
use crate::model::{Keep, KeptChange, KeptId, KeptMessage, Seq, Taken, Timestamp};

/// Messages of QoS 1 and 2 that a client may leave unacknowledged before the next one waits.
const WINDOW: usize = 100;
/// A client that is this far behind gets no more QoS 0, and is cut when another message does not fit.
const MAX_WAITING: usize = 20_000;
pub const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// A client that is away finds at most so much when it comes back: hours of what a device needs to be told.
const MAX_AWAY: usize = 10_000;
const MAX_AWAY_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of messages that wait for all persistent sessions together, in memory and on disk, beyond which who is away gets nothing.
const MAX_KEPT_AWAY_BYTES: usize = 64 * 1024 * 1024;
/// As much again for those who are there: what waits for who is away must take nothing from them.
const MAX_KEPT_BYTES: usize = 2 * MAX_KEPT_AWAY_BYTES;
/// So much each that is away has of its own, however much waits for the others.
const OWN_AWAY_BYTES: usize = 64 * 1024;
/// And each that is there: a burst of some hundred messages.
const OWN_BYTES: usize = 256 * 1024;
/// Bytes that wait for all sessions that end with their connections, beyond which each has only some hundred messages of its own.
const MAX_LINKED_BYTES: usize = 256 * 1024 * 1024;
/// What a message takes beside its topic and its payload.
pub const OVERHEAD: usize = 512;
/// A command that waited longer than this for a stalled client is not sent any more: a device must not
/// act on what somebody wanted a while ago.
pub const COMMAND_LIFE: Duration = Duration::from_secs(5);
/// Packet ids there are.
const IDS: u64 = u16::MAX as u64;

/// A message on its way to one client.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub topic: String,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    /// As MQTT 5 writes them, without their length.
    pub properties: Bytes,
    /// The identifiers of the subscriptions by which it comes.
    pub ids: Vec<u32>,
    /// Worth nothing from then on.
    pub expires: Option<Instant>,
    /// On a command topic: it loses its worth with time.
    pub life: Option<Duration>,
    /// The command of the gateway's own that it is.
    pub command: Option<Seq>,
}

/// The client does not keep up.
#[derive(Debug)]
pub struct TooSlow;

/// No message is under way with this packet id.
#[derive(Debug, PartialEq)]
pub struct NotSent;

/// A message with its place in the queue.
struct Queued {
    /// 0 without an acknowledgement to come. The packet id follows from it.
    number: u64,
    since: Instant,
    /// It may have been sent before.
    sent: bool,
    /// Known where it is to be written down.
    taken: Taken,
    delivery: Delivery,
}

/// A message that was sent, and whose exchange is not over.
struct InFlight {
    number: u64,
    command: Option<Seq>,
    /// To send again, in a persistent session.
    again: Option<Queued>,
}

pub struct Outgoing {
    waiting: VecDeque<Queued>,
    /// Of what waits, and of what may have to be sent again.
    bytes: usize,
    in_flight: VecDeque<InFlight>,
    window: usize,
    last_number: u64,
    /// The last that was sent.
    sent: u64,
    connected: bool,
    /// The client has been told too much: it is to be cut.
    overrun: bool,
    /// It has come back to more than may wait for who is away, and is not cut until it has caught up.
    behind: bool,
    /// The first of what waits is worth nothing any more then, or later.
    expires: Option<Instant>,
    /// Taken by all sessions of its sort together, in bytes.
    room: Arc<AtomicUsize>,
    kept: Option<Kept>,
}

/// What an outgoing queue knows of the persistent session that it belongs to.
struct Kept {
    id: KeptId,
    /// What has to be written down, and nobody has taken along yet.
    keeps: Vec<Keep>,
}

impl Outgoing {
    /// `receive_maximum` is what the client said it can take, if it did.
    pub fn new(receive_maximum: Option<u16>, room: Arc<AtomicUsize>) -> Outgoing {
        Outgoing {
            waiting: VecDeque::new(),
            bytes: 0,
            in_flight: VecDeque::new(),
            window: window(receive_maximum),
            last_number: 0,
            sent: 0,
            connected: true,
            overrun: false,
            behind: false,
            expires: None,
            room,
            kept: None,
        }
    }

    /// The queue of a persistent session whose client is away, as the last run left it. Messages up to `sent` may have been sent.
    /// What has expired meanwhile is not taken up, and neither is more than there may have been.
    pub fn kept(id: KeptId, room: Arc<AtomicUsize>, sent: i64, messages: Vec<KeptMessage>) -> Outgoing {
        let mut outgoing = Outgoing::new(None, room);
        outgoing.kept = Some(Kept { id, keeps: Vec::new() });
        outgoing.sent = u64::try_from(sent).unwrap_or_default();
        outgoing.last_number = outgoing.sent;
        let (now, today) = (Instant::now(), Timestamp::now());
        for message in messages {
            let number = u64::try_from(message.number).unwrap_or_default();
            outgoing.last_number = outgoing.last_number.max(number);
            let left = message.expires_at.map(|at| at.millis_since(today).unsigned_abs());
            if left == Some(0) || outgoing.holds(MAX_WAITING + WINDOW, MAX_WAITING_BYTES) {
                metrics::counter!("crosslink_mqtt_dropped_total").increment(u64::from(left != Some(0)));
                outgoing.taken(number, &message.taken);
                continue;
            }
            let expires = left.map(|left| now + Duration::from_millis(left));
            let delivery = Delivery {
                topic: message.topic,
                payload: message.payload,
                qos: message.qos,
                retain: message.retain,
                properties: message.properties,
                ids: Vec::new(),
                expires,
                life: None,
                command: None,
            };
            let (sent, taken) = (number <= outgoing.sent, message.taken);
            outgoing.put(Queued { number, since: now, sent, taken, delivery });
        }
        outgoing.connected = false;
        outgoing
    }

    /// The client is there, and takes so many messages before it acknowledges one.
    pub fn arrive(&mut self, receive_maximum: Option<u16>) {
        self.window = window(receive_maximum);
        self.connected = true;
        self.overrun = false;
        self.behind = self.holds(MAX_AWAY, MAX_AWAY_BYTES);
    }

    /// The client is gone: what it has not acknowledged waits for it, but no command, and nothing of QoS 0. Tells up to which
    /// number something was sent.
    pub fn leave(&mut self) -> i64 {
        self.connected = false;
        let waiting = std::mem::take(&mut self.waiting);
        let in_flight = std::mem::take(&mut self.in_flight);
        self.give_back(self.bytes);
        let sent = in_flight.into_iter().filter_map(|in_flight| in_flight.again);
        for queued in sent.chain(waiting) {
            if queued.number != 0 && queued.delivery.life.is_none() {
                self.put(queued);
            }
        }
        i64::try_from(self.sent).unwrap_or(i64::MAX)
    }

    /// Puts a message behind the others. What has to be written down of it is returned.
    pub fn push(&mut self, delivery: Delivery) -> Result<Option<Keep>, TooSlow> {
        let counted = delivery.qos != QoS::AtMostOnce;
        let is_command = delivery.life.is_some();
        if !self.connected && (!counted || is_command) {
            return Ok(None);
        }
        let shares = self.kept.is_none() || (counted && !is_command);
        if self.is_full(shares) {
            self.drop_expired();
        }
        if self.is_full(shares) {
            metrics::counter!("crosslink_mqtt_dropped_total").increment(1);
            // What others leave lying is not held against who is there and could have it later.
            let lags = self.kept.is_none() || self.holds(MAX_WAITING, MAX_WAITING_BYTES);
            let lags = lags && self.connected && !self.behind;
            self.overrun |= counted && lags;
            return if self.overrun { Err(TooSlow) } else { Ok(None) };
        }
        let taken = Taken::default();
        let number = if counted { self.last_number + 1 } else { 0 };
        self.last_number = self.last_number.max(number);
        let keep = match &self.kept {
            Some(kept) if counted && !is_command => {
                let change = KeptChange::Queued(delivery.kept(number, taken.clone()));
                Some(Keep { session: kept.id, change })
            }
            _ => None,
        };
        self.put(Queued { number, since: Instant::now(), sent: false, taken, delivery });
        Ok(keep)
    }

    /// Whether a message that shares the room of all, or does not, has none.
    fn is_full(&self, shares: bool) -> bool {
        let (messages, bytes, own, all) = if self.kept.is_none() {
            (MAX_WAITING, MAX_WAITING_BYTES, OWN_BYTES, MAX_LINKED_BYTES)
        } else if self.connected {
            (MAX_WAITING, MAX_WAITING_BYTES, OWN_BYTES, MAX_KEPT_BYTES)
        } else {
            (MAX_AWAY, MAX_AWAY_BYTES, OWN_AWAY_BYTES, MAX_KEPT_AWAY_BYTES)
        };
        let crowded = shares && self.bytes >= own && self.room.load(Ordering::Relaxed) >= all;
        self.holds(messages, bytes) || crowded
    }

    /// Whether a message of QoS 0 would be taken.
    pub fn is_roomy(&self) -> bool {
        !self.is_full(self.kept.is_none())
    }

    /// Whether so much waits, or more.
    fn holds(&self, messages: usize, bytes: usize) -> bool {
        self.waiting.len() >= messages || self.bytes >= bytes
    }

    /// Makes room where what waits is worth nothing any more.
    fn drop_expired(&mut self) {
        let now = Instant::now();
        if self.expires.is_none_or(|expires| expires > now) {
            return;
        }
        self.expires = None;
        for queued in std::mem::take(&mut self.waiting) {
            if queued.delivery.expires.is_some_and(|expires| expires <= now) {
                self.give_back(size(&queued.delivery));
                self.taken(queued.number, &queued.taken);
            } else {
                self.expires = earlier(self.expires, queued.delivery.expires);
                self.waiting.push_back(queued);
            }
        }
    }

    /// Whether the client was told more than it took.
    pub fn is_overrun(&self) -> bool {
        self.overrun
    }

    fn put(&mut self, queued: Queued) {
        let size = size(&queued.delivery);
        self.bytes += size;
        self.room.fetch_add(size, Ordering::Relaxed);
        self.expires = earlier(self.expires, queued.delivery.expires);
        self.waiting.push_back(queued);
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.room.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The next message that may be sent now.
    pub fn next(&mut self) -> Option<Publish> {
        self.behind &= self.holds(MAX_AWAY, MAX_AWAY_BYTES);
        loop {
            let first = self.waiting.front()?;
            if first.number != 0 {
                // Ids come round: the next waits until the oldest has given its own back.
                let id_taken =
                    self.in_flight.front().is_some_and(|oldest| first.number >= oldest.number + IDS);
                if self.in_flight.len() >= self.window || id_taken {
                    return None;
                }
            }
            let Queued { number, since, sent, taken, delivery } = self.waiting.pop_front()?;
            let size = size(&delivery);
            let now = Instant::now();
            let late = delivery.life.is_some_and(|life| since + life < now);
            if late || delivery.expires.is_some_and(|expires| expires <= now) {
                if late {
                    metrics::counter!("crosslink_mqtt_expired_commands_total").increment(1);
                }
                self.give_back(size);
                self.taken(number, &taken);
                continue;
            }
            let again = (number != 0 && self.kept.is_some()).then(|| Queued {
                number,
                since,
                sent: true,
                taken,
                delivery: delivery.clone(),
            });
            if again.is_none() {
                self.give_back(size);
            }
            if number != 0 {
                self.sent = self.sent.max(number);
                self.in_flight.push_back(InFlight { number, command: delivery.command, again });
            }
            return Some(delivery.publish(number, sent, now));
        }
    }

    /// How many messages wait to be sent, and how many were sent and are not acknowledged.
    pub fn owed(&self) -> (usize, usize) {
        (self.waiting.len(), self.in_flight.len())
    }

    /// The client has a message of QoS 2, whose packet id stays taken until it says PUBCOMP; tells which command it is, if it is one.
    pub fn received(&mut self, packet_id: u16) -> Result<Option<Seq>, NotSent> {
        let at = self.sent_under(packet_id).ok_or(NotSent)?;
        Ok(self.in_flight[at].command.take())
    }

    /// The exchange of a message is over; tells which command that was, if it was one.
    pub fn acknowledge(&mut self, packet_id: u16) -> Option<Seq> {
        let at = self.sent_under(packet_id)?;
        let in_flight = self.in_flight.remove(at)?;
        if let Some(queued) = in_flight.again {
            self.give_back(size(&queued.delivery));
            if queued.delivery.life.is_none() {
                self.taken(in_flight.number, &queued.taken);
            }
        }
        in_flight.command
    }

    fn sent_under(&self, packet_id: u16) -> Option<usize> {
        self.in_flight.iter().position(|in_flight| id(in_flight.number) == packet_id)
    }

    fn taken(&mut self, number: u64, taken: &Taken) {
        if let Some(kept) = self.kept.as_mut().filter(|_| number != 0) {
            // Said before it is handed on: what is to be written may stand before it or behind.
            taken.set();
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            kept.keeps.push(Keep { session: kept.id, change: KeptChange::Taken { number } });
        }
    }

    /// What has to be written down since the last call.
    pub fn keeps(&mut self) -> Vec<Keep> {
        self.kept.as_mut().map(|kept| std::mem::take(&mut kept.keeps)).unwrap_or_default()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

impl Delivery {
    fn publish(self, number: u64, dup: bool, now: Instant) -> Publish {
        let mut properties = Properties::travelled(&self.properties);
        if let Some(expires) = self.expires {
            let left = expires.saturating_duration_since(now).as_millis().div_ceil(1_000);
            properties.push(Property::MessageExpiry(u32::try_from(left).unwrap_or(u32::MAX)));
        }
        self.ids.iter().for_each(|id| properties.push(Property::SubscriptionId(*id)));
        Publish {
            dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic,
            packet_id: if number == 0 { 0 } else { id(number) },
            properties,
            payload: self.payload,
        }
    }

    fn kept(&self, number: u64, taken: Taken) -> KeptMessage {
        let mut properties = Properties::travelled(&self.properties);
        self.ids.iter().for_each(|id| properties.push(Property::SubscriptionId(*id)));
        let left = self.expires.map(|expires| expires.saturating_duration_since(Instant::now()));
        KeptMessage {
            number: i64::try_from(number).unwrap_or(i64::MAX),
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            qos: self.qos,
            retain: self.retain,
            properties: properties.written(),
            expires_at: left.map(|left| Timestamp::now().after(left)),
            taken,
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

fn window(receive_maximum: Option<u16>) -> usize {
    receive_maximum.map_or(WINDOW, |maximum| WINDOW.min(maximum.into()))
}

fn size(delivery: &Delivery) -> usize {
    delivery.topic.len() + delivery.payload.len() + delivery.properties.len() + OVERHEAD
}

/// From 1 to 65 535, round and round.
fn id(number: u64) -> u16 {
    u16::try_from((number - 1) % IDS + 1).expect("it is below 65 536")
}

#[cfg(test)]
mod tests;
