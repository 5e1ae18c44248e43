//! The newest reading of each device, at most so often.
//!
//! Readings leave in the order of the journal, as they do without: whoever resumes after the last one that
//! it got misses the newest of no device. What waits therefore leaves together, and nothing overtakes it.

use std::collections::{HashMap, VecDeque};

use async_graphql::SimpleObject;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Duration, Instant, sleep_until};

use super::problem::Problem;
use crate::{
    error::Error,
    model::{Reading, Seq},
};

/// Readings of a device in a second, at least: a client waits no longer than ten seconds.
pub const MIN_RATE: f64 = 0.1;
/// And at most: timers count milliseconds, and no screen shows more.
pub const MAX_RATE: f64 = 100.0;

/// A reading, as `sensors` tells it.
#[derive(Debug, SimpleObject)]
pub struct SensorReading {
    #[graphql(flatten)]
    pub reading: Reading,
    /// How many readings of its device were left out since the one before. 0 without `maxRate`.
    pub skipped: i32,
}

impl From<Reading> for SensorReading {
    fn from(reading: Reading) -> SensorReading {
        SensorReading { reading, skipped: 0 }
    }
}

/// The time between two readings of a device, by how many there may be in a second.
pub fn every(max_rate: f64) -> Result<Duration, Problem> {
    if (MIN_RATE..=MAX_RATE).contains(&max_rate) {
        return Ok(Duration::from_secs_f64(1.0 / max_rate));
    }
    Err(Problem::invalid(format!("`maxRate` is {MIN_RATE} to {MAX_RATE}, not {max_rate}")))
}

/// A place in the journal, and the reading that is of interest there.
pub type Step = Result<(Seq, Option<Reading>), Error>;

/// Conflates readings, after those that are told first. `head` is the place that the journal has reached.
///
/// Whoever pulls slowly gets what is newest by then, not what was newest when it last pulled.
pub fn conflated(
    first: Vec<Reading>,
    steps: impl Stream<Item = Step> + Send + 'static,
    head: impl Fn() -> Seq + Send + 'static,
    every: Duration,
) -> impl Stream<Item = Result<SensorReading, Problem>> + Send {
    let mut conflation = Conflation::new(every);
    first.into_iter().for_each(|reading| conflation.take(reading, Instant::now()));
    let ready = conflation.leave(Instant::now()).into();
    let listener = Listener { conflation, ready, steps: steps.boxed(), head, seen: Seq::ZERO };
    stream::unfold(Some(listener), |listener| async move {
        let mut listener = listener?;
        match listener.next().await? {
            Ok(reading) => Some((Ok(reading), Some(listener))),
            Err(why) => Some((Err(why.into()), None)),
        }
    })
}

struct Listener<S, H> {
    conflation: Conflation,
    /// What leaves together, and has not left yet.
    ready: VecDeque<SensorReading>,
    steps: S,
    head: H,
    seen: Seq,
}

impl<S: Stream<Item = Step> + Unpin, H: Fn() -> Seq> Listener<S, H> {
    async fn next(&mut self) -> Option<Result<SensorReading, Error>> {
        // A long replay shows something from time to time, and is not waited for.
        let patience = Instant::now() + self.conflation.every;
        loop {
            if let Some(reading) = self.ready.pop_front() {
                return Some(Ok(reading));
            }
            let behind = self.seen < (self.head)();
            let due = self.conflation.due().map(|due| if behind { due.max(patience) } else { due });
            let step = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(patience)), if due.is_some() => None,
                step = self.steps.next() => Some(step?),
            };
            match step {
                Some(Ok((seq, reading))) => {
                    self.seen = seq;
                    if let Some(reading) = reading {
                        self.conflation.take(reading, Instant::now());
                    }
                }
                Some(Err(why)) => return Some(Err(why)),
                None => self.ready = self.conflation.leave(Instant::now()).into(),
            }
        }
    }
}

/// What waits, and what has left.
struct Conflation {
    every: Duration,
    lanes: HashMap<String, Lane>,
    /// When all that waits may leave.
    due: Option<Instant>,
}

/// One device. There are as many as the gateway keeps in mind.
struct Lane {
    newest: Option<Reading>,
    skipped: i32,
    /// When its next reading may leave.
    free: Instant,
}

impl Conflation {
    fn new(every: Duration) -> Conflation {
        Conflation { every, lanes: HashMap::new(), due: None }
    }

    fn take(&mut self, reading: Reading, now: Instant) {
        let lane =
            self.lanes.entry(reading.device.clone()).or_insert(Lane { newest: None, skipped: 0, free: now });
        // What was made of a rejection is history, and newer than nothing.
        if reading.replay_of.is_some() || lane.newest.replace(reading).is_some() {
            lane.skipped = lane.skipped.saturating_add(1);
        }
        if lane.newest.is_some() {
            self.due = self.due.max(Some(lane.free));
        }
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    /// All that waits, in the order of the journal.
    fn leave(&mut self, now: Instant) -> Vec<SensorReading> {
        self.due = None;
        let leaving = self.lanes.values_mut().filter_map(|lane| {
            let reading = lane.newest.take()?;
            lane.free = now + self.every;
            Some(SensorReading { reading, skipped: std::mem::take(&mut lane.skipped) })
        });
        let mut leaving: Vec<SensorReading> = leaving.collect();
        leaving.sort_unstable_by_key(|leaving| leaving.reading.seq);
        leaving
    }
}
