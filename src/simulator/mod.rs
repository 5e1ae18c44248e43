//! The cross-linked pair, as two real MQTT clients that behave as the deployed firmware does, and a rig of services.
//!
//! It gives a newcomer a living system without hardware, and a broker the ways in which devices die.

mod climate;
mod device;
mod fault;
mod firmware;
mod melody;
pub mod rig;
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
    /// A firmware with a service of each kind, and a little plant behind it.
    ///
    /// Each service has the name of its kind, so that the PID controller measures on rig1/pid/output
    /// and takes commands on rig1/pid/config. What commands change shows in what is measured: a setpoint
    /// warms the plate, the thermocouple on it and the infrared picture of it, and draws current from
    /// a channel of the power system. Commands and answers are told here, line by line.
    ///
    ///   mosquitto_sub -v -t 'rig1/#'
    ///   mosquitto_pub -q 1 -t rig1/pwm/config -m '{"enable": true, "duty": 0.5, "frequency": 1000}'
    #[command(verbatim_doc_comment)]
    Rig {
        /// The broker, as HOST:PORT. It need not be there yet: the rig tries until it answers.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883", value_parser = broker)]
        mqtt: (String, u16),
        /// The name of the firmware, which is the first level of its topics and its client id.
        ///
        /// May be given several times: each is a client of its own, with a plant of its own.
        #[arg(long, value_name = "NAME", default_value = rig::FIRMWARE, value_parser = rig::name)]
        firmware: Vec<String>,
        /// What is wrong with it. Without it, all is well.
        #[arg(long, value_enum)]
        fault: Option<rig::Fault>,
    },
}

impl SimulateArgs {
    /// Does what the command line asks for, until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let voice = Voice::Print;
        match self.devices {
            Devices::Pair { mqtt, fault } => {
                pair(Options { mqtt, pair: Pair::default(), fault, voice }, stop).await
            }
            Devices::Rig { mqtt, firmware, fault } => {
                let pace = rig::Pace::default();
                rig::run(rig::Options { mqtt, firmwares: firmware, fault, pace, voice }, stop).await
            }
        }
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

    fn devices(line: &str) -> Result<Devices, String> {
        let line = Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        Ok(line.simulate.devices)
    }

    fn parsed(line: &str) -> Result<((String, u16), Option<Fault>), String> {
        match devices(line)? {
            Devices::Pair { mqtt, fault } => Ok((mqtt, fault)),
            Devices::Rig { .. } => Err("a rig".to_owned()),
        }
    }

    fn rig(line: &str) -> Result<(Vec<String>, Option<rig::Fault>), String> {
        match devices(line)? {
            Devices::Rig { firmware, fault, .. } => Ok((firmware, fault)),
            Devices::Pair { .. } => Err("a pair".to_owned()),
        }
    }

    #[test]
    fn a_rig_has_as_many_firmwares_as_are_named() {
        assert_eq!(rig("simulate rig"), Ok((vec!["rig1".into()], None)));
        let line = "simulate rig --firmware cell --firmware press --fault slow-ack";
        let named = vec!["cell".into(), "press".into()];
        assert_eq!(rig(line), Ok((named, Some(rig::Fault::SlowAck))));
    }

    #[test]
    fn a_firmware_is_named_as_its_topics_can_be() {
        assert_eq!(rig::name("test cell"), Ok("test_cell".into()));
        for wrong in ["", "a/b", "a+", "#", "$SYS", "sensors", "mqtt", &"x".repeat(65)] {
            let refused = rig::name(wrong);
            assert!(refused.is_err_and(|error| error.contains("such as rig1")), "{wrong}");
        }
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
