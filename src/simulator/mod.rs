//! The cross-linked pair, as two real MQTT clients that behave as the deployed firmware does.
//!
//! It gives a newcomer a living system without hardware, and a broker the ways in which devices die.

mod climate;
mod device;
mod fault;
mod firmware;
mod melody;
mod speech;
mod voice;
mod wire;

use std::str::FromStr;

use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

pub use self::{
    device::{Board, Device},
    fault::{Fault, Pace},
    voice::Voice,
};
use crate::{error::Error, model::Pair};

/// How to run the pair.
#[derive(Clone, Debug)]
pub struct Options {
    /// Host and port of the broker.
    pub mqtt: (String, u16),
    /// The names of the two, as the broker's gateway pairs them. The second one has the fault.
    pub pair: Pair,
    pub fault: Option<Fault>,
    pub voice: Voice,
}

/// Runs both devices until `stop` is cancelled; then both say `offline` and leave.
///
/// A broker that does not answer is tried again for ever.
pub async fn pair(options: Options, stop: CancellationToken) -> Result<(), Error> {
    let Options { mqtt, pair: Pair(first, second), fault, voice } = options;
    let sound = Board::new(&first, &second, mqtt.clone(), voice);
    let faulty = Board { fault, ..Board::new(&second, &first, mqtt, voice) };
    tokio::try_join!(sound.run(&stop), faulty.run(&stop))?;
    Ok(())
}

/// Plays the part of devices, for trying things out without hardware.
#[derive(Args, Clone, Debug)]
pub struct SimulateArgs {
    #[command(subcommand)]
    pub devices: Devices,
}

/// Which devices are simulated.
#[derive(Clone, Debug, Subcommand)]
pub enum Devices {
    /// The raspberry and the esp32, each playing its melody while the other one is too warm.
    ///
    /// Both connect as MQTT clients of their own, measure every 2.6 s and obey commands on
    /// `commands/{device}/play`: `true` plays, `false` stops, an empty message resumes. What they play
    /// is told here, line by line. Ctrl-C lets them say `offline` and leave.
    #[command(verbatim_doc_comment)]
    Pair {
        /// The broker, as HOST:PORT. It need not be there yet: the devices try until it answers.
        ///
        /// Run only one pair at a broker: two clients of the same name throw each other out.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883", value_parser = broker)]
        mqtt: (String, u16),
        /// What is wrong with the esp32. Without it, both live on in peace.
        #[arg(long, value_enum)]
        fault: Option<Fault>,
    },
}

impl SimulateArgs {
    /// Does what the command line asks for, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let Devices::Pair { mqtt, fault } = self.devices;
        let names = Pair::default();
        pair(Options { mqtt, pair: names, fault, voice: Voice::Print }, stop).await
    }
}

fn broker(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    match u16::from_str(port) {
        Ok(port) if !host.is_empty() && port != 0 => Ok((host.to_owned(), port)),
        _ => Err("it takes a host and a port, such as 127.0.0.1:1883".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        simulate: SimulateArgs,
    }

    fn parsed(line: &str) -> Result<((String, u16), Option<Fault>), String> {
        let line = Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        let Devices::Pair { mqtt, fault } = line.simulate.devices;
        Ok((mqtt, fault))
    }

    #[test]
    fn the_command_line_has_defaults() {
        assert_eq!(parsed("simulate pair"), Ok((("127.0.0.1".into(), 1883), None)));
    }

    #[test]
    fn the_command_line_names_broker_and_fault() {
        let line = "simulate pair --mqtt [::1]:1884 --fault takeover";
        assert_eq!(parsed(line), Ok((("[::1]".into(), 1884), Some(Fault::Takeover))));
    }

    #[test]
    fn a_broker_without_a_port_is_refused_with_the_fix() {
        for wrong in ["localhost", "localhost:", ":1883", "localhost:0", "localhost:70000"] {
            let refused = parsed(&format!("simulate pair --mqtt {wrong}"));
            assert!(refused.is_err_and(|error| error.contains("such as 127.0.0.1:1883")), "{wrong}");
        }
    }
}
