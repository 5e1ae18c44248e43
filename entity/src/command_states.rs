//! How far each command came: one row for each of its entries in the journal.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "command_states")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub command: i64,
    pub state: i16,
    pub delivery: Option<i16>,
}

impl ActiveModelBehavior for ActiveModel {}
