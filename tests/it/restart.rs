//! What a gateway that stops leaves to the one that starts after it.

use crosslink::{
    broker::front::codec::QoS::AtLeastOnce,
    config::{Config, Listen},
    gateway::Gateway,
};
use serde_json::{Value, json};

use crate::harness::{Client, House, reading};

const TOPIC: &str = "presence/esp32/status";

async fn device(house: &House) -> Client {
    let mut device = house.client("esp32").with_presence_of("esp32").connect_v4().await;
    device.keep(TOPIC, "online").await;
    device
}

async fn items(house: &House, path: &str) -> Vec<Value> {
    let page = house.get(&format!("{path}?after=0&limit=1000")).await;
    page["items"].as_array().unwrap().clone()
}

fn seqs(items: &[Value]) -> Vec<i64> {
    items.iter().map(|item| item["seq"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_goes_on_where_it_stopped() {
    let house = House::start().await;
    let mut client = device(&house).await;
    for n in 0..10 {
        client.say("sensors/esp32", reading(f64::from(n))).await;
    }
    let (readings, presence) = ("/api/v1/devices/esp32/readings", "/api/v1/devices/esp32/presence");
    let (readings_before, presence_before) = (items(&house, readings).await, items(&house, presence).await);
    assert_eq!(readings_before.len(), 10);

    let house = house.restart().await;

    assert_eq!(items(&house, readings).await, readings_before);
    assert_eq!(items(&house, presence).await[..presence_before.len()], presence_before);
    let mut client = device(&house).await;
    client.say("sensors/esp32", reading(10.0)).await;
    let readings = items(&house, readings).await;
    assert_eq!(readings.len(), 11);
    assert!(seqs(&readings).is_sorted_by(|one, next| one < next));
    let presence = items(&house, presence).await;
    assert!(seqs(&presence).is_sorted_by(|one, next| one < next));
    assert!(seqs(&presence).last() < seqs(&readings).last());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_device_is_unknown_until_it_speaks() {
    let house = House::start().await;
    let mut client = device(&house).await;
    client.say("sensors/esp32", reading(30.0)).await;
    let before = house.device("esp32").await;

    let house = house.restart().await;

    let presence = house.presence("esp32", "UNKNOWN", "RESTART").await;
    assert_eq!(presence["session"], Value::Null);
    assert_eq!(presence["last_message_at"], before["presence"]["last_message_at"]);
    assert_eq!(house.device("esp32").await["latest"], before["latest"]);
    let mut listener = house.somebody("listener").await;
    listener.subscribe(TOPIC, AtLeastOnce).await;
    assert_eq!(listener.hears().await.1, "online", "nothing is said about what is not known");
    let mut client = house.somebody("esp32").await;
    client.say("sensors/esp32", reading(30.0)).await;
    house.presence("esp32", "ONLINE", "READING").await;
    // What is kept is true already, and would begin the peers' melody anew.
    listener.hears_nothing().await;
    let history: Vec<String> = house.history("esp32").await.into_iter().map(|(status, _)| status).collect();
    assert_eq!(history, ["ONLINE", "UNKNOWN", "ONLINE"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_gone_is_unknown_too_and_corrected_when_it_speaks() {
    let house = House::start().await;
    device(&house).await.close().await;
    house.presence("esp32", "OFFLINE", "WILL").await;

    let house = house.restart().await;

    house.presence("esp32", "UNKNOWN", "RESTART").await;
    let mut listener = house.somebody("listener").await;
    listener.subscribe(TOPIC, AtLeastOnce).await;
    assert_eq!(listener.hears().await.1, "offline");
    let mut client = house.somebody("esp32").await;
    client.say("sensors/esp32", reading(30.0)).await;
    assert_eq!(listener.hears().await.1, "online");
    listener.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_is_remembered_until_the_device_reconnects() {
    let house = House::start().await;
    let _client = device(&house).await;
    let (_, record) = house.post("/api/v1/devices/esp32/commands", json!({ "action": "play" })).await;
    let command = format!("/api/v1/commands/{}", record["id"]);
    let before = house.get(&command).await;

    let house = house.restart().await;

    assert_eq!(house.get(&command).await, before);
    assert_eq!(house.device("esp32").await["mode"], "FORCED_ON");
    let _client = device(&house).await;
    house.presence("esp32", "ONLINE", "ANNOUNCED").await;
    assert_eq!(house.device("esp32").await["mode"], "UNKNOWN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_may_be_stopped_in_the_middle_of_everything() {
    let mut house = House::start().await;
    for round in 0..3 {
        let mut talker = house.client("esp32").with_presence_of("esp32").connect_v4().await;
        let mut acknowledged = 0;
        for n in 0..20 {
            talker.say("sensors/esp32", reading(f64::from(n))).await;
            acknowledged += 1;
        }
        house = house.restart().await;
        let kept = items(&house, "/api/v1/devices/esp32/readings").await.len();
        assert_eq!(kept, (round + 1) * acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_that_may_be_lost_is_not_in_force_after_a_restart() {
    let house = House::start().await;
    let first = device(&house).await;
    house.post("/api/v1/devices/esp32/commands", json!({ "action": "play" })).await;
    first.close().await;
    house.presence("esp32", "OFFLINE", "WILL").await;
    let again = device(&house).await;
    house.presence("esp32", "ONLINE", "ANNOUNCED").await;
    again.close().await;
    house.presence("esp32", "OFFLINE", "WILL").await;
    assert_eq!(house.device("esp32").await["mode"], "UNKNOWN");

    let house = house.restart().await;

    assert_eq!(house.device("esp32").await["mode"], "UNKNOWN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_cannot_open_its_ports_leaves_history_as_it_was() {
    let house = House::start().await;
    let mut client = device(&house).await;
    client.say("sensors/esp32", reading(20.0)).await;
    let folder = house.stop().await;
    let database = folder.path().join("crosslink.db");
    let before = std::fs::read(&database).unwrap();

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config {
        database: database.clone(),
        http: Listen::Off,
        mqtt: Listen::At(taken.local_addr().unwrap()),
        mqtt_ws: Listen::Off,
        ..Config::default()
    };
    assert!(Gateway::start(config).await.is_err());

    assert!(std::fs::read(&database).unwrap() == before);
    assert!(!folder.path().join("crosslink.db-wal").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_keep_nothing_are_not_remembered() {
    let house = House::start().await;
    let mut client = device(&house).await;
    client.keep(TOPIC, "").await;
    client.say("sensors/esp32", reading(20.0)).await;
    let mut listener = house.somebody("listener").await;
    listener.subscribe(TOPIC, AtLeastOnce).await;
    assert_eq!(listener.hears().await.1, "online", "what is true is kept again");
}
