//! Samples of what could not be understood.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rejections")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: i16,
    pub retain: bool,
    pub client_id: String,
    pub reason: i16,
    pub pointer: String,
    pub detail: String,
    /// What the row counts against the bound on all rejections, in bytes.
    pub size: i64,
}

impl ActiveModelBehavior for ActiveModel {}
