//! A link to the router, of which nothing ever blocks: a router that hangs must not take the front along.

use std::{collections::HashSet, future::pending, sync::Arc};

use futures_util::FutureExt;
use rumqttd::{
    Notification,
    local::{LinkRx, LinkTx},
    protocol::{
        self, Disconnect, DisconnectReasonCode, Filter, Packet, RetainForwardRule, Subscribe, Unsubscribe,
    },
};
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep, timeout_at},
};

use super::{
    Router,
    header::{PREFIX, Routed},
};
use crate::broker::front::levels;

/// After the router had no ear for a ring. Its queue holds a thousand of them.
pub const RING_PAUSE: Duration = Duration::from_millis(1);
/// A router that was replaced has handed on all that it had, but to links that had no room for it or have many filters: those
/// wait so long for more.
const PATIENCE: Duration = Duration::from_millis(50);
const MANY_FILTERS: usize = 50;
/// And so long at most: what went in meanwhile waits in the bridge.
const LONGEST: Duration = Duration::from_millis(250);
/// The router compares a new filter with every topic that it has had, level by level. So many are compared before others get a
/// turn, some hundredths of a second on a PC, but for one filter at least.
const LEVELS_AT_A_TIME: usize = 4_000_000;
/// Nobody has ever subscribed to this.
const NOBODYS: &str = "nobody's";

/// The sending end.
pub struct Inlet {
    tx: LinkTx,
    unrung: bool,
    left: bool,
    /// Of messages that were put in and may not be taken yet.
    pub bytes: usize,
}

/// The receiving end.
pub struct Outlet {
    rx: LinkRx,
    /// The router waits to be told that there is room again.
    owes: bool,
    /// When it was told so, unless it has said something since.
    told: Option<Instant>,
}

/// The router is dead.
pub struct Dead;

/// Why a link brings nothing any more.
#[derive(Debug)]
pub enum Gone {
    /// There is a new router, and it takes a new link to it.
    Moved,
    /// The gateway stops.
    Stopped,
}

/// What the router tells a link.
enum Heard {
    Message(Routed),
    Subscribed,
    Nothing,
}

/// One client's link to the router. It must be drained at all times; dropping it leaves the router.
pub struct Link {
    /// Present until it is dropped.
    inlet: Option<Inlet>,
    outlet: Outlet,
    filters: HashSet<String>,
    name: u32,
    generation: u64,
    moved: watch::Receiver<u64>,
    /// When the router was found to be replaced.
    replaced: Option<Instant>,
    router: Arc<Router>,
}

impl Inlet {
    pub fn new(tx: LinkTx) -> Inlet {
        Inlet { tx, unrung: false, left: false, bytes: 0 }
    }

    /// Puts a packet where the router takes it from, once somebody has rung.
    pub fn put(&mut self, packet: Packet) {
        let size = match &packet {
            Packet::Publish(publish, _) => publish.topic.len() + publish.payload.len(),
            _ => 0,
        };
        let mut waiting = self.tx.buffer();
        if waiting.is_empty() {
            // What waited already was rung for, and would be taken along.
            self.unrung = true;
            self.bytes = 0;
        }
        self.bytes += size;
        waiting.push_back(packet);
    }

    /// Tells the router that something waits. False when it has no ear for that at the moment.
    pub fn ring(&mut self) -> bool {
        // Of all that can be sent without blocking, only this means nothing.
        if self.unrung {
            self.unrung = self.tx.try_unsubscribe(NOBODYS).is_err();
            if self.unrung {
                self.tx.buffer().pop_back();
            }
        }
        !self.unrung
    }

    /// Says farewell, which is the last thing that a link ever says: whatever the router finds behind it would stop it.
    /// False when that is to be tried again.
    pub fn leave(&mut self) -> bool {
        // Rings that the router has not heard yet must not find the farewell.
        if !self.left && self.waiting() == 0 {
            let farewell = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
            self.put(Packet::Disconnect(farewell, None));
            self.left = true;
        }
        self.ring() && self.left
    }

    /// How many packets the router has not taken.
    pub fn waiting(&self) -> usize {
        self.tx.buffer().len()
    }
}

impl Outlet {
    pub fn new(rx: LinkRx) -> Outlet {
        Outlet { rx, owes: false, told: None }
    }

    /// Waits for what the router says. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Option<Notification>, Dead> {
        loop {
            if self.owes {
                // Answered at once and only here: at any other time it would wake a link that is not there.
                self.rx.wake().await.map_err(|_| Dead)?;
                self.owes = false;
                self.told = Some(Instant::now());
            }
            match self.rx.next().await.map_err(|_| Dead)? {
                Some(Notification::Unschedule) => self.owes = true,
                other => {
                    self.told = None;
                    return Ok(other);
                }
            }
        }
    }
}

impl Link {
    pub(super) fn new(
        (inlet, outlet): (Inlet, Outlet),
        name: u32,
        generation: u64,
        router: Arc<Router>,
    ) -> Link {
        let (inlet, filters, moved) = (Some(inlet), HashSet::new(), router.moved.clone());
        Link { inlet, outlet, filters, name, generation, moved, replaced: None, router }
    }

    /// Waits for the next message. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Option<Routed>, Gone> {
        Ok(self.heard().await?.message())
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Option<Routed>> {
        let heard = self.notification().now_or_never()?;
        Some(Heard::of(heard, self.router.epoch).message())
    }

    /// Subscribes, and waits until the router has: what is published from then on comes. What comes by
    /// older subscriptions meanwhile is pushed.
    pub async fn subscribe(&mut self, filters: &[String], meanwhile: &mut Vec<Routed>) -> Result<(), Gone> {
        let mut rest = filters;
        while !rest.is_empty() {
            let topics = self.router.topics(self.generation);
            let (some, others) = rest.split_at(at_a_time(rest, topics));
            rest = others;
            let new: Vec<&String> = some.iter().filter(|filter| !self.filters.contains(*filter)).collect();
            self.router.took_filters(self.generation, &new);
            self.filters.extend(some.iter().cloned());
            let filters = some.iter().map(|filter| wanted(format!("{PREFIX}{filter}"))).collect();
            self.send(Packet::Subscribe(Subscribe { pkid: 1, filters }, None));
            loop {
                match self.heard().await? {
                    Heard::Subscribed => break,
                    Heard::Message(routed) => meanwhile.push(routed),
                    Heard::Nothing => {}
                }
            }
        }
        Ok(())
    }

    pub fn unsubscribe(&mut self, filter: &str) {
        if self.filters.remove(filter) {
            self.router.let_go_filters(self.generation, [filter]);
            let filters = vec![format!("{PREFIX}{filter}")];
            self.send(Packet::Unsubscribe(Unsubscribe { pkid: 1, filters }, None));
        }
    }

    fn send(&mut self, packet: Packet) {
        if let Some(inlet) = &mut self.inlet {
            inlet.put(packet);
            // If it has no ear now, the link rings again when it listens.
            inlet.ring();
        }
    }

    async fn heard(&mut self) -> Result<Heard, Gone> {
        let (mut moved, generation) = (self.moved.clone(), self.generation);
        if self.replaced.is_none() {
            let replaced = *moved.borrow() > generation;
            self.replaced = replaced.then(Instant::now);
        }
        let Some(replaced) = self.replaced else {
            let epoch = self.router.epoch;
            return tokio::select! {
                biased;
                notification = self.notification() => Ok(Heard::of(notification, epoch)),
                gone = gone(&mut moved, generation) => match gone {
                    Gone::Moved => Ok(Heard::Nothing),
                    Gone::Stopped => Err(Gone::Stopped),
                },
            };
        };
        self.rest(replaced).await.ok_or(Gone::Moved)
    }

    /// What a router that was replaced still has for the link.
    async fn rest(&mut self, replaced: Instant) -> Option<Heard> {
        let (now, last) = (Instant::now(), replaced + LONGEST);
        let until = match self.outlet.told {
            _ if now > last => return None,
            Some(told) => told + PATIENCE,
            None if self.filters.len() > MANY_FILTERS => replaced + PATIENCE,
            None => now,
        };
        let said = timeout_at(until.min(last), self.said()).await.ok()?.ok()?;
        Some(Heard::of(said, self.router.epoch))
    }

    /// Never comes when the router is dead: a new one is on its way.
    async fn notification(&mut self) -> Option<Notification> {
        match self.said().await {
            Ok(notification) => notification,
            Err(Dead) => pending().await,
        }
    }

    async fn said(&mut self) -> Result<Option<Notification>, Dead> {
        while self.inlet.as_mut().is_some_and(|inlet| !inlet.ring()) {
            sleep(RING_PAUSE).await;
        }
        self.outlet.next().await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.router.unlinked(self.generation);
        if let Some(inlet) = self.inlet.take() {
            self.router.let_go_filters(self.generation, self.filters.iter().map(String::as_str));
            self.router.left(self.generation, inlet, self.name);
        }
    }
}

impl Heard {
    fn of(notification: Option<Notification>, epoch: Instant) -> Heard {
        match notification {
            Some(Notification::Forward(forward)) => {
                let publish = forward.publish;
                Routed::of(publish.topic, publish.payload, epoch).map_or(Heard::Nothing, Heard::Message)
            }
            Some(other) => match Option::<Packet>::from(other) {
                Some(Packet::SubAck(..)) => Heard::Subscribed,
                Some(_) | None => Heard::Nothing,
            },
            None => Heard::Nothing,
        }
    }

    fn message(self) -> Option<Routed> {
        match self {
            Heard::Message(routed) => Some(routed),
            Heard::Subscribed | Heard::Nothing => None,
        }
    }
}

/// How many of these filters, of which there are some, the router may be told at once when it has had so many topics.
fn at_a_time(filters: &[String], topics: usize) -> usize {
    let mut left = LEVELS_AT_A_TIME;
    let fits = |filter: &&String| {
        let work = topics * levels(filter);
        let fits = work <= left;
        left = left.saturating_sub(work);
        fits
    };
    filters.iter().take_while(fits).count().max(1)
}

/// Waits until this generation of the router is not the current one any more.
pub async fn gone(moved: &mut watch::Receiver<u64>, generation: u64) -> Gone {
    match moved.wait_for(|current| *current > generation).await {
        Ok(_) => Gone::Moved,
        Err(_) => Gone::Stopped,
    }
}

/// As the router wants it to be told.
pub fn wanted(path: String) -> Filter {
    Filter {
        path,
        qos: protocol::QoS::AtMostOnce,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_told_by_what_they_cost_and_one_at_least() {
        let filters = |deep: usize| vec!["+/".repeat(deep - 1) + "#"; 100];
        let topics = LEVELS_AT_A_TIME / 100;
        for (deep, topics, at_a_time) in [
            (1, 0, 100),
            (100, 0, 100),
            (1, topics, 100),
            (2, topics, 50),
            (100, topics, 1),
            (100, 2 * topics, 1),
        ] {
            assert_eq!(super::at_a_time(&filters(deep), topics), at_a_time, "{deep} {topics}");
        }
    }
}
