//! What holds for every packet a client can send, and for all bytes.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::{Index, subsequence};

use super::{
    Ack, Code, Connect, Disconnect, Malformed, Packet, Properties, Property, Publish, QoS, RetainHandling,
    Subscribe, Subscription, Unsubscribe, Version, Will, decode, encode,
};

/// Above all packets that are made up here.
const MAX: usize = 1 << 20;

/// What the client that sends `packets` writes.
fn written(packets: &[Packet], version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    for packet in packets {
        match (packet, version) {
            // As `encode` writes it, nobody hears of it: that is for servers.
            (Packet::Disconnect(_), Version::V4) => out.extend_from_slice(&[0xE0, 0]),
            (packet, version) => encode(packet, version, &mut out),
        }
    }
    out
}

/// All packets of a connection whose bytes arrive in these chunks, and the error that ended it.
fn read<'a>(
    chunks: impl Iterator<Item = &'a [u8]>,
    mut version: Option<Version>,
) -> (Vec<Packet>, Option<Malformed>) {
    let mut bytes = BytesMut::new();
    let mut packets = Vec::new();
    for chunk in chunks {
        bytes.extend_from_slice(chunk);
        loop {
            match decode(&mut bytes, version, MAX) {
                Ok(Some(packet)) => {
                    if let Packet::Connect(connect) = &packet {
                        version = Some(connect.version);
                    }
                    packets.push(packet);
                }
                Ok(None) => break,
                Err(malformed) => return (packets, Some(malformed)),
            }
        }
    }
    (packets, None)
}

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V4), Just(Version::V5)]
}

fn text() -> impl Strategy<Value = String> {
    "[^\u{0}]{0,20}"
}

fn binary() -> impl Strategy<Value = Bytes> {
    // At times long enough for a length of more than one byte.
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 100..300)].prop_map(Bytes::from)
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn code() -> impl Strategy<Value = Code> {
    any::<u8>().prop_map(Code)
}

/// Some of these, each once, and user properties; none in 3.1.1.
fn properties(version: Version, once: Vec<BoxedStrategy<Property>>) -> BoxedStrategy<Properties> {
    if version == Version::V4 {
        return Just(Properties::none()).boxed();
    }
    let count = once.len();
    let some = subsequence(once, 0..=count).prop_flat_map(|some| some);
    let user = vec((text(), text()).prop_map(|(name, value)| Property::UserProperty(name, value)), 0..3);
    (some, user).prop_map(|(some, user)| some.into_iter().chain(user).collect()).boxed()
}

fn message_properties() -> Vec<BoxedStrategy<Property>> {
    std::vec![
        (0..=1u8).prop_map(Property::PayloadFormat).boxed(),
        any::<u32>().prop_map(Property::MessageExpiry).boxed(),
        text().prop_map(Property::ContentType).boxed(),
        text().prop_map(Property::ResponseTopic).boxed(),
        binary().prop_map(Property::CorrelationData).boxed(),
    ]
}

fn will_properties() -> Vec<BoxedStrategy<Property>> {
    let mut once = message_properties();
    once.push(any::<u32>().prop_map(Property::WillDelay).boxed());
    once
}

fn publish_properties() -> Vec<BoxedStrategy<Property>> {
    let mut once = message_properties();
    once.push((1..=u16::MAX).prop_map(Property::TopicAlias).boxed());
    once
}

fn connect_properties() -> Vec<BoxedStrategy<Property>> {
    std::vec![
        any::<u32>().prop_map(Property::SessionExpiry).boxed(),
        text().prop_map(Property::AuthMethod).boxed(),
        (0..=1u8).prop_map(Property::RequestProblemInfo).boxed(),
        (0..=1u8).prop_map(Property::RequestResponseInfo).boxed(),
        (1..=u16::MAX).prop_map(Property::ReceiveMaximum).boxed(),
        any::<u16>().prop_map(Property::TopicAliasMaximum).boxed(),
        (1..=u32::MAX).prop_map(Property::MaximumPacketSize).boxed(),
    ]
}

fn reason() -> BoxedStrategy<Property> {
    text().prop_map(Property::ReasonString).boxed()
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let will = (text(), binary(), qos(), any::<bool>(), properties(version, will_properties())).prop_map(
        |(topic, payload, qos, retain, properties)| Will { topic, payload, qos, retain, properties },
    );
    let login = (option::of(text()), option::of(binary()));
    let rest = (any::<bool>(), any::<u16>(), text(), properties(version, connect_properties()));
    (option::of(will), login, rest).prop_map(
        move |(will, (username, password), (clean_start, keep_alive, client_id, properties))| {
            let may_have_password = version == Version::V5 || username.is_some();
            let password = password.filter(|_| may_have_password);
            Packet::Connect(Box::new(Connect {
                version,
                clean_start,
                keep_alive,
                client_id,
                will,
                username,
                password,
                properties,
            }))
        },
    )
}

fn publish(version: Version) -> impl Strategy<Value = Packet> {
    let flags = (any::<bool>(), qos(), any::<bool>());
    (flags, text(), 1..=u16::MAX, properties(version, publish_properties()), binary()).prop_map(
        |((dup, qos, retain), topic, packet_id, properties, payload)| {
            let counted = qos != QoS::AtMostOnce;
            let packet_id = if counted { packet_id } else { 0 };
            Packet::Publish(Publish {
                dup: dup && counted,
                qos,
                retain,
                topic,
                packet_id,
                properties,
                payload,
            })
        },
    )
}

fn ack(version: Version) -> impl Strategy<Value = Packet> {
    let kinds: Vec<fn(Ack) -> Packet> =
        std::vec![Packet::PubAck, Packet::PubRec, Packet::PubRel, Packet::PubComp];
    (proptest::sample::select(kinds), 1..=u16::MAX, code(), properties(version, std::vec![reason()]))
        .prop_map(move |(kind, packet_id, code, properties)| {
            let code = if version == Version::V4 { Code::SUCCESS } else { code };
            kind(Ack { packet_id, code, properties })
        })
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let handling =
        prop_oneof![Just(RetainHandling::Send), Just(RetainHandling::SendIfNew), Just(RetainHandling::Never)];
    let subscription = (text(), qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        move |(filter, qos, no_local, retain_as_published, retain_handling)| match version {
            Version::V4 => Subscription {
                filter,
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            },
            Version::V5 => Subscription { filter, qos, no_local, retain_as_published, retain_handling },
        },
    );
    let id = (1..=268_435_455u32).prop_map(Property::SubscriptionId).boxed();
    (1..=u16::MAX, properties(version, std::vec![id]), vec(subscription, 1..5)).prop_map(
        |(packet_id, properties, filters)| Packet::Subscribe(Subscribe { packet_id, properties, filters }),
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet> {
    (1..=u16::MAX, properties(version, Vec::new()), vec(text(), 1..5)).prop_map(
        |(packet_id, properties, filters)| {
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
        },
    )
}

fn disconnect(version: Version) -> impl Strategy<Value = Packet> {
    let expiry = any::<u32>().prop_map(Property::SessionExpiry).boxed();
    (code(), properties(version, std::vec![reason(), expiry])).prop_map(move |(code, properties)| {
        let code = if version == Version::V4 { Code::SUCCESS } else { code };
        Packet::Disconnect(Disconnect { code, properties })
    })
}

/// What a client sends from CONNECT on.
fn stream() -> impl Strategy<Value = (Version, Vec<Packet>)> {
    versions().prop_flat_map(|version| {
        let packet = prop_oneof![
            publish(version),
            ack(version),
            subscribe(version),
            unsubscribe(version),
            disconnect(version),
            Just(Packet::PingReq),
        ];
        (connect(version), vec(packet, 0..6)).prop_map(move |(connect, mut packets)| {
            packets.insert(0, connect);
            (version, packets)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_a_client_writes_is_what_is_read((version, packets) in stream()) {
        let bytes = written(&packets, version);
        assert_eq!(read([&bytes[..]].into_iter(), None), (packets, None));
    }

    #[test]
    fn chunks_make_no_difference((version, packets) in stream(), size in 1..60usize) {
        let bytes = written(&packets, version);
        assert_eq!(read(bytes.chunks(size), None), (packets, None));
    }

    #[test]
    fn a_packet_cut_short_is_waited_for((version, packets) in stream(), cut in any::<Index>()) {
        let whole = written(&packets[..1], version);
        let mut part = BytesMut::from(&whole[..cut.index(whole.len())]);
        assert_eq!(decode(&mut part, None, MAX), Ok(None));
    }

    #[test]
    fn a_flipped_bit_is_read_or_refused((version, packets) in stream(), at in any::<Index>(), bit in 0..8u8) {
        let mut bytes = written(&packets, version);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let whole = read([&bytes[..]].into_iter(), None);
        assert_eq!(read(bytes.chunks(7), None), whole);
    }

    #[test]
    fn what_is_read_is_written_and_read_again((version, packets) in stream(), at in any::<Index>(), byte in any::<u8>()) {
        let mut bytes = written(&packets, version);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let (packets, _) = read([&bytes[..]].into_iter(), None);
        // The byte may have changed the version.
        if let Some(Packet::Connect(connect)) = packets.first() {
            let again = written(&packets, connect.version);
            assert_eq!(read([&again[..]].into_iter(), None), (packets, None));
        }
    }

    #[test]
    fn no_bytes_are_too_strange(version in option::of(versions()), bytes in vec(any::<u8>(), 0..200)) {
        read([&bytes[..]].into_iter(), version);
    }

    #[test]
    fn no_body_is_too_strange(version in versions(), first in any::<u8>(), body in vec(any::<u8>(), 0..120)) {
        let bytes = [&[first, body.len() as u8], &body[..]].concat();
        read([&bytes[..]].into_iter(), Some(version));
        read([&bytes[..]].into_iter(), None);
    }

    #[test]
    fn too_large_is_refused_before_the_body_arrives(version in versions(), max in 10..100_000usize, more in 0..100_000usize) {
        let length = max + more;
        let digits = [length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14].map(|digit| digit as u8);
        let mut bytes = BytesMut::from(&[&[0x30], &digits[..]].concat()[..]);
        let refused = decode(&mut bytes, Some(version), max).map_err(|malformed| malformed.code);
        assert_eq!(refused, Err(Code::PACKET_TOO_LARGE));
    }
}
