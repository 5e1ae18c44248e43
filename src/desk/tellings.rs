//! Callers who wait for what becomes of their commands.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::model::{CommandRecord, Seq};

/// Commands that somebody follows, by id.
#[derive(Clone, Default)]
pub(super) struct Tellings(Arc<Mutex<HashMap<Seq, Followed>>>);

struct Followed {
    newest: watch::Sender<CommandRecord>,
    followers: usize,
}

/// One follower of a command.
pub(super) struct Telling {
    told: watch::Receiver<CommandRecord>,
    id: Seq,
    tellings: Tellings,
}

impl Tellings {
    /// Follows a command from this record on.
    pub(super) fn begin(&self, record: &CommandRecord) -> Telling {
        let mut followed = self.lock();
        let newest = followed
            .entry(record.id)
            .or_insert_with(|| Followed { newest: watch::Sender::new(record.clone()), followers: 0 });
        newest.followers += 1;
        Telling { told: newest.newest.subscribe(), id: record.id, tellings: self.clone() }
    }

    /// Follows a command that others follow; none if nobody does, because it has come to its end.
    pub(super) fn follow(&self, id: Seq) -> Option<Telling> {
        let mut followed = self.lock();
        let newest = followed.get_mut(&id)?;
        newest.followers += 1;
        Some(Telling { told: newest.newest.subscribe(), id, tellings: self.clone() })
    }

    /// A command has come further.
    pub(super) fn tell(&self, record: &CommandRecord) {
        if let Some(followed) = self.lock().get(&record.id) {
            followed.newest.send_replace(record.clone());
        }
    }

    /// Nothing more will be told.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Seq, Followed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Telling {
    /// How far it has come.
    pub(super) fn now(&self) -> CommandRecord {
        self.told.borrow().clone()
    }

    /// Waits until it has come so far. None when nothing more will be told.
    pub(super) async fn until(&mut self, far: impl Fn(&CommandRecord) -> bool) -> Option<CommandRecord> {
        self.told.wait_for(|record| far(record)).await.ok().map(|record| record.clone())
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let mut followed = self.tellings.lock();
        if let Some(one) = followed.get_mut(&self.id) {
            one.followers -= 1;
            if one.followers == 0 {
                followed.remove(&self.id);
            }
        }
    }
}
