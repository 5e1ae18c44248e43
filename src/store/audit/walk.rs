//! The chain of the command log on its way through the rows, and what is found of it.

use std::{fmt, iter::Peekable, str::FromStr, vec};

use entity::anchors;

use super::{Hash, Link, START, rows::Row};
use crate::model::Seq;

/// A row of the command log and its hash: whoever knows it knows whether what is before has changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub seq: Seq,
    pub(super) hash: Hash,
}

/// What stands in the command log.
#[derive(Debug, Default, PartialEq)]
pub struct Audit {
    /// How many rows are whole.
    pub rows: u64,
    /// How many commands begin with one of them.
    pub commands: u64,
    /// How many of the rows have no hash: they are the first ones, from before there was a chain.
    pub unchained: u64,
    /// The rows that were removed when they were old.
    pub removed: Option<Removed>,
    /// The last row that is whole, if it has a hash.
    pub head: Option<Head>,
    /// The first row that is not, if there is one.
    pub broken: Option<Broken>,
}

/// Rows that were removed from the beginning of the log, when they were old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    pub rows: u64,
    /// The last of them.
    pub head: Head,
}

/// A row that is not as it was written.
#[derive(Debug, PartialEq)]
pub struct Broken {
    pub seq: Seq,
    /// Its command, if that is known.
    pub command: Option<Seq>,
    /// Where its command went, or the device that it was for.
    pub topic: Option<String>,
    pub flaw: Flaw,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("its hash is not that of what stands there: it was changed, or a row before it removed")]
    Hash,
    #[error("it has no hash, and rows before it have one")]
    Unchained,
    #[error("it is missing, and the rest of what is written with it is there")]
    Missing,
    #[error("the row of its command, or of what that was for, is missing")]
    CommandMissing,
    #[error("its entry in the journal is missing, or is one of something else")]
    EntryMissing,
    #[error("its command is listed in another state")]
    State,
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    #[error("it is not the head that was noted")]
    Noted,
    #[error("the head that was noted was removed when it was old: note a newer one")]
    NotedRemoved,
}

/// The chain on its way through the rows.
pub(super) struct Walk {
    /// The first row that is not there.
    pub(super) missing: Option<Broken>,
    /// Those that are still to come.
    anchors: Peekable<vec::IntoIter<anchors::Model>>,
    /// As long as it has not been met.
    noted: Option<Head>,
    /// Of the row before, once the chain has begun.
    pub(super) last: Option<Hash>,
    pub(super) audit: Audit,
}

impl Walk {
    pub(super) fn new(anchors: Vec<anchors::Model>, noted: Option<Head>) -> Walk {
        let anchors = anchors.into_iter().peekable();
        Walk { missing: None, anchors, noted, last: None, audit: Audit::default() }
    }

    pub(super) fn step(&mut self, row: Row) -> Result<(), Broken> {
        if let Some(missing) = self.missing.take_if(|missing| missing.seq.0 < row.seq) {
            return Err(missing);
        }
        self.pass_anchors(row.seq)?;
        let Row { seq, command, topic, whole } = row;
        let broken = |flaw| Broken { seq: Seq(seq), command: command.map(Seq), topic: topic.clone(), flaw };
        let whole = whole.map_err(|why| broken(Flaw::Unreadable(why.to_string())))?;
        let (Some(command), Some(name)) = (&whole.command, &whole.name) else {
            return Err(broken(Flaw::CommandMissing));
        };
        let at = whole.at.ok_or_else(|| broken(Flaw::EntryMissing))?;
        let begins = seq == whole.state.command;
        match (&whole.state.hash, self.last) {
            (None, None) => self.audit.unchained += 1,
            (None, Some(_)) => return Err(broken(Flaw::Unchained)),
            (Some(found), last) => {
                let begun = begins.then_some((command, name.as_str()));
                let hash = Link { state: &whole.state, at, begun }.hash(&last.unwrap_or(START));
                if *found != hash {
                    return Err(broken(Flaw::Hash));
                }
                self.come_to(Head { seq: Seq(seq), hash }).map_err(broken)?;
            }
        }
        if whole.newest == seq && command.state != whole.state.state {
            // It would be another one if a newer row of the command were there.
            return Err(self.missing.take().unwrap_or_else(|| broken(Flaw::State)));
        }
        self.audit.rows += 1;
        self.audit.commands += u64::from(begins);
        Ok(())
    }

    /// The chain goes on with what was left of rows that were removed.
    fn pass_anchors(&mut self, until: i64) -> Result<(), Broken> {
        while let Some(anchor) = self.anchors.next_if(|anchor| anchor.seq <= until) {
            let seq = Seq(anchor.seq);
            let broken = |flaw| Broken { seq, command: None, topic: None, flaw };
            // Only the oldest rows are ever removed: behind a row that stands, an anchor is not ours.
            if self.audit.rows > 0 {
                return Err(broken(Flaw::Hash));
            }
            let hash = anchor.hash.try_into().map_err(|_| broken(Flaw::Hash))?;
            let head = Head { seq, hash };
            let rows = anchor.rows.try_into().unwrap_or_default();
            self.audit.removed = Some(Removed { rows, head });
            // Of rows from before there was a chain nothing goes on.
            if hash != START {
                self.come_to(head).map_err(broken)?;
            }
        }
        Ok(())
    }

    fn come_to(&mut self, head: Head) -> Result<(), Flaw> {
        if self.noted.take_if(|noted| noted.seq == head.seq).is_some_and(|noted| noted != head) {
            return Err(Flaw::Noted);
        }
        self.last = Some(head.hash);
        self.audit.head = Some(head);
        Ok(())
    }

    pub(super) fn end(mut self) -> Audit {
        let passed = self.pass_anchors(i64::MAX);
        let removed = self.audit.removed.map_or(Seq::ZERO, |removed| removed.head.seq);
        let noted = self.noted.map(|Head { seq, .. }| {
            let flaw = if seq < removed { Flaw::NotedRemoved } else { Flaw::Noted };
            Broken { seq, command: None, topic: None, flaw }
        });
        self.audit.broken = self.missing.or(passed.err()).or(noted);
        self.audit
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seq)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Head, String> {
        let read = || {
            let (seq, hex) = text.split_once(':')?;
            let digits = |at: usize| hex.get(2 * at..2 * at + 2);
            let mut hash = START;
            for (at, byte) in hash.iter_mut().enumerate() {
                *byte = u8::from_str_radix(digits(at)?, 16).ok()?;
            }
            Some(Head { seq: Seq(seq.parse().ok()?), hash }).filter(|head| head.to_string() == text)
        };
        read().ok_or_else(|| "it is SEQ:HASH, as an earlier audit has printed it".to_owned())
    }
}
