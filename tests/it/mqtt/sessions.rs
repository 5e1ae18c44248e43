//! How a connection becomes a session, and what ends it.

use std::time::Duration;

use crosslink::broker::front::codec::{
    Code, Packet, Property,
    QoS::{AtLeastOnce, AtMostOnce},
    Version,
};
use tokio::time::{Instant, sleep};

use crate::harness::{Client, House, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_speak_to_each_other_on_one_port() {
    let house = House::start().await;
    let mut old = house.client("old").connect_v4().await;
    let mut new = house.client("new").connect_v5().await;
    old.subscribe("to/old", AtLeastOnce).await;
    new.subscribe("to/new", AtLeastOnce).await;

    old.say("to/new", "hello").await;
    new.say("to/old", "good day").await;

    assert_eq!(new.hears().await, ("to/new".into(), "hello".into()));
    assert_eq!(old.hears().await, ("to/old".into(), "good day".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_five_seconds_to_say_connect() {
    let house = House::start().await;
    let begun = Instant::now();
    let mut silent = Client::dial(house.mqtt_addr(), Version::V4).await;
    let mut slow = Client::dial(house.mqtt_addr(), Version::V4).await;
    slow.send_bytes(&[0x10, 0x10, 0x00, 0x04, b'M', b'Q']).await;
    let mut handshake = Client::dial(house.mqtt_ws_addr(), Version::V4).await;
    handshake.send_bytes(b"GET / HTTP/1.1\r\n").await;

    for client in [&mut silent, &mut slow, &mut handshake] {
        assert_eq!(client.next().await, None);
        let waited = begun.elapsed();
        assert!((4..8).contains(&waited.as_secs()), "{waited:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_begin_with_connect_is_cut() {
    let house = House::start().await;
    for bytes in
        [&[0xC0, 0x00][..], &[0x30, 0x03, 0x00, 0x01, b'a'], b"GET / HTTP/1.1\r\n\r\n", &[0x20, 2, 0, 0]]
    {
        let mut stranger = Client::dial(house.mqtt_addr(), Version::V4).await;
        stranger.send_bytes(bytes).await;
        assert_eq!(stranger.next().await, None, "{bytes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_levels_of_the_protocol_are_told_so() {
    let house = House::start().await;
    for level in [3, 6] {
        let mut stranger = Client::dial(house.mqtt_addr(), Version::V4).await;
        let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 30, 0, 1, b'x'];
        stranger.send_bytes(&connect).await;
        match stranger.next().await {
            Some(Packet::ConnAck(connack)) => assert_eq!(connack.code, Code(0x01)),
            other => panic!("expected CONNACK, got {other:?}"),
        }
        assert_eq!(stranger.next().await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_name_is_given_one() {
    let house = House::start().await;
    let mut first = house.client("").connect_v4().await;
    let mut second = house.client("").connect_v4().await;
    let new = house.client("").connect_v5().await;
    let assigned = new.connack.properties.iter().find_map(|property| match property {
        Property::AssignedClientId(id) => Some(id.clone()),
        _ => None,
    });
    assert!(assigned.is_some_and(|id| !id.is_empty()));
    // Nobody took anybody's place.
    first.ping().await;
    second.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_to_be_kept_needs_a_name() {
    let house = House::start().await;
    let mut refused = house.client("").persistent().try_connect().await.unwrap();
    assert_eq!(refused.connack.code, Code(0x02));
    assert_eq!(refused.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered() {
    let house = House::start().await;
    house.client("old").connect_v4().await.ping().await;
    house.client("new").connect_v5().await.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keepalive_counts_what_the_client_says_not_what_it_hears() {
    let house = House::start().await;
    let mut forever = house.client("forever").keep_alive(0).connect_v4().await;
    let mut mute = house.client("mute").keep_alive(2).connect_v5().await;
    let since = Instant::now();
    mute.subscribe("tick", AtMostOnce).await;
    let mut clock = house.somebody("clock").await;
    let clock = tokio::spawn(async move {
        loop {
            clock.publish("tick", "tock", AtMostOnce, false).await;
            sleep(Duration::from_millis(100)).await;
        }
    });

    assert_eq!(mute.ended().await, Some(Code::KEEP_ALIVE_TIMEOUT));

    let waited = since.elapsed();
    assert!(waited > Duration::from_millis(2_900) && waited < Duration::from_secs(4), "{waited:?}");
    clock.abort();
    forever.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_connect_with_the_same_id_ends_the_first() {
    let house = House::start().await;
    let mut first = house.client("twin").connect_v5().await;
    let mut second = house.client("twin").connect_v5().await;
    assert_eq!(first.ended().await, Some(Code::SESSION_TAKEN_OVER));
    second.ping().await;

    let mut third = house.client("twin").connect_v4().await;
    assert_eq!(second.ended().await, Some(Code::SESSION_TAKEN_OVER));
    let mut fourth = house.client("twin").connect_v5().await;
    assert_eq!(third.ended().await, None);
    fourth.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_with_one_id_leaves_one() {
    let house = House::start().await;
    let crowd = (0..10).map(|_| tokio::spawn(house.client("twin").connect_v4()));
    let mut crowd = futures_util::future::join_all(crowd).await;
    let mut alive = 0;
    for client in &mut crowd {
        let client = client.as_mut().unwrap();
        client.send(&Packet::PingReq).await;
        alive += usize::from(client.next().await == Some(Packet::PingResp));
    }
    assert_eq!(alive, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_ids_may_hold_what_topics_may_not() {
    let house = House::start().await;
    for id in ["a+b", "$SYS", "#", "a/b", "+", "é"] {
        for _ in 0..2 {
            let mut client = house.client(id).connect_v4().await;
            client.subscribe("answers", AtLeastOnce).await;
            client.say("answers", id).await;
            assert_eq!(client.hears().await.1, id);
            client.disconnect().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_the_protocol_is_told_and_cut_alone() {
    let house = House::start().await;
    let mut neighbour = house.somebody("neighbour").await;
    for (bytes, reason) in [
        (&[0x20, 0x03, 0x00, 0x00, 0x00][..], Code::PROTOCOL_ERROR),
        (&[0xB0, 0x04, 0x00, 0x01, 0x00, 0x00], Code::PROTOCOL_ERROR),
        (&[0x00, 0x00], Code::MALFORMED),
        (&[0x36, 0x06, 0x00, 0x01, b'a', 0x00, 0x01, 0x00], Code::MALFORMED),
        (&[0x30, 0x04, 0x00, 0x01, 0xFF, 0x00], Code::MALFORMED),
        (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], Code::MALFORMED),
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], Code::PACKET_TOO_LARGE),
        (&[0x30, 0x04, 0x00, 0x01, b'+', 0x00], Code::TOPIC_INVALID),
        (&[0x30, 0x06, 0x00, 0x03, b'a', b'/', b'#', 0x00], Code::TOPIC_INVALID),
    ] {
        let mut rude = house.client("rude").connect_v5().await;
        rude.send_bytes(bytes).await;
        assert_eq!(rude.ended().await, Some(reason), "{bytes:02x?}");
        neighbour.ping().await;
    }
    let mut rude = house.client("rude").connect_v4().await;
    rude.send_bytes(&[0x30, 0x03, 0x00, 0x01, b'+']).await;
    assert_eq!(rude.ended().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_subscriber_may_leave_at_any_moment() {
    let house = House::with(|config| config.max_flaps = None).await;
    let mut witness = house.somebody("witness").await;
    let mut flood = house.somebody("flood").await;
    let mut abandoned = Vec::new();
    for round in 0..20 {
        let mut busy = house.client("busy").connect_v4().await;
        busy.subscribe("flood", AtMostOnce).await;
        for _ in 0..100 {
            flood.publish("flood", vec![b'x'; 1_000], AtMostOnce, false).await;
        }
        match round % 3 {
            0 => busy.disconnect().await,
            1 => busy.abort(),
            // Left unread, and taken over in the next round.
            _ => abandoned.push(busy),
        }
    }
    witness.subscribe("witness", AtLeastOnce).await;
    flood.say("witness", "still here").await;
    assert_eq!(witness.hears().await.1, "still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_reset_while_they_connect_keep_nobody_out() {
    let house = House::with(|config| config.max_flaps = None).await;
    for n in 0..100 {
        reset_at_once(&house, &format!("hasty-{}", n % 10)).await;
    }
    for n in 0..10 {
        // One of the hasty ones may be served only now.
        until("a patient one comes in", async || {
            let mut patient = house.somebody(&format!("hasty-{n}")).await;
            patient.send(&Packet::PingReq).await;
            if patient.next().await == Some(Packet::PingResp) { Ok(()) } else { Err("it is cut".into()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_to_connect_is_the_one_that_stays() {
    let house = House::with(|config| config.max_flaps = None).await;
    for _ in 0..30 {
        for _ in 0..10 {
            reset_at_once(&house, "hasty").await;
        }
        let mut last = house.somebody("hasty").await;
        for _ in 0..10 {
            last.ping().await;
        }
    }
}

/// A connection that says CONNECT and is reset before it is answered.
async fn reset_at_once(house: &House, id: &str) {
    let mut hasty = Client::dial(house.mqtt_addr(), Version::V4).await;
    hasty.send(&Packet::Connect(Box::new(house.client(id).connect))).await;
    hasty.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_harms_nobody() {
    let house = House::with(|config| config.max_flaps = None).await;
    let mut neighbour = house.somebody("neighbour").await;
    neighbour.subscribe("quiet", AtLeastOnce).await;
    let mut noise = Noise(7);
    for round in 0..150 {
        let mut client = match round % 3 {
            0 => Client::dial(house.mqtt_addr(), Version::V4).await,
            1 => house.client("noisy").connect_v4().await,
            _ => house.client("noisy").connect_v5().await,
        };
        let mut bytes = Vec::new();
        for _ in 0..20 {
            // Whole packets, so that what is inside them is looked at.
            let length = noise.below(100);
            bytes.extend([noise.below(256) as u8, length as u8]);
            bytes.extend((0..length).map(|_| if noise.below(4) == 0 { noise.below(256) as u8 } else { 0 }));
        }
        client.send_bytes(&bytes).await;
        client.close().await;
    }
    neighbour.say("quiet", "still here").await;
    assert_eq!(neighbour.hears().await.1, "still here");
}

/// The same noise in each run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the whole machine sleeps, not only the test")]
async fn what_came_in_while_the_machine_slept_counts_for_the_keepalive() {
    let house = House::start().await;
    let mut clients = Vec::new();
    for n in 0..10 {
        clients.push(house.client(&n.to_string()).keep_alive(1).connect_v4().await);
    }
    for client in &mut clients {
        client.send(&Packet::PingReq).await;
    }
    // The gateway runs on this thread too.
    std::thread::sleep(Duration::from_secs(2));
    for client in &mut clients {
        assert_eq!(client.next().await, Some(Packet::PingResp));
        client.ping().await;
    }
}
