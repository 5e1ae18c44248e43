//! The grammar of topics.
//!
//! An address is what a topic means; [`Address::from_str`] and `Display` are inverses. Devices in the
//! field use other spellings too: [`Place::of`] reads those, and says so.

use std::{fmt, str::FromStr};

use crate::{
    catalog,
    error::Error,
    model::{NoService, Pair, QoS, ServiceName, ServiceTopic},
};

/// The longest name of a device, in characters.
const MAX_NAME: usize = 64;
/// What the name of a device is, for people.
pub const NAME: &str = "1 to 64 of A-Z a-z 0-9 _ . -";

/// What the name of a firmware or a service is, for people.
pub const SERVICE_NAME: &str = "one level of a topic, 1 to 64 bytes without control characters, + and #";

/// A form of topics, and how messages go over it. Displayed with `{device}` for the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The first level, a namespace of the gateway's.
    pub root: &'static str,
    /// What follows the name.
    rest: &'static str,
    pub qos: QoS,
    pub retain: bool,
}

pub const SENSOR: Form = Form { root: "sensors", rest: "", qos: QoS::AtMostOnce, retain: false };
pub const PRESENCE: Form = Form { root: "presence", rest: "/status", qos: QoS::AtLeastOnce, retain: true };
pub const PLAY: Form = Form { root: "commands", rest: "/play", qos: QoS::AtLeastOnce, retain: false };

/// What a topic means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// By [`SENSOR`].
    Sensor { device: String },
    /// By [`PRESENCE`].
    Presence { device: String },
    /// By [`PLAY`].
    Play { device: String },
    /// By the catalog.
    Service(ServiceTopic),
}

/// Where a topic lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the gateway's namespaces. `alias` when it is spelt in another way than the gateway does.
    Known { address: Address, alias: bool },
    /// In the gateway's namespaces, but no address, which would have this form: the message is a rejection.
    Unknown(Form),
    /// No kind of service speaks here: a rejection if the service is known, else as foreign.
    Beside(ServiceTopic),
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
        let Some((root, rest)) = topic.split_once('/') else { return Place::Foreign };
        if let Some(form) = Form::under(root) {
            return Place::Unknown(form);
        }
        if is_play(root, rest, pair) {
            return Place::Known { address: Address::Play { device: root.into() }, alias: true };
        }
        match topic.parse::<ServiceTopic>() {
            Ok(topic) if !is_firmware(topic.firmware()) || is_play(topic.firmware(), topic.name(), pair) => {
                Place::Foreign
            }
            Ok(topic) if catalog::speaks(topic.suffix()) => {
                Place::Known { address: Address::Service(topic), alias: false }
            }
            Ok(topic) => Place::Beside(topic),
            Err(NoService) => Place::Foreign,
        }
    }
}

/// Whether a topic carries commands. Its form alone decides, whatever the names in it.
pub fn is_command(topic: &str, pair: &Pair) -> bool {
    let mut levels = topic.splitn(3, '/');
    let (Some(root), Some(name)) = (levels.next(), levels.next()) else { return false };
    match levels.next() {
        Some("play") if root == PLAY.root => !name.is_empty(),
        None => is_play(root, name, pair),
        Some(rest) => {
            let suffix = &topic[topic.len() - rest.len() - 1..];
            let names_service = is_firmware(root) && !name.is_empty() && !is_play(root, name, pair);
            names_service && catalog::commands(suffix)
        }
    }
}

/// Whether `{root}/{rest}` is where a device of the pair is commanded by its alias: no service has that name.
fn is_play(root: &str, rest: &str, pair: &Pair) -> bool {
    rest == "play" && pair.contains(root)
}

/// Whether a firmware may have this name. The first level of the gateway's own topics is none, nor is that of the
/// pages' WebSocket or of what brokers say of themselves.
pub fn is_firmware(name: &str) -> bool {
    !name.is_empty() && Form::under(name).is_none() && name != "mqtt" && !name.starts_with('$')
}

/// The service of this name, if messages could come from there.
pub fn service(firmware: &str, name: &str, pair: &Pair) -> Result<ServiceName, Error> {
    let text = format!("{firmware}/{name}");
    // No message comes on a topic with a wildcard.
    let place = if text.contains(['+', '#']) { Place::Foreign } else { Place::of(&text, pair) };
    match place {
        Place::Known { address: Address::Service(topic), .. } | Place::Beside(topic)
            if topic.suffix().is_empty() =>
        {
            Ok(topic.service_name())
        }
        Place::Known { .. } | Place::Beside(_) | Place::Unknown(_) | Place::Foreign => {
            let [sensors, presence, commands] = [SENSOR, PRESENCE, PLAY].map(|form| form.root);
            Err(Error::Invalid(format!(
                "{text:?} names no service: each of the two names is {SERVICE_NAME}, the firmware is not {sensors}, \
                 {presence}, {commands}, mqtt or $…, and a device of the pair has no service play"
            )))
        }
    }
}

/// Whether `name` can be the name of a device: one level of `[A-Za-z0-9_.-]`, at most 64 characters.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

impl FromStr for Address {
    type Err = NoAddress;

    /// Of the gateway's own namespaces: what a service's topic means, only [`Place::of`] tells.
    fn from_str(topic: &str) -> Result<Address, NoAddress> {
        let (root, rest) = topic.split_once('/').ok_or(NoAddress)?;
        let form = Form::under(root).ok_or(NoAddress)?;
        let device = rest.strip_suffix(form.rest).filter(|device| is_name(device)).ok_or(NoAddress)?;
        let device = device.to_owned();
        Ok(match form {
            SENSOR => Address::Sensor { device },
            PRESENCE => Address::Presence { device },
            _ => Address::Play { device },
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (form, device) = match self {
            Address::Sensor { device } => (SENSOR, device),
            Address::Presence { device } => (PRESENCE, device),
            Address::Play { device } => (PLAY, device),
            Address::Service(topic) => return topic.fmt(f),
        };
        write!(f, "{}/{device}{}", form.root, form.rest)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{{device}}{}", self.root, self.rest)
    }
}

impl Form {
    fn under(root: &str) -> Option<Form> {
        [SENSOR, PRESENCE, PLAY].into_iter().find(|form| form.root == root)
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
            Place::Unknown(_) | Place::Beside(_) | Place::Foreign => None,
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
        for (topic, form) in [
            ("sensors/a/b", SENSOR),
            ("sensors/", SENSOR),
            ("presence/esp32", PRESENCE),
            ("commands/x/y", PLAY),
            ("sensors/\u{e9}", SENSOR),
        ] {
            assert_eq!(Place::of(topic, &pair()), Place::Unknown(form), "{topic}");
        }
        for topic in [
            "sensors",
            "x",
            "/sensors/esp32",
            "/presence/x",
            "mqtt/a",
            "$SYS/broker",
            "a//config",
            "esp32/play/config",
        ] {
            assert_eq!(Place::of(topic, &pair()), Place::Foreign, "{topic}");
        }
    }

    #[test]
    fn a_service_speaks_where_some_kind_does() {
        for topic in ["board/fan", "board/fan/config", "board/cam/35", "board/pds/vcc2i", "other/play"] {
            assert_eq!(known(topic), Some((topic.to_owned(), false)));
        }
        for topic in ["board/fan/on/nothing", "board/cam/36", "board/pds/vcc3i", "a/b/config/set"] {
            assert!(matches!(Place::of(topic, &pair()), Place::Beside(_)), "{topic}");
        }
    }

    #[test]
    fn a_service_has_names_that_a_topic_can_have() {
        assert_eq!(service("rig", "fan", &pair()).unwrap().as_str(), "rig/fan");
        for (firmware, name) in [
            ("", "fan"),
            ("rig", ""),
            ("rig", "fan/config"),
            ("a/rig", "fan"),
            ("sensors", "fan"),
            ("commands", "esp32/play"),
            ("$SYS", "fan"),
            ("mqtt", "fan"),
            ("esp32", "play"),
            ("rig", "+"),
            ("#", "fan"),
        ] {
            assert!(service(firmware, name, &pair()).is_err(), "{firmware}/{name}");
        }
    }

    #[test]
    fn a_command_topic_is_known_by_its_form() {
        for topic in [
            "commands/esp32/play",
            "commands/\u{e9}/play",
            "raspberry/play",
            "rig/fan/config",
            "rig/scale/tare",
        ] {
            assert!(is_command(topic, &pair()), "{topic}");
        }
        for topic in [
            "commands//play",
            "commands/a/b/play",
            "other/play",
            "commands/esp32/stop",
            "rig/fan",
            "rig/fan/fault",
            "mqtt/a/config",
            "esp32/play/config",
        ] {
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
