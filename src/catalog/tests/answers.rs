//! What answers make of commands: every command of the table with what its device may say.

mod rules;

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{examples, json, rows, topic};
use crate::catalog::{
    Answer, Class, Difference, Effect, Kind, Mapped, Topic,
    Verdict::{self, Confirmed, Mismatch, Refused},
    answer::differences,
};

/// Kinds in the document, which come first, and how many of their commands are answered.
const DOCUMENTED: usize = 22;
const ANSWERED: usize = 15;

/// A command of the table and the answer of a device that does what it is told.
#[derive(Clone)]
struct Exchange {
    kind: &'static Kind,
    command: &'static Topic,
    sent: Value,
    suffix: String,
    said: Value,
}

impl Exchange {
    fn verdict(&self) -> Option<Verdict> {
        let said = self.said.to_string();
        self.command.verdict(self.sent.to_string().as_bytes(), &self.suffix, said.as_bytes())
    }

    fn fits(&self) -> bool {
        answering(self.kind, &self.suffix).check(self.said.to_string().as_bytes()).is_ok()
    }
}

fn answering(kind: &Kind, suffix: &str) -> &'static Topic {
    topic(kind.name, suffix)
}

/// The example of a topic.
fn example(kind: &Kind, suffix: &str) -> Value {
    json(answering(kind, suffix).examples[0])
}

/// Every command that is answered, with its true answer.
fn exchanges() -> Vec<Exchange> {
    let commands = examples().filter(|(_, topic, _)| topic.class == Class::Command);
    commands
        .filter_map(|(kind, command, sent)| {
            let sent = json(sent);
            let (suffix, said) = true_answer(kind, command, &sent)?;
            Some(Exchange { kind, command, sent, suffix, said })
        })
        .collect()
}

fn true_answer(kind: &Kind, command: &Topic, sent: &Value) -> Option<(String, Value)> {
    match command.answer {
        Answer::None => None,
        Answer::Echo { on } | Answer::State { on, .. } => {
            let mut said = example(kind, on);
            for (name, value) in sent.as_object().into_iter().flatten() {
                if let Some(place) = said.get_mut(name) {
                    place.clone_from(value);
                }
            }
            Some((on.to_owned(), said))
        }
        Answer::Mapped { on, fields } => {
            let mut said = example(kind, on);
            for field in fields.iter().filter(|field| !field.in_words) {
                *said.pointer_mut(field.reported).unwrap() = sent.pointer(field.sent).unwrap().clone();
            }
            Some((on.to_owned(), said))
        }
        Answer::Outcome { on, success, error } => {
            let mut said = example(kind, on);
            *said.pointer_mut(success).unwrap() = sent.clone();
            *said.pointer_mut(error).unwrap() = Value::Null;
            Some((on.to_owned(), said))
        }
        Answer::Reading { on } => Some((on.to_owned(), example(kind, on))),
        Answer::Implied { named, sent: wanted, reported } => {
            let suffix = format!("/{}", sent.pointer(named).unwrap().as_str().unwrap().to_lowercase());
            let mut said = example(kind, &suffix);
            *said.pointer_mut(reported).unwrap() = sent.pointer(wanted).unwrap().clone();
            Some((suffix, said))
        }
    }
}

/// Where in the command, and where in the answer, are the values that are compared.
fn compared(exchange: &Exchange) -> Vec<(String, String)> {
    let mut leaves = Vec::new();
    leaf_pointers(&exchange.sent, String::new(), &mut leaves);
    match exchange.command.answer {
        Answer::Echo { .. } => leaves.into_iter().map(|pointer| (pointer.clone(), pointer)).collect(),
        Answer::Outcome { success, .. } => {
            leaves.into_iter().map(|pointer| (pointer.clone(), format!("{success}{pointer}"))).collect()
        }
        Answer::Mapped { fields, .. } => {
            let same = fields.iter().filter(|field| !field.in_words);
            same.map(|Mapped { sent, reported, .. }| ((*sent).to_owned(), (*reported).to_owned())).collect()
        }
        Answer::None | Answer::State { .. } | Answer::Reading { .. } | Answer::Implied { .. } => Vec::new(),
    }
}

fn leaf_pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaf_pointers(value, format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| leaf_pointers(item, format!("{at}/{i}"), found));
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(at),
    }
}

/// Something else of the same type, within the same bounds.
fn changed(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!(!value),
        Value::Number(number) => match (number.as_i64(), number.as_f64().unwrap()) {
            (Some(0), _) => json!(1),
            (Some(whole), _) => json!(whole / 2),
            (None, 0.0) => json!(1.0),
            (None, real) => json!(real / 2.0),
        },
        Value::String(text) => json!(format!("{text}!")),
        Value::Null | Value::Array(_) | Value::Object(_) => panic!("{value} is no leaf"),
    }
}

fn difference(pointer: &str, sent: &str, reported: &str) -> Difference {
    Difference { pointer: pointer.to_owned(), sent: sent.to_owned(), reported: reported.to_owned() }
}

/// What is said on a suffix after this command.
fn judged(kind: &str, command: &str, sent: &str, suffix: &str, said: &str) -> Option<Verdict> {
    topic(kind, command).verdict(sent.as_bytes(), suffix, said.as_bytes())
}

fn refused(words: &str) -> Option<Verdict> {
    Some(Refused(words.to_owned()))
}

#[test]
fn the_true_answer_confirms_every_command() {
    let exchanges = exchanges();
    for exchange in &exchanges {
        assert_eq!(exchange.verdict(), Some(Confirmed), "{}: {}", exchange.kind.name, exchange.said);
    }
    let documented = &super::KINDS[..DOCUMENTED];
    let of_the_document = exchanges.iter().filter(|exchange| documented.contains(exchange.kind));
    assert_eq!(of_the_document.count(), ANSWERED);
}

#[test]
fn a_field_that_is_reported_otherwise_is_told_with_its_place() {
    for exchange in exchanges() {
        for (from, to) in compared(&exchange) {
            let mut other = exchange.clone();
            let place = other.said.pointer_mut(&to).unwrap();
            *place = changed(place);
            let sent = exchange.sent.pointer(&from).unwrap().to_string();
            let expected = difference(&from, &sent, &other.said.pointer(&to).unwrap().to_string());
            assert!(other.fits(), "{}{}: {}", other.kind.name, other.suffix, other.said);
            assert_eq!(other.verdict(), Some(Mismatch(vec![expected])), "{}{from}", other.kind.name);
        }
    }
}

#[test]
fn everything_that_is_reported_otherwise_is_told() {
    let sent = r#"{"enable":true,"duty":0.5,"frequency":1000}"#;
    let said = r#"{"enable":true,"duty":0.25,"frequency":500,"error":null}"#;
    let expected = vec![difference("/duty", "0.5", "0.25"), difference("/frequency", "1000", "500")];
    assert_eq!(judged("pwm", "/config", sent, "/response", said), Some(Mismatch(expected)));
}

#[test]
fn a_bare_payload_differs_as_a_whole() {
    let verdict = judged("math", "/pause", "true", "/response", r#"{"data":false}"#);
    assert_eq!(verdict, Some(Mismatch(vec![difference("", "true", "false")])));
}

#[test]
fn an_error_refuses_in_the_devices_words() {
    for exchange in exchanges() {
        let mut other = exchange.clone();
        match exchange.command.answer {
            Answer::Echo { .. } | Answer::Mapped { .. } => other.said["error"] = json!("over current"),
            Answer::Outcome { error, .. } => *other.said.pointer_mut(error).unwrap() = json!("over current"),
            Answer::State { fault, .. } => {
                fault.clone_into(&mut other.suffix);
                other.said = example(exchange.kind, fault);
                other.said["error"] = json!("over current");
            }
            Answer::None | Answer::Reading { .. } | Answer::Implied { .. } => continue,
        }
        assert_eq!(other.verdict(), refused("over current"), "{}: {}", other.kind.name, other.said);
    }
}

#[test]
fn an_error_that_is_no_text_is_told_as_json() {
    // Its type does not know the field, so that anything may stand there.
    let sent = r#"{"slope":1.0,"offset":0.0,"measurement_interval":1000}"#;
    let said = r#"{"slope":1.0,"offset":0.0,"measurement_interval":1000,"error":{"code":7}}"#;
    assert_eq!(judged("flowmeter", "/config", sent, "/response", said), refused(r#"{"code":7}"#));
}

#[test]
fn an_error_that_is_null_or_left_out_refuses_nothing() {
    let sent = r#"{"enable":true,"duty":0.5,"frequency":1000}"#;
    for said in
        [r#"{"enable":true,"duty":0.5,"frequency":1000,"error":null}"#, sent, &format!("\t{sent}\r\n")]
    {
        assert_eq!(judged("pwm", "/config", sent, "/response", said), Some(Confirmed));
    }
}

#[test]
fn numbers_are_equal_if_they_are_so_in_single_precision() {
    let judged = |sent: &str, said: &str| {
        let config = |value: &str| format!(r#"{{"value":{value},"max_volts":5,"enabled":true}}"#);
        judged("analog_out", "/config", &config(sent), "/response", &config(said))
    };
    for (sent, said) in [
        ("0.1", "0.10000000149"),
        ("0.1", "0.10000000149011612"),
        ("1", "1.0"),
        ("1.0", "1"),
        ("100", "1e2"),
        ("0.0", "-0.0"),
        ("-13.2", "-13.199999809265137"),
        ("16777217", "16777216.0"),
        ("3.4e38", "3.3999999521443642e38"),
    ] {
        assert_eq!(judged(sent, said), Some(Confirmed), "{sent} {said}");
    }
    for (sent, said) in [("0.1", "0.1000001"), ("1", "-1"), ("1", "1.000001"), ("0", "1e-30")] {
        assert!(matches!(judged(sent, said), Some(Mismatch(_))), "{sent} {said}");
    }
}

#[test]
fn a_field_that_was_not_sent_is_not_compared() {
    let said = r#"{"value":2.5,"max_volts":5.0,"enabled":true,"error":null}"#;
    for sent in [r#"{"value":2.5}"#, r#"{"value":2.5,"max_volts":null}"#, "{}"] {
        assert_eq!(judged("analog_out", "/config", sent, "/response", said), Some(Confirmed), "{sent}");
    }
}

#[test]
fn a_field_that_was_sent_and_is_left_out_is_reported_as_null() {
    let sent = r#"{"value":2.5,"max_volts":5.0,"enabled":true,"error":"x"}"#;
    for said in [
        r#"{"value":2.5,"max_volts":5.0,"enabled":true}"#,
        r#"{"value":2.5,"max_volts":5.0,"enabled":true,"error":null}"#,
    ] {
        let expected = vec![difference("/error", r#""x""#, "null")];
        assert_eq!(judged("analog_out", "/config", sent, "/response", said), Some(Mismatch(expected)));
    }
}

#[test]
fn lists_and_objects_are_compared_item_by_item_and_field_by_field() {
    let sent = json!({ "list": [1, 2.0, null], "within": { "a/b~c": true, "not": null }, "text": "1" });
    let same =
        json!({ "list": [1.0, 2, null], "within": { "a/b~c": true, "not": 5 }, "text": "1", "more": 1 });
    assert_eq!(differences(&sent, &same), []);
    let other = json!({ "list": [3, 2, 0], "within": { "a/b~c": false }, "text": 1 });
    let mut found = differences(&sent, &other);
    found.sort_by(|one, other| one.pointer.cmp(&other.pointer));
    let expected = [
        difference("/list/0", "1", "3"),
        difference("/list/2", "null", "0"),
        difference("/text", r#""1""#, "1"),
        difference("/within/a~1b~0c", "true", "false"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn lists_of_different_lengths_differ_as_a_whole() {
    let found = differences(&json!({ "list": [1, 2] }), &json!({ "list": [1] }));
    assert_eq!(found, [difference("/list", "[1,2]", "[1]")]);
    let found = differences(&json!({ "within": { "a": 1 } }), &json!({ "within": [1] }));
    assert_eq!(found, [difference("/within", r#"{"a":1}"#, "[1]")]);
}

/// Bytes that are JSON more often than not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let example = any::<Index>().prop_map(|which| {
        let all: Vec<_> = examples().map(|(_, _, example)| example).collect();
        which.get(&all).as_bytes().to_vec()
    });
    let broken = (example.clone(), any::<Index>(), any::<u8>()).prop_map(|(mut payload, at, byte)| {
        let at = at.index(payload.len());
        payload[at] = byte;
        payload
    });
    prop_oneof![vec(any::<u8>(), 0..64), example, broken]
}

/// Puts another number of its type in the place of each.
fn renumber(value: &mut Value, numbers: &mut impl Iterator<Item = f64>) {
    match value {
        Value::Number(number) => {
            let share = numbers.next().unwrap();
            *value = match (number.as_i64(), number.as_f64().unwrap()) {
                (Some(_), _) => json!((share * 1e9) as i64),
                (None, real) if (0.0..=1.0).contains(&real) => json!(share),
                (None, _) => json!((share - 0.5) * 1e6),
            };
        }
        Value::Array(items) => items.iter_mut().for_each(|item| renumber(item, numbers)),
        Value::Object(fields) => fields.values_mut().for_each(|field| renumber(field, numbers)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// As a firmware has it that calculates with single precision.
fn single(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64().unwrap() as f32),
        Value::Array(items) => items.iter_mut().for_each(single),
        Value::Object(fields) => fields.values_mut().for_each(single),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_sent_and_said_there_is_a_verdict_or_none(
        row in any::<Index>(),
        sent in bytes(),
        said in bytes(),
        suffix in "/[a-z0-9]{0,5}",
    ) {
        let rows: Vec<_> = rows().collect();
        let (kind, topic) = row.get(&rows);
        topic.hazardous(&sent);
        let _ = topic.verdict(&sent, &suffix, &said);
        for answering in kind.topics {
            let suffix = answering.suffix_at(answering.index.clone().and_then(|mut range| range.next()));
            let verdict = topic.verdict(&sent, &suffix, &said);
            prop_assert!(verdict.is_none() || topic.answers_on(&sent, &suffix));
        }
    }

    #[test]
    fn what_single_precision_makes_of_a_command_confirms_it(
        which in any::<Index>(),
        numbers in vec(0.0..=1.0_f64, 8),
    ) {
        let all = exchanges();
        let mut exchange = which.get(&all).clone();
        renumber(&mut exchange.sent, &mut numbers.into_iter().cycle());
        // As the device reads it.
        exchange.sent = json(&exchange.sent.to_string());
        let mut heard = exchange.sent.clone();
        single(&mut heard);
        let (_, said) = true_answer(exchange.kind, exchange.command, &heard).unwrap();
        exchange.said = said;
        prop_assert!(exchange.fits(), "{}", exchange.said);
        prop_assert_eq!(exchange.verdict(), Some(Confirmed), "{}", exchange.said);
    }

    #[test]
    fn the_pointer_of_a_difference_leads_to_what_was_sent(sent in bytes(), reported in bytes()) {
        let parsed = |payload: &[u8]| serde_json::from_slice::<Value>(payload);
        if let (Ok(sent), Ok(reported)) = (parsed(&sent), parsed(&reported)) {
            prop_assert_eq!(differences(&sent, &sent), vec![]);
            for difference in differences(&sent, &reported) {
                prop_assert_eq!(sent.pointer(&difference.pointer).unwrap().to_string(), difference.sent);
            }
        }
    }
}
