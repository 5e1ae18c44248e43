//! Pages of the journal: newest first, or forward from a place.

use entity::journal;
use sea_orm::{
    Order,
    entity::prelude::*,
    sea_query::{Expr, SelectStatement},
};

use crate::model::{Page, Seq};

/// One page of what lies between two places, both of them exclusive.
///
/// Newest first, and the next page continues with its `next` as `before`; or, when `after` is given, oldest
/// first, and the next page continues with `next` as `after`. `next` is the place of the last item, and
/// absent when nothing more is there yet.
#[derive(Clone, Copy)]
pub(super) struct Paging {
    pub(super) after: Option<Seq>,
    pub(super) before: Option<Seq>,
    pub(super) limit: u32,
}

impl Paging {
    /// Narrows a query on the journal to the page, and one more to know whether another page follows.
    pub(super) fn narrow(self, query: &mut SelectStatement) {
        if let Some(after) = self.after {
            query.and_where(journal::Column::Seq.gt(after.0));
        }
        if let Some(before) = self.before {
            query.and_where(journal::Column::Seq.lt(before.0));
        }
        let order = if self.after.is_some() { Order::Asc } else { Order::Desc };
        query
            .order_by_expr(Expr::col(journal::Column::Seq.as_column_ref()), order)
            .limit(u64::from(self.limit) + 1);
    }

    /// The page that `found` by a query so narrowed, makes.
    pub(super) fn page<T>(self, mut found: Vec<T>, seq: fn(&T) -> Seq) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more { found.last().map(seq) } else { None };
        Page { items: found, next }
    }
}
