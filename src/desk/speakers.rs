//! Which client speaks for each firmware, and whether it is there.

use std::{collections::HashMap, sync::Arc};

use crate::model::SessionId;

/// Who is connected, and who spoke last under each firmware. A start knows of nobody that they are gone.
#[derive(Debug, Default)]
pub struct Speakers {
    /// By client id: its session, and from where it comes.
    connected: HashMap<Arc<str>, (SessionId, String)>,
    last: HashMap<String, Arc<str>>,
}

impl Speakers {
    pub fn started(&mut self, client: Arc<str>, session: SessionId, address: String) {
        self.connected.insert(client, (session, address));
    }

    pub fn ended(&mut self, client: &str, session: SessionId) {
        // Whoever took over is there.
        if self.connected.get(client).is_some_and(|(newest, _)| *newest == session) {
            self.connected.remove(client);
        }
    }

    /// From where a client comes, while it is connected.
    pub fn address(&self, client: &str) -> Option<&str> {
        self.connected.get(client).map(|(_, address)| address.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_took_over_is_there() {
        let (device, other): (Arc<str>, Arc<str>) = ("device".into(), "other".into());
        let mut speakers = Speakers::default();
        assert_eq!(speakers.gone("rig"), None);
        speakers.started(device.clone(), SessionId(1), "a".into());
        speakers.spoke("rig", &device);
        speakers.started(device.clone(), SessionId(2), "b".into());
        speakers.ended("device", SessionId(1));
        assert_eq!((speakers.gone("rig"), speakers.address("device")), (None, Some("b")));
        speakers.ended("device", SessionId(2));
        assert_eq!((speakers.gone("rig"), speakers.address("device")), (Some(&device), None));
        // Another one speaks for it now.
        speakers.started(other.clone(), SessionId(3), "c".into());
        speakers.spoke("rig", &other);
        assert_eq!(speakers.gone("rig"), None);
    }
}
