//! What a gateway shows of simulated devices that are in trouble.

use clap::ValueEnum;
use crosslink::{
    model::Pair,
    simulator::{self, Board, Device, Fault, Options, Pace, Voice},
};
use serde_json::{Value, json};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{House, until},
    promises::rejections,
};

/// Trouble without delay.
const HURRIED: Pace = Pace {
    measures_every: Duration::from_millis(50),
    fault_every: Duration::from_millis(300),
    // Whatever its pace, a device is not called silent before 5 s.
    freezes_for: Duration::from_secs(7),
};

fn device(house: &House, name: &str, peer: &str, fault: Fault) -> Device {
    let board = Board::new(name, peer, mqtt(house), Voice::Log);
    Device::start(Board { fault: Some(fault), pace: HURRIED, ..board })
}

fn esp32(house: &House, fault: Fault) -> Device {
    device(house, "esp32", "raspberry", fault)
}

fn mqtt(house: &House) -> (String, u16) {
    let address = house.mqtt_addr();
    (address.ip().to_string(), address.port())
}

/// Waits until the esp32's presence has gone through these, and shows that it began with them.
async fn goes_through(house: &House, wanted: &[(&str, &str)]) {
    let wanted = json!(wanted);
    let length = wanted.as_array().unwrap().len();
    let begun = until(&format!("the esp32 goes through {length} changes"), async || {
        let history = house.history("esp32").await;
        if history.len() < length { Err(json!(history)) } else { Ok(json!(history[..length])) }
    })
    .await;
    assert_eq!(begun, wanted);
}

/// Waits until the gateway has that many readings of the device, and returns the payloads, oldest first.
async fn readings(house: &House, device: &str, least: usize) -> Vec<Value> {
    until(&format!("{device} has sent {least} readings"), async || {
        if house.device(device).await == Value::Null {
            return Err(json!("nothing is known of it"));
        }
        let page = house.get(&format!("/api/v1/devices/{device}/readings?after=0&limit=1000")).await;
        let items = page["items"].as_array().unwrap();
        if items.len() < least { Err(json!(items.len())) } else { Ok(items.clone()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_device_is_gone_by_its_will_until_it_boots() {
    let house = House::start().await;
    let device = esp32(&house, Fault::Crash);
    goes_through(&house, &[("ONLINE", "ANNOUNCED"), ("OFFLINE", "WILL"), ("ONLINE", "ANNOUNCED")]).await;
    device.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_takes_over_from_itself_was_never_away() {
    let house = House::start().await;
    let device = esp32(&house, Fault::Takeover);
    goes_through(&house, &[("ONLINE", "ANNOUNCED"), ("ONLINE", "TAKEOVER"), ("ONLINE", "TAKEOVER")]).await;
    device.kill().await;
    house.presence("esp32", "OFFLINE", "WILL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_firmware_is_stale_until_it_thaws() {
    let house = House::start().await;
    let device = esp32(&house, Fault::Freeze);
    let before = house.presence("esp32", "ONLINE", "ANNOUNCED").await;

    goes_through(&house, &[("ONLINE", "ANNOUNCED"), ("STALE", "SILENCE")]).await;

    let (_, record) = house.post("/api/v1/devices/esp32/commands", json!({ "action": "play" })).await;
    goes_through(&house, &[("ONLINE", "ANNOUNCED"), ("STALE", "SILENCE"), ("ONLINE", "READING")]).await;
    until("what it was told has arrived", async || {
        let record = house.get(&format!("/api/v1/commands/{}", record["id"])).await;
        if record["delivery"] == "ACKNOWLEDGED" { Ok(()) } else { Err(record) }
    })
    .await;
    let after = house.device("esp32").await["presence"].take();
    assert_eq!(after["session"], before["session"], "its connection never broke");
    device.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_device_comes_and_goes() {
    let house = House::start().await;
    let device = esp32(&house, Fault::Flap);
    let (comes, goes) = (("ONLINE", "ANNOUNCED"), ("OFFLINE", "WILL"));
    goes_through(&house, &[comes, goes, comes, goes, comes, goes, comes]).await;
    device.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_kept_with_its_reason_between_good_readings() {
    let house = House::start().await;
    let device = esp32(&house, Fault::Garbage);

    // Two good ones for each of eight that are broken.
    readings(&house, "esp32", 2 * 8 + 1).await;

    assert_eq!(house.history("esp32").await.len(), 1, "it has been online all the time");
    device.kill().await;
    let kept = rejections(&house.stop().await).await;
    let reasons: Vec<Value> =
        kept.iter().map(|kept| json!([kept.topic, kept.reason, kept.pointer])).collect();
    let wanted = [
        json!(["sensors/esp32", "NOT_JSON", ""]),
        json!(["sensors/esp32", "NON_FINITE", "/temperature"]),
        json!(["sensors/esp32", "TYPE_MISMATCH", "/temperature"]),
        json!(["sensors/esp32", "MISSING_FIELD", "/humidity"]),
        json!(["sensors/esp32", "NOT_UTF8", ""]),
        json!(["sensors/esp32/temperature", "UNKNOWN_TOPIC", ""]),
        json!(["sensors/esp32", "TYPE_MISMATCH", ""]),
        json!(["sensors/esp32", "NOT_JSON", ""]),
    ];
    assert_eq!(reasons[..wanted.len()], wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_of_a_pair_that_says_online_by_an_alias_is_online_from_its_first_reading() {
    let house = House::start().await;
    let stop = CancellationToken::new();
    let options =
        Options { mqtt: mqtt(&house), pair: Pair::default(), fault: Some(Fault::Alias), voice: Voice::Log };
    let pair = tokio::spawn(simulator::pair(options, stop.clone()));

    house.presence("esp32", "ONLINE", "READING").await;

    house.presence("raspberry", "ONLINE", "ANNOUNCED").await;
    stop.cancel();
    pair.await.unwrap().unwrap();
    house.presence("esp32", "OFFLINE", "SELF_REPORTED").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raspberry_that_misspells_all_it_says_measures_but_is_never_online() {
    let house = House::start().await;
    let device = device(&house, "raspberry", "esp32", Fault::Alias);

    readings(&house, "raspberry", 3).await;

    assert_eq!(house.device("raspberry").await["presence"]["status"], "UNKNOWN");
    assert_eq!(house.device("rasperry").await, Value::Null);
    device.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_of_a_reading_is_one() {
    let house = House::start().await;
    let device = esp32(&house, Fault::Float);

    // After 18 each form was there.
    let readings = readings(&house, "esp32", 18).await;

    let has = |what: &dyn Fn(&Value) -> bool| readings.iter().any(|reading| what(&reading["payload"]));
    assert!(
        has(&|payload| payload["temperature"].is_u64()) && has(&|payload| payload["temperature"].is_f64())
    );
    assert!(has(&|payload| payload["over_threshold"].is_boolean()));
    assert!(has(&|payload| payload.get("over_threshold") == Some(&Value::Null)));
    assert!(has(&|payload| payload.get("over_threshold").is_none()));
    assert!(has(&|payload| payload["rssi"] == -61));
    device.kill().await;
    assert_eq!(rejections(&house.stop().await).await, []);
}

#[test]
fn the_readme_tells_of_every_fault() {
    let readme = include_str!("../../README.md");
    for fault in Fault::value_variants() {
        let value = fault.to_possible_value().unwrap();
        assert!(readme.contains(&format!("\n| `{}` |", value.get_name())), "{fault:?}");
    }
}
