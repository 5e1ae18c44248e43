//! Who is subscribed to what: the front's own index.
//!
//! The router delivers to those who are there; the index answers whether anybody would receive a message at all, so that
//! what nobody hears never reaches the router, and which persistent sessions it is for.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    codec::{QoS, Subscription},
    kept::Outbox,
};
use crate::broker::router::A_FEW;
use crate::model::{KeptSubscription, SessionId};

/// A topic has at most this many levels: matching walks them one by one.
pub const MAX_LEVELS: usize = 128;
/// A topic or a filter has at most this many bytes.
pub const MAX_TOPIC: usize = 1024;
/// Bytes that all subscriptions take together: a hundred thousand of usual length.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Of these, so many are for clients that ask for a few: those with many must not shut them out.
const RESERVE: usize = MAX_BYTES / 4;
/// What a level that nobody else has takes beside its name: a place in a map that has room for four at least.
const LEVEL_BYTES: usize = 512;
/// What a subscriber takes here and in its session, beside the filter.
const SUBSCRIBER_BYTES: usize = 256;

/// A subscription that was granted.
#[derive(Clone, Debug)]
pub struct Held {
    pub wanted: Subscription,
    /// What the client calls it.
    pub id: Option<u32>,
    /// The last message that went into the router before it was granted.
    pub since: u64,
}

/// Who is subscribed.
#[derive(Clone)]
pub enum Whose {
    /// A session that ends with its connection, and hears by its link to the router.
    Linked(SessionId),
    /// A persistent session, there or away.
    Kept(Arc<Outbox>),
}

/// How a message comes to a client whose subscriptions may overlap: by the best of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    pub qos: QoS,
    pub retain_as_published: bool,
    pub ids: Vec<u32>,
}

/// Whom a message is for.
#[derive(Default)]
pub struct Matching {
    /// Sessions that hear by the router.
    pub linked: usize,
    /// By so many distinct filters.
    pub filters: usize,
    pub kept: Vec<(Arc<Outbox>, Grant)>,
}

/// The subscriptions of all sessions, as a tree of levels.
#[derive(Default)]
pub struct Subscriptions {
    root: RwLock<Node>,
    /// In bytes, with what is reserved.
    taken: Arc<AtomicUsize>,
}

/// Room for filters that are about to be subscribed to, until they are.
pub struct Reservation {
    taken: Arc<AtomicUsize>,
    bytes: usize,
}

#[derive(Default)]
struct Node {
    levels: HashMap<String, Node>,
    /// Subscribed to exactly this.
    here: Vec<Subscriber>,
    /// Subscribed to this and everything below.
    below: Vec<Subscriber>,
}

struct Subscriber {
    whose: Whose,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    id: Option<u32>,
}

impl Subscriptions {
    pub fn reserve(&self) -> Reservation {
        Reservation { taken: self.taken.clone(), bytes: 0 }
    }

    /// Whether there is room was asked of a reservation before, if need be.
    pub fn add(&self, whose: &Whose, held: &Held) {
        let Held { wanted: Subscription { filter, qos, no_local, retain_as_published, .. }, id, .. } = held;
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        let subscribers = root.subscribers(filter, &mut taken);
        if !take_out(subscribers, whose) {
            taken += subscriber_bytes(filter);
        }
        self.taken.fetch_add(taken, Ordering::Relaxed);
        subscribers.push(Subscriber {
            whose: whose.clone(),
            qos: *qos,
            no_local: *no_local,
            retain_as_published: *retain_as_published,
            id: *id,
        });
    }

    pub fn remove(&self, whose: &Whose, filter: &str) {
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        let mut freed = 0;
        if root.remove(whose, filter, &mut freed) {
            freed += subscriber_bytes(filter);
        }
        self.taken.fetch_sub(freed, Ordering::Relaxed);
    }

    /// Whom a message is for that `origin` publishes on `topic`.
    pub fn matching(&self, topic: &str, origin: SessionId) -> Matching {
        let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Found { origin, linked: Vec::new(), filters: 0, kept: Vec::new() };
        root.collect(topic, true, &mut found);
        let Found { mut linked, filters, mut kept, .. } = found;
        if linked.len() > 1 {
            linked.sort_unstable();
            linked.dedup();
        }
        kept.sort_by_key(|(outbox, _)| Arc::as_ptr(outbox));
        kept.dedup_by(|(next, grant), (first, best)| {
            let same = Arc::ptr_eq(next, first);
            if same {
                best.join(std::mem::take(grant));
            }
            same
        });
        Matching { linked: linked.len(), filters, kept }
    }
}

impl Reservation {
    /// Claims room for a filter of somebody who has asked for so many. False when there is none.
    pub fn claim(&mut self, filter: &str, asked_for: usize) -> bool {
        let levels = filter.split('/').map(level_bytes).sum::<usize>();
        let bytes = levels + subscriber_bytes(filter);
        let most = if asked_for <= A_FEW { MAX_BYTES } else { MAX_BYTES - RESERVE };
        let more = |taken| Some(taken + bytes).filter(|taken| *taken <= most);
        let room = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.bytes += if room { bytes } else { 0 };
        room
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Whose {
    fn is(&self, other: &Whose) -> bool {
        match (self, other) {
            (Whose::Linked(one), Whose::Linked(other)) => one == other,
            (Whose::Kept(one), Whose::Kept(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Grant {
    pub fn join(&mut self, other: Grant) {
        self.qos = self.qos.max(other.qos);
        self.retain_as_published |= other.retain_as_published;
        self.ids.extend(other.ids);
    }
}

impl Held {
    pub fn grant(&self) -> Grant {
        Grant {
            qos: self.wanted.qos,
            retain_as_published: self.wanted.retain_as_published,
            ids: self.id.into_iter().collect(),
        }
    }

    pub fn kept(&self) -> KeptSubscription {
        KeptSubscription { filter: self.wanted.filter.clone(), options: self.wanted.options(), id: self.id }
    }

    /// None when it is not one that could have been granted.
    pub fn restored(kept: KeptSubscription) -> Option<Held> {
        let wanted = Subscription::of(kept.filter, kept.options).ok()?;
        Some(Held { wanted, id: kept.id, since: 0 })
    }
}

/// Who is met on the way through the tree.
struct Found {
    origin: SessionId,
    linked: Vec<SessionId>,
    filters: usize,
    kept: Vec<(Arc<Outbox>, Grant)>,
}

impl Found {
    fn take(&mut self, subscribers: &[Subscriber]) {
        let linked = |subscriber: &Subscriber| matches!(subscriber.whose, Whose::Linked(_));
        self.filters += usize::from(subscribers.iter().any(linked));
        for subscriber in subscribers {
            let session = match &subscriber.whose {
                Whose::Linked(session) => Some(*session),
                Whose::Kept(outbox) => outbox.session(),
            };
            if subscriber.no_local && session == Some(self.origin) {
                continue;
            }
            match &subscriber.whose {
                Whose::Linked(session) => self.linked.push(*session),
                Whose::Kept(outbox) => {
                    let Subscriber { qos, retain_as_published, id, .. } = *subscriber;
                    let grant = Grant { qos, retain_as_published, ids: id.into_iter().collect() };
                    self.kept.push((outbox.clone(), grant));
                }
            }
        }
    }
}

impl Node {
    /// Counts the bytes of what has to be there for them.
    fn subscribers(&mut self, filter: &str, taken: &mut usize) -> &mut Vec<Subscriber> {
        let (level, rest) = split(filter);
        if level == "#" {
            return &mut self.below;
        }
        let node = self.levels.entry(level.to_owned()).or_insert_with(|| {
            *taken += level_bytes(level);
            Node::default()
        });
        match rest {
            Some(rest) => node.subscribers(rest, taken),
            None => &mut node.here,
        }
    }

    /// Takes a subscriber out, if it is there, and the branches that are empty then, whose bytes it counts.
    fn remove(&mut self, whose: &Whose, filter: &str, freed: &mut usize) -> bool {
        let (level, rest) = split(filter);
        if level == "#" {
            return take_out(&mut self.below, whose);
        }
        let Some(node) = self.levels.get_mut(level) else { return false };
        let removed = match rest {
            Some(rest) => node.remove(whose, rest, freed),
            None => take_out(&mut node.here, whose),
        };
        if node.levels.is_empty() && node.here.is_empty() && node.below.is_empty() {
            self.levels.remove(level);
            *freed += level_bytes(level);
        }
        removed
    }

    fn collect(&self, topic: &str, first: bool, found: &mut Found) {
        // Wildcards at the beginning do not match topics that begin with `$`.
        let hidden = first && topic.starts_with('$');
        if !hidden {
            found.take(&self.below);
        }
        let (level, rest) = split(topic);
        let plus = if hidden { None } else { self.levels.get("+") };
        for node in [self.levels.get(level), plus].into_iter().flatten() {
            match rest {
                Some(rest) => node.collect(rest, false, found),
                None => {
                    found.take(&node.here);
                    // `a/#` also means `a`.
                    found.take(&node.below);
                }
            }
        }
    }
}

/// Whether it was there.
fn take_out(subscribers: &mut Vec<Subscriber>, whose: &Whose) -> bool {
    let before = subscribers.len();
    subscribers.retain(|subscriber| !subscriber.whose.is(whose));
    subscribers.len() < before
}

fn level_bytes(level: &str) -> usize {
    level.len() + LEVEL_BYTES
}

fn subscriber_bytes(filter: &str) -> usize {
    filter.len() + SUBSCRIBER_BYTES
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
    (1..=MAX_TOPIC).contains(&path.len()) && levels(path) <= MAX_LEVELS
}

/// How many levels a topic or a filter has.
pub fn levels(path: &str) -> usize {
    1 + path.bytes().filter(|byte| *byte == b'/').count()
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
    use crate::broker::front::codec::RetainHandling;
    use proptest::prelude::*;

    fn held(filter: &str, no_local: bool) -> Held {
        let wanted = Subscription {
            filter: filter.to_owned(),
            qos: QoS::AtMostOnce,
            no_local,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        Held { wanted, id: None, since: 0 }
    }

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
        let [first, second] = [1, 2].map(|session| Whose::Linked(SessionId(session)));
        index.add(&first, &held("a/#", false));
        index.add(&first, &held("a/+", false));
        index.add(&second, &held("a/b", true));
        assert_eq!(index.matching("a/b", SessionId(9)).linked, 2);
        assert_eq!(index.matching("a/b", SessionId(2)).linked, 1);
        index.remove(&first, "a/#");
        assert_eq!(index.matching("a/b/c", SessionId(9)).linked, 0);
        index.remove(&first, "a/+");
        index.remove(&second, "a/b");
        assert!(index.root.read().expect("no writer panics").levels.is_empty());
    }

    #[test]
    fn who_asks_for_many_leaves_room_for_who_asks_for_few() {
        let index = Subscriptions::default();
        let deep = |n: usize| format!("{n}{}", "/x".repeat(MAX_LEVELS - 1));
        let (mut many, mut few) = (index.reserve(), index.reserve());
        let granted = (0..).take_while(|n| many.claim(&deep(*n), A_FEW + 1)).count();
        let of_few = (0..).take_while(|n| few.claim(&deep(*n), A_FEW)).count();
        assert_eq!((granted, of_few), (760, 254), "a filter of so many levels takes 66 KiB");
        drop(many);
        drop(few);
        assert_eq!(index.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_subscriptions_take_they_give_back() {
        let index = Subscriptions::default();
        let whose = [1, 2].map(|session| Whose::Linked(SessionId(session)));
        let filters = ["#", "a", "a/#", "a/b/c", "a/b", "a/b/c"];
        let mut taken = Vec::new();
        for whose in &whose {
            filters.iter().for_each(|filter| index.add(whose, &held(filter, false)));
            taken.push(index.taken.load(Ordering::Relaxed));
        }
        let subscribers = 5 * SUBSCRIBER_BYTES + "#aa/#a/b/ca/b".len();
        assert_eq!(taken, [3 * LEVEL_BYTES + 3 + subscribers, 3 * LEVEL_BYTES + 3 + 2 * subscribers]);
        for whose in &whose {
            filters.iter().for_each(|filter| index.remove(whose, filter));
        }
        assert_eq!(index.taken.load(Ordering::Relaxed), 0);
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_matching(filters in prop::collection::vec("[ab+]?(/[ab+]?){0,3}(/#)?|#", 1..6), topic in "[ab$]?(/[ab]?){0,3}") {
            prop_assume!(!topic.is_empty());
            let filters: Vec<String> = filters.into_iter().filter(|filter| is_filter(filter)).collect();
            let index = Subscriptions::default();
            for (n, filter) in filters.iter().enumerate() {
                index.add(&Whose::Linked(SessionId(n as i64 + 1)), &held(filter, false));
            }
            let expected = filters.iter().filter(|filter| matches(&topic, filter)).count();
            prop_assert_eq!(index.matching(&topic, SessionId(0)).linked, expected);
        }
    }
}
