//! What the devices of a pair do to each other, made visible.
//!
//! The rule is the firmware's own: without an override, a device plays while its peer's last reading is
//! over threshold.

use async_graphql::{Enum, SimpleObject};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    devices::Device,
    model::{Action, CommandRecord, CommandState, Event, Reading, Seq, SessionId, Status, Timestamp},
};

/// Whether a device follows its peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// It follows its peer.
    #[default]
    Auto,
    /// It plays, whatever its peer measures.
    ForcedOn,
    /// It is silent, whatever its peer measures.
    ForcedOff,
    /// It reconnected while an override was in force, and may have lost it with its RAM.
    Unknown,
}

/// What may go wrong between a device and its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Hazard {
    None,
    /// The peer is connected but sends no readings.
    PeerStale,
    /// The peer is gone, and its last reading was over threshold: the device may play for ever.
    PeerLostLatchedOn,
}

/// How a device stands to its peer.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
pub struct CrossLink {
    /// Up to which place in the journal this is true: the `after` of a stream that goes on from here.
    pub seq: Seq,
    pub at: Timestamp,
    pub device: String,
    pub peer: String,
    pub mode: Mode,
    /// The last reading of the peer.
    pub peer_reading: Option<Reading>,
    /// How old that reading is, in milliseconds.
    pub peer_reading_age_ms: Option<i64>,
    /// Whether the device plays by the firmware's rule. Absent when its mode is unknown.
    pub expected_playing: Option<bool>,
    pub hazard: Hazard,
}

impl CrossLink {
    /// How `device` stands to `peer` at a moment.
    pub fn between(device: &Device, peer: &Device, seq: Seq, at: Timestamp) -> CrossLink {
        let over = peer.latest.as_ref().is_some_and(|reading| reading.over_threshold);
        CrossLink {
            seq,
            at,
            device: device.name.clone(),
            peer: peer.name.clone(),
            mode: device.control.mode,
            peer_reading: peer.latest.clone(),
            peer_reading_age_ms: peer.latest.as_ref().map(|reading| at.millis_since(reading.at)),
            expected_playing: match device.control.mode {
                Mode::Auto => Some(over),
                Mode::ForcedOn => Some(true),
                Mode::ForcedOff => Some(false),
                Mode::Unknown => None,
            },
            hazard: match peer.presence.status {
                Status::Stale => Hazard::PeerStale,
                Status::Offline if over => Hazard::PeerLostLatchedOn,
                Status::Online | Status::Offline | Status::Unknown => Hazard::None,
            },
        }
    }
}

/// Who decides whether a device plays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Control {
    pub mode: Mode,
    /// The session that the override was sent to.
    session: Option<SessionId>,
}

impl Control {
    /// Follows a command that was published, whoever published it.
    pub fn command(&mut self, record: &CommandRecord, session: Option<SessionId>) {
        let published = record.state == CommandState::Published || record.id == record.seq;
        if record.state == CommandState::Accepted || !published {
            return;
        }
        self.session = session;
        self.mode = match record.action {
            Action::Play => Mode::ForcedOn,
            Action::Stop => Mode::ForcedOff,
            Action::Resume => Mode::Auto,
        };
    }

    /// Follows the session that speaks for the device.
    pub fn session(&mut self, status: Status, session: Option<SessionId>) {
        let forced = matches!(self.mode, Mode::ForcedOn | Mode::ForcedOff);
        if forced && status == Status::Online && session != self.session {
            self.mode = Mode::Unknown;
        }
    }
}

/// Whether an event can change how two devices stand to each other.
pub fn concerns(event: &Event, device: &str, peer: &str) -> bool {
    match event {
        Event::Reading(reading) => reading.device == peer,
        Event::Presence(change) => change.device == device || change.device == peer,
        Event::Command(record) => record.device == device,
        Event::Session(_) | Event::Rejection(_) => false,
    }
}
