//! Pages of what grows: newest first, or forward from a place.

use entity::{journal, runs};
use sea_orm::{
    Order,
    entity::prelude::*,
    sea_query::{CaseStatement, Expr, ExprTrait, Func, IntoColumnRef, Query, SelectStatement},
};

use crate::model::{Cursor, Page, Part, Seq, Timestamp};

/// A run of entries ends with its slot of time, of so many microseconds: ten minutes. Of a run all is read, and each run
/// is a row.
pub(super) const SLOT: i64 = 600_000_000;

/// Narrows a query on the journal's entries of one source to a part, and one more to know whether another page follows.
pub(super) fn narrow(query: &mut SelectStatement, part: &Part) {
    if !by_time(part) {
        return narrow_by(query, journal::Column::Seq.as_column_ref(), part);
    }
    // In the order of time: the clock may have been set, and what was replayed is older than its place. Run by run, so
    // that no more of them is read than there is room for.
    of_runs(query);
    let at = || Expr::col(journal::Column::At.as_column_ref());
    let seq = || Expr::col(journal::Column::Seq.as_column_ref());
    let slot = || Expr::col(runs::Column::Slot.as_column_ref());
    let place = || Expr::tuple([at(), seq()]);
    if let Some(Cursor::After(after)) = part.cursor {
        let moment = later(after, part.from);
        query
            .and_where(slot().gte(moment.clone().div(SLOT)))
            .and_where(place().gt(Expr::tuple([moment, on_from(after, part.from)])));
    } else if let Some(from) = part.from {
        query.and_where(slot().gte(from.0 / SLOT)).and_where(at().gte(from.0));
    }
    if let Some(Cursor::Before(before)) = part.cursor {
        let moment = earlier(before, part.to);
        query
            .and_where(slot().lte(moment.clone().div(SLOT)))
            .and_where(place().lt(Expr::tuple([moment, back_from(before, part.to)])));
    } else if let Some(to) = part.to {
        query.and_where(slot().lte(to.0 / SLOT)).and_where(at().lt(to.0));
    }
    query.order_by_expr(slot(), order(part));
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

/// Joins the runs of its source to a query on entries.
fn of_runs(query: &mut SelectStatement) {
    let seq = || Expr::col(journal::Column::Seq.as_column_ref());
    let of = |run: Expr| run.eq(Expr::col(journal::Column::Source.as_column_ref()));
    let first = || Expr::col(runs::Column::First.as_column_ref());
    let next = Query::select()
        .expr(Expr::col(("next", runs::Column::First)).min())
        .from_as(runs::Entity, "next")
        .and_where(
            Expr::col(("next", runs::Column::Source)).eq(Expr::col(runs::Column::Source.as_column_ref())),
        )
        .and_where(Expr::col(("next", runs::Column::First)).gt(first()))
        .take();
    let end = Func::coalesce([Expr::SubQuery(None, Box::new(next.into())), Expr::val(i64::MAX)]);
    query
        .inner_join(runs::Entity, of(Expr::col(runs::Column::Source.as_column_ref())))
        .and_where(seq().gte(first()))
        .and_where(seq().lt(end));
}

/// When it was at a place in the journal, or the beginning of a part if that is later.
fn later(seq: Seq, from: Option<Timestamp>) -> Expr {
    match from {
        Some(Timestamp(from)) => Func::greatest([moment_of(seq), Expr::val(from)]).into(),
        None => moment_of(seq),
    }
}

/// After which entry of [`later`] the part goes on: of a beginning, all are in it.
fn on_from(seq: Seq, from: Option<Timestamp>) -> Expr {
    match from {
        Some(Timestamp(from)) => {
            CaseStatement::new().case(moment_of(seq).gte(from), seq.0).finally(Seq::ZERO.0).into()
        }
        None => Expr::val(seq.0),
    }
}

/// When it was at a place in the journal, or the end of a part if that is earlier.
fn earlier(seq: Seq, to: Option<Timestamp>) -> Expr {
    match to {
        Some(Timestamp(to)) => Func::least([moment_of(seq), Expr::val(to)]).into(),
        None => moment_of(seq),
    }
}

/// Before which entry of [`earlier`] the part goes on: of an end, none is in it.
fn back_from(seq: Seq, to: Option<Timestamp>) -> Expr {
    match to {
        Some(Timestamp(to)) => {
            CaseStatement::new().case(moment_of(seq).lt(to), seq.0).finally(Seq::ZERO.0).into()
        }
        None => Expr::val(seq.0),
    }
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
