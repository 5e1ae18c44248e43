//! What is left of commands that were removed when they were old.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, small_integer},
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
        let rows =
            Table::alter().table(Anchors::Table).add_column(big_integer(Anchors::Rows).default(0)).take();
        manager.alter_table(rows).await?;
        let overrides = Table::create()
            .table(Overrides::Table)
            .col(big_integer(Overrides::Source).primary_key())
            .col(big_integer(Overrides::Seq))
            .col(small_integer(Overrides::Action))
            .foreign_key(
                ForeignKey::create()
                    .from(Overrides::Table, Overrides::Source)
                    .to(Sources::Table, Sources::Id),
            )
            .take();
        manager.create_table(overrides).await
    }
}

#[derive(DeriveIden)]
enum Anchors {
    Table,
    Rows,
}

#[derive(DeriveIden)]
enum Overrides {
    Table,
    Source,
    Seq,
    Action,
}

#[derive(DeriveIden)]
enum Sources {
    Table,
    Id,
}
