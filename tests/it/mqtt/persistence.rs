//! Sessions that outlive their connections, and the gateway.

use std::{ops::Range, time::Duration};

use crosslink::broker::front::codec::{
    Code, Disconnect, Packet, Properties, Property, Publish,
    QoS::{self, AtLeastOnce, AtMostOnce, ExactlyOnce},
    Subscribe,
};
use serde_json::Value;

use crate::harness::{
    Client, House,
    client::{ack, subscription},
    reading, until,
};

const WEEK: u32 = 7 * 24 * 60 * 60;

async fn listener(house: &House) -> Client {
    house.client("listener").persistent().connect_v4().await
}

/// Waits until the gateway knows that nobody but `left` is connected.
async fn alone(house: &House, left: &str) {
    until("the others are gone", async || {
        let clients = house.get("/api/v1/clients").await["items"].take();
        let ids: Vec<&str> =
            clients.as_array().unwrap().iter().filter_map(|it| it["client_id"].as_str()).collect();
        if ids == [left] { Ok(()) } else { Err(clients.clone()) }
    })
    .await;
}

/// What it hears, which is all, and whether it may have heard it before.
async fn all(client: &mut Client) -> Vec<(String, bool)> {
    let mut heard = Vec::new();
    while let Some(Publish { payload, dup, .. }) = client.publish_if_any().await {
        heard.push((String::from_utf8(payload.to_vec()).unwrap(), dup));
    }
    heard
}

fn said<const N: usize>(texts: [&str; N], dup: bool) -> Vec<(String, bool)> {
    texts.map(|text| (text.to_owned(), dup)).to_vec()
}

async fn readings(house: &House) -> usize {
    house.get("/api/v1/devices/esp32/readings?after=0").await["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_wait_for_a_client_that_is_away() {
    let house = House::start().await;
    let mut client = listener(&house).await;
    assert!(!client.connack.session_present);
    client.subscribe("a/#", AtLeastOnce).await;
    client.subscribe("unheard", AtMostOnce).await;
    client.disconnect().await;

    let mut publisher = house.somebody("publisher").await;
    for (topic, text, qos) in [
        ("a/1", "1", AtLeastOnce),
        ("a/2", "never", AtMostOnce),
        ("unheard", "neither", AtLeastOnce),
        ("a/3", "2", ExactlyOnce),
        ("sensors/esp32", "{}", AtLeastOnce),
        ("a/1", "3", AtLeastOnce),
    ] {
        publisher.publish(topic, text, qos, false).await;
    }

    let mut client = listener(&house).await;
    assert!(client.connack.session_present);
    assert_eq!(all(&mut client).await, said(["1", "2", "3"], false));
    client.abort();
    let mut client = listener(&house).await;
    assert_eq!(all(&mut client).await, []);
    publisher.say("a/4", "4").await;
    assert_eq!(client.hears().await.1, "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_is_sent_again_under_its_packet_id() {
    let house = House::start().await;
    let mut client = listener(&house).await;
    client.acknowledge_nothing();
    client.subscribe("a", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;
    for text in ["1", "2", "3"] {
        publisher.say("a", text).await;
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.next_publish().await.packet_id);
    }
    client.acknowledge(ids[1]).await;
    client.ping().await;
    client.abort();
    alone(&house, "publisher").await;
    publisher.say("a", "4").await;

    let mut client = listener(&house).await;
    let mut again = Vec::new();
    for _ in 0..3 {
        let publish = client.next_publish().await;
        again.push((publish.packet_id, publish.dup));
    }
    assert_eq!(again[..2], [(ids[0], true), (ids[2], true)]);
    assert!(!again[2].1);
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_the_gateway() {
    let house = House::start().await;
    let mut client = house.client("listener").lasting(3_600).connect_v5().await;
    client.acknowledge_nothing();
    client.subscribe("a/#", AtLeastOnce).await;
    client.subscribe("gone", AtLeastOnce).await;
    client.unsubscribe("gone").await;
    let mut publisher = house.client("publisher").connect_v5().await;
    publisher.say("a/1", "taken").await;
    publisher.say("a/2", "sent").await;
    let taken = client.next_publish().await.packet_id;
    client.acknowledge(taken).await;
    assert_eq!(client.hears().await.1, "sent");
    client.ping().await;
    client.abort();
    alone(&house, "publisher").await;
    let mut waits = publisher.message("a/3", "waits", AtLeastOnce, false);
    waits.properties.push(Property::ContentType("text".into()));
    publisher.publish_packet(&waits).await;

    let house = house.restart().await;

    let mut publisher = house.somebody("publisher").await;
    for (topic, text) in [("a/4", "later"), ("gone", "gone")] {
        publisher.say(topic, text).await;
    }
    let mut client = house.client("listener").lasting(3_600).connect_v5().await;
    assert!(client.connack.session_present);
    let first = client.next_publish().await;
    assert_eq!((&first.payload[..], first.dup), (&b"sent"[..], true));
    let second = client.next_publish().await;
    assert_eq!((&second.payload[..], second.dup), (&b"waits"[..], false));
    assert_eq!(second.properties.content_type(), Some("text"));
    assert_eq!(all(&mut client).await, said(["later"], false));
    client.ping().await;

    let house = house.restart().await;
    let mut client = house.client("listener").lasting(3_600).connect_v5().await;
    assert!(client.connack.session_present);
    assert_eq!(all(&mut client).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_not_sent_again_after_a_restart_either() {
    let house = House::start().await;
    let connect = |house: &House| house.client("esp32").persistent();
    let mut device = connect(&house).connect_v4().await;
    device.acknowledge_nothing();
    device.subscribe("commands/esp32/play", AtLeastOnce).await;
    let mut script = house.somebody("script").await;
    script.say("commands/esp32/play", "true").await;
    assert_eq!(device.hears().await.1, "true");
    device.abort();
    let mut device = connect(&house).connect_v4().await;
    assert!(device.connack.session_present);
    device.hears_nothing().await;
    device.disconnect().await;
    script.say("commands/esp32/play", "false").await;
    script.disconnect().await;

    let house = house.restart().await;
    let mut device = connect(&house).connect_v4().await;
    assert!(device.connack.session_present);
    device.hears_nothing().await;
    house.somebody("script").await.say("commands/esp32/play", "now").await;
    assert_eq!(device.hears().await.1, "now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_without_a_suffix_goes_to_who_is_there_and_once() {
    let house = House::start().await;
    let pin = house.request(reqwest::Method::PUT, "/api/v1/services/dev/relay");
    let pinned = house.json(pin.json(&serde_json::json!({ "kind": "command" }))).await;
    assert!(pinned.0.is_success(), "{pinned:?}");
    let connect = || house.client("dev").persistent();
    let mut device = connect().connect_v4().await;
    device.acknowledge_nothing();
    device.subscribe("dev/relay", AtLeastOnce).await;
    let send = async |data: bool| {
        let path = "/api/v1/services/dev/relay/commands?offline=allow";
        let (status, body) = house.post(path, serde_json::json!({ "data": data })).await;
        assert!(status.is_success(), "{body}");
    };
    send(true).await;
    assert!(device.hears().await.1.contains("true"));
    device.abort();
    until("it is gone", async || {
        let clients = house.get("/api/v1/clients").await["items"].take();
        if clients == serde_json::json!([]) { Ok(()) } else { Err(clients) }
    })
    .await;
    send(false).await;
    let mut device = connect().connect_v4().await;
    assert!(device.connack.session_present);
    device.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_start_forgets_and_a_session_lasts_as_long_as_it_may() {
    let house = House::start().await;
    let mut publisher = house.somebody("publisher").await;
    let mut client = house.client("listener").lasting(u32::MAX).connect_v5().await;
    let told = client.connack.properties.session_expiry();
    assert_eq!(told, Some(WEEK), "for ever is a week here");
    client.subscribe("a", AtLeastOnce).await;
    client.abort();
    publisher.say("a", "1").await;

    let mut client = house.somebody("listener").await;
    assert!(!client.connack.session_present);
    client.hears_nothing().await;
    client.disconnect().await;

    // DISCONNECT may say that nothing shall last.
    let mut client = house.client("listener").lasting(60).connect_v5().await;
    assert_eq!(client.connack.properties.session_expiry(), None, "as it asked");
    client.subscribe("a", AtLeastOnce).await;
    let properties = Properties::from_iter([Property::SessionExpiry(0)]);
    client.send(&Packet::Disconnect(Disconnect { code: Code::SUCCESS, properties })).await;
    client.ended().await;
    publisher.say("a", "2").await;
    let mut client = house.client("listener").lasting(1).connect_v5().await;
    assert!(!client.connack.session_present);

    client.subscribe("a", AtLeastOnce).await;
    client.abort();
    publisher.say("a", "3").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let client = house.client("listener").lasting(1).connect_v5().await;
    assert!(!client.connack.session_present);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_with_its_connection_cannot_be_made_to_last() {
    let house = House::start().await;
    let mut client = house.client("client").connect_v5().await;
    let properties = Properties::from_iter([Property::SessionExpiry(9)]);
    client.send(&Packet::Disconnect(Disconnect { code: Code::SUCCESS, properties })).await;
    assert_eq!(client.ended().await, Some(Code::PROTOCOL_ERROR));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_loses_nothing() {
    let house = House::start().await;
    let mut client = listener(&house).await;
    client.subscribe("a", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;
    let mut heard = Vec::new();
    for round in 0..10 {
        for n in 0..10 {
            publisher.say("a", (round * 10 + n).to_string()).await;
            if n == 5 {
                client = listener(&house).await;
                assert!(client.connack.session_present);
            }
        }
    }
    while let Some(publish) = client.publish_if_any().await {
        heard.push(String::from_utf8(publish.payload.to_vec()).unwrap());
    }
    // Nothing was acknowledged before.
    let wanted: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(heard, wanted);
}

/// A reading, sent with QoS 2 and acknowledged by PUBREC.
async fn first_half(client: &mut Client, dup: bool) {
    let mut message = client.message("sensors/esp32", reading(20.0), ExactlyOnce, false);
    (message.packet_id, message.dup) = (7, dup);
    client.send(&Packet::Publish(message)).await;
    assert_eq!(client.pubrec(7).await, Code::SUCCESS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_2_comes_in_once_across_reconnects_and_restarts() {
    let house = House::start().await;
    let connect = |house: &House| house.client("esp32").persistent();
    let mut device = connect(&house).connect_v4().await;
    first_half(&mut device, false).await;
    first_half(&mut device, true).await;
    device.abort();
    let mut device = connect(&house).connect_v4().await;
    assert!(device.connack.session_present);
    first_half(&mut device, true).await;
    drop(device);

    let house = house.restart().await;
    let mut device = connect(&house).connect_v4().await;
    first_half(&mut device, true).await;
    assert_eq!(readings(&house).await, 1);
    assert_eq!(device.release(7).await, Code::SUCCESS);
    drop(device);

    let house = house.restart().await;
    let mut device = connect(&house).connect_v4().await;
    // Once released, the packet id is that of another message.
    first_half(&mut device, false).await;
    device.release(7).await;
    assert_eq!(readings(&house).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_2_comes_in_once_on_topics_that_are_not_recorded() {
    let house = House::start().await;
    let mut listener = house.somebody("listener").await;
    listener.subscribe("private", QoS::ExactlyOnce).await;
    let mut client = house.client("client").persistent().connect_v4().await;
    for dup in [false, true] {
        let mut message = client.message("private", "x", ExactlyOnce, false);
        (message.packet_id, message.dup) = (9, dup);
        client.send(&Packet::Publish(message)).await;
        assert_eq!(client.pubrec(9).await, Code::SUCCESS);
        client.abort();
        client = house.client("client").persistent().connect_v4().await;
    }
    client.send(&Packet::PubRel(ack(9))).await;
    assert_eq!(client.next().await, Some(Packet::PubComp(ack(9))));
    assert_eq!(listener.hears().await.1, "x");
    listener.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_that_waits_is_published_unless_the_client_comes_back() {
    let house = House::start().await;
    let mut watcher = house.somebody("watcher").await;
    watcher.subscribe("will", AtLeastOnce).await;
    let connect = || {
        let mut newcomer = house.client("client").lasting(60).will("will", "gone", AtLeastOnce, false);
        let will = newcomer.connect.will.as_mut().unwrap();
        will.properties.push(Property::WillDelay(2));
        newcomer
    };
    for _ in 0..3 {
        connect().connect_v5().await.abort();
    }
    let client = connect().connect_v5().await;
    watcher.hears_nothing().await;
    client.abort();
    assert_eq!(watcher.hears().await.1, "gone");

    // A clean start ends the session that the will waits for.
    connect().connect_v5().await.abort();
    watcher.hears_nothing().await;
    let _clean = house.somebody("client").await;
    assert_eq!(watcher.hears().await.1, "gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_on_disk_of_a_session_that_was_forgotten() {
    let house = House::start().await;
    let mut client = listener(&house).await;
    client.subscribe("a", AtLeastOnce).await;
    client.disconnect().await;
    house.somebody("publisher").await.say("a", "1").await;
    house.somebody("listener").await.disconnect().await;
    until("all four tables are empty", async || {
        let mut rows = 0;
        for table in ["kept_sessions", "kept_subscriptions", "kept_messages", "kept_received"] {
            rows += house.rows(table).await;
        }
        if rows == 0 { Ok(()) } else { Err(Value::from(rows)) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_for_a_client_that_is_away_leaves_the_disk_at_the_next_start() {
    let house = House::start().await;
    let mut client = listener(&house).await;
    client.subscribe("a", AtLeastOnce).await;
    client.disconnect().await;
    let mut publisher = house.client("publisher").connect_v5().await;
    let mut fleeting = publisher.message("a", "1", AtLeastOnce, false);
    fleeting.properties.push(Property::MessageExpiry(1));
    publisher.publish_packet(&fleeting).await;
    publisher.say("a", "2").await;
    assert_eq!(house.rows("kept_messages").await, 2);
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    let house = house.restart().await;
    until("one of them is left", async || match house.rows("kept_messages").await {
        1 => Ok(()),
        rows => Err(Value::from(rows)),
    })
    .await;
    let mut client = listener(&house).await;
    assert_eq!(all(&mut client).await, said(["2"], false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_of_persistent_sessions_end_where_memory_would() {
    let house = House::start().await;
    let lasting = |house: &House, id: &str| house.client(id).lasting(3_600);
    // 66 KiB each, and three quarters of 64 MiB for who asks for many.
    let mut client = lasting(&house, "listener").connect_v5().await;
    let codes = subscribe_deep(&mut client, 0..1_000).await;
    assert_eq!(codes.iter().position(|code| *code == Code::QUOTA_EXCEEDED), Some(760));
    client.disconnect().await;

    let house = house.restart().await;
    let mut other = lasting(&house, "other").connect_v5().await;
    assert!(subscribe_deep(&mut other, 900..1_000).await.iter().all(|code| code.is_failure()));
    let few = subscribe_deep(&mut lasting(&house, "few").connect_v5().await, 900..916).await;
    assert_eq!(few, [Code::GRANTED_QOS_1; 16]);
    house.client("listener").connect_v5().await.disconnect().await;
    assert_eq!(subscribe_deep(&mut other, 900..1_000).await, [Code::GRANTED_QOS_1; 100]);
}

async fn subscribe_deep(client: &mut Client, numbers: Range<usize>) -> Vec<Code> {
    let deep = |n| subscription(&format!("{n}{}", "/x".repeat(127)), AtLeastOnce);
    let (packet_id, properties) = (client.next_id(), Properties::none());
    let subscribe = Subscribe { packet_id, properties, filters: numbers.map(deep).collect() };
    client.send(&Packet::Subscribe(subscribe)).await;
    match client.next().await {
        Some(Packet::SubAck(suback)) => suback.codes,
        other => panic!("expected SUBACK, got {other:?}"),
    }
}
