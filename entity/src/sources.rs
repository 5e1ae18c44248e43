//! Who the journal speaks of: devices, and services of firmwares.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sources")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// 1 device, 2 service.
    pub class: i16,
    pub name: String,
    pub first_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
