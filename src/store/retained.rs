//! What the broker keeps for those who subscribe later.

use bytes::Bytes;
use entity::retained::{Column, Entity};
use sea_orm::{ExprTrait, entity::prelude::*};

use super::Store;
use crate::{
    error::Error,
    model::{Retained, Timestamp},
};

impl Store {
    /// All retained messages, but for those that have expired: they stay in the database, because the clock may be
    /// wrong at the start.
    pub async fn retained(&self) -> Result<Vec<Retained>, Error> {
        let lasting = Column::ExpiresAt.is_null().or(Column::ExpiresAt.gt(Timestamp::now().0));
        let kept = Entity::find().filter(lasting).all(self.db()).await?;
        Ok(kept
            .into_iter()
            .map(|row| Retained {
                topic: row.topic,
                payload: Bytes::from(row.payload),
                qos: row.qos.clamp(0, 2) as u8,
                at: Timestamp(row.at),
                properties: Bytes::from(row.properties.unwrap_or_default()),
                expires_at: row.expires_at.map(Timestamp),
            })
            .collect())
    }
}
