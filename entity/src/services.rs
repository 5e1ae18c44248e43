//! What is known of each service of a firmware.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "services")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub source: i64,
    pub firmware: String,
    pub name: String,
    pub kind: Option<String>,
    /// Whether a person has said what kind it is.
    pub pinned: bool,
}

impl ActiveModelBehavior for ActiveModel {}
