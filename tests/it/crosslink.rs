//! What the two devices of a pair do to each other, as far as the gateway can know.

use crosslink::model::Pair;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Client, House, reading, until};

/// A device of the pair that is online and has measured.
async fn device(house: &House, name: &str, temperature: f64) -> Client {
    let mut device = house.client(name).with_presence_of(name).connect_v4().await;
    device.keep(&format!("presence/{name}/status"), "online").await;
    device.say(&format!("sensors/{name}"), reading(temperature)).await;
    device
}

async fn command(house: &House, action: &str) {
    let (status, record) = house.post("/api/v1/devices/esp32/commands", json!({ "action": action })).await;
    assert!(status.is_success(), "{status} {record}");
}

async fn mode(house: &House) -> Value {
    let device = house.device("esp32").await;
    assert_eq!(device["mode"], device["cross_link"]["mode"]);
    device["mode"].clone()
}

async fn expected_playing(house: &House) -> Value {
    house.device("esp32").await["cross_link"]["expected_playing"].take()
}

async fn hazard(house: &House) -> Value {
    house.device("esp32").await["cross_link"]["hazard"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_follows_the_commands_of_users() {
    let house = House::start().await;
    let _esp32 = device(&house, "esp32", 20.0).await;
    assert_eq!(mode(&house).await, "AUTO");
    for (action, expected) in
        [("play", "FORCED_ON"), ("stop", "FORCED_OFF"), ("resume", "AUTO"), ("stop", "FORCED_OFF")]
    {
        command(&house, action).await;
        assert_eq!(mode(&house).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_follows_the_commands_of_other_clients() {
    let house = House::start().await;
    let _esp32 = device(&house, "esp32", 20.0).await;
    let mut script = house.somebody("script").await;
    for (topic, payload, expected) in [
        ("commands/esp32/play", "true", "FORCED_ON"),
        ("commands/esp32/play", " OFF ", "FORCED_OFF"),
        ("commands/esp32/play", "", "AUTO"),
        ("esp32/play", "1", "FORCED_ON"),
        ("esp32/play", "{\"play\": 0}", "FORCED_OFF"),
        ("esp32/play", "nonsense", "FORCED_OFF"),
        ("esp32/play", "", "AUTO"),
        ("commands/raspberry/play", "true", "AUTO"),
    ] {
        script.say(topic, payload).await;
        assert_eq!(mode(&house).await, expected, "{topic} {payload:?}");
    }
    script.keep("commands/esp32/play", "true").await;
    assert_eq!(mode(&house).await, "AUTO", "a retained command reaches no device");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_reconnects_may_have_lost_its_override() {
    let house = House::start().await;
    let esp32 = device(&house, "esp32", 20.0).await;
    command(&house, "play").await;
    esp32.close().await;
    house.presence("esp32", "OFFLINE", "WILL").await;
    assert_eq!(mode(&house).await, "FORCED_ON");

    let _esp32 = device(&house, "esp32", 20.0).await;
    assert_eq!(mode(&house).await, "UNKNOWN");
    assert_eq!(expected_playing(&house).await, Value::Null);

    command(&house, "resume").await;
    assert_eq!(mode(&house).await, "AUTO");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_taken_over_may_have_lost_its_override() {
    let house = House::start().await;
    let _half_open = device(&house, "esp32", 20.0).await;
    command(&house, "stop").await;
    let _esp32 = device(&house, "esp32", 20.0).await;
    assert_eq!(mode(&house).await, "UNKNOWN");
    command(&house, "play").await;
    assert_eq!(mode(&house).await, "FORCED_ON");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_override_there_is_none_to_lose() {
    let house = House::start().await;
    let esp32 = device(&house, "esp32", 20.0).await;
    command(&house, "play").await;
    command(&house, "resume").await;
    esp32.close().await;
    house.presence("esp32", "OFFLINE", "WILL").await;
    let _esp32 = device(&house, "esp32", 20.0).await;
    assert_eq!(mode(&house).await, "AUTO");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_follows_its_peer_by_the_rule_of_the_firmware() {
    let house = House::start().await;
    assert_eq!(expected_playing(&house).await, false, "the peer has not spoken");
    let mut raspberry = device(&house, "raspberry", 20.0).await;
    for (payload, expected) in [
        (json!({ "temperature": 28.9, "humidity": 50, "threshold": 29 }), false),
        (json!({ "temperature": 29, "humidity": 50, "threshold": 29.0 }), true),
        (json!({ "temperature": 29.1, "humidity": 50, "threshold": 35 }), false),
        (json!({ "temperature": 40, "humidity": 50, "threshold": 29, "over_threshold": false }), false),
        (json!({ "temperature": 10, "humidity": 50, "threshold": 29, "over_threshold": true }), true),
    ] {
        raspberry.say("sensors/raspberry", payload.to_string()).await;
        let link = house.device("esp32").await["cross_link"].take();
        assert_eq!(link["expected_playing"], expected, "{payload}");
        assert_eq!(link["peer"], "raspberry");
        assert_eq!(link["peer_reading"]["payload"], payload);
        assert!(link["peer_reading_age_ms"].as_u64().is_some_and(|age| age < 10_000), "{link}");
    }
    command(&house, "stop").await;
    assert_eq!(expected_playing(&house).await, false, "whatever its peer measures");
    command(&house, "resume").await;
    assert_eq!(expected_playing(&house).await, true);
    raspberry.say("sensors/raspberry", reading(20.0)).await;
    command(&house, "play").await;
    assert_eq!(expected_playing(&house).await, true, "whatever its peer measures");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_lost_over_threshold_is_a_hazard() {
    let house = House::start().await;
    assert_eq!(hazard(&house).await, "NONE");
    for (temperature, expected) in [(20.0, "NONE"), (30.0, "PEER_LOST_LATCHED_ON")] {
        let raspberry = device(&house, "raspberry", temperature).await;
        assert_eq!(hazard(&house).await, "NONE");
        raspberry.close().await;
        house.presence("raspberry", "OFFLINE", "WILL").await;
        assert_eq!(hazard(&house).await, expected);
    }
    let _raspberry = device(&house, "raspberry", 30.0).await;
    assert_eq!(hazard(&house).await, "NONE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_a_hazard_and_no_reconnection() {
    let house = House::start().await;
    let _raspberry = device(&house, "raspberry", 30.0).await;
    let mut esp32 = device(&house, "esp32", 20.0).await;
    command(&house, "play").await;
    house.presence("raspberry", "STALE", "SILENCE").await;
    house.presence("esp32", "STALE", "SILENCE").await;
    assert_eq!(hazard(&house).await, "PEER_STALE");
    esp32.say("sensors/esp32", reading(20.0)).await;
    house.presence("esp32", "ONLINE", "READING").await;
    assert_eq!(mode(&house).await, "FORCED_ON");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_is_a_living_pair() {
    let pair = Pair("pump".into(), "valve".into());
    let house = House::with(|config| (config.demo, config.pair) = (true, pair)).await;
    for name in ["pump", "valve"] {
        until(&format!("{name} is online and measures"), async || {
            let device = house.device(name).await;
            let lives = device["presence"]["status"] == "ONLINE" && device["latest"].is_object();
            if lives { Ok(()) } else { Err(device) }
        })
        .await;
    }
    let (_, record) = house.post("/api/v1/devices/valve/commands", json!({ "action": "play" })).await;
    assert_eq!(record["delivery"], "ACKNOWLEDGED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pair_is_a_matter_of_configuration() {
    let house = House::with(|config| config.pair = Pair("pump".into(), "valve".into())).await;
    let _esp32 = device(&house, "esp32", 20.0).await;
    assert_eq!(house.device("esp32").await["cross_link"], Value::Null);
    assert_eq!(house.device("pump").await["cross_link"]["peer"], "valve");
    assert_eq!(house.device("raspberry").await, Value::Null);

    let mut script = house.somebody("script").await;
    script.say("pump/play", "true").await;
    script.say("esp32/play", "true").await;
    assert_eq!(house.device("pump").await["mode"], "FORCED_ON");
    assert_eq!(house.device("esp32").await["mode"], "AUTO");
    let (status, _) = house.post("/api/v1/devices/esp32/commands", json!({ "action": "play" })).await;
    assert!(status == StatusCode::OK || status == StatusCode::CREATED, "{status}");
}
