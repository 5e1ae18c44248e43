//! How the presence of a device went.

use super::{Store, events::Entry, paging::Paging, words::kind};
use crate::{
    error::Error,
    model::{Cursor, Page, PresenceChange},
};

impl Store {
    /// A device's presence changes, newest first; on from a cursor.
    pub async fn presence(
        &self,
        device: &str,
        from: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<PresenceChange>, Error> {
        let paging = Paging { from, limit };
        let entries = self.entries_of(device, kind::PRESENCE, paging).await?;
        let changes = entries.into_iter().map(Entry::presence).collect::<Result<_, _>>()?;
        Ok(paging.page(changes, |change| change.seq))
    }
}
