//! What the router would forget of a message travels in a small header before its payload.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::time::Instant;

use crate::{
    broker::front::codec::QoS,
    model::{Seq, SessionId},
};

/// No topic begins with `$` or outside ASCII inside the router: both stop it.
pub const PREFIX: &str = "m/";

const RETAIN: u8 = 0b0100;
const NEVER: u64 = u64::MAX;
/// Without the properties.
const HEADER_BYTES: usize = 49;

/// What the router carries for us with each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Grows with each message that goes in, whatever becomes of routers.
    pub number: u64,
    pub origin: SessionId,
    /// The command that the message is, when the gateway sent it.
    pub command: Option<Seq>,
    /// How long it may wait for a stalled client, to the millisecond. Zero is for as long as the client may.
    pub life: Duration,
    pub qos: QoS,
    pub retain: bool,
    /// Its place in the tail, if it stands there as well. Else 0.
    pub place: u64,
    /// Worth nothing from then on, to the millisecond.
    pub expires: Option<Instant>,
    /// What travels with it in MQTT 5, as that writes it, without the length.
    pub properties: Bytes,
}

/// A message that has come through the router.
#[derive(Debug)]
pub struct Routed {
    pub header: Header,
    pub topic: Bytes,
    pub payload: Bytes,
}

impl Header {
    /// The payload with the header before it. The router so never sees an empty payload, which would
    /// mean something to it. Moments are counted from `epoch`.
    pub fn before(&self, payload: &[u8], epoch: Instant) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + self.properties.len() + payload.len());
        bytes.put_u8(self.qos.as_u8() | if self.retain { RETAIN } else { 0 });
        bytes.put_u64(self.number);
        bytes.put_u64(self.place);
        bytes.put_i64(self.origin.0);
        bytes.put_i64(self.command.map_or(0, |command| command.0));
        bytes.put_u32(u32::try_from(self.life.as_millis()).unwrap_or(u32::MAX));
        let expires = self.expires.map(|expires| expires.saturating_duration_since(epoch).as_millis());
        bytes.put_u64(expires.map_or(NEVER, |millis| u64::try_from(millis).unwrap_or(NEVER)));
        // A packet is far shorter than 4 GiB.
        bytes.put_u32(self.properties.len() as u32);
        bytes.put_slice(&self.properties);
        bytes.put_slice(payload);
        bytes.freeze()
    }
}

impl Routed {
    /// What went in under `topic`. None when it is nothing of ours.
    pub fn of(mut topic: Bytes, mut payload: Bytes, epoch: Instant) -> Option<Routed> {
        if topic.len() <= PREFIX.len() || payload.len() < HEADER_BYTES {
            return None;
        }
        topic.advance(PREFIX.len());
        let flags = payload.get_u8();
        let mut header = Header {
            number: payload.get_u64(),
            place: payload.get_u64(),
            origin: SessionId(payload.get_i64()),
            command: Some(Seq(payload.get_i64())).filter(|command| *command != Seq::ZERO),
            life: Duration::from_millis(payload.get_u32().into()),
            qos: QoS::from_u8(flags & 0b11)?,
            retain: flags & RETAIN != 0,
            expires: Some(payload.get_u64())
                .filter(|millis| *millis != NEVER)
                .map(|millis| epoch + Duration::from_millis(millis)),
            properties: Bytes::new(),
        };
        let properties = payload.get_u32() as usize;
        if properties > payload.len() {
            return None;
        }
        header.properties = payload.split_to(properties);
        Some(Routed { header, topic, payload })
    }
}
