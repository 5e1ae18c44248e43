//! What a device measured.

use entity::{journal, sources};
use sea_orm::{
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Query},
};

use super::{
    Store,
    events::Entry,
    paging::Paging,
    words::{DEVICE, kind},
};
use crate::{
    error::Error,
    model::{Page, Reading, Seq},
};

impl Store {
    /// A device's readings, newest first; oldest first when `after` is given. Both bounds are exclusive.
    ///
    /// `next` is the `before`, or with `after` the `after`, of the following page, and absent when there is
    /// nothing more yet.
    pub async fn readings(
        &self,
        device: &str,
        after: Option<Seq>,
        before: Option<Seq>,
        limit: u32,
    ) -> Result<Page<Reading>, Error> {
        let paging = Paging { after, before, limit };
        let entries = self.entries_of(device, kind::READING, paging).await?;
        let readings = entries.into_iter().map(Entry::reading).collect::<Result<_, _>>()?;
        Ok(paging.page(readings, |reading| reading.seq))
    }

    /// What the journal holds of one kind about one device.
    pub(super) async fn entries_of(
        &self,
        device: &str,
        kind: i16,
        paging: Paging,
    ) -> Result<Vec<Entry>, Error> {
        let source = Query::select()
            .column(sources::Column::Id)
            .from(sources::Entity)
            .and_where(sources::Column::Class.eq(DEVICE))
            .and_where(sources::Column::Name.eq(device))
            .take();
        let mut query = Entry::select();
        query
            .and_where(Expr::col(journal::Column::Source.as_column_ref()).eq(source))
            .and_where(journal::Column::Kind.eq(kind));
        paging.narrow(&mut query);
        self.rows(&query).await
    }
}
