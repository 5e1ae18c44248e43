//! The journal and what stands beside it.
//!
//! No foreign key leaves the journal and the tables keyed by its seq: the one writer fills them in one
//! transaction, and a check of each row would cost more than the row.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, big_integer_null, blob, blob_null, boolean, small_integer, small_integer_null, text,
        text_null,
    },
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
        for table in tables() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn tables() -> [TableCreateStatement; 8] {
    [
        Table::create()
            .table(Journal::Table)
            .col(big_integer(Journal::Seq).primary_key())
            .col(big_integer(Journal::At))
            .col(small_integer(Journal::Kind))
            .col(big_integer_null(Journal::Source))
            .col(blob_null(Journal::Body))
            .take(),
        Table::create()
            .table(Sources::Table)
            .col(big_integer(Sources::Id).primary_key())
            .col(small_integer(Sources::Class))
            .col(text(Sources::Name))
            .col(big_integer(Sources::FirstAt))
            .take(),
        Table::create()
            .table(Services::Table)
            .col(big_integer(Services::Source).primary_key())
            .col(text(Services::Firmware))
            .col(text(Services::Name))
            .col(text_null(Services::Kind))
            .col(boolean(Services::Pinned))
            .foreign_key(
                ForeignKey::create().from(Services::Table, Services::Source).to(Sources::Table, Sources::Id),
            )
            .take(),
        Table::create()
            .table(Commands::Table)
            .col(big_integer(Commands::Id).primary_key())
            .col(big_integer(Commands::Source))
            .col(text(Commands::Topic))
            .col(blob(Commands::Payload))
            .col(small_integer(Commands::Qos))
            .col(small_integer(Commands::Action))
            .col(small_integer(Commands::Surface))
            .col(text_null(Commands::ClientId))
            .col(text_null(Commands::Address))
            .col(text_null(Commands::IdempotencyKey))
            .col(big_integer(Commands::AcceptedAt))
            .take(),
        Table::create()
            .table(CommandStates::Table)
            .col(big_integer(CommandStates::Seq).primary_key())
            .col(big_integer(CommandStates::Command))
            .col(small_integer(CommandStates::State))
            .col(small_integer_null(CommandStates::Delivery))
            .take(),
        Table::create()
            .table(Rejections::Table)
            .col(big_integer(Rejections::Seq).primary_key())
            .col(text(Rejections::Topic))
            .col(blob(Rejections::Payload))
            .col(small_integer(Rejections::Qos))
            .col(boolean(Rejections::Retain))
            .col(text(Rejections::ClientId))
            .col(small_integer(Rejections::Reason))
            .col(text(Rejections::Pointer))
            .col(text(Rejections::Detail))
            .col(big_integer(Rejections::Size))
            .take(),
        Table::create()
            .table(RejectionCounts::Table)
            .col(text(RejectionCounts::Topic))
            .col(small_integer(RejectionCounts::Reason))
            .col(big_integer(RejectionCounts::Count))
            .col(big_integer(RejectionCounts::LastAt))
            .primary_key(Index::create().col(RejectionCounts::Topic).col(RejectionCounts::Reason))
            .take(),
        Table::create()
            .table(Retained::Table)
            .col(text(Retained::Topic).primary_key())
            .col(blob(Retained::Payload))
            .col(small_integer(Retained::Qos))
            .col(big_integer(Retained::At))
            .take(),
    ]
}

fn indexes() -> [IndexCreateStatement; 5] {
    [
        // A device's readings, its presence changes, and the last of each at a given seq.
        Index::create()
            .name("journal_source_kind_seq")
            .table(Journal::Table)
            .col(Journal::Source)
            .col(Journal::Kind)
            .col(Journal::Seq)
            .take(),
        // A device by its name.
        Index::create()
            .name("sources_class_name")
            .table(Sources::Table)
            .col(Sources::Class)
            .col(Sources::Name)
            .unique()
            .take(),
        // The newest command of each device at a given seq.
        Index::create()
            .name("commands_source_id")
            .table(Commands::Table)
            .col(Commands::Source)
            .col(Commands::Id)
            .take(),
        // Whether a command was sent before under this key.
        Index::create()
            .name("commands_idempotency_key")
            .table(Commands::Table)
            .col(Commands::IdempotencyKey)
            .take(),
        // The newest state of a command.
        Index::create()
            .name("command_states_command_seq")
            .table(CommandStates::Table)
            .col(CommandStates::Command)
            .col(CommandStates::Seq)
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
    Body,
}

#[derive(DeriveIden)]
enum Sources {
    Table,
    Id,
    Class,
    Name,
    FirstAt,
}

#[derive(DeriveIden)]
enum Services {
    Table,
    Source,
    Firmware,
    Name,
    Kind,
    Pinned,
}

#[derive(DeriveIden)]
enum Commands {
    Table,
    Id,
    Source,
    Topic,
    Payload,
    Qos,
    Action,
    Surface,
    ClientId,
    Address,
    IdempotencyKey,
    AcceptedAt,
}

#[derive(DeriveIden)]
enum CommandStates {
    Table,
    Seq,
    Command,
    State,
    Delivery,
}

#[derive(DeriveIden)]
enum Rejections {
    Table,
    Seq,
    Topic,
    Payload,
    Qos,
    Retain,
    ClientId,
    Reason,
    Pointer,
    Detail,
    Size,
}

#[derive(DeriveIden)]
enum RejectionCounts {
    Table,
    Topic,
    Reason,
    Count,
    LastAt,
}

#[derive(DeriveIden)]
enum Retained {
    Table,
    Topic,
    Payload,
    Qos,
    At,
}
