//! What was understood is written, and then told.
//!
//! However long the disk refuses, nothing of a batch is acknowledged before all of it is history.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Accepted, Batch, Denied, Ingest, Pinning, RETRY, SLOW};
use crate::{
    error::Error,
    health::Trouble,
    model::Event,
    store::{Draft, refused},
};

impl Ingest {
    /// Writes the batch, however long the disk refuses; then those who wait are told. An error says that
    /// the gateway stops while the disk still refuses: nothing of the batch was acknowledged.
    pub(super) async fn commit(
        &mut self,
        mut batch: Batch,
        closing: &CancellationToken,
    ) -> Result<(), Error> {
        batch.drafts.extend(self.truth.owed());
        if !batch.drafts.is_empty() {
            self.write(&mut batch.drafts, closing).await?;
        } else if self.health.ends(Trouble::JournalBehind) {
            info!("nothing waits for the disk any more");
        }
        let events: Vec<Option<Arc<Event>>> =
            batch.drafts.into_iter().map(|draft| draft.event.map(Arc::new)).collect();
        let told: Vec<Arc<Event>> = events.iter().flatten().cloned().collect();
        for event in &told {
            log(event);
        }
        // Told first: who is acknowledged finds what was acknowledged.
        self.devices.apply(&told);
        self.registry.apply(&told);
        self.learnt(&told);
        self.hub.tell(&told);
        self.desk.tell(&told);
        for Pinning { draft, done } in batch.pins {
            let told = match draft {
                Ok(Some(index)) if events[index].is_none() => Err(Error::Unavailable("the journal")),
                Ok(_) => Ok(()),
                Err(Error::KindContradicted { service, kind, .. }) => {
                    Err(self.book.contradicted(&service, kind))
                }
                Err(why) => Err(why),
            };
            // Whoever asked may have gone.
            let _ = done.send(told);
        }
        for Accepted { draft, ticket, done } in batch.accepted {
            match events[draft].as_deref() {
                Some(Event::Command(record)) => {
                    self.docket.settle(ticket, record);
                    // Whoever asked may have gone.
                    let _ = done.send(Ok(record.clone()));
                }
                _ => self.docket.lose(ticket),
            }
        }
        for Denied { draft, why, done } in batch.denied {
            let told = match (events[draft].as_deref(), why) {
                (Some(Event::Command(record)), Some(why)) => {
                    Err(Error::Denied { why: Box::new(why), record: Box::new(record.clone()) })
                }
                (Some(Event::Command(record)), None) => Ok(record.clone()),
                (_, why) => Err(why.unwrap_or(Error::Unavailable("the journal"))),
            };
            // Whoever asked may have gone.
            let _ = done.send(told);
        }
        for replayed in batch.replays {
            replayed.tell(&events);
        }
        for ack in batch.acks {
            ack.settle();
        }
        for device in batch.doubtful {
            self.truth.tell(&self.broker, &device, self.watch.status(&device));
        }
        Ok(())
    }

    /// Writes the drafts, all at once if that can be. One that the database will never take is left out, so that the
    /// others do not wait for ever.
    async fn write(&mut self, drafts: &mut [Draft], closing: &CancellationToken) -> Result<(), Error> {
        let (mut written, mut alone, mut refusals) = (0, false, 0);
        while written < drafts.len() {
            let end = if alone { written + 1 } else { drafts.len() };
            let begun = Instant::now();
            match self.append(&mut drafts[written..end]).await {
                Ok(()) => {
                    let entries = drafts[written..end].iter().filter(|draft| draft.event.is_some()).count();
                    self.written(begun.elapsed(), entries);
                    (written, refusals) = (end, 0);
                }
                Err(why) if refused(&why) => {
                    refusals += 1;
                    // After the first time the journal looks anew at what is in the database.
                    if refusals == 2 && alone {
                        error!("the database does not take an entry, which is lost: {}", cause(&why));
                        metrics::counter!("crosslink_unrecorded_total").increment(1);
                        // What it brought for others is written all the same, if that can be.
                        let draft = std::mem::take(&mut drafts[written]);
                        if draft.event.is_some() || draft.retained.is_some() {
                            drafts[written].keeps = draft.keeps;
                        } else {
                            written += 1;
                        }
                    }
                    (alone, refusals) = (alone || refusals == 2, refusals % 2);
                }
                Err(why) => {
                    self.failing(&why);
                    if closing.run_until_cancelled(sleep(RETRY)).await.is_none() {
                        return Err(why);
                    }
                }
            }
        }
        Ok(())
    }

    /// What was learnt of services has its place by now, and the broker knows them.
    fn learnt(&mut self, told: &[Arc<Event>]) {
        for event in told {
            if let Event::Service(change) = &**event
                && let Ok(service) = self.registry.get(&change.service)
            {
                self.broker.recognize(&change.service);
                self.book.settle(service);
            }
        }
    }

    /// Tries once, and says so while it takes long: a disk that hangs gives no answer.
    async fn append(&mut self, drafts: &mut [Draft]) -> Result<(), Error> {
        let mut append = pin!(self.journal.append(drafts));
        if let Ok(done) = timeout(SLOW, &mut append).await {
            return done;
        }
        let detail = format!("a commit takes longer than {} ms", SLOW.as_millis());
        if self.health.begins(Trouble::JournalBehind, detail.clone()) {
            warn!("the disk is slow: {detail}");
        }
        append.await
    }

    fn failing(&self, why: &Error) {
        self.inputs.set_failing(true);
        let detail = format!("the database cannot be written: {}", cause(why));
        if self.health.begins(Trouble::JournalFailing, detail.clone()) {
            error!("{detail}; QoS 1 and 2 wait, QoS 0 goes unrecorded, trying again");
        }
        metrics::counter!("crosslink_journal_failures_total").increment(1);
    }

    fn written(&self, took: Duration, entries: usize) {
        metrics::histogram!("crosslink_commit_seconds").record(took.as_secs_f64());
        metrics::counter!("crosslink_journal_entries_total").increment(entries as u64);
        self.inputs.set_failing(false);
        if self.health.ends(Trouble::JournalFailing) {
            info!("the database can be written again");
        }
        if took > SLOW {
            let detail = format!("the last commit took {} ms", took.as_millis());
            if self.health.begins(Trouble::JournalBehind, detail.clone()) {
                warn!("the disk is slow: {detail}");
            }
        } else if self.health.ends(Trouble::JournalBehind) {
            info!("the disk keeps up again");
        }
    }
}

/// What a person wants to read: who came and went, and what could not be understood.
fn log(event: &Event) {
    match event {
        Event::Presence(change) => {
            let status = change.presence.status;
            let why = change.presence.reason.map_or("nothing is known", |reason| reason.words());
            info!(device = change.device, seq = %change.seq, "{} is {status}: {why}", change.device);
        }
        Event::Rejection(rejection) => warn!(
            topic = rejection.topic, client_id = rejection.client_id, seq = %rejection.seq,
            "rejected a message on {}: {rejection}", rejection.topic
        ),
        Event::Service(change) => info!(
            service = %change.service, seq = %change.seq, "{} {}", change.service, change.news()
        ),
        Event::Reading(_) | Event::Session(_) | Event::Command(_) | Event::ServiceReading(_) => {}
    }
}

/// What is at the bottom of it: what wraps that says only in whose words it came.
fn cause(why: &Error) -> String {
    let mut cause: &dyn std::error::Error = why;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
