//! Each device as the journal leaves it.
//!
//! A fold over events: the same function restores it after a start, follows what is committed, and tells
//! how things stood at any earlier place.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    crosslink::{self, Control, CrossLink},
    error::Error,
    hub::Hub,
    model::{Event, Pair, Presence, Reading, Seq, Timestamp},
    store::Store,
};
use futures_util::{Stream, StreamExt, stream};

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

/// All devices, as of one place in the journal. A cheap handle.
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

    /// All of them, with the place in the journal that this is as of.
    pub fn snapshot(&self) -> (Seq, Vec<Arc<Device>>) {
        let state = self.read();
        (state.seq, state.devices.values().cloned().collect())
    }

    /// How a device stands to its peer now. None for a device that has no peer.
    pub fn cross_link(&self, device: &str) -> Option<CrossLink> {
        self.read().cross_link(&self.0.pair, device, Timestamp::now())
    }

    /// How a device stands to its peer, whenever that changes: first as it is now, or with `after` only
    /// what changed after that place.
    pub async fn cross_links(
        &self,
        hub: &Hub,
        store: &Store,
        device: &str,
        after: Option<Seq>,
    ) -> Result<impl Stream<Item = Result<CrossLink, Error>> + Send + use<>, Error> {
        let pair = self.0.pair.clone();
        let not_paired = || Error::NotFound { what: "pair with the device", name: device.to_owned() };
        let peer = pair.peer(device).ok_or_else(not_paired)?.to_owned();
        let device = device.to_owned();
        let state = match after {
            Some(after) => State::as_of(store, &pair, after).await?,
            None => self.read().clone(),
        };
        let first = match after {
            Some(_) => None,
            None => state.cross_link(&pair, &device, Timestamp::now()).map(Ok),
        };
        let changes = hub.events(state.seq).scan(state, move |state, event| {
            let change = match event {
                Ok(event) => {
                    state.apply(&event);
                    crosslink::concerns(&event, &device, &peer)
                        .then(|| state.cross_link(&pair, &device, event.at()).map(Ok))
                        .flatten()
                }
                Err(why) => Some(Err(why)),
            };
            std::future::ready(Some(change))
        });
        Ok(stream::iter(first).chain(changes.filter_map(std::future::ready)))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    async fn as_of(store: &Store, pair: &Pair, seq: Seq) -> Result<State, Error> {
        let mut state = State { seq, devices: BTreeMap::new() };
        for name in [&pair.0, &pair.1] {
            state.device(name);
        }
        for facts in store.devices_as_of(seq).await? {
            let device = state.device(&facts.name);
            device.latest = facts.reading;
            if let Some(record) = &facts.command {
                // Who spoke for the device when the command was sent decides whether it still holds.
                let before = store.presence(&facts.name, None, Some(record.id), 1).await?;
                let session = before.items.first().and_then(|change| change.presence.session);
                let published = crate::model::CommandRecord { seq: record.id, ..record.clone() };
                device.control.command(&published, session);
            }
            if let Some(change) = facts.presence {
                device.presence_seq = change.seq;
                device.presence = change.presence;
                device.control.session(device.presence.status, device.presence.session);
            }
            let heard = device.latest.as_ref().map(|reading| reading.at);
            device.presence.last_message_at = device.presence.last_message_at.max(heard);
        }
        Ok(state)
    }

    fn apply(&mut self, event: &Event) {
        self.seq = event.seq();
        match event {
            Event::Reading(reading) => {
                let device = self.device(&reading.device);
                device.presence.last_message_at = Some(reading.at);
                device.latest = Some(reading.clone());
            }
            Event::Presence(change) => {
                let device = self.device(&change.device);
                device.control.session(change.presence.status, change.presence.session);
                device.presence_seq = change.seq;
                device.presence = change.presence.clone();
            }
            Event::Command(record) => {
                let device = self.device(&record.device);
                let session = device.presence.session;
                device.control.command(record, session);
            }
            Event::Session(_) | Event::Rejection(_) => {}
        }
    }

    fn device(&mut self, name: &str) -> &mut Device {
        let device = self
            .devices
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Device { name: name.to_owned(), ..Device::default() }));
        Arc::make_mut(device)
    }

    fn cross_link(&self, pair: &Pair, device: &str, at: Timestamp) -> Option<CrossLink> {
        let peer = self.devices.get(pair.peer(device)?)?;
        Some(CrossLink::between(self.devices.get(device)?, peer, self.seq, at))
    }
}
