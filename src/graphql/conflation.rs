//! The newest reading of each source, at most so often.
//!
//! Readings leave in the order of the journal, as they do without: whoever resumes after the last one that
//! it got misses the newest of no source. What waits therefore leaves together, and nothing overtakes it.

use std::collections::{HashMap, VecDeque};

use async_graphql::SimpleObject;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Duration, Instant, sleep_until};

use super::problem::Problem;
use crate::{
    error::Error,
    model::{Reading, Seq, ServiceReading},
};

/// Readings of a source in a second, at least: a client waits no longer than ten seconds.
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

/// A reading of a service, as `readings` tells it.
#[derive(Debug, SimpleObject)]
pub struct LiveReading {
    #[graphql(flatten)]
    pub reading: ServiceReading,
    /// How many readings of its topic were left out since the one before. 0 without `maxRate`.
    pub skipped: i32,
}

impl From<Told<Reading>> for SensorReading {
    fn from(Told { reading, skipped }: Told<Reading>) -> SensorReading {
        SensorReading { reading, skipped }
    }
}

impl From<Told<ServiceReading>> for LiveReading {
    fn from(Told { reading, skipped }: Told<ServiceReading>) -> LiveReading {
        LiveReading { reading, skipped }
    }
}

/// What has one newest for each source.
pub trait Sourced {
    /// Whose newest it may be.
    fn source(&self) -> &str;

    fn seq(&self) -> Seq;

    /// Whether it was made of a rejection: then it is newer than nothing.
    fn is_history(&self) -> bool;
}

impl Sourced for Reading {
    fn source(&self) -> &str {
        &self.device
    }

    fn seq(&self) -> Seq {
        self.seq
    }

    fn is_history(&self) -> bool {
        self.replay_of.is_some()
    }
}

impl Sourced for ServiceReading {
    fn source(&self) -> &str {
        self.topic.as_str()
    }

    fn seq(&self) -> Seq {
        self.seq
    }

    fn is_history(&self) -> bool {
        self.replay_of.is_some()
    }
}

/// A reading, and how many of its source were left out before it.
#[derive(Debug)]
pub struct Told<T> {
    pub reading: T,
    pub skipped: i32,
}

impl<T> From<T> for Told<T> {
    fn from(reading: T) -> Told<T> {
        Told { reading, skipped: 0 }
    }
}

/// The time between two readings of a source, by how many there may be in a second.
pub fn every(max_rate: f64) -> Result<Duration, Problem> {
    if (MIN_RATE..=MAX_RATE).contains(&max_rate) {
        return Ok(Duration::from_secs_f64(1.0 / max_rate));
    }
    Err(Problem::invalid(format!("`maxRate` is {MIN_RATE} to {MAX_RATE}, not {max_rate}")))
}

/// A place in the journal, and the reading that is of interest there.
pub type Step<T> = Result<(Seq, Option<T>), Error>;

/// Conflates readings, after those that are told first. `head` is the place that the journal has reached.
///
/// Whoever pulls slowly gets what is newest by then, not what was newest when it last pulled.
pub fn conflated<T: Sourced + Send + 'static>(
    first: Vec<T>,
    steps: impl Stream<Item = Step<T>> + Send + 'static,
    head: impl Fn() -> Seq + Send + 'static,
    every: Duration,
) -> impl Stream<Item = Result<Told<T>, Problem>> + Send {
    let listener =
        Listener { conflation: Conflation::new(first, every, Instant::now()), steps: steps.boxed(), head };
    stream::unfold(Some(listener), |listener| async move {
        let mut listener = listener?;
        match listener.next().await? {
            Ok(reading) => Some((Ok(reading), Some(listener))),
            Err(why) => Some((Err(why.into()), None)),
        }
    })
}

struct Listener<T, S, H> {
    conflation: Conflation<T>,
    steps: S,
    head: H,
}

impl<T: Sourced, S: Stream<Item = Step<T>> + Unpin, H: Fn() -> Seq> Listener<T, S, H> {
    async fn next(&mut self) -> Option<Result<Told<T>, Error>> {
        self.conflation.asked(Instant::now());
        loop {
            let due = match self.conflation.next(Instant::now(), (self.head)()) {
                Next::Leaves(reading) => return Some(Ok(reading)),
                Next::At(due) => due,
            };
            let step = tokio::select! {
                step = self.steps.next() => step?,
                () = until(due) => continue,
            };
            match step {
                Ok((seq, reading)) => self.conflation.take(seq, reading, Instant::now()),
                Err(why) => return Some(Err(why)),
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What waits, and when it may leave.
struct Conflation<T> {
    every: Duration,
    lanes: HashMap<String, Lane<T>>,
    /// When all that waits may leave.
    due: Option<Instant>,
    /// What leaves together, in the order of the journal.
    leaving: VecDeque<Told<T>>,
    /// How far the journal was read.
    seen: Seq,
    /// Whoever asks does not wait longer for the end of a long replay.
    patience: Instant,
}

/// One source. There are as many as the gateway keeps in mind.
struct Lane<T> {
    waiting: Option<T>,
    /// Left out since the last that left.
    skipped: i32,
    /// When the next may leave.
    free: Instant,
}

enum Next<T> {
    Leaves(Told<T>),
    /// Nothing before this moment, unless more is taken; without one, not at all.
    At(Option<Instant>),
}

impl<T: Sourced> Conflation<T> {
    fn new(first: Vec<T>, every: Duration, now: Instant) -> Conflation<T> {
        let mut conflation = Conflation {
            every,
            lanes: HashMap::new(),
            due: None,
            leaving: VecDeque::new(),
            seen: Seq::ZERO,
            patience: now,
        };
        for reading in first {
            conflation.take(reading.seq(), Some(reading), now);
        }
        conflation.leave();
        conflation
    }

    /// The client asks for what is next.
    fn asked(&mut self, now: Instant) {
        self.patience = now + self.every;
    }

    fn take(&mut self, seq: Seq, reading: Option<T>, now: Instant) {
        self.seen = seq;
        let Some(reading) = reading else { return };
        let new = || Lane { waiting: None, skipped: 0, free: now };
        let lane = self.lanes.entry(reading.source().to_owned()).or_insert_with(new);
        let history = reading.is_history();
        if history || lane.waiting.replace(reading).is_some() {
            lane.skipped = lane.skipped.saturating_add(1);
        }
        if !history {
            self.due = self.due.max(Some(lane.free));
        }
    }

    /// `head` is the place that the journal has reached: what is on its way from there is newer than what waits.
    fn next(&mut self, now: Instant, head: Seq) -> Next<T> {
        if self.leaving.is_empty() {
            let Some(due) = self.due else { return Next::At(None) };
            let due = if self.seen < head { due.max(self.patience) } else { due };
            if now < due {
                return Next::At(Some(due));
            }
            self.leave();
        }
        let Some(leaves) = self.leaving.pop_front() else { return Next::At(None) };
        if let Some(lane) = self.lanes.get_mut(leaves.reading.source()) {
            lane.free = now + self.every;
            if lane.waiting.is_some() {
                self.due = self.due.max(Some(lane.free));
            }
        }
        Next::Leaves(leaves)
    }

    /// All that waits, in the order of the journal.
    fn leave(&mut self) {
        self.due = None;
        let leaving = self.lanes.values_mut().filter_map(|lane| {
            let reading = lane.waiting.take()?;
            Some(Told { reading, skipped: std::mem::take(&mut lane.skipped) })
        });
        let mut leaving: Vec<Told<T>> = leaving.collect();
        leaving.sort_unstable_by_key(|leaves| leaves.reading.seq());
        self.leaving = leaving.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use bytes::Bytes;
    use proptest::prelude::*;

    const EVERY: Duration = Duration::from_millis(100);

    fn reading(seq: i64, device: usize) -> Reading {
        Reading {
            seq: Seq(seq),
            at: Timestamp(0),
            device: device.to_string(),
            temperature: 20.0,
            humidity: 40.0,
            threshold: 29.0,
            over_threshold: false,
            unit: None,
            replay_of: None,
            payload: Bytes::new(),
        }
    }

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// What leaves, with how many were left out before it.
    fn left(next: Next<Reading>) -> Option<(i64, i32)> {
        match next {
            Next::Leaves(Told { reading, skipped }) => Some((reading.seq.0, skipped)),
            Next::At(_) => None,
        }
    }

    #[test]
    fn the_first_leaves_at_once_and_the_newest_when_its_time_has_come() {
        let start = Instant::now();
        let mut conflation = Conflation::<Reading>::new(Vec::new(), EVERY, start);
        conflation.take(Seq(1), Some(reading(1, 0)), start);
        assert_eq!(left(conflation.next(start, Seq(1))), Some((1, 0)));
        for seq in 2..=4 {
            conflation.take(Seq(seq), Some(reading(seq, 0)), start + millis(10));
        }
        let Next::At(Some(due)) = conflation.next(start + millis(99), Seq(4)) else { panic!("too early") };
        assert_eq!(due, start + EVERY);
        assert_eq!(left(conflation.next(due, Seq(4))), Some((4, 2)));
        assert!(matches!(conflation.next(due + EVERY, Seq(4)), Next::At(None)));
    }

    #[test]
    fn what_is_told_first_leaves_at_once() {
        let start = Instant::now();
        let mut conflation = Conflation::new(vec![reading(3, 0), reading(7, 1)], EVERY, start);
        assert_eq!(left(conflation.next(start, Seq(9))), Some((3, 0)));
        assert_eq!(left(conflation.next(start, Seq(9))), Some((7, 0)));
        assert_eq!(left(conflation.next(start + EVERY, Seq(9))), None);
    }

    #[test]
    fn what_was_made_of_a_rejection_replaces_nothing() {
        let start = Instant::now();
        let mut conflation = Conflation::<Reading>::new(Vec::new(), EVERY, start);
        let history = |seq| Reading { replay_of: Some(Seq(1)), ..reading(seq, 0) };
        conflation.take(Seq(2), Some(history(2)), start);
        assert_eq!(left(conflation.next(start, Seq(2))), None);
        conflation.take(Seq(3), Some(reading(3, 0)), start);
        conflation.take(Seq(4), Some(history(4)), start);
        assert_eq!(left(conflation.next(start, Seq(4))), Some((3, 2)));
    }

    #[test]
    fn a_long_replay_shows_something_from_time_to_time() {
        let start = Instant::now();
        let mut conflation = Conflation::<Reading>::new(Vec::new(), EVERY, start);
        let mut told = Vec::new();
        conflation.asked(start);
        for seq in 1..=100 {
            let now = start + millis(3 * seq);
            conflation.take(Seq(seq as i64), Some(reading(seq as i64, 0)), now);
            if let Some(left) = left(conflation.next(now, Seq(1_000))) {
                told.push(left);
                conflation.asked(now);
            }
        }
        assert_eq!(told, [(34, 33), (68, 33)]);
    }

    #[test]
    fn rates_have_bounds() {
        assert_eq!(every(0.1).unwrap(), Duration::from_secs(10));
        assert_eq!(every(100.0).unwrap(), millis(10));
        for rate in [0.0, -1.0, 0.09, 100.1, f64::NAN, f64::INFINITY] {
            assert!(every(rate).is_err(), "{rate}");
        }
    }

    /// A device that speaks so many milliseconds after the one before.
    fn journal() -> impl Strategy<Value = Vec<(usize, u64)>> {
        proptest::collection::vec((0..4_usize, prop_oneof![0..5_u64, 0..250_u64]), 1..60)
    }

    /// What a client gets that thinks for so long after each: milliseconds, device, seq, skipped.
    fn told(journal: &[(u64, usize)], thinks: &[u64]) -> Vec<(u64, usize, i64, i32)> {
        let start = Instant::now();
        let mut conflation = Conflation::<Reading>::new(Vec::new(), EVERY, start);
        let (mut told, mut now) = (Vec::new(), 0);
        let mut read = 0;
        let mut thinks = thinks.iter().cycle();
        conflation.asked(start);
        loop {
            let moment = start + millis(now);
            let head = journal.iter().take_while(|(at, _)| *at <= now).count();
            match conflation.next(moment, Seq(head as i64)) {
                Next::Leaves(Told { reading, skipped }) => {
                    told.push((now, reading.device.parse().unwrap(), reading.seq.0, skipped));
                    now += thinks.next().unwrap();
                    conflation.asked(start + millis(now));
                }
                Next::At(_) if read < head => {
                    let seq = read as i64 + 1;
                    conflation.take(Seq(seq), Some(reading(seq, journal[read].1)), moment);
                    read += 1;
                }
                Next::At(due) => {
                    let due = due.map(|due| due.duration_since(start).as_millis() as u64);
                    let coming = journal.get(read).map(|(at, _)| *at);
                    match due.into_iter().chain(coming).min() {
                        Some(next) => now = next,
                        None => return told,
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn conflated_readings_keep_their_promises(
            gaps in journal(),
            thinks in proptest::collection::vec(prop_oneof![Just(0), 0..300_u64], 1..5),
        ) {
            let mut at = 0;
            let journal: Vec<(u64, usize)> =
                gaps.iter().map(|(device, gap)| { at += gap; (at, *device) }).collect();
            let told = told(&journal, &thinks);
            let prompt = thinks.iter().all(|thinks| *thinks == 0);

            prop_assert!(told.is_sorted_by(|one, next| one.2 < next.2), "seqs only grow: {told:?}");
            for device in 0..4 {
                let of_device: Vec<_> = told.iter().filter(|told| told.1 == device).collect();
                let seqs: Vec<i64> = (1..).zip(&journal).filter(|(_, (_, of))| *of == device).map(|(seq, _)| seq).collect();
                prop_assert!(of_device.windows(2).all(|two| two[1].0 - two[0].0 >= 100), "not too often: {told:?}");
                prop_assert_eq!(of_device.last().map(|told| told.2), seqs.last().copied(), "the newest comes");
                let mut rest = &seqs[..];
                for (moment, _, seq, skipped) in of_device {
                    let (left_out, later) = rest.split_at(rest.iter().position(|one| one == seq).unwrap());
                    prop_assert_eq!(left_out.len() as i32, *skipped);
                    if prompt {
                        let first = journal[rest[0] as usize - 1].0;
                        prop_assert!(moment - first <= 100, "waited too long: {:?}", told);
                        let newer = later.get(1).map(|newer| journal[*newer as usize - 1].0);
                        prop_assert!(newer.is_none_or(|newer| newer >= *moment), "not the newest: {:?}", told);
                    }
                    rest = &later[1..];
                }
            }
        }
    }
}
