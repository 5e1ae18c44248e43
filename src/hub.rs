//! Committed events, to whoever listens.
//!
//! A listener asks for what comes after the last event that it has seen. What the ring of recent events
//! no longer holds is read from the store, so that replay and live are one rule, and a listener that
//! falls behind loses nothing and never slows ingest.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{Stream, stream};
use tokio::sync::watch;

use crate::{
    error::Error,
    model::{Event, Seq},
    store::Store,
};

/// Recent events kept in memory: some seconds of a busy gateway.
const RING_EVENTS: usize = 8_192;
/// And what they may weigh, because a payload may be large and the machine small.
const RING_BYTES: usize = 16 * 1024 * 1024;
/// Events handed to a listener at a time.
const CHUNK: usize = 256;
/// And what they may weigh after the first: a listener that does not go on keeps them from being forgotten.
const CHUNK_BYTES: usize = 1024 * 1024;

#[derive(Clone)]
pub struct Hub(Arc<State>);

struct State {
    store: Store,
    ring: Mutex<Ring>,
    head: watch::Sender<Seq>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Hub {
    /// `head` is the last event that the store holds.
    pub fn new(store: Store, head: Seq) -> Hub {
        Hub(Arc::new(State { store, ring: Mutex::default(), head: watch::channel(head).0 }))
    }

    /// The last event that is told.
    pub fn head(&self) -> Seq {
        *self.0.head.borrow()
    }

    /// Tells events that are committed, in the order of the journal.
    pub fn tell(&self, events: &[Arc<Event>]) {
        let Some(last) = events.last() else { return };
        {
            let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                ring.bytes += weight(event);
                ring.events.push_back(event.clone());
            }
            while ring.events.len() > RING_EVENTS || ring.bytes > RING_BYTES {
                let Some(event) = ring.events.pop_front() else { break };
                ring.bytes -= weight(&event);
            }
        }
        self.0.head.send_replace(last.seq());
    }

    /// Everything after `after`, without hole or duplicate, for ever. An error says that the store could
    /// not be read; the stream ends with it.
    pub fn events(&self, after: Seq) -> impl Stream<Item = Result<Arc<Event>, Error>> + Send + use<> {
        let listener = Listener {
            state: self.0.clone(),
            head: self.0.head.subscribe(),
            last: after,
            chunk: VecDeque::new(),
        };
        stream::unfold(Some(listener), |listener| async move {
            let mut listener = listener?;
            match listener.next().await {
                Ok(event) => Some((Ok(event), Some(listener))),
                Err(why) => Some((Err(why), None)),
            }
        })
    }
}

struct Listener {
    state: Arc<State>,
    head: watch::Receiver<Seq>,
    /// The last event that was taken into `chunk`.
    last: Seq,
    chunk: VecDeque<Arc<Event>>,
}

impl Listener {
    async fn next(&mut self) -> Result<Arc<Event>, Error> {
        loop {
            if let Some(event) = self.chunk.pop_front() {
                return Ok(event);
            }
            let last = self.last;
            self.head
                .wait_for(|head| *head > last)
                .await
                .expect("the listener holds the state with the sender");
            self.chunk = match self.state.recent(last) {
                Some(events) => events,
                None => self.state.store.events(last, CHUNK).await?.into_iter().map(Arc::new).collect(),
            };
            if let Some(event) = self.chunk.back() {
                self.last = event.seq();
            }
        }
    }
}

impl State {
    /// What comes after `last`, unless the ring no longer holds all of it.
    fn recent(&self, last: Seq) -> Option<VecDeque<Arc<Event>>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.events.front()?.seq();
        if first > last.next() {
            return None;
        }
        // Seqs have no holes, so that the distance is the index.
        let skip = usize::try_from(last.0 + 1 - first.0).ok()?;
        let mut room = CHUNK_BYTES;
        let fits = |event: &&Arc<Event>| {
            let had = room;
            room = room.saturating_sub(weight(event));
            had > 0
        };
        Some(ring.events.iter().skip(skip).take(CHUNK).take_while(fits).cloned().collect())
    }
}

/// About what an event takes in memory.
fn weight(event: &Event) -> usize {
    let payload = match event {
        Event::Reading(reading) => reading.payload.len(),
        Event::Rejection(rejection) => rejection.payload.len() + rejection.topic.len(),
        Event::ServiceReading(reading) => reading.payload.len() + reading.topic.as_str().len(),
        Event::Command(record) => record.payload.len(),
        Event::Presence(_) | Event::Session(_) | Event::Service(_) => 0,
    };
    size_of::<Event>() + payload
}
