//! How the presence of a device went.

use super::{Store, events::Entry, paging::Paging, words::kind};
use crate::{
    error::Error,
    model::{Page, PresenceChange, Seq},
};

impl Store {
    /// A device's presence changes, newest first; oldest first when `after` is given. Both bounds are
    /// exclusive, and `next` is as in [`Store::readings`].
    pub async fn presence(
        &self,
        device: &str,
        after: Option<Seq>,
        before: Option<Seq>,
        limit: u32,
    ) -> Result<Page<PresenceChange>, Error> {
        let paging = Paging { after, before, limit };
        let entries = self.entries_of(device, kind::PRESENCE, paging).await?;
        let changes = entries.into_iter().map(Entry::presence).collect::<Result<_, _>>()?;
        Ok(paging.page(changes, |change| change.seq))
    }
}
