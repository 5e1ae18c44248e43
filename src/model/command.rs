//! What is asked of devices, and what became of it.

use std::fmt;

use async_graphql::{Enum, SimpleObject};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::{Seq, ServiceTopic, Timestamp};
/// What a command asks of a device of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Play, whatever the peer measures.
    Play,
    /// Be silent, whatever the peer measures.
    Stop,
    /// Follow the peer again.
    Resume,
}

impl Action {
    pub const ALL: [Action; 3] = [Action::Play, Action::Stop, Action::Resume];

    /// The payload that asks for it.
    pub fn payload(self) -> &'static str {
        match self {
            Action::Play => "true",
            Action::Stop => "false",
            Action::Resume => "",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Action::Play => "play",
            Action::Stop => "stop",
            Action::Resume => "resume",
        }
    }

    pub fn named(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.name() == name)
    }

    /// What the firmware makes of a payload.
    pub fn of_payload(payload: &str) -> Action {
        let text = payload.trim().to_lowercase();
        match text.as_str() {
            "" => return Action::Resume,
            "true" | "1" | "on" | "play" => return Action::Play,
            "false" | "0" | "off" | "stop" => return Action::Stop,
            _ => {}
        }
        if let Ok(number) = text.parse::<f64>() {
            return if number > 0.0 { Action::Play } else { Action::Stop };
        }
        match serde_json::from_str::<serde_json::Value>(&text).ok().as_ref().and_then(|v| v.get("play")) {
            Some(serde_json::Value::Null) => Action::Resume,
            Some(serde_json::Value::String(inner)) => Action::of_payload(inner),
            Some(inner @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => {
                Action::of_payload(&inner.to_string())
            }
            _ => Action::Stop,
        }
    }
}

/// How far a command has come. A final state never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommandState {
    /// It is in the command log and not yet published.
    Accepted,
    /// Its message is out; if the device can answer, its answer is waited for.
    Published,
    /// The device answered that it is as it was told. Final.
    Confirmed,
    /// The device answered that it did not do it; `reason` is what it said. Final.
    Refused,
    /// The device answered something else than it was told; see `mismatches`. Final.
    Mismatch,
    /// No answer came in time. One that comes late is attached. Final.
    TimedOut,
    /// It was published; the device has no way to answer it. Final.
    Unconfirmable,
    /// It was not published in time, or the gateway stopped while its answer was waited for; see `reason`. Final.
    Expired,
    /// The gateway refused it, and it was never published; `reason` is the code of the refusal. Final.
    Denied,
}

impl CommandState {
    pub fn is_final(self) -> bool {
        !matches!(self, CommandState::Accepted | CommandState::Published)
    }
}

/// What became of the command's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Delivery {
    /// No connected client was subscribed to the topic.
    NoSubscriber,
    /// It went to every subscriber; none has acknowledged it.
    Sent,
    /// A subscriber acknowledged the message.
    Acknowledged,
}

/// Where a command came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Surface {
    /// By REST, or by the routes of the original server.
    Rest,
    /// By GraphQL.
    #[graphql(name = "GRAPHQL")]
    #[serde(rename = "GRAPHQL")]
    GraphQl,
    /// Another MQTT client published it.
    Mqtt,
}

/// A command and its life so far.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
#[graphql(complex)]
pub struct CommandRecord {
    /// The seq of its first entry in the journal.
    pub id: Seq,
    /// The seq of its newest state.
    pub seq: Seq,
    /// When it was accepted, or denied.
    pub accepted_at: Timestamp,
    /// When its newest state began.
    pub at: Timestamp,
    #[graphql(skip)]
    #[serde(flatten, serialize_with = "as_fields")]
    #[schema(value_type = TargetFields)]
    pub target: Target,
    /// Where its message goes.
    pub topic: String,
    /// As on the wire.
    pub payload: String,
    /// With which quality of service it was published, or would have been: 0, 1 or 2.
    pub qos: u8,
    /// How far it has come.
    pub state: CommandState,
    /// What became of its message. Absent before it is published.
    pub delivery: Option<Delivery>,
    /// For how long the device's answer is waited for, in milliseconds. Null where none is.
    pub timeout_ms: Option<u32>,
    /// What the device answered.
    pub answer: Option<Answer>,
    /// What the device reports otherwise than it was told.
    pub mismatches: Vec<Mismatch>,
    /// Why it was refused, in the device's own words; why it expired: `RESTART` or `JOURNAL_BEHIND`; why it was denied, by
    /// the code of the problem: `PAYLOAD_INVALID`, `KIND_AMBIGUOUS`, `ARMING_REQUIRED`, `COMMAND_IN_FLIGHT` or
    /// `DEVICE_OFFLINE`. Null in other states.
    pub reason: Option<String>,
    /// While it was under way, another client published on its topic, an earlier command there was not answered, or one was
    /// answered within the last minute and the answer does not tell the two apart: it may be that of another command.
    pub ambiguous: bool,
    /// Where it came in.
    pub surface: Surface,
    /// The MQTT client that published it, when it came by MQTT.
    pub client_id: Option<String>,
    /// The address that it came from.
    pub address: Option<String>,
    /// The key under which the same command again is this record, unless it was denied.
    pub idempotency_key: Option<String>,
}

/// What a device answered to a command.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
#[graphql(complex, name = "CommandAnswer")]
#[schema(as = CommandAnswer)]
pub struct Answer {
    /// The seq of the reading that it is.
    pub seq: Seq,
    /// When it came.
    pub at: Timestamp,
    /// Where it came.
    pub topic: String,
    /// JSON, byte for byte as on the wire.
    pub payload: String,
    /// It came after the command had timed out.
    pub late: bool,
}

/// A field that a device reports otherwise than it was told. Numbers are compared as the device has them, in 32 bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SimpleObject, ToSchema)]
pub struct Mismatch {
    /// JSON pointer into the command's payload.
    pub pointer: String,
    /// The value that was sent, as JSON.
    pub sent: String,
    /// The value that the device reports, as JSON.
    pub reported: String,
}

/// Whom a command is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A device, and what it makes of the payload.
    Device {
        device: String,
        action: Action,
    },
    Service(ServiceTopic),
}

/// As a person says it: `'play' to esp32`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Device { device, action } => write!(f, "'{}' to {device}", action.name()),
            Target::Service(topic) => write!(f, "a command to {topic}"),
        }
    }
}

impl Target {
    /// The device, or the topic of the service.
    pub fn name(&self) -> &str {
        match self {
            Target::Device { device, .. } => device,
            Target::Service(topic) => topic.as_str(),
        }
    }

    /// The device, if it is for one.
    pub fn device(&self) -> Option<&str> {
        match self {
            Target::Device { device, .. } => Some(device),
            Target::Service(_) => None,
        }
    }

    /// What is asked of a device.
    pub fn action(&self) -> Option<Action> {
        match self {
            Target::Device { action, .. } => Some(*action),
            Target::Service(_) => None,
        }
    }

    /// The topic, if it is for a service.
    pub fn service(&self) -> Option<&ServiceTopic> {
        match self {
            Target::Device { .. } => None,
            Target::Service(topic) => Some(topic),
        }
    }
}

/// Whom a command is for, as JSON has it.
#[derive(Serialize, ToSchema)]
struct TargetFields<'a> {
    /// The device that it is for. Null when it is for a service.
    device: Option<&'a str>,
    /// What the device makes of the payload. Null when it is for a service.
    action: Option<Action>,
    /// The firmware of the service that it is for. Null when it is for a device.
    firmware: Option<&'a str>,
    /// The service that it is for. Null when it is for a device.
    service: Option<&'a str>,
    /// What follows the service in its topic. Null when it is for a device.
    suffix: Option<&'a str>,
}

fn as_fields<S: Serializer>(target: &Target, serializer: S) -> Result<S::Ok, S::Error> {
    let topic = target.service();
    let fields = TargetFields {
        device: target.device(),
        action: target.action(),
        firmware: topic.map(ServiceTopic::firmware),
        service: topic.map(ServiceTopic::name),
        suffix: topic.map(ServiceTopic::suffix),
    };
    fields.serialize(serializer)
}

impl CommandRecord {
    /// Whether this is the state in which the message goes out. What another client published is told after
    /// that, in one state alone.
    pub fn goes_out(&self) -> bool {
        match self.state {
            CommandState::Published => true,
            CommandState::Unconfirmable => self.id == self.seq,
            CommandState::Accepted
            | CommandState::Confirmed
            | CommandState::Refused
            | CommandState::Mismatch
            | CommandState::TimedOut
            | CommandState::Expired
            | CommandState::Denied => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(payloads: &[&str], action: Action) {
        for payload in payloads {
            assert_eq!(Action::of_payload(payload), action, "{payload:?}");
        }
    }

    #[test]
    fn an_empty_command_resumes() {
        all(&["", " ", "\r\n", r#"{"play":""}"#, r#"{"play":null}"#], Action::Resume);
    }

    #[test]
    fn words_and_numbers_above_zero_play() {
        all(&["true", " TRUE ", "1", "on", "Play\n", "0.5", "2", "1e3"], Action::Play);
        all(&[r#"{"play":1}"#, r#"{"play":true}"#, r#" {"Play": "ON"} "#, r#"{"play":0.1}"#], Action::Play);
    }

    #[test]
    fn words_and_numbers_up_to_zero_stop() {
        all(&["false", "FALSE", "0", "off", " Stop", "0.0", "-0", "-3"], Action::Stop);
        all(&[r#"{"play":0}"#, r#"{"play":false}"#, r#"{"play":"off"}"#], Action::Stop);
    }

    #[test]
    fn any_other_text_stops() {
        all(
            &["banana", "{}", "[]", "null", "nan", r#"{"play":[1]}"#, r#"{"play":"#, "true true"],
            Action::Stop,
        );
    }

    #[test]
    fn what_an_action_sends_asks_for_it() {
        for action in Action::ALL {
            assert_eq!(Action::of_payload(action.payload()), action);
            assert_eq!(Action::named(action.name()), Some(action));
        }
    }
}
