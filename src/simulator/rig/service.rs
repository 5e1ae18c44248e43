//! One service: what it says by itself, and what it answers.

use std::iter;

use serde_json::Value;

use super::{
    super::climate::Chance,
    fault::halve,
    likeness,
    world::{News, World},
};
use crate::{
    catalog::{Answer, Class, Kind, Match, Payload, Topic},
    frames::has_rows,
};

/// Of a topic that is numbered without an end in sight, a firmware has these.
const MAX_CHANNELS: usize = 8;

/// A service of a firmware.
#[derive(Debug)]
pub(super) struct Service {
    kind: &'static Kind,
    /// `{firmware}/{service}`.
    base: String,
    /// Measurements, one after the other.
    routine: Vec<Row>,
    /// The rows of a picture, all together.
    picture: Vec<Row>,
    /// What it tells of itself, mostly as an answer.
    answers: Vec<Row>,
    events: Vec<Row>,
    /// How often it has said something.
    turn: usize,
    chance: Chance,
}

/// A topic, and what stands for its placeholder.
#[derive(Clone, Copy, Debug)]
struct Row {
    topic: &'static Topic,
    index: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// Answers are sent so that they arrive; a measurement is followed by the next.
    pub(super) answer: bool,
}

/// How a service takes commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temper {
    Willing,
    /// It takes no more than half of what it is told.
    Stingy,
    /// It refuses everything with this text.
    Refusing(&'static str),
}

/// What became of a command: why it was refused, and what is answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) refused: Option<String>,
    pub(super) answer: Option<Message>,
}

impl Service {
    /// It has the name of its kind.
    pub(super) fn new(firmware: &str, kind: &'static Kind) -> Service {
        let base = format!("{firmware}/{}", kind.name);
        let chance = Chance::named(&base);
        let said = || kind.topics.iter().filter(|topic| topic.is_said());
        let telemetry = || said().filter(|topic| topic.class != Class::Event && !answers(kind, topic));
        let picture = |topic: &&Topic| has_rows(topic);
        Service {
            kind,
            base,
            routine: telemetry()
                .filter(|topic| !picture(topic))
                .flat_map(|topic| rows(topic).take(MAX_CHANNELS))
                .collect(),
            picture: telemetry().filter(picture).flat_map(rows).collect(),
            answers: said()
                .filter(|topic| topic.class != Class::Event && answers(kind, topic))
                .flat_map(rows)
                .collect(),
            events: said().filter(|topic| topic.class == Class::Event).flat_map(rows).collect(),
            turn: 0,
            chance,
        }
    }

    /// `{service}{suffix}` of a topic, if the suffix is one of its.
    pub(super) fn suffix_in<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let rest = topic.strip_prefix(&self.base)?;
        self.kind.resolve(rest).filter(|found| found.topic.class == Class::Command).map(|_| rest)
    }

    /// The topics on which it takes commands.
    pub(super) fn command_topics(&self) -> impl Iterator<Item = String> {
        let named = |row: Row| format!("{}{}", self.base, row.topic.suffix_at(row.index));
        self.kind.commands().flat_map(rows).map(named)
    }

    /// All that it has to say when it boots.
    pub(super) fn report(&mut self, world: &mut World) -> Vec<Message> {
        let all = [&self.answers, &self.routine, &self.picture].into_iter().flatten().copied();
        let all: Vec<Row> = all.collect();
        all.into_iter().filter_map(|row| self.say(world, row)).collect()
    }

    /// Up to `most` of the next measurements.
    pub(super) fn measure(&mut self, world: &mut World, most: usize) -> Vec<Message> {
        let mut said = Vec::new();
        for _ in 0..most.min(self.routine.len()) {
            self.turn += 1;
            let row = self.routine[self.turn % self.routine.len()];
            said.extend(self.say(world, row));
        }
        said
    }

    /// The next picture, if it is a camera.
    pub(super) fn picture(&mut self, world: &mut World) -> Vec<Message> {
        let rows = self.picture.clone();
        rows.into_iter().filter_map(|row| self.say(world, row)).collect()
    }

    /// Something that happens now and then.
    pub(super) fn happening(&mut self, world: &mut World) -> Option<Message> {
        self.turn += 1;
        let row = *self.events.get(self.turn % self.events.len().max(1))?;
        self.say(world, row)
    }

    /// What there is to say of news of the world, if they are its.
    pub(super) fn tell(&mut self, world: &mut World, (kind, suffix): News) -> Option<Message> {
        let found = (self.kind.name == kind).then(|| self.kind.resolve(suffix)).flatten()?;
        self.say(world, Row::of(found))
    }

    /// Takes a command on one of its suffixes, and says what became of it.
    pub(super) fn take(&mut self, world: &mut World, suffix: &str, payload: &[u8], temper: Temper) -> Reply {
        let Some(Match { topic, .. }) = self.kind.resolve(suffix) else {
            return Reply { refused: Some(format!("there is no {suffix}")), answer: None };
        };
        let mut sent = serde_json::from_slice(payload).unwrap_or(Value::Null);
        let result = match temper {
            Temper::Refusing(why) => Err(why.to_owned()),
            Temper::Willing => self.obey(world, topic.read(payload).map_err(|flaw| flaw.to_string())),
            Temper::Stingy => {
                halve(&mut sent);
                let half = sent.to_string().into_bytes();
                self.obey(world, topic.read(&half).map_err(|flaw| flaw.to_string()))
            }
        };
        let refused = result.err();
        let answer = self.answer(world, topic, &sent, refused.as_deref());
        Reply { refused, answer }
    }

    fn obey(&self, world: &mut World, command: Result<Payload, String>) -> Result<(), String> {
        match World::knows(self.kind.name) {
            true => world.obey(command?),
            false => command.map(|_| ()),
        }
    }

    /// By the rule of the catalog.
    fn answer(
        &mut self,
        world: &mut World,
        command: &'static Topic,
        sent: &Value,
        refused: Option<&str>,
    ) -> Option<Message> {
        let rule = command.answer;
        let suffix = match rule {
            Answer::None => return None,
            // It cannot say that it refused: a measurement would say that it has obeyed.
            Answer::Reading { .. } if refused.is_some() => return None,
            Answer::Echo { on }
            | Answer::Mapped { on, .. }
            | Answer::Outcome { on, .. }
            | Answer::Reading { on } => on.to_owned(),
            Answer::State { on, fault } => if refused.is_some() { fault } else { on }.to_owned(),
            Answer::Implied { named, .. } => {
                format!("/{}", sent.pointer(named)?.as_str()?.to_ascii_lowercase())
            }
        };
        let row = Row::of(self.kind.resolve(&suffix)?);
        let known = World::knows(self.kind.name);
        let mut said = match (known, refused) {
            (true, _) => world.say(self.kind.name, row.topic.suffix, row.index)?,
            (false, None) => likeness::answer(rule, row.topic, sent)?,
            (false, Some(_)) => likeness::said(row.topic, 0, &mut self.chance)?,
        };
        if let Some(why) = refused {
            refuse(&mut said, rule, row.topic, sent, why);
        }
        Some(self.message(row, &said, true))
    }

    fn say(&mut self, world: &mut World, row: Row) -> Option<Message> {
        let said = match World::knows(self.kind.name) {
            true => world.say(self.kind.name, row.topic.suffix, row.index),
            false => likeness::said(row.topic, self.turn, &mut self.chance),
        };
        let answer = answers(self.kind, row.topic) || row.topic.class == Class::Event;
        said.map(|said| self.message(row, &said, answer))
    }

    fn message(&self, row: Row, said: &Value, answer: bool) -> Message {
        let topic = format!("{}{}", self.base, row.topic.suffix_at(row.index));
        Message { topic, payload: said.to_string().into_bytes(), answer }
    }
}

impl Row {
    fn of(Match { topic, index, .. }: Match) -> Row {
        Row { topic, index }
    }
}

/// Writes into an answer that, and why, the command was refused: as far as its type has a place for it.
fn refuse(said: &mut Value, rule: Answer, on: &Topic, sent: &Value, why: &str) {
    let has = |field: &str| (on.shape.fields)().contains(&field);
    match rule {
        Answer::Echo { .. } | Answer::State { .. } if has("error") => {
            said["error"] = why.into();
            if has("attempted_command") {
                let attempted = sent.get("command").and_then(Value::as_str).unwrap_or_default();
                said["attempted_command"] = attempted.into();
            }
        }
        Answer::Outcome { success, error, .. } => {
            likeness::put(said, success, Some(&Value::Null));
            likeness::put(said, error, Some(&why.into()));
        }
        Answer::Echo { .. }
        | Answer::State { .. }
        | Answer::Mapped { .. }
        | Answer::Reading { .. }
        | Answer::Implied { .. }
        | Answer::None => {}
    }
}

/// Each topic that a row of the catalog stands for.
fn rows(topic: &'static Topic) -> impl Iterator<Item = Row> {
    let plain = topic.index.is_none().then_some(Row { topic, index: None });
    let numbered = topic.index.clone().unwrap_or_default();
    plain.into_iter().chain(
        iter::zip(numbered, iter::repeat(topic)).map(|(index, topic)| Row { topic, index: Some(index) }),
    )
}

/// Whether some command of the kind is answered there, and nothing else is said there.
fn answers(kind: &Kind, topic: &Topic) -> bool {
    kind.commands().any(|command| match command.answer {
        Answer::Echo { on }
        | Answer::Mapped { on, .. }
        | Answer::Outcome { on, .. }
        | Answer::Reading { on } => on == topic.suffix,
        Answer::State { on, fault } => on == topic.suffix || fault == topic.suffix,
        Answer::Implied { .. } | Answer::None => false,
    })
}

#[cfg(test)]
mod tests;
