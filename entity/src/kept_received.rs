//! QoS 2 messages that came in with persistent sessions and are not released.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kept_received")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub session: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub packet_id: i32,
}

impl ActiveModelBehavior for ActiveModel {}
