//! What could not be understood: samples of it, within bounds, and how often.

use std::collections::HashMap;

use async_graphql::InputObject;
use bytes::Bytes;
use entity::{journal, rejection_counts, rejections};
use sea_orm::{
    DbErr, FromQueryResult, Order, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};

use super::{
    Store,
    paging::{narrow_by, page},
    words::Word,
};
use crate::{
    error::Error,
    model::{Page, Part, Rejection, RejectionCount, RejectionReason, Seq, Timestamp},
};

/// Samples of one reason on one topic. More would say nothing new.
pub(super) const MAX_SAMPLES: i64 = 20;

/// Topics, payloads and details of all samples, in bytes: a client that sends nonsense cannot fill the disk.
const MAX_SIZE: i64 = 16 << 20;

/// Counters of a reason on a topic: a client that invents topics cannot fill the memory.
const MAX_COUNTERS: usize = 10_000;

/// In bytes. Longer topics are nobody's device, and are not worth a counter of their own.
const MAX_COUNTED_TOPIC: usize = 512;

/// Which rejections are meant: those that are all of what is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, InputObject)]
pub struct RejectionFilter {
    /// Why they could not be understood.
    pub reason: Option<RejectionReason>,
    /// On exactly which topic they came.
    pub topic: Option<String>,
}

impl RejectionFilter {
    /// Whether a rejection is one of those.
    pub fn has(&self, rejection: &Rejection) -> bool {
        self.reason.is_none_or(|reason| reason == rejection.reason)
            && self.topic.as_ref().is_none_or(|topic| *topic == rejection.topic)
    }
}

impl Store {
    /// Samples of what could not be understood, newest first; on from a cursor. The moments of a part are not
    /// looked at.
    pub async fn rejections(&self, filter: &RejectionFilter, part: Part) -> Result<Page<Rejection>, Error> {
        let mut query = RejectionRow::select();
        if let Some(reason) = filter.reason {
            query.and_where(rejections::Column::Reason.eq(reason.number()));
        }
        if let Some(topic) = &filter.topic {
            query.and_where(rejections::Column::Topic.eq(topic));
        }
        narrow_by(&mut query, rejections::Column::Seq.as_column_ref(), &part);
        Ok(page(self.rejection_samples(&query).await?, &part, |rejection| rejection.seq))
    }

    /// The samples at these places, in order. Places without one are passed over.
    pub async fn rejections_at(&self, seqs: &[Seq]) -> Result<Vec<Rejection>, Error> {
        let mut query = RejectionRow::select();
        query
            .and_where(rejections::Column::Seq.is_in(seqs.iter().map(|seq| seq.0)))
            .order_by_expr(Expr::col(rejections::Column::Seq.as_column_ref()), Order::Asc);
        self.rejection_samples(&query).await
    }

    /// The readings that were made of these rejections: rejection and reading.
    pub async fn replays_of(&self, rejections: &[Seq]) -> Result<HashMap<Seq, Seq>, Error> {
        use journal::{Column, Entity};
        let found: Vec<(Option<i64>, i64)> = Entity::find()
            .select_only()
            .columns([Column::ReplayOf, Column::Seq])
            .filter(Column::ReplayOf.is_in(rejections.iter().map(|seq| seq.0)))
            .into_tuple()
            .all(self.db())
            .await?;
        let pairs = found.into_iter().filter_map(|(rejection, seq)| Some((Seq(rejection?), Seq(seq))));
        Ok(pairs.collect())
    }

    /// How often what was rejected, the last first.
    pub async fn rejection_counts(&self, limit: u32) -> Result<Vec<RejectionCount>, Error> {
        use rejection_counts::{Column, Entity};
        let found = Entity::find()
            .order_by_desc(Column::LastAt)
            .order_by_asc(Column::Topic)
            .limit(u64::from(limit))
            .all(self.db())
            .await?;
        let count = |row: rejection_counts::Model| {
            Ok(RejectionCount {
                topic: row.topic,
                reason: RejectionReason::of(row.reason, 0)?,
                count: row.count,
                last_at: Timestamp(row.last_at),
            })
        };
        found.into_iter().map(count).collect()
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
        // PostgreSQL adds up integers to a decimal.
        let size: Option<Option<i64>> = rejections::Entity::find()
            .select_only()
            .expr(rejections::Column::Size.sum().cast_as("bigint"))
            .into_tuple()
            .one(db)
            .await?;
        Ok(Tally {
            counts: counts.into_iter().map(|row| ((row.topic, row.reason), row.count)).collect(),
            size: size.flatten().unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::{House, rejected};

    #[tokio::test]
    async fn samples_end_and_the_count_goes_on() {
        let mut house = House::new().await;
        let mut drafts: Vec<_> = (0..MAX_SAMPLES + 5).map(|_| rejected("sensors/a", b"x")).collect();
        house.journal.append(&mut drafts).await.unwrap();

        let kept = drafts.iter().filter(|draft| draft.event.is_some()).count();
        assert_eq!(kept as i64, MAX_SAMPLES);
        assert_eq!(house.journal.head(), Seq(MAX_SAMPLES));
        assert_eq!(house.counts().await, [("sensors/a".to_owned(), MAX_SAMPLES + 5)]);
        assert_eq!(
            house
                .store
                .rejections(&RejectionFilter::default(), Part::of(None, 100))
                .await
                .unwrap()
                .items
                .len() as i64,
            MAX_SAMPLES
        );
    }

    #[tokio::test]
    async fn bounds_are_remembered_over_a_restart() {
        let mut house = House::new().await;
        for _ in 0..2 {
            let mut drafts: Vec<_> = (0..MAX_SAMPLES - 1).map(|_| rejected("sensors/a", b"x")).collect();
            house.journal.append(&mut drafts).await.unwrap();
            house = house.restarted().await;
        }
        assert_eq!(house.journal.head(), Seq(MAX_SAMPLES));
    }

    #[tokio::test]
    async fn samples_fit_in_their_bytes() {
        let mut house = House::new().await;
        let large = vec![b'x'; MAX_SIZE as usize / 4];
        let mut drafts: Vec<_> = (0..5).map(|n| rejected(&format!("sensors/{n}"), &large)).collect();
        house.journal.append(&mut drafts).await.unwrap();
        let kept: Vec<_> = drafts.iter().map(|draft| draft.event.is_some()).collect();
        assert_eq!(kept, [true, true, true, false, false]);

        let mut house = house.restarted().await;
        let mut again = [rejected("sensors/9", &large), rejected("sensors/9", b"x")];
        house.journal.append(&mut again).await.unwrap();
        assert_eq!(again.map(|draft| draft.event.is_some()), [false, true]);
    }

    #[tokio::test]
    async fn topics_beyond_the_counters_are_counted_together() {
        let mut tally = Tally { counts: HashMap::new(), size: 0 };
        let mut count = |topic: &str| {
            let draft = rejected(topic, b"x");
            let Some(crate::model::Event::Rejection(rejection)) = draft.event else { unreachable!() };
            tally.count(&rejection).0
        };
        for n in 0..MAX_COUNTERS {
            assert_eq!(count(&format!("sensors/{n}")).count, 1);
        }
        assert_eq!(count("sensors/x").topic, "");
        assert_eq!(count("sensors/y").count, 2);
        assert_eq!(count("sensors/0").count, 2);
        assert_eq!(count(&"t".repeat(MAX_COUNTED_TOPIC + 1)).count, 3);
    }

    #[tokio::test]
    async fn a_rejection_comes_back_byte_for_byte() {
        let mut house = House::new().await;
        let mut drafts = [rejected("sensors/a", b"\xff\x00 raw")];
        house.journal.append(&mut drafts).await.unwrap();

        let page = house.store.rejections(&RejectionFilter::default(), Part::of(None, 10)).await.unwrap();
        let [draft] = drafts;
        assert_eq!(page.items.into_iter().map(crate::model::Event::Rejection).next(), draft.event);
    }
}
