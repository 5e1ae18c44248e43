//! The router's keeper: it probes the router, and replaces it when it has stopped or has taken in too much.

use std::sync::Arc;

use rumqttd::Notification;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Duration, Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{error, info, warn};

use super::{
    LOST, Router,
    link::{Dead, Outlet, RING_PAUSE},
    running::{Running, probed},
};

/// How often the router is probed, and looked at for what it has taken in.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Ticks, not time: a machine that slept, or had none left for anybody, is not held against the router.
const OVERDUE: u32 = 3;
/// A Raspberry Pi with its hands full answers within one. Whoever publishes waits so long when a router hangs.
const HUNG: u32 = 10;
/// A router that is replaced may work off for so long what went in before.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// After a router could not be built, for want of memory perhaps.
const BUILD_PAUSE: Duration = Duration::from_secs(1);
/// The probe behind which nothing goes in any more.
const LAST_PROBE: u64 = u64::MAX;

/// On this topic a router is told to go. It is what its thread says when it panics, by which alone it can.
pub const RETIRED: &str = "\u{2020}retired";

/// Why routers are replaced, as the metrics name it.
pub const REASONS: [&str; 4] =
    [Reason::Stopped.name(), Reason::Hung.name(), Reason::Topics.name(), Reason::Filters.name()];

#[derive(Clone, Copy)]
enum Reason {
    Stopped,
    Hung,
    Topics,
    Filters,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Reason::Stopped => "stopped",
            Reason::Hung => "hung",
            Reason::Topics => "topics",
            Reason::Filters => "filters",
        }
    }
}

pub struct Keeper {
    router: Arc<Router>,
    outlet: Outlet,
    announce: watch::Sender<u64>,
    probe: u64,
    asked: Option<Asked>,
    /// How many fleeting messages had gone in before the last probe that came back.
    answered: u64,
    /// A router that was replaced, and may still have something for its links until the next tick.
    retired: Option<Running>,
}

/// A probe that is on its way.
struct Asked {
    ticks: u32,
    fleeting: u64,
}

impl Keeper {
    pub(super) fn new(router: Arc<Router>, outlet: Outlet, announce: watch::Sender<u64>) -> Keeper {
        Keeper { router, outlet, announce, probe: 0, asked: None, answered: 0, retired: None }
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
                    Ok(notification) => self.hear(notification),
                    Err(Dead) => self.rebuild(Reason::Stopped).await,
                },
                _ = pace.tick() => self.look().await,
                () = router.pressed.notified(), if settled => settled = false,
                () = sleep(RING_PAUSE), if !settled => settled = self.settle(),
            }
        }
    }

    fn hear(&mut self, notification: Option<Notification>) {
        if probe_in(notification) == Some(self.probe)
            && let Some(asked) = self.asked.take()
        {
            self.answered = asked.fleeting;
            if self.router.trouble.send_if_modified(|trouble| trouble.take().is_some()) {
                info!("the router answers again");
            }
        }
    }

    async fn look(&mut self) {
        if let Some(mut retired) = self.retired.take() {
            retired.kill(RETIRED);
            // It may have no ear at the moment.
            let heard = async {
                while !retired.inlet.ring() {
                    sleep(RING_PAUSE).await;
                }
            };
            let _ = timeout(LAST_WORDS, heard).await;
        }
        if let Some(asked) = &mut self.asked {
            asked.ticks += 1;
            let ticks = asked.ticks;
            if ticks == OVERDUE {
                warn!("the router does not answer");
                self.router.trouble.send_replace(Some("the router does not answer"));
            }
            if ticks >= HUNG {
                self.rebuild(Reason::Hung).await;
            }
            return;
        }
        let full = {
            let mut state = self.router.lock();
            state.trim(Instant::now());
            let fleeting = state.fleeting;
            let Some(running) = &mut state.running else { return };
            self.probe += 1;
            running.probe(self.probe);
            self.asked = Some(Asked { ticks: 0, fleeting });
            let limits = &self.router.limits;
            let topics = running.has_too_many_topics(limits).then_some(Reason::Topics);
            topics.or(running.has_too_many_filters(limits).then_some(Reason::Filters))
        };
        if let Some(reason) = full {
            self.renew(reason).await;
        }
    }

    /// Sees to what the router had no ear for, and to publishers that wait. True when there is nothing left.
    fn settle(&mut self) -> bool {
        let mut state = self.router.lock();
        let Some(running) = &mut state.running else { return true };
        let settled = running.settle();
        let taken = running.inlet.waiting() == 0;
        drop(state);
        if taken {
            self.router.crowded.send_replace(false);
        }
        settled && taken
    }

    /// Puts a new router in the place of one that has failed.
    async fn rebuild(&mut self, reason: Reason) {
        error!("the router {}; building a new one", reason.name());
        self.router.trouble.send_replace(Some("the router is being built anew"));
        let (old, fleeting) = {
            let mut state = self.router.lock();
            (state.replace(None), state.fleeting)
        };
        metrics::counter!(LOST).increment(fleeting - self.answered);
        if let Some(mut old) = old {
            // If it only hangs, it ends when it wakes.
            old.kill(RETIRED);
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
        info!("the router has had many {}; it is replaced by a new one", reason.name());
        let Ok(Some((running, outlet))) = spawn_blocking(Running::start).await else { return };
        let Some(mut old) = self.router.lock().replace(Some(running)) else { return };
        old.probe(LAST_PROBE);
        let _ = timeout(LAST_WORDS, last_words(&mut old, &mut self.outlet)).await;
        self.begin(outlet, reason);
        self.retired = Some(old);
    }

    /// Whoever has a link gets one to the router that runs now.
    fn begin(&mut self, outlet: Outlet, reason: Reason) {
        let (generation, fleeting) = {
            let state = self.router.lock();
            (state.generation, state.fleeting)
        };
        self.outlet = outlet;
        self.asked = None;
        self.answered = fleeting;
        self.announce.send_replace(generation);
        self.router.crowded.send_replace(false);
        self.router.pressed.notify_one();
        metrics::counter!("crosslink_router_rebuilds_total", "reason" => reason.name()).increment(1);
    }
}

/// Waits until a router has worked off all that went in.
async fn last_words(old: &mut Running, outlet: &mut Outlet) {
    while !old.settle() {
        sleep(RING_PAUSE).await;
    }
    while let Ok(notification) = outlet.next().await {
        if probe_in(notification) == Some(LAST_PROBE) {
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
