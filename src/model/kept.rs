//! What outlives a client's connection: its persistent session.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;

use super::{QoS, Timestamp};

/// Which persistent session, counted from 1. None has the number of one that is still written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeptId(pub i64);

/// A persistent session as the last run left it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptSession {
    pub id: KeptId,
    pub client_id: String,
    /// In seconds from the end of the connection.
    pub expiry: u32,
    /// Absent when the client was connected.
    pub left_at: Option<Timestamp>,
    /// Messages up to this number may have been sent to it.
    pub sent: i64,
    pub subscriptions: Vec<KeptSubscription>,
    /// What it has not acknowledged, oldest first.
    pub messages: Vec<KeptMessage>,
    /// Packet ids of QoS 2 messages that came in and are not released.
    pub received: Vec<u16>,
}

/// A subscription of a persistent session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSubscription {
    pub filter: String,
    /// The options as SUBSCRIBE writes them, QoS and all.
    pub options: u8,
    pub id: Option<u32>,
}

/// A message that a persistent session has not acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptMessage {
    /// Its place in the session's queue, from 1 on; the packet id follows from it.
    pub number: i64,
    pub topic: String,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    /// As MQTT 5 writes them, without their length.
    pub properties: Bytes,
    pub expires_at: Option<Timestamp>,
    pub taken: Taken,
}

/// Whether the client has acknowledged a message already: that can overtake what is to be written of it.
#[derive(Clone, Debug, Default)]
pub struct Taken(Arc<AtomicBool>);

impl Taken {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl PartialEq for Taken {
    fn eq(&self, other: &Taken) -> bool {
        self.is_set() == other.is_set()
    }
}

/// Something to write down of a persistent session.
#[derive(Clone, Debug, PartialEq)]
pub struct Keep {
    pub session: KeptId,
    pub change: KeptChange,
}

#[derive(Clone, Debug, PartialEq)]
pub enum KeptChange {
    /// Its client has connected, for the first time or again.
    Connected {
        client_id: String,
        expiry: u32,
    },
    Left {
        expiry: u32,
        at: Timestamp,
        sent: i64,
    },
    /// With all that belongs to it.
    Forgotten,
    Subscribed(KeptSubscription),
    Unsubscribed {
        filter: String,
    },
    Queued(KeptMessage),
    /// The client has acknowledged it, or it is worth nothing any more.
    Taken {
        number: i64,
    },
    Received {
        packet_id: u16,
    },
    Released {
        packet_id: u16,
    },
}
