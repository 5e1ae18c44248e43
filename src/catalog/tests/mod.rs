//! The catalog against the DAQAstra document, against its own types, and against what devices should not send.

mod answers;
mod commands;
mod document;
mod graphql;
mod inputs;
mod malformed;
mod numbers;
mod oddities;
mod scalars;
mod schemas;

use serde_json::Value;

use super::{KINDS, Kind, Match, Payload, Topic, find};

/// Each row of the table.
fn rows() -> impl Iterator<Item = (&'static Kind, &'static Topic)> {
    KINDS.iter().flat_map(|kind| kind.topics.iter().map(move |topic| (kind, topic)))
}

/// Each row with each of its examples.
fn examples() -> impl Iterator<Item = (&'static Kind, &'static Topic, &'static str)> {
    rows().flat_map(|(kind, topic)| topic.examples.iter().map(move |example| (kind, topic, *example)))
}

/// What a suffix means in a kind.
fn topic(kind: &str, suffix: &str) -> &'static Topic {
    found(kind, suffix).unwrap_or_else(|| panic!("{kind} has no {suffix:?}")).topic
}

fn found(kind: &str, suffix: &str) -> Option<Match> {
    find(kind).unwrap().resolve(suffix)
}

fn read(kind: &str, suffix: &str, payload: &str) -> Payload {
    topic(kind, suffix).read(payload.as_bytes()).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
