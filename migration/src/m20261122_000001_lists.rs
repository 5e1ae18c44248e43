//! Lists by time and by state, and readings that were made of rejections.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer_null, small_integer},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A start that is cut short leaves no half of it, on SQLite too.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let replays =
            Table::alter().table(Journal::Table).add_column(big_integer_null(Journal::ReplayOf)).take();
        manager.alter_table(replays).await?;
        let states = Table::alter()
            .table(Commands::Table)
            .add_column(small_integer(Commands::State).default(0))
            .take();
        manager.alter_table(states).await?;
        manager.execute(newest_states()).await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

/// Gives each command that is there already the newest of its states.
fn newest_states() -> UpdateStatement {
    let newest = Query::select()
        .column(CommandStates::State)
        .from(CommandStates::Table)
        .and_where(
            Expr::col((CommandStates::Table, CommandStates::Command)).equals((Commands::Table, Commands::Id)),
        )
        .order_by(CommandStates::Seq, Order::Desc)
        .limit(1)
        .take();
    Query::update().table(Commands::Table).value(Commands::State, newest).take()
}

fn indexes() -> [IndexCreateStatement; 4] {
    [
        // What was said of a device between two moments.
        Index::create()
            .name("journal_source_kind_at_seq")
            .table(Journal::Table)
            .col(Journal::Source)
            .col(Journal::Kind)
            .col(Journal::At)
            .col(Journal::Seq)
            .take(),
        // Whether a rejection was replayed already.
        Index::create()
            .name("journal_replay_of")
            .table(Journal::Table)
            .col(Journal::ReplayOf)
            .unique()
            .cond_where(Expr::col(Journal::ReplayOf).is_not_null())
            .take(),
        // The newest commands in a state.
        Index::create()
            .name("commands_state_id")
            .table(Commands::Table)
            .col(Commands::State)
            .col(Commands::Id)
            .take(),
        // The newest commands that came in by a surface.
        Index::create()
            .name("commands_surface_id")
            .table(Commands::Table)
            .col(Commands::Surface)
            .col(Commands::Id)
            .take(),
    ]
}

#[derive(DeriveIden)]
enum Journal {
    Table,
    Seq,
    At,
    Kind,
    Source,
    ReplayOf,
}

#[derive(DeriveIden)]
enum Commands {
    Table,
    Id,
    Surface,
    State,
}

#[derive(DeriveIden)]
enum CommandStates {
    Table,
    Seq,
    Command,
    State,
}
