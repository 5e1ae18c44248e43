//! From packets to bytes.
//!
//! What 3.1.1 has no words for is left out, so that the session need not know whom it answers.

use bytes::{BufMut, BytesMut};

use super::{
    Ack, Code, ConnAck, Connect, MAX_REMAINING_LENGTH, Packet, Properties, Publish, QoS, RetainHandling,
    Subscribe, Subscription, Unsubscribe, Version, connect_flag, kind, option_flag, publish_flag,
};

/// Digits of seven bits in the longest length.
const MAX_DIGITS: usize = 4;

/// Writes a packet as this version spells it; a CONNECT in the version it names itself.
///
/// In 3.1.1 there are no properties and no reasons: a refused connection gets one of its six return
/// codes, a refused subscription 0x80, and a DISCONNECT, which only clients send there, is nothing.
pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) {
    match packet {
        Packet::Connect(connect) => encode_connect(connect, out),
        Packet::ConnAck(connack) => encode_connack(connack, version, out),
        Packet::Publish(publish) => encode_publish(publish, version, out),
        Packet::PubAck(ack) => encode_ack(kind::PUBACK << 4, ack, version, out),
        Packet::PubRec(ack) => encode_ack(kind::PUBREC << 4, ack, version, out),
        Packet::PubRel(ack) => encode_ack(kind::PUBREL << 4 | 0b0010, ack, version, out),
        Packet::PubComp(ack) => encode_ack(kind::PUBCOMP << 4, ack, version, out),
        Packet::Subscribe(subscribe) => encode_subscribe(subscribe, version, out),
        Packet::SubAck(suback) => frame(kind::SUBACK << 4, out, |out| {
            out.put_u16(suback.packet_id);
            put_properties(&suback.properties, version, out);
            for code in &suback.codes {
                match version {
                    Version::V4 if code.is_failure() => out.put_u8(Code::UNSPECIFIED.0),
                    Version::V4 | Version::V5 => out.put_u8(code.0),
                }
            }
        }),
        Packet::Unsubscribe(unsubscribe) => encode_unsubscribe(unsubscribe, version, out),
        Packet::UnsubAck(unsuback) => frame(kind::UNSUBACK << 4, out, |out| {
            out.put_u16(unsuback.packet_id);
            put_properties(&unsuback.properties, version, out);
            if version == Version::V5 {
                out.extend(unsuback.codes.iter().map(|code| code.0));
            }
        }),
        Packet::PingReq => out.put_slice(&[kind::PINGREQ << 4, 0]),
        Packet::PingResp => out.put_slice(&[kind::PINGRESP << 4, 0]),
        Packet::Disconnect(disconnect) => match version {
            Version::V4 => {}
            Version::V5 => frame(kind::DISCONNECT << 4, out, |out| {
                put_outcome(disconnect.code, &disconnect.properties, out);
            }),
        },
    }
}

/// [`encode`] for the packet there are most of, without wrapping it.
pub fn encode_publish(publish: &Publish, version: Version, out: &mut BytesMut) {
    let remaining = publish_remaining(publish, version);
    let mut first = kind::PUBLISH << 4 | publish.qos.as_u8() << publish_flag::QOS_SHIFT;
    if publish.dup {
        first |= publish_flag::DUP;
    }
    if publish.retain {
        first |= publish_flag::RETAIN;
    }
    out.reserve(1 + MAX_DIGITS + remaining);
    out.put_u8(first);
    put_varint(remaining, out);
    put_text(&publish.topic, out);
    if publish.qos != QoS::AtMostOnce {
        out.put_u16(publish.packet_id);
    }
    put_properties(&publish.properties, version, out);
    out.put_slice(&publish.payload);
}

/// In bytes on the wire, as a client's maximum packet size counts them.
pub fn publish_len(publish: &Publish, version: Version) -> usize {
    let remaining = publish_remaining(publish, version);
    1 + varint_len(remaining) + remaining
}

fn publish_remaining(publish: &Publish, version: Version) -> usize {
    let packet_id = if publish.qos == QoS::AtMostOnce { 0 } else { 2 };
    let properties = match version {
        Version::V4 => 0,
        Version::V5 => publish.properties.wire_len(),
    };
    2 + wire_text(&publish.topic).len() + packet_id + properties + publish.payload.len()
}

fn encode_connect(connect: &Connect, out: &mut BytesMut) {
    let mut flags = 0;
    if connect.clean_start {
        flags |= connect_flag::CLEAN_START;
    }
    if let Some(will) = &connect.will {
        flags |= connect_flag::WILL | will.qos.as_u8() << connect_flag::WILL_QOS_SHIFT;
        if will.retain {
            flags |= connect_flag::WILL_RETAIN;
        }
    }
    if connect.username.is_some() {
        flags |= connect_flag::USERNAME;
    }
    if connect.password.is_some() {
        flags |= connect_flag::PASSWORD;
    }
    frame(kind::CONNECT << 4, out, |out| {
        put_text("MQTT", out);
        out.put_u8(match connect.version {
            Version::V4 => 4,
            Version::V5 => 5,
        });
        out.put_u8(flags);
        out.put_u16(connect.keep_alive);
        put_properties(&connect.properties, connect.version, out);
        put_text(&connect.client_id, out);
        if let Some(will) = &connect.will {
            put_properties(&will.properties, connect.version, out);
            put_text(&will.topic, out);
            put_binary(&will.payload, out);
        }
        if let Some(username) = &connect.username {
            put_text(username, out);
        }
        if let Some(password) = &connect.password {
            put_binary(password, out);
        }
    });
}

fn encode_connack(connack: &ConnAck, version: Version, out: &mut BytesMut) {
    frame(kind::CONNACK << 4, out, |out| {
        // A refusal has no session, and a client closes on one that claims to.
        out.put_u8(u8::from(connack.session_present && connack.code == Code::SUCCESS));
        out.put_u8(match version {
            Version::V4 => return_code(connack.code),
            Version::V5 => connack.code.0,
        });
        put_properties(&connack.properties, version, out);
    });
}

/// What 3.1.1 says for it. It has no word for most refusals; "server unavailable" is the one that asks to try later.
fn return_code(code: Code) -> u8 {
    match code {
        Code::SUCCESS => 0,
        Code::UNSUPPORTED_VERSION => 1,
        Code::CLIENT_ID_NOT_VALID => 2,
        Code::BAD_CREDENTIALS => 4,
        Code::NOT_AUTHORIZED | Code::BANNED | Code::BAD_AUTHENTICATION_METHOD => 5,
        _ => 3,
    }
}

fn encode_ack(first: u8, ack: &Ack, version: Version, out: &mut BytesMut) {
    frame(first, out, |out| {
        out.put_u16(ack.packet_id);
        match version {
            Version::V4 => {}
            Version::V5 => put_outcome(ack.code, &ack.properties, out),
        }
    });
}

fn encode_subscribe(subscribe: &Subscribe, version: Version, out: &mut BytesMut) {
    frame(kind::SUBSCRIBE << 4 | 0b0010, out, |out| {
        out.put_u16(subscribe.packet_id);
        put_properties(&subscribe.properties, version, out);
        for subscription in &subscribe.filters {
            put_text(&subscription.filter, out);
            out.put_u8(match version {
                Version::V4 => subscription.qos.as_u8(),
                Version::V5 => subscription.options(),
            });
        }
    });
}

impl Subscription {
    /// The options as the wire has them.
    pub fn options(&self) -> u8 {
        let mut options = self.qos.as_u8();
        if self.no_local {
            options |= option_flag::NO_LOCAL;
        }
        if self.retain_as_published {
            options |= option_flag::RETAIN_AS_PUBLISHED;
        }
        options |= match self.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::Never => 2,
        } << option_flag::RETAIN_HANDLING_SHIFT;
        options
    }
}

fn encode_unsubscribe(unsubscribe: &Unsubscribe, version: Version, out: &mut BytesMut) {
    frame(kind::UNSUBSCRIBE << 4 | 0b0010, out, |out| {
        out.put_u16(unsubscribe.packet_id);
        put_properties(&unsubscribe.properties, version, out);
        for filter in &unsubscribe.filters {
            put_text(filter, out);
        }
    });
}

/// Writes the body, then its length before it.
fn frame(first: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(first);
    let length_at = out.len();
    out.put_bytes(0, MAX_DIGITS);
    let body_at = out.len();
    body(out);
    let remaining = out.len() - body_at;
    let (digits, count) = varint(remaining);
    out[length_at..length_at + count].copy_from_slice(&digits[..count]);
    out.copy_within(body_at.., length_at + count);
    out.truncate(length_at + count + remaining);
}

/// The reason code and properties that end an acknowledgement or a DISCONNECT, left out as far as they say nothing.
fn put_outcome(code: Code, properties: &Properties, out: &mut BytesMut) {
    if properties.is_empty() {
        if code != Code::SUCCESS {
            out.put_u8(code.0);
        }
        return;
    }
    out.put_u8(code.0);
    properties.write(out);
}

fn put_properties(properties: &Properties, version: Version, out: &mut BytesMut) {
    match version {
        Version::V4 => {}
        Version::V5 => properties.write(out),
    }
}

pub(super) fn put_text(text: &str, out: &mut BytesMut) {
    let text = wire_text(text);
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

pub(super) fn put_binary(bytes: &[u8], out: &mut BytesMut) {
    let bytes = wire_binary(bytes);
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

/// What of a text fits behind its length of two bytes. All that comes from a packet fits; the rest of
/// a longer one is cut off, because a length that lies would break all that follows.
pub(super) fn wire_text(text: &str) -> &str {
    &text[..text.floor_char_boundary(usize::from(u16::MAX))]
}

/// As [`wire_text`], for bytes.
pub(super) fn wire_binary(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(usize::from(u16::MAX))]
}

pub(super) fn put_varint(value: usize, out: &mut BytesMut) {
    let (digits, count) = varint(value);
    out.put_slice(&digits[..count]);
}

pub(super) fn varint_len(value: usize) -> usize {
    varint(value).1
}

/// Seven bits a byte, lowest first, and how many bytes that takes.
fn varint(value: usize) -> ([u8; MAX_DIGITS], usize) {
    debug_assert!(value <= MAX_REMAINING_LENGTH, "the greatest packet size is far below the greatest length");
    let mut digits = [0; MAX_DIGITS];
    let mut rest = value;
    let mut count = 0;
    for digit in &mut digits {
        count += 1;
        *digit = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        *digit |= 0x80;
    }
    (digits, count)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Disconnect, Property, SubAck, UnsubAck};
    use super::*;

    fn written(packet: Packet, version: Version) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(&packet, version, &mut out);
        out.to_vec()
    }

    fn reason() -> Properties {
        Properties::from_iter([Property::ReasonString("no".to_owned())])
    }

    #[test]
    fn a_refused_connection_gets_a_return_code_of_3_1_1() {
        let written = |code, version| {
            written(Packet::ConnAck(ConnAck { session_present: true, code, properties: reason() }), version)
        };
        assert_eq!(written(Code::SUCCESS, Version::V4), b"\x20\x02\x01\x00");
        let refusals = [
            (Code::UNSUPPORTED_VERSION, 1),
            (Code::CLIENT_ID_NOT_VALID, 2),
            (Code::SERVER_UNAVAILABLE, 3),
            (Code::QUOTA_EXCEEDED, 3),
            (Code::BAD_CREDENTIALS, 4),
            (Code::NOT_AUTHORIZED, 5),
        ];
        for (code, return_code) in refusals {
            assert_eq!(written(code, Version::V4), [0x20, 2, 0, return_code], "{code}");
        }
        assert_eq!(written(Code::BAD_CREDENTIALS, Version::V5), b"\x20\x08\x00\x86\x05\x1f\x00\x02no");
    }

    #[test]
    fn a_refused_subscription_is_0x80_in_3_1_1() {
        let codes = vec![Code::GRANTED_QOS_1, Code::NOT_AUTHORIZED];
        let suback = Packet::SubAck(SubAck { packet_id: 7, codes, properties: reason() });
        assert_eq!(written(suback.clone(), Version::V4), b"\x90\x04\x00\x07\x01\x80");
        assert_eq!(written(suback, Version::V5), b"\x90\x0a\x00\x07\x05\x1f\x00\x02no\x01\x87");
    }

    #[test]
    fn an_unsubscription_has_no_codes_in_3_1_1() {
        let unsuback = Packet::UnsubAck(UnsubAck {
            packet_id: 7,
            codes: vec![Code::NO_SUBSCRIPTION_EXISTED],
            properties: Properties::none(),
        });
        assert_eq!(written(unsuback.clone(), Version::V4), b"\xb0\x02\x00\x07");
        assert_eq!(written(unsuback, Version::V5), b"\xb0\x04\x00\x07\x00\x11");
    }

    #[test]
    fn an_acknowledgement_is_as_short_as_it_can_be() {
        let ack = |code, properties| Packet::PubRel(Ack { packet_id: 7, code, properties });
        let refused = ack(Code::PACKET_ID_NOT_FOUND, reason());
        assert_eq!(written(refused.clone(), Version::V4), b"\x62\x02\x00\x07");
        assert_eq!(written(refused, Version::V5), b"\x62\x09\x00\x07\x92\x05\x1f\x00\x02no");
        let bare = ack(Code::PACKET_ID_NOT_FOUND, Properties::none());
        assert_eq!(written(bare, Version::V5), b"\x62\x03\x00\x07\x92");
        assert_eq!(written(ack(Code::SUCCESS, Properties::none()), Version::V5), b"\x62\x02\x00\x07");
    }

    #[test]
    fn a_server_of_3_1_1_says_no_goodbye() {
        let goodbye = Packet::Disconnect(Disconnect {
            code: Code::SERVER_SHUTTING_DOWN,
            properties: Properties::none(),
        });
        assert_eq!(written(goodbye.clone(), Version::V4), b"");
        assert_eq!(written(goodbye, Version::V5), b"\xe0\x01\x8b");
    }

    #[test]
    fn a_publish_is_as_long_as_announced() {
        for payload in [0, 5, 119, 120, 130, 16_400, 2_100_000] {
            for version in [Version::V4, Version::V5] {
                let publish = Publish {
                    dup: false,
                    qos: QoS::AtLeastOnce,
                    retain: true,
                    topic: "a/b".to_owned(),
                    packet_id: 7,
                    properties: Properties::from_iter([
                        Property::SubscriptionId(300),
                        Property::SubscriptionId(1),
                        Property::UserProperty("k".to_owned(), "ä".to_owned()),
                    ]),
                    payload: Bytes::from(vec![b'x'; payload]),
                };
                let mut out = BytesMut::new();
                encode_publish(&publish, version, &mut out);
                assert_eq!(out.len(), publish_len(&publish, version), "{payload} bytes in {version:?}");
                assert_eq!(written(Packet::Publish(publish), version), out);
            }
        }
    }

    #[test]
    fn a_publish_carries_the_identifiers_of_its_subscriptions() {
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t".to_owned(),
            packet_id: 0,
            properties: Properties::from_iter([Property::SubscriptionId(300), Property::SubscriptionId(1)]),
            payload: Bytes::from_static(b"x"),
        };
        let mut out = BytesMut::new();
        encode_publish(&publish, Version::V5, &mut out);
        assert_eq!(&out[..], b"\x30\x0a\x00\x01t\x05\x0b\xac\x02\x0b\x01x");
    }

    #[test]
    fn a_text_too_long_for_its_length_is_cut_between_characters() {
        let mut out = BytesMut::new();
        put_text(&"ä".repeat(40_000), &mut out);
        assert_eq!(out.len(), 2 + 65_534);
        assert_eq!(out[..2], [0xFF, 0xFE]);
    }
}
