//! Relay connections over the journal.
//!
//! Edges come newest first: `first` and `after` lead to older entries, `last` and `before` to newer ones.

use async_graphql::{
    Object, OutputType,
    connection::{Edge, EmptyFields, PageInfo},
};

use super::problem::Problem;
use crate::model::{Cursor, Page, PresenceChange, Reading, Seq};

/// Entries on a page, unless the client says how many.
pub const PAGE: usize = 100;
/// And at most.
const MAX_PAGE: usize = 1_000;

/// Which part of the journal a page shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// As the store wants it: after a place oldest first, before one newest first.
    pub from: Option<Cursor>,
    pub limit: u32,
}

impl Window {
    /// As a client asks for it. A cursor is the seq of its entry.
    pub fn new(
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Window, Problem> {
        match (last, before) {
            (None, None) => {
                let limit = limit("first", first.unwrap_or(PAGE as i32))?;
                let from = after.as_deref().map(place).transpose()?.map(Cursor::Before);
                Ok(Window { from, limit })
            }
            (Some(last), before) if first.is_none() && after.is_none() => {
                let newer_than = before.as_deref().map(place).transpose()?.unwrap_or(Seq::ZERO);
                Ok(Window { from: Some(Cursor::After(newer_than)), limit: limit("last", last)? })
            }
            _ => Err(Problem::invalid("`first` goes with `after`, `last` goes with `before`")),
        }
    }

    /// The connection that a page of the store makes.
    pub fn connection<T: OutputType>(self, page: Page<T>, seq: fn(&T) -> Seq) -> Connection<T> {
        let more = page.next.is_some();
        let mut edges: Vec<_> = page.items.into_iter().map(|entry| Edge::new(seq(&entry).0, entry)).collect();
        let (newer, older) = match self.from {
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

/// Part of the journal.
pub struct Connection<T: OutputType> {
    edges: Vec<Edge<i64, T, EmptyFields>>,
    newer: bool,
    older: bool,
}

/// Part of what the journal says about a device, newest first.
#[Object(
    concrete(name = "ReadingConnection", params(Reading)),
    concrete(name = "PresenceChangeConnection", params(PresenceChange))
)]
impl<T: OutputType> Connection<T> {
    /// The entries with their cursors.
    async fn edges(&self) -> &[Edge<i64, T, EmptyFields>] {
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

/// What a connection counts: each field of each entry that it may show.
pub fn complexity(first: Option<i32>, last: Option<i32>, fields: usize) -> usize {
    let entries = last.or(first).and_then(|entries| usize::try_from(entries).ok()).unwrap_or(PAGE);
    1 + entries.saturating_mul(fields)
}

fn limit(name: &str, asked: i32) -> Result<u32, Problem> {
    match u32::try_from(asked) {
        Ok(limit) if (1..=MAX_PAGE as u32).contains(&limit) => Ok(limit),
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

    #[test]
    fn forward_is_towards_older_entries() {
        let window = Window::new(Some(5), cursor("40"), None, None).unwrap();
        assert_eq!(window, Window { from: Some(Cursor::Before(Seq(40))), limit: 5 });
        let window = Window::new(None, None, None, None).unwrap();
        assert_eq!(window, Window { from: None, limit: 100 });
    }

    #[test]
    fn backward_is_towards_newer_entries() {
        let window = Window::new(None, None, Some(5), cursor("40")).unwrap();
        assert_eq!(window, Window { from: Some(Cursor::After(Seq(40))), limit: 5 });
        let window = Window::new(None, None, Some(5), None).unwrap();
        assert_eq!(window, Window { from: Some(Cursor::After(Seq::ZERO)), limit: 5 });
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
