//! Relay connections over what grows.
//!
//! Edges come newest first: `first` and `after` lead to older entries, `last` and `before` to newer ones.

use async_graphql::{Object, OutputType, connection::PageInfo};

use super::problem::Problem;
use crate::error::Error;
use crate::model::{
    ClientSession, CommandRecord, Cursor, Page, Part, PresenceChange, Reading, Rejection, Seq,
    ServiceReading, Timestamp,
};

/// Entries on a page, unless the client says how many.
const PAGE: u32 = 100;
/// And at most.
const MAX_PAGE: u32 = 1_000;

/// Which part a page shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// As the store wants it: after a place oldest first, before one newest first.
    pub part: Part,
}

impl Window {
    /// As a client asks for it. A cursor is the seq of its entry.
    pub fn new(
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Window, Problem> {
        let (cursor, limit) = match (last, before) {
            (None, None) => {
                let cursor = after.as_deref().map(place).transpose()?.map(Cursor::Before);
                (cursor, limit("first", first)?)
            }
            (Some(_), before) if first.is_none() && after.is_none() => {
                let newer_than = before.as_deref().map(place).transpose()?.unwrap_or(Seq::ZERO);
                (Some(Cursor::After(newer_than)), limit("last", last)?)
            }
            _ => return Err(Problem::invalid("`first` goes with `after`, `last` goes with `before`")),
        };
        Ok(Window { part: Part::of(cursor, limit) })
    }

    /// Only what happened between two moments, in the order of time.
    pub fn between(self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Window, Problem> {
        Ok(Window { part: self.part.between(from, to).map_err(Error::Invalid)? })
    }

    /// How many entries it shows at most.
    pub fn entries(self) -> usize {
        self.part.limit as usize
    }

    /// The connection that a page of the store makes.
    pub fn connection<T>(self, page: Page<T>, place: fn(&T) -> i64) -> Connection<T> {
        let more = page.next.is_some();
        let edge = |node: T| Edge { cursor: place(&node), node };
        let mut edges: Vec<_> = page.items.into_iter().map(edge).collect();
        let (newer, older) = match self.part.cursor {
            Some(Cursor::After(after)) => {
                edges.reverse();
                // Older than what is after a cursor is at least the entry of the cursor.
                (more, after > Seq::ZERO)
            }
            Some(Cursor::Before(_)) => (true, more),
            None => (false, more),
        };
        Connection { edges, newer, older }
    }
}

/// Part of a list.
pub struct Connection<T> {
    edges: Vec<Edge<T>>,
    newer: bool,
    older: bool,
}

/// An entry with its place.
pub struct Edge<T> {
    cursor: i64,
    node: T,
}

/// Part of a list, newest first.
#[Object(
    concrete(name = "ReadingConnection", params(Reading)),
    concrete(name = "ServiceReadingConnection", params(ServiceReading)),
    concrete(name = "PresenceChangeConnection", params(PresenceChange)),
    concrete(name = "CommandConnection", params(CommandRecord)),
    concrete(name = "RejectionConnection", params(Rejection)),
    concrete(name = "ClientConnection", params(ClientSession))
)]
impl<T: OutputType> Connection<T>
where
    Edge<T>: OutputType,
{
    /// The entries with their cursors.
    async fn edges(&self) -> &[Edge<T>] {
        &self.edges
    }

    /// The entries alone.
    async fn nodes(&self) -> Vec<&T> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }

    /// Where the page stands: the next one is older, the previous one newer.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_previous_page: self.newer,
            has_next_page: self.older,
            start_cursor: self.edges.first().map(|edge| edge.cursor.to_string()),
            end_cursor: self.edges.last().map(|edge| edge.cursor.to_string()),
        }
    }
}

/// An entry of a list, and its place there.
#[Object(
    concrete(name = "ReadingEdge", params(Reading)),
    concrete(name = "ServiceReadingEdge", params(ServiceReading)),
    concrete(name = "PresenceChangeEdge", params(PresenceChange)),
    concrete(name = "CommandEdge", params(CommandRecord)),
    concrete(name = "RejectionEdge", params(Rejection)),
    concrete(name = "ClientEdge", params(ClientSession))
)]
impl<T: OutputType> Edge<T> {
    /// The entry.
    async fn node(&self) -> &T {
        &self.node
    }

    /// Its place, to go on from.
    async fn cursor(&self) -> String {
        self.cursor.to_string()
    }
}

/// What a connection counts: each field of each entry that it may show.
pub fn complexity(first: Option<i32>, last: Option<i32>, fields: usize) -> usize {
    let entries = last.or(first).and_then(|entries| usize::try_from(entries).ok());
    1 + entries.unwrap_or(PAGE as usize).saturating_mul(fields)
}

/// How many entries a client wants to have.
pub fn limit(name: &str, asked: Option<i32>) -> Result<u32, Problem> {
    let Some(asked) = asked else { return Ok(PAGE) };
    match u32::try_from(asked) {
        Ok(limit @ 1..=MAX_PAGE) => Ok(limit),
        _ => Err(Problem::invalid(format!("`{name}` is 1 to {MAX_PAGE}, not {asked}"))),
    }
}

fn place(cursor: &str) -> Result<Seq, Problem> {
    match cursor.parse() {
        Ok(seq) if seq > 0 => Ok(Seq(seq)),
        _ => Err(Problem::invalid(format!("{cursor:?} is no cursor of a page"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(seq: &str) -> Option<String> {
        Some(seq.to_owned())
    }

    fn window(cursor: Option<Cursor>, limit: u32) -> Window {
        Window { part: Part::of(cursor, limit) }
    }

    #[test]
    fn forward_is_towards_older_entries() {
        let asked = Window::new(Some(5), cursor("40"), None, None).unwrap();
        assert_eq!(asked, window(Some(Cursor::Before(Seq(40))), 5));
        let asked = Window::new(None, None, None, None).unwrap();
        assert_eq!(asked, window(None, 100));
    }

    #[test]
    fn backward_is_towards_newer_entries() {
        let asked = Window::new(None, None, Some(5), cursor("40")).unwrap();
        assert_eq!(asked, window(Some(Cursor::After(Seq(40))), 5));
        let asked = Window::new(None, None, Some(5), None).unwrap();
        assert_eq!(asked, window(Some(Cursor::After(Seq::ZERO)), 5));
    }

    #[test]
    fn what_makes_no_page_is_refused() {
        assert!(Window::new(Some(0), None, None, None).is_err());
        assert!(Window::new(Some(1_001), None, None, None).is_err());
        assert!(Window::new(Some(1), None, Some(1), None).is_err());
        assert!(Window::new(Some(1), None, None, cursor("4")).is_err());
        assert!(Window::new(None, cursor("x"), None, None).is_err());
    }
}
