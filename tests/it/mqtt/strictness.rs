//! What is not MQTT is the end of its connection, and of nothing else.

use crosslink::broker::front::codec::{Code, Packet, Property, QoS::AtMostOnce, Version};

use crate::harness::{Client, Victim};

/// A packet with the right length before its body, which is below 128 bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(body.len()).unwrap()], body].concat()
}

/// A CONNECT of 3.1.1 with these flags, a keepalive of 30 s, and what follows it.
fn connect(flags: u8, rest: &[u8]) -> Vec<u8> {
    packet(0x10, &[b"\x00\x04MQTT\x04", &[flags, 0, 30][..], rest].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_begin_well_is_closed_without_an_answer() {
    let victim = Victim::start();
    let connects = [
        ("first bits", packet(0x11, b"\x00\x04MQTT\x04\x02\x00\x1e\x00\x01a")),
        ("reserved flag", connect(0x03, b"\x00\x01a")),
        ("will of QoS 3", connect(0x1E, b"\x00\x01a\x00\x01w\x00\x01x")),
        ("QoS of no will", connect(0x0A, b"\x00\x01a")),
        ("retained and no will", connect(0x22, b"\x00\x01a")),
        ("password alone", connect(0x42, b"\x00\x01a\x00\x01p")),
        ("client id is not UTF-8", connect(0x02, b"\x00\x02\xC3\x28")),
        ("client id is a surrogate", connect(0x02, b"\x00\x03\xED\xA0\x80")),
        ("client id with U+0000", connect(0x02, b"\x00\x02a\x00")),
        ("topic of the will is not UTF-8", connect(0x06, b"\x00\x01a\x00\x01\xFF\x00\x01x")),
        ("topic of the will with U+0000", connect(0x06, b"\x00\x01a\x00\x01\x00\x00\x01x")),
        ("user name is not UTF-8", connect(0x82, b"\x00\x01a\x00\x01\xFF")),
        ("it ends before the client id", connect(0x02, b"")),
        ("it ends within the client id", connect(0x02, b"\x00\x05a")),
        ("it ends before the will", connect(0x06, b"\x00\x01a")),
        ("it goes on behind its end", connect(0x02, b"\x00\x01aa")),
        ("nothing in it", packet(0x10, b"")),
        ("a length of five digits", b"\x10\xFF\xFF\xFF\xFF\x01".to_vec()),
        ("a length beyond all packets", b"\x10\xFF\xFF\xFF\x7F".to_vec()),
    ];
    for (what, bytes) in connects.into_iter().chain(others(Version::V4)) {
        let mut stranger = Client::dial(victim.mqtt(), Version::V4).await;
        stranger.send_bytes(&bytes).await;
        assert_eq!(stranger.next().await, None, "{what}");
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_3_1_1_is_cut_alone() {
    let victim = Victim::start();
    let mut neighbour = victim.client("neighbour").connect_v4().await;
    let only_old = [
        ("a second CONNECT", connect(0x02, b"\x00\x01a")),
        ("SUBSCRIBE with options of MQTT 5", packet(0x82, b"\x00\x01\x00\x01a\x04")),
        ("PUBACK with a reason code", packet(0x40, b"\x00\x01\x00")),
        ("DISCONNECT with a reason code", packet(0xE0, b"\x00")),
        ("an empty topic", packet(0x30, b"\x00\x00x")),
    ];
    for (what, bytes) in only_old.into_iter().chain(others(Version::V4)) {
        let mut rude = victim.client(what).connect_v4().await;
        rude.send_bytes(&bytes).await;
        assert_eq!(rude.ended().await, None, "{what}");
        neighbour.ping().await;
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_mqtt_5_is_told_and_cut_alone() {
    let victim = Victim::start();
    let mut neighbour = victim.client("neighbour").connect_v4().await;
    let only_new = [
        ("a second CONNECT", connect(0x02, b"\x00\x01a")),
        ("AUTH", packet(0xF0, b"\x18\x00")),
        ("retain handling 3", packet(0x82, b"\x00\x01\x00\x00\x01a\x30")),
        ("a property of another packet", packet(0x30, b"\x00\x01a\x03\x21\x00\x01")),
        ("a topic alias", packet(0x30, b"\x00\x00\x03\x23\x00\x01")),
        ("a response topic with +", packet(0x30, b"\x00\x01a\x06\x08\x00\x03a/+")),
        ("a response topic with #", packet(0x30, b"\x00\x01a\x04\x08\x00\x01#")),
    ];
    for (what, bytes) in only_new.into_iter().chain(others(Version::V5)) {
        let mut rude = victim.client(what).connect_v5().await;
        rude.send_bytes(&bytes).await;
        assert!(rude.ended().await.is_some_and(Code::is_failure), "{what}");
        neighbour.ping().await;
    }
    victim.survives().await;
}

/// What neither a stranger nor a client may send. Strings and flags are checked in the same places in both versions.
fn others(version: Version) -> Vec<(&'static str, Vec<u8>)> {
    // Where MQTT 5 has properties: none.
    let none: &[u8] = if version == Version::V5 { b"\x00" } else { b"" };
    let counted = |first: u8, rest: &[u8]| packet(first, &[b"\x00\x01", none, rest].concat());
    vec![
        ("packet type 0", packet(0x00, b"")),
        ("packet type 15", packet(0xF0, b"")),
        ("CONNACK", packet(0x20, b"\x00\x00")),
        ("SUBACK", counted(0x90, b"\x00")),
        ("UNSUBACK", counted(0xB0, b"")),
        ("PINGRESP", packet(0xD0, b"")),
        ("PUBLISH of QoS 3", packet(0x36, &[b"\x00\x01a\x00\x01", none].concat())),
        ("PUBLISH of QoS 0, sent again", packet(0x38, &[b"\x00\x01a", none].concat())),
        ("PUBLISH with packet id 0", packet(0x32, &[b"\x00\x01a\x00\x00", none].concat())),
        ("PUBLISH without a packet id", packet(0x32, b"\x00\x01a")),
        ("PUBLISH without a topic", packet(0x30, b"")),
        ("PUBLISH that ends within the topic", packet(0x30, b"\x00\x05a")),
        ("a topic that is not UTF-8", packet(0x30, &[b"\x00\x02\xC3\x28", none].concat())),
        ("a topic that is a surrogate", packet(0x30, &[b"\x00\x03\xED\xA0\x80", none].concat())),
        ("a topic with U+0000", packet(0x30, &[b"\x00\x02a\x00", none].concat())),
        ("a topic with +", packet(0x30, &[b"\x00\x03a/+", none].concat())),
        ("a topic with #", packet(0x30, &[b"\x00\x01#", none].concat())),
        ("PUBACK with flags", packet(0x41, b"\x00\x01")),
        ("PUBACK with packet id 0", packet(0x40, b"\x00\x00")),
        ("PUBACK of one byte", packet(0x40, b"\x00")),
        ("PUBREC with flags", packet(0x52, b"\x00\x01")),
        ("PUBREL without its flag", packet(0x60, b"\x00\x01")),
        ("PUBCOMP with flags", packet(0x72, b"\x00\x01")),
        ("SUBSCRIBE without its flag", counted(0x80, b"\x00\x01a\x00")),
        ("SUBSCRIBE with packet id 0", packet(0x82, &[b"\x00\x00", none, b"\x00\x01a\x00"].concat())),
        ("SUBSCRIBE to nothing", counted(0x82, b"")),
        ("SUBSCRIBE without options", counted(0x82, b"\x00\x01a")),
        ("SUBSCRIBE with QoS 3", counted(0x82, b"\x00\x01a\x03")),
        ("SUBSCRIBE with reserved bits", counted(0x82, b"\x00\x01a\xC0")),
        ("a filter that is not UTF-8", counted(0x82, b"\x00\x01\xFF\x00")),
        ("a filter with U+0000", counted(0x82, b"\x00\x01\x00\x00")),
        ("UNSUBSCRIBE without its flag", counted(0xA0, b"\x00\x01a")),
        ("UNSUBSCRIBE from nothing", counted(0xA2, b"")),
        ("UNSUBSCRIBE of what is not UTF-8", counted(0xA2, b"\x00\x01\xFF")),
        ("PINGREQ with a body", packet(0xC0, b"\x00")),
        ("PINGREQ with flags", packet(0xC1, b"")),
        ("DISCONNECT with flags", packet(0xE1, b"")),
        ("a length of five digits", b"\x30\xFF\xFF\xFF\xFF\x01".to_vec()),
        ("a length beyond all packets", b"\x30\xFF\xFF\xFF\x7F".to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_that_nobody_could_hear_is_refused_in_both_versions() {
    let victim = Victim::start();
    for topic in ["", "+", "a/+/b", "#", "a/#", "a+", "$SYS/x", "$share/g/a"] {
        let mortal = victim.client("mortal").will(topic, "x", AtMostOnce, false);
        let mut old = mortal.clone().try_connect().await.unwrap();
        assert_eq!(old.connack.code, Code(3), "{topic:?}");
        assert_eq!(old.next().await, None, "{topic:?}");
        let mut mortal = mortal;
        mortal.connect.version = Version::V5;
        let mut new = mortal.try_connect().await.unwrap();
        assert_eq!(new.connack.code, Code::TOPIC_INVALID, "{topic:?}");
        assert_eq!(new.next().await, None, "{topic:?}");
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_that_nobody_could_answer_is_refused() {
    let victim = Victim::start();
    for (pattern, code) in
        [("a/+", Code::PROTOCOL_ERROR), ("#", Code::PROTOCOL_ERROR), ("a/b", Code::SUCCESS)]
    {
        let mut mortal = victim.client("mortal").v5().will("will", "x", AtMostOnce, false);
        let will = mortal.connect.will.as_mut().unwrap();
        will.properties.push(Property::ResponseTopic(pattern.to_owned()));
        assert_eq!(mortal.try_connect().await.unwrap().connack.code, code, "{pattern}");
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_take_the_answer_to_its_connect_is_refused_in_few_bytes() {
    let victim = Victim::start();
    for (most, code) in [(5, Code::PACKET_TOO_LARGE), (15, Code::PACKET_TOO_LARGE), (50, Code::SUCCESS)] {
        let mut newcomer = victim.client("tiny");
        newcomer.connect.properties.push(Property::MaximumPacketSize(most));
        let connack = newcomer.v5().try_connect().await.expect("an answer").connack;
        assert_eq!((connack.code, connack.properties.iter().next().is_none()), (code, code.is_failure()));
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_on_when_cut_hears_why() {
    let victim = Victim::start();
    // Half a MiB of PINGREQ behind a packet that no client sends.
    let talk = [&packet(0xD0, b"")[..], &[0xC0, 0].repeat(256 * 1024)].concat();
    for n in 0..10 {
        let mut client = victim.client(&format!("talks-{n}")).connect_v5().await;
        client.send_bytes(&talk).await;
        assert_eq!(client.ended().await, Some(Code::PROTOCOL_ERROR));
    }
    let mut connect = connect(0x02, b"\x00\x01a");
    // MQTT 6, which nobody speaks: the answer is that of 3.1.1.
    connect[8] = 6;
    let mut client = Client::dial(victim.mqtt(), Version::V4).await;
    client.send_bytes(&[connect, talk].concat()).await;
    assert!(matches!(client.next().await, Some(Packet::ConnAck(ack)) if ack.code == Code(1)));
    assert_eq!(client.next().await, None);
    victim.survives().await;
}
