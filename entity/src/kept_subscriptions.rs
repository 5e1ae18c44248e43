//! What persistent sessions have subscribed to.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kept_subscriptions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub session: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub filter: String,
    /// As SUBSCRIBE writes them.
    pub options: i16,
    /// What MQTT 5 tells with each message of the subscription.
    pub identifier: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
