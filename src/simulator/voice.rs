//! How the simulated devices tell what they do: to a person, or to the log.

use std::io::{self, Write};

use tracing::{debug, info};

use crate::error::Error;

/// Where a device tells what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// A line on standard output.
    Print,
    /// The log: what happens to the device as `info`, what it plays as `debug`.
    Log,
}

impl Voice {
    /// Tells what happens to the device.
    pub(super) fn say(self, device: &str, what: &str) -> Result<(), Error> {
        match self {
            Voice::Print => print(device, what),
            Voice::Log => {
                info!(device, "{device} {what}");
                Ok(())
            }
        }
    }

    /// Tells what is heard from its buzzer.
    pub(super) fn play(self, device: &str, what: &str) -> Result<(), Error> {
        match self {
            Voice::Print => print(device, what),
            Voice::Log => {
                debug!(device, "{device} {what}");
                Ok(())
            }
        }
    }
}

/// Fails when nobody reads any more, as in `| head`: then there is nobody to play for.
fn print(device: &str, what: &str) -> Result<(), Error> {
    writeln!(io::stdout(), "{device:<10} {what}").map_err(|_| Error::Unavailable("standard output"))
}
