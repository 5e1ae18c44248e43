//! Pages of what grows: newest first, or forward from a place.

use entity::journal;
use sea_orm::{
    Order,
    entity::prelude::*,
    sea_query::{CaseStatement, Expr, ExprTrait, Func, IntoColumnRef, Query, SelectStatement},
};

use crate::model::{Cursor, Page, Part, Seq, Timestamp};

/// Narrows a query on the journal to a part, and one more to know whether another page follows.
pub(super) fn narrow(query: &mut SelectStatement, part: &Part) {
    if !by_time(part) {
        return narrow_by(query, journal::Column::Seq.as_column_ref(), part);
    }
    // In the order of time: the clock may have been set, and what was replayed is older than its place.
    let at = || Expr::col(journal::Column::At.as_column_ref());
    let seq = || Expr::col(journal::Column::Seq.as_column_ref());
    let place = || Expr::tuple([at(), seq()]);
    let (mut from, mut to) = (part.from, part.to);
    // A cursor and a moment are one bound together: SQLite looks up the index by one bound at each end.
    match part.cursor {
        Some(Cursor::After(after)) => {
            query.and_where(place().gt(later(after, from.take())));
        }
        Some(Cursor::Before(before)) => {
            query.and_where(place().lt(earlier(before, to.take())));
        }
        None => {}
    }
    if let Some(from) = from {
        query.and_where(at().gte(from.0));
    }
    if let Some(to) = to {
        query.and_where(at().lt(to.0));
    }
    ordered(query, part);
}

/// Orders a query on what was narrowed to a part before, and takes no more of it than the part and one.
pub(super) fn ordered(query: &mut SelectStatement, part: &Part) {
    let order = order(part);
    if by_time(part) {
        query.order_by_expr(Expr::col(journal::Column::At.as_column_ref()), order.clone());
    }
    query.order_by_expr(Expr::col(journal::Column::Seq.as_column_ref()), order).limit(limit(part));
}

/// Narrows a query to a part, by a column that only grows.
pub(super) fn narrow_by(query: &mut SelectStatement, column: impl IntoColumnRef + Clone, part: &Part) {
    let place = || Expr::col(column.clone());
    match part.cursor {
        Some(Cursor::After(after)) => query.and_where(place().gt(after.0)),
        Some(Cursor::Before(before)) => query.and_where(place().lt(before.0)),
        None => query,
    };
    query.order_by_expr(place(), order(part)).limit(limit(part));
}

/// The page that `found`, by a query so narrowed, makes.
pub(super) fn page<T>(mut found: Vec<T>, part: &Part, seq: fn(&T) -> Seq) -> Page<T> {
    let limit = usize::try_from(part.limit).unwrap_or(usize::MAX);
    if found.len() <= limit {
        return Page { items: found, next: None };
    }
    found.truncate(limit);
    cut(found, part, seq)
}

/// The page that `found` makes when there is more.
pub(super) fn cut<T>(found: Vec<T>, part: &Part, seq: fn(&T) -> Seq) -> Page<T> {
    let cursor = match part.cursor {
        Some(Cursor::After(_)) => Cursor::After,
        Some(Cursor::Before(_)) | None => Cursor::Before,
    };
    let next = found.last().map(|last| cursor(seq(last)));
    Page { items: found, next }
}

/// Whether a part goes by time and not by the order of the journal.
pub(super) fn by_time(part: &Part) -> bool {
    part.from.is_some() || part.to.is_some()
}

fn order(part: &Part) -> Order {
    match part.cursor {
        Some(Cursor::After(_)) => Order::Asc,
        Some(Cursor::Before(_)) | None => Order::Desc,
    }
}

fn limit(part: &Part) -> u64 {
    u64::from(part.limit) + 1
}

/// A place in the journal as a place in time, or the beginning of a moment if that is later.
fn later(seq: Seq, from: Option<Timestamp>) -> Expr {
    let Some(Timestamp(from)) = from else {
        return Expr::tuple([moment_of(seq), Expr::val(seq.0)]);
    };
    let place = CaseStatement::new().case(moment_of(seq).gte(from), seq.0).finally(Seq::ZERO.0);
    Expr::tuple([Func::greatest([moment_of(seq), Expr::val(from)]).into(), place.into()])
}

/// A place in the journal as a place in time, or the beginning of a moment if that is earlier.
fn earlier(seq: Seq, to: Option<Timestamp>) -> Expr {
    let Some(Timestamp(to)) = to else {
        return Expr::tuple([moment_of(seq), Expr::val(seq.0)]);
    };
    let place = CaseStatement::new().case(moment_of(seq).lt(to), seq.0).finally(Seq::ZERO.0);
    Expr::tuple([Func::least([moment_of(seq), Expr::val(to)]).into(), place.into()])
}

/// When it was at a place in the journal.
fn moment_of(seq: Seq) -> Expr {
    let at = Query::select()
        .column(("place", journal::Column::At))
        .from_as(journal::Entity, "place")
        .and_where(Expr::col(("place", journal::Column::Seq)).lte(seq.0))
        .order_by(("place", journal::Column::Seq), Order::Desc)
        .limit(1)
        .take();
    // Before the first entry there was no time.
    Func::coalesce([Expr::SubQuery(None, Box::new(at.into())), Expr::val(i64::MIN)]).into()
}
