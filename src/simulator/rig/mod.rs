//! A rig: firmwares with a service of every kind in the catalog, as real MQTT clients.
//!
//! Behind each stands a little plant, so that what its services say hangs together and commands change it. A kind
//! that the plant does not know speaks and answers too, as the catalog has it.

mod fault;
mod firmware;
mod likeness;
mod service;
mod wire;
mod world;

use std::{collections::HashSet, time::Duration};

use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

pub use self::fault::Fault;
use self::firmware::Firmware;
use super::Voice;
use crate::{catalog::KINDS, error::Error};

/// The firmware of a rig that is not told otherwise.
pub const FIRMWARE: &str = "rig1";
/// The longest name of a firmware, in bytes.
const MAX_NAME: usize = 64;
/// First levels that mean something else.
const TAKEN: [&str; 4] = ["sensors", "presence", "commands", "mqtt"];

/// How to run a rig.
#[derive(Clone, Debug)]
pub struct Options {
    /// Host and port of the broker.
    pub mqtt: (String, u16),
    /// Each is a client of this name, with a service of each kind.
    pub firmwares: Vec<String>,
    /// Of every firmware.
    pub fault: Option<Fault>,
    pub pace: Pace,
    pub voice: Voice,
}

/// How fast a rig lives.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one turn of a service to its next.
    pub says_every: Duration,
    pub picture_every: Duration,
    /// From one fault that is told to the next.
    pub happens_every: Duration,
    /// How long a slow firmware takes to answer.
    pub slow_for: Duration,
    /// How long a connection lasts that drops.
    pub drops_every: Duration,
    /// Which of the measurements is garbage.
    pub garbage_every: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            // What a Raspberry Pi keeps up with at ease, and a person too.
            says_every: Duration::from_secs(1),
            picture_every: Duration::from_millis(2_500),
            happens_every: Duration::from_secs(30),
            // Long enough to see a command waiting for its answer.
            slow_for: Duration::from_secs(3),
            drops_every: Duration::from_secs(20),
            // One in a few seconds.
            garbage_every: 100,
        }
    }
}

/// Runs the firmwares until `stop` is cancelled; then they disconnect.
///
/// A broker that does not answer is tried again for ever.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), Error> {
    let Options { mqtt, firmwares, fault, pace, voice } = options;
    let mut names = HashSet::new();
    if let Some(twice) = firmwares.iter().find(|name| !names.insert(name.as_str())) {
        return Err(Error::Invalid(format!(
            "there is more than one firmware {twice:?}: they throw each other out"
        )));
    }
    let firmwares = firmwares.iter().map(|name| Firmware::new(name, KINDS, mqtt.clone(), fault, pace, voice));
    try_join_all(firmwares.map(|firmware| firmware.run(&stop))).await?;
    Ok(())
}

/// The name of a firmware, as it stands in topics: spaces become underscores.
pub(super) fn name(text: &str) -> Result<String, String> {
    let name = text.replace(' ', "_");
    let bad = |sign: char| sign.is_control() || matches!(sign, '/' | '+' | '#');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('$') || name.contains(bad) {
        return Err(format!("it takes one level of a topic, up to {MAX_NAME} bytes, such as {FIRMWARE}"));
    }
    if TAKEN.contains(&name.as_str()) {
        return Err(format!(
            "topics that begin with {name} mean something else; take another name, such as {FIRMWARE}"
        ));
    }
    Ok(name)
}
