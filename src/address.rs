//! The grammar of topics.
//!
//! An address is what a topic means; [`Address::from_str`] and `Display` are inverses. Devices in the
//! field use other spellings too: [`Place::of`] reads those, and says so.

use std::{fmt, str::FromStr};

use crate::model::Pair;

/// The longest name of a device, in characters.
pub const MAX_NAME: usize = 64;

/// What a topic means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `sensors/{device}`
    Sensor { device: String },
    /// `presence/{device}/status`
    Presence { device: String },
    /// `commands/{device}/play`
    Play { device: String },
}

/// Where a topic lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the gateway's namespaces. `alias` when it is spelt in another way than the gateway does.
    Known { address: Address, alias: bool },
    /// In the gateway's namespaces, but no address: the message is a rejection.
    Unknown,
    /// Elsewhere: the message passes through the broker unrecorded.
    Foreign,
}

/// A topic that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddress;

impl Place {
    pub fn of(topic: &str, pair: &Pair) -> Place {
        if let Ok(address) = topic.parse() {
            return match address {
                Address::Sensor { device } if device == "rasperry" => {
                    Place::Known { address: Address::Sensor { device: "raspberry".into() }, alias: true }
                }
                address => Place::Known { address, alias: false },
            };
        }
        if let Some(Ok(address @ Address::Presence { .. })) = topic.strip_prefix('/').map(str::parse) {
            return Place::Known { address, alias: true };
        }
        match topic.split_once('/') {
            Some(("sensors" | "presence" | "commands", _)) => Place::Unknown,
            Some((device, "play")) if pair.contains(device) => {
                Place::Known { address: Address::Play { device: device.into() }, alias: true }
            }
            _ => Place::Foreign,
        }
    }
}

/// Whether a topic carries commands. Its form alone decides, whatever the name in it.
pub fn is_command(topic: &str, pair: &Pair) -> bool {
    match topic.strip_suffix("/play") {
        Some(rest) => match rest.strip_prefix("commands/") {
            Some(device) => !device.is_empty() && !device.contains('/'),
            None => pair.contains(rest),
        },
        None => false,
    }
}

/// Whether `name` can be the name of a device: one level of `[A-Za-z0-9_.-]`, at most 64 characters.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(topic: &str) -> Result<Address, NoAddress> {
        let (root, rest) = topic.split_once('/').ok_or(NoAddress)?;
        let device = match root {
            "sensors" => rest,
            "presence" => rest.strip_suffix("/status").ok_or(NoAddress)?,
            "commands" => rest.strip_suffix("/play").ok_or(NoAddress)?,
            _ => return Err(NoAddress),
        };
        if !is_name(device) {
            return Err(NoAddress);
        }
        let device = device.to_owned();
        Ok(match root {
            "sensors" => Address::Sensor { device },
            "presence" => Address::Presence { device },
            _ => Address::Play { device },
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Sensor { device } => write!(f, "sensors/{device}"),
            Address::Presence { device } => write!(f, "presence/{device}/status"),
            Address::Play { device } => write!(f, "commands/{device}/play"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair() -> Pair {
        Pair("raspberry".into(), "esp32".into())
    }

    fn known(topic: &str) -> Option<(String, bool)> {
        match Place::of(topic, &pair()) {
            Place::Known { address, alias } => Some((address.to_string(), alias)),
            Place::Unknown | Place::Foreign => None,
        }
    }

    #[test]
    fn aliases_of_the_field_are_read() {
        let alias = |canonical: &str| Some((canonical.to_owned(), true));
        assert_eq!(known("sensors/rasperry"), alias("sensors/raspberry"));
        assert_eq!(known("/presence/esp32/status"), alias("presence/esp32/status"));
        assert_eq!(known("esp32/play"), alias("commands/esp32/play"));
        assert_eq!(known("sensors/raspberry"), Some(("sensors/raspberry".into(), false)));
    }

    #[test]
    fn only_the_namespaces_reject() {
        for topic in ["sensors/a/b", "sensors/", "presence/esp32", "commands/x/y", "sensors/\u{e9}"] {
            assert_eq!(Place::of(topic, &pair()), Place::Unknown, "{topic}");
        }
        for topic in ["sensors", "x", "board/fan/config", "/sensors/esp32", "other/play", "/presence/x"] {
            assert_eq!(Place::of(topic, &pair()), Place::Foreign, "{topic}");
        }
    }

    #[test]
    fn a_command_topic_is_known_by_its_form() {
        for topic in ["commands/esp32/play", "commands/\u{e9}/play", "raspberry/play"] {
            assert!(is_command(topic, &pair()), "{topic}");
        }
        for topic in ["commands//play", "commands/a/b/play", "other/play", "commands/esp32/stop"] {
            assert!(!is_command(topic, &pair()), "{topic}");
        }
    }

    proptest! {
        #[test]
        fn reading_and_writing_are_inverses(topic in "(sensors|presence|commands)/[A-Za-z0-9_.-]{1,70}(/status|/play)?") {
            if let Ok(address) = topic.parse::<Address>() {
                prop_assert_eq!(address.to_string(), topic);
            }
        }

        #[test]
        fn no_topic_panics(topic in "\\PC*") {
            let _ = Place::of(&topic, &pair());
        }
    }
}
