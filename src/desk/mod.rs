//! The one way in for a command.
//!
//! The record is in the command log before the message goes out; then each change of its state is appended. What a device
//! says is recognized as its answer where it becomes history: see [`Docket`]. A caller that goes away leaves the command
//! to run its course.

mod arming;
mod clerk;
mod denials;
mod docket;
mod keys;
mod speakers;
mod tellings;

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, Instant, timeout},
};

pub use self::{arming::Armed, clerk::Clerk, denials::Denials, docket::Docket, speakers::Speakers};
use self::{
    arming::Armoury,
    clerk::Order,
    keys::Keys,
    tellings::{Telling, Tellings},
};
use crate::{
    address::{Address, PLAY},
    broker::{Accept, Broker, Intake, Ticket, front::MAX_PAYLOAD},
    catalog::{self, Kind, Topic},
    config::Config,
    devices::Devices,
    error::Error,
    json::Flaw,
    model::{
        Action, CommandRecord, CommandState, Delivery, Event, RejectionReason, Seq, ServiceTopic, Surface,
        Target, Timestamp,
    },
    registry::Registry,
    store::Store,
};

/// Commands that run their course at a time.
const MAX_OPEN: usize = 1_024;
/// A caller waits so long for a command to be written and go out.
const LIFE: Duration = Duration::from_secs(5);
/// A command that could not be written for so long is not published any more: a little sooner than its caller gives up.
const SENT_WITHIN: Duration = Duration::from_millis(4_500);
/// A caller waits so long for a subscriber's acknowledgement of a command that nobody answers.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);

/// Of a command that is denied: nothing more is said of it. The clerk counts from 1.
const NO_TICKET: Ticket = Ticket(0);

/// For how long the answer to a command is waited for.
pub const USUAL_TIMEOUT: Duration = Duration::from_secs(5);
pub const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Takes commands. A cheap handle.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    store: Store,
    devices: Devices,
    registry: Registry,
    /// Whether what can hurt takes two steps.
    arm_hazards: bool,
    orders: mpsc::Sender<Order>,
    intake: Intake,
    tellings: Tellings,
    /// Idempotency keys of commands that are not written yet.
    keys: Keys,
    armoury: Armoury,
}

/// What a surface asks the desk to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub target: Target,
    /// As on the wire.
    pub payload: String,
    /// The kind of service that it is meant for, if that was said.
    pub kind: Option<&'static Kind>,
    /// For how long its answer is waited for, from [`SHORTEST_TIMEOUT`] to [`LONGEST_TIMEOUT`].
    pub timeout: Duration,
    /// Even if the firmware's client is known to be gone.
    pub offline: bool,
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
    /// Until its end; when nobody answers it, until a subscriber has acknowledged it, but no longer than a second.
    Final,
}

/// The desk, and the clerk who must [`Clerk::run`] behind it.
pub fn open(
    config: &Config,
    store: Store,
    devices: Devices,
    registry: Registry,
    broker: Broker,
    intake: Intake,
) -> (Desk, Clerk) {
    let (sender, orders) = mpsc::channel(MAX_OPEN);
    let tellings = Tellings::default();
    let clerk = Clerk::new(orders, tellings.clone(), broker, intake.clone());
    let desk = Inner {
        store,
        devices,
        registry,
        arm_hazards: config.arm_hazards,
        orders: sender,
        intake,
        tellings,
        keys: Keys::default(),
        armoury: Armoury::default(),
    };
    (Desk(Arc::new(desk)), clerk)
}

impl Ask {
    /// A device of the pair is to do this.
    pub fn play(device: &str, action: Action) -> Ask {
        let target = Target::Device { device: device.to_owned(), action };
        Ask::of(target, action.payload().to_owned())
    }

    /// A service is told this.
    pub fn tell(topic: ServiceTopic, payload: String) -> Ask {
        Ask::of(Target::Service(topic), payload)
    }

    fn of(target: Target, payload: String) -> Ask {
        Ask { target, payload, kind: None, timeout: USUAL_TIMEOUT, offline: false }
    }

    /// Where its message goes.
    fn topic(&self) -> String {
        match &self.target {
            Target::Device { device, .. } => Address::Play { device: device.clone() }.to_string(),
            Target::Service(topic) => topic.to_string(),
        }
    }
}

impl Desk {
    /// Sends a command, and returns its record as far as the caller waits. A record that timed out is no error here.
    pub async fn send(&self, ask: Ask, origin: Origin, wait: Wait) -> Result<CommandRecord, Error> {
        self.checked(ask, origin, wait, !self.0.arm_hazards).await
    }

    /// Prepares a command that [`Desk::execute`] sends within ten seconds. Nothing is sent, nothing is logged.
    pub fn arm(&self, ask: Ask) -> Result<Armed, Error> {
        self.check(&ask)?;
        self.0.armoury.arm(ask)
    }

    /// Sends what was armed under a token, once, as [`Desk::send`] does. The same idempotency key again is the same
    /// record, for as long as it would be armed.
    pub async fn execute(&self, token: &str, origin: Origin, wait: Wait) -> Result<CommandRecord, Error> {
        let ask = self.0.armoury.take(token, origin.idempotency_key.as_deref())?;
        // Its service may have been pinned to another kind meanwhile.
        self.checked(ask, origin, wait, true).await
    }

    /// Whoever still waits is told that nothing more will come.
    pub fn close(&self) {
        self.0.tellings.close();
    }

    /// Follows what was committed.
    pub fn tell(&self, events: &[Arc<Event>]) {
        for event in events {
            if let Event::Command(record) = &**event {
                self.0.tellings.tell(record);
            }
        }
    }

    async fn checked(
        &self,
        ask: Ask,
        origin: Origin,
        wait: Wait,
        armed: bool,
    ) -> Result<CommandRecord, Error> {
        match self.check(&ask) {
            Ok(topic) => self.order(ask, topic, origin, wait, armed).await,
            Err(why) if is_denial(&why, &ask) => Err(self.denied(why, ask, origin).await),
            Err(why) => Err(why),
        }
    }

    /// Writes a command that is refused into the log, where there is room for it.
    async fn denied(&self, why: Error, ask: Ask, origin: Origin) -> Error {
        let (state, reason) = (CommandState::Denied, Some(why.code().to_owned()));
        let record = CommandRecord { state, reason, ..record(ask, origin) };
        let accept = Accept { ticket: NO_TICKET, record, rule: None, offline: true };
        match timeout(LIFE, self.0.intake.accept(accept)).await {
            Ok(Ok(record)) => Error::Denied { why: Box::new(why), record: Box::new(record) },
            // What is wrong with it matters more than that this could not be written.
            Ok(Err(_)) | Err(_) => why,
        }
    }

    /// Refuses what its device would not understand. The topic of a command to a service, as its kind has it.
    fn check(&self, ask: &Ask) -> Result<Option<&'static Topic>, Error> {
        if !(SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&ask.timeout) {
            let (shortest, longest) = (SHORTEST_TIMEOUT.as_millis(), LONGEST_TIMEOUT.as_millis());
            let got = ask.timeout.as_millis();
            return Err(Error::Invalid(format!("a timeout is {shortest} to {longest} ms, got {got}")));
        }
        match &ask.target {
            Target::Device { device, .. } if self.0.devices.knows(device) => Ok(None),
            Target::Device { device, .. } => Err(Error::NotFound { what: "device", name: device.to_owned() }),
            Target::Service(topic) => self.check_service(topic, ask).map(Some),
        }
    }

    fn check_service(&self, topic: &ServiceTopic, ask: &Ask) -> Result<&'static Topic, Error> {
        let invalid =
            |reason, detail| Error::PayloadInvalid(vec![Flaw { reason, pointer: String::new(), detail }]);
        let payload = &ask.payload;
        let service = self.0.registry.get(&topic.service_name())?;
        let Some(kind) = service.kind else {
            let candidates = service.likely.iter().map(|kind| kind.name.to_owned()).collect();
            return Err(Error::KindAmbiguous { service: service.name.to_string(), candidates });
        };
        if let Some(meant) = ask.kind.filter(|meant| *meant != kind) {
            let detail = format!("expected a command for {}, got one for {}", kind.name, meant.name);
            return Err(invalid(RejectionReason::KindConflict, detail));
        }
        let command = kind.resolve(topic.suffix()).map(|found| found.topic).filter(|topic| !topic.is_said());
        let Some(command) = command else {
            return Err(Error::NotFound { what: "command topic of a service", name: topic.to_string() });
        };
        if payload.len() > MAX_PAYLOAD {
            let detail = format!("expected at most {MAX_PAYLOAD} bytes, got {}", payload.len());
            return Err(invalid(RejectionReason::TooLarge, detail));
        }
        match command.read_exactly(payload.as_bytes()) {
            Ok(_) => Ok(command),
            Err(flaw) => Err(Error::PayloadInvalid(vec![flaw])),
        }
    }

    async fn order(
        &self,
        ask: Ask,
        topic: Option<&'static Topic>,
        origin: Origin,
        wait: Wait,
        armed: bool,
    ) -> Result<CommandRecord, Error> {
        let reserved = match &origin.idempotency_key {
            Some(key) => {
                let reserved = self.0.keys.reserve(key, LIFE).await?;
                if let Some(before) = self.0.store.command_by_key(key).await? {
                    // Others with this key wait for the same end, not for each other.
                    drop(reserved);
                    return self.repeated(before, &ask, key, wait).await;
                }
                Some(reserved)
            }
            None => None,
        };
        if !armed && topic.is_some_and(|topic| topic.hazardous(ask.payload.as_bytes())) {
            let why =
                format!("a command to {} can hurt: arm it, and execute it within ten seconds", ask.topic());
            return Err(self.denied(Error::ArmingRequired(why), ask, origin).await);
        }
        let rule = topic.filter(|topic| topic.is_answered());
        let (patience, offline) = (ask.timeout, ask.offline);
        let timeout_ms = rule.map(|_| u32::try_from(patience.as_millis()).unwrap_or(u32::MAX));
        let (out, told) = oneshot::channel();
        let order = Order {
            record: CommandRecord { timeout_ms, ..record(ask, origin) },
            rule,
            timeout: patience,
            offline,
            ordered: Instant::now(),
            reserved,
            out,
        };
        self.0.orders.try_send(order).map_err(|_| Error::Unavailable("the desk"))?;
        // A command that is not out by then never will be, and neither is one whose course has ended early.
        let told = timeout(LIFE, told).await.ok().and_then(Result::ok);
        let (record, telling) = told.ok_or(Error::Unavailable("the journal"))??;
        follow(record, telling, wait).await
    }

    /// The same key again: the same command is the same record, another one is refused.
    async fn repeated(
        &self,
        before: CommandRecord,
        ask: &Ask,
        key: &str,
        wait: Wait,
    ) -> Result<CommandRecord, Error> {
        if before.target != ask.target || before.payload != ask.payload {
            let why = format!("the idempotency key {key:?} belongs to {}", before.target);
            return Err(Error::IdempotencyConflict(why));
        }
        match self.0.tellings.follow(before.id) {
            Some(telling) => {
                let record = telling.now();
                follow(record, telling, wait).await
            }
            // It came to its end meanwhile, or a moment ago.
            None => Ok(self.0.store.command(before.id).await?.unwrap_or(before)),
        }
    }
}

/// Whether it is a command for a topic that there is that is refused, and not only a mistake in asking for one. What is
/// too large is not recorded, as whoever else says it.
fn is_denial(why: &Error, ask: &Ask) -> bool {
    match why {
        Error::KindAmbiguous { .. } => ask
            .target
            .service()
            .is_some_and(|topic| catalog::resolve(topic.suffix()).any(|found| !found.topic.is_said())),
        Error::PayloadInvalid(flaws) => flaws.iter().all(|flaw| flaw.reason != RejectionReason::TooLarge),
        _ => false,
    }
}

/// What is asked, as it begins.
fn record(ask: Ask, origin: Origin) -> CommandRecord {
    let at = Timestamp::now();
    CommandRecord {
        id: Seq::ZERO,
        seq: Seq::ZERO,
        accepted_at: at,
        at,
        topic: ask.topic(),
        target: ask.target,
        payload: ask.payload,
        state: CommandState::Accepted,
        delivery: None,
        qos: PLAY.qos.as_u8(),
        timeout_ms: None,
        answer: None,
        mismatches: Vec::new(),
        reason: None,
        ambiguous: false,
        surface: origin.surface,
        client_id: None,
        address: origin.address,
        idempotency_key: origin.idempotency_key,
    }
}

/// Waits on for what becomes of a command that is out.
async fn follow(record: CommandRecord, mut telling: Telling, wait: Wait) -> Result<CommandRecord, Error> {
    let recorded = |record: &CommandRecord| record.state != CommandState::Accepted;
    match wait {
        Wait::Out => Ok(record),
        // The gateway may stop before.
        Wait::Recorded => telling.until(recorded).await.ok_or(Error::Unavailable("the journal")),
        Wait::Final => {
            let told = telling.until(|record| record.state.is_final()).await;
            let record = told.ok_or(Error::Unavailable("the journal"))?;
            let acknowledged = |record: &CommandRecord| record.delivery != Some(Delivery::Sent);
            if record.state == CommandState::Unconfirmable
                && let Ok(Some(acknowledged)) =
                    timeout(ACKNOWLEDGED_WITHIN, telling.until(acknowledged)).await
            {
                return Ok(acknowledged);
            }
            Ok(record)
        }
    }
}
