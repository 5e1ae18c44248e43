//! Runs of entries in place of an index by time: that one was written for each entry, and at another place for each
//! topic.

use sea_orm_migration::{prelude::*, schema::big_integer};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The length of a slot, in microseconds: ten minutes, as the gateway writes it.
const SLOT: i64 = 600_000_000;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A start that is cut short leaves no half of it, on SQLite too.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let runs = Table::create()
            .table(Runs::Table)
            .col(big_integer(Runs::Source))
            .col(big_integer(Runs::Slot))
            .col(big_integer(Runs::First))
            .primary_key(Index::create().col(Runs::Source).col(Runs::Slot).col(Runs::First))
            .take();
        manager.create_table(runs).await?;
        // Where a run ends: at the next one.
        let next = Index::create()
            .name("runs_source_first")
            .table(Runs::Table)
            .col(Runs::Source)
            .col(Runs::First)
            .unique()
            .take();
        manager.create_index(next).await?;
        manager.execute(runs_of_what_is_there()).await?;
        let mut by_time = Index::drop();
        by_time.name("journal_source_kind_at_seq").table(Journal::Table);
        manager.drop_index(by_time).await
    }
}

/// A run begins with each entry whose source was not heard before, or last in another slot.
fn runs_of_what_is_there() -> InsertStatement {
    let slot = || Expr::col(Journal::At).div(SLOT);
    let by_source = WindowStatement::partition_by(Journal::Source).order_by(Journal::Seq, Order::Asc).take();
    let before = Func::cust("lag").arg(slot());
    let entries = Query::select()
        .column(Journal::Source)
        .column(Journal::Seq)
        .expr_as(slot(), "slot")
        .expr_window_as(before, by_source, "before")
        .from(Journal::Table)
        .and_where(Expr::col(Journal::Source).is_not_null())
        .take();
    let begins =
        Cond::any().add(Expr::col("before").is_null()).add(Expr::col("before").ne(Expr::col("slot")));
    let found = Query::select()
        .columns([Journal::Source.into_iden(), "slot".into_iden(), Journal::Seq.into_iden()])
        .from_subquery(entries, "entries")
        .cond_where(begins)
        .take();
    let mut insert = Query::insert();
    insert.into_table(Runs::Table).columns([Runs::Source, Runs::Slot, Runs::First]);
    // The three columns are there.
    let _ = insert.select_from(found);
    insert
}

#[derive(DeriveIden)]
enum Journal {
    Table,
    Seq,
    At,
    Source,
}

#[derive(DeriveIden)]
enum Runs {
    Table,
    Source,
    Slot,
    First,
}
