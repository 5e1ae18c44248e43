//! What the broker keeps for those who subscribe later.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "retained")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: i16,
    pub at: i64,
    /// As MQTT 5 writes them, without their length; none if there are none.
    pub properties: Option<Vec<u8>>,
    pub expires_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
