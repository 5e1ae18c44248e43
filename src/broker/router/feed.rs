//! What goes into a router, in rations: it has handed on what it had before it gets more, so that nobody waits for another's flood.

use std::{collections::VecDeque, mem};

use rumqttd::protocol::Publish;

/// Messages of a ration, and their bytes: what a link is offered at a time fits well into what the router keeps for it.
const RATION: usize = 2_048;
const RATION_BYTES: usize = 4 * 1024 * 1024;
/// Levels of filters that the router compares for a ration, tens of milliseconds on a PC.
const RATION_WORK: usize = 1_000_000;
/// More than this may not wait before publishers do.
pub const MAX_WAITING: usize = 8_192;
pub const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
const MAX_WAITING_WORK: usize = 4 * RATION_WORK;

/// A message that waits.
pub struct Portion {
    pub publish: Publish,
    /// In the logs of so many filters it will stand.
    pub filters: usize,
    /// Its topic is compared with every filter.
    pub new: bool,
    /// It is not sent again when the router is lost with it.
    pub fleeting: bool,
}

/// What was given to the router, and not answered yet.
struct Ration {
    number: u64,
    fleeting: u64,
}

#[derive(Default)]
pub struct Feed {
    waiting: VecDeque<Portion>,
    bytes: usize,
    /// The filters of those that wait, and those of them with a new topic.
    filters: usize,
    new: usize,
    ration: Option<Ration>,
    last: u64,
    /// Fleeting messages that wait or are not answered.
    fleeting: u64,
}

impl Feed {
    pub fn push(&mut self, portion: Portion) {
        self.bytes += bytes(&portion.publish);
        self.filters += portion.filters;
        self.new += usize::from(portion.new);
        self.fleeting += u64::from(portion.fleeting);
        self.waiting.push_back(portion);
    }

    /// The next ration and its number, unless the router still works on the last one or nothing waits. So many levels are compared
    /// with a new topic.
    pub fn next(&mut self, levels: usize) -> Option<(Vec<Publish>, u64)> {
        if self.ration.is_some() || self.waiting.is_empty() {
            return None;
        }
        let (mut publishes, mut size, mut work, mut fleeting) = (Vec::new(), 0, 0, 0);
        while publishes.len() < RATION
            && size < RATION_BYTES
            && work < RATION_WORK
            && let Some(portion) = self.waiting.pop_front()
        {
            size += bytes(&portion.publish);
            work += work_of(portion.filters, usize::from(portion.new), levels) + 1;
            self.filters -= portion.filters;
            self.new -= usize::from(portion.new);
            fleeting += u64::from(portion.fleeting);
            publishes.push(portion.publish);
        }
        self.bytes -= size;
        Some((publishes, self.begin(fleeting)))
    }

    /// A ration of nothing, to see whether the router answers; none while it works on another.
    pub fn nothing(&mut self) -> Option<u64> {
        self.ration.is_none().then(|| self.begin(0))
    }

    fn begin(&mut self, fleeting: u64) -> u64 {
        self.last += 1;
        self.ration = Some(Ration { number: self.last, fleeting });
        self.last
    }

    /// The router has handed on this ration. False when it is another's turn.
    pub fn answered(&mut self, number: u64) -> bool {
        let answered = self.ration.take_if(|ration| ration.number == number);
        self.fleeting -= answered.as_ref().map_or(0, |ration| ration.fleeting);
        answered.is_some()
    }

    /// The ration that the router works on.
    pub fn under_way(&self) -> Option<u64> {
        self.ration.as_ref().map(|ration| ration.number)
    }

    /// Whether publishers should wait, when so many levels are compared with a new topic.
    pub fn is_full(&self, levels: usize) -> bool {
        let work = work_of(self.filters, self.new, levels);
        self.waiting.len() >= MAX_WAITING || self.bytes >= MAX_WAITING_BYTES || work >= MAX_WAITING_WORK
    }

    pub fn is_idle(&self) -> bool {
        self.ration.is_none() && self.waiting.is_empty()
    }

    /// Fleeting messages that are lost with the router, counted once.
    pub fn lost(&mut self) -> u64 {
        mem::take(self).fleeting
    }
}

fn work_of(filters: usize, new: usize, levels: usize) -> usize {
    filters + new * levels
}

fn bytes(publish: &Publish) -> usize {
    publish.topic.len() + publish.payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn portion(bytes: usize, new: bool, fleeting: bool) -> Portion {
        let publish = Publish::new(Bytes::from_static(b"m/t"), vec![0; bytes].into(), false);
        Portion { publish, filters: 1, new, fleeting }
    }

    #[test]
    fn a_ration_is_bounded_and_the_next_waits_for_its_answer() {
        let mut feed = Feed::default();
        (0..RATION + 1).for_each(|_| feed.push(portion(1, false, true)));
        let (first, number) = feed.next(0).expect("a ration");
        assert_eq!(first.len(), RATION);
        assert!(feed.next(0).is_none() && feed.nothing().is_none());
        assert!(!feed.answered(number + 1) && feed.answered(number));
        assert_eq!(feed.next(0).map(|(rest, _)| rest.len()), Some(1));
        assert_eq!((feed.lost(), feed.is_idle()), (1, true));
    }

    #[test]
    fn a_ration_is_bounded_by_bytes_and_by_work() {
        for (size, new, levels) in [(RATION_BYTES / 2, false, 0), (0, true, RATION_WORK / 2)] {
            let mut feed = Feed::default();
            (0..8).for_each(|_| feed.push(portion(size, new, false)));
            assert!(feed.is_full(levels));
            let (ration, number) = feed.next(levels).expect("a ration");
            assert_eq!(ration.len(), 2);
            assert!(feed.answered(number) && !feed.is_full(levels));
        }
    }
}
