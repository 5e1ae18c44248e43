//! What the devices of a pair do to each other, made visible.
//!
//! The rule is the firmware's own: without an override, a device plays while its peer's last reading is
//! over threshold.

use async_graphql::{ComplexObject, Enum, SimpleObject};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    devices::{Device, Devices, Mode, State},
    error::Error,
    hub::Hub,
    model::{Event, Pair, Reading, Seq, Status, Timestamp},
    store::Store,
};

/// What may go wrong between a device and its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Hazard {
    /// As far as the gateway knows.
    None,
    /// The peer is connected but sends no readings.
    PeerStale,
    /// The peer is gone, and its last reading was over threshold: the device may play for ever.
    PeerLostLatchedOn,
}

/// How a device stands to its peer.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
#[graphql(complex)]
pub struct CrossLink {
    /// Up to which place in the journal this is true: the `after` of a stream that goes on from here.
    pub seq: Seq,
    /// When it became so, or was asked for.
    pub at: Timestamp,
    /// Who follows.
    pub device: String,
    /// Whom it follows.
    pub peer: String,
    /// Whether it follows, or a command overrides it.
    pub mode: Mode,
    /// The last reading of the peer.
    pub peer_reading: Option<Reading>,
    /// How old that reading is, in milliseconds.
    #[graphql(skip)]
    pub peer_reading_age_ms: Option<i64>,
    /// Whether the device plays by the firmware's rule. Absent when its mode is unknown.
    pub expected_playing: Option<bool>,
    /// What may go wrong between the two.
    pub hazard: Hazard,
}

#[ComplexObject]
impl CrossLink {
    /// How old that reading is, in milliseconds. An `Int` would end after 24 days.
    async fn peer_reading_age_ms(&self) -> Option<f64> {
        self.peer_reading_age_ms.map(|age| age as f64)
    }
}

impl CrossLink {
    /// How `device` stands to `peer` at a moment.
    fn between(device: &Device, peer: &Device, seq: Seq, at: Timestamp) -> CrossLink {
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

    /// Whether it says the same as another one, at another place and time.
    fn says(&self, other: &CrossLink) -> bool {
        let reading = |link: &CrossLink| link.peer_reading.as_ref().map(|reading| reading.seq);
        (self.mode, self.expected_playing, self.hazard, reading(self))
            == (other.mode, other.expected_playing, other.hazard, reading(other))
    }
}

/// How a device stands to its peer now. None for a device that has no peer.
pub fn now(devices: &Devices, device: &str) -> Option<CrossLink> {
    devices.see(|state| at(state, devices.pair(), device, Timestamp::now()))
}

/// How a device stands to its peer, whenever that changes: first as it is now, or with `after` only what
/// changed after that place.
pub async fn changes(
    devices: &Devices,
    hub: &Hub,
    store: &Store,
    device: &str,
    after: Option<Seq>,
) -> Result<impl Stream<Item = Result<CrossLink, Error>> + Send + use<>, Error> {
    let pair = devices.pair().clone();
    let not_paired = || Error::NotFound { what: "pair with the device", name: device.to_owned() };
    let peer = pair.peer(device).ok_or_else(not_paired)?.to_owned();
    let device = device.to_owned();
    let state = match after {
        Some(after) => devices.state_as_of(store, after).await?,
        None => devices.state(),
    };
    // Two of perhaps ten thousand are followed.
    let state = state.of([&device, &peer]);
    let before = at(&state, &pair, &device, Timestamp::now());
    let first = before.clone().filter(|_| after.is_none()).map(Ok);
    let changes = hub.events(state.seq()).scan((state, before), move |(state, before), event| {
        let change = match event {
            Ok(event) if concerns(&event, &device, &peer) => {
                state.apply(&event);
                let now = at(state, &pair, &device, event.at());
                let changed = now.as_ref().zip(before.as_ref()).is_none_or(|(now, before)| !now.says(before));
                *before = now.clone();
                now.filter(|_| changed).map(Ok)
            }
            Ok(_) => None,
            Err(why) => Some(Err(why)),
        };
        std::future::ready(Some(change))
    });
    Ok(stream::iter(first).chain(changes.filter_map(std::future::ready)))
}

fn at(state: &State, pair: &Pair, device: &str, at: Timestamp) -> Option<CrossLink> {
    let peer = state.get(pair.peer(device)?)?;
    Some(CrossLink::between(state.get(device)?, peer, state.seq(), at))
}

/// Whether an event can change how two devices stand to each other.
fn concerns(event: &Event, device: &str, peer: &str) -> bool {
    match event {
        Event::Reading(reading) => reading.device == peer && reading.replay_of.is_none(),
        Event::Presence(change) => change.device == device || change.device == peer,
        Event::Command(record) => record.target.device() == Some(device),
        Event::Session(_) | Event::Rejection(_) | Event::ServiceReading(_) | Event::Service(_) => false,
    }
}
