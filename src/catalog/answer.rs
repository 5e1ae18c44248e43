//! What an answer makes of a command: whether the device did it, did otherwise, or would not.
//!
//! The rules are in the table, in [`Answer`]; no kind is named here.

use serde_json::Value;

use super::{Answer, Effect, Mapped, Topic, resolve};

/// What a device's answer makes of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Confirmed,
    /// What it reports otherwise than it was told.
    Mismatch(Vec<Difference>),
    /// It did not do it; in the device's own words.
    Refused(String),
}

/// A field of a command that the device reports otherwise. Values are JSON text.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// JSON pointer into the command.
    pub pointer: String,
    pub sent: String,
    /// Null also for what the answer leaves out: to leave out and to say null are the same.
    pub reported: String,
}

impl Topic {
    /// What a reading on the topic with this suffix, of the same service, says of a command that was sent here with
    /// payload `sent`. None if it is no answer to it, as what does not fit its own topic.
    pub fn verdict(&self, sent: &[u8], suffix: &str, said: &[u8]) -> Option<Verdict> {
        if !self.answers_on(sent, suffix) || !self.fits_as_answer(suffix, said) {
            return None;
        }
        let (sent, said) = (parse(sent)?, parse(said)?);
        match self.answer {
            Answer::None => None,
            Answer::Echo { .. } => {
                Some(refusal(said.get("error")).unwrap_or_else(|| judge(differences(&sent, &said))))
            }
            Answer::Mapped { fields, .. } => {
                Some(refusal(said.get("error")).unwrap_or_else(|| judge(mapped(fields, &sent, &said))))
            }
            Answer::Outcome { success, error, .. } => {
                refusal(said.pointer(error)).or_else(|| outcome(&sent, &said, said.pointer(success)?))
            }
            Answer::State { fault, .. } if suffix == fault => failure(&sent, &said),
            Answer::State { .. } => state(&sent, &said),
            Answer::Reading { .. } => Some(Verdict::Confirmed),
            Answer::Implied { sent: wanted, reported, .. } => {
                // Telemetry comes by itself: what differs may be older than the command.
                let differing = differences(sent.pointer(wanted)?, said.pointer(reported)?);
                differing.is_empty().then_some(Verdict::Confirmed)
            }
        }
    }

    /// Whether a reading on this suffix could answer `sent`. Its own payload is not asked for.
    pub fn answers_on(&self, sent: &[u8], suffix: &str) -> bool {
        match self.answer {
            Answer::None => false,
            Answer::Echo { on }
            | Answer::Mapped { on, .. }
            | Answer::Outcome { on, .. }
            | Answer::Reading { on } => on == suffix,
            Answer::State { on, fault } => on == suffix || fault == suffix,
            Answer::Implied { named, .. } => {
                let sent = parse(sent);
                let name = sent.as_ref().and_then(|sent| sent.pointer(named)?.as_str());
                name.is_some_and(|name| suffix.strip_prefix('/') == Some(&name.to_lowercase()))
            }
        }
    }

    /// Whether an answer says which command it is about, as far as the rule can tell: a state that repeats nothing of the
    /// command may be that of the one before, which still goes on.
    pub fn is_about(&self, sent: &[u8], suffix: &str, said: &[u8]) -> bool {
        let Answer::State { fault, .. } = self.answer else { return true };
        let (Some(sent), Some(said)) = (parse(sent), parse(said)) else { return false };
        let says = |name: &str| said.get(name).is_some_and(|value| !value.is_null());
        match suffix == fault {
            true => says("attempted_command"),
            false => sent.as_object().is_some_and(|sent| sent.keys().any(|name| says(name))),
        }
    }

    /// Whether sending this payload can hurt.
    pub fn hazardous(&self, payload: &[u8]) -> bool {
        match self.effect {
            Some(Effect::Hazard) => true,
            Some(Effect::HazardWhen(pointer)) => {
                parse(payload).is_some_and(|sent| sent.pointer(pointer) == Some(&Value::Bool(true)))
            }
            Some(Effect::State | Effect::OneShot) | None => false,
        }
    }

    /// Whether a payload fits the topic with this suffix, in a kind that has this command.
    fn fits_as_answer(&self, suffix: &str, said: &[u8]) -> bool {
        let same = |row: &Topic| row.suffix == self.suffix && (row.shape.name)() == (self.shape.name)();
        resolve(suffix).any(|found| found.kind.commands().any(same) && found.topic.check(said).is_ok())
    }
}

fn parse(payload: &[u8]) -> Option<Value> {
    serde_json::from_slice(payload).ok()
}

fn judge(differences: Vec<Difference>) -> Verdict {
    match differences.is_empty() {
        true => Verdict::Confirmed,
        false => Verdict::Mismatch(differences),
    }
}

/// An error that is not null refuses.
fn refusal(error: Option<&Value>) -> Option<Verdict> {
    match error? {
        Value::Null => None,
        Value::String(words) => Some(Verdict::Refused(words.clone())),
        error => Some(Verdict::Refused(error.to_string())),
    }
}

/// `success` is what the service works with now, or only whether it does.
fn outcome(sent: &Value, said: &Value, success: &Value) -> Option<Verdict> {
    match success {
        Value::Null => None,
        Value::Bool(true) => Some(Verdict::Confirmed),
        Value::Bool(false) => Some(Verdict::Refused(said.to_string())),
        works_with => Some(judge(differences(sent, works_with))),
    }
}

/// The names of states are the device's own, and it reports while it still moves: sent `CLOSE`, it says `CLOSING` and
/// then `CLOSED`. So the state is not compared; `success` is the device's word for whether it obeys. What repeats a
/// field of the command otherwise is about another command, and no answer.
fn state(sent: &Value, said: &Value) -> Option<Verdict> {
    let repeated = |(name, value): (&String, &Value)| {
        let reported = said.get(name).filter(|_| !value.is_null())?;
        Some(differences(value, reported))
    };
    if sent.as_object().into_iter().flatten().filter_map(repeated).any(|differing| !differing.is_empty()) {
        return None;
    }
    let failed = said.get("success") == Some(&Value::Bool(false));
    let verdict = if failed { Verdict::Refused(said.to_string()) } else { Verdict::Confirmed };
    Some(refusal(said.get("error")).unwrap_or(verdict))
}

/// A fault that names the command which it befell is none of another. One without words speaks as a whole.
fn failure(sent: &Value, said: &Value) -> Option<Verdict> {
    let attempted = said.get("attempted_command").filter(|attempted| !attempted.is_null());
    if attempted.is_some() && attempted != sent.get("command") {
        return None;
    }
    Some(refusal(said.get("error")).unwrap_or_else(|| Verdict::Refused(said.to_string())))
}

fn mapped(fields: &[Mapped], sent: &Value, said: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    for Mapped { sent: pointer, reported, in_words } in fields {
        let Some(value) = sent.pointer(pointer).filter(|value| !value.is_null()) else { continue };
        let reported = said.pointer(reported).unwrap_or(&Value::Null);
        // Other words for it are as good as it.
        if !in_words || reported.is_null() {
            compare(pointer, value, reported, &mut found);
        }
    }
    found
}

/// What was sent and is reported otherwise. What was not sent, or as null, is not compared.
pub(super) fn differences(sent: &Value, reported: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", sent, reported, &mut found);
    found
}

fn compare(pointer: &str, sent: &Value, reported: &Value, found: &mut Vec<Difference>) {
    match (sent, reported) {
        (Value::Object(fields), Value::Object(reported)) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let level = name.replace('~', "~0").replace('/', "~1");
                let reported = reported.get(name).unwrap_or(&Value::Null);
                compare(&format!("{pointer}/{level}"), value, reported, found);
            }
        }
        // Lists that are not of one length differ as a whole.
        (Value::Array(items), Value::Array(reported)) if items.len() == reported.len() => {
            for (index, (item, reported)) in items.iter().zip(reported).enumerate() {
                compare(&format!("{pointer}/{index}"), item, reported, found);
            }
        }
        // The firmware has single precision.
        (Value::Number(sent), Value::Number(reported)) if single(sent) == single(reported) => {}
        _ if sent == reported => {}
        _ => found.push(Difference {
            pointer: pointer.to_owned(),
            sent: sent.to_string(),
            reported: reported.to_string(),
        }),
    }
}

fn single(number: &serde_json::Number) -> Option<f32> {
    number.as_f64().map(|number| number as f32)
}
