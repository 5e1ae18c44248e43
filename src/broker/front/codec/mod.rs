//! MQTT 3.1.1 and 5, between bytes and packets.
//!
//! Reads what clients send and is strict about it, because the bytes come from anyone: nothing here
//! panics, and nothing is set aside for a length that was only claimed. What a topic may say, and
//! what a packet means, is the session's business.

mod code;
mod decode;
mod encode;
mod properties;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use code::Code;
pub use decode::decode;
pub use encode::{encode, encode_publish, publish_len};
pub use properties::{Properties, Property};

pub use crate::model::QoS;

/// The most bytes that can follow a fixed header, and the greatest subscription identifier: four digits of seven bits.
pub const MAX_REMAINING_LENGTH: usize = 268_435_455;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1, which calls itself level 4.
    V4,
    /// MQTT 5.
    V5,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connect(Box<Connect>),
    ConnAck(ConnAck),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    Subscribe(Subscribe),
    SubAck(SubAck),
    Unsubscribe(Unsubscribe),
    UnsubAck(UnsubAck),
    PingReq,
    PingResp,
    Disconnect(Disconnect),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    pub version: Version,
    /// 3.1.1 calls it clean session, and it then also ends the session with the connection.
    pub clean_start: bool,
    /// In seconds; 0 turns it off.
    pub keep_alive: u16,
    /// Empty when the server is to choose one.
    pub client_id: String,
    pub will: Option<Will>,
    pub username: Option<String>,
    pub password: Option<Bytes>,
    pub properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub topic: String,
    pub payload: Bytes,
    pub qos: QoS,
    pub retain: bool,
    pub properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Written only with success.
    pub session_present: bool,
    pub code: Code,
    pub properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// Empty when a topic alias stands for it.
    pub topic: String,
    /// 0 with QoS 0, which has none.
    pub packet_id: u16,
    pub properties: Properties,
    /// A view of the buffer it was read from: whoever keeps it for long keeps a copy.
    pub payload: Bytes,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub packet_id: u16,
    pub code: Code,
    pub properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub packet_id: u16,
    pub properties: Properties,
    /// At least one.
    pub filters: Vec<Subscription>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub filter: String,
    pub qos: QoS,
    pub no_local: bool,
    /// Off in 3.1.1, as all that follows: its server clears the flag and sends what is retained.
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// Whether a subscription is answered with what is retained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    #[default]
    Send,
    SendIfNew,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck {
    pub packet_id: u16,
    /// One for each filter, in their order.
    pub codes: Vec<Code>,
    pub properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    pub packet_id: u16,
    pub properties: Properties,
    /// At least one.
    pub filters: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubAck {
    pub packet_id: u16,
    /// One for each filter, in their order.
    pub codes: Vec<Code>,
    pub properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    pub code: Code,
    pub properties: Properties,
}

/// Why bytes are no packet. The connection cannot go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet: {what}")]
pub struct Malformed {
    /// What an MQTT 5 client is told.
    pub code: Code,
    pub what: &'static str,
}

/// Whether what has come in begins with a message.
pub fn is_publish(input: &[u8]) -> bool {
    input.first().is_some_and(|first| first >> 4 == kind::PUBLISH)
}

/// The numbers of the packet types, in the upper half of the first byte.
mod kind {
    pub(super) const CONNECT: u8 = 1;
    pub(super) const CONNACK: u8 = 2;
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const PUBACK: u8 = 4;
    pub(super) const PUBREC: u8 = 5;
    pub(super) const PUBREL: u8 = 6;
    pub(super) const PUBCOMP: u8 = 7;
    pub(super) const SUBSCRIBE: u8 = 8;
    pub(super) const SUBACK: u8 = 9;
    pub(super) const UNSUBSCRIBE: u8 = 10;
    pub(super) const UNSUBACK: u8 = 11;
    pub(super) const PINGREQ: u8 = 12;
    pub(super) const PINGRESP: u8 = 13;
    pub(super) const DISCONNECT: u8 = 14;
    pub(super) const AUTH: u8 = 15;
}

/// Bits of the CONNECT flags.
mod connect_flag {
    pub(super) const RESERVED: u8 = 0x01;
    pub(super) const CLEAN_START: u8 = 0x02;
    pub(super) const WILL: u8 = 0x04;
    pub(super) const WILL_QOS_SHIFT: u8 = 3;
    pub(super) const WILL_RETAIN: u8 = 0x20;
    pub(super) const PASSWORD: u8 = 0x40;
    pub(super) const USERNAME: u8 = 0x80;
}

/// Bits of the first byte of a PUBLISH.
mod publish_flag {
    pub(super) const RETAIN: u8 = 0x01;
    pub(super) const QOS_SHIFT: u8 = 1;
    pub(super) const DUP: u8 = 0x08;
}

/// Bits of a subscription's options.
mod option_flag {
    pub(super) const NO_LOCAL: u8 = 0x04;
    pub(super) const RETAIN_AS_PUBLISHED: u8 = 0x08;
    pub(super) const RETAIN_HANDLING_SHIFT: u8 = 4;
    pub(super) const RESERVED: u8 = 0xC0;
}
