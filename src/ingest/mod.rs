//! The order in which things become history.
//!
//! One task takes what came in, asks what it means and what follows from it, commits all of it as one
//! batch, and only then acknowledges and tells. What comes in meanwhile is the next batch.

mod admit;
mod commit;
pub mod interpret;
mod replay;
mod service;
mod truth;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::{
    interpret::{Interpreted, Meaning, interpret},
    replay::Replayed,
    truth::Truth,
};
use crate::{
    address::{Address, Place},
    broker::{Accept, Ack, Broker, Ended, Inbound, Input, Inputs, Pin, Started, Ticket},
    desk::{Denials, Desk, Docket, Speakers},
    devices::Devices,
    error::Error,
    health::Health,
    hub::Hub,
    model::{
        CommandRecord, CommandState, Event, Pair, PresenceChange, Seq, ServiceName, ServiceTopic,
        SessionChange, Target, Timestamp,
    },
    presence::{Signal, Watch},
    registry::{Book, Registry},
    store::{Draft, Journal, OldCommands, Store},
};

/// Messages that become history in one transaction: enough to share a sync, few enough to be quick.
const MAX_BATCH: usize = 4_096;
/// How often the passing of time is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Between attempts to write while the disk refuses.
const RETRY: Duration = Duration::from_millis(500);
/// A batch that takes longer means that messages wait for the disk.
const SLOW: Duration = Duration::from_secs(1);
/// Clients and aliases that were hinted at; a device is told once.
const MAX_HINTS: usize = 1_000;

/// All that becomes history passes here.
pub struct Ingest {
    inputs: Inputs,
    removals: mpsc::Receiver<Removal>,
    journal: Journal,
    watch: Watch,
    truth: Truth,
    devices: Devices,
    hub: Hub,
    desk: Desk,
    broker: Broker,
    health: Health,
    pair: Pair,
    /// The services as this batch leaves them.
    book: Book,
    registry: Registry,
    docket: Docket,
    denials: Denials,
    speakers: Speakers,
    hinted: HashSet<(Arc<str>, String)>,
    /// Names that were commanded and have never spoken.
    silent: HashSet<String>,
}

/// What is given to ingest, already at work.
pub struct Parts {
    pub inputs: Inputs,
    pub removals: mpsc::Receiver<Removal>,
    pub journal: Journal,
    pub devices: Devices,
    pub registry: Registry,
    pub hub: Hub,
    pub desk: Desk,
    pub broker: Broker,
    pub health: Health,
    pub pair: Pair,
}

/// Commands that are to be removed from the command log, and who waits for that.
pub struct Removal {
    pub old: OldCommands,
    pub done: oneshot::Sender<Result<(), Error>>,
}

/// What is written together, and who waits for it.
#[derive(Default)]
struct Batch {
    drafts: Vec<Draft>,
    acks: Vec<Ack>,
    /// Commands that are accepted, and where the batch says so.
    accepted: Vec<Accepted>,
    /// Commands that are refused, where the batch says so.
    denied: Vec<Denied>,
    /// Who wants to pin a service, and waits until that is written, or what is against it.
    pins: Vec<Pinning>,
    replays: Vec<Replayed>,
    /// Devices whose retained presence may no longer be true.
    doubtful: HashSet<String>,
}

/// A command that is accepted, and who waits for that to be written.
struct Accepted {
    draft: usize,
    ticket: Ticket,
    done: oneshot::Sender<Result<CommandRecord, Error>>,
}

/// A command that is refused, and who waits for that to be written.
struct Denied {
    draft: usize,
    /// None if whoever asked knows it already.
    why: Option<Error>,
    done: oneshot::Sender<Result<CommandRecord, Error>>,
}

/// A service that is pinned, or no longer is, or cannot be.
struct Pinning {
    /// Where the batch says so; nowhere when it is so already.
    draft: Result<Option<usize>, Error>,
    done: oneshot::Sender<Result<(), Error>>,
}

impl Ingest {
    /// Takes over, and writes what the start itself changes: known devices are unknown until they speak,
    /// and commands that the last run left come to an end.
    pub async fn open(parts: Parts, store: &Store) -> Result<Ingest, Error> {
        let Parts { inputs, removals, mut journal, devices, registry, hub, desk, broker, health, pair } =
            parts;
        let at = Timestamp::now();
        let known = devices
            .list()
            .into_iter()
            .filter(|device| device.presence_seq != Seq::ZERO || device.latest.is_some())
            .map(|device| (device.name.clone(), device.presence.clone()))
            .collect();
        let (watch, changes) = Watch::restored(known, at, Instant::now());
        let mut drafts: Vec<Draft> = changes.into_iter().map(|change| of(Event::Presence(change))).collect();
        let left = store.unfinished_commands().await?.into_iter();
        drafts.extend(left.map(|record| of(Event::Command(Docket::left(record, at)))));
        if !drafts.is_empty() {
            journal.append(&mut drafts).await?;
        }
        let told: Vec<Arc<Event>> =
            drafts.into_iter().filter_map(|draft| draft.event).map(Arc::new).collect();
        devices.apply(&told);
        hub.tell(&told);
        let truth = Truth::restored(store.retained().await?, &pair);
        let book = registry.book();
        book.services().for_each(|service| broker.recognize(&service.name));
        Ok(Ingest {
            inputs,
            removals,
            journal,
            watch,
            truth,
            devices,
            hub,
            desk,
            broker,
            health,
            pair,
            book,
            registry,
            docket: Docket::default(),
            denials: Denials::default(),
            speakers: Speakers::default(),
            hinted: HashSet::new(),
            silent: HashSet::new(),
        })
    }

    /// Works until it is told to close and has written what came in before; gives the journal back.
    pub async fn run(mut self, closing: CancellationToken) -> Journal {
        let mut inputs = Vec::with_capacity(MAX_BATCH);
        let mut looked = Instant::now();
        let mut closed = false;
        loop {
            let mut batch = Batch::default();
            tokio::select! {
                // Time passes last: nobody is called silent while what they said waits to be read.
                biased;
                () = closing.cancelled(), if !closed => {
                    self.inputs.close();
                    closed = true;
                }
                // Before what comes in, of which a busy gateway always has more.
                Some(Removal { old, done }) = self.removals.recv() => {
                    // Whoever asked may have gone.
                    let _ = done.send(self.journal.remove(old).await);
                    continue;
                }
                more = self.inputs.take(&mut inputs, MAX_BATCH) => if !more {
                    // What the last batch corrected is to be found true at the next start.
                    let _ = self.commit(batch, &closing).await;
                    return self.journal;
                },
                () = sleep(TICK.saturating_sub(looked.elapsed())) => {}
            }
            let behind = if inputs.len() < MAX_BATCH { Duration::ZERO } else { age(&inputs) };
            self.inputs.release(&inputs);
            for input in inputs.drain(..) {
                self.take(input, &mut batch);
            }
            if !closed && looked.elapsed() >= TICK {
                looked = Instant::now();
                // While more waits to be read, time has only come as far as what was read.
                let now = looked.checked_sub(behind).unwrap_or(looked);
                batch.changes(self.watch.tick(Timestamp::now(), now));
            }
            if self.commit(batch, &closing).await.is_err() {
                return self.journal;
            }
        }
    }

    fn take(&mut self, input: Input, batch: &mut Batch) {
        match input {
            Input::Publish(inbound) => self.publish(inbound, batch),
            Input::Started(started) => self.started(started, batch),
            Input::Ended(ended) => self.ended(ended, batch),
            Input::Keep { keeps, ack } => {
                batch.acks.extend(ack);
                if !keeps.is_empty() {
                    batch.drafts.push(Draft { keeps, ..Draft::default() });
                }
            }
            Input::Delivered { command } => {
                batch.commands(self.docket.delivered(command, Timestamp::now()));
            }
            Input::Accept { accept, done } => self.accept(*accept, done, batch),
            Input::Announced { ticket, receivers, at } => {
                batch.commands(self.docket.announce(ticket, receivers, at, Instant::now()));
            }
            Input::Lapsed { ticket, at } => batch.commands(self.docket.lapse(ticket, at, Instant::now())),
            Input::Replay { rejection, done } => self.replay(&rejection, done, batch),
            Input::Pin { service, pin, done } => self.pin(&service, pin, done, batch),
        }
    }

    /// Accepts a command, unless its device is gone or has another one to answer.
    fn accept(
        &mut self,
        accept: Accept,
        done: oneshot::Sender<Result<CommandRecord, Error>>,
        batch: &mut Batch,
    ) {
        if accept.record.state == CommandState::Denied {
            self.deny(accept.record, None, done, batch);
            return;
        }
        let (ticket, record) = (accept.ticket, accept.record.clone());
        let firmware = accept.record.target.service().map(ServiceTopic::firmware);
        let gone =
            firmware.filter(|_| !accept.offline).and_then(|name| Some((name, self.speakers.gone(name)?)));
        let accepted = match gone {
            Some((firmware, client)) => {
                Err(Error::DeviceOffline { firmware: firmware.to_owned(), client_id: client.to_string() })
            }
            None => self.docket.accept(accept, Instant::now()),
        };
        match accepted {
            Ok(record) => {
                batch.accepted.push(Accepted { draft: batch.drafts.len(), ticket, done });
                batch.drafts.push(of(Event::Command(record)));
            }
            Err(why) => {
                let (state, reason) = (CommandState::Denied, Some(why.code().to_owned()));
                let record = CommandRecord { state, reason, timeout_ms: None, ..record };
                self.deny(record, Some(why), done, batch);
            }
        }
    }

    /// Records a command that is refused, unless too many are.
    fn deny(
        &mut self,
        record: CommandRecord,
        why: Option<Error>,
        done: oneshot::Sender<Result<CommandRecord, Error>>,
        batch: &mut Batch,
    ) {
        let reason = record.reason.as_deref().unwrap_or_default();
        if self.denials.admit(&record.topic, reason, Instant::now()) {
            batch.denied.push(Denied { draft: batch.drafts.len(), why, done });
            batch.drafts.push(of(Event::Command(record)));
            return;
        }
        metrics::counter!("crosslink_denials_unrecorded_total").increment(1);
        // Whoever asked may have gone.
        let _ = done.send(Err(why.unwrap_or(Error::Unavailable("room for another refusal"))));
    }

    fn publish(&mut self, mut inbound: Inbound, batch: &mut Batch) {
        batch.acks.extend(inbound.ack.take());
        if let Place::Known { address: Address::Service(topic), .. } = &inbound.place
            && inbound.refused.is_none()
        {
            self.docket.overheard(topic);
        }
        let now = Instant::now();
        // Clients hand on what is kept in another order than they had it kept when they wait for room: the last one stays.
        let retained = inbound.kept.then(|| self.broker.standing(&inbound));
        if inbound.kept
            && let Place::Known { address: Address::Presence { device }, .. } =
                Place::of(&inbound.topic, &self.pair)
        {
            self.truth.stands(&inbound.retained());
            batch.doubtful.insert(device);
        }
        let (session, client_id, at) = (inbound.session, &*inbound.client_id, inbound.at);
        let (mut learnt, mut heard) = (None, None);
        let (event, said) =
            match interpret(&self.book, &inbound).and_then(|known| self.admit(known, &inbound)) {
                Ok(Interpreted { meaning, alias }) => {
                    if alias {
                        self.hint(&inbound);
                    }
                    match meaning {
                        Meaning::Reading(reading) => {
                            let said = Said::Reading { alone: alias || inbound.will };
                            let device = reading.device.clone();
                            (Some(Event::Reading(reading)), Some((device, said)))
                        }
                        Meaning::Online { device } => (None, Some((device, Said::Online { alias }))),
                        Meaning::Offline { device } => (None, Some((device, Said::Offline))),
                        Meaning::Command { mut record, hinted } => {
                            record.address = self.speakers.address(client_id).map(str::to_owned);
                            if let Target::Service(topic) = &record.target {
                                learnt = self.book.commanded(topic, hinted, at);
                            }
                            (Some(Event::Command(*record)), None)
                        }
                        Meaning::ServiceReading { reading, fits, hinted } => {
                            learnt = self.book.observe(&reading, fits, hinted);
                            if !inbound.will {
                                self.speakers.spoke(reading.topic.firmware(), &inbound.client_id);
                                heard = self.docket.heard(&reading, 1 + i64::from(learnt.is_some()), now);
                            }
                            (Some(Event::ServiceReading(reading)), None)
                        }
                        Meaning::Nothing => (None, None),
                    }
                }
                Err(rejection) => {
                    metrics::counter!("crosslink_rejections_total").increment(1);
                    (Some(Event::Rejection(*rejection)), None)
                }
            };
        let keeps = inbound.keeps;
        if event.is_some() || retained.is_some() || !keeps.is_empty() {
            batch.drafts.push(Draft { event, retained, keeps });
        }
        // Right behind what told it.
        batch.drafts.extend(learnt.map(|change| of(Event::Service(change))));
        batch.commands(heard);
        if let Some((device, said)) = said {
            let device = device.as_str();
            let signal = match said {
                Said::Reading { alone } => Signal::Reading { session, client_id, device, alone },
                Said::Online { alias } => Signal::Online { session, client_id, device, alias },
                Said::Offline => Signal::Offline { device },
            };
            batch.changes(self.watch.observe(signal, at, now));
        }
    }

    /// Pins a service or forgets that it is pinned.
    fn pin(
        &mut self,
        service: &ServiceName,
        pin: Option<Pin>,
        done: oneshot::Sender<Result<(), Error>>,
        batch: &mut Batch,
    ) {
        let at = Timestamp::now();
        let change = match pin {
            Some(Pin { kind, force }) => self.book.pin(service, kind, force, at),
            None => self.book.unpin(service, at),
        };
        // What is so already, or against it, may be in this very batch, which others cannot see yet.
        let draft = change.map(|change| {
            let change = change?;
            batch.drafts.push(of(Event::Service(change)));
            Some(batch.drafts.len() - 1)
        });
        batch.pins.push(Pinning { draft, done });
    }

    fn started(&mut self, started: Started, batch: &mut Batch) {
        let will = started.will_topic.as_deref().and_then(|topic| match Place::of(topic, &self.pair) {
            Place::Known { address: Address::Presence { device }, .. } => Some(device),
            _ => None,
        });
        let Started { session, client_id, address, at, .. } = started;
        let signal = Signal::Started { session, client_id: &client_id, will: will.as_deref() };
        let changes = self.watch.observe(signal, at, Instant::now());
        self.speakers.started(client_id.clone(), session, address.clone());
        let client_id = client_id.to_string();
        let change = SessionChange { seq: Seq::ZERO, at, session, client_id, address, ended: None };
        batch.drafts.push(of(Event::Session(change)));
        batch.changes(changes);
    }

    fn ended(&mut self, ended: Ended, batch: &mut Batch) {
        let Ended { session, client_id, address, at, end, will_published, successor } = ended;
        let signal = Signal::Ended { session, end, will_published, successor };
        let changes = self.watch.observe(signal, at, Instant::now());
        self.speakers.ended(&client_id, session);
        let client_id = client_id.to_string();
        let change = SessionChange { seq: Seq::ZERO, at, session, client_id, address, ended: Some(end) };
        batch.drafts.push(of(Event::Session(change)));
        batch.changes(changes);
    }

    /// Tells once that a client spells a topic in a way that is only tolerated.
    fn hint(&mut self, inbound: &Inbound) {
        metrics::counter!("crosslink_aliases_total").increment(1);
        let key = (inbound.client_id.clone(), inbound.topic.clone());
        if self.hinted.len() >= MAX_HINTS || !self.hinted.insert(key) {
            return;
        }
        if let Place::Known { address, .. } = &inbound.place {
            warn!(
                client_id = &*inbound.client_id,
                topic = inbound.topic,
                "{} publishes on {}: understood as {address}",
                inbound.client_id,
                inbound.topic
            );
        }
    }
}

/// What a message says about a device being there.
enum Said {
    Reading { alone: bool },
    Online { alias: bool },
    Offline,
}

impl Batch {
    fn commands(&mut self, records: impl IntoIterator<Item = CommandRecord>) {
        self.drafts.extend(records.into_iter().map(|record| of(Event::Command(record))));
    }

    fn changes(&mut self, changes: Vec<PresenceChange>) {
        for change in changes {
            self.doubtful.insert(change.device.clone());
            self.drafts.push(of(Event::Presence(change)));
        }
    }
}

/// How long ago the last of the inputs came in.
fn age(inputs: &[Input]) -> Duration {
    let came = inputs.iter().rev().find_map(|input| match input {
        Input::Publish(inbound) => Some(inbound.at),
        Input::Started(started) => Some(started.at),
        Input::Ended(ended) => Some(ended.at),
        Input::Keep { .. }
        | Input::Accept { .. }
        | Input::Announced { .. }
        | Input::Delivered { .. }
        | Input::Lapsed { .. }
        | Input::Replay { .. }
        | Input::Pin { .. } => None,
    });
    let millis = came.map_or(0, |at| Timestamp::now().millis_since(at));
    Duration::from_millis(millis.unsigned_abs())
}

fn of(event: Event) -> Draft {
    Draft { event: Some(event), ..Draft::default() }
}
