//! A likeness of a kind that the world does not know: all that it says is made of the catalog.

use serde_json::{Map, Value};

use super::super::climate::Chance;
use crate::{
    catalog::{Answer, Mapped, Topic},
    json::Fit,
};

/// How far a number strays from that of the example.
const STRAYS: f64 = 0.05;

/// What is said on a topic: an example whose numbers wobble as far as its type allows.
pub(super) fn said(topic: &Topic, turn: usize, chance: &mut Chance) -> Option<Value> {
    let example = example(topic, turn)?;
    let mut wobbling = example.clone();
    wobble(&mut wobbling, chance);
    let fits = topic.check(wobbling.to_string().as_bytes()) == Ok(Fit::Exact);
    Some(if fits { wobbling } else { example })
}

/// The answer to a command that was obeyed, on the topic on which its rule has it.
pub(super) fn answer(rule: Answer, on: &Topic, sent: &Value) -> Option<Value> {
    let mut answer = example(on, 0)?;
    match rule {
        Answer::None | Answer::Reading { .. } => {}
        Answer::Echo { .. } | Answer::State { .. } => {
            if let (Value::Object(answer), Value::Object(sent)) = (&mut answer, sent) {
                repeat(answer, sent);
            }
        }
        Answer::Mapped { fields, .. } => {
            for Mapped { sent: from, reported, in_words } in fields {
                if !in_words {
                    put(&mut answer, reported, sent.pointer(from));
                }
            }
        }
        Answer::Outcome { success, error, .. } => {
            put(&mut answer, success, Some(sent));
            put(&mut answer, error, Some(&Value::Null));
        }
        Answer::Implied { sent: from, reported, .. } => put(&mut answer, reported, sent.pointer(from)),
    }
    (on.check(answer.to_string().as_bytes()) == Ok(Fit::Exact)).then_some(answer)
}

/// Puts a value in the place of what stands at a pointer.
pub(super) fn put(value: &mut Value, pointer: &str, new: Option<&Value>) {
    if let (Some(place), Some(new)) = (value.pointer_mut(pointer), new) {
        place.clone_from(new);
    }
}

fn example(topic: &Topic, turn: usize) -> Option<Value> {
    let text = topic.examples.get(turn % topic.examples.len().max(1))?;
    serde_json::from_str(text).ok()
}

/// The fields that both have are those that were sent.
fn repeat(answer: &mut Map<String, Value>, sent: &Map<String, Value>) {
    for (name, value) in answer {
        if let Some(sent) = sent.get(name) {
            value.clone_from(sent);
        }
    }
}

fn wobble(value: &mut Value, chance: &mut Chance) {
    match value {
        Value::Number(number) => {
            let stray = chance.swing();
            if let Some(whole) = number.as_i64() {
                *value = whole.saturating_add(stray.round() as i64).into();
            } else if let Some(real) = number.as_f64() {
                let thousandths = (real * (1.0 + stray * STRAYS) * 1_000.0).round();
                *value = (thousandths / 1_000.0).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| wobble(item, chance)),
        Value::Object(fields) => fields.values_mut().for_each(|field| wobble(field, chance)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
