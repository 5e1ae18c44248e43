//! The broker: devices speak to the front, the router fans out to other MQTT clients.
//!
//! What comes in leaves through one queue, in the order in which each client said it, together with
//! the means to acknowledge it once it is history.

pub mod front;
pub mod router;
pub mod seldom;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use crate::{
    address::Place,
    catalog::{Kind, Topic},
    error::Error,
    model::{
        CommandRecord, Keep, Pair, Rejection, RejectionReason, Replay, Retained, Seq, ServiceName,
        SessionEnd, SessionId, Timestamp,
    },
};

pub use front::{Allowance, Broker, Message, codec::QoS};

/// A message from a client, on its way into history.
#[derive(Debug)]
pub struct Inbound {
    pub session: SessionId,
    pub client_id: Arc<str>,
    pub topic: String,
    /// Where the topic lies.
    pub place: Place,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    pub at: Timestamp,
    /// The client did not say it itself: its connection ended, and this is its will.
    pub will: bool,
    /// Why the front kept it from other clients, if it did.
    pub refused: Option<RejectionReason>,
    /// How many connected clients were subscribed to its topic.
    pub receivers: usize,
    /// The broker keeps it for those who subscribe later.
    pub kept: bool,
    /// What travels with it in MQTT 5, as that writes it, without the length.
    pub properties: Bytes,
    /// Worth nothing from then on.
    pub expires_at: Option<Timestamp>,
    /// What it changes of persistent sessions: written together with it.
    pub keeps: Vec<Keep>,
    pub ack: Option<Ack>,
    /// The room that it takes on its way, in KiB.
    pub room: u32,
}

/// What comes out of the broker, in order.
#[derive(Debug)]
pub enum Input {
    Publish(Inbound),
    Started(Started),
    Ended(Ended),
    /// Changes of persistent sessions that no message brings, and who waits for them to be on disk.
    Keep {
        keeps: Vec<Keep>,
        ack: Option<Ack>,
    },
    /// A command is to be accepted. The answer is its record with its place, or why not.
    Accept {
        accept: Box<Accept>,
        done: oneshot::Sender<Result<CommandRecord, Error>>,
    },
    /// A command's message goes out right behind this, to so many clients: what comes after it may answer it.
    Announced {
        ticket: Ticket,
        receivers: usize,
        at: Timestamp,
    },
    /// A subscriber acknowledged this command's message.
    Delivered {
        command: Seq,
    },
    /// The time of a command is over.
    Lapsed {
        ticket: Ticket,
        at: Timestamp,
    },
    /// A person says what kind a service is, or takes it back.
    Pin {
        service: ServiceName,
        pin: Option<Pin>,
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// A message that could not be understood when it came, and is looked at anew.
    Replay {
        rejection: Rejection,
        done: oneshot::Sender<Replay>,
    },
}

/// A command as its sender counts them: it has no place in the journal yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A command that is to be accepted.
#[derive(Debug)]
pub struct Accept {
    pub ticket: Ticket,
    pub record: CommandRecord,
    /// How it is answered, if it is.
    pub rule: Option<&'static Topic>,
    /// Even if its firmware's client is known to be gone.
    pub offline: bool,
}

/// That a service is of this kind.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    pub kind: &'static Kind,
    /// Even if what it said contradicts it.
    pub force: bool,
}

/// A client has connected.
#[derive(Debug)]
pub struct Started {
    pub session: SessionId,
    pub client_id: Arc<str>,
    pub address: String,
    pub at: Timestamp,
    pub will_topic: Option<String>,
}

/// A client has left.
#[derive(Debug)]
pub struct Ended {
    pub session: SessionId,
    pub client_id: Arc<str>,
    pub address: String,
    pub at: Timestamp,
    pub end: SessionEnd,
    /// Its will was published.
    pub will_published: bool,
    /// The session of the same client that took over.
    pub successor: Option<SessionId>,
}

/// The right to have a message acknowledged. Settled in the order of the client's messages.
#[derive(Debug)]
pub struct Ack {
    of: Arc<Settled>,
    /// Acknowledgements that wait for it, one after the other.
    times: u64,
}

impl Ack {
    /// The message is on disk: its client may be told.
    pub fn settle(self) {
        self.of.count.fetch_add(self.times, Ordering::Release);
        self.of.changed.notify_one();
    }

    /// One more waits for it.
    pub fn and_another(&mut self) {
        self.times += 1;
    }
}

/// How many messages of one client have become history since it last asked.
#[derive(Debug, Default)]
pub struct Settled {
    count: AtomicU64,
    changed: Notify,
}

impl Settled {
    pub fn ack(self: &Arc<Settled>) -> Ack {
        Ack { of: self.clone(), times: 1 }
    }

    /// Takes what was settled since the last call.
    pub fn take(&self) -> u64 {
        self.count.swap(0, Ordering::Acquire)
    }

    /// Waits until there is something to take.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Room for this many KiB of messages that wait for the disk. A slow disk is felt by the publishers
/// before it fills the memory of a small machine.
const ROOM_KIB: usize = 64 * 1024;
/// What needs no room may take as much before nobody new may connect: clients that come and go while
/// the disk refuses must not fill the memory either.
const CROWD_KIB: usize = ROOM_KIB;
/// What one change of a persistent session takes on its way, in bytes.
const EACH_KEEP: usize = 256;

/// The way into history. Messages need room. What the gateway itself and persistent sessions have to say always fits, because
/// connections and requests are bounded where they come in.
#[derive(Clone)]
pub struct Intake(Arc<IntakeState>);

struct IntakeState {
    queue: mpsc::UnboundedSender<Input>,
    room: Semaphore,
    /// Taken by sessions that begin and end, and by what clients leave behind, in KiB.
    crowd: AtomicUsize,
    /// There is room again.
    calm: Notify,
    failing: watch::Sender<bool>,
}

/// Room for one message, taken from the others.
#[must_use]
pub struct Room(u32);

/// The other end of the [`Intake`].
pub struct Inputs {
    queue: mpsc::UnboundedReceiver<Input>,
    state: Arc<IntakeState>,
}

/// The way in, and its end.
pub fn intake() -> (Intake, Inputs) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let state = Arc::new(IntakeState {
        queue: sender,
        room: Semaphore::new(ROOM_KIB),
        crowd: AtomicUsize::new(0),
        calm: Notify::new(),
        failing: watch::Sender::new(false),
    });
    (Intake(state.clone()), Inputs { queue: receiver, state })
}

impl Intake {
    /// Hands a message on, or gives it back while there is no room.
    #[allow(clippy::result_large_err, reason = "it is the message itself that comes back")]
    pub fn offer(&self, inbound: Inbound) -> Result<(), Inbound> {
        let room = cost(&inbound);
        match self.0.room.try_acquire_many(room) {
            Ok(permit) => {
                permit.forget();
                self.put(inbound, Room(room));
                Ok(())
            }
            Err(_) => Err(inbound),
        }
    }

    /// Waits for room for this message, which [`Intake::put`] then uses. Cancelling takes none.
    pub async fn room(&self, inbound: &Inbound) -> Room {
        let room = cost(inbound);
        // The semaphore is never closed.
        if let Ok(permit) = self.0.room.acquire_many(room).await {
            permit.forget();
        }
        Room(room)
    }

    /// Hands on the message that `room` was taken for.
    pub fn put(&self, mut inbound: Inbound, Room(room): Room) {
        inbound.room = room;
        self.send(Input::Publish(inbound));
    }

    /// Hands on what always fits. After the gateway has stopped there is nobody to take it.
    pub fn send(&self, input: Input) {
        self.0.crowd.fetch_add(crowd(&input), Ordering::Relaxed);
        let _ = self.0.queue.send(input);
    }

    /// Hands on what has to be written down of persistent sessions.
    pub fn keep(&self, keeps: Vec<Keep>) {
        if !keeps.is_empty() {
            self.send(Input::Keep { keeps, ack: None });
        }
    }

    /// Whether so much waits for the disk that nobody new may come in.
    pub fn crowded(&self) -> bool {
        self.0.crowd.load(Ordering::Relaxed) >= CROWD_KIB
    }

    /// Waits until that is not so.
    pub async fn calm(&self) {
        loop {
            let calm = self.0.calm.notified();
            if !self.crowded() {
                return;
            }
            calm.await;
        }
    }

    /// Accepts a command, and gives its record once that is history.
    pub async fn accept(&self, accept: Accept) -> Result<CommandRecord, Error> {
        if self.failing() {
            return Err(Error::Unavailable("the journal"));
        }
        let (done, accepted) = oneshot::channel();
        self.send(Input::Accept { accept: Box::new(accept), done });
        accepted.await.map_err(|_| Error::Unavailable("the journal"))?
    }

    /// Looks at a rejected message anew, and tells what became of it once that is history.
    pub async fn replay(&self, rejection: Rejection) -> Result<Replay, Error> {
        if self.failing() {
            return Err(Error::Unavailable("the journal"));
        }
        let (done, outcome) = oneshot::channel();
        self.send(Input::Replay { rejection, done });
        outcome.await.map_err(|_| Error::Unavailable("the journal"))
    }

    /// Pins a service, or forgets its pin, and returns once that is history.
    pub async fn pin(&self, service: ServiceName, pin: Option<Pin>) -> Result<(), Error> {
        if self.failing() {
            return Err(Error::Unavailable("the journal"));
        }
        let (done, written) = oneshot::channel();
        self.send(Input::Pin { service, pin, done });
        written.await.map_err(|_| Error::Unavailable("the journal"))?
    }

    /// Whether the journal cannot write at the moment.
    pub fn failing(&self) -> bool {
        *self.0.failing.borrow()
    }

    /// Waits until the journal cannot write.
    pub async fn until_failing(&self) {
        // The sender lives as long as this does.
        let _ = self.0.failing.subscribe().wait_for(|failing| *failing).await;
    }
}

impl Inputs {
    /// Waits for inputs and takes what is there, up to `limit`. False when there will be none any more.
    pub async fn take(&mut self, inputs: &mut Vec<Input>, limit: usize) -> bool {
        self.queue.recv_many(inputs, limit).await > 0
    }

    /// Gives the room of these inputs to others.
    pub fn release(&self, inputs: &[Input]) {
        let room: usize = inputs
            .iter()
            .map(|input| match input {
                Input::Publish(inbound) => inbound.room as usize,
                Input::Started(_)
                | Input::Ended(_)
                | Input::Keep { .. }
                | Input::Accept { .. }
                | Input::Announced { .. }
                | Input::Delivered { .. }
                | Input::Lapsed { .. }
                | Input::Replay { .. }
                | Input::Pin { .. } => 0,
            })
            .sum();
        self.state.room.add_permits(room);
        let taken = inputs.iter().map(crowd).sum();
        let before = self.state.crowd.fetch_sub(taken, Ordering::Relaxed);
        if before >= CROWD_KIB && before - taken < CROWD_KIB {
            self.state.calm.notify_waiters();
        }
    }

    /// Says whether the journal can write, so that the front knows what to wait for.
    pub fn set_failing(&self, failing: bool) {
        self.state.failing.send_if_modified(|was| std::mem::replace(was, failing) != failing);
    }

    /// Nothing more is taken: whoever still offers is not waited for.
    pub fn close(&mut self) {
        self.queue.close();
    }
}

/// What an input takes without having been given room, in KiB.
fn crowd(input: &Input) -> usize {
    match input {
        Input::Publish(inbound) if inbound.room == 0 => cost(inbound) as usize,
        Input::Started(_) | Input::Ended(_) => 1,
        Input::Keep { keeps, .. } => keeps_bytes(keeps).div_ceil(1024),
        Input::Publish(_)
        | Input::Accept { .. }
        | Input::Announced { .. }
        | Input::Delivered { .. }
        | Input::Lapsed { .. }
        | Input::Replay { .. }
        | Input::Pin { .. } => 0,
    }
}

/// In KiB, rounded up. All the room that there is lets anything through.
fn cost(inbound: &Inbound) -> u32 {
    let bytes = inbound.payload.len() + keeps_bytes(&inbound.keeps);
    (1 + bytes / 1024).min(ROOM_KIB) as u32
}

/// What changes of persistent sessions take on their way, without the payloads that they share with their messages.
fn keeps_bytes(keeps: &[Keep]) -> usize {
    keeps.len() * EACH_KEEP
}

impl Inbound {
    /// A message that came at `at`, of nobody and to nobody yet.
    pub fn new(topic: String, payload: Bytes, at: Timestamp, pair: &Pair) -> Inbound {
        Inbound {
            session: SessionId(0),
            client_id: "".into(),
            place: Place::of(&topic, pair),
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            at,
            will: false,
            refused: None,
            receivers: 0,
            kept: false,
            properties: Bytes::new(),
            expires_at: None,
            keeps: Vec::new(),
            ack: None,
            room: 0,
        }
    }

    /// Whether nobody waits for it to be history: it is lost when the journal cannot write.
    pub fn may_go_unrecorded(&self) -> bool {
        self.ack.is_none() && !self.kept && self.keeps.is_empty()
    }

    /// It as a message that is kept.
    pub fn retained(&self) -> Retained {
        Retained {
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            qos: self.qos.as_u8(),
            at: self.at,
            properties: self.properties.clone(),
            expires_at: self.expires_at,
        }
    }
}

/// What to do about an address that cannot be listened on.
pub fn cannot_listen(flag: &str, address: SocketAddr, why: &io::Error) -> Error {
    Error::Setup(match why.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is taken by another program: stop it, or choose another address with {flag} (port 0 picks a free one)"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{address} may not be listened on by this user: choose a port above 1023 with {flag}")
        }
        _ => format!("cannot listen on {address}: {why}; choose another address with {flag}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeptChange, KeptId};

    #[test]
    fn whoever_waits_alone_finds_room() {
        let (intake, inputs) = intake();
        let mut inbound = Inbound::new("a".to_owned(), Bytes::new(), Timestamp::now(), &Pair::default());
        let keep = Keep { session: KeptId(1), change: KeptChange::Released { packet_id: 1 } };
        inbound.keeps = vec![keep; ROOM_KIB * 1024 / EACH_KEEP];
        assert!(intake.offer(inbound).is_ok());
        drop(inputs);
    }
}
