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
    link::{Inlet, Outlet, wanted},
};
use crate::broker::front::MAX_CONNECTIONS;

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

/// Asks for a link of this name.
type Request = (u32, oneshot::Sender<(Inlet, Outlet)>);

pub struct Running {
    pub inlet: Inlet,
    links: mpsc::Sender<Request>,
    /// Names of links that have left. The router never forgets a name, so names are used again.
    free_names: Vec<u32>,
    names: u32,
    /// Links that have not been able to say farewell yet.
    leaving: Vec<(Inlet, u32)>,
    topics: HashSet<u64>,
    topic_bytes: usize,
    /// Every filter that somebody ever had, and how many links have it.
    filters: HashMap<u64, u32>,
    live_filters: usize,
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
            links,
            free_names: Vec::new(),
            names: 0,
            leaving: Vec::new(),
            topics: HashSet::new(),
            topic_bytes: 0,
            filters: HashMap::new(),
            live_filters: 0,
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

    pub fn took_topic(&mut self, hash: u64, bytes: usize) {
        if self.topics.insert(hash) {
            self.topic_bytes += bytes;
        }
    }

    /// Whether a filter may be subscribed to that perhaps nobody has yet, and so much room is free after that.
    pub fn has_room_for_filter(&self, hash: u64, kept_free: usize, limits: &Limits) -> bool {
        let room = self.live_filters + kept_free < limits.live_filters + limits.reserve;
        match self.filters.get(&hash) {
            Some(links) => *links > 0 || room,
            None => room && self.filters.len() + kept_free < limits.filters + limits.reserve,
        }
    }

    pub fn took_filter(&mut self, hash: u64) {
        let links = self.filters.entry(hash).or_default();
        self.live_filters += usize::from(*links == 0);
        *links += 1;
    }

    pub fn let_go_filter(&mut self, hash: u64) {
        if let Some(links) = self.filters.get_mut(&hash) {
            *links = links.saturating_sub(1);
            self.live_filters -= usize::from(*links == 0);
        }
    }

    pub fn has_too_many_topics(&self, limits: &Limits) -> bool {
        self.topics.len() >= limits.topics || self.topic_bytes >= limits.topic_bytes
    }

    pub fn has_too_many_filters(&self, limits: &Limits) -> bool {
        self.filters.len() >= limits.filters
    }

    /// Puts a probe behind all that went in. The router brings it back to the outlet.
    pub fn probe(&mut self, number: u64) {
        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
        self.inlet
            .put(Packet::Publish(Publish::new(Bytes::from_static(PROBES.as_bytes()), payload, false), None));
        self.inlet.ring();
    }

    /// Brings no probe back any more.
    pub fn deafen(&mut self) {
        let filters = vec![PROBES.to_owned()];
        self.inlet.put(Packet::Unsubscribe(Unsubscribe { pkid: 1, filters }, None));
        self.inlet.ring();
    }

    /// What a defect would do: a topic that begins outside ASCII makes the router's thread panic. It knows no other end.
    pub fn kill(&mut self, topic: &'static str) {
        let publish = Publish::new(Bytes::from_static(topic.as_bytes()), Bytes::from_static(b"x"), false);
        self.inlet.put(Packet::Publish(publish, None));
        self.inlet.ring();
    }
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
        if let Some(link) = connect(&format!("c{name}"))
            && let Err((mut inlet, _)) = reply.send(link)
        {
            // Whoever asked has given up.
            inlet.leave();
        }
    }
}
