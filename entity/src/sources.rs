//! What the journal speaks of: devices, services of firmwares, and topics of services.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sources")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// 1 device, 2 service, 3 topic of a service.
    pub class: i16,
    /// `{device}`, `{firmware}/{service}`, or the whole topic.
    pub name: String,
    pub first_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
