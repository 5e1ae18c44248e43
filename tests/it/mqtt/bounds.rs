//! How much one client may have, and how often it may break off.

use std::time::Duration;

use crosslink::broker::front::codec::{
    Code, Disconnect, Packet, Properties, Property,
    QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce},
    Subscribe,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    disk::{hold, let_go},
    harness::{Client, House, client::subscription, until},
};

/// As many ends within a minute are too many, by default.
const FLAPS: usize = 15;

/// The client with this id as it is listed, while it is connected.
async fn listed(house: &House, id: &str) -> Value {
    let page = house.get("/api/v1/clients").await;
    let mut clients = page["items"].as_array().unwrap().iter();
    clients.find(|client| client["client_id"] == id).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_off_too_often_is_refused_alone_and_listed() {
    let house = House::start().await;
    let mut neighbour = house.somebody("neighbour").await;
    assert_eq!(house.get("/api/v1/clients/refused").await, json!({ "items": [], "next": null }));

    let refused = house.flaps(house.client("restless").v5()).await;

    assert_eq!(refused.connack.code, Code::CONNECTION_RATE_EXCEEDED);
    assert!(
        refused.refusal().starts_with("this client id broke off too often; try again in "),
        "{}",
        refused.refusal()
    );
    let old = house.client("restless").try_connect().await.unwrap();
    assert_eq!(old.connack.code, Code(3));
    let page = house.get("/api/v1/clients/refused").await;
    let [told] = &page["items"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!((&told["client_id"], &told["attempts"]), (&json!("restless"), &json!(2)));
    assert!(told["since"].as_str() < told["until"].as_str(), "{told}");
    assert!(told["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{told}");
    neighbour.ping().await;
    house.somebody("newcomer").await.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_over_too_often_keeps_its_last_connection() {
    let house = House::start().await;
    let mut twins: Vec<Client> = Vec::new();
    for _ in 0..=FLAPS {
        twins.push(house.somebody("twin").await);
    }
    assert_eq!(
        house.client("twin").v5().try_connect().await.unwrap().connack.code,
        Code::CONNECTION_RATE_EXCEEDED
    );
    twins.last_mut().unwrap().ping().await;
    assert_eq!(listed(&house, "twin").await["flapping"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_goodbye_may_come_as_often_as_it_likes() {
    let house = House::start().await;
    for _ in 0..3 * FLAPS {
        house.somebody("polite").await.disconnect().await;
    }
    let _again = house.somebody("polite").await;
    assert_eq!(listed(&house, "polite").await["flapping"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_where_that_is_turned_off() {
    let house = House::with(|config| config.max_flaps = None).await;
    for _ in 0..3 * FLAPS {
        house.somebody("restless").await.close().await;
    }
    house.somebody("restless").await.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn who_was_refused_is_let_in_after_a_minute() {
    let house = House::with(|config| config.max_flaps = Some(1)).await;
    house.flaps(house.client("restless")).await;
    sleep(Duration::from_secs(59)).await;
    // It stays: to break off again would be once too often.
    let _inside = until("the minute is over", async || {
        let client = house.client("restless").try_connect().await.ok_or("no answer")?;
        if client.connack.code == Code::SUCCESS { Ok(client) } else { Err("refused".into()) }
    })
    .await;
    assert_eq!(house.get("/api/v1/clients/refused").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_flaps_is_told_of_seldom_and_truly() {
    let house = House::start().await;
    const COMES: usize = FLAPS - 1;
    let device = || house.client("esp32").with_presence_of("esp32").connect_v4();
    let mut last = None;
    for n in 0..COMES {
        let mut device = device().await;
        device.keep("presence/esp32/status", "online").await;
        match n + 1 < COMES {
            true => device.close().await,
            false => last = Some(device),
        }
    }
    let session = listed(&house, "esp32").await["session"].clone();
    until("the last of it is told", async || {
        let presence = house.device("esp32").await["presence"].take();
        let is = (presence["status"] == "ONLINE") && presence["session"] == session;
        if is { Ok(()) } else { Err(presence) }
    })
    .await;
    let page = house.get("/api/v1/devices/esp32/presence?after=0&limit=500").await;
    let changes = page["items"].as_array().unwrap();
    assert!(changes.len() < 2 * COMES - 1, "{} of {} were told", changes.len(), 2 * COMES - 1);
    assert_eq!(
        (&changes[0]["flapping"], &changes[changes.len() - 1]["flapping"]),
        (&json!(false), &json!(true))
    );
    let mut late = house.somebody("late").await;
    late.subscribe("presence/esp32/status", AtLeastOnce).await;
    assert_eq!(late.hears().await.1, "online");
    drop(last);
    house.presence("esp32", "OFFLINE", "WILL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_that_die_and_return_at_once_are_there_and_their_next_deaths_are_seen() {
    const DEVICES: usize = 30;
    let house = House::start().await;
    let mut devices = Vec::new();
    for n in 0..DEVICES {
        let id = format!("board{n}");
        let topic = format!("presence/{id}/status");
        // Spelt as the gateway, which might say it too, does not.
        let connect = || house.client(&id).will(&topic, "OFFLINE", AtLeastOnce, true).connect_v4();
        let mut first = connect().await;
        first.keep(&topic, "online").await;
        // The will of the first and the connection of the second are on their way at the same time.
        first.abort();
        let mut second = connect().await;
        second.keep(&topic, "online").await;
        devices.push(second);
    }
    let mut witness = house.somebody("witness").await;
    witness.subscribe("presence/+/status", AtLeastOnce).await;
    for _ in 0..DEVICES {
        let (topic, said) = witness.hears().await;
        assert_eq!(said, "online", "{topic}");
    }
    for (n, device) in devices.iter_mut().enumerate() {
        device.ping().await;
        assert_eq!(house.device(&format!("board{n}")).await["presence"]["status"], "ONLINE", "board{n}");
    }
    // Nobody is told later that one of them is away.
    witness.hears_nothing().await;
    for (n, device) in devices.into_iter().enumerate() {
        device.abort();
        assert_eq!(witness.hears().await, (format!("presence/board{n}/status"), "OFFLINE".to_owned()));
        house.presence(&format!("board{n}"), "OFFLINE", "SOCKET_ERROR").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_have_a_length_and_so_many_levels() {
    let house = House::start().await;
    let mut client = house.client("client").connect_v5().await;
    let levels = |count| vec!["a"; count].join("/");
    for (topic, code) in [
        ("a".repeat(1_024), Code::SUCCESS),
        ("a".repeat(1_025), Code::TOPIC_INVALID),
        (levels(128), Code::SUCCESS),
        (levels(129), Code::TOPIC_INVALID),
    ] {
        assert_eq!(client.publish(&topic, "x", AtLeastOnce, false).await, code, "{} bytes", topic.len());
        let granted = if code.is_failure() { Code::FILTER_INVALID } else { Code::GRANTED_QOS_1 };
        assert_eq!(client.subscribe(&topic, AtLeastOnce).await, granted, "{} bytes", topic.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_a_thousand_subscriptions_and_no_more() {
    let house = House::start().await;
    let mut client = house.client("client").connect_v5().await;
    let filters = (0..1_000).map(|n| subscription(&format!("a/{n}"), AtMostOnce)).collect();
    client
        .send(&Packet::Subscribe(Subscribe { packet_id: 7, properties: Properties::none(), filters }))
        .await;
    match client.next().await {
        Some(Packet::SubAck(suback)) => assert!(suback.codes.iter().all(|code| !code.is_failure())),
        other => panic!("expected SUBACK, got {other:?}"),
    }
    assert_eq!(client.subscribe("one/too/many", AtMostOnce).await, Code::QUOTA_EXCEEDED);
    assert_eq!(client.subscribe("a/7", AtLeastOnce).await, Code::GRANTED_QOS_1, "it has this one");
    client.unsubscribe("a/8").await;
    assert_eq!(client.subscribe("one/too/many", AtMostOnce).await, Code::GRANTED_QOS_0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_qos_2_messages_wait_to_be_released_than_connack_says() {
    let house = House::start().await;
    let mut client = house.client("client").connect_v5().await;
    assert_eq!(client.connack.properties.receive_maximum(), Some(1_000));
    let mut older = house.somebody("older").await;
    for _ in 0..1_000 {
        for one in [&mut client, &mut older] {
            let message = one.message("a", "x", ExactlyOnce, false);
            one.send(&Packet::Publish(message.clone())).await;
            assert_eq!(one.pubrec(message.packet_id).await, Code::SUCCESS);
        }
    }
    client.release(1).await;
    for one in [&mut client, &mut older] {
        let message = one.message("a", "x", ExactlyOnce, false);
        one.send(&Packet::Publish(message.clone())).await;
        assert_eq!(
            one.pubrec(message.packet_id).await,
            Code::SUCCESS,
            "it was released, or not told how many"
        );
    }
    let one_too_many = client.message("a", "x", ExactlyOnce, false);
    client.send(&Packet::Publish(one_too_many)).await;
    assert_eq!(client.ended().await, Some(Code::RECEIVE_MAXIMUM_EXCEEDED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_topics_keep_a_message_and_no_more() {
    let house = House::start().await;
    let mut client = house.somebody("client").await;
    for n in 0..10_002 {
        client.publish(&format!("kept/{n}"), "x", AtMostOnce, true).await;
    }
    // A topic that keeps one already may keep another.
    client.publish("kept/0", "y", AtMostOnce, true).await;
    client.ping().await;
    client.subscribe("kept/0", AtMostOnce).await;
    assert_eq!(client.hears().await.1, "y");
    for n in [9_999, 10_001] {
        client.subscribe(&format!("kept/{n}"), AtMostOnce).await;
    }
    assert_eq!(client.hears().await.0, "kept/9999");
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_stalled_client_is_listed_and_bounded() {
    let house = House::start().await;
    let mut stalled = house.client("stalled").keep_alive(0).connect_v5().await;
    stalled.subscribe("passing", AtMostOnce).await;
    stalled.subscribe("certain", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;
    // More than the system's own buffers take and the gateway holds: 16 MiB.
    for _ in 0..40 {
        publisher.publish("passing", vec![b'x'; 1024 * 1024], AtMostOnce, false).await;
    }
    publisher.ping().await;
    let queued = until("messages wait for the stalled client", async || {
        let client = listed(&house, "stalled").await;
        match client["queued"].as_u64() {
            Some(queued @ 15..) => Ok(queued),
            _ => Err(client),
        }
    })
    .await;
    assert!(queued <= 17, "{queued} MiB wait");
    // What is passing is left out; a client that would miss what is certain is cut.
    publisher.say("certain", "x").await;
    until("the stalled client is cut", async || match listed(&house, "stalled").await {
        Value::Null => Ok(()),
        client => Err(client),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_last_is_kept_whoever_waits_for_room_on_the_way_to_the_disk() {
    const TOPICS: usize = 20;
    static MIB: [u8; 1024 * 1024 - 1] = [b'x'; 1024 * 1024 - 1];
    let house = House::start().await;
    let (mut filler, mut first) = (house.somebody("filler").await, house.somebody("first").await);
    let (mut others, mut crowd) = (Vec::new(), Vec::new());
    for n in 0..TOPICS {
        others.push(house.somebody(&format!("other-{n}")).await);
    }
    for n in 0..5 {
        crowd.push(house.somebody(&format!("crowd-{n}")).await);
    }
    let mut witness = house.somebody("witness").await;
    let held = hold(&house).await;
    let say = async |client: &mut Client, topic: &str, payload: &[u8], qos| {
        let message = client.message(topic, payload, qos, true);
        client.send(&Packet::Publish(message)).await;
    };
    say(&mut filler, "full", b"x", AtLeastOnce).await;
    until("the writer waits for the disk", async || {
        let (_, report) = house.json(house.request(Method::GET, "/readyz")).await;
        if report["reasons"][0]["code"].is_string() { Ok(()) } else { Err(report) }
    })
    .await;
    // All the room that there is, and 4 MiB of it in what the writer takes first.
    for _ in 0..4_096 {
        say(&mut filler, "full", b"x", AtMostOnce).await;
    }
    for _ in 0..60 {
        say(&mut filler, "full", &MIB, AtLeastOnce).await;
    }
    filler.ping().await;
    // The first one's first message waits for room, and all others behind it.
    say(&mut first, "full", b"x", AtLeastOnce).await;
    for n in 0..TOPICS {
        say(&mut first, &format!("kept/{n}"), b"1", AtLeastOnce).await;
    }
    first.ping().await;
    for (n, other) in others.iter_mut().enumerate() {
        say(other, &format!("kept/{n}"), b"2", AtLeastOnce).await;
        other.ping().await;
    }
    for client in &mut crowd {
        say(client, "full", &MIB, AtLeastOnce).await;
        client.ping().await;
    }
    let_go(held).await;
    for other in &mut others {
        assert_eq!(other.puback(1).await, Code::SUCCESS);
    }
    for id in 1..=(1 + TOPICS as u16) {
        assert_eq!(first.puback(id).await, Code::SUCCESS);
    }
    witness.subscribe("kept/#", AtLeastOnce).await;
    for _ in 0..TOPICS {
        assert_eq!(witness.hears().await.1, "2");
    }

    let house = house.restart().await;
    let mut witness = house.somebody("witness").await;
    witness.subscribe("kept/#", AtLeastOnce).await;
    for _ in 0..TOPICS {
        let (topic, payload) = witness.hears().await;
        assert_eq!(payload, "2", "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_given_no_session_may_still_say_how_long_it_would_last() {
    let house = House::start().await;
    let mut lasting = Vec::new();
    for n in 0..1_000 {
        lasting.push(house.client(&format!("lasting-{n}")).lasting(60).connect_v5().await);
    }
    let mut client = house.client("client").lasting(60).connect_v5().await;
    assert_eq!(client.connack.properties.session_expiry(), Some(0));
    let properties = Properties::from_iter([Property::SessionExpiry(30)]);
    client.send(&Packet::Disconnect(Disconnect { code: Code::SUCCESS, properties })).await;
    assert_eq!(client.ended().await, None);
}
