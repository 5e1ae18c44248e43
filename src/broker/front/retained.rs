//! The messages that are kept for those who subscribe later.
//!
//! They live here; the journal writes each together with the message that changed it, and gives them
//! back at the next start.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use bytes::Bytes;

use super::subscriptions::matches;
use crate::model::Retained;

/// Topics that can keep a message: a device that invents topics must not fill the memory.
pub const MAX_RETAINED: usize = 10_000;

/// One message a topic.
#[derive(Default)]
pub struct RetainedMessages(RwLock<HashMap<String, Retained>>);

impl RetainedMessages {
    pub fn restored(messages: Vec<Retained>) -> RetainedMessages {
        let messages = messages.into_iter().map(|message| (message.topic.clone(), message)).collect();
        RetainedMessages(RwLock::new(messages))
    }

    /// Keeps the message, or forgets the topic's when it is empty. False when there is no room for one
    /// more topic.
    pub fn keep(&self, message: Retained) -> bool {
        let mut messages = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if message.payload.is_empty() {
            messages.remove(&message.topic);
            return true;
        }
        if messages.len() >= MAX_RETAINED && !messages.contains_key(&message.topic) {
            return false;
        }
        // A copy: what is kept must not keep the whole buffer that it was read into.
        let payload = Bytes::copy_from_slice(&message.payload);
        messages.insert(message.topic.clone(), Retained { payload, ..message });
        true
    }

    /// Keeps `new` in the place of `old`, unless something else stands there.
    pub fn replace(&self, old: Option<&Retained>, new: Retained) -> bool {
        let mut messages = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if messages.get(&new.topic) != old {
            return false;
        }
        messages.insert(new.topic.clone(), new);
        true
    }

    /// Every message whose topic belongs to `filter`.
    pub fn matching(&self, filter: &str) -> Vec<Retained> {
        let messages = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if !filter.contains(['+', '#']) {
            return messages.get(filter).cloned().into_iter().collect();
        }
        messages.values().filter(|message| matches(&message.topic, filter)).cloned().collect()
    }
}
