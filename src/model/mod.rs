//! What is said everywhere: readings, presence, commands, rejections, and their place in the journal.
//!
//! The same types go out by REST and GraphQL, so each is written once.

mod client;
mod command;
mod kept;
mod page;
mod presence;
mod qos;
mod reading;
mod rejection;
mod scalar;
mod service;

use bytes::Bytes;

pub use self::{
    client::{ClientSession, ProtocolVersion, RefusedClient, TopicFilter},
    command::{Action, Answer, CommandRecord, CommandState, Delivery, Mismatch, Surface, Target},
    kept::{Keep, KeptChange, KeptId, KeptMessage, KeptSession, KeptSubscription, Taken},
    page::{Cursor, Page, Part},
    presence::{
        Presence, PresenceChange, PresencePayload, PresenceReason, SessionChange, SessionEnd, Status,
    },
    qos::QoS,
    reading::{Reading, SensorPayload},
    rejection::{Rejection, RejectionCount, RejectionReason, Replay, ReplayOutcome},
    scalar::{Seq, SessionId, Timestamp},
    service::{Evidence, NoService, ServiceChange, ServiceName, ServiceReading, ServiceState, ServiceTopic},
};

/// Whatever happens, in the order of the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Reading(Reading),
    Presence(PresenceChange),
    Session(SessionChange),
    Command(CommandRecord),
    Rejection(Rejection),
    ServiceReading(ServiceReading),
    Service(ServiceChange),
}

impl Event {
    pub fn seq(&self) -> Seq {
        match self {
            Event::Reading(reading) => reading.seq,
            Event::Presence(change) => change.seq,
            Event::Session(change) => change.seq,
            Event::Command(record) => record.seq,
            Event::Rejection(rejection) => rejection.seq,
            Event::ServiceReading(reading) => reading.seq,
            Event::Service(change) => change.seq,
        }
    }

    pub fn at(&self) -> Timestamp {
        match self {
            Event::Reading(reading) => reading.at,
            Event::Presence(change) => change.at,
            Event::Session(change) => change.at,
            Event::Command(record) => record.at,
            Event::Rejection(rejection) => rejection.at,
            Event::ServiceReading(reading) => reading.at,
            Event::Service(change) => change.at,
        }
    }

    /// Gives the event its place in the journal. A command's first place is its id.
    pub fn place(&mut self, seq: Seq) {
        match self {
            Event::Reading(reading) => reading.seq = seq,
            Event::Presence(change) => change.seq = seq,
            Event::Session(change) => change.seq = seq,
            Event::Command(record) => {
                record.seq = seq;
                if record.id == Seq::ZERO {
                    record.id = seq;
                }
                // An answer stands close before what it makes of the command: until now it says how far.
                if let Some(answer) = record.answer.as_mut().filter(|answer| answer.seq < Seq::ZERO) {
                    answer.seq = Seq(seq.0 + answer.seq.0);
                }
            }
            Event::Rejection(rejection) => rejection.seq = seq,
            Event::ServiceReading(reading) => reading.seq = seq,
            Event::Service(change) => {
                change.seq = seq;
                // What a reading tells of its service stands right behind it.
                if let Some(evidence) = change.evidence.as_mut().filter(|evidence| evidence.seq == Seq::ZERO)
                {
                    evidence.seq = Seq(seq.0 - 1);
                }
            }
        }
    }
}

/// A message that the broker keeps for those who subscribe later.
#[derive(Clone, Debug, PartialEq)]
pub struct Retained {
    pub topic: String,
    /// Empty: the topic keeps nothing any more.
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    pub at: Timestamp,
    /// As MQTT 5 writes them, without their length.
    pub properties: Bytes,
    /// Worth nothing from then on.
    pub expires_at: Option<Timestamp>,
}

/// Who follows whom: by default the raspberry and the esp32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair(pub String, pub String);

impl Default for Pair {
    fn default() -> Pair {
        Pair("raspberry".into(), "esp32".into())
    }
}

impl Pair {
    pub fn contains(&self, device: &str) -> bool {
        self.peer(device).is_some()
    }

    pub fn peer(&self, device: &str) -> Option<&str> {
        match device {
            _ if device == self.0 => Some(&self.1),
            _ if device == self.1 => Some(&self.0),
            _ => None,
        }
    }
}
