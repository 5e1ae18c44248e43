//! The messages that are kept for those who subscribe later.
//!
//! They live here; the journal writes each together with the message that changed it, and gives them
//! back at the next start.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::{
    outgoing::{MAX_WAITING_BYTES, OVERHEAD},
    subscriptions::matches,
};
use crate::model::{Retained, Timestamp};

/// Topics that can keep a message: a device that invents topics must not fill the memory.
pub const MAX_RETAINED: usize = 10_000;
/// Bytes that are kept, counted as they are where they wait: all of them can wait for one client that subscribes.
const MAX_RETAINED_BYTES: usize = MAX_WAITING_BYTES;

/// One message a topic.
#[derive(Default)]
pub struct RetainedMessages(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    messages: HashMap<String, Standing>,
    bytes: usize,
}

/// A message that stands on its topic.
struct Standing {
    message: Retained,
    /// Worth nothing from then on, by the clock that nobody sets.
    expires: Option<Instant>,
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
                kept.bytes -= size(&old.message);
            }
            return true;
        }
        let old = kept.messages.get(&message.topic).map(|old| size(&old.message));
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
        if kept.messages.get(&new.topic).map(|standing| &standing.message) != old {
            return false;
        }
        kept.insert(new);
        true
    }

    /// Forgets what is worth nothing any more, and tells the topics before anything else is kept there.
    pub fn expire(&self, now: Instant, mut tell: impl FnMut(String)) {
        let over = |standing: &Standing| standing.expires.is_some_and(|expires| expires <= now);
        if !self.0.read().unwrap_or_else(PoisonError::into_inner).messages.values().any(over) {
            return;
        }
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Kept { messages, bytes } = &mut *kept;
        for (topic, standing) in messages.extract_if(|_, standing| over(standing)) {
            *bytes -= size(&standing.message);
            tell(topic);
        }
    }

    /// What stands on a topic.
    pub fn standing(&self, topic: &str) -> Option<Retained> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.messages.get(topic).map(|standing| standing.message.clone())
    }

    /// Every message whose topic belongs to `filter`, and when it expires, if it does.
    pub fn matching(&self, filter: &str) -> Vec<(Retained, Option<Instant>)> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let standing = |standing: &Standing| {
            let Standing { message, expires } = standing;
            expires.is_none_or(|expires| expires > now).then(|| (message.clone(), *expires))
        };
        if !filter.contains(['+', '#']) {
            return kept.messages.get(filter).and_then(standing).into_iter().collect();
        }
        let belongs = |kept: &&Standing| matches(&kept.message.topic, filter);
        kept.messages.values().filter(belongs).filter_map(standing).collect()
    }
}

impl Kept {
    fn insert(&mut self, message: Retained) {
        self.bytes += size(&message);
        let today = Timestamp::now();
        let expires = message
            .expires_at
            .map(|at| Instant::now() + Duration::from_millis(at.millis_since(today).unsigned_abs()));
        let topic = message.topic.clone();
        if let Some(old) = self.messages.insert(topic, Standing { message, expires }) {
            self.bytes -= size(&old.message);
        }
    }
}

fn size(message: &Retained) -> usize {
    message.topic.len() + message.payload.len() + message.properties.len() + OVERHEAD
}
