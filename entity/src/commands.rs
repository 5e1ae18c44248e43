//! What was asked of a device or a service. Rows never change, but for the newest state.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    /// The seq of its first entry in the journal.
    pub id: i64,
    /// The device, or the topic of a service.
    pub source: i64,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: i16,
    /// What a device makes of the payload: 1 play, 2 stop, 3 resume. 0 for a service.
    pub action: i16,
    pub surface: i16,
    pub client_id: Option<String>,
    pub address: Option<String>,
    pub idempotency_key: Option<String>,
    pub accepted_at: i64,
    /// For how long its answer is waited for.
    pub timeout_ms: Option<i64>,
    /// As in the newest of its `command_states`: commands are found by it.
    pub state: i16,
}

impl ActiveModelBehavior for ActiveModel {}
