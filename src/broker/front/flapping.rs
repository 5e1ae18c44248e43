//! Clients that break off too often, and are kept out for a while so that they do not fill the journal.
//!
//! A pure table: time is an argument.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::model::{RefusedClient, SessionEnd, Timestamp};

/// Ends are counted for so long, and as long a client is refused then.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Client ids that are counted: who invents them must not fill the memory.
const MAX_COUNTED: usize = 4_096;

/// Who broke off lately.
pub struct Flapping {
    /// So often within the window is too often. None is never.
    limit: Option<usize>,
    clients: HashMap<Arc<str>, Record>,
}

#[derive(Default)]
struct Record {
    /// The latest ones, the oldest first.
    ends: VecDeque<Instant>,
    refused: Option<Refused>,
}

struct Refused {
    until: Instant,
    told: RefusedClient,
}

impl Flapping {
    pub fn new(limit: Option<usize>) -> Flapping {
        Flapping { limit, clients: HashMap::new() }
    }

    /// A session has ended. True when that was once too often: its client is refused from now on.
    pub fn ended(
        &mut self,
        client_id: &Arc<str>,
        peer: SocketAddr,
        end: SessionEnd,
        at: Timestamp,
        now: Instant,
    ) -> bool {
        let Some(limit) = self.limit.filter(|_| breaks_off(end)) else { return false };
        if !self.clients.contains_key(client_id) && !self.has_room(now) {
            return false;
        }
        let Record { ends, refused } = self.clients.entry(client_id.clone()).or_default();
        if refused.is_some() {
            return false;
        }
        ends.push_back(now);
        while ends.front().is_some_and(|first| *first + WINDOW <= now) {
            ends.pop_front();
        }
        if ends.len() < limit {
            return false;
        }
        ends.clear();
        let told = RefusedClient {
            client_id: client_id.to_string(),
            address: peer.to_string(),
            since: at,
            until: Timestamp(at.0 + WINDOW.as_micros() as i64),
            attempts: 0,
        };
        *refused = Some(Refused { until: now + WINDOW, told });
        true
    }

    /// How long a client that comes now is refused still, if it is.
    pub fn refuses(&mut self, client_id: &str, peer: SocketAddr, now: Instant) -> Option<Duration> {
        let refused = self.clients.get_mut(client_id)?.refused.as_mut().filter(|it| now < it.until)?;
        refused.told.attempts = refused.told.attempts.saturating_add(1);
        refused.told.address = peer.to_string();
        Some(refused.until - now)
    }

    /// The time of a client is over; tells how often it was refused.
    pub fn forgive(&mut self, client_id: &str) -> u32 {
        let refused = self.clients.remove(client_id).and_then(|record| record.refused);
        refused.map_or(0, |refused| refused.told.attempts)
    }

    /// Whether a client that leaves is refused.
    pub fn is_refused(&self, client_id: &str) -> bool {
        self.clients.get(client_id).is_some_and(|record| record.refused.is_some())
    }

    /// Who is refused, the latest first.
    pub fn list(&self) -> Vec<RefusedClient> {
        let refused = self.clients.values().filter_map(|record| record.refused.as_ref());
        let mut list: Vec<RefusedClient> = refused.map(|refused| refused.told.clone()).collect();
        list.sort_by(|a, b| (b.since, &a.client_id).cmp(&(a.since, &b.client_id)));
        list
    }

    /// Makes room for one more: who has not broken off for the longest time is forgotten, but nobody who is refused.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.clients.len() < MAX_COUNTED {
            return true;
        }
        let counts = |record: &Record| record.ends.back().is_some_and(|last| now < *last + WINDOW);
        self.clients.retain(|_, record| record.refused.is_some() || counts(record));
        if self.clients.len() < MAX_COUNTED {
            return true;
        }
        let counted = self.clients.iter().filter(|(_, record)| record.refused.is_none());
        let stalest = counted.min_by_key(|(_, record)| record.ends.back()).map(|(id, _)| id.clone());
        stalest.is_some_and(|client_id| self.clients.remove(&client_id).is_some())
    }
}

/// Whether a session ended as none should, be it the client's fault or its network's.
fn breaks_off(end: SessionEnd) -> bool {
    match end {
        SessionEnd::Closed
        | SessionEnd::SocketError
        | SessionEnd::Keepalive
        | SessionEnd::Takeover
        | SessionEnd::Refused => true,
        SessionEnd::Disconnect | SessionEnd::DisconnectWithWill | SessionEnd::Shutdown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Story {
        table: Flapping,
        now: Instant,
    }

    impl Story {
        fn new(limit: Option<usize>) -> Story {
            Story { table: Flapping::new(limit), now: Instant::now() }
        }

        fn ends(&mut self, id: &str, end: SessionEnd) -> bool {
            self.table.ended(&id.into(), peer(), end, Timestamp(0), self.now)
        }

        fn refuses(&mut self, id: &str) -> bool {
            self.table.refuses(id, peer(), self.now).is_some()
        }
    }

    fn peer() -> SocketAddr {
        ([10, 0, 0, 7], 4711).into()
    }

    #[test]
    fn so_often_within_a_minute_is_refused_for_a_minute() {
        let mut story = Story::new(Some(3));
        let mut begun = Vec::new();
        // The third within a minute is the fourth.
        for wait in [0, 10, 50, 1] {
            story.now += wait * SECOND;
            begun.push(story.ends("a", SessionEnd::Closed));
        }
        assert_eq!(begun, [false, false, false, true]);
        assert!(story.refuses("a") && !story.refuses("b"));
        assert!(!story.ends("a", SessionEnd::Closed), "it begins once");
        story.now += 59 * SECOND;
        assert!(story.refuses("a"));
        story.now += SECOND;
        assert!(!story.refuses("a"));
        assert_eq!(story.table.forgive("a"), 2);
        assert!(!story.ends("a", SessionEnd::Closed), "it is counted anew");
    }

    #[test]
    fn only_what_breaks_off_counts() {
        use SessionEnd as E;
        for (end, counts) in [
            (E::Closed, true),
            (E::SocketError, true),
            (E::Keepalive, true),
            (E::Takeover, true),
            (E::Refused, true),
            (E::Disconnect, false),
            (E::DisconnectWithWill, false),
            (E::Shutdown, false),
        ] {
            assert_eq!(Story::new(Some(1)).ends("a", end), counts, "{end:?}");
        }
    }

    #[test]
    fn nobody_is_refused_when_it_is_off() {
        let mut story = Story::new(None);
        assert!((0..1_000).all(|_| !story.ends("a", SessionEnd::Closed)));
        assert!(story.table.clients.is_empty());
    }

    #[test]
    fn who_is_refused_is_listed_until_forgiven() {
        let mut story = Story::new(Some(1));
        story.ends("a", SessionEnd::Closed);
        story.refuses("a");
        let [told] = &story.table.list()[..] else { panic!("one is refused") };
        assert_eq!(
            (told.client_id.as_str(), told.address.as_str(), told.attempts),
            ("a", "10.0.0.7:4711", 1)
        );
        assert_eq!(told.until.millis_since(told.since), 60_000);
        assert!(story.table.is_refused("a"));
        story.table.forgive("a");
        assert!(story.table.list().is_empty() && !story.table.is_refused("a"));
    }

    #[test]
    fn ids_that_are_invented_do_not_fill_the_memory() {
        let mut story = Story::new(Some(2));
        for _ in 0..2 {
            story.ends("refused", SessionEnd::Closed);
        }
        for n in 0..2 * MAX_COUNTED {
            story.now += SECOND / 1_000;
            story.ends(&n.to_string(), SessionEnd::Closed);
        }
        assert_eq!(story.table.clients.len(), MAX_COUNTED);
        assert!(story.refuses("refused"));
        assert!(
            story.ends(&(2 * MAX_COUNTED - 1).to_string(), SessionEnd::Closed),
            "the last ones are known"
        );
        assert!(!story.ends("0", SessionEnd::Closed), "the first ones are forgotten");
        story.now += WINDOW;
        story.ends("later", SessionEnd::Closed);
        assert!(story.table.clients.len() <= 3, "what is over is forgotten with the first one more");
    }

    proptest! {
        #[test]
        fn it_is_the_sliding_window_that_counts(
            limit in 1_usize..6,
            ends in prop::collection::vec((0_u8..3, 0_u32..30), 0..200),
        ) {
            let mut story = Story::new(Some(limit));
            let mut seen: [Vec<Instant>; 3] = Default::default();
            let mut until = [story.now; 3];
            for (client, seconds) in ends {
                story.now += seconds * SECOND;
                let (now, id) = (story.now, client.to_string());
                let (seen, until) = (&mut seen[usize::from(client)], &mut until[usize::from(client)]);
                if story.refuses(&id) {
                    prop_assert!(now < *until);
                    continue;
                }
                prop_assert!(now >= *until);
                if story.table.is_refused(&id) {
                    story.table.forgive(&id);
                }
                seen.push(now);
                let within = seen.iter().filter(|end| now < **end + WINDOW).count();
                let begins = story.ends(&id, SessionEnd::Closed);
                prop_assert_eq!(begins, within >= limit);
                if begins {
                    seen.clear();
                    *until = now + WINDOW;
                }
            }
        }
    }
}
