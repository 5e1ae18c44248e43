//! Persistent sessions of MQTT clients.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kept_sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub client_id: String,
    /// In seconds from the end of the connection.
    pub expiry: i64,
    /// None while its client is connected.
    pub left_at: Option<i64>,
    /// Messages up to this number may have been sent before the client left.
    pub sent: i64,
}

impl ActiveModelBehavior for ActiveModel {}
