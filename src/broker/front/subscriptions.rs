//! Who is subscribed to what: the front's own index.
//!
//! The router delivers; the index answers whether anybody would receive a message at all, so that
//! what nobody hears never reaches the router.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use crate::model::SessionId;

/// A topic has at most this many levels: matching walks them one by one.
pub const MAX_LEVELS: usize = 128;
/// A topic or a filter has at most this many bytes.
pub const MAX_TOPIC: usize = 1024;

/// The subscriptions of all connected clients, as a tree of levels.
#[derive(Default)]
pub struct Subscriptions(RwLock<Node>);

#[derive(Default)]
struct Node {
    levels: HashMap<String, Node>,
    /// Subscribed to exactly this.
    here: Vec<Subscriber>,
    /// Subscribed to this and everything below.
    below: Vec<Subscriber>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Subscriber {
    session: SessionId,
    no_local: bool,
}

impl Subscriptions {
    pub fn add(&self, session: SessionId, filter: &str, no_local: bool) {
        let mut root = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let subscribers = root.subscribers(filter);
        subscribers.retain(|subscriber| subscriber.session != session);
        subscribers.push(Subscriber { session, no_local });
    }

    pub fn remove(&self, session: SessionId, filter: &str) {
        let mut root = self.0.write().unwrap_or_else(PoisonError::into_inner);
        root.remove(session, filter);
    }

    /// How many clients would receive a message that `origin` publishes on `topic`.
    pub fn receivers(&self, topic: &str, origin: SessionId) -> usize {
        let root = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut sessions = Vec::new();
        root.collect(topic, true, origin, &mut sessions);
        if sessions.len() > 1 {
            sessions.sort_unstable();
            sessions.dedup();
        }
        sessions.len()
    }
}

impl Node {
    fn subscribers(&mut self, filter: &str) -> &mut Vec<Subscriber> {
        let (level, rest) = split(filter);
        if level == "#" {
            return &mut self.below;
        }
        let node = self.levels.entry(level.to_owned()).or_default();
        match rest {
            Some(rest) => node.subscribers(rest),
            None => &mut node.here,
        }
    }

    /// Takes a subscriber out, and the branches that are empty then.
    fn remove(&mut self, session: SessionId, filter: &str) {
        let (level, rest) = split(filter);
        if level == "#" {
            self.below.retain(|subscriber| subscriber.session != session);
            return;
        }
        let Some(node) = self.levels.get_mut(level) else { return };
        match rest {
            Some(rest) => node.remove(session, rest),
            None => node.here.retain(|subscriber| subscriber.session != session),
        }
        if node.levels.is_empty() && node.here.is_empty() && node.below.is_empty() {
            self.levels.remove(level);
        }
    }

    fn collect(&self, topic: &str, first: bool, origin: SessionId, sessions: &mut Vec<SessionId>) {
        // Wildcards at the beginning do not match topics that begin with `$`.
        let hidden = first && topic.starts_with('$');
        if !hidden {
            take(&self.below, origin, sessions);
        }
        let (level, rest) = split(topic);
        let plus = if hidden { None } else { self.levels.get("+") };
        for node in [self.levels.get(level), plus].into_iter().flatten() {
            match rest {
                Some(rest) => node.collect(rest, false, origin, sessions),
                None => {
                    take(&node.here, origin, sessions);
                    // `a/#` also means `a`.
                    take(&node.below, origin, sessions);
                }
            }
        }
    }
}

fn take(subscribers: &[Subscriber], origin: SessionId, sessions: &mut Vec<SessionId>) {
    for subscriber in subscribers {
        if !(subscriber.no_local && subscriber.session == origin) {
            sessions.push(subscriber.session);
        }
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (path, None),
    }
}

/// Whether a message may be published on `topic`.
pub fn is_topic(topic: &str) -> bool {
    fits(topic) && !topic.starts_with('$') && !topic.contains(['+', '#'])
}

/// Whether `filter` may be subscribed to: wildcards stand alone on their level, `#` only at the end.
pub fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    if !fits(filter) {
        return false;
    }
    while let Some(level) = levels.next() {
        let valid = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            _ => !level.contains(['+', '#']),
        };
        if !valid {
            return false;
        }
    }
    true
}

fn fits(path: &str) -> bool {
    (1..=MAX_TOPIC).contains(&path.len()) && path.bytes().filter(|byte| *byte == b'/').count() < MAX_LEVELS
}

/// Whether a message on `topic` belongs to `filter`. Both are valid.
pub fn matches(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("+/+", "/a", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
        ] {
            assert_eq!(matches(topic, filter), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn filters_are_valid_as_the_standard_says() {
        for filter in ["a", "#", "+", "a/#", "a/+/b", "/", "//", "+/+", "/#", "été/#"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "a+/b", "#/a", "a/#/b", "a/b#", "++"] {
            assert!(!is_filter(filter), "{filter}");
        }
    }

    #[test]
    fn a_client_is_counted_once_and_not_for_its_own() {
        let index = Subscriptions::default();
        index.add(SessionId(1), "a/#", false);
        index.add(SessionId(1), "a/+", false);
        index.add(SessionId(2), "a/b", true);
        assert_eq!(index.receivers("a/b", SessionId(9)), 2);
        assert_eq!(index.receivers("a/b", SessionId(2)), 1);
        index.remove(SessionId(1), "a/#");
        assert_eq!(index.receivers("a/b/c", SessionId(9)), 0);
        index.remove(SessionId(1), "a/+");
        index.remove(SessionId(2), "a/b");
        assert!(index.0.read().expect("no writer panics").levels.is_empty());
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_matching(filters in prop::collection::vec("[ab+]?(/[ab+]?){0,3}(/#)?|#", 1..6), topic in "[ab$]?(/[ab]?){0,3}") {
            prop_assume!(!topic.is_empty());
            let filters: Vec<String> = filters.into_iter().filter(|filter| is_filter(filter)).collect();
            let index = Subscriptions::default();
            for (n, filter) in filters.iter().enumerate() {
                index.add(SessionId(n as i64 + 1), filter, false);
            }
            let expected = filters.iter().filter(|filter| matches(&topic, filter)).count();
            prop_assert_eq!(index.receivers(&topic, SessionId(0)), expected);
        }
    }
}
