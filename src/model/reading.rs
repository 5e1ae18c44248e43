//! What devices measure.

use async_graphql::SimpleObject;
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::{Seq, Timestamp};
/// What a device measured.
#[derive(Clone, Debug, PartialEq, Serialize, SimpleObject, ToSchema)]
#[graphql(complex)]
pub struct Reading {
    /// Its place in the journal.
    pub seq: Seq,
    /// When it arrived.
    pub at: Timestamp,
    /// Who measured.
    pub device: String,
    /// In `unit`, degrees Celsius unless the device says otherwise.
    pub temperature: f64,
    /// Relative humidity in percent.
    pub humidity: f64,
    /// The temperature from which the peer plays.
    pub threshold: f64,
    /// As the device says it, else whether `temperature` has reached `threshold`.
    pub over_threshold: bool,
    /// Of the temperatures, if the device says one.
    pub unit: Option<String>,
    /// The rejection that it was made of, when its message was understood later. Such a reading is history: it
    /// is the latest only of a device that has no other, and proves no presence.
    pub replay_of: Option<Seq>,
    /// The payload byte for byte, as on the wire.
    #[graphql(skip)]
    #[serde(serialize_with = "as_json")]
    #[schema(value_type = Object)]
    pub payload: Bytes,
}

/// The payload of every reading was parsed as JSON when it came in.
fn as_json<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let raw: &serde_json::value::RawValue =
        serde_json::from_slice(payload).map_err(serde::ser::Error::custom)?;
    raw.serialize(serializer)
}

#[async_graphql::ComplexObject]
impl Reading {
    /// The payload as on the wire, with the fields that the gateway does not know.
    async fn raw(&self) -> async_graphql::Result<async_graphql::Json<serde_json::Value>> {
        Ok(async_graphql::Json(serde_json::from_slice(&self.payload)?))
    }
}

/// What a device says in a reading. Fields that are not named here are kept in the payload alone.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SensorPayload {
    /// In `unit`, degrees Celsius unless the device says otherwise.
    pub temperature: f64,
    /// Relative humidity in percent.
    pub humidity: f64,
    /// The temperature from which the peer plays.
    pub threshold: f64,
    /// Whether the threshold is reached. Without it, whether `temperature` has reached `threshold`.
    #[serde(default)]
    pub over_threshold: Option<bool>,
    /// Of the temperatures.
    #[serde(default)]
    pub unit: Option<String>,
}

impl SensorPayload {
    /// The reading that `payload`, from which this was parsed, says.
    pub fn typed(self, seq: Seq, at: Timestamp, device: String, payload: Bytes) -> Reading {
        Reading {
            seq,
            at,
            device,
            temperature: self.temperature,
            humidity: self.humidity,
            threshold: self.threshold,
            over_threshold: self.over_threshold.unwrap_or(self.temperature >= self.threshold),
            unit: self.unit,
            replay_of: None,
            payload,
        }
    }
}
