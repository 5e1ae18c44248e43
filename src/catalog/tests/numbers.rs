//! The numbers that are worth a line in a chart are all of them, each with its unit.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{examples, json, rows};
use crate::catalog::Unit;

/// Where the numbers are, each list taken as one.
fn leaves(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => {}
        Value::Number(_) => {
            found.insert(at.to_owned());
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, &format!("{at}/*"), found)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(value, &format!("{at}/{name}"), found));
        }
    }
}

#[test]
fn the_numbers_of_a_topic_are_those_of_its_examples() {
    for (kind, topic) in rows() {
        let mut found = BTreeSet::new();
        topic.examples.iter().for_each(|example| leaves(&json(example), "", &mut found));
        let told: Vec<_> = topic.numbers.iter().map(|number| number.pointer.to_owned()).collect();
        assert_eq!(told.len(), topic.numbers.len());
        assert_eq!(BTreeSet::from_iter(told), found, "{}{}", kind.name, topic.suffix);
    }
}

#[test]
fn a_unit_that_the_payload_says_is_a_text_in_it() {
    let mut count = 0;
    for (kind, topic, example) in examples() {
        for number in topic.numbers {
            match number.unit {
                Unit::At(pointer) => {
                    count += 1;
                    let example = json(example);
                    let unit = example.pointer(pointer).and_then(Value::as_str);
                    assert!(unit.is_some_and(|unit| !unit.is_empty()), "{}{}", kind.name, topic.suffix);
                }
                Unit::Is(symbol) => assert!(!symbol.is_empty(), "{}{}", kind.name, topic.suffix),
                Unit::Open | Unit::None => {}
            }
        }
    }
    assert_eq!(count, 16);
}
