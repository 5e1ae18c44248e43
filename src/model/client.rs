//! Who is connected to the broker.

use async_graphql::{Enum, SimpleObject};
use serde::Serialize;
use utoipa::ToSchema;

use super::{SessionId, Timestamp};

/// A client that is connected to the broker, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
pub struct ClientSession {
    /// Which the client gave itself, or was given by the gateway.
    pub client_id: String,
    /// Its address and port.
    pub address: String,
    /// Which MQTT it speaks.
    pub version: ProtocolVersion,
    /// When it connected.
    pub since: Timestamp,
    /// In seconds; 0 when it promised nothing.
    pub keep_alive: u16,
    /// This connection. A later one has a larger number.
    pub session: SessionId,
    /// What it listens to, in the order of its subscribing: the first 100.
    pub subscriptions: Vec<TopicFilter>,
    /// How many those are in all.
    pub subscription_count: u32,
    /// Messages that wait to be sent to it.
    pub queued: u32,
    /// Messages that were sent to it and that it has not acknowledged.
    pub in_flight: u32,
    /// When it published last. Null when it never has.
    pub last_message_at: Option<Timestamp>,
    /// It broke off so often that it is refused for a while when it comes anew.
    pub flapping: bool,
}

/// A client that broke off so often that it is kept out for a while.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
pub struct RefusedClient {
    /// By which it is refused.
    pub client_id: String,
    /// Address and port that it came from last.
    pub address: String,
    /// When it broke off once too often.
    pub since: Timestamp,
    /// From then on it is let in again.
    pub until: Timestamp,
    /// How often it came since.
    pub attempts: u32,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, SimpleObject, ToSchema)]
pub struct TopicFilter {
    /// A topic, perhaps with the wildcards `+` and `#`.
    pub filter: String,
    /// The highest with which it is delivered: 0 or 1.
    #[schema(minimum = 0, maximum = 1)]
    pub qos: u8,
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enum, ToSchema)]
pub enum ProtocolVersion {
    /// MQTT 3.1.1.
    #[serde(rename = "MQTT_3_1_1")]
    #[graphql(name = "MQTT_3_1_1")]
    V4,
    /// MQTT 5.
    #[serde(rename = "MQTT_5")]
    #[graphql(name = "MQTT_5")]
    V5,
}
