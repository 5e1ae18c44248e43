//! Idempotency keys, each reserved for one command at a time until that is in the command log.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::Notify,
    time::{Duration, timeout},
};

use crate::error::Error;

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

#[derive(Clone, Default)]
pub(super) struct Keys(Arc<Reservations>);

#[derive(Default)]
struct Reservations {
    keys: Mutex<HashSet<String>>,
    freed: Notify,
}

/// Holds an idempotency key while its command is not in the command log.
pub(super) struct Reserved {
    keys: Keys,
    key: String,
}

impl Keys {
    /// Waits, but not for longer than this, while another command with this key is on its way into the command log.
    pub(super) async fn reserve(&self, key: &str, within: Duration) -> Result<Reserved, Error> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(Error::Invalid(format!("an idempotency key has 1 to {MAX_KEY} bytes")));
        }
        let reserved = async {
            loop {
                // Listening begins before looking, so that no freed key goes unnoticed.
                let freed = self.0.freed.notified();
                if self.lock().insert(key.to_owned()) {
                    return Reserved { keys: self.clone(), key: key.to_owned() };
                }
                freed.await;
            }
        };
        timeout(within, reserved).await.map_err(|_| {
            Error::IdempotencyConflict(format!(
                "a command with the idempotency key {key:?} is on its way at this moment"
            ))
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key);
        self.keys.0.freed.notify_waiters();
    }
}
