//! How the session of a client fares, for whoever looks from outside.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use super::{codec::Version, subscriptions::Held};
use crate::model::{ClientSession, ProtocolVersion, SessionId, Timestamp, TopicFilter};

/// Subscriptions that are shown of one client: it may have a thousand, and there may be thousands of clients.
const MAX_SHOWN: usize = 100;

/// What the session writes and others read. Nothing here is waited for.
pub struct Vitals {
    client_id: Arc<str>,
    peer: SocketAddr,
    version: Version,
    keep_alive: u16,
    session: SessionId,
    since: Timestamp,
    queued: AtomicU32,
    in_flight: AtomicU32,
    /// In microseconds since 1970; 0 for never.
    last_message_at: AtomicI64,
    subscriptions: Mutex<Subscribed>,
}

#[derive(Default)]
struct Subscribed {
    count: u32,
    first: Vec<TopicFilter>,
}

impl Vitals {
    pub fn new(
        client_id: Arc<str>,
        peer: SocketAddr,
        version: Version,
        keep_alive: u16,
        session: SessionId,
    ) -> Vitals {
        Vitals {
            client_id,
            peer,
            version,
            keep_alive,
            session,
            since: Timestamp::now(),
            queued: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            last_message_at: AtomicI64::new(0),
            subscriptions: Mutex::default(),
        }
    }

    /// The client has published.
    pub fn spoke(&self, at: Timestamp) {
        self.last_message_at.store(at.0, Ordering::Relaxed);
    }

    /// What waits for the client, and what it has not acknowledged.
    pub fn owes(&self, queued: usize, in_flight: usize) {
        self.queued.store(bounded(queued), Ordering::Relaxed);
        self.in_flight.store(bounded(in_flight), Ordering::Relaxed);
    }

    /// What the client listens to by now.
    pub fn listens(&self, subscriptions: &[Held]) {
        let first = subscriptions.iter().take(MAX_SHOWN);
        let first = first
            .map(|held| TopicFilter { filter: held.wanted.filter.clone(), qos: held.wanted.qos.as_u8() });
        let subscribed = Subscribed { count: bounded(subscriptions.len()), first: first.collect() };
        *self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner) = subscribed;
    }

    /// As others see it now; the table of those who flap is asked elsewhere.
    pub fn told(&self) -> ClientSession {
        let last_message_at = self.last_message_at.load(Ordering::Relaxed);
        let subscribed = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        ClientSession {
            client_id: self.client_id.to_string(),
            address: self.peer.to_string(),
            version: match self.version {
                Version::V4 => ProtocolVersion::V4,
                Version::V5 => ProtocolVersion::V5,
            },
            since: self.since,
            keep_alive: self.keep_alive,
            session: self.session,
            subscriptions: subscribed.first.clone(),
            subscription_count: subscribed.count,
            queued: self.queued.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            last_message_at: (last_message_at != 0).then_some(Timestamp(last_message_at)),
            flapping: false,
        }
    }
}

fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
