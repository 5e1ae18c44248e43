//! What is asked of lists: which part of them, between which moments.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    error::Error,
    model::{Cursor, Part, Timestamp},
};

/// Items of a page when nobody says how many.
const USUAL_LIMIT: u32 = 100;
/// Items of the largest page: some hundred KB, as devices usually speak.
const MAX_LIMIT: u32 = 1_000;

/// A part of what happened to a device.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Span {
    /// A seq: what comes after it, oldest first. Or the `next` of a page: what follows on it. Without it a
    /// page begins with the newest.
    #[param(value_type = String, required = false, example = "4711")]
    after: Option<Cursor>,
    /// Only what happened at this moment or later: RFC 3339, with any offset.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-11-21T21:00:00+01:00")]
    from: Option<Moment>,
    /// Only what happened before this moment: RFC 3339, with any offset.
    #[param(value_type = String, required = false, format = DateTime, example = "2026-11-21T20:30:00Z")]
    to: Option<Moment>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = u32, required = false, default = 100, minimum = 1, maximum = 1000, example = 100)]
    limit: Limit,
}

impl TryFrom<Span> for Part {
    type Error = Error;

    fn try_from(span: Span) -> Result<Part, Error> {
        let at = |moment: Option<Moment>| moment.map(|Moment(at)| at);
        Part::of(span.after, span.limit.0).between(at(span.from), at(span.to)).map_err(Error::Invalid)
    }
}

/// A moment in a query.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(pub Timestamp);

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Moment, String> {
        text.parse().or_else(|why| with_plus(&text).ok_or(why)).map(Moment)
    }
}

/// A `+` that is not escaped in a URL arrives as a space.
fn with_plus(text: &str) -> Option<Timestamp> {
    let (time, offset) = text.rsplit_once(' ')?;
    format!("{time}+{offset}").parse().ok()
}

/// How many items a page has at most.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub struct Limit(pub u32);

impl Default for Limit {
    fn default() -> Limit {
        Limit(USUAL_LIMIT)
    }
}

impl TryFrom<u32> for Limit {
    type Error = String;

    fn try_from(limit: u32) -> Result<Limit, String> {
        match limit {
            1..=MAX_LIMIT => Ok(Limit(limit)),
            _ => Err(format!("a page has 1 to {MAX_LIMIT} items, not {limit}")),
        }
    }
}

/// What is asked where there is nothing to choose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}
