//! Rejections that are looked at anew, after the gateway has learnt what they mean.

use std::sync::Arc;

use futures_util::future::join_all;
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
    /// Two at a time could both find that a rejection was not replayed yet, which the journal would refuse.
    turn: Arc<Semaphore>,
}

impl Replays {
    pub fn new(store: Store, intake: Intake) -> Replays {
        Replays(Arc::new(Inner { store, intake, turn: Arc::new(Semaphore::new(1)) }))
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

    /// Whoever asked may go: what was handed in is seen through, before the next have their turn.
    async fn replay(&self, rejections: Vec<Rejection>) -> Result<Vec<Replay>, Error> {
        if self.0.intake.failing() {
            return Err(Error::Unavailable("the journal"));
        }
        let turn = self.0.turn.clone().acquire_owned().await.map_err(Error::internal)?;
        let inner = self.0.clone();
        let replays = tokio::spawn(async move {
            let _turn = turn;
            inner.replay(rejections).await
        });
        replays.await.map_err(Error::internal)?
    }
}

impl Inner {
    async fn replay(&self, rejections: Vec<Rejection>) -> Result<Vec<Replay>, Error> {
        let seqs: Vec<Seq> = rejections.iter().map(|rejection| rejection.seq).collect();
        let recorded = self.store.replays_of(&seqs).await?;
        // Handed in together: they are written together.
        let replays = rejections.into_iter().map(async |rejection| match recorded.get(&rejection.seq) {
            Some(reading) => Ok(before(rejection.seq, *reading)),
            None => self.intake.replay(rejection).await,
        });
        // All are waited for, although one may be refused: the others may still be on their way.
        join_all(replays).await.into_iter().collect()
    }
}

fn before(rejection: Seq, reading: Seq) -> Replay {
    let outcome = ReplayOutcome::RecordedBefore;
    Replay { rejection, outcome, reading: Some(reading), reason: None, detail: None }
}
