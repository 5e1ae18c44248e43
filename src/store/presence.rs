//! How the presence of a device went.

use std::collections::HashMap;

use super::{Store, events::Entry, paging::page, words::kind};
use crate::{
    error::Error,
    model::{Page, Part, PresenceChange},
};

impl Store {
    /// A device's presence changes, newest first; on from a cursor.
    pub async fn presence(&self, device: &str, part: Part) -> Result<Page<PresenceChange>, Error> {
        // No change of presence is large: these are all.
        let (entries, _) = self.entries_of(device, kind::PRESENCE, &part).await?;
        changes(entries, &part)
    }

    /// The same part of the presence changes of each of some devices: a statement for each hundred.
    pub async fn presence_of_each(
        &self,
        devices: &[&str],
        part: Part,
    ) -> Result<HashMap<String, Page<PresenceChange>>, Error> {
        let found = self.entries_of_each(devices, kind::PRESENCE, &part).await?;
        found.into_iter().map(|(device, entries)| Ok((device, changes(entries, &part)?))).collect()
    }
}

fn changes(entries: Vec<Entry>, part: &Part) -> Result<Page<PresenceChange>, Error> {
    let changes = entries.into_iter().map(Entry::presence).collect::<Result<_, _>>()?;
    Ok(page(changes, part, |change| change.seq))
}
