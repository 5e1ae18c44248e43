//! Which client speaks for each firmware, and whether it is there.

use std::{collections::HashMap, sync::Arc};

use crate::model::SessionId;

/// Who is connected, and who spoke last under each firmware. A start knows of nobody that they are gone.
#[derive(Debug, Default)]
pub struct Speakers {
    connected: HashMap<Arc<str>, SessionId>,
    last: HashMap<String, Arc<str>>,
}

impl Speakers {
    pub fn started(&mut self, client: Arc<str>, session: SessionId) {
        self.connected.insert(client, session);
    }

    pub fn ended(&mut self, client: &str, session: SessionId) {
        // Whoever took over is there.
        if self.connected.get(client) == Some(&session) {
            self.connected.remove(client);
        }
    }

    /// A service of this firmware said something.
    pub fn spoke(&mut self, firmware: &str, client: &Arc<str>) {
        match self.last.get_mut(firmware) {
            Some(last) if **last == **client => {}
            Some(last) => *last = client.clone(),
            None => {
                self.last.insert(firmware.to_owned(), client.clone());
            }
        }
    }

    /// The client that spoke last under a firmware, if it is gone.
    pub fn gone(&self, firmware: &str) -> Option<&Arc<str>> {
        self.last.get(firmware).filter(|client| !self.connected.contains_key(*client))
    }
}
