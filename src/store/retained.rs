//! What the broker keeps for those who subscribe later.

use bytes::Bytes;
use entity::retained::Entity;
use sea_orm::entity::prelude::*;

use super::Store;
use crate::{
    error::Error,
    model::{Retained, Timestamp},
};

impl Store {
    /// All retained messages, also those that have expired by now: the broker forgets them.
    pub async fn retained(&self) -> Result<Vec<Retained>, Error> {
        let kept = Entity::find().all(self.db()).await?;
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
