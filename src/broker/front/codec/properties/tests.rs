use bytes::BytesMut;

use super::super::{Packet, Version, decode};
use super::*;

/// A PUBLISH of QoS 0 with these properties.
fn publish(properties: &[u8]) -> Result<Properties, Code> {
    let body = [b"\x00\x01t", &[properties.len() as u8][..], properties, b"payload"].concat();
    match read_v5(0x30, &body)? {
        Packet::Publish(publish) => Ok(publish.properties),
        other => panic!("{other:?}"),
    }
}

fn connect(properties: &[u8]) -> Result<Properties, Code> {
    let length = [properties.len() as u8];
    let body = [b"\x00\x04MQTT\x05\x02\x00\x1e", &length[..], properties, b"\x00\x01a"].concat();
    match read(None, 0x10, &body)? {
        Packet::Connect(connect) => Ok(connect.properties),
        other => panic!("{other:?}"),
    }
}

fn read_v5(first: u8, body: &[u8]) -> Result<Packet, Code> {
    read(Some(Version::V5), first, body)
}

fn read(version: Option<Version>, first: u8, body: &[u8]) -> Result<Packet, Code> {
    let mut bytes = BytesMut::from(&[&[first, body.len() as u8], body].concat()[..]);
    match decode(&mut bytes, version, 1024) {
        Ok(packet) => Ok(packet.expect("the frame is whole")),
        Err(malformed) => Err(malformed.code),
    }
}

#[test]
fn each_property_has_its_packets() {
    assert!(publish(b"\x02\x00\x00\x00\x3c").is_ok_and(|it| it.message_expiry() == Some(60)));
    assert!(connect(b"\x11\xff\xff\xff\xff").is_ok_and(|it| it.session_expiry() == Some(u32::MAX)));
    assert_eq!(publish(b"\x11\x00\x00\x00\x3c"), Err(Code::MALFORMED), "session expiry in PUBLISH");
    assert_eq!(publish(b"\x0b\x01"), Err(Code::MALFORMED), "subscription identifier from a client");
    assert_eq!(connect(b"\x18\x00\x00\x00\x3c"), Err(Code::MALFORMED), "will delay outside the will");
    assert_eq!(connect(b"\x12\x00\x01a"), Err(Code::MALFORMED), "assigned client id from a client");
    assert_eq!(read_v5(0x40, b"\x00\x01\x00\x04\x1c\x00\x01a"), Err(Code::MALFORMED), "server reference");
    assert_eq!(read_v5(0xA2, b"\x00\x01\x02\x0b\x01\x00\x01t"), Err(Code::MALFORMED), "UNSUBSCRIBE");
    assert_eq!(publish(b"\x00"), Err(Code::MALFORMED), "unknown");
    assert_eq!(publish(b"\xa6\x00"), Err(Code::MALFORMED), "unknown, of two bytes");
}

#[test]
fn only_user_properties_stand_twice() {
    assert_eq!(publish(b"\x01\x01\x01\x01"), Err(Code::PROTOCOL_ERROR));
    let twice = publish(b"\x26\x00\x01a\x00\x01b\x26\x00\x01a\x00\x01c").expect("two user properties");
    assert_eq!(twice.user_properties().collect::<Vec<_>>(), [("a", "b"), ("a", "c")]);
    assert_eq!(
        read_v5(0x82, b"\x00\x01\x04\x0b\x01\x0b\x02\x00\x01t\x00"),
        Err(Code::PROTOCOL_ERROR),
        "two subscription identifiers in SUBSCRIBE"
    );
}

#[test]
fn values_stay_in_their_bounds() {
    assert_eq!(publish(b"\x01\x02"), Err(Code::PROTOCOL_ERROR), "payload format 2");
    assert_eq!(publish(b"\x23\x00\x00"), Err(Code::TOPIC_ALIAS_INVALID), "topic alias 0");
    assert_eq!(connect(b"\x17\x02"), Err(Code::PROTOCOL_ERROR), "request problem information 2");
    assert_eq!(connect(b"\x19\x02"), Err(Code::PROTOCOL_ERROR), "request response information 2");
    assert_eq!(connect(b"\x21\x00\x00"), Err(Code::PROTOCOL_ERROR), "receive maximum 0");
    assert_eq!(connect(b"\x27\x00\x00\x00\x00"), Err(Code::PROTOCOL_ERROR), "maximum packet size 0");
    assert!(connect(b"\x22\x00\x00").is_ok(), "topic alias maximum 0");
    assert_eq!(read_v5(0x82, b"\x00\x01\x02\x0b\x00\x00\x01t\x00"), Err(Code::PROTOCOL_ERROR));
    assert_eq!(
        read_v5(0x82, b"\x00\x01\x06\x0b\xff\xff\xff\xff\x7f\x00\x01t\x00"),
        Err(Code::MALFORMED),
        "a subscription identifier of five bytes"
    );
}

#[test]
fn authentication_data_has_a_method() {
    assert_eq!(connect(b"\x16\x00\x01a"), Err(Code::PROTOCOL_ERROR));
    assert!(connect(b"\x16\x00\x01a\x15\x00\x01m").is_ok_and(|it| it.auth_method() == Some("m")));
}

#[test]
fn properties_end_where_their_length_says() {
    assert_eq!(publish(b"\x02\x00\x00"), Err(Code::MALFORMED), "a value goes on in the payload");
    assert_eq!(read_v5(0x30, b"\x00\x01t\x05\x01\x01"), Err(Code::MALFORMED), "beyond the packet");
    assert_eq!(read_v5(0x30, b"\x00\x01t"), Err(Code::MALFORMED), "no length");
    assert_eq!(read_v5(0x30, b"\x00\x01t\x80"), Err(Code::MALFORMED), "half a length");
}
