//! The catalog: every kind of service, its topics and their payloads.
//!
//! One table, [`KINDS`], feeds every surface: what comes by MQTT is checked with it, REST, GraphQL, OpenAPI, AsyncAPI
//! and the simulator are made of it. To add a kind, edit `kinds.rs` and nothing else.

mod answer;
pub mod kinds;
mod scalar;
mod shape;

use std::{collections::HashMap, fmt, ops::Range, ptr, sync::LazyLock};

use async_graphql::Enum;
use serde::Serialize;
use utoipa::ToSchema;

pub use self::{
    answer::{Difference, Verdict},
    kinds::{CommandInput, KINDS, Payload},
    scalar::{Count, MathValue, Percent, Position, Ratio},
    shape::{Shape, schemas},
};
use crate::json::{Fit, Flaw, Parsed};

/// A kind of service, such as `pwm` or `bme280`.
#[derive(Debug)]
pub struct Kind {
    /// As in the DAQAstra document.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// In order of precedence: the first that matches a suffix is the one.
    pub topics: &'static [Topic],
}

/// A topic of a service: where it is, which way it flows, what it carries.
#[derive(Debug)]
pub struct Topic {
    /// What follows `{firmware}/{service}`: empty, `/config`, `/ch{n}`.
    pub suffix: &'static str,
    /// What stands for the placeholder of the suffix.
    pub index: Option<Range<u16>>,
    pub class: Class,
    pub shape: Shape,
    /// Payloads as they look on the wire.
    pub examples: &'static [&'static str],
    /// Every number in the payload that is worth a line in a chart.
    pub numbers: &'static [Number],
    /// How the device says that a command was heard. Of what is no command, none.
    pub answer: Answer,
    /// What a command may do. Of what is no command, none.
    pub effect: Option<Effect>,
}

/// Who speaks on a topic, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Enum, ToSchema)]
#[graphql(name = "TopicClass")]
#[schema(as = TopicClass)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Class {
    /// To the device: do this.
    Command,
    /// To the device: a value to work with.
    Feed,
    /// From the device: a value, or its state.
    Telemetry,
    /// From the device: something happened.
    Event,
}

/// A number in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// JSON pointer. `/*` stands for each item of a list.
    pub pointer: &'static str,
    pub unit: Unit,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Always this: its symbol, such as `Hz`.
    Is(&'static str),
    /// The payload says it, at this JSON pointer.
    At(&'static str),
    /// That of what the service is configured for.
    Open,
    /// It counts, or has no dimension.
    None,
}

/// How a device answers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not at all.
    None,
    /// With the same fields on the topic with this suffix; an `error` there means that it refused.
    Echo { on: &'static str },
    /// With fields that mean those of the command: pointers of what was sent and of what is reported.
    Mapped { on: &'static str, fields: &'static [Mapped] },
    /// With what it then works with, at `success`, or with why not, at `error`.
    Outcome { on: &'static str, success: &'static str, error: &'static str },
    /// With its state on one topic, or a fault on the other. What the state repeats of the command, and a fault's
    /// `attempted_command`, say which command is meant; `success: false` in a state is a refusal.
    State { on: &'static str, fault: &'static str },
    /// With a measurement, which says nothing of the command but that it was heard.
    Reading { on: &'static str },
    /// With telemetry that shows it. `named` is the pointer of a text in the command, which in lower case and after a
    /// slash is the suffix of that telemetry; the others are those of what was sent and of what is reported.
    Implied { named: &'static str, sent: &'static str, reported: &'static str },
}

/// A field of a command, and where the answer speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub sent: &'static str,
    pub reported: &'static str,
    /// Whether the answer says it in other words, which cannot be compared.
    pub in_words: bool,
}

/// What a command may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It sets what the service works with; twice is as once.
    State,
    /// It does something, each time.
    OneShot,
    /// It moves or powers something that can hurt.
    Hazard,
    /// It does so when the boolean at this JSON pointer is true, and is else as [`Effect::State`].
    HazardWhen(&'static str),
}

/// A topic that a suffix means, and what stands for its placeholder.
#[derive(Clone, Copy, Debug)]
pub struct Match {
    pub kind: &'static Kind,
    pub topic: &'static Topic,
    pub index: Option<u16>,
}

/// Some of the kinds.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u64);

// A set of kinds is the bits of one number.
const _: () = assert!(KINDS.len() <= 64);

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// What a suffix means, in each of the kinds that have it.
pub fn resolve(suffix: &str) -> impl Iterator<Item = Match> {
    let literal = INDEX.literal.get(suffix).into_iter().flatten().copied();
    let numbered = INDEX.numbered.iter().filter_map(move |found| {
        let index = found.topic.index_of(suffix)?;
        Some(Match { index, ..*found })
    });
    literal.chain(numbered)
}

/// The kinds that say the same type there as this one, which is one of them.
pub fn alike(found: &Match, suffix: &str) -> Kinds {
    let same = |other: &Match| other.topic.is_said() && other.topic.shape == found.topic.shape;
    resolve(suffix).filter(same).map(|other| other.kind).collect()
}

/// Whether any kind speaks on this suffix.
pub fn speaks(suffix: &str) -> bool {
    resolve(suffix).next().is_some()
}

/// Whether every kind that has this suffix takes commands there.
pub fn commands(suffix: &str) -> bool {
    let mut found = resolve(suffix).peekable();
    found.peek().is_some() && found.all(|found| found.topic.class == Class::Command)
}

/// The topics by suffix. Made of the table when it is first asked.
struct ByTopic {
    literal: HashMap<&'static str, Vec<Match>>,
    /// Those with a placeholder: a few.
    numbered: Vec<Match>,
}

static INDEX: LazyLock<ByTopic> = LazyLock::new(|| {
    let mut index = ByTopic { literal: HashMap::new(), numbered: Vec::new() };
    for kind in KINDS {
        for topic in kind.topics {
            let found = Match { kind, topic, index: None };
            match topic.index {
                Some(_) => index.numbered.push(found),
                None => index.literal.entry(topic.suffix).or_default().push(found),
            }
        }
    }
    index
});

impl Kind {
    /// What a suffix, such as `/ch3`, means.
    pub fn resolve(&'static self, suffix: &str) -> Option<Match> {
        let found = |topic: &'static Topic| {
            let index = topic.index_of(suffix)?;
            Some(Match { kind: self, topic, index })
        };
        self.topics.iter().find_map(found)
    }

    pub fn commands(&self) -> impl Iterator<Item = &'static Topic> + use<> {
        self.topics.iter().filter(|topic| topic.class == Class::Command)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        ptr::eq(self, other) || self.name == other.name
    }
}

impl Eq for Kind {}

impl Topic {
    /// What stands for the placeholder if this is the suffix: none where there is no placeholder.
    fn index_of(&self, suffix: &str) -> Option<Option<u16>> {
        let Some(range) = &self.index else {
            return (self.suffix == suffix).then_some(None);
        };
        let (head, rest) = self.suffix.split_once('{')?;
        let (_, tail) = rest.split_once('}')?;
        let digits = suffix.strip_prefix(head)?.strip_suffix(tail)?;
        // One spelling for each number.
        let spelt =
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let index = digits.parse().ok().filter(|_| spelt)?;
        range.contains(&index).then_some(Some(index))
    }

    /// The suffix with this number in the place of the placeholder.
    pub fn suffix_at(&self, index: Option<u16>) -> String {
        match (self.suffix.split_once('{'), index) {
            (Some((head, rest)), Some(index)) => {
                format!("{head}{index}{}", rest.split_once('}').map_or("", |(_, tail)| tail))
            }
            _ => self.suffix.to_owned(),
        }
    }

    /// Whether the device speaks here. What is fed to it is told by it as well: nobody else sends it.
    pub fn is_said(&self) -> bool {
        self.class != Class::Command
    }

    /// Whether the device says that a command was heard.
    pub fn is_answered(&self) -> bool {
        self.answer != Answer::None
    }

    /// How well a payload fits.
    pub fn check(&self, payload: &[u8]) -> Result<Fit, Flaw> {
        (self.shape.check)(payload)
    }

    /// As [`Topic::check`], of what is asked of several topics.
    pub fn fit(&self, parsed: &Parsed) -> Result<Fit, Flaw> {
        (self.shape.fit)(parsed)
    }

    /// What [`Topic::read_exactly`] would say, of what is asked of several topics.
    pub fn fit_exactly(&self, parsed: &Parsed) -> Result<(), Flaw> {
        (self.shape.fit_exactly)(parsed)
    }

    /// A payload as its type.
    pub fn read(&self, payload: &[u8]) -> Result<Payload, Flaw> {
        (self.shape.read)(payload)
    }

    /// A payload that a user wants to send: fields that the type does not know are a flaw.
    pub fn read_exactly(&self, payload: &[u8]) -> Result<Payload, Flaw> {
        (self.shape.read_exactly)(payload)
    }
}

impl Kinds {
    pub const NONE: Kinds = Kinds(0);
    pub const ALL: Kinds = Kinds(u64::MAX >> (64 - KINDS.len()));

    pub fn of(kind: &Kind) -> Kinds {
        // Most are those of the table itself.
        let itself = KINDS.iter().position(|one| ptr::eq(one, kind));
        let index = itself.or_else(|| KINDS.iter().position(|one| one == kind));
        index.map_or(Kinds::NONE, |index| Kinds(1 << index))
    }

    pub fn has(self, kind: &Kind) -> bool {
        !self.and(Kinds::of(kind)).is_empty()
    }

    pub fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }

    pub fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub fn without(self, other: Kinds) -> Kinds {
        Kinds(self.0 & !other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The one kind, if it is one.
    pub fn single(self) -> Option<&'static Kind> {
        (self.len() == 1).then(|| &KINDS[self.0.trailing_zeros() as usize])
    }

    pub fn iter(self) -> impl Iterator<Item = &'static Kind> {
        KINDS.iter().enumerate().filter(move |(index, _)| self.0 >> index & 1 == 1).map(|(_, kind)| kind)
    }
}

impl FromIterator<&'static Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = &'static Kind>>(kinds: I) -> Kinds {
        kinds.into_iter().fold(Kinds::NONE, |all, kind| all.or(Kinds::of(kind)))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|kind| kind.name)).finish()
    }
}

#[cfg(test)]
mod tests;
