//! The router's keeper: it probes the router, and replaces it when it has stopped or has taken in too much.

use std::{collections::VecDeque, sync::Arc};

use rumqttd::Notification;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Duration, Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tracing::{debug, error, info, warn};

use super::{
    Router,
    link::{Dead, Outlet, RING_PAUSE},
    running::{Running, probed},
};

/// How often the router is probed, and looked at for what it has taken in.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Ticks, not time: a machine that slept, or had none left for anybody, is not held against the router.
const OVERDUE: u32 = 3;
/// A Raspberry Pi with its hands full answers within one. Whoever publishes waits so long when a router hangs.
const HUNG: u32 = 10;
/// A router that is replaced may work off for so long what was to go in.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Links need so long to move at most, and then some.
const RENEW_PAUSE: Duration = Duration::from_millis(300);
/// After so long without a message what a router keeps is given back.
const IDLE: Duration = Duration::from_secs(2);
/// After a router could not be built, for want of memory perhaps.
const BUILD_PAUSE: Duration = Duration::from_secs(1);
/// Routers that were told to go and have not heard it yet: each takes what it took in.
const MAX_RETIRED: usize = 4;

/// On this topic a router is told to go. It is what its thread says when it panics, by which alone it can.
pub const RETIRED: &str = "\u{2020}retired";

/// Why routers are replaced, as the metrics name it.
pub const REASONS: [&str; 5] = [
    Reason::Stopped.name(),
    Reason::Hung.name(),
    Reason::Topics.name(),
    Reason::Filters.name(),
    Reason::Bytes.name(),
];

#[derive(Clone, Copy)]
enum Reason {
    Stopped,
    Hung,
    Topics,
    Filters,
    Bytes,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Reason::Stopped => "stopped",
            Reason::Hung => "hung",
            Reason::Topics => "topics",
            Reason::Filters => "filters",
            Reason::Bytes => "bytes",
        }
    }
}

pub struct Keeper {
    router: Arc<Router>,
    outlet: Outlet,
    announce: watch::Sender<u64>,
    /// What the router was found to work on, and how many ticks ago.
    works_on: Option<(u64, u32)>,
    /// A router that was replaced, and may still have something for its links.
    retired: Option<Running>,
    /// When that was.
    renewed: Instant,
    /// Routers that were told to go, and have no ear for that yet.
    going: VecDeque<Running>,
}

impl Keeper {
    pub(super) fn new(router: Arc<Router>, outlet: Outlet, announce: watch::Sender<u64>) -> Keeper {
        Keeper {
            router,
            outlet,
            announce,
            works_on: None,
            retired: None,
            renewed: Instant::now(),
            going: VecDeque::new(),
        }
    }

    /// Looks after the router, for ever.
    pub async fn run(mut self) {
        let mut pace = interval(PROBE_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let router = self.router.clone();
        let mut settled = true;
        loop {
            tokio::select! {
                biased;
                heard = self.outlet.next() => match heard {
                    Ok(notification) => {
                        self.hear(notification);
                        self.renew_if_full().await;
                    }
                    Err(Dead) => self.rebuild(Reason::Stopped).await,
                },
                _ = pace.tick() => self.look().await,
                () = sleep_until(self.renewed + RENEW_PAUSE), if self.retired.is_some() => {
                    if let Some(retired) = self.retired.take() {
                        self.tell_to_go(retired);
                    }
                    self.renew_if_full().await;
                }
                () = router.pressed.notified(), if settled => settled = false,
                () = sleep(RING_PAUSE), if !settled => settled = self.settle(),
            }
        }
    }

    fn hear(&mut self, notification: Option<Notification>) {
        let Some(number) = probe_in(notification) else { return };
        let mut state = self.router.lock();
        let Some(running) = &mut state.running else { return };
        if !running.answered(number) {
            return;
        }
        let rung = running.feed();
        if !state.is_crowded(&self.router.limits, Instant::now()) {
            self.router.set_crowded(false);
        }
        drop(state);
        if !rung {
            self.router.pressed.notify_one();
        }
        if self.router.trouble.send_if_modified(|trouble| trouble.take().is_some()) {
            info!("the router answers again");
        }
    }

    async fn look(&mut self) {
        self.going.retain_mut(|running| !running.ring());
        let under_way = {
            let mut state = self.router.lock();
            state.trim(Instant::now());
            let Some(running) = &mut state.running else { return };
            running.probe()
        };
        self.works_on = match (under_way, self.works_on) {
            (Some(number), Some((before, ticks))) if number == before => Some((number, ticks + 1)),
            (under_way, _) => under_way.map(|number| (number, 1)),
        };
        let ticks = self.works_on.map_or(0, |(_, ticks)| ticks);
        if ticks == OVERDUE {
            warn!("the router does not answer");
            self.router.trouble.send_replace(Some("the router does not answer"));
        }
        if ticks >= HUNG {
            self.rebuild(Reason::Hung).await;
        }
    }

    /// A router that answers and has taken in too much is replaced.
    async fn renew_if_full(&mut self) {
        let now = Instant::now();
        if self.retired.is_some() {
            return;
        }
        let reason = {
            let state = self.router.lock();
            let Some(running) = &state.running else { return };
            let limits = &self.router.limits;
            let topics = running.has_too_many_topics(limits).then_some(Reason::Topics);
            let filters = || running.has_too_many_filters(limits).then_some(Reason::Filters);
            let idle = now > state.last_put + IDLE;
            let bytes = || running.has_too_many_bytes(limits, idle).then_some(Reason::Bytes);
            topics.or_else(filters).or_else(bytes)
        };
        if let Some(reason) = reason {
            self.renew(reason).await;
        }
    }

    /// A router that hangs hears it when it wakes.
    fn tell_to_go(&mut self, mut running: Running) {
        if !running.kill(RETIRED) {
            self.going.truncate(MAX_RETIRED - 1);
            self.going.push_front(running);
        }
    }

    /// Sees to what the router had no ear for. True when there is nothing left.
    fn settle(&mut self) -> bool {
        let mut state = self.router.lock();
        state.running.as_mut().is_none_or(Running::settle)
    }

    /// Puts a new router in the place of one that has failed.
    async fn rebuild(&mut self, reason: Reason) {
        error!("the router {}; building a new one", reason.name());
        self.router.trouble.send_replace(Some("the router is being built anew"));
        let old = self.router.lock().replace(None);
        if let Some(mut old) = old {
            metrics::counter!("crosslink_router_lost_total").increment(old.lost());
            self.tell_to_go(old);
        }
        let (running, outlet) = loop {
            match spawn_blocking(Running::start).await {
                Ok(Some(built)) => break built,
                Ok(None) | Err(_) => {
                    error!("the router cannot be built: MQTT clients do not hear each other");
                    sleep(BUILD_PAUSE).await;
                }
            }
        };
        self.router.lock().replace(Some(running));
        self.begin(outlet, reason);
        self.router.trouble.send_replace(None);
        info!("the router runs again");
    }

    /// Puts a new router in the place of one that has taken in too much. Nobody notices.
    async fn renew(&mut self, reason: Reason) {
        debug!("the router has had many {}; it is replaced by a new one", reason.name());
        let Ok(Some((running, outlet))) = spawn_blocking(Running::start).await else { return };
        let Some(mut old) = self.router.lock().replace(Some(running)) else { return };
        let _ = timeout(LAST_WORDS, last_words(&mut old, &mut self.outlet)).await;
        metrics::counter!("crosslink_router_lost_total").increment(old.lost());
        self.begin(outlet, reason);
        self.renewed = Instant::now();
        self.retired = Some(old);
    }

    /// Whoever has a link gets one to the router that runs now.
    fn begin(&mut self, outlet: Outlet, reason: Reason) {
        self.outlet = outlet;
        self.works_on = None;
        {
            let state = self.router.lock();
            self.announce.send_replace(state.generation);
            self.router.set_crowded(state.is_crowded(&self.router.limits, Instant::now()));
        }
        self.router.pressed.notify_one();
        metrics::counter!("crosslink_router_rebuilds_total", "reason" => reason.name()).increment(1);
    }
}

/// Waits until a router has worked off all that was to go in.
async fn last_words(old: &mut Running, outlet: &mut Outlet) {
    loop {
        if !old.feed() || !old.settle() {
            sleep(RING_PAUSE).await;
        } else if old.is_idle() {
            return;
        } else if let Ok(notification) = outlet.next().await {
            probe_in(notification).map(|number| old.answered(number));
        } else {
            return;
        }
    }
}

fn probe_in(notification: Option<Notification>) -> Option<u64> {
    match notification {
        Some(Notification::Forward(forward)) => probed(&forward.publish),
        _ => None,
    }
}
