//! How the database came to be: one tree of steps, for SQLite and PostgreSQL alike.

use std::collections::HashSet;

use sea_orm_migration::{
    prelude::*,
    sea_orm::{DatabaseConnection, EntityTrait},
    seaql_migrations,
};

pub use sea_orm_migration::MigratorTrait;

mod m20261121_000001_journal;
mod m20261122_000001_lists;
mod m20261122_000002_services;
mod m20261122_000003_runs;
mod m20261122_000004_answers;
mod m20261122_000005_retention;
mod m20261122_000006_kept;

pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_journal::Migration),
            Box::new(m20261122_000001_lists::Migration),
            Box::new(m20261122_000002_services::Migration),
            Box::new(m20261122_000003_runs::Migration),
            Box::new(m20261122_000004_answers::Migration),
            Box::new(m20261122_000005_retention::Migration),
            Box::new(m20261122_000006_kept::Migration),
        ]
    }
}

/// Steps that the database has taken and this binary does not know. Writes nothing.
pub async fn unknown_steps(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let (taken, known) = (taken_steps(db).await?, known_steps());
    Ok(taken.into_iter().filter(|step| !known.contains(step)).collect())
}

/// Whether the database has yet to take a step that this binary knows. Writes nothing.
pub async fn is_behind(db: &DatabaseConnection) -> Result<bool, DbErr> {
    let taken = taken_steps(db).await?;
    Ok(known_steps().iter().any(|step| !taken.contains(step)))
}

fn known_steps() -> HashSet<String> {
    Migrator::migrations().iter().map(|step| step.name().to_owned()).collect()
}

async fn taken_steps(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    if !SchemaManager::new(db).has_table("seaql_migrations").await? {
        return Ok(Vec::new());
    }
    let taken = seaql_migrations::Entity::find().all(db).await?;
    Ok(taken.into_iter().map(|step| step.version).collect())
}
