//! What stops other brokers, or a listener of theirs, with packets that any client may send.

use bytes::{Bytes, BytesMut};
use crosslink::broker::front::codec::{
    Code, Packet, Property,
    QoS::{AtLeastOnce, AtMostOnce},
    Version, encode,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, sleep, timeout},
};

use crate::harness::{Client, DEADLINE, Victim, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_does_not_begin_in_ascii_stops_nobody() {
    let victim = Victim::start();
    let mut subscriber = victim.client("subscriber").connect_v4().await;
    subscriber.subscribe("#", AtMostOnce).await;
    let mut publisher = victim.client("publisher").connect_v4().await;
    for topic in ["\u{e9}t\u{e9}/1", "\u{1f321}", "\u{feff}", "\u{10ffff}/", "/\u{e9}", " "] {
        publisher.say(topic, "x").await;
        assert_eq!(subscriber.hears().await.0, topic);
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_id_with_the_signs_of_filters_shuts_no_listener() {
    let victim = Victim::start();
    for id in ["+", "$", "#", "/", "a+b", "$SYS/#", "+/+/#"] {
        for _ in 0..3 {
            let mut client = victim.client(id).connect_v4().await;
            client.subscribe("a", AtLeastOnce).await;
            client.abort();
        }
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_leave_no_subscriber_of_3_1_1_behind() {
    let victim = Victim::start();
    let mut old = victim.client("old").connect_v4().await;
    old.subscribe("#", AtLeastOnce).await;
    let mut new = victim.client("new").connect_v5().await;
    for property in [
        Property::PayloadFormat(1),
        Property::MessageExpiry(60),
        Property::ContentType("text/plain".into()),
        Property::ResponseTopic("b".into()),
        Property::CorrelationData(Bytes::from_static(b"c")),
        Property::UserProperty("d".into(), "e".into()),
    ] {
        let mut message = new.message("a", "x", AtLeastOnce, false);
        message.properties.push(property);
        new.publish_packet(&message).await;
        assert_eq!(old.hears().await, ("a".into(), "x".into()));
    }
    old.disconnect().await;
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_subscriber_that_says_goodbye_stops_nobody() {
    let victim = Victim::start();
    let mut flood = victim.client("flood").connect_v4().await;
    let burst = burst(&mut flood, 200);
    for round in 0..30 {
        let mut busy = victim.client(&format!("busy-{}", round % 3)).connect_v4().await;
        busy.subscribe("flood/#", AtMostOnce).await;
        flood.send_bytes(&burst).await;
        busy.disconnect().await;
        flood.send_bytes(&burst).await;
    }
    flood.ping().await;
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_may_be_taken_over_and_drain_late() {
    let victim = Victim::start();
    let mut flood = victim.client("flood").connect_v4().await;
    let burst = burst(&mut flood, 5_000);
    for round in 0..3 {
        let mut slow = victim.client("slow").connect_v4().await;
        slow.subscribe("flood/#", AtLeastOnce).await;
        flood.send_bytes(&burst).await;
        let mut heir = victim.client("slow").connect_v4().await;
        heir.subscribe("flood/#", AtLeastOnce).await;
        flood.send_bytes(&burst).await;
        match round {
            0 => heir.disconnect().await,
            1 => heir.abort(),
            _ => drop(heir),
        }
        slow.ended().await;
    }
    flood.ping().await;
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_member_of_a_shared_subscription_may_leave() {
    let victim = Victim::start();
    let mut publisher = victim.client("publisher").connect_v4().await;
    for _ in 0..2 {
        let mut member = victim.client("member").persistent().connect_v4().await;
        member.acknowledge_nothing();
        assert_eq!(member.subscribe("$share/group/a", AtLeastOnce).await, Code(0x80));
        member.subscribe("a", AtLeastOnce).await;
        publisher.say("a", "x").await;
        assert_eq!(member.hears().await.1, "x");
        member.unsubscribe("$share/group/a").await;
        member.abort();
        publisher.say("a", "y").await;
        let mut member = victim.client("member").connect_v5().await;
        assert_eq!(member.subscribe("$share/group/a", AtLeastOnce).await, Code::SHARED_NOT_SUPPORTED);
        member.disconnect().await;
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_before_connack_shuts_no_listener() {
    let victim = Victim::start();
    for n in 0..100 {
        let mut hasty = Client::dial(victim.mqtt(), Version::V4).await;
        let connect = victim.client(&format!("hasty-{}", n % 5)).connect;
        hasty.send(&Packet::Connect(Box::new(connect))).await;
        hasty.abort();
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_keep_nobody_out_of_any_door() {
    let victim = Victim::start();
    let mut idle = Vec::new();
    for door in [victim.mqtt(), victim.mqtt_ws()] {
        for _ in 0..50 {
            idle.push(TcpStream::connect(door).await.unwrap());
        }
    }
    victim.serves().await;
    let mut browser = TcpStream::connect(victim.mqtt_ws()).await.unwrap();
    let handshake = "GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     sec-websocket-protocol: mqtt\r\n\r\n";
    browser.write_all(handshake.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(DEADLINE, browser.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_that_only_servers_send_are_the_end_of_their_sender_alone() {
    let victim = Victim::start();
    let mut neighbour = victim.client("neighbour").connect_v4().await;
    for bytes in [
        &[0x20, 0x03, 0x00, 0x00, 0x00][..],
        &[0x20, 0x00],
        &[0x90, 0x04, 0x00, 0x01, 0x00, 0x00],
        &[0xB0, 0x04, 0x00, 0x01, 0x00, 0x00],
        &[0xB0, 0x02, 0x00, 0x01],
        &[0xD0, 0x00],
    ] {
        let mut new = victim.client("rude").connect_v5().await;
        new.send_bytes(bytes).await;
        assert_eq!(new.ended().await, Some(Code::PROTOCOL_ERROR), "{bytes:02x?}");
        let mut old = victim.client("rude").connect_v4().await;
        old.send_bytes(bytes).await;
        assert_eq!(old.ended().await, None, "{bytes:02x?}");
        neighbour.ping().await;
    }
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_the_gateway_waits_and_does_not_spin() {
    const DESCRIPTORS: usize = 80;
    let limit = format!("ulimit -n {DESCRIPTORS}; exec \"$@\"");
    let victim = Victim::under(&["sh", "-c", &limit, "sh"]);
    let mut crowd = Vec::new();
    for _ in 0..DESCRIPTORS {
        crowd.push(TcpStream::connect(victim.mqtt()).await.unwrap());
    }
    until("it runs out of them", async || {
        if victim.said("cannot accept a connection") { Ok(()) } else { Err("it accepts".into()) }
    })
    .await;
    let before = victim.ticks();
    sleep(Duration::from_secs(2)).await;
    let busy = victim.ticks() - before;
    assert!(busy < 50, "it computed for {busy} hundredths of two seconds");
    drop(crowd);
    victim.survives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_unsubscribes_in_a_flood_may_leave_at_once() {
    let victim = Victim::start();
    let mut floods = Vec::new();
    for n in 0..4 {
        let mut flood = victim.client(&format!("flood-{n}")).connect_v4().await;
        // QoS 0, so small that the router has much to do.
        let burst = b"\x30\x0A\x00\x07flood/a!".repeat(1_000);
        floods.push(tokio::spawn(async move {
            loop {
                flood.send_bytes(&burst).await;
                flood.ping().await;
            }
        }));
    }
    // The gateway reads so much in two steps: between them it takes what the router has.
    let farewell = [&b"\xA2\x05\x00\x09\x00\x01x"[..], &[0xC0, 0].repeat(2_500), &[0xE0, 0]].concat();
    let leaving = (0..4).map(|n| {
        let (newcomer, farewell) = (victim.client(&format!("leaving-{n}")), farewell.clone());
        tokio::spawn(async move {
            for _ in 0..12 {
                let mut client = newcomer.clone().connect_v4().await;
                client.subscribe("flood/#", AtMostOnce).await;
                client.subscribe("x", AtMostOnce).await;
                client.send_bytes(&farewell).await;
                client.ended().await;
            }
        })
    });
    for leaving in leaving.collect::<Vec<_>>() {
        leaving.await.unwrap();
    }
    for flood in floods {
        flood.abort();
    }
    victim.survives().await;
}

/// A task that panics must end alone, and the router's assertions fire in normal use.
#[test]
fn the_build_is_one_that_survives_panics() {
    let manifest: toml::Table = include_str!("../../../Cargo.toml").parse().unwrap();
    for (name, profile) in manifest["profile"].as_table().unwrap() {
        assert_ne!(profile.get("panic").and_then(toml::Value::as_str), Some("abort"), "{name}");
    }
    assert_eq!(manifest["profile"]["dev"]["package"]["rumqttd"]["debug-assertions"].as_bool(), Some(false));
    for library in ["rumqttc", "rumqttd"] {
        assert_eq!(manifest["dependencies"][library]["default-features"].as_bool(), Some(false), "{library}");
    }
}

/// So many messages of QoS 0 with 1 000 bytes each, as a client of 3.1.1 writes them.
fn burst(client: &mut Client, messages: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    for n in 0..messages {
        let publish = client.message(&format!("flood/{}", n % 10), [b'x'; 1_000], AtMostOnce, false);
        encode(&Packet::Publish(publish), Version::V4, &mut bytes);
    }
    bytes
}
