//! Each device as the journal leaves it.
//!
//! A fold over events: the same function restores it after a start, follows what is committed, and tells
//! how things stood at any earlier place.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use async_graphql::Enum;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    error::Error,
    model::{
        Action, CommandRecord, Cursor, Event, Pair, Part, Presence, PresenceReason, Reading, Seq, SessionId,
        Status,
    },
    store::{Store, WentOut},
};

/// Devices that are known to a gateway which has never heard them, whoever the pair is: scripts rely on it.
const ALWAYS_KNOWN: [&str; 2] = ["raspberry", "esp32"];

/// Changes of presence that are read at a time, to see whether an override still holds.
const PRESENCE_PAGE: u32 = 500;

/// A device as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    pub name: String,
    /// The place of its last change of presence.
    pub presence_seq: Seq,
    pub presence: Presence,
    pub latest: Option<Reading>,
    pub control: Control,
}

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

/// All devices as they are. A cheap handle.
#[derive(Clone)]
pub struct Devices(Arc<Inner>);

struct Inner {
    pair: Pair,
    state: RwLock<State>,
}

/// All devices at one place in the journal.
#[derive(Clone, Debug)]
pub struct State {
    seq: Seq,
    devices: BTreeMap<String, Arc<Device>>,
}

impl Devices {
    /// As the store has them.
    pub async fn restored(store: &Store, pair: Pair) -> Result<Devices, Error> {
        let state = State::as_of(store, &pair, store.head().await?).await?;
        Ok(Devices(Arc::new(Inner { pair, state: RwLock::new(state) })))
    }

    /// Follows what was committed.
    pub fn apply(&self, events: &[Arc<Event>]) {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            state.apply(event);
        }
    }

    /// Every device that ever spoke, and the pair; by name.
    pub fn list(&self) -> Vec<Arc<Device>> {
        self.read().devices.values().cloned().collect()
    }

    pub fn get(&self, name: &str) -> Result<Arc<Device>, Error> {
        let device = self.read().devices.get(name).cloned();
        device.ok_or_else(|| Error::NotFound { what: "device", name: name.to_owned() })
    }

    pub fn pair(&self) -> &Pair {
        &self.0.pair
    }

    /// Whether a device can be commanded: it has spoken, or is one of those that always could be.
    pub fn knows(&self, name: &str) -> bool {
        ALWAYS_KNOWN.contains(&name) || self.read().devices.contains_key(name)
    }

    /// What is seen of all of them, at one place in the journal.
    pub fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.read())
    }

    /// All of them as one, at one place in the journal.
    pub fn state(&self) -> State {
        self.read().clone()
    }

    /// All of them as they were at an earlier place, or at the last at which commands were removed, if that is later.
    pub async fn state_as_of(&self, store: &Store, seq: Seq) -> Result<State, Error> {
        State::as_of(store, &self.0.pair, seq).await
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    async fn as_of(store: &Store, pair: &Pair, seq: Seq) -> Result<State, Error> {
        // Of earlier places it is not known any more what was commanded.
        let seq = seq.max(store.commands_removed().await?);
        let mut state = State { seq, devices: BTreeMap::new() };
        for name in [&pair.0, &pair.1] {
            state.device(name);
        }
        for facts in store.devices_as_of(seq).await? {
            if facts.reading.is_none() && facts.presence.is_none() && !pair.contains(&facts.name) {
                continue;
            }
            let device = state.device(&facts.name);
            device.latest = facts.reading;
            if let Some(told) = facts.told {
                device.control = Control::as_of(store, &facts.name, told, seq).await?;
            }
            if let Some(change) = facts.presence {
                device.presence_seq = change.seq;
                device.presence = change.presence;
            }
            let heard = device.latest.as_ref().map(|reading| reading.at);
            device.presence.last_message_at = device.presence.last_message_at.max(heard);
        }
        Ok(state)
    }

    /// Follows what comes next in the journal.
    pub fn apply(&mut self, event: &Event) {
        self.seq = event.seq();
        match event {
            Event::Reading(reading) => {
                let device = self.device(&reading.device);
                let replayed = |latest: &Reading| latest.replay_of.is_some();
                // What was replayed is the latest only of a device that has nothing else.
                if reading.replay_of.is_none() {
                    device.presence.last_message_at = Some(reading.at);
                    device.latest = Some(reading.clone());
                } else if device.latest.as_ref().is_none_or(replayed) {
                    device.presence.last_message_at = device.presence.last_message_at.max(Some(reading.at));
                    device.latest = Some(reading.clone());
                }
            }
            Event::Presence(change) => {
                let device = self.device(&change.device);
                device.control.presence(&change.presence);
                device.presence_seq = change.seq;
                device.presence = change.presence.clone();
            }
            // To be commanded is not to have spoken: it makes no device.
            Event::Command(record) => {
                let named = record.target.device().and_then(|name| self.devices.get_mut(name));
                if let Some(device) = named {
                    let device = Arc::make_mut(device);
                    device.control.command(record, device.presence.session);
                }
            }
            Event::Session(_) | Event::Rejection(_) | Event::ServiceReading(_) | Event::Service(_) => {}
        }
    }

    fn device(&mut self, name: &str) -> &mut Device {
        if !self.devices.contains_key(name) {
            let device = Device { name: name.to_owned(), ..Device::default() };
            self.devices.insert(name.to_owned(), Arc::new(device));
        }
        Arc::make_mut(self.devices.get_mut(name).expect("it was inserted above"))
    }

    /// Only those that are named.
    pub fn of(mut self, names: [&str; 2]) -> State {
        self.devices.retain(|name, _| names.contains(&name.as_str()));
        self
    }

    pub fn seq(&self) -> Seq {
        self.seq
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Device>> {
        self.devices.get(name)
    }

    pub fn devices(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.devices.values()
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
    /// As it was at `seq`, by the last command that was published before. Who spoke for the device when it
    /// was decides whether it holds, so that the presence of the device is followed from there on.
    async fn as_of(store: &Store, device: &str, told: WentOut, seq: Seq) -> Result<Control, Error> {
        let before = store.presence(device, Part::of(Some(Cursor::Before(told.seq)), 1)).await?;
        let mut control = Control::default();
        control.told(told.action, before.items.first().and_then(|change| change.presence.session));
        let mut after = Some(Cursor::After(told.seq));
        while let Some(cursor) = after.filter(|_| control.forced()) {
            let page = store.presence(device, Part::of(Some(cursor), PRESENCE_PAGE)).await?;
            for change in page.items.iter().take_while(|change| change.seq <= seq) {
                control.presence(&change.presence);
            }
            after = page.next.filter(|_| page.items.last().is_some_and(|change| change.seq < seq));
        }
        Ok(control)
    }

    fn forced(&self) -> bool {
        matches!(self.mode, Mode::ForcedOn | Mode::ForcedOff)
    }

    /// Follows a command that was published, whoever published it.
    pub fn command(&mut self, record: &CommandRecord, session: Option<SessionId>) {
        if let Some(action) = record.target.action().filter(|_| record.goes_out()) {
            self.told(action, session);
        }
    }

    fn told(&mut self, action: Action, session: Option<SessionId>) {
        self.session = session;
        self.mode = match action {
            Action::Play => Mode::ForcedOn,
            Action::Stop => Mode::ForcedOff,
            Action::Resume => Mode::Auto,
        };
    }

    /// Follows the session that speaks for the device.
    pub fn presence(&mut self, presence: &Presence) {
        if !self.forced() || presence.status != Status::Online || presence.session == self.session {
            return;
        }
        if presence.reason == Some(PresenceReason::Handover) {
            // Nothing was connected anew.
            self.session = presence.session;
        } else {
            self.mode = Mode::Unknown;
        }
    }
}
