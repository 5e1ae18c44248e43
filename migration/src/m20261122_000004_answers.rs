//! What devices answered to commands, and the chain by which a row of the command log that was changed is found.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, blob, blob_null, boolean, text_null},
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
        let timeout =
            Table::alter().table(Commands::Table).add_column(big_integer_null(Commands::TimeoutMs)).take();
        manager.alter_table(timeout).await?;
        // SQLite takes one column at a time.
        for column in [
            boolean(CommandStates::Ambiguous).default(false).take(),
            text_null(CommandStates::Reason).take(),
            text_null(CommandStates::Mismatches).take(),
            big_integer_null(CommandStates::AnswerSeq).take(),
            big_integer_null(CommandStates::AnswerAt).take(),
            text_null(CommandStates::AnswerTopic).take(),
            blob_null(CommandStates::Answer).take(),
            boolean(CommandStates::Late).default(false).take(),
            blob_null(CommandStates::Hash).take(),
        ] {
            let table = Table::alter().table(CommandStates::Table).add_column(column).take();
            manager.alter_table(table).await?;
        }
        let anchors = Table::create()
            .table(Anchors::Table)
            .col(big_integer(Anchors::Seq).primary_key())
            .col(blob(Anchors::Hash))
            .take();
        manager.create_table(anchors).await
    }
}

#[derive(DeriveIden)]
enum Commands {
    Table,
    TimeoutMs,
}

#[derive(DeriveIden)]
enum CommandStates {
    Table,
    Ambiguous,
    Reason,
    Mismatches,
    AnswerSeq,
    AnswerAt,
    AnswerTopic,
    Answer,
    Late,
    Hash,
}

#[derive(DeriveIden)]
enum Anchors {
    Table,
    Seq,
    Hash,
}
