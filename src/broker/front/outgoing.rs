//! What waits to be sent to one client, and what it has not acknowledged yet.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::codec::{Properties, Publish, QoS};
use crate::model::Seq;

/// QoS 1 messages that a client may leave unacknowledged before the next one waits.
const WINDOW: usize = 100;
/// A client that is this far behind gets no more QoS 0, and is cut when a QoS 1 message does not fit.
const MAX_WAITING: usize = 20_000;
pub const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// A command that waited longer than this for a stalled client is not sent any more: a device must not
/// act on what somebody wanted a while ago.
pub const COMMAND_LIFE: Duration = Duration::from_secs(5);
/// Messages that came by one of several overlapping subscriptions and are awaited by the others.
const MAX_COPIES: usize = 4_096;

/// A message on its way to one client.
#[derive(Debug)]
pub struct Delivery {
    pub topic: String,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    /// On a command topic: it loses its worth with time.
    pub life: Option<Duration>,
    /// The command of the gateway's own that it is.
    pub command: Option<Seq>,
}

/// The client does not keep up.
#[derive(Debug)]
pub struct TooSlow;

pub struct Outgoing {
    waiting: VecDeque<(Instant, Delivery)>,
    waiting_bytes: usize,
    in_flight: Vec<(u16, Option<Seq>)>,
    window: usize,
    last_id: u16,
    copies: HashMap<u64, usize>,
}

impl Outgoing {
    /// `receive_maximum` is what the client said it can take, if it did.
    pub fn new(receive_maximum: Option<u16>) -> Outgoing {
        Outgoing {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: Vec::new(),
            window: receive_maximum.map_or(WINDOW, |maximum| WINDOW.min(maximum.into())),
            last_id: 0,
            copies: HashMap::new(),
        }
    }

    /// Whether this is the first copy of a message that comes by `matching` subscriptions at once.
    pub fn is_first_copy(&mut self, number: u64, matching: usize) -> bool {
        if let Some(left) = self.copies.get_mut(&number) {
            *left -= 1;
            if *left == 0 {
                self.copies.remove(&number);
            }
            return false;
        }
        if matching > 1 {
            if self.copies.len() >= MAX_COPIES {
                // A subscription that ended meanwhile leaves copies that never come.
                self.copies.clear();
            }
            self.copies.insert(number, matching - 1);
        }
        true
    }

    pub fn push(&mut self, delivery: Delivery) -> Result<(), TooSlow> {
        let full = self.waiting.len() >= MAX_WAITING || self.waiting_bytes >= MAX_WAITING_BYTES;
        if full && delivery.qos == QoS::AtMostOnce {
            metrics::counter!("crosslink_mqtt_dropped_total").increment(1);
            return Ok(());
        }
        if full {
            return Err(TooSlow);
        }
        self.waiting_bytes += delivery.payload.len();
        self.waiting.push_back((Instant::now(), delivery));
        Ok(())
    }

    /// The next message that may be sent now.
    pub fn next(&mut self) -> Option<Publish> {
        loop {
            let (_, first) = self.waiting.front()?;
            if first.qos != QoS::AtMostOnce && self.in_flight.len() >= self.window {
                return None;
            }
            let (since, delivery) = self.waiting.pop_front()?;
            self.waiting_bytes -= delivery.payload.len();
            if delivery.life.is_some_and(|life| since.elapsed() > life) {
                metrics::counter!("crosslink_mqtt_expired_commands_total").increment(1);
                continue;
            }
            let packet_id = match delivery.qos {
                QoS::AtMostOnce => 0,
                QoS::AtLeastOnce | QoS::ExactlyOnce => {
                    let id = self.free_id();
                    self.in_flight.push((id, delivery.command));
                    id
                }
            };
            return Some(Publish {
                dup: false,
                qos: delivery.qos,
                retain: delivery.retain,
                topic: delivery.topic,
                packet_id,
                properties: Properties::none(),
                payload: delivery.payload,
            });
        }
    }

    /// How many messages wait to be sent, and how many were sent and are not acknowledged.
    pub fn owed(&self) -> (usize, usize) {
        (self.waiting.len(), self.in_flight.len())
    }

    /// The client has acknowledged a message; tells which command that was, if it was one.
    pub fn acknowledge(&mut self, packet_id: u16) -> Option<Seq> {
        let at = self.in_flight.iter().position(|(id, _)| *id == packet_id)?;
        self.in_flight.remove(at).1
    }

    /// The window is far smaller than the ids there are, so that one is always free.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.iter().any(|(id, _)| *id == self.last_id) {
                return self.last_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(qos: QoS) -> Delivery {
        Delivery {
            topic: "t".into(),
            payload: Bytes::from_static(b"x"),
            qos,
            retain: false,
            life: None,
            command: None,
        }
    }

    #[test]
    fn the_window_holds_until_something_is_acknowledged() {
        let mut outgoing = Outgoing::new(Some(2));
        for _ in 0..3 {
            outgoing.push(delivery(QoS::AtLeastOnce)).expect("room");
        }
        let ids: Vec<u16> = std::iter::from_fn(|| outgoing.next()).map(|publish| publish.packet_id).collect();
        assert_eq!(ids, [1, 2]);
        outgoing.acknowledge(1);
        assert_eq!(outgoing.next().map(|publish| publish.packet_id), Some(3));
    }

    #[test]
    fn packet_ids_wrap_around_those_in_flight() {
        let mut outgoing = Outgoing::new(None);
        outgoing.last_id = u16::MAX - 1;
        outgoing.in_flight = vec![(1, None)];
        assert_eq!([outgoing.free_id(), outgoing.free_id()], [u16::MAX, 2]);
    }

    #[test]
    fn a_slow_client_loses_qos_0_and_is_cut_at_qos_1() {
        let mut outgoing = Outgoing::new(None);
        for _ in 0..=MAX_WAITING {
            outgoing.push(delivery(QoS::AtMostOnce)).expect("dropped, not refused");
        }
        assert_eq!(outgoing.waiting.len(), MAX_WAITING);
        outgoing.push(delivery(QoS::AtLeastOnce)).expect_err("cut");
    }

    #[test]
    fn only_the_first_of_overlapping_copies_counts() {
        let mut outgoing = Outgoing::new(None);
        let first: Vec<bool> = [7, 7, 8, 7, 8]
            .map(|number| outgoing.is_first_copy(number, if number == 7 { 3 } else { 2 }))
            .to_vec();
        assert_eq!(first, [true, false, true, false, false]);
        assert!(outgoing.copies.is_empty());
    }
}
