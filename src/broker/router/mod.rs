//! rumqttd's router: it fans messages out to the clients that are connected, and does nothing else.
//!
//! Everything that can stop it is kept from it: topics and filters are prefixed, every message goes in
//! as QoS 0 and unretained, a link says its farewell last. When it stops nevertheless, or has taken in
//! too much that it never forgets, its keeper builds a new one, and whoever had a link gets another.

#![allow(clippy::disallowed_types)]

mod claims;
mod feed;
mod header;
mod keeper;
mod link;
mod running;
mod tail;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rumqttd::protocol::Publish;
use tokio::{
    sync::{Notify, watch},
    time::{Duration, Instant, sleep},
};

use self::{
    header::PREFIX,
    link::{Inlet, gone},
    running::Running,
    tail::{Entry, Tail, Taken},
};
use super::front::codec::QoS;

pub use self::{
    claims::{A_FEW, Claims},
    header::{Header, Routed},
    keeper::{Keeper, REASONS, RETIRED},
    link::{Gone, Link},
    tail::Missed,
};

/// Before a link is asked for again.
const LINK_PAUSE: Duration = Duration::from_millis(10);
/// So long after a router was replaced everything that goes in stands in the bridge, or until all links have moved: those who
/// have not find it there.
const MOVING: Duration = Duration::from_secs(5);

/// The router cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("the router does not start")]
pub struct NoRouter;

/// How much a router takes in before it is replaced, and how many filters it holds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Distinct topics: it keeps each twice, with what belongs to it.
    pub topics: usize,
    /// Of their names.
    pub topic_bytes: usize,
    /// Distinct filters that anybody had; one of more than 8 levels counts as several. Each has a log of its own, for which a
    /// quarter of a MiB is reserved.
    pub filters: usize,
    /// Distinct filters that somebody has. Well below those, so that a new router has room.
    pub live_filters: usize,
    /// So many more of both for clients with a few: those with many must not shut them out.
    pub reserve: usize,
    /// Of messages that went in: it keeps up to 16 MiB of what each filter brought, though everybody has it. At twice as many
    /// publishers wait.
    pub logged_bytes: usize,
    /// It is replaced for so many when nothing goes in.
    pub idle_bytes: usize,
}

/// A message that is to go in.
pub struct Outbound {
    pub header: Header,
    pub topic: String,
    pub payload: Bytes,
    /// How many distinct filters bring it to somebody.
    pub filters: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            topics: 100_000,
            topic_bytes: 16 * 1024 * 1024,
            filters: 8_192,
            live_filters: 4_096,
            reserve: 1_024,
            logged_bytes: 32 * 1024 * 1024,
            idle_bytes: 4 * 1024 * 1024,
        }
    }
}

/// The router, replaced in the process when it has to be.
pub struct Router {
    state: Mutex<State>,
    /// The generation that links are to belong to. Closed when the gateway stops.
    moved: watch::Receiver<u64>,
    crowd: watch::Sender<Crowd>,
    trouble: watch::Sender<Option<&'static str>>,
    /// The place of the oldest message in the tail.
    tail_begins: AtomicU64,
    /// The keeper has something to see to.
    pressed: Notify,
    /// Moments in headers are counted from here.
    epoch: Instant,
    hasher: RandomState,
    limits: Limits,
}

/// Whether more waits for the router than it should.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crowd {
    /// Publishers should wait.
    pub is_there: bool,
    /// How often that has come to an end.
    pub eased: u64,
}

struct State {
    /// None between two generations.
    running: Option<Running>,
    generation: u64,
    /// Of the last message that went in.
    number: u64,
    /// Of the first message that no earlier generation had.
    first: u64,
    /// The last place in the tail that was given to a message.
    place: u64,
    tail: Tail,
    /// What need not stand in the tail, and does while links move.
    bridge: Tail,
    /// What went into the tail since the router that runs took its place.
    lasting: Taken,
    moving: Instant,
    /// Links to the router that runs, and to the one before.
    links: usize,
    old_links: usize,
    /// When something went in last.
    last_put: Instant,
    /// Those that went in while links moved, when the tail had no room for them.
    untold: u64,
}

impl Router {
    /// The router, and its keeper, who has to run. It blocks for a moment.
    pub fn start(limits: Limits) -> Result<(Arc<Router>, Keeper), NoRouter> {
        let (running, outlet) = Running::start().ok_or(NoRouter)?;
        let (announce, moved) = watch::channel(0);
        let now = Instant::now();
        let state = State {
            running: Some(running),
            generation: 0,
            number: 0,
            first: 1,
            place: 0,
            tail: Tail::default(),
            bridge: Tail::default(),
            lasting: Taken::default(),
            moving: now,
            links: 0,
            old_links: 0,
            last_put: now,
            untold: 0,
        };
        let router = Arc::new(Router {
            state: Mutex::new(state),
            moved,
            crowd: watch::Sender::default(),
            trouble: watch::Sender::new(None),
            tail_begins: AtomicU64::new(0),
            pressed: Notify::new(),
            epoch: now,
            hasher: RandomState::new(),
            limits,
        });
        Ok((router.clone(), Keeper::new(router, outlet, announce)))
    }

    /// Puts messages in, in order. What concerns the router itself in each header is set here.
    pub fn publish(&self, messages: &mut Vec<Outbound>) {
        if messages.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut state = self.lock();
        for message in messages.drain(..) {
            self.put(&mut state, message, now);
        }
        state.last_put = now;
        self.tail_begins.store(state.tail_begins(), Ordering::Relaxed);
        if state.is_crowded(&self.limits, now) {
            self.set_crowded(true);
        }
        let Some(running) = &mut state.running else { return };
        let rung = running.feed();
        drop(state);
        if !rung {
            self.pressed.notify_one();
        }
    }

    fn put(&self, state: &mut State, message: Outbound, now: Instant) {
        let Outbound { header, topic, payload, filters } = message;
        state.number += 1;
        let number = state.number;
        let fleeting = header.qos == QoS::AtMostOnce;
        let moving = state.is_moving(now);
        let in_tail = !fleeting || (moving && state.bridge.is_roomy());
        state.untold += u64::from(moving && !in_tail);
        state.place += u64::from(in_tail);
        let place = if in_tail { state.place } else { 0 };
        let header = Header { number, place, ..header };
        let payload = header.before(&payload, self.epoch);
        let hash = self.hash(&topic);
        let topic = Bytes::from(format!("{PREFIX}{topic}"));
        if in_tail {
            let entry = Entry { number, place, at: now, topic: topic.clone(), payload: payload.clone() };
            if fleeting {
                state.bridge.push(entry);
            } else {
                state.lasting.add(&entry);
                state.tail.push(entry);
            }
        }
        if let Some(running) = &mut state.running {
            running.put(Publish::new(topic, payload, false), hash, filters, fleeting);
        }
    }

    /// A new link, when the router has answered.
    pub async fn link(self: &Arc<Router>) -> Result<Link, Gone> {
        let mut moved = self.moved.clone();
        loop {
            let (generation, asked) = {
                let mut state = self.lock();
                (state.generation, state.running.as_mut().map(Running::ask_for_link))
            };
            let linked = async {
                let (name, link) = asked?;
                Some((name, link.await.ok()?))
            };
            tokio::select! {
                linked = linked => match linked {
                    Some((name, ends)) => {
                        self.linked(generation);
                        return Ok(Link::new(ends, name, generation, self.clone()));
                    }
                    // There is no router, or it has no place.
                    None => sleep(LINK_PAUSE).await,
                },
                gone = gone(&mut moved, generation) => match gone {
                    Gone::Moved => {}
                    Gone::Stopped => return Err(Gone::Stopped),
                },
            }
        }
    }

    /// What a link that has just been subscribed does not bring, and perhaps no other did.
    pub fn missed(&self) -> Missed {
        let state = self.lock();
        Missed::of(&state.tail, &state.bridge, state.first, state.number, self.epoch)
    }

    fn linked(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation {
            state.links += 1;
        } else if state.generation == generation + 1 {
            state.old_links += 1;
        }
    }

    /// A link is no more, or its session has another.
    fn unlinked(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation {
            state.links -= 1;
        } else if state.generation == generation + 1 {
            state.old_links = state.old_links.saturating_sub(1);
            if state.old_links == 0 {
                state.moving = Instant::now();
                self.set_crowded(state.is_crowded(&self.limits, state.moving));
            }
        }
    }

    /// A link has moved, and may have missed what the tail had no room for: all that is counted, once.
    pub fn count_untold(&self) {
        let untold = std::mem::take(&mut self.lock().untold);
        metrics::counter!("crosslink_router_lost_total").increment(untold);
    }

    /// The number of the last message that went in.
    pub fn last(&self) -> u64 {
        self.lock().number
    }

    /// What has a lower place does not stand in the tail any more.
    pub fn tail_begins(&self) -> u64 {
        self.tail_begins.load(Ordering::Relaxed)
    }

    /// For filters that are about to be subscribed to.
    pub fn claims(self: &Arc<Router>) -> Claims {
        Claims::new(self.clone())
    }

    pub fn crowd(&self) -> Crowd {
        *self.crowd.borrow()
    }

    /// Waits until publishers need not wait any more, or did not have to for a moment since it had eased so often.
    pub async fn eased(&self, since: u64) {
        // The sender lives as long as this does.
        let _ = self.crowd.subscribe().wait_for(|crowd| !crowd.is_there || crowd.eased > since).await;
    }

    /// Said under the lock that it was found out under, so that what is found out last is said last.
    fn set_crowded(&self, crowded: bool) {
        self.crowd.send_if_modified(|crowd| {
            let changes = crowd.is_there != crowded;
            crowd.is_there = crowded;
            crowd.eased += u64::from(changes && !crowded);
            changes
        });
    }

    /// What is wrong with the router, while something is.
    pub fn trouble(&self) -> watch::Receiver<Option<&'static str>> {
        self.trouble.subscribe()
    }

    /// What a defect in the router would do.
    pub fn kill(&self) {
        if let Some(running) = &mut self.lock().running {
            running.kill("été");
        }
    }

    /// As if the router hung: it answers no probe any more.
    pub fn deafen(&self) {
        if let Some(running) = &mut self.lock().running {
            running.deafen();
        }
    }

    /// How many topics the router of this generation has had, if it is the one that runs.
    fn topics(&self, generation: u64) -> usize {
        self.with(generation, |running| running.topics()).unwrap_or_default()
    }

    fn took_filters(&self, generation: u64, filters: &[&String]) {
        self.with(generation, |running| {
            filters.iter().for_each(|filter| running.took_filter(self.hash(filter), filter));
        });
    }

    fn let_go_filters<'a>(&self, generation: u64, filters: impl IntoIterator<Item = &'a str>) {
        self.with(generation, |running| {
            filters.into_iter().for_each(|filter| running.let_go_filter(self.hash(filter)));
        });
    }

    fn left(&self, generation: u64, inlet: Inlet, name: u32) {
        if self.with(generation, |running| running.leave(inlet, name)) == Some(false) {
            self.pressed.notify_one();
        }
    }

    /// With the router of this generation, if it is the one that runs.
    fn with<T>(&self, generation: u64, act: impl FnOnce(&mut Running) -> T) -> Option<T> {
        let mut state = self.lock();
        let current = state.generation == generation;
        state.running.as_mut().filter(|_| current).map(act)
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there is a link that has not moved to the router that runs.
    fn is_moving(&self, now: Instant) -> bool {
        self.running.is_none() || (self.old_links > 0 && now < self.moving)
    }

    /// Whether publishers should wait.
    fn is_crowded(&self, limits: &Limits, now: Instant) -> bool {
        let full = self.running.as_ref().is_some_and(|running| running.is_crowded(limits));
        full || (self.is_moving(now) && !(self.bridge.is_safe() && self.lasting.is_safe()))
    }

    fn tail_begins(&self) -> u64 {
        let begins = self.tail.begins().into_iter().chain(self.bridge.begins()).min();
        begins.unwrap_or(self.place + 1)
    }

    /// Lets go of what nobody can miss any more.
    fn trim(&mut self, now: Instant) {
        self.tail.trim(now);
        if !self.is_moving(now) {
            self.bridge = Tail::default();
            if let Some(running) = &mut self.running {
                running.has_moved();
            }
        }
    }

    /// Puts another router in the place of the one that runs, or none for now.
    fn replace(&mut self, mut running: Option<Running>) -> Option<Running> {
        if let (Some(new), Some(old)) = (&mut running, &self.running) {
            new.succeeds(old);
        }
        if self.running.is_some() {
            self.first = self.number + 1;
            self.bridge = Tail::default();
            self.lasting = Taken::default();
            self.untold = 0;
        }
        if running.is_some() {
            self.generation += 1;
            self.old_links = std::mem::take(&mut self.links);
            self.moving = Instant::now() + MOVING;
        }
        std::mem::replace(&mut self.running, running)
    }
}

#[cfg(test)]
mod tests;
