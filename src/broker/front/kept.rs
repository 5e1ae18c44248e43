//! Persistent sessions: what of a client outlives its connection.
//!
//! A persistent session has no link to the router. Whoever publishes puts messages into its queue, whether its client is there or
//! away, so that there is no moment of leaving or coming back at which one could be lost.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Duration, Instant, sleep},
};
use tracing::{info, warn};

use super::{
    Front, Incoming,
    outgoing::{Delivery, Outgoing},
    subscriptions::{Held, Whose},
};
use crate::{
    address::Place,
    broker::{Inbound, Input, Settled},
    model::{Keep, KeptChange, KeptId, KeptSession, SessionId, Timestamp},
};

/// Persistent sessions there can be, there or away: each is work for who publishes, and room on disk.
const MAX_KEPT: usize = 1_000;
/// A client that is away for longer finds nothing any more: a device that nobody owns now must not fill the disk for ever.
pub const MAX_EXPIRY: u32 = 7 * 24 * 60 * 60;
/// A client that begins a session waits so long for the disk at most.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked who has been away for too long, and whose will is due.
const LOOK: Duration = Duration::from_secs(1);

/// A client's outgoing queue, and whoever puts something into it.
pub struct Outbox {
    outgoing: Mutex<Outgoing>,
    arrived: Notify,
    /// The connection that empties it; 0 while the client is away.
    session: AtomicI64,
}

/// The persistent sessions by client id.
#[derive(Default)]
pub struct KeptSessions {
    sessions: Mutex<HashMap<Arc<str>, Arc<Kept>>>,
    last_id: AtomicI64,
    /// Taken by what waits for all of them, in bytes.
    room: Arc<AtomicUsize>,
}

/// One persistent session.
pub struct Kept {
    id: KeptId,
    client_id: Arc<str>,
    pub outbox: Arc<Outbox>,
    memory: Mutex<Memory>,
}

/// What a session knows beside its queue. A connection takes it along and brings it back.
#[derive(Default)]
pub struct Memory {
    pub subscriptions: Vec<Held>,
    /// Packet ids of QoS 2 messages that came in and are not released, and whether they are written down.
    pub received: HashMap<u16, bool>,
    away: Option<Away>,
}

/// A client that is not there.
struct Away {
    since: Instant,
    expires: Instant,
    will: Option<(Instant, Incoming)>,
}

/// What a client that connects finds.
#[derive(Default)]
pub struct Resumed {
    /// Absent when its session ends with its connection.
    pub kept: Option<Arc<Kept>>,
    pub memory: Memory,
    pub present: bool,
    /// A session has begun or ended, which the client relies on.
    pub changed: bool,
}

impl Outbox {
    pub fn away(outgoing: Outgoing) -> Outbox {
        Outbox { outgoing: Mutex::new(outgoing), arrived: Notify::new(), session: AtomicI64::new(0) }
    }

    /// Of a session that ends with its connection, and shares `room` with the others.
    pub fn of(session: SessionId, receive_maximum: Option<u16>, room: Arc<AtomicUsize>) -> Outbox {
        let outbox = Outbox::away(Outgoing::new(receive_maximum, room));
        outbox.session.store(session.0, Ordering::Relaxed);
        outbox
    }

    /// Held for no longer than it takes to put a message in or take one out.
    pub fn lock(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that empties it, while there is one.
    pub fn session(&self) -> Option<SessionId> {
        Some(SessionId(self.session.load(Ordering::Relaxed))).filter(|session| session.0 != 0)
    }

    /// A message for a persistent session. What has to be written down is returned, with what gave way to it.
    pub fn offer(&self, delivery: Delivery) -> Vec<Keep> {
        let mut outgoing = self.lock();
        let queued = outgoing.push(delivery).unwrap_or_default();
        let mut keeps = outgoing.keeps();
        drop(outgoing);
        keeps.extend(queued);
        self.arrived.notify_one();
        keeps
    }

    /// Waits until somebody has offered something.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn arrive(&self, session: SessionId, receive_maximum: Option<u16>) {
        self.lock().arrive(receive_maximum);
        self.session.store(session.0, Ordering::Relaxed);
    }

    fn leave(&self) -> i64 {
        self.session.store(0, Ordering::Relaxed);
        self.lock().leave()
    }
}

impl Kept {
    /// That something of this session has to be written down.
    pub fn keep(&self, change: KeptChange) -> Keep {
        Keep { session: self.id, change }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    pub fn of(subscriptions: Vec<Held>, received: HashMap<u16, bool>) -> Memory {
        Memory { subscriptions, received, away: None }
    }
}

impl KeptSessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Kept>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, client_id: &Arc<str>) -> Kept {
        let id = KeptId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let outgoing = Outgoing::kept(id, self.room.clone(), 0, Vec::new());
        let outbox = Arc::new(Outbox::away(outgoing));
        Kept { id, client_id: client_id.clone(), outbox, memory: Mutex::default() }
    }
}

impl Front {
    /// Takes up the persistent sessions that the last run left.
    pub(super) fn restore(&self, sessions: Vec<KeptSession>) {
        let (now, today) = (Instant::now(), Timestamp::now());
        for session in sessions {
            self.kept.last_id.fetch_max(session.id.0, Ordering::Relaxed);
            // A client that was connected is away from now on.
            let left_at = session.left_at.unwrap_or(today);
            let away = Duration::from_millis(today.millis_since(left_at).unsigned_abs());
            let expiry = Duration::from_secs(session.expiry.min(MAX_EXPIRY).into());
            let sent = if session.left_at.is_some() { session.sent } else { i64::MAX };
            let sent = session.messages.last().map_or(0, |last| sent.min(last.number));
            let mut outgoing = Outgoing::kept(session.id, self.kept.room.clone(), sent, session.messages);
            let mut keeps = outgoing.keeps();
            let client_id: Arc<str> = session.client_id.into();
            let memory = Memory {
                subscriptions: session.subscriptions.into_iter().filter_map(Held::restored).collect(),
                received: session.received.into_iter().map(|packet_id| (packet_id, true)).collect(),
                away: Some(Away { since: now, expires: now + expiry.saturating_sub(away), will: None }),
            };
            let outbox = Arc::new(Outbox::away(outgoing));
            let whose = Whose::Kept(outbox.clone());
            memory.subscriptions.iter().for_each(|held| self.subscriptions.add(&whose, held));
            if session.left_at.is_none() {
                let change = KeptChange::Left { expiry: session.expiry, at: today, sent };
                keeps.push(Keep { session: session.id, change });
            }
            self.intake.keep(keeps);
            let kept =
                Kept { id: session.id, client_id: client_id.clone(), outbox, memory: Mutex::new(memory) };
            self.kept.lock().insert(client_id, Arc::new(kept));
        }
    }

    /// What a client that has just come in finds of its session, and what becomes of it. `expiry` is how long the session is to
    /// outlive the connection, in seconds.
    pub(super) fn resume(
        &self,
        client_id: &Arc<str>,
        session: SessionId,
        receive_maximum: Option<u16>,
        clean_start: bool,
        expiry: u32,
    ) -> Resumed {
        let mut resumed = Resumed::default();
        let mut will = None;
        {
            let mut sessions = self.kept.lock();
            let mut found = sessions.get(client_id).cloned();
            if let Some(kept) = &found {
                let mut memory = std::mem::take(&mut *kept.memory());
                let away = memory.away.take();
                let expired = away.as_ref().is_some_and(|away| away.expires <= Instant::now());
                if clean_start || expired {
                    sessions.remove(client_id);
                    self.forget(kept, &memory);
                    resumed.changed = true;
                    // The session that it waited for has ended.
                    will = away.and_then(|away| away.will);
                    found = None;
                } else {
                    (resumed.memory, resumed.present) = (memory, true);
                }
            }
            if found.is_none() && expiry > 0 {
                if sessions.len() >= MAX_KEPT {
                    self.forget_one(&mut sessions);
                }
                if sessions.len() < MAX_KEPT {
                    let kept = Arc::new(self.kept.create(client_id));
                    sessions.insert(client_id.clone(), kept.clone());
                    found = Some(kept);
                    resumed.changed = true;
                } else if let Some(times) = self.no_session.again(Instant::now().into_std()) {
                    warn!(
                        client_id = &**client_id,
                        times,
                        "there are {MAX_KEPT} persistent sessions: that of {client_id} ends with its connection \
                         ({times} since it was last said)"
                    );
                }
            }
            resumed.kept = found;
        }
        if let Some(kept) = &resumed.kept {
            kept.outbox.arrive(session, receive_maximum);
            let change = KeptChange::Connected { client_id: client_id.to_string(), expiry };
            self.intake.keep(vec![kept.keep(change)]);
        }
        if let Some((_, will)) = will {
            self.publish_late(will);
        }
        resumed
    }

    /// The client of a persistent session has gone. Its will, if it has one that is to be published later, waits with the session.
    pub(super) fn leave(
        &self,
        kept: &Arc<Kept>,
        mut memory: Memory,
        expiry: u32,
        will: Option<(Duration, Incoming)>,
    ) {
        let now = Instant::now();
        let sent = kept.outbox.leave();
        if expiry == 0 {
            self.kept.lock().remove(&kept.client_id);
            self.forget(kept, &memory);
            return;
        }
        let left = KeptChange::Left { expiry, at: Timestamp::now(), sent };
        let mut keeps = kept.outbox.lock().keeps();
        keeps.push(kept.keep(left));
        self.intake.keep(keeps);
        let will = will.map(|(delay, will)| (now + delay, will));
        let expires = now + Duration::from_secs(expiry.into());
        memory.away = Some(Away { since: now, expires, will });
        *kept.memory() = memory;
    }

    /// Waits until what was handed on before is on disk, as long as that may take: a disk that hangs keeps no client out.
    pub(super) async fn written(&self) {
        let settled = Arc::<Settled>::default();
        self.intake.send(Input::Keep { keeps: Vec::new(), ack: Some(settled.ack()) });
        tokio::select! {
            () = settled.changed() => {}
            () = self.intake.until_failing() => {}
            () = self.stopping.cancelled() => {}
            () = sleep(WRITTEN_WITHIN) => {}
        }
    }

    /// Makes room for another session: of those for which nothing waits, that of the client that left first ends.
    fn forget_one(&self, sessions: &mut HashMap<Arc<str>, Arc<Kept>>) {
        let left = |kept: &Arc<Kept>| {
            let nothing_waits = kept.outbox.lock().owed() == (0, 0);
            kept.memory()
                .away
                .as_ref()
                .filter(|away| nothing_waits && away.will.is_none())
                .map(|away| away.since)
        };
        let oldest =
            sessions.values().filter_map(|kept| Some((left(kept)?, kept.clone()))).min_by_key(|it| it.0);
        if let Some((_, kept)) = oldest {
            sessions.remove(&kept.client_id);
            self.forget(&kept, &kept.memory());
        }
    }

    fn forget(&self, kept: &Kept, memory: &Memory) {
        let whose = Whose::Kept(kept.outbox.clone());
        for held in &memory.subscriptions {
            self.subscriptions.remove(&whose, &held.wanted.filter);
        }
        self.intake.keep(vec![kept.keep(KeptChange::Forgotten)]);
    }

    /// Ends sessions whose clients have been away for too long, publishes wills when they are due, and forgets what is retained
    /// and has expired.
    pub(super) async fn look_after_kept(&self) {
        while self.stopping.run_until_cancelled(sleep(LOOK)).await.is_some() {
            let now = Instant::now();
            self.retained.expire(now, |topic| {
                let gone = Inbound::new(topic, Bytes::new(), Timestamp::now(), &self.pair);
                // No client said it: it means nothing but that nothing is kept.
                self.intake.send(Input::Publish(Inbound { place: Place::Foreign, kept: true, ..gone }));
            });
            let mut wills = Vec::new();
            self.kept.lock().retain(|client_id, kept| {
                let mut memory = kept.memory();
                let Some(away) = &mut memory.away else { return true };
                let expired = away.expires <= now;
                wills.extend(away.will.take_if(|(due, _)| expired || *due <= now));
                if expired {
                    info!(
                        client_id = &**client_id,
                        "{client_id} was away for too long: its session has ended"
                    );
                    self.forget(kept, &memory);
                }
                !expired
            });
            for (_, will) in wills {
                self.publish_late(will);
            }
        }
    }

    /// Publishes a will whose connection ended a while ago. That a device is gone was told then, and may not be so any more.
    fn publish_late(&self, will: Incoming) {
        if self.is_presence(&will.topic) {
            return;
        }
        if let Some(inbound) = self.publish_will(Incoming { at: Timestamp::now(), ..will }) {
            self.intake.send(Input::Publish(inbound));
        }
    }
}
