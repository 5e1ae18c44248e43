//! From a server's bytes to packets; a packet that no server may send fails the test.

use bytes::{Buf, Bytes, BytesMut};
use crosslink::broker::front::codec::{
    Code, ConnAck, MAX_REMAINING_LENGTH, Packet, Properties, Property, Publish, QoS, SubAck, UnsubAck,
    Version, decode,
};

/// Takes one whole packet off the front of `input`.
pub fn take(input: &mut BytesMut, version: Version) -> Option<Packet> {
    let (header, length) = frame(input)?;
    let first = input[0];
    // The acknowledgements of publishes and DISCONNECT look the same in both directions.
    if matches!(first >> 4, 4..=7 | 14) {
        return decode(input, Some(version), MAX_REMAINING_LENGTH).unwrap();
    }
    let mut body = input.split_to(header + length).freeze();
    body.advance(header);
    Some(match first {
        0x30..=0x3F => {
            let qos = QoS::from_u8(first >> 1 & 0b11).unwrap();
            Packet::Publish(Publish {
                dup: first & 0b1000 != 0,
                qos,
                retain: first & 1 != 0,
                topic: text(&mut body),
                packet_id: if qos == QoS::AtMostOnce { 0 } else { body.get_u16() },
                properties: properties(&mut body, version),
                payload: body,
            })
        }
        0x20 => Packet::ConnAck(ConnAck {
            session_present: body.get_u8() == 1,
            code: Code(body.get_u8()),
            properties: properties(&mut body, version),
        }),
        0x90 => {
            let (packet_id, properties) = (body.get_u16(), properties(&mut body, version));
            Packet::SubAck(SubAck { packet_id, properties, codes: codes(&body) })
        }
        0xB0 => {
            let (packet_id, properties) = (body.get_u16(), properties(&mut body, version));
            Packet::UnsubAck(UnsubAck { packet_id, properties, codes: codes(&body) })
        }
        0xD0 => Packet::PingResp,
        other => panic!("a server does not send a packet that begins with {other:#04x}"),
    })
}

/// The lengths of the fixed header and of what follows, if all of it is there.
fn frame(input: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, byte) in input.iter().skip(1).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return (input.len() >= 2 + at + length).then_some((2 + at, length));
        }
    }
    None
}

fn codes(body: &Bytes) -> Vec<Code> {
    body.iter().copied().map(Code).collect()
}

fn properties(body: &mut Bytes, version: Version) -> Properties {
    let mut properties = Properties::none();
    if version == Version::V4 {
        return properties;
    }
    let length = varint(body);
    let mut body = body.split_to(length);
    while body.has_remaining() {
        properties.push(match body.get_u8() {
            0x01 => Property::PayloadFormat(body.get_u8()),
            0x02 => Property::MessageExpiry(body.get_u32()),
            0x03 => Property::ContentType(text(&mut body)),
            0x08 => Property::ResponseTopic(text(&mut body)),
            0x09 => Property::CorrelationData(binary(&mut body)),
            0x0B => Property::SubscriptionId(varint(&mut body) as u32),
            0x11 => Property::SessionExpiry(body.get_u32()),
            0x12 => Property::AssignedClientId(text(&mut body)),
            0x13 => Property::ServerKeepAlive(body.get_u16()),
            0x1F => Property::ReasonString(text(&mut body)),
            0x21 => Property::ReceiveMaximum(body.get_u16()),
            0x22 => Property::TopicAliasMaximum(body.get_u16()),
            0x24 => Property::MaximumQoS(body.get_u8()),
            0x25 => Property::RetainAvailable(body.get_u8()),
            0x26 => Property::UserProperty(text(&mut body), text(&mut body)),
            0x27 => Property::MaximumPacketSize(body.get_u32()),
            0x28 => Property::WildcardAvailable(body.get_u8()),
            0x29 => Property::SubscriptionIdsAvailable(body.get_u8()),
            0x2A => Property::SharedAvailable(body.get_u8()),
            other => panic!("the property {other:#04x} is not expected here"),
        });
    }
    properties
}

fn varint(body: &mut Bytes) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = body.get_u8();
        value |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

fn binary(body: &mut Bytes) -> Bytes {
    let length = usize::from(body.get_u16());
    body.split_to(length)
}

fn text(body: &mut Bytes) -> String {
    String::from_utf8(binary(body).to_vec()).unwrap()
}
