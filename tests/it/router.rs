//! The router is probed, and replaced when it dies, hangs or has taken in too much: clients stay, and miss nothing.

use std::net::Ipv4Addr;

use bytes::Bytes;
use crosslink::{
    broker::{
        self, Broker, Message,
        front::codec::{
            Code, Packet, Properties,
            QoS::{AtLeastOnce, AtMostOnce},
            Subscribe, Unsubscribe,
        },
    },
    config::Config,
    model::Seq,
};
use serde_json::json;
use tokio::time::Duration;

use crate::harness::{Client, House, Newcomer, client::subscription, reading, until};

/// What the metrics count for each reason.
fn rebuilds(reason: &str) -> String {
    format!("crosslink_router_rebuilds_total{{reason=\"{reason}\"}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_outlive_the_router() {
    let house = House::start().await;
    let before = house.metric(&rebuilds("stopped")).await;
    let mut listener = house.client("listener").connect_v5().await;
    listener.subscribe("a/+", AtMostOnce).await;
    listener.subscribe("b", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;

    house.kill_router();

    until("the router is counted", async || {
        let now = house.metric(&rebuilds("stopped")).await;
        if now > before { Ok(()) } else { Err(now.into()) }
    })
    .await;
    publisher.publish("a/1", "one", AtMostOnce, false).await;
    assert_eq!(listener.hears().await, ("a/1".into(), "one".into()));
    publisher.say("b", "two").await;
    assert_eq!(listener.hears().await, ("b".into(), "two".into()));
    listener.unsubscribe("b").await;
    publisher.say("b", "three").await;
    assert_eq!(listener.subscribe("c", AtLeastOnce).await, Code(1));
    publisher.say("c", "four").await;
    assert_eq!(listener.hears().await, ("c".into(), "four".into()));
    assert_eq!(house.get("/readyz").await, json!({ "status": "ready", "reasons": [] }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_qos_1_is_missing_when_the_router_is_killed_five_times() {
    let house = House::start().await;
    let mut listener = house.somebody("listener").await;
    listener.subscribe("sensors/#", AtLeastOnce).await;
    let mut kept = house.client("kept").persistent().connect_v4().await;
    kept.subscribe("sensors/esp32", AtLeastOnce).await;
    let mut device = house.somebody("esp32").await;
    for round in 0..5 {
        let readings: Vec<_> = (0..200).map(|n| reading(f64::from(200 * round + n))).collect();
        let mut messages = Vec::new();
        for reading in &readings {
            messages.push(device.message("sensors/esp32", reading, AtLeastOnce, false));
        }
        for (n, message) in messages.iter().enumerate() {
            if n == 100 {
                house.kill_router();
            }
            device.send(&Packet::Publish(message.clone())).await;
        }
        for message in &messages {
            assert_eq!(device.puback(message.packet_id).await, Code::SUCCESS);
        }
        for who in [&mut listener, &mut kept] {
            for reading in &readings {
                assert_eq!(who.next_publish().await.payload, reading, "each in its turn, and once");
            }
        }
    }
    let journal = house.get("/api/v1/devices/esp32/readings?after=0&limit=1000").await;
    assert_eq!(journal["items"].as_array().unwrap().len(), 1_000);
    listener.hears_nothing().await;
    kept.hears_nothing().await;
}

/// One thread does all but the router's work: nobody learns of its death before the messages are in.
#[tokio::test]
async fn what_a_router_is_lost_with_is_sent_again_but_no_command_and_nothing_of_qos_0() {
    let (intake, _inputs) = broker::intake();
    let broker = Broker::open(&Config::default(), Vec::new(), Vec::new(), intake).unwrap();
    let address = broker.listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let mut device = Newcomer::new(address, "device").connect_v4().await;
    device.subscribe("#", AtLeastOnce).await;
    let message = |topic: &str, qos, command| Message {
        topic: topic.to_owned(),
        payload: Bytes::from_static(b"true"),
        qos,
        retain: false,
        command,
        life: Duration::ZERO,
    };

    broker.kill_router();
    broker.publish(message("commands/esp32/play", AtLeastOnce, Some(Seq(7))));
    broker.publish(message("commands/raspberry/play", AtLeastOnce, None));
    broker.publish(message("fleeting", AtMostOnce, None));
    broker.publish(message("lasting", AtLeastOnce, None));

    assert_eq!(device.hears().await.0, "lasting");
    broker.publish(message("commands/esp32/play", AtLeastOnce, Some(Seq(8))));
    assert_eq!(device.hears().await.0, "commands/esp32/play");
    broker.publish(message("fleeting", AtMostOnce, None));
    assert_eq!(device.hears().await.0, "fleeting");
    device.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_subscribes_hears_nothing_from_before() {
    let house = House::start().await;
    let mut early = house.somebody("early").await;
    early.subscribe("a", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;
    publisher.say("a", "one").await;
    assert_eq!(early.hears().await.1, "one");
    let mut late = house.somebody("late").await;
    late.subscribe("a", AtLeastOnce).await;

    house.kill_router();
    publisher.say("a", "two").await;

    assert_eq!(late.hears().await.1, "two");
    assert_eq!(early.hears().await.1, "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_hangs_is_told_and_replaced() {
    let house = House::start().await;
    let before = house.metric(&rebuilds("hung")).await;
    let lost = house.metric("crosslink_router_lost_total").await;
    let mut listener = house.somebody("listener").await;
    listener.subscribe("a", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;

    house.deafen_router();

    until("health says so", async || {
        let report = house.get("/readyz").await;
        let code = report["reasons"][0]["code"].as_str().unwrap_or_default();
        if code == "ROUTER_STALLED" && report["status"] == "degraded" { Ok(()) } else { Err(report) }
    })
    .await;
    publisher.say("a", "one").await;
    for _ in 0..3 {
        publisher.publish("a", "lost", AtMostOnce, false).await;
    }
    until("there is another router", async || {
        let report = house.get("/readyz").await;
        if report["status"] == "ready" { Ok(()) } else { Err(report) }
    })
    .await;
    assert!(house.metric(&rebuilds("hung")).await > before);
    assert!(house.metric("crosslink_router_lost_total").await >= lost + 3);
    publisher.say("a", "two").await;
    for text in ["one", "two"] {
        assert_eq!(listener.hears().await.1, text);
    }
    listener.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_hangs_keeps_nobody_waiting_but_publishers() {
    let house = House::start().await;
    let mut listener = house.somebody("listener").await;
    listener.subscribe("a", AtMostOnce).await;
    let mut publisher = house.somebody("publisher").await;

    house.deafen_router();

    // More than may wait for the router.
    let burst = b"\x30\x04\x00\x01ax".repeat(20_000);
    publisher.send_bytes(&burst).await;
    let stalled = async || {
        let report = house.get("/readyz").await;
        if report["reasons"][0]["code"] == "ROUTER_STALLED" { Ok(()) } else { Err(report) }
    };
    until("health says so", stalled).await;
    listener.ping().await;
    listener.unsubscribe("a").await;
    assert_eq!(stalled().await, Ok(()), "it is still the same router");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_had_many_filters_is_replaced_and_nobody_notices() {
    let house = House::start().await;
    let before = renewals(&house).await;
    let mut listener = house.somebody("listener").await;
    listener.subscribe("a", AtMostOnce).await;
    let mut publisher = house.somebody("publisher").await;
    let mut fickle = house.client("fickle").connect_v5().await;
    let (mut said, mut round) = (0, 0);
    until("the router is replaced", async || {
        let filters: Vec<String> = (0..900).map(|n| format!("{round}/{n}/+")).collect();
        round += 1;
        subscribe_all(&mut fickle, &filters).await;
        unsubscribe_all(&mut fickle, filters).await;
        for _ in 0..10 {
            said += 1;
            publisher.publish("a", said.to_string(), AtMostOnce, false).await;
        }
        let now = renewals(&house).await;
        if now > before { Ok(()) } else { Err(now.into()) }
    })
    .await;
    for n in 1..=said {
        assert_eq!(listener.hears().await.1, n.to_string());
    }
    assert_eq!(fickle.subscribe("again", AtLeastOnce).await, Code(1));
    publisher.say("again", "heard").await;
    assert_eq!(fickle.hears().await.1, "heard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_nobody_has_is_refused_when_there_are_too_many() {
    let house = House::start().await;
    let mut hoarders = Vec::new();
    let mut granted = 0;
    for hoarder in 0..5 {
        let mut client = house.client(&hoarder.to_string()).connect_v5().await;
        let filters: Vec<String> = (0..1_000).map(|n| format!("{hoarder}/{n}")).collect();
        let codes = subscribe_all(&mut client, &filters).await;
        assert!(codes.iter().all(|code| [Code(0), Code::QUOTA_EXCEEDED].contains(code)));
        granted += codes.iter().filter(|code| !code.is_failure()).count();
        hoarders.push(client);
    }
    assert_eq!(granted, 4_096);
    let mut modest = house.client("modest").connect_v5().await;
    assert_eq!(
        modest.subscribe("modest", AtMostOnce).await,
        Code(0),
        "who asks for few finds room in the reserve"
    );
    let mut client = house.client("late").connect_v5().await;
    let filters: Vec<String> = (0..20).map(|n| format!("late/{n}")).collect();
    assert_eq!(subscribe_all(&mut client, &filters).await, [Code::QUOTA_EXCEEDED; 20]);
    assert_eq!(client.subscribe("0/0", AtMostOnce).await, Code(0), "it is there already");
    hoarders.swap_remove(0).disconnect().await;
    until("its filters are free again", async || match client.subscribe("late/0", AtMostOnce).await {
        Code(0) => Ok(()),
        refused => Err(refused.to_string().into()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_that_had_many_topics_are_replaced_and_nobody_notices() {
    let house = House::start().await;
    let before = renewals(&house).await;
    let mut listener = house.somebody("listener").await;
    listener.subscribe("#", AtMostOnce).await;
    let mut publisher = house.somebody("publisher").await;
    let mut said = 0;
    let path = "x".repeat(900);
    until("the router is replaced twice", async || {
        for _ in 0..2_000 {
            said += 1;
            publisher.publish(&format!("{path}/{said}"), "", AtMostOnce, false).await;
        }
        for n in said - 1_999..=said {
            assert_eq!(listener.hears().await.0, format!("{path}/{n}"));
        }
        let now = renewals(&house).await;
        if now >= before + 2 { Ok(()) } else { Err(now.into()) }
    })
    .await;
    listener.hears_nothing().await;
}

/// How often a router was replaced because of what it had taken in: of many topics and filters much is kept as well.
async fn renewals(house: &House) -> u64 {
    let mut all = 0;
    for reason in ["topics", "filters", "bytes"] {
        all += house.metric(&rebuilds(reason)).await;
    }
    all
}

async fn subscribe_all(client: &mut Client, filters: &[String]) -> Vec<Code> {
    let filters = filters.iter().map(|filter| subscription(filter, AtMostOnce)).collect();
    let packet_id = client.next_id();
    client.send(&Packet::Subscribe(Subscribe { packet_id, properties: Properties::none(), filters })).await;
    match client.next().await {
        Some(Packet::SubAck(suback)) => suback.codes,
        other => panic!("expected SUBACK, got {other:?}"),
    }
}

async fn unsubscribe_all(client: &mut Client, filters: Vec<String>) {
    let packet_id = client.next_id();
    client
        .send(&Packet::Unsubscribe(Unsubscribe { packet_id, properties: Properties::none(), filters }))
        .await;
    let answer = client.next().await;
    assert!(matches!(answer, Some(Packet::UnsubAck(_))), "{answer:?}");
}
