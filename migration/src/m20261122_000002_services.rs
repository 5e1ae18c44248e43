//! Topics of services, in place of a table of services that was never filled: what is known of a service, the
//! journal says.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, text},
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
        manager.drop_table(Table::drop().table(Services::Table).take()).await?;
        let topics = Table::create()
            .table(Topics::Table)
            .col(big_integer(Topics::Source).primary_key())
            .col(big_integer(Topics::Service))
            .col(text(Topics::Suffix))
            .foreign_key(
                ForeignKey::create().from(Topics::Table, Topics::Source).to(Sources::Table, Sources::Id),
            )
            .foreign_key(
                ForeignKey::create().from(Topics::Table, Topics::Service).to(Sources::Table, Sources::Id),
            )
            .take();
        manager.create_table(topics).await?;
        // The topics of a service.
        let of_service = Index::create()
            .name("topics_service_suffix")
            .table(Topics::Table)
            .col(Topics::Service)
            .col(Topics::Suffix)
            .unique()
            .take();
        manager.create_index(of_service).await
    }
}

#[derive(DeriveIden)]
enum Services {
    Table,
}

#[derive(DeriveIden)]
enum Sources {
    Table,
    Id,
}

#[derive(DeriveIden)]
enum Topics {
    Table,
    Source,
    Service,
    Suffix,
}
