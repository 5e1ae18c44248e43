//! What could not be understood: samples of it, within bounds, and how often.

use std::collections::HashMap;

use bytes::Bytes;
use entity::{journal, rejection_counts, rejections};
use sea_orm::{
    DbErr, FromQueryResult, Order, QuerySelect,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};

use super::{Store, paging::Paging, words::Word};
use crate::{
    error::Error,
    model::{Page, Rejection, RejectionReason, Seq, Timestamp},
};

/// Samples of one reason on one topic. More would say nothing new.
pub(super) const MAX_SAMPLES: i64 = 20;

/// Topics, payloads and details of all samples, in bytes: a client that sends nonsense cannot fill the disk.
const MAX_SIZE: i64 = 16 << 20;

/// Counters of a reason on a topic: a client that invents topics cannot fill the memory.
const MAX_COUNTERS: usize = 10_000;

/// In bytes. Longer topics are nobody's device, and are not worth a counter of their own.
const MAX_COUNTED_TOPIC: usize = 512;

impl Store {
    /// Samples of what could not be understood, newest first; oldest first when `after` is given. Both
    /// bounds are exclusive, and `next` is as in [`Store::readings`].
    pub async fn rejections(
        &self,
        after: Option<Seq>,
        before: Option<Seq>,
        limit: u32,
    ) -> Result<Page<Rejection>, Error> {
        let paging = Paging { after, before, limit };
        let mut query = RejectionRow::select();
        paging.narrow(&mut query);
        Ok(paging.page(self.rejection_samples(&query).await?, |rejection| rejection.seq))
    }

    /// The samples from `first` to `last`, both inclusive, in order.
    pub(super) async fn rejections_between(&self, first: Seq, last: Seq) -> Result<Vec<Rejection>, Error> {
        let mut query = RejectionRow::select();
        query
            .and_where(rejections::Column::Seq.between(first.0, last.0))
            .order_by_expr(Expr::col(rejections::Column::Seq.as_column_ref()), Order::Asc);
        self.rejection_samples(&query).await
    }

    async fn rejection_samples(&self, query: &SelectStatement) -> Result<Vec<Rejection>, Error> {
        self.rows::<RejectionRow>(query).await?.into_iter().map(RejectionRow::rejection).collect()
    }
}

/// How often what was rejected, and whether another sample may be kept.
pub(super) struct Tally {
    counts: HashMap<(String, i16), i64>,
    /// Of all samples, in bytes.
    size: i64,
}

impl Tally {
    pub(super) async fn load(db: &impl ConnectionTrait) -> Result<Tally, DbErr> {
        let counts = rejection_counts::Entity::find().all(db).await?;
        let sizes: Vec<i64> = rejections::Entity::find()
            .select_only()
            .column(rejections::Column::Size)
            .into_tuple()
            .all(db)
            .await?;
        Ok(Tally {
            counts: counts.into_iter().map(|row| ((row.topic, row.reason), row.count)).collect(),
            size: sizes.iter().sum(),
        })
    }

    /// Counts a rejection. Gives its counter, and the size of its sample if one may be kept.
    pub(super) fn count(&mut self, rejection: &Rejection) -> (rejection_counts::Model, Option<i64>) {
        let reason = rejection.reason.number();
        let mut key = (rejection.topic.clone(), reason);
        let full = self.counts.len() >= MAX_COUNTERS && !self.counts.contains_key(&key);
        if full || rejection.topic.len() > MAX_COUNTED_TOPIC {
            key.0.clear();
        }
        let topic = key.0.clone();
        let count = self.counts.entry(key).or_default();
        *count += 1;

        let parts =
            [rejection.topic.len(), rejection.payload.len(), rejection.pointer.len(), rejection.detail.len()];
        let size = i64::try_from(parts.iter().sum::<usize>()).unwrap_or(i64::MAX);
        let kept = *count <= MAX_SAMPLES && size <= MAX_SIZE - self.size;
        if kept {
            self.size += size;
        }
        let counter = rejection_counts::Model { topic, reason, count: *count, last_at: rejection.at.0 };
        (counter, kept.then_some(size))
    }
}

/// A sample and when it came.
#[derive(FromQueryResult)]
struct RejectionRow {
    seq: i64,
    at: i64,
    topic: String,
    payload: Vec<u8>,
    qos: i16,
    retain: bool,
    client_id: String,
    reason: i16,
    pointer: String,
    detail: String,
}

impl RejectionRow {
    fn select() -> SelectStatement {
        let column = |column: rejections::Column| column.as_column_ref();
        Query::select()
            .columns([
                column(rejections::Column::Seq),
                column(rejections::Column::Topic),
                column(rejections::Column::Payload),
                column(rejections::Column::Qos),
                column(rejections::Column::Retain),
                column(rejections::Column::ClientId),
                column(rejections::Column::Reason),
                column(rejections::Column::Pointer),
                column(rejections::Column::Detail),
                journal::Column::At.as_column_ref(),
            ])
            .from(rejections::Entity)
            .inner_join(
                journal::Entity,
                Expr::col(journal::Column::Seq.as_column_ref())
                    .eq(Expr::col(column(rejections::Column::Seq))),
            )
            .take()
    }

    fn rejection(self) -> Result<Rejection, Error> {
        Ok(Rejection {
            seq: Seq(self.seq),
            at: Timestamp(self.at),
            topic: self.topic,
            payload: Bytes::from(self.payload),
            qos: self.qos.clamp(0, 2) as u8,
            retain: self.retain,
            client_id: self.client_id,
            reason: RejectionReason::of(self.reason, self.seq)?,
            pointer: self.pointer,
            detail: self.detail,
        })
    }
}
