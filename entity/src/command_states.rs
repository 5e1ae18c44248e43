//! How far each command came: one row for each of its entries in the journal.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "command_states")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub command: i64,
    pub state: i16,
    pub delivery: Option<i16>,
    pub ambiguous: bool,
    /// Why it was refused, expired or was denied.
    pub reason: Option<String>,
    /// What the device reports otherwise, as JSON.
    pub mismatches: Option<String>,
    /// The reading that is the answer, when and where it came, and its bytes: those stay when the reading is gone.
    pub answer_seq: Option<i64>,
    pub answer_at: Option<i64>,
    pub answer_topic: Option<String>,
    pub answer: Option<Vec<u8>>,
    /// It came after the command had timed out.
    pub late: bool,
    /// SHA-256 of this row, its command's if it is the first, and the hash of the row before. Absent in rows from before
    /// there was a chain.
    pub hash: Option<Vec<u8>>,
}

impl ActiveModelBehavior for ActiveModel {}
