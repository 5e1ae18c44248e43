//! Messages that persistent sessions have not acknowledged.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kept_messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub session: i64,
    /// Its place in the session's queue, from 1 on.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: i16,
    pub retain: bool,
    /// As MQTT 5 writes them, without their length; none if there are none.
    pub properties: Option<Vec<u8>>,
    pub expires_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
