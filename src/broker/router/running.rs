//! A router that runs: the ways into it, and what it has taken in and never forgets.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use bytes::Bytes;
use rumqttd::{
    RouterConfig,
    local::LinkBuilder,
    protocol::{Packet, Publish, Subscribe, Unsubscribe},
};
use tokio::sync::oneshot;

use super::{
    Limits,
    feed::{Feed, Portion},
    link::{Inlet, Outlet, wanted},
};
use crate::broker::front::{MAX_CONNECTIONS, levels};

/// Links that the router can hold: twice the connections of the front, so that those that leave and
/// those that come never meet the limit.
const MAX_LINKS: usize = 2 * MAX_CONNECTIONS;
/// Each filter has a log of its own; 16 MiB of messages wait in it for a link that is behind.
const SEGMENT_BYTES: usize = 1024 * 1024;
const SEGMENTS: usize = 16;
/// Messages that the router hands to a link at a time.
const OUTGOING_PACKETS: u64 = 200;
/// Threads that ask the router for links: it answers when it has a moment, and whoever asks is blocked so long.
const LINKERS: usize = 4;
/// What probes go by. No client's filter matches it.
const PROBES: &str = "probe";
/// So many levels of a filter are a unit of what it costs: whatever is compared with it walks them.
const LEVELS: usize = 8;
/// What a message takes in the router beside its bytes, and each place where it stands.
const MESSAGE_BYTES: usize = 128;
const ENTRY_BYTES: usize = 256;

/// Asks for a link of this name.
type Request = (u32, oneshot::Sender<(Inlet, Outlet)>);

pub struct Running {
    inlet: Inlet,
    feed: Feed,
    links: mpsc::Sender<Request>,
    /// Names of links that have left. The router never forgets a name, so names are used again.
    free_names: Vec<u32>,
    names: u32,
    /// Links that have not been able to say farewell yet.
    leaving: Vec<(Inlet, u32)>,
    topics: HashSet<u64>,
    topic_bytes: usize,
    /// Every filter that somebody ever had.
    filters: HashMap<u64, Filter>,
    /// Those that somebody has, and what they cost; what all of them cost.
    live_filters: usize,
    live_units: usize,
    units: usize,
    /// What those cost that links are about to bring from the router before.
    expected: usize,
    /// Bytes of messages that it may still keep.
    logged: usize,
}

/// A filter that the router knows.
struct Filter {
    links: u32,
    units: usize,
}

impl Running {
    /// A router with nobody linked to it, and what it says to its own inlet. It blocks until the router has answered.
    pub fn start() -> Option<(Running, Outlet)> {
        let config = RouterConfig {
            max_connections: MAX_LINKS,
            max_outgoing_packet_count: OUTGOING_PACKETS,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        };
        // The type of the router's sender cannot be named outside rumqttd, so a closure holds it.
        let sender = rumqttd::Router::new(0, config).spawn();
        let connect = move |name: &str| {
            let (tx, rx, _) = LinkBuilder::new(name, sender.clone()).build().ok()?;
            Some((Inlet::new(tx), Outlet::new(rx)))
        };
        let (mut inlet, outlet) = connect("inlet")?;
        let filters = vec![wanted(PROBES.to_owned())];
        inlet.put(Packet::Subscribe(Subscribe { pkid: 1, filters }, None));
        let (links, requests) = mpsc::channel();
        let requests = Arc::new(Mutex::new(requests));
        for _ in 0..LINKERS {
            let (connect, requests) = (connect.clone(), requests.clone());
            let linker = thread::Builder::new().name("router-links".to_owned());
            linker.spawn(move || serve(&requests, connect)).ok()?;
        }
        let running = Running {
            inlet,
            feed: Feed::default(),
            links,
            free_names: Vec::new(),
            names: 0,
            leaving: Vec::new(),
            topics: HashSet::new(),
            topic_bytes: 0,
            filters: HashMap::new(),
            live_filters: 0,
            live_units: 0,
            units: 0,
            expected: 0,
            logged: 0,
        };
        Some((running, outlet))
    }

    /// Asks for a link. Its name is told, and it comes when the router has answered.
    pub fn ask_for_link(&mut self) -> (u32, oneshot::Receiver<(Inlet, Outlet)>) {
        let name = self.free_names.pop().unwrap_or_else(|| {
            self.names += 1;
            self.names
        });
        let (reply, link) = oneshot::channel();
        // There are linkers for as long as this is there.
        let _ = self.links.send((name, reply));
        (name, link)
    }

    /// A link wants to go. False when that has to be seen to again.
    pub fn leave(&mut self, mut inlet: Inlet, name: u32) -> bool {
        let left = inlet.leave();
        if left {
            self.free_names.push(name);
        } else {
            self.leaving.push((inlet, name));
        }
        left
    }

    /// Sees to what the router had no ear for. True when there is nothing left.
    pub fn settle(&mut self) -> bool {
        for (inlet, name) in std::mem::take(&mut self.leaving) {
            self.leave(inlet, name);
        }
        self.inlet.ring() && self.leaving.is_empty()
    }

    /// A message is to go in, on a topic with this hash, and stands in the logs of so many filters that somebody has.
    pub fn put(&mut self, publish: Publish, topic: u64, filters: usize, fleeting: bool) {
        let new = self.topics.insert(topic);
        self.topic_bytes += if new { publish.topic.len() } else { 0 };
        // It keeps a log for those that nobody has any more, too.
        let logs = filters + self.filters.len() - self.live_filters;
        self.logged += publish.topic.len() + publish.payload.len() + MESSAGE_BYTES + logs * ENTRY_BYTES;
        self.feed.push(Portion { publish, filters, new, fleeting });
    }

    /// It compares a new topic with so many levels: of every filter that it has had, or will have soon.
    fn levels(&self) -> usize {
        self.units.max(self.expected) * LEVELS
    }

    /// Takes the place of another, whose links will come: until then no more goes in than can go in with all their filters, each
    /// of which is compared with what is there already.
    pub fn succeeds(&mut self, old: &Running) {
        self.expected = old.live_units.max(old.expected);
    }

    /// Whoever was to come has, or comes late.
    pub fn has_moved(&mut self) {
        self.expected = 0;
    }

    /// Gives it what waits, unless it still works on what it was given before. False when it has no ear for that.
    pub fn feed(&mut self) -> bool {
        if let Some((publishes, number)) = self.feed.next(self.levels()) {
            publishes.into_iter().for_each(|publish| self.inlet.put(Packet::Publish(publish, None)));
            self.put_probe(number);
        }
        self.inlet.ring()
    }

    /// Asks whether it is there. What it is asked already, and has not answered, is told.
    pub fn probe(&mut self) -> Option<u64> {
        let under_way = self.feed.under_way();
        if let Some(number) = self.feed.nothing() {
            self.put_probe(number);
        }
        self.inlet.ring();
        under_way
    }

    /// The router brings a probe back behind all that went in before it.
    fn put_probe(&mut self, number: u64) {
        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
        self.inlet
            .put(Packet::Publish(Publish::new(Bytes::from_static(PROBES.as_bytes()), payload, false), None));
    }

    /// A probe has come back. False when it is not the one that was asked for.
    pub fn answered(&mut self, number: u64) -> bool {
        self.feed.answered(number)
    }

    /// Whether it has worked off all that was to go in.
    pub fn is_idle(&self) -> bool {
        self.feed.is_idle()
    }

    /// Fleeting messages that are lost with it.
    pub fn lost(&mut self) -> u64 {
        self.feed.lost()
    }

    /// Whether publishers should wait.
    pub fn is_crowded(&self, limits: &Limits) -> bool {
        self.feed.is_full(self.levels()) || self.logged >= 2 * limits.logged_bytes
    }

    /// Whether a filter may be subscribed to that perhaps nobody has yet, and so much room is free after that.
    pub fn has_room_for_filter(&self, hash: u64, filter: &str, kept_free: usize, limits: &Limits) -> bool {
        let wanted = kept_free + units(filter);
        let room = self.live_units + wanted <= limits.live_filters + limits.reserve;
        match self.filters.get(&hash) {
            Some(filter) => filter.links > 0 || room,
            None => room && self.units + wanted <= limits.filters + limits.reserve,
        }
    }

    pub fn took_filter(&mut self, hash: u64, filter: &str) {
        let filter = self.filters.entry(hash).or_insert_with(|| {
            let units = units(filter);
            self.units += units;
            Filter { links: 0, units }
        });
        if filter.links == 0 {
            self.live_filters += 1;
            self.live_units += filter.units;
        }
        filter.links += 1;
    }

    pub fn let_go_filter(&mut self, hash: u64) {
        if let Some(filter) = self.filters.get_mut(&hash).filter(|filter| filter.links > 0) {
            filter.links -= 1;
            if filter.links == 0 {
                self.live_filters -= 1;
                self.live_units -= filter.units;
            }
        }
    }

    /// How many it has had.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }

    pub fn has_too_many_topics(&self, limits: &Limits) -> bool {
        self.topics.len() >= limits.topics || self.topic_bytes >= limits.topic_bytes
    }

    pub fn has_too_many_filters(&self, limits: &Limits) -> bool {
        self.units >= limits.filters
    }

    pub fn has_too_many_bytes(&self, limits: &Limits, idle: bool) -> bool {
        self.logged >= if idle { limits.idle_bytes } else { limits.logged_bytes }
    }

    /// Brings no probe back any more.
    pub fn deafen(&mut self) {
        let filters = vec![PROBES.to_owned()];
        self.inlet.put(Packet::Unsubscribe(Unsubscribe { pkid: 1, filters }, None));
        self.inlet.ring();
    }

    /// What a defect would do: a topic that begins outside ASCII makes the router's thread panic. It knows no other end.
    /// False when it has no ear for that, and is to be rung again.
    pub fn kill(&mut self, topic: &'static str) -> bool {
        let publish = Publish::new(Bytes::from_static(topic.as_bytes()), Bytes::from_static(b"x"), false);
        self.inlet.put(Packet::Publish(publish, None));
        self.inlet.ring()
    }

    pub fn ring(&mut self) -> bool {
        self.inlet.ring()
    }
}

/// What a filter costs.
fn units(filter: &str) -> usize {
    levels(filter).div_ceil(LEVELS)
}

/// The number of a probe that has come back.
pub fn probed(publish: &Publish) -> Option<u64> {
    let number = publish.payload.as_ref().try_into().ok().map(u64::from_be_bytes);
    number.filter(|_| publish.topic == PROBES)
}

/// Makes links until nobody can ask for one any more.
fn serve(requests: &Mutex<mpsc::Receiver<Request>>, connect: impl Fn(&str) -> Option<(Inlet, Outlet)>) {
    loop {
        let request = requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((name, reply)) = request else { return };
        if reply.is_closed() {
            // Nobody waits for it any more: the router was replaced, and may not even answer.
            continue;
        }
        if let Some(link) = connect(&format!("c{name}"))
            && let Err((mut inlet, _)) = reply.send(link)
        {
            // Whoever asked has given up.
            inlet.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_router_takes_in_as_if_it_had_all_filters_of_the_old_one() {
        let [mut old, mut new, mut newer] = [(); 3].map(|()| Running::start().expect("it starts").0);
        old.took_filter(1, &"+/".repeat(10 * LEVELS));
        old.took_filter(2, "a");
        old.let_go_filter(2);
        new.succeeds(&old);
        new.took_filter(2, "a");
        newer.succeeds(&new);
        assert_eq!([&old, &new, &newer].map(Running::levels), [12 * LEVELS, 11 * LEVELS, 11 * LEVELS]);
        new.has_moved();
        assert_eq!(new.levels(), LEVELS);
    }
}
