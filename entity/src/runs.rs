//! Runs: entries of one source, one after the other, of the same slot of time.
//!
//! A run ends where the next of its source begins. By them what came between two moments is found, without an index
//! that would be written for each entry.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "runs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub source: i64,
    /// Which ten minutes since 1970.
    #[sea_orm(primary_key, auto_increment = false)]
    pub slot: i64,
    /// The first entry of the run.
    #[sea_orm(primary_key, auto_increment = false)]
    pub first: i64,
}

impl ActiveModelBehavior for ActiveModel {}
