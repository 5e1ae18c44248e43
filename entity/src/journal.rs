//! Everything that happened, in order.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "journal")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub at: i64,
    /// 1 reading, 2 presence, 3 session, 4 command, 5 rejection, 6 service, 7 reading of a service.
    pub kind: i16,
    /// Which device, service or topic of a service it is about; none for sessions and rejections.
    pub source: Option<i64>,
    /// A reading's payload byte for byte; JSON of a presence, a session or a service; none where another table has the
    /// details.
    pub body: Option<Vec<u8>>,
    /// The rejection that a reading was made of, when its message was understood later.
    pub replay_of: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
