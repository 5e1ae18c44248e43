//! The messages that are kept for those who subscribe later.
//!
//! They live here; the journal writes each together with the message that changed it, and gives them
//! back at the next start.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use bytes::Bytes;

use super::{outgoing::MAX_WAITING_BYTES, subscriptions::matches};
use crate::model::Retained;

/// Topics that can keep a message: a device that invents topics must not fill the memory.
pub const MAX_RETAINED: usize = 10_000;
/// Bytes of topics and payloads that are kept: all of them can wait for one client that subscribes.
const MAX_RETAINED_BYTES: usize = MAX_WAITING_BYTES;

/// One message a topic.
#[derive(Default)]
pub struct RetainedMessages(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    messages: HashMap<String, Retained>,
    bytes: usize,
}

impl RetainedMessages {
    pub fn restored(messages: Vec<Retained>) -> RetainedMessages {
        let mut kept = Kept::default();
        for message in messages {
            kept.insert(message);
        }
        RetainedMessages(RwLock::new(kept))
    }

    /// Keeps the message, or forgets the topic's when it is empty. False when there is no room for it.
    pub fn keep(&self, message: Retained) -> bool {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if message.payload.is_empty() {
            if let Some(old) = kept.messages.remove(&message.topic) {
                kept.bytes -= size(&old);
            }
            return true;
        }
        let old = kept.messages.get(&message.topic).map(size);
        let grows_by = size(&message).saturating_sub(old.unwrap_or_default());
        let one_too_many = old.is_none() && kept.messages.len() >= MAX_RETAINED;
        if one_too_many || (grows_by > 0 && kept.bytes + grows_by > MAX_RETAINED_BYTES) {
            return false;
        }
        // A copy: what is kept must not keep the whole buffer that it was read into.
        let payload = Bytes::copy_from_slice(&message.payload);
        kept.insert(Retained { payload, ..message });
        true
    }

    /// Keeps `new` in the place of `old`, unless something else stands there.
    pub fn replace(&self, old: Option<&Retained>, new: Retained) -> bool {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.messages.get(&new.topic) != old {
            return false;
        }
        kept.insert(new);
        true
    }

    /// Every message whose topic belongs to `filter`.
    pub fn matching(&self, filter: &str) -> Vec<Retained> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if !filter.contains(['+', '#']) {
            return kept.messages.get(filter).cloned().into_iter().collect();
        }
        kept.messages.values().filter(|message| matches(&message.topic, filter)).cloned().collect()
    }
}

impl Kept {
    fn insert(&mut self, message: Retained) {
        self.bytes += size(&message);
        if let Some(old) = self.messages.insert(message.topic.clone(), message) {
            self.bytes -= size(&old);
        }
    }
}

fn size(message: &Retained) -> usize {
    message.topic.len() + message.payload.len()
}
