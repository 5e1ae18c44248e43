//! What the broker keeps on presence topics must be true.
//!
//! Devices and their wills write there; whenever what stands there differs from what the gateway knows,
//! the gateway corrects it, and never repeats what is right already, because each `online` restarts the
//! melody of the peers.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{
    address::{Address, PRESENCE, Place},
    broker::Broker,
    model::{Pair, PresencePayload, Retained, Status, Timestamp},
    store::Draft,
};

/// What stands on the presence topics, as far as history has come.
pub(super) struct Truth {
    standing: HashMap<String, Retained>,
    /// Corrections that are published and not yet written.
    owed: Vec<Draft>,
}

impl Truth {
    pub(super) fn restored(retained: Vec<Retained>, pair: &Pair) -> Truth {
        let presence = |message: &Retained| {
            matches!(Place::of(&message.topic, pair), Place::Known { address: Address::Presence { .. }, .. })
        };
        let standing =
            retained.into_iter().filter(presence).map(|message| (message.topic.clone(), message)).collect();
        Truth { standing, owed: Vec::new() }
    }

    /// A client has written on a presence topic.
    pub(super) fn stands(&mut self, retained: &Retained) {
        if retained.payload.is_empty() {
            self.standing.remove(&retained.topic);
            return;
        }
        // A copy: what is kept must not keep the whole buffer that it was read into.
        let payload = Bytes::copy_from_slice(&retained.payload);
        self.standing.insert(retained.topic.clone(), Retained { payload, ..retained.clone() });
    }

    /// Corrects what stands on the device's topics, if it is wrong.
    pub(super) fn tell(&mut self, broker: &Broker, device: &str, status: Option<Status>) {
        let said = match status {
            Some(Status::Online | Status::Stale) => PresencePayload::Online,
            Some(Status::Offline) => PresencePayload::Offline,
            Some(Status::Unknown) | None => return,
        };
        let topic = Address::Presence { device: device.to_owned() }.to_string();
        self.correct(broker, topic.clone(), said.text(), true);
        self.correct(broker, format!("/{topic}"), said.text(), false);
    }

    /// What was published and has to be written still.
    pub(super) fn owed(&mut self) -> Vec<Draft> {
        std::mem::take(&mut self.owed)
    }

    fn correct(&mut self, broker: &Broker, topic: String, word: &'static str, even_if_empty: bool) {
        let standing = self.standing.get(&topic);
        let right = match standing {
            Some(retained) => retained.payload.trim_ascii().eq_ignore_ascii_case(word.as_bytes()),
            None => !even_if_empty,
        };
        if right {
            return;
        }
        let payload = Bytes::from_static(word.as_bytes());
        let truth = Retained {
            topic: topic.clone(),
            payload,
            qos: PRESENCE.qos.as_u8(),
            at: Timestamp::now(),
            properties: Bytes::new(),
            expires_at: None,
        };
        // When something newer stands there, it is on its way here and will be looked at then.
        if broker.correct(standing, truth.clone()) {
            self.owed.push(Draft { retained: Some(truth.clone()), ..Draft::default() });
            self.standing.insert(topic, truth);
        }
    }
}
