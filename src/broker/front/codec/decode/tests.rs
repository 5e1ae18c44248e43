use super::*;

const MAX: usize = 1024;

/// A frame with the right length before its body, which is below 128 bytes.
fn frame(first: u8, body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::from(&[first, body.len() as u8][..]);
    frame.extend_from_slice(body);
    frame
}

fn read(version: Option<Version>, first: u8, body: &[u8]) -> Result<Packet, Code> {
    match decode(&mut frame(first, body), version, MAX) {
        Ok(packet) => Ok(packet.expect("the frame is whole")),
        Err(malformed) => Err(malformed.code),
    }
}

fn v4(first: u8, body: &[u8]) -> Result<Packet, Code> {
    read(Some(Version::V4), first, body)
}

fn v5(first: u8, body: &[u8]) -> Result<Packet, Code> {
    read(Some(Version::V5), first, body)
}

/// A CONNECT up to its flags, and what follows them after a keep alive of 30 s.
fn connect(level: u8, flags: u8, rest: &[u8]) -> Result<Packet, Code> {
    let body = [b"\x00\x04MQTT", &[level, flags, 0, 30][..], rest].concat();
    read(None, 0x10, &body)
}

fn connected(level: u8, flags: u8, rest: &[u8]) -> Connect {
    match connect(level, flags, rest) {
        Ok(Packet::Connect(connect)) => *connect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn connect_says_its_version() {
    let four = connected(4, 0x02, b"\x00\x01a");
    assert_eq!((four.version, four.clean_start, four.keep_alive), (Version::V4, true, 30));
    assert_eq!(connected(5, 0x02, b"\x00\x00\x01a").version, Version::V5);
}

#[test]
fn another_protocol_is_an_unsupported_version() {
    assert_eq!(connect(3, 0x02, b"\x00\x01a"), Err(Code::UNSUPPORTED_VERSION));
    assert_eq!(connect(6, 0x02, b"\x00\x01a"), Err(Code::UNSUPPORTED_VERSION));
    // The bit by which bridges mark themselves.
    assert_eq!(connect(0x84, 0x02, b"\x00\x01a"), Err(Code::UNSUPPORTED_VERSION));
    assert_eq!(read(None, 0x10, b"\x00\x06MQIsdp\x03\x02\x00\x1e\x00\x01a"), Err(Code::UNSUPPORTED_VERSION));
    assert_eq!(read(None, 0x10, b"\x00\x04mqtt\x04\x02\x00\x1e\x00\x01a"), Err(Code::UNSUPPORTED_VERSION));
}

#[test]
fn flags_of_connect_are_consistent() {
    assert_eq!(connect(4, 0x03, b"\x00\x01a"), Err(Code::MALFORMED), "reserved flag");
    assert_eq!(connect(4, 0x0A, b"\x00\x01a"), Err(Code::MALFORMED), "QoS of no will");
    assert_eq!(connect(4, 0x22, b"\x00\x01a"), Err(Code::MALFORMED), "retain of no will");
    assert_eq!(connect(4, 0x1E, b"\x00\x01a\x00\x01w\x00\x00"), Err(Code::MALFORMED), "will of QoS 3");
    assert_eq!(connect(4, 0x42, b"\x00\x01a\x00\x01p"), Err(Code::MALFORMED), "password alone in 3.1.1");
    assert_eq!(connected(5, 0x42, b"\x00\x00\x01a\x00\x01p").password, Some(Bytes::from_static(b"p")));
}

#[test]
fn an_empty_client_id_is_for_the_session_to_judge() {
    assert_eq!(connected(4, 0x00, b"\x00\x00").client_id, "");
}

#[test]
fn a_connect_without_what_its_flags_promise_ends_too_early() {
    assert_eq!(connect(4, 0x82, b"\x00\x01a"), Err(Code::MALFORMED));
    assert_eq!(connect(4, 0x06, b"\x00\x01a\x00\x01w"), Err(Code::MALFORMED));
    assert_eq!(connect(4, 0x02, b"\x00\x05a"), Err(Code::MALFORMED));
    assert_eq!(connect(4, 0x02, b"\x00\x01a!"), Err(Code::MALFORMED), "bytes follow");
}

#[test]
fn the_first_packet_is_connect_and_only_the_first() {
    assert_eq!(read(None, 0xC0, b""), Err(Code::PROTOCOL_ERROR));
    assert_eq!(v4(0x10, b""), Err(Code::PROTOCOL_ERROR));
    // Someone speaks HTTP: refused at its first byte.
    let refused = decode(&mut BytesMut::from("G"), None, MAX);
    assert_eq!(refused.map_err(|malformed| malformed.code), Err(Code::PROTOCOL_ERROR));
}

#[test]
fn what_only_servers_send_is_refused() {
    for first in [0x20, 0x90, 0xB0, 0xD0, 0xF0] {
        assert_eq!(v5(first, b""), Err(Code::PROTOCOL_ERROR), "{first:#x}");
    }
    assert_eq!(v5(0x00, b""), Err(Code::MALFORMED));
}

#[test]
fn the_first_byte_has_the_flags_of_its_type() {
    for first in [0x41, 0x52, 0x60, 0x63, 0x78, 0x80, 0x8A, 0xA0, 0xC1, 0xE2] {
        assert_eq!(v4(first, b"\x00\x01"), Err(Code::MALFORMED), "{first:#x}");
    }
    assert_eq!(read(None, 0x11, b""), Err(Code::MALFORMED));
    assert_eq!(v4(0x36, b"\x00\x01t\x00\x01"), Err(Code::MALFORMED), "QoS 3");
    assert_eq!(v4(0x38, b"\x00\x01t"), Err(Code::MALFORMED), "DUP with QoS 0");
}

#[test]
fn a_publish_is_a_view_of_the_buffer() {
    let mut bytes = frame(0x30, b"\x00\x01thello");
    let payload_at = bytes[5..].as_ptr();
    let Ok(Some(Packet::Publish(publish))) = decode(&mut bytes, Some(Version::V4), MAX) else {
        panic!("no publish")
    };
    assert_eq!(publish.payload, "hello");
    assert_eq!(publish.payload.as_ptr(), payload_at);
}

#[test]
fn an_empty_topic_is_passed_on() {
    let Ok(Packet::Publish(publish)) = v5(0x30, b"\x00\x00\x03\x23\x00\x07x") else { panic!("no publish") };
    assert_eq!((publish.topic.as_str(), publish.properties.topic_alias()), ("", Some(7)));
}

#[test]
fn a_packet_id_is_never_0() {
    assert_eq!(v4(0x32, b"\x00\x01t\x00\x00"), Err(Code::PROTOCOL_ERROR));
    assert_eq!(v4(0x40, b"\x00\x00"), Err(Code::PROTOCOL_ERROR));
    assert_eq!(v4(0x82, b"\x00\x00\x00\x01t\x00"), Err(Code::PROTOCOL_ERROR));
    assert_eq!(v4(0xA2, b"\x00\x00\x00\x01t"), Err(Code::PROTOCOL_ERROR));
}

#[test]
fn text_is_utf8_without_nul() {
    assert_eq!(v4(0x30, b"\x00\x01\xff"), Err(Code::MALFORMED));
    assert_eq!(v4(0x30, b"\x00\x03\xed\xa0\x80"), Err(Code::MALFORMED), "a surrogate");
    assert_eq!(v4(0x30, b"\x00\x02a\x00"), Err(Code::MALFORMED));
    assert_eq!(v4(0x30, b"\x00\x09a"), Err(Code::MALFORMED), "longer than its packet");
}

#[test]
fn a_refusal_reads_as_a_sentence() {
    let refused = decode(&mut frame(0x30, b"\x00\x01\xff"), Some(Version::V4), MAX);
    let refused = refused.expect_err("0xff is no UTF-8");
    assert_eq!(refused.to_string(), "malformed packet: the topic is not UTF-8");
}

#[test]
fn subscription_options_are_those_of_the_version() {
    assert!(v4(0x82, b"\x00\x01\x00\x01t\x02").is_ok());
    assert_eq!(v4(0x82, b"\x00\x01\x00\x01t\x04"), Err(Code::MALFORMED), "no local in 3.1.1");
    assert_eq!(v4(0x82, b"\x00\x01\x00\x01t\x03"), Err(Code::PROTOCOL_ERROR), "QoS 3");
    assert_eq!(v5(0x82, b"\x00\x01\x00\x00\x01t\x40"), Err(Code::MALFORMED), "reserved");
    assert_eq!(v5(0x82, b"\x00\x01\x00\x00\x01t\x30"), Err(Code::PROTOCOL_ERROR), "retain handling 3");
    let Ok(Packet::Subscribe(subscribe)) = v5(0x82, b"\x00\x01\x02\x0b\x05\x00\x01t\x2d") else {
        panic!("no subscribe")
    };
    assert_eq!(subscribe.properties.subscription_ids().collect::<Vec<_>>(), [5]);
    assert_eq!(
        subscribe.filters,
        [Subscription {
            filter: "t".to_owned(),
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::Never,
        }]
    );
}

#[test]
fn a_filter_there_must_be() {
    assert_eq!(v4(0x82, b"\x00\x01"), Err(Code::PROTOCOL_ERROR));
    assert_eq!(v5(0x82, b"\x00\x01\x00"), Err(Code::PROTOCOL_ERROR));
    assert_eq!(v4(0xA2, b"\x00\x01"), Err(Code::PROTOCOL_ERROR));
    assert_eq!(v4(0x82, b"\x00\x01\x00\x01t"), Err(Code::MALFORMED), "a filter without options");
}

#[test]
fn an_acknowledgement_may_leave_out_its_end() {
    let ack = |code| Ok(Packet::PubAck(Ack { packet_id: 7, code, properties: Properties::none() }));
    assert_eq!(v4(0x40, b"\x00\x07"), ack(Code::SUCCESS));
    assert_eq!(v4(0x40, b"\x00\x07\x00"), Err(Code::MALFORMED), "3.1.1 has no reason code");
    assert_eq!(v5(0x40, b"\x00\x07"), ack(Code::SUCCESS));
    assert_eq!(v5(0x40, b"\x00\x07\x10"), ack(Code::NO_MATCHING_SUBSCRIBERS));
    assert_eq!(v5(0x40, b"\x00\x07\x10\x00"), ack(Code::NO_MATCHING_SUBSCRIBERS));
    assert_eq!(v5(0x40, b"\x00\x07\x10\x00\x00"), Err(Code::MALFORMED), "bytes follow");
    assert_eq!(v5(0x40, b"\x00"), Err(Code::MALFORMED));
}

#[test]
fn a_disconnect_may_leave_out_its_end() {
    let disconnect = |code| Ok(Packet::Disconnect(Disconnect { code, properties: Properties::none() }));
    assert_eq!(v4(0xE0, b""), disconnect(Code::SUCCESS));
    assert_eq!(v4(0xE0, b"\x00"), Err(Code::MALFORMED));
    assert_eq!(v5(0xE0, b""), disconnect(Code::SUCCESS));
    assert_eq!(v5(0xE0, b"\x04"), disconnect(Code::DISCONNECT_WITH_WILL));
    assert_eq!(v5(0xE0, b"\x04\x00"), disconnect(Code::DISCONNECT_WITH_WILL));
}

#[test]
fn nothing_follows_a_ping() {
    assert_eq!(v4(0xC0, b""), Ok(Packet::PingReq));
    assert_eq!(v4(0xC0, b"x"), Err(Code::MALFORMED));
}

#[test]
fn a_length_has_at_most_four_bytes() {
    let read = |bytes: &[u8]| {
        decode(&mut BytesMut::from(bytes), Some(Version::V4), MAX).map_err(|malformed| malformed.code)
    };
    assert_eq!(read(b"\xc0\x80\x80\x80\x80"), Err(Code::MALFORMED));
    assert_eq!(read(b"\xc0\x80\x80\x80"), Ok(None));
    assert_eq!(read(b"\xc0\x80\x80\x80\x00"), Ok(Some(Packet::PingReq)), "padded");
    assert_eq!(read(b"\xc0\xff\xff\xff\x7f"), Err(Code::PACKET_TOO_LARGE));
}

#[test]
fn the_greatest_packet_counts_its_header() {
    let read = |max| {
        let mut bytes = frame(0x30, b"\x00\x01thello");
        decode(&mut bytes, Some(Version::V4), max).map_err(|malformed| malformed.code)
    };
    assert!(read(10).is_ok());
    assert_eq!(read(9), Err(Code::PACKET_TOO_LARGE));
}
