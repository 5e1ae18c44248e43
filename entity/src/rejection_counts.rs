//! How often what was rejected, samples and others.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rejection_counts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    /// Empty: all topics beyond those that are counted each.
    pub topic: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub reason: i16,
    pub count: i64,
    pub last_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
