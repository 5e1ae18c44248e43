//! The one way in for a command.
//!
//! The record is in the command log before the message goes out; then each change of its state is
//! appended. A caller that goes away leaves the command to run its course.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Duration, Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    address::{Address, PLAY},
    broker::{Broker, Intake, Message},
    devices::Devices,
    error::Error,
    model::{Action, CommandRecord, CommandState, Delivery, Event, Seq, Surface, Target, Timestamp},
    store::Store,
};

/// Commands that run their course at a time.
const MAX_OPEN: usize = 1_024;
/// A command that could not be written for so long is not published any more.
const LIFE: Duration = Duration::from_secs(5);
/// A caller waits so long for a subscriber's acknowledgement.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);
/// The acknowledgement still counts so long after the message went out.
const ACKNOWLEDGED_AT_ALL: Duration = Duration::from_secs(30);
/// Between attempts to write while the journal refuses.
const RETRY: Duration = Duration::from_millis(500);
/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

/// Takes commands. A cheap handle.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    store: Store,
    devices: Devices,
    orders: mpsc::Sender<Order>,
    acknowledgements: Acknowledgements,
    /// Idempotency keys of commands that are not written yet.
    keys: Keys,
}

type Keys = Arc<Reservations>;

/// Idempotency keys, each reserved for one command at a time.
#[derive(Default)]
struct Reservations {
    keys: Mutex<HashSet<String>>,
    freed: Notify,
}

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub struct Origin {
    pub surface: Surface,
    pub address: Option<String>,
    pub idempotency_key: Option<String>,
}

/// How far a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the message is out.
    Out,
    /// Until the command log says that it is out.
    Recorded,
    /// Until a subscriber has acknowledged it, but no longer than a second.
    Acknowledged,
}

/// Commands whose message is out, by id: told when a subscriber acknowledges.
#[derive(Clone, Default)]
struct Acknowledgements(Arc<Mutex<HashMap<Seq, oneshot::Sender<()>>>>);

/// A command on its way, and where its course is told.
struct Order {
    record: CommandRecord,
    /// Until the record is written, whether the caller still waits or not.
    reserved: Option<Reserved>,
    accepted: Instant,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Debug, Default)]
enum Progress {
    #[default]
    Waiting,
    Out(CommandRecord),
    /// Out, as the command log has it.
    Recorded(CommandRecord),
    /// In a final state, which nobody has acknowledged yet.
    Final(CommandRecord),
    Done(CommandRecord),
}

/// What the desk needs to see its orders through.
pub struct Clerk {
    orders: mpsc::Receiver<Order>,
    acknowledgements: Acknowledgements,
    broker: Broker,
    intake: Intake,
}

/// The desk, and the clerk who must [`Clerk::run`] behind it.
pub fn open(store: Store, devices: Devices, broker: Broker, intake: Intake) -> (Desk, Clerk) {
    let (sender, orders) = mpsc::channel(MAX_OPEN);
    let acknowledgements = Acknowledgements::default();
    let clerk = Clerk { orders, acknowledgements: acknowledgements.clone(), broker, intake };
    let desk = Inner { store, devices, orders: sender, acknowledgements, keys: Keys::default() };
    (Desk(Arc::new(desk)), clerk)
}

impl Desk {
    /// Sends a command to a device, and returns its record as far as the caller waits.
    pub async fn send(
        &self,
        device: &str,
        action: Action,
        origin: Origin,
        wait: Wait,
    ) -> Result<CommandRecord, Error> {
        if !self.0.devices.knows(device) {
            return Err(Error::NotFound { what: "device", name: device.to_owned() });
        }
        let reserved = match &origin.idempotency_key {
            Some(key) => {
                let reserved = self.reserve(key).await?;
                if let Some(before) = self.0.store.command_by_key(key).await? {
                    return repeated(before, device, action, key);
                }
                Some(reserved)
            }
            None => None,
        };
        let at = Timestamp::now();
        let record = CommandRecord {
            id: Seq::ZERO,
            seq: Seq::ZERO,
            accepted_at: at,
            at,
            target: Target::Device { device: device.to_owned(), action },
            topic: Address::Play { device: device.to_owned() }.to_string(),
            payload: action.payload().to_owned(),
            state: CommandState::Accepted,
            delivery: None,
            surface: origin.surface,
            client_id: None,
            address: origin.address,
            idempotency_key: origin.idempotency_key,
        };
        let (progress, told) = watch::channel(Progress::Waiting);
        let order = Order { record, reserved, accepted: Instant::now(), progress };
        self.0.orders.try_send(order).map_err(|_| Error::Unavailable("the desk"))?;
        follow(told, wait).await
    }

    /// A subscriber has acknowledged the message of a command.
    pub fn acknowledged(&self, command: Seq) {
        self.0.acknowledgements.tell(command);
    }

    /// Waits while another command with this key is on its way into the command log.
    async fn reserve(&self, key: &str) -> Result<Reserved, Error> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(Error::Invalid(format!("an idempotency key has 1 to {MAX_KEY} bytes")));
        }
        let keys = &self.0.keys;
        let reserved = async {
            loop {
                // Listening begins before looking, so that no freed key goes unnoticed.
                let freed = keys.freed.notified();
                if keys.lock().insert(key.to_owned()) {
                    return Reserved { keys: keys.clone(), key: key.to_owned() };
                }
                freed.await;
            }
        };
        timeout(LIFE, reserved).await.map_err(|_| {
            Error::IdempotencyConflict(format!(
                "a command with the idempotency key {key:?} is on its way at this moment"
            ))
        })
    }
}

/// Holds an idempotency key while its command is not in the command log.
struct Reserved {
    keys: Keys,
    key: String,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key);
        self.keys.freed.notify_waiters();
    }
}

impl Reservations {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same key again: the same command is the same record, another one is refused.
fn repeated(before: CommandRecord, device: &str, action: Action, key: &str) -> Result<CommandRecord, Error> {
    if before.target == (Target::Device { device: device.to_owned(), action }) {
        return Ok(before);
    }
    Err(Error::IdempotencyConflict(format!("the idempotency key {key:?} belongs to {}", before.target)))
}

async fn follow(mut told: watch::Receiver<Progress>, wait: Wait) -> Result<CommandRecord, Error> {
    let enough = |progress: &Progress| match progress {
        Progress::Waiting => false,
        Progress::Out(_) => wait == Wait::Out,
        Progress::Recorded(_) => wait != Wait::Acknowledged,
        Progress::Final(_) | Progress::Done(_) => true,
    };
    // A command that is not out by then never will be, and neither is one whose course has ended early.
    let _ = timeout(LIFE, told.wait_for(enough)).await;
    let mut progress = told.borrow().clone();
    if wait == Wait::Acknowledged && matches!(progress, Progress::Final(_)) {
        let done = told.wait_for(|progress| matches!(progress, Progress::Done(_)));
        if let Ok(Ok(done)) = timeout(ACKNOWLEDGED_WITHIN, done).await {
            progress = done.clone();
        }
    }
    match progress {
        Progress::Out(record)
        | Progress::Recorded(record)
        | Progress::Final(record)
        | Progress::Done(record) => Ok(record),
        Progress::Waiting => Err(Error::Unavailable("the journal")),
    }
}

impl Clerk {
    /// Sees every order through, until the desk is gone.
    pub async fn run(self) {
        let Clerk { mut orders, acknowledgements, broker, intake } = self;
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                order = orders.recv(), if open.len() < MAX_OPEN => match order {
                    Some(order) => open.push(see_through(order, &acknowledgements, &broker, &intake)),
                    None => break,
                },
                Some(()) = open.next() => {}
            }
        }
    }
}

/// One command's course. It ends early when the journal cannot be written before the message goes out.
async fn see_through(order: Order, acknowledgements: &Acknowledgements, broker: &Broker, intake: &Intake) {
    let Order { record, reserved, accepted, progress } = order;
    let Some(mut record) = write(intake, record).await else { return };
    drop(reserved);
    if accepted.elapsed() > LIFE {
        record.state = CommandState::Expired;
        warn!(command = %record.id, "command {}, {}, expired: the journal is behind", record.id, record.target);
        write_at_last(intake, record).await;
        return;
    }
    let acknowledged = acknowledgements.expect(record.id);
    let receivers = broker.publish(Message {
        topic: record.topic.clone(),
        payload: Bytes::copy_from_slice(record.payload.as_bytes()),
        qos: PLAY.qos,
        retain: PLAY.retain,
        command: Some(record.id),
    });
    info!(
        command = %record.id, topic = record.topic, receivers,
        "sent {}: {receivers} listen", record.target
    );
    record.state = CommandState::Published;
    record.delivery = Some(if receivers == 0 { Delivery::NoSubscriber } else { Delivery::Sent });
    progress.send_replace(Progress::Out(record.clone()));
    let Some(mut record) = write_at_last(intake, record).await else { return };
    progress.send_replace(Progress::Recorded(record.clone()));
    record.state = CommandState::Unconfirmable;
    let Some(mut record) = write_at_last(intake, record).await else { return };
    if receivers == 0 {
        progress.send_replace(Progress::Done(record));
        return;
    }
    progress.send_replace(Progress::Final(record.clone()));
    if let Ok(Ok(())) = timeout(ACKNOWLEDGED_AT_ALL, acknowledged.told).await {
        record.delivery = Some(Delivery::Acknowledged);
        if let Some(record) = write_at_last(intake, record).await {
            progress.send_replace(Progress::Done(record));
        }
    }
}

/// Appends the record's newest state.
async fn write(intake: &Intake, mut record: CommandRecord) -> Option<CommandRecord> {
    record.at = Timestamp::now();
    match intake.record(Event::Command(record)).await {
        Ok(Event::Command(record)) => Some(record),
        Ok(_) | Err(_) => None,
    }
}

/// Appends what has happened already, however long the journal refuses. None once the gateway has stopped.
async fn write_at_last(intake: &Intake, record: CommandRecord) -> Option<CommandRecord> {
    loop {
        let written = write(intake, record.clone()).await;
        if written.is_some() || !intake.failing() {
            return written;
        }
        sleep(RETRY).await;
    }
}

/// Waits for the acknowledgement of one command, and is forgotten when it is dropped.
struct Expected {
    told: oneshot::Receiver<()>,
    _forget: Forget,
}

struct Forget(Acknowledgements, Seq);

impl Drop for Forget {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Acknowledgements {
    fn expect(&self, command: Seq) -> Expected {
        let (sender, told) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(command, sender);
        Expected { told, _forget: Forget(self.clone(), command) }
    }

    fn tell(&self, command: Seq) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&command) {
            // Whoever waited may have given up.
            let _ = sender.send(());
        }
    }
}
