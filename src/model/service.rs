//! What services say, and what is known of them.

use std::{fmt, str::FromStr, sync::Arc};

use async_graphql::{Enum, SimpleObject};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Seq, Timestamp};

/// The longest name of a firmware or a service, in bytes.
const MAX_NAME: usize = 64;

/// A service of a firmware: `{firmware}/{service}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    text: String,
    /// Where the firmware's name ends.
    slash: usize,
}

/// A topic of a service: `{firmware}/{service}{suffix}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceTopic {
    text: Arc<str>,
    /// Where the firmware's name ends.
    slash: usize,
    /// Where the service's name ends.
    end: usize,
}

/// A text that names no service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoService;

impl ServiceName {
    pub fn new(firmware: &str, name: &str) -> Result<ServiceName, NoService> {
        format!("{firmware}/{name}").parse()
    }

    pub fn firmware(&self) -> &str {
        &self.text[..self.slash]
    }

    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn topic(&self, suffix: &str) -> ServiceTopic {
        let text = format!("{}{suffix}", self.text);
        ServiceTopic { text: text.into(), slash: self.slash, end: self.text.len() }
    }
}

impl ServiceTopic {
    pub fn firmware(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The service's own name.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..self.end]
    }

    /// `{firmware}/{service}`.
    pub fn service(&self) -> &str {
        &self.text[..self.end]
    }

    /// What follows the service: empty, or beginning with a slash.
    pub fn suffix(&self) -> &str {
        &self.text[self.end..]
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// By this, suffixes stand as people count: `/ch2` before `/ch10`.
    pub fn rank(suffix: &str) -> (&str, Option<u64>) {
        let name = suffix.trim_end_matches(|end: char| end.is_ascii_digit());
        (name, suffix[name.len()..].parse().ok())
    }

    pub fn service_name(&self) -> ServiceName {
        ServiceName { text: self.service().to_owned(), slash: self.slash }
    }
}

impl FromStr for ServiceName {
    type Err = NoService;

    fn from_str(text: &str) -> Result<ServiceName, NoService> {
        let topic: ServiceTopic = text.parse()?;
        match topic.suffix() {
            "" => Ok(topic.service_name()),
            _ => Err(NoService),
        }
    }
}

impl FromStr for ServiceTopic {
    type Err = NoService;

    fn from_str(text: &str) -> Result<ServiceTopic, NoService> {
        let slash = text.find('/').ok_or(NoService)?;
        let after = slash + 1;
        let end = text[after..].find('/').map_or(text.len(), |length| after + length);
        if is_name(&text[..slash]) && is_name(&text[after..end]) {
            Ok(ServiceTopic { text: text.into(), slash, end })
        } else {
            Err(NoService)
        }
    }
}

/// Whether this can name a firmware or a service.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control)
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ServiceTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a service measured or reported. Which type its payload is, the service's kind says, also if that became known
/// later.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
#[graphql(complex)]
pub struct ServiceReading {
    /// Its place in the journal.
    pub seq: Seq,
    /// When it arrived.
    pub at: Timestamp,
    #[graphql(skip)]
    pub topic: ServiceTopic,
    /// The rejection that it was made of, when its message was understood later. Such a reading is history: it is the
    /// latest only of a topic that has no other.
    pub replay_of: Option<Seq>,
    /// JSON, byte for byte as on the wire.
    #[graphql(skip)]
    pub payload: Bytes,
}

/// How well the kind of a service is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceState {
    /// It has not spoken: it was only spoken to.
    #[default]
    Unknown,
    /// What it said fits several kinds.
    Ambiguous,
    /// What it said fits one kind alone.
    Inferred,
    /// A person said what it is.
    Pinned,
}

/// A message that told something of a service's kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, SimpleObject, ToSchema)]
pub struct Evidence {
    /// The reading.
    pub seq: Seq,
    /// What follows the service in its topic.
    pub suffix: String,
    /// The kinds that were left after it.
    pub candidates: Vec<String>,
}

/// A service appeared, or what is known of its kind changed.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
#[graphql(complex)]
pub struct ServiceChange {
    /// Its place in the journal.
    pub seq: Seq,
    /// When it happened.
    pub at: Timestamp,
    /// The first level of its topics.
    #[graphql(skip)]
    #[serde(flatten, serialize_with = "as_two_names")]
    #[schema(value_type = TwoNames)]
    pub service: ServiceName,
    /// How well its kind is known.
    pub state: ServiceState,
    /// Its kind, by name. Null while it may be several.
    #[graphql(skip)]
    pub kind: Option<String>,
    /// The kinds that it may be by what it said, the most likely first. All of them when it said nothing.
    pub candidates: Vec<String>,
    /// The message that told it. Null when a person did.
    pub evidence: Option<Evidence>,
}

impl ServiceChange {
    /// For the log: what is known now.
    pub fn news(&self) -> String {
        match (self.state, &self.kind) {
            (ServiceState::Pinned, Some(kind)) => format!("is pinned to {kind}"),
            (_, Some(kind)) => format!("is of kind {kind}, by what it says"),
            (ServiceState::Unknown, None) => {
                "was spoken to and has not answered: its kind is not known".to_owned()
            }
            (_, None) => format!("is one of {}", self.candidates.join(", ")),
        }
    }
}

/// The name of a service, as JSON has it.
#[derive(Serialize, ToSchema)]
struct TwoNames<'a> {
    /// The first level of its topics.
    firmware: &'a str,
    /// The second level of its topics.
    service: &'a str,
}

fn as_two_names<S: serde::Serializer>(service: &ServiceName, serializer: S) -> Result<S::Ok, S::Error> {
    TwoNames { firmware: service.firmware(), service: service.name() }.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_three_parts() {
        for (text, firmware, name, suffix) in [
            ("rig/fan", "rig", "fan", ""),
            ("rig/fan/config", "rig", "fan", "/config"),
            ("rig/fan/a/b", "rig", "fan", "/a/b"),
            ("é 1/ö", "é 1", "ö", ""),
        ] {
            let topic: ServiceTopic = text.parse().unwrap();
            assert_eq!((topic.firmware(), topic.name(), topic.suffix()), (firmware, name, suffix));
            assert_eq!(topic.service_name().topic(suffix), topic);
        }
    }

    #[test]
    fn suffixes_stand_as_people_count() {
        let mut suffixes = ["/vcc1i", "/ch10", "", "/9", "/ch2", "/10", "/ch"];
        suffixes.sort_by_key(|suffix| ServiceTopic::rank(suffix));
        assert_eq!(suffixes, ["", "/9", "/10", "/ch", "/ch2", "/ch10", "/vcc1i"]);
    }

    #[test]
    fn what_names_no_service_is_refused() {
        let long = format!("{}/a", "x".repeat(65));
        for text in ["", "rig", "/fan", "rig/", "rig//config", "r\u{1}g/fan", &long] {
            assert_eq!(text.parse::<ServiceTopic>(), Err(NoService), "{text:?}");
        }
        assert!(format!("{}/a", "x".repeat(64)).parse::<ServiceTopic>().is_ok());
        assert_eq!("rig/fan/config".parse::<ServiceName>(), Err(NoService));
    }
}
