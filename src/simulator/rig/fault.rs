//! How a simulated rig gets into trouble.

use std::ops::Range;

use clap::ValueEnum;
use serde_json::Value;

/// How the rig gets into trouble.
// The comments are the help text, line by line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// It obeys a command and answers it 3 s after it came.
    SlowAck,
    /// It hears commands, but neither obeys nor answers any. It measures on.
    Silent,
    /// Of each number in a command it takes no more than half, and answers with what it took.
    Clamp,
    /// It obeys no command. Where an answer can say why not, it says so; other answers say
    /// what stands, and some cannot be given at all.
    #[value(verbatim_doc_comment)]
    Refuse,
    /// Now and then what it measures is broken, each time in another way: cut off, NaN or a
    /// text for a number, a list for an object, not UTF-8, nothing at all.
    #[value(verbatim_doc_comment)]
    Garbage,
    /// Every 20 s its connection drops without a DISCONNECT; 2 s later it connects anew.
    Drop,
}

/// What a rig that refuses everything says.
pub(super) const REFUSAL: &str = "interlock open: refused";

/// A way to break a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    CutOff,
    NotANumber,
    Text,
    OtherShape,
    NotUtf8,
    Empty,
}

impl Fault {
    /// Whether what it says by itself could be taken for an answer that it does not give.
    pub(super) fn hushes(self) -> bool {
        match self {
            Fault::SlowAck | Fault::Silent | Fault::Refuse => true,
            Fault::Clamp | Fault::Garbage | Fault::Drop => false,
        }
    }
}

impl Flaw {
    pub(super) const ALL: [Flaw; 6] =
        [Flaw::CutOff, Flaw::NotANumber, Flaw::Text, Flaw::OtherShape, Flaw::NotUtf8, Flaw::Empty];

    /// What it is, after "sends garbage: ".
    pub(super) fn words(self) -> &'static str {
        match self {
            Flaw::CutOff => "a payload that is cut off",
            Flaw::NotANumber => "NaN for a value",
            Flaw::Text => "a value as a text",
            Flaw::OtherShape => "a list for an object, or the other way round",
            Flaw::NotUtf8 => "bytes that are not UTF-8",
            Flaw::Empty => "nothing at all",
        }
    }

    pub(super) fn spoil(self, good: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(good);
        let Range { start, end } = first_value(&text);
        let with = |value: &str| format!("{}{value}{}", &text[..start], &text[end..]).into_bytes();
        match self {
            Flaw::CutOff => good[..good.len() / 2].to_vec(),
            Flaw::NotANumber => with("NaN"),
            Flaw::Text => with(&format!("{:?}", &text[start..end])),
            Flaw::OtherShape if text.starts_with('[') => format!(r#"{{"pixels":{text}}}"#).into_bytes(),
            Flaw::OtherShape => format!("[{text}]").into_bytes(),
            Flaw::NotUtf8 => [&good[..start], &[0xB0], &good[start..]].concat(),
            Flaw::Empty => Vec::new(),
        }
    }
}

/// Where the first number or boolean of a JSON text stands; its end if there is none.
fn first_value(text: &str) -> Range<usize> {
    let mut in_text = false;
    for (start, sign) in text.char_indices() {
        match sign {
            '"' => in_text = !in_text,
            '-' | '0'..='9' | 't' | 'f' if !in_text => {
                let length = text[start..].find([',', '}', ']']).unwrap_or(text.len() - start);
                return start..start + length;
            }
            _ => {}
        }
    }
    text.len()..text.len()
}

/// Takes of each number no more than half.
pub(super) fn halve(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_i64() {
                let half = whole.unsigned_abs().div_ceil(2);
                *value = whole.saturating_sub_unsigned(half).into();
            } else if let Some(real) = number.as_f64() {
                *value = (real - real.abs() / 2.0).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(halve),
        Value::Object(fields) => fields.values_mut().for_each(halve),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{self, Class, KINDS};

    #[test]
    fn every_flaw_spoils_every_payload_that_tells_a_value() {
        let told = KINDS.iter().flat_map(|kind| kind.topics).filter(|topic| topic.class != Class::Command);
        for topic in told {
            for example in topic.examples.iter().filter(|example| !first_value(example).is_empty()) {
                for flaw in Flaw::ALL {
                    let spoilt = flaw.spoil(example.as_bytes());
                    assert!(topic.check(&spoilt).is_err(), "{flaw:?} {}", String::from_utf8_lossy(&spoilt));
                }
            }
        }
    }

    #[test]
    fn half_of_a_command_is_lower_and_of_the_same_type() {
        for topic in KINDS.iter().flat_map(catalog::Kind::commands) {
            for example in topic.examples {
                let mut half: Value = serde_json::from_str(example).expect("an example is JSON");
                halve(&mut half);
                assert!(topic.read_exactly(half.to_string().as_bytes()).is_ok(), "{half}");
            }
        }
        let mut numbers = serde_json::json!([5, 1, 0, -4, 2.5, -1.0]);
        halve(&mut numbers);
        assert_eq!(numbers, serde_json::json!([2, 0, 0, -6, 1.25, -1.5]));
    }
}
