//! JSON as a type, and what is wrong with it when it is none.
//!
//! What is right is read by serde alone. What is not is read anew with care, to name the place, what was
//! expected there and what came. The types themselves are the rule both times.

mod place;
mod tree;

use std::{fmt, str};

use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use self::tree::{Knowledge, Reader, Tree};
use crate::model::RejectionReason;

/// What is wrong with a payload, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Flaw {
    /// Why it could not be understood.
    pub reason: RejectionReason,
    /// JSON pointer; empty for the payload as a whole.
    pub pointer: String,
    /// What was expected and what came.
    pub detail: String,
}

/// Longer pointers end sooner, at a level that is whole: a device chooses the names, and every rejection is kept.
const LONGEST_POINTER: usize = 256;

/// How well a payload is a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It says what the type says, and no more.
    Exact,
    /// It says more, which is passed over.
    Loose,
}

/// Reads what a device says: fields that `T`, which denies unknown fields, does not know are passed over.
pub fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<(T, Fit), Flaw> {
    // A list of the right values would be taken for an object's fields in their order.
    if !payload.contains(&b'[')
        && let Ok(value) = serde_json::from_slice(payload)
    {
        return Ok((value, Fit::Exact));
    }
    with_care(payload)
}

/// As [`read`], for a type in which lists are a part of an object or all there is.
pub fn read_with_lists<T: DeserializeOwned>(payload: &[u8], opening: u8) -> Result<(T, Fit), Flaw> {
    if payload.trim_ascii_start().first() == Some(&opening)
        && let Ok(value) = serde_json::from_slice(payload)
    {
        return Ok((value, Fit::Exact));
    }
    with_care(payload)
}

/// Reads what a user sends: a field that `T` does not know is a flaw.
pub fn read_exactly<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Flaw> {
    parse(payload)?.exactly()
}

fn with_care<T: DeserializeOwned>(payload: &[u8]) -> Result<(T, Fit), Flaw> {
    parse(payload)?.fit()
}

/// JSON that may be one of several types: it is parsed once for all of them.
pub struct Parsed(Tree);

pub fn parse(payload: &[u8]) -> Result<Parsed, Flaw> {
    text(payload)?;
    serde_json::from_slice(payload).map(Parsed).map_err(|why| no_json(payload, &why))
}

impl Parsed {
    /// As [`read`].
    pub fn fit<T: DeserializeOwned>(&self) -> Result<(T, Fit), Flaw> {
        let knowledge = Knowledge::loose();
        let value = T::deserialize(Reader::new(&self.0, &knowledge))?;
        Ok((value, if knowledge.passed_over() { Fit::Loose } else { Fit::Exact }))
    }

    /// As [`read_exactly`].
    pub fn exactly<T: DeserializeOwned>(&self) -> Result<T, Flaw> {
        T::deserialize(Reader::new(&self.0, &Knowledge::exact())).map_err(Flaw::from)
    }

    /// The names of the fields of the object that it is; none if it is no object.
    pub fn names(&self) -> Vec<&str> {
        match &self.0 {
            Tree::Object(fields) => fields.iter().map(|(name, _)| name.as_str()).collect(),
            Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::Text(_) | Tree::List(_) => Vec::new(),
        }
    }
}

/// The names of the fields that an object of type `T` has; none for what is no object.
pub fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    tree::fields::<T>()
}

/// The payload as text.
pub fn text(payload: &[u8]) -> Result<&str, Flaw> {
    str::from_utf8(payload).map_err(|why| {
        let detail = format!("expected UTF-8 text, got other bytes from byte {} on", why.valid_up_to());
        Flaw::new(RejectionReason::NotUtf8, String::new(), detail)
    })
}

/// Enough of what came to recognize it.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn no_json(payload: &[u8], why: &serde_json::Error) -> Flaw {
    let stop = place::offset(payload, why.line(), why.column());
    if let Some(number) = place::non_finite(payload, stop, why) {
        let detail = format!("expected a finite number, got {}", excerpt(&number));
        return Flaw::new(RejectionReason::NonFinite, place::pointer(payload, stop), detail);
    }
    Flaw::new(RejectionReason::NotJson, String::new(), format!("expected JSON, got something else: {why}"))
}

impl Flaw {
    fn new(reason: RejectionReason, mut pointer: String, detail: String) -> Flaw {
        if pointer.len() > LONGEST_POINTER {
            let end = pointer.as_bytes()[..=LONGEST_POINTER].iter().rposition(|byte| *byte == b'/');
            pointer.truncate(end.unwrap_or_default());
        }
        Flaw { reason, pointer, detail }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.detail)
    }
}

#[cfg(test)]
mod tests;
