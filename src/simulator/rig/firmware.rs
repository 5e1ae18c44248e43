//! One simulated firmware: a line to the broker, and the services on it.

use std::{collections::VecDeque, future};

use bytes::Bytes;
use tokio::time::{self, Duration, Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Voice,
        device::{FIRST_RETRY, GOOD_CONNECTION, LAST_RETRY},
        wire::News as Line,
    },
    Fault, Pace,
    fault::{Flaw, REFUSAL},
    service::{Message, Service, Temper},
    wire::Wire,
    world::{self, World},
};
use crate::{catalog::Kind, error::Error, json::excerpt};

/// What a service says at its turn: one that has many channels tells all of them in a few turns.
const AT_ONCE: usize = 2;
/// So long after a command nothing happens by itself: it would be taken for the answer.
const CALM: Duration = Duration::from_secs(10);
/// How long a rig stays away that has dropped its connection.
const AWAY: Duration = Duration::from_secs(2);
/// Commands that a slow firmware keeps in mind. It forgets what comes while they wait.
const MAX_WAITING: usize = 64;

/// A firmware, connected or not.
pub(super) struct Firmware {
    name: String,
    /// Host and port of the broker.
    mqtt: (String, u16),
    fault: Option<Fault>,
    pace: Pace,
    voice: Voice,
    world: World,
    services: Vec<Service>,
    /// Whose turn it is to measure, and to have something happen.
    turn: usize,
    happenings: usize,
    /// How many measurements were sent.
    measured: usize,
    /// When the last command came.
    told_at: Option<Instant>,
    /// Commands to be obeyed later.
    waiting: VecDeque<(Instant, String, Bytes)>,
}

impl Firmware {
    pub(super) fn new(
        name: &str,
        kinds: &'static [Kind],
        mqtt: (String, u16),
        fault: Option<Fault>,
        pace: Pace,
        voice: Voice,
    ) -> Firmware {
        Firmware {
            name: name.to_owned(),
            mqtt,
            fault,
            pace,
            voice,
            world: World::new(name),
            services: kinds.iter().map(|kind| Service::new(name, kind)).collect(),
            turn: 0,
            happenings: 0,
            measured: 0,
            told_at: None,
            waiting: VecDeque::new(),
        }
    }

    /// Lives until `stop` is cancelled; then it disconnects.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), Error> {
        let mut wire = self.connect(Duration::ZERO);
        let mut connected_at: Option<Instant> = None;
        let mut retry = FIRST_RETRY;
        let mut outage_told = false;
        let mut drop_at: Option<Instant> = None;

        let mut step = ticking(Duration::from_secs_f64(world::STEP));
        let mut measure = ticking(self.pace.says_every / self.services.len().max(1) as u32);
        let mut picture = ticking(self.pace.picture_every);
        let mut happen = ticking(self.pace.happens_every);

        loop {
            let due = self.waiting.front().map(|(at, ..)| *at);
            tokio::select! {
                news = wire.next() => match news {
                    Line::Connected => {
                        connected_at = Some(Instant::now());
                        outage_told = false;
                        drop_at = self.drops().then(|| Instant::now() + self.pace.drops_every);
                        self.greet(&wire)?;
                        happen.reset();
                    }
                    Line::Message { topic, payload } => self.hear(&wire, topic, payload)?,
                    Line::Lost(why) => {
                        let broker = self.broker();
                        drop_at = None;
                        if let Some(at) = connected_at.take() {
                            retry = if at.elapsed() < GOOD_CONNECTION { retry } else { FIRST_RETRY };
                            outage_told = true;
                            self.say(&format!("has lost {broker} ({why}); trying again"))?;
                        } else if !outage_told {
                            outage_told = true;
                            self.say(&format!("waits: {broker} does not answer ({why}); trying again"))?;
                        }
                        wire = self.connect(retry);
                        retry = (retry * 2).min(LAST_RETRY);
                    }
                },
                _ = step.tick() => self.step(&wire, connected_at.is_some()),
                _ = measure.tick(), if connected_at.is_some() => self.measure(&wire)?,
                _ = picture.tick(), if connected_at.is_some() => self.picture(&wire),
                _ = happen.tick(), if connected_at.is_some() => self.happen(&wire)?,
                () = until(due) => if let Some((_, topic, payload)) = self.waiting.pop_front() {
                    self.obey(&wire, &topic, &payload, Temper::Willing)?;
                },
                () = until(drop_at) => {
                    drop_at = None;
                    connected_at = None;
                    self.say(&format!("drops its connection, and is back in {} s", AWAY.as_secs()))?;
                    wire = self.connect(AWAY);
                }
                () = stop.cancelled() => {
                    if connected_at.is_some() {
                        wire.part().await;
                    }
                    return Ok(());
                }
            }
        }
    }

    fn connect(&self, delay: Duration) -> Wire {
        Wire::connect(&self.mqtt, &self.name, delay)
    }

    /// Tells all there is, and then listens: a report must not be taken for the answer to a command.
    fn greet(&mut self, wire: &Wire) -> Result<(), Error> {
        for service in &mut self.services {
            service.report(&mut self.world).into_iter().for_each(|message| wire.send(message));
        }
        wire.subscribe(self.services.iter().flat_map(Service::command_topics).collect());
        self.say(&format!("is online at {} with {} services", self.broker(), self.services.len()))
    }

    /// The world goes on, and what is worth saying at once is said.
    fn step(&mut self, wire: &Wire, connected: bool) {
        for news in self.world.step() {
            let told = self.services.iter_mut().find_map(|one| one.tell(&mut self.world, news));
            if connected && !self.hushed() {
                told.into_iter().for_each(|message| wire.send(message));
            }
        }
    }

    fn picture(&mut self, wire: &Wire) {
        for service in &mut self.services {
            service.picture(&mut self.world).into_iter().for_each(|message| wire.send(message));
        }
    }

    /// The next service says what it measures.
    fn measure(&mut self, wire: &Wire) -> Result<(), Error> {
        self.turn = (self.turn + 1) % self.services.len().max(1);
        let Some(service) = self.services.get_mut(self.turn) else { return Ok(()) };
        for mut message in service.measure(&mut self.world, AT_ONCE) {
            self.measured += 1;
            if self.fault == Some(Fault::Garbage) && self.measured.is_multiple_of(self.pace.garbage_every) {
                let flaw = Flaw::ALL[self.measured / self.pace.garbage_every % Flaw::ALL.len()];
                message.payload = flaw.spoil(&message.payload);
                self.voice
                    .say(&self.name, &format!("sends garbage on {}: {}", message.topic, flaw.words()))?;
            }
            wire.send(message);
        }
        Ok(())
    }

    /// Something happens to one of those to which something may happen.
    fn happen(&mut self, wire: &Wire) -> Result<(), Error> {
        let calm = self.told_at.is_none_or(|at| at.elapsed() > CALM);
        if !calm || self.hushed() {
            return Ok(());
        }
        for _ in 0..self.services.len() {
            self.happenings = (self.happenings + 1) % self.services.len();
            if let Some(message) = self.services[self.happenings].happening(&mut self.world) {
                let Message { topic, payload, .. } = &message;
                self.say(&format!("tells of itself on {topic}: {}", shown(payload)))?;
                wire.send(message);
                break;
            }
        }
        Ok(())
    }

    fn hear(&mut self, wire: &Wire, topic: String, payload: Bytes) -> Result<(), Error> {
        self.told_at = Some(Instant::now());
        match self.fault {
            Some(Fault::Silent) => self.say(&format!("does not heed {topic}: {}", shown(&payload))),
            Some(Fault::SlowAck) if self.waiting.len() < MAX_WAITING => {
                let slow = self.pace.slow_for;
                self.say(&format!("takes {} s for {topic}: {}", slow.as_secs_f32(), shown(&payload)))?;
                self.waiting.push_back((Instant::now() + slow, topic, payload));
                Ok(())
            }
            Some(Fault::SlowAck) => self.say(&format!("has no more room for {topic}")),
            Some(Fault::Clamp) => self.obey(wire, &topic, &payload, Temper::Stingy),
            Some(Fault::Refuse) => self.obey(wire, &topic, &payload, Temper::Refusing(REFUSAL)),
            Some(Fault::Garbage | Fault::Drop) | None => self.obey(wire, &topic, &payload, Temper::Willing),
        }
    }

    fn obey(&mut self, wire: &Wire, topic: &str, payload: &[u8], temper: Temper) -> Result<(), Error> {
        let addressed =
            self.services.iter_mut().find_map(|service| Some((service.suffix_in(topic)?, service)));
        let Some((suffix, service)) = addressed else { return Ok(()) };
        let reply = service.take(&mut self.world, suffix, payload, temper);
        let how = match &reply.refused {
            Some(why) => format!("refuses ({why})"),
            None => "obeys".to_owned(),
        };
        let answers = match &reply.answer {
            Some(Message { topic, payload, .. }) => format!("answers on {topic}: {}", shown(payload)),
            None => "has no answer to give".to_owned(),
        };
        reply.answer.into_iter().for_each(|message| wire.send(message));
        self.say(&format!("hears {topic}: {}; {how}, {answers}", shown(payload)))
    }

    /// Whether it says nothing by itself that could be an answer.
    fn hushed(&self) -> bool {
        self.fault.is_some_and(Fault::hushes)
    }

    fn drops(&self) -> bool {
        self.fault == Some(Fault::Drop)
    }

    fn say(&self, what: &str) -> Result<(), Error> {
        self.voice.say(&self.name, what)
    }

    fn broker(&self) -> String {
        let (host, port) = &self.mqtt;
        format!("{host}:{port}")
    }
}

/// A payload as far as a line has room for it.
fn shown(payload: &[u8]) -> String {
    excerpt(&String::from_utf8_lossy(payload))
}

fn ticking(every: Duration) -> time::Interval {
    let mut ticking = time::interval(every.max(Duration::from_millis(1)));
    ticking.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticking
}

/// Waits for a moment; without one, for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(at) => time::sleep_until(at).await,
        None => future::pending().await,
    }
}
