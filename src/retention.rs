//! Commands that are removed from the command log when they are old.
//!
//! In small steps, each written by ingest between two batches, so that nobody waits long.

use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    error::Error,
    ingest::Removal,
    model::{Seq, Timestamp},
    store::Store,
};

/// How often it is looked for what is old: hours do not matter where days are counted.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Between two steps: what waited for the first is written before the second.
const PAUSE: Duration = Duration::from_millis(50);
/// One step at a time.
pub const MAX_WAITING: usize = 1;

/// Removes commands that are older than `keep`, until it is stopped. At the start the journal ended at `head`.
pub async fn run(
    store: Store,
    keep: Duration,
    mut head: Seq,
    removals: mpsc::Sender<Removal>,
    stopping: CancellationToken,
) {
    let rounds = async {
        loop {
            // What came since the last round stays: whatever the clock says, more may become of it.
            match round(&store, keep, &mut head, &removals).await {
                Ok(0) => {}
                Ok(rows) => info!(rows, "removed {rows} rows of the command log that were old"),
                Err(why) => warn!("the command log keeps what is old: {why}"),
            }
            sleep(EVERY).await;
        }
    };
    stopping.run_until_cancelled(rounds).await;
}

/// Removes what is old of what stood in the journal when the last round ended at `head`; tells how many rows that were.
async fn round(
    store: &Store,
    keep: Duration,
    head: &mut Seq,
    removals: &mpsc::Sender<Removal>,
) -> Result<usize, Error> {
    let gone = || Error::Unavailable("the journal");
    // A clock that has just jumped far ahead makes nothing old: the journal's own time counts until the next round.
    let time = Timestamp::now().min(store.moment(*head).await?);
    let (than, now) = (time.before(keep), store.head().await?);
    let mut rows = 0;
    while let Some(old) = store.old_commands(than, *head).await? {
        let count = old.count();
        let (done, removed) = oneshot::channel();
        removals.send(Removal { old, done }).await.map_err(|_| gone())?;
        removed.await.map_err(|_| gone())??;
        rows += count;
        sleep(PAUSE).await;
    }
    *head = now;
    Ok(rows)
}
