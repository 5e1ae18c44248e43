//! The topics of a service, those that it was only spoken to on as well.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "topics")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    /// The topic itself.
    pub source: i64,
    /// The service, which is a source as well.
    pub service: i64,
    /// What follows the service in the topic: empty, or beginning with a slash.
    pub suffix: String,
}

impl ActiveModelBehavior for ActiveModel {}
