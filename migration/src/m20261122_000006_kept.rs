//! Persistent sessions, and what travels with a retained message.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, big_integer_null, blob, blob_null, boolean, integer, small_integer, text, text_uniq,
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
        // SQLite takes one column at a time.
        for column in [blob_null(Retained::Properties), big_integer_null(Retained::ExpiresAt)] {
            let table = Table::alter().table(Retained::Table).add_column(column).take();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}

/// A session's rows are found by the first column of their keys.
fn tables() -> [TableCreateStatement; 4] {
    [
        Table::create()
            .table(KeptSessions::Table)
            .col(big_integer(KeptSessions::Id).primary_key())
            .col(text_uniq(KeptSessions::ClientId))
            .col(big_integer(KeptSessions::Expiry))
            .col(big_integer_null(KeptSessions::LeftAt))
            .col(big_integer(KeptSessions::Sent))
            .take(),
        Table::create()
            .table(KeptSubscriptions::Table)
            .col(big_integer(KeptSubscriptions::Session))
            .col(text(KeptSubscriptions::Filter))
            .col(small_integer(KeptSubscriptions::Options))
            .col(big_integer_null(KeptSubscriptions::Identifier))
            .primary_key(Index::create().col(KeptSubscriptions::Session).col(KeptSubscriptions::Filter))
            .take(),
        Table::create()
            .table(KeptMessages::Table)
            .col(big_integer(KeptMessages::Session))
            .col(big_integer(KeptMessages::Number))
            .col(text(KeptMessages::Topic))
            .col(blob(KeptMessages::Payload))
            .col(small_integer(KeptMessages::Qos))
            .col(boolean(KeptMessages::Retain))
            .col(blob_null(KeptMessages::Properties))
            .col(big_integer_null(KeptMessages::ExpiresAt))
            .primary_key(Index::create().col(KeptMessages::Session).col(KeptMessages::Number))
            .take(),
        Table::create()
            .table(KeptReceived::Table)
            .col(big_integer(KeptReceived::Session))
            .col(integer(KeptReceived::PacketId))
            .primary_key(Index::create().col(KeptReceived::Session).col(KeptReceived::PacketId))
            .take(),
    ]
}

#[derive(DeriveIden)]
enum KeptSessions {
    Table,
    Id,
    ClientId,
    Expiry,
    LeftAt,
    Sent,
}

#[derive(DeriveIden)]
enum KeptSubscriptions {
    Table,
    Session,
    Filter,
    Options,
    Identifier,
}

#[derive(DeriveIden)]
enum KeptMessages {
    Table,
    Session,
    Number,
    Topic,
    Payload,
    Qos,
    Retain,
    Properties,
    ExpiresAt,
}

#[derive(DeriveIden)]
enum KeptReceived {
    Table,
    Session,
    PacketId,
}

#[derive(DeriveIden)]
enum Retained {
    Table,
    Properties,
    ExpiresAt,
}
