//! How a simulated device gets into trouble, and when.

use std::{future, time::Duration};

use clap::ValueEnum;
use tokio::time::{self, Instant};

/// How often a device's connection drops while it flaps, and how long it is there and away in between:
/// a network at the edge of its reach.
const DROPS: u32 = 6;
const FLAPS_ONLINE: Duration = Duration::from_secs(1);
const FLAPS_OFFLINE: Duration = Duration::from_millis(500);

/// How the esp32 gets into trouble.
// The comments are the help text, line by line: what befalls the device, and what the gateway shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Every 20 s its power is cut: the connection drops without a DISCONNECT, so that its
    /// will is published; 5 s later it boots, with its override forgotten.
    /// The gateway shows OFFLINE (WILL), then ONLINE.
    #[value(verbatim_doc_comment)]
    Crash,
    /// Every 20 s it resets: it connects again under the same client id while its old
    /// connection stays open and silent, so that the broker sees a takeover.
    /// The gateway shows TAKEOVER, and never OFFLINE.
    #[value(verbatim_doc_comment)]
    Takeover,
    /// Every 20 s its firmware hangs for 15 s: it stays connected, but measures nothing, and
    /// what it is told meanwhile it obeys when it thaws.
    /// The gateway shows STALE (SILENCE), then ONLINE (READING).
    #[value(verbatim_doc_comment)]
    Freeze,
    /// Every 20 s its connection drops six times, each time a second after it stood. It does
    /// not reboot: an override stays in force, though nobody else can know.
    /// The gateway shows OFFLINE and ONLINE by quick turns.
    #[value(verbatim_doc_comment)]
    Flap,
    /// Every third reading is broken, each in another way: cut off, NaN or a text for a number,
    /// a field misspelt, not UTF-8, on a topic with a level too many, and so on.
    /// The gateway shows ONLINE, and keeps each as a rejection with its reason and place.
    #[value(verbatim_doc_comment)]
    Garbage,
    /// Its will and its `online` are on /presence/esp32/status, as devices in the field spell it.
    /// The gateway shows ONLINE (READING), for an alias alone proves nothing, and counts the
    /// aliases in crosslink_aliases_total.
    #[value(verbatim_doc_comment)]
    Alias,
    /// Each reading has another form: 29, 29.0 or 2.9e1; over_threshold and unit given, null or
    /// left out; with unknown fields or without. All of it is valid.
    /// The gateway shows ONLINE and every reading, and rejects nothing.
    #[value(verbatim_doc_comment)]
    Float,
}

/// How fast a device lives: as the deployed ones by default.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one measurement to the next.
    pub measures_every: Duration,
    /// How long a device is well before its fault befalls it.
    pub fault_every: Duration,
    /// How long a frozen firmware hangs.
    pub freezes_for: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            measures_every: Duration::from_millis(2600),
            // Long enough for the pair to be itself again before the next fault.
            fault_every: Duration::from_secs(20),
            // Three missing readings, 7.8 s, make it STALE, and that should be seen for a while; at 30 s
            // its keepalive would end.
            freezes_for: Duration::from_secs(15),
        }
    }
}

/// What befalls a device at a certain moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    PowerCut,
    Reset,
    Hang {
        time: Duration,
    },
    /// The connection drops, for the `nth` time in a row, and can be had again after `away`.
    Drop {
        nth: u32,
        of: u32,
        away: Duration,
    },
}

/// What will befall a device, from boot to boot.
#[derive(Debug)]
pub(super) struct Mishaps {
    fault: Option<Fault>,
    pace: Pace,
    /// How often its connection has dropped in a row.
    drops: u32,
    due: Option<(Instant, Mishap)>,
}

impl Mishaps {
    pub(super) fn new(fault: Option<Fault>, pace: Pace) -> Mishaps {
        Mishaps { fault, pace, drops: 0, due: None }
    }

    /// The device is well from now on: it has connected, or thawed.
    pub(super) fn well(&mut self) {
        self.due = self.ahead().map(|(time, mishap)| (Instant::now() + time, mishap));
    }

    /// The device has lost the broker, which is trouble enough.
    pub(super) fn lost(&mut self) {
        self.due = None;
    }

    /// Waits for the next one. May be given up at any time: it comes all the same.
    pub(super) async fn next(&mut self) -> Mishap {
        let Some((at, mishap)) = self.due else { return future::pending().await };
        time::sleep_until(at).await;
        self.befell(mishap);
        mishap
    }

    fn befell(&mut self, mishap: Mishap) {
        self.due = None;
        if let Mishap::Drop { nth, of, .. } = mishap {
            self.drops = nth % of;
        }
    }

    /// What comes next, and how long the device is well before it.
    fn ahead(&self) -> Option<(Duration, Mishap)> {
        let Pace { fault_every, freezes_for, .. } = self.pace;
        Some(match self.fault? {
            Fault::Crash => (fault_every, Mishap::PowerCut),
            Fault::Takeover => (fault_every, Mishap::Reset),
            Fault::Freeze => (fault_every, Mishap::Hang { time: freezes_for }),
            Fault::Flap => {
                let well = if self.drops == 0 { fault_every } else { FLAPS_ONLINE };
                (well, Mishap::Drop { nth: self.drops + 1, of: DROPS, away: FLAPS_OFFLINE })
            }
            // It only speaks in an odd way.
            Fault::Garbage | Fault::Alias | Fault::Float => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_flaps_for_a_while_and_is_stable_for_a_while() {
        let pace = Pace::default();
        let mut mishaps = Mishaps::new(Some(Fault::Flap), pace);
        for _ in 0..2 {
            for nth in 1..=DROPS {
                let (well, mishap) = mishaps.ahead().expect("there is more");
                assert_eq!(mishap, Mishap::Drop { nth, of: DROPS, away: FLAPS_OFFLINE });
                assert_eq!(well, if nth == 1 { pace.fault_every } else { FLAPS_ONLINE });
                mishaps.befell(mishap);
            }
        }
    }

    #[test]
    fn a_device_without_a_fault_is_spared() {
        assert_eq!(Mishaps::new(None, Pace::default()).ahead(), None);
    }
}
