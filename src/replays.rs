//! Rejections that are looked at anew, after the gateway has learnt what they mean.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{
    broker::Intake,
    error::Error,
    model::{Cursor, Page, Part, Rejection, Replay, ReplayOutcome, Seq},
    store::{RejectionFilter, Store},
};

/// Rejections that are replayed in one go.
pub const MAX_AT_ONCE: u32 = 1_000;

/// Replays rejections. A cheap handle.
#[derive(Clone)]
pub struct Replays(Arc<Inner>);

struct Inner {
    store: Store,
    intake: Intake,
    /// Two at a time could both find that a rejection was not replayed yet.
    turn: Semaphore,
}

impl Replays {
    pub fn new(store: Store, intake: Intake) -> Replays {
        Replays(Arc::new(Inner { store, intake, turn: Semaphore::new(1) }))
    }

    /// Replays these rejections, in the order of the journal. Each is recorded once, however often it is replayed.
    pub async fn of(&self, rejections: &[Seq]) -> Result<Vec<Replay>, Error> {
        if rejections.len() > MAX_AT_ONCE as usize {
            return Err(Error::Invalid(format!("at most {MAX_AT_ONCE} rejections are replayed in one go")));
        }
        let found = self.0.store.rejections_at(rejections).await?;
        if let Some(missing) = rejections.iter().find(|seq| !found.iter().any(|found| found.seq == **seq)) {
            return Err(Error::NotFound { what: "rejection", name: missing.to_string() });
        }
        self.replay(found).await
    }

    /// Replays the rejections after a place that match, oldest first, so that the readings made of them are in the
    /// order of time; tells where to go on.
    pub async fn matching(
        &self,
        filter: &RejectionFilter,
        after: Seq,
        limit: u32,
    ) -> Result<Page<Replay>, Error> {
        let part = Part::of(Some(Cursor::After(after)), limit.min(MAX_AT_ONCE));
        let Page { items, next } = self.0.store.rejections(filter, part).await?;
        Ok(Page { items: self.replay(items).await?, next })
    }

    async fn replay(&self, rejections: Vec<Rejection>) -> Result<Vec<Replay>, Error> {
        let Inner { store, intake, turn } = &*self.0;
        let _turn = turn.acquire().await.map_err(Error::internal)?;
        let seqs: Vec<Seq> = rejections.iter().map(|rejection| rejection.seq).collect();
        let recorded = store.replays_of(&seqs).await?;
        // Handed in together: they are written together.
        let replays = rejections.into_iter().map(async |rejection| match recorded.get(&rejection.seq) {
            Some(reading) => Ok(before(rejection.seq, *reading)),
            None => intake.replay(rejection).await,
        });
        futures_util::future::try_join_all(replays).await
    }
}

fn before(rejection: Seq, reading: Seq) -> Replay {
    let outcome = ReplayOutcome::RecordedBefore;
    Replay { rejection, outcome, reading: Some(reading), reason: None, detail: None }
}
