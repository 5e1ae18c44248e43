//! What a client may say, and what it may not: packets as dice make them.
//!
//! The dice are a seeded generator on the network, and the fuzzer's own bytes where the fuzzer decides.

#![allow(dead_code, reason = "each of those who share it uses a part")]

use bytes::{Bytes, BytesMut};
use crosslink::broker::front::codec::{
    Ack, Code, Connect, Disconnect, Packet, Properties, Property, Publish, QoS, RetainHandling, Subscribe,
    Subscription, Unsubscribe, Version, Will, encode,
};

/// Answers with a number below the one that it is given.
pub type Dice<'a> = &'a mut (dyn FnMut(usize) -> usize + Send);

/// Topics of all sorts, those that no client may publish on last.
const TOPICS: [&str; 16] = [
    "fuzz/a",
    "fuzz/a/b",
    "fuzz/c",
    "/",
    "\u{e9}t\u{e9}/1",
    "sensors/esp32",
    "presence/esp32/status",
    "commands/esp32/play",
    "esp32/play",
    "rig/fan/state",
    "rig/fan/config",
    "rig/odd/response",
    "fuzz/+",
    "#",
    "$SYS/broker",
    "",
];
const FILTERS: [&str; 16] = [
    "#",
    "fuzz/#",
    "fuzz/+",
    "+/+",
    "+/a/#",
    "/",
    "\u{e9}t\u{e9}/+",
    "sensors/+",
    "presence/+/status",
    "commands/#",
    "rig/#",
    "$SYS/#",
    "$share/group/fuzz/a",
    "fuzz/#/a",
    "a+",
    "",
];
/// So many of each, at the end, are not allowed.
const WRONG: usize = 4;
/// Of one client.
const MOST_PACKETS: usize = 24;
/// Each client uses so few of them, so that they meet.
const PACKET_IDS: usize = 6;
/// At times a payload is so long, in bytes: longer than a buffer of the gateway.
const LONG: usize = 20_000;

/// Dice that fall as these bytes say, and on 0 when there are no more.
pub fn loaded(bytes: &[u8]) -> impl FnMut(usize) -> usize {
    let mut bytes = bytes.iter();
    move |below| {
        let mut byte = || usize::from(bytes.next().copied().unwrap_or_default());
        let fallen = if below > 256 { byte() << 8 | byte() } else { byte() };
        fallen % below
    }
}

/// Dice that fall alike for the same seed.
pub fn seeded(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    // SplitMix64.
    move |below| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) % below as u64) as usize
    }
}

/// All that a client writes, and how many packets that is: most of them right, some damaged, and some that are none.
/// Its session may outlive the connection if it is `lasting`.
pub fn session(dice: Dice<'_>, client_id: String, lasting: bool) -> (Vec<u8>, usize) {
    let version = if dice(2) == 0 { Version::V4 } else { Version::V5 };
    let packets = 1 + dice(MOST_PACKETS);
    let mut all = Vec::new();
    for n in 0..packets {
        let mut written = BytesMut::new();
        match dice(16) {
            0 => written.extend((0..dice(200)).map(|_| dice(256) as u8)),
            1 if n > 0 => write(&connect(dice, version, client_id.clone(), lasting), version, &mut written),
            _ if n == 0 => write(&connect(dice, version, client_id.clone(), lasting), version, &mut written),
            _ => write(&packet(dice, version), version, &mut written),
        }
        let mut written = written.to_vec();
        if dice(12) == 11 {
            damage(dice, &mut written);
        }
        all.extend_from_slice(&written);
    }
    (all, packets)
}

/// The CONNECT of a client that may come in.
pub fn plain_connect(version: Version, client_id: &str) -> Packet {
    Packet::Connect(Box::new(Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: client_id.to_owned(),
        will: None,
        username: None,
        password: None,
        properties: Properties::none(),
    }))
}

fn connect(dice: Dice<'_>, version: Version, client_id: String, lasting: bool) -> Packet {
    let will = (dice(3) == 0).then(|| Will {
        topic: topic(dice),
        payload: payload(dice),
        qos: qos(dice),
        retain: dice(2) == 0,
        properties: properties(dice, version, &[message, delay]),
    });
    let username = (dice(8) == 0).then(|| "somebody".to_owned());
    let password = username.as_ref().filter(|_| dice(2) == 0).map(|_| payload(dice));
    Packet::Connect(Box::new(Connect {
        version,
        clean_start: !lasting || dice(3) != 0,
        keep_alive: [60, 0, 1, u16::MAX][dice(4)],
        client_id,
        will,
        username,
        password,
        properties: properties(dice, version, if lasting { &[connection, expiry] } else { &[connection] }),
    }))
}

/// Any packet that a client may send behind its CONNECT.
fn packet(dice: Dice<'_>, version: Version) -> Packet {
    match dice(16) {
        0..=5 => Packet::Publish(publish(dice, version)),
        6 => Packet::PubAck(ack(dice, version)),
        7 => Packet::PubRec(ack(dice, version)),
        8 => Packet::PubRel(ack(dice, version)),
        9 => Packet::PubComp(ack(dice, version)),
        10..=12 => Packet::Subscribe(Subscribe {
            packet_id: packet_id(dice),
            properties: properties(dice, version, &[subscription_id]),
            filters: (0..=dice(4)).map(|_| subscription(dice, version)).collect(),
        }),
        13 => Packet::Unsubscribe(Unsubscribe {
            packet_id: packet_id(dice),
            properties: properties(dice, version, &[]),
            filters: (0..=dice(4)).map(|_| filter(dice)).collect(),
        }),
        14 => Packet::PingReq,
        _ if dice(4) > 0 => Packet::PingReq,
        _ => Packet::Disconnect(Disconnect {
            code: Code([0x00, 0x04, 0x80, 0x99][dice(4)]),
            properties: properties(dice, version, &[expiry]),
        }),
    }
}

/// A packet as its client writes it.
pub fn write(packet: &Packet, version: Version, out: &mut BytesMut) {
    match (packet, version) {
        // As `encode` writes it, nobody hears of it: that is for servers.
        (Packet::Disconnect(_), Version::V4) => out.extend_from_slice(&[0xE0, 0]),
        (packet, version) => encode(packet, version, out),
    }
}

/// Damages what is written: bits flip, bytes vanish, come twice, or come out of nowhere.
fn damage(dice: Dice<'_>, bytes: &mut Vec<u8>) {
    for _ in 0..=dice(4) {
        let at = dice(bytes.len().max(1));
        match dice(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), dice(256) as u8),
            2 => bytes.extend_from_within(at.min(bytes.len())..),
            _ if bytes.is_empty() => {}
            3 => bytes[at] = [0x00, 0x7F, 0x80, 0xFF][dice(4)],
            _ => bytes[at] ^= 1 << dice(8),
        }
    }
}

fn publish(dice: Dice<'_>, version: Version) -> Publish {
    let qos = qos(dice);
    let counted = qos != QoS::AtMostOnce;
    Publish {
        dup: counted && dice(4) == 0,
        qos,
        retain: dice(4) == 0,
        topic: topic(dice),
        packet_id: if counted { packet_id(dice) } else { 0 },
        properties: properties(dice, version, &[message, alias]),
        payload: payload(dice),
    }
}

fn ack(dice: Dice<'_>, version: Version) -> Ack {
    let code = if version == Version::V4 { 0x00 } else { [0x00, 0x10, 0x87, 0x92][dice(4)] };
    Ack { packet_id: packet_id(dice), code: Code(code), properties: properties(dice, version, &[reason]) }
}

fn subscription(dice: Dice<'_>, version: Version) -> Subscription {
    let new = version == Version::V5;
    let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::Never];
    Subscription {
        filter: filter(dice),
        qos: qos(dice),
        no_local: new && dice(3) == 0,
        retain_as_published: new && dice(3) == 0,
        retain_handling: if new { handling[dice(3)] } else { RetainHandling::Send },
    }
}

fn topic(dice: Dice<'_>) -> String {
    match dice(24) {
        0 => "x".repeat(1 + dice(2_000)),
        1 => "/".repeat(1 + dice(300)),
        // What is allowed comes more often.
        n if n < 18 => TOPICS[dice(TOPICS.len() - WRONG)].to_owned(),
        _ => TOPICS[dice(TOPICS.len())].to_owned(),
    }
}

fn filter(dice: Dice<'_>) -> String {
    match dice(24) {
        0 => "+/".repeat(1 + dice(300)),
        n if n < 18 => FILTERS[dice(FILTERS.len() - WRONG)].to_owned(),
        _ => FILTERS[dice(FILTERS.len())].to_owned(),
    }
}

fn payload(dice: Dice<'_>) -> Bytes {
    match dice(8) {
        0 => Bytes::new(),
        1 => Bytes::from_static(br#"{"temperature":20,"humidity":40,"threshold":29}"#),
        2 => Bytes::from_static(b"online"),
        3 => Bytes::from_static(br#"{"enable":true,"duty":0.5,"frequency":50}"#),
        4 if dice(8) == 0 => Bytes::from(vec![b' '; dice(LONG)]),
        _ => (0..dice(40)).map(|_| dice(256) as u8).collect(),
    }
}

fn qos(dice: Dice<'_>) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][dice(3)]
}

fn packet_id(dice: Dice<'_>) -> u16 {
    1 + dice(PACKET_IDS) as u16
}

/// A few of these, at times one twice, which is wrong; none in 3.1.1.
fn properties(dice: Dice<'_>, version: Version, kinds: &[fn(Dice<'_>) -> Property]) -> Properties {
    if version == Version::V4 || dice(2) == 0 {
        return Properties::none();
    }
    let mut kinds = kinds.to_vec();
    kinds.push(user);
    (0..=dice(3)).map(|_| kinds[dice(kinds.len())](dice)).collect()
}

fn message(dice: Dice<'_>) -> Property {
    match dice(5) {
        0 => Property::PayloadFormat(dice(2) as u8),
        1 => Property::MessageExpiry(dice(3) as u32),
        2 => Property::ContentType("text/plain".to_owned()),
        3 => Property::ResponseTopic("fuzz/a".to_owned()),
        _ => Property::CorrelationData(payload(dice)),
    }
}

fn connection(dice: Dice<'_>) -> Property {
    match dice(4) {
        0 => Property::ReceiveMaximum(1 + dice(4) as u16),
        1 => Property::MaximumPacketSize(1 + dice(200) as u32),
        2 => Property::RequestProblemInfo(dice(2) as u8),
        _ => Property::TopicAliasMaximum(dice(10) as u16),
    }
}

fn delay(dice: Dice<'_>) -> Property {
    Property::WillDelay(dice(3) as u32)
}

fn alias(dice: Dice<'_>) -> Property {
    Property::TopicAlias(1 + dice(3) as u16)
}

fn subscription_id(dice: Dice<'_>) -> Property {
    Property::SubscriptionId(1 + dice(200) as u32)
}

fn expiry(dice: Dice<'_>) -> Property {
    Property::SessionExpiry([0, 1, 60, u32::MAX][dice(4)])
}

fn reason(_: Dice<'_>) -> Property {
    Property::ReasonString("because".to_owned())
}

fn user(_: Dice<'_>) -> Property {
    Property::UserProperty("name".to_owned(), "value".to_owned())
}
