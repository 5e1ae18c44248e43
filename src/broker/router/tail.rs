//! The tail: what went into the router last.
//!
//! A session that has lost its link finds there what no router may have brought it. Messages stand in blocks that are
//! shared, so that thousands of sessions can read them while others publish.

use std::{collections::VecDeque, iter, sync::Arc};

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::{
    feed::{MAX_WAITING, MAX_WAITING_BYTES},
    header::{PREFIX, Routed},
};

/// More than may wait for a router that takes nothing, with what is on its way to the sessions.
const MAX_MESSAGES: usize = 2 * MAX_WAITING;
const MAX_BYTES: usize = 2 * MAX_WAITING_BYTES;
/// So much of that may go in while links move before publishers wait: those who have waited have a turn, and put in more.
pub const SAFE: usize = MAX_MESSAGES / 2;
const SAFE_BYTES: usize = MAX_BYTES / 2;
/// Longer than it takes to find out that a router hangs.
const MAX_AGE: Duration = Duration::from_secs(20);
/// A block is shared from this size on.
const BLOCK: usize = 256;
const BLOCK_BYTES: usize = 512 * 1024;
/// What a message takes beside its topic and its payload.
const OVERHEAD: usize = 128;

/// A message as it went in.
#[derive(Clone)]
pub struct Entry {
    pub number: u64,
    /// Among all that stand here.
    pub place: u64,
    pub at: Instant,
    /// With its prefix.
    pub topic: Bytes,
    /// With its header.
    pub payload: Bytes,
}

#[derive(Default)]
pub struct Tail {
    full: VecDeque<Arc<Block>>,
    open: Block,
    messages: usize,
    bytes: usize,
}

/// How much a tail has taken in.
#[derive(Default)]
pub struct Taken {
    messages: usize,
    bytes: usize,
}

#[derive(Clone, Default)]
struct Block {
    entries: Vec<Entry>,
    bytes: usize,
}

/// The tail as it is when a link has been subscribed.
pub struct Missed {
    lasting: Vec<Arc<Block>>,
    /// What stood there only while links moved.
    fleeting: Vec<Arc<Block>>,
    /// What has this number or a greater one went into no other router than that of the link.
    pub first: u64,
    /// What went in later comes by the link.
    pub last: u64,
    pub(super) epoch: Instant,
}

impl Taken {
    pub fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.bytes += entry.size();
    }

    /// Whether all of that is sure to be there still.
    pub fn is_safe(&self) -> bool {
        self.messages < SAFE && self.bytes < SAFE_BYTES
    }
}

impl Tail {
    pub fn push(&mut self, entry: Entry) {
        let size = entry.size();
        self.messages += 1;
        self.bytes += size;
        self.open.bytes += size;
        let now = entry.at;
        self.open.entries.push(entry);
        if self.open.entries.len() >= BLOCK || self.open.bytes >= BLOCK_BYTES {
            self.full.push_back(Arc::new(std::mem::take(&mut self.open)));
        }
        self.trim(now);
    }

    /// Lets go of what is old or too much.
    pub fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.full.front() {
            let old = oldest.entries.last().is_none_or(|entry| now > entry.at + MAX_AGE);
            if !old && self.messages <= MAX_MESSAGES && self.bytes <= MAX_BYTES {
                return;
            }
            self.messages -= oldest.entries.len();
            self.bytes -= oldest.bytes;
            self.full.pop_front();
        }
        if self.open.entries.last().is_some_and(|entry| now > entry.at + MAX_AGE) {
            *self = Tail::default();
        }
    }

    /// Whether there is room for what is of no use once the oldest goes.
    pub fn is_roomy(&self) -> bool {
        self.messages < MAX_MESSAGES && self.bytes < MAX_BYTES
    }

    /// Whether there is so much room that publishers need not wait.
    pub fn is_safe(&self) -> bool {
        self.messages < SAFE && self.bytes < SAFE_BYTES
    }

    /// The place of the oldest message.
    pub fn begins(&self) -> Option<u64> {
        let oldest = self.full.front().map_or(&self.open, |block| block);
        oldest.entries.first().map(|entry| entry.place)
    }

    fn blocks(&self) -> Vec<Arc<Block>> {
        let open = Some(Arc::new(self.open.clone()));
        self.full.iter().cloned().chain(open).collect()
    }
}

impl Missed {
    pub(super) fn of(tail: &Tail, bridge: &Tail, first: u64, last: u64, epoch: Instant) -> Missed {
        Missed { lasting: tail.blocks(), fleeting: bridge.blocks(), first, last, epoch }
    }

    /// The messages that went in after this number and are not too old, in that order.
    pub fn entries(&self, after: u64) -> impl Iterator<Item = &Entry> {
        let now = Instant::now();
        let mut lasting = later(&self.lasting, after).peekable();
        let mut fleeting = later(&self.fleeting, after).peekable();
        let in_order = iter::from_fn(move || match (lasting.peek(), fleeting.peek()) {
            (Some(one), Some(other)) if other.number < one.number => fleeting.next(),
            (Some(_), _) => lasting.next(),
            (None, _) => fleeting.next(),
        });
        in_order.filter(move |entry| now <= entry.at + MAX_AGE)
    }

    pub fn read(&self, entry: &Entry) -> Option<Routed> {
        Routed::of(entry.topic.clone(), entry.payload.clone(), self.epoch)
    }
}

fn later(blocks: &[Arc<Block>], after: u64) -> impl Iterator<Item = &Entry> {
    let passed =
        blocks.partition_point(|block| block.entries.last().is_some_and(|last| last.number <= after));
    blocks[passed..].iter().flat_map(|block| &block.entries).filter(move |entry| entry.number > after)
}

impl Entry {
    fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + OVERHEAD
    }

    /// As clients know it.
    pub fn topic(&self) -> &str {
        // What goes in is UTF-8.
        std::str::from_utf8(&self.topic[PREFIX.len()..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, at: Instant, bytes: usize) -> Entry {
        Entry { number, place: number, at, topic: Bytes::from_static(b"m/t"), payload: vec![0; bytes].into() }
    }

    fn numbers(tail: &Tail) -> Vec<u64> {
        let missed = Missed::of(tail, &Tail::default(), 0, 0, Instant::now());
        missed.entries(0).map(|entry| entry.number).collect()
    }

    #[test]
    fn it_is_bounded_by_messages_and_by_bytes() {
        let now = Instant::now();
        let mut tail = Tail::default();
        for number in 0..3 * MAX_MESSAGES as u64 {
            tail.push(entry(number, now, 1));
        }
        let all = numbers(&tail);
        assert!(all.len() <= MAX_MESSAGES && all.len() > MAX_MESSAGES - BLOCK, "{}", all.len());
        assert!(all.is_sorted() && all.last() == Some(&(3 * MAX_MESSAGES as u64 - 1)));
        assert_eq!(tail.begins(), Some(all[0]));

        for number in 0..100 {
            tail.push(entry(number, now, 1024 * 1024));
        }
        assert!(tail.bytes <= MAX_BYTES && numbers(&tail).last() == Some(&99));
    }

    #[test]
    fn what_went_in_before_is_passed_over() {
        let now = Instant::now();
        let [mut lasting, mut fleeting] = [Tail::default(), Tail::default()];
        let all = 1..=3 * BLOCK as u64;
        all.clone().for_each(|number| {
            if number % 3 == 0 { &mut fleeting } else { &mut lasting }.push(entry(number, now, 1))
        });
        let missed = Missed::of(&lasting, &fleeting, 0, 0, now);
        for after in all {
            assert!(
                missed.entries(after).map(|entry| entry.number).eq(after + 1..=3 * BLOCK as u64),
                "{after}"
            );
        }
    }

    #[test]
    fn what_is_old_is_let_go() {
        let old = Instant::now();
        let mut tail = Tail::default();
        (0..BLOCK as u64 + 1).for_each(|number| tail.push(entry(number, old, 1)));
        tail.trim(old + MAX_AGE);
        assert_eq!(tail.begins(), Some(0));
        tail.trim(old + MAX_AGE + Duration::from_millis(1));
        assert_eq!((tail.begins(), tail.messages, tail.bytes), (None, 0, 0));
    }
}
