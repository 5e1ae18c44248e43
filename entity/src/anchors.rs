//! Where the chain of the command log goes on after rows that were removed.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "anchors")]
pub struct Model {
    /// Of the last row that was removed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// Zeros if it had none, being from before there was a chain.
    pub hash: Vec<u8>,
    /// How many rows were removed up to here.
    pub rows: i64,
}

impl ActiveModelBehavior for ActiveModel {}
