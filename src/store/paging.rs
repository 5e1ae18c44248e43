//! Pages of the journal: newest first, or forward from a place.

use entity::journal;
use sea_orm::{
    Order,
    entity::prelude::*,
    sea_query::{Expr, SelectStatement},
};

use crate::model::{Cursor, Page, Seq};

/// One page of what the journal holds: from its newest entry backwards, or on from a cursor.
#[derive(Clone, Copy)]
pub(super) struct Paging {
    pub(super) from: Option<Cursor>,
    pub(super) limit: u32,
}

impl Paging {
    /// Narrows a query on the journal to the page, and one more to know whether another page follows.
    pub(super) fn narrow(self, query: &mut SelectStatement) {
        let seq = journal::Column::Seq;
        let order = match self.from {
            Some(Cursor::After(after)) => {
                query.and_where(seq.gt(after.0));
                Order::Asc
            }
            Some(Cursor::Before(before)) => {
                query.and_where(seq.lt(before.0));
                Order::Desc
            }
            None => Order::Desc,
        };
        query
            .order_by_expr(Expr::col(journal::Column::Seq.as_column_ref()), order)
            .limit(u64::from(self.limit) + 1);
    }

    /// The page that `found` by a query so narrowed, makes.
    pub(super) fn page<T>(self, mut found: Vec<T>, seq: fn(&T) -> Seq) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let cursor = match self.from {
            Some(Cursor::After(_)) => Cursor::After,
            Some(Cursor::Before(_)) | None => Cursor::Before,
        };
        let next = found.last().filter(|_| more).map(|last| cursor(seq(last)));
        Page { items: found, next }
    }
}
