//! The rows of the command log as an audit reads them: with what stands about them elsewhere.

use entity::{command_states as states, commands, journal, sources};
use sea_orm::{
    DbErr, FromQueryResult, Iterable, Order, QueryResult,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};

use crate::store::words::kind;

/// Rows of a statement: while one runs, what the gateway writes stays beside the database.
pub(super) const PAGE: u64 = 1_000;

/// A row of the command log with what stands about it elsewhere.
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) command: Option<i64>,
    pub(super) topic: Option<String>,
    pub(super) whole: Result<Whole, DbErr>,
}

pub(super) struct Whole {
    pub(super) state: states::Model,
    pub(super) command: Option<commands::Model>,
    /// Of what the command was for.
    pub(super) name: Option<String>,
    /// The moment of its entry in the journal.
    pub(super) at: Option<i64>,
    /// The newest row of its command.
    pub(super) newest: i64,
}

/// What stands before the columns of two tables that have some of the same name.
const STATE: &str = "state_";
const COMMAND: &str = "command_";

impl FromQueryResult for Row {
    /// Of a row that cannot be read it is at least known which one it is.
    fn from_query_result(result: &QueryResult, _: &str) -> Result<Row, DbErr> {
        Ok(Row {
            seq: result.try_get(STATE, "seq")?,
            command: result.try_get(STATE, "command").ok(),
            topic: result.try_get(COMMAND, "topic").ok(),
            whole: Whole::from_query_result(result, ""),
        })
    }
}

impl FromQueryResult for Whole {
    fn from_query_result(result: &QueryResult, _: &str) -> Result<Whole, DbErr> {
        Ok(Whole {
            state: states::Model::from_query_result(result, STATE)?,
            command: Option::from_query_result(result, COMMAND)?,
            name: result.try_get("", "name")?,
            at: result.try_get("", "at")?,
            newest: result.try_get("", "newest")?,
        })
    }
}

/// The rows that follow `after`, in order.
pub(super) fn page(after: i64) -> SelectStatement {
    let state = |column: states::Column| Expr::col(column.as_column_ref());
    let command = |column: commands::Column| Expr::col(column.as_column_ref());
    let entry = |column: journal::Column| Expr::col(column.as_column_ref());
    let newest = Query::select()
        .expr(Expr::col(("newest", states::Column::Seq)).max())
        .from_as(states::Entity, "newest")
        .and_where(Expr::col(("newest", states::Column::Command)).eq(state(states::Column::Command)))
        .take();
    let mut query = Query::select();
    for column in states::Column::iter() {
        query.expr_as(state(column), format!("{STATE}{}", column.as_str()));
    }
    for column in commands::Column::iter() {
        query.expr_as(command(column), format!("{COMMAND}{}", column.as_str()));
    }
    query
        .expr_as(Expr::col(sources::Column::Name.as_column_ref()), "name")
        .expr_as(entry(journal::Column::At), "at")
        .expr_as(Expr::SubQuery(None, Box::new(newest.into())), "newest")
        .from(states::Entity)
        .left_join(commands::Entity, command(commands::Column::Id).eq(state(states::Column::Command)))
        .left_join(
            sources::Entity,
            Expr::col(sources::Column::Id.as_column_ref()).eq(command(commands::Column::Source)),
        )
        .left_join(
            journal::Entity,
            entry(journal::Column::Seq)
                .eq(state(states::Column::Seq))
                .and(entry(journal::Column::Kind).eq(kind::COMMAND))
                .and(entry(journal::Column::Source).eq(command(commands::Column::Source))),
        )
        .and_where(state(states::Column::Seq).gt(after))
        .order_by_expr(state(states::Column::Seq), Order::Asc)
        .limit(PAGE)
        .take()
}

/// The first entry of a command in the journal without its row: found by the index of each source's entries.
pub(super) fn untold(removed: i64) -> SelectStatement {
    let entry = |column: journal::Column| Expr::col(column.as_column_ref());
    Query::select()
        .expr_as(entry(journal::Column::Seq).min(), "seq")
        .from(journal::Entity)
        .and_where(
            entry(journal::Column::Source)
                .in_subquery(Query::select().column(sources::Column::Id).from(sources::Entity).take()),
        )
        .and_where(entry(journal::Column::Kind).eq(kind::COMMAND))
        .and_where(entry(journal::Column::Seq).gt(removed))
        .and_where(no_row(entry(journal::Column::Seq)))
        .take()
}

/// The first command without the row that it begins with.
pub(super) fn unbegun(removed: i64) -> SelectStatement {
    let id = || Expr::col(commands::Column::Id.as_column_ref());
    Query::select()
        .expr_as(id().min(), "seq")
        .from(commands::Entity)
        .and_where(id().gt(removed))
        .and_where(no_row(id()))
        .take()
}

fn no_row(seq: Expr) -> Expr {
    let row = Query::select()
        .column(states::Column::Seq)
        .from(states::Entity)
        .and_where(Expr::col(states::Column::Seq.as_column_ref()).eq(seq))
        .take();
    Expr::exists(row).not()
}
