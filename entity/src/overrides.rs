//! The command that went out last to each device, of those that were removed from the command log: it may still hold.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "overrides")]
pub struct Model {
    /// The device.
    #[sea_orm(primary_key, auto_increment = false)]
    pub source: i64,
    /// Where in the journal it went out.
    pub seq: i64,
    /// As in `commands`.
    pub action: i16,
}

impl ActiveModelBehavior for ActiveModel {}
