//! Presence that cannot lie: what the gateway says about a device, and how it knows.

use crosslink::broker::front::codec::{
    Code,
    QoS::{AtLeastOnce, AtMostOnce},
};
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use crate::harness::{Client, House, reading};

const TOPIC: &str = "presence/esp32/status";
const ALIAS: &str = "/presence/esp32/status";

/// The device as its firmware connects: its will is `offline`, and it says `online`, both retained.
async fn firmware(house: &House) -> Client {
    let mut device = house.client("esp32").with_presence_of("esp32").connect_v4().await;
    device.keep(TOPIC, "online").await;
    device
}

/// Somebody who hears what is said on a topic from now on.
async fn listener(house: &House, topic: &str) -> Client {
    let mut listener = house.somebody("listener").await;
    listener.subscribe(topic, AtLeastOnce).await;
    listener
}

/// The device as `status reason`.
async fn state(house: &House) -> String {
    let presence = house.device("esp32").await["presence"].take();
    let word = |key: &str| presence[key].as_str().unwrap_or("-").to_owned();
    format!("{} {}", word("status"), word("reason"))
}

async fn history(house: &House) -> Vec<String> {
    house.history("esp32").await.into_iter().map(|(status, reason)| format!("{status} {reason}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_says_online_is_online() {
    let house = House::start().await;
    let mut device = house.client("board-7").with_presence_of("esp32").connect_v4().await;
    device.ping().await;
    assert_eq!(state(&house).await, "UNKNOWN -", "a connection alone proves nothing");

    device.keep(TOPIC, "Online").await;

    let presence = house.presence("esp32", "ONLINE", "ANNOUNCED").await;
    assert_eq!(presence["client_id"], "board-7");
    assert!(presence["session"].is_string(), "{presence}");
    assert_eq!(presence["since"], presence["last_message_at"]);
    device.keep(TOPIC, "online").await;
    assert_eq!(history(&house).await, ["ONLINE ANNOUNCED"], "what is known is not said again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_never_says_online_is_online_from_its_first_reading() {
    let house = House::start().await;
    let mut device = house.somebody("board-7").await;
    device.say("sensors/lab-3.b_x", "{}").await;
    assert_eq!(house.device("lab-3.b_x").await, Value::Null, "that was no reading");

    device.say("sensors/lab-3.b_x", reading(20.0)).await;

    let presence = house.presence("lab-3.b_x", "ONLINE", "READING").await;
    assert_eq!(presence["client_id"], "board-7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_alone_makes_no_device_online() {
    let house = House::start().await;
    let mut device = house.somebody("device").await;
    device.keep(ALIAS, "online").await;
    device.say("sensors/rasperry", reading(21.5)).await;
    assert_eq!(state(&house).await, "UNKNOWN -");
    let raspberry = house.device("raspberry").await;
    assert_eq!(raspberry["presence"]["status"], "UNKNOWN");
    assert_eq!(raspberry["latest"]["temperature"], 21.5, "what it measured counts all the same");
    assert_eq!(house.device("rasperry").await, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_closes_without_a_word_publishes_the_will() {
    let house = House::start().await;
    firmware(&house).await.close().await;
    house.presence("esp32", "OFFLINE", "WILL").await;
    let mut device = house.client("esp32").with_presence_of("esp32").connect_v5().await;
    device.keep(TOPIC, "online").await;
    device.disconnect_with(Code::DISCONNECT_WITH_WILL).await;
    house.presence("esp32", "OFFLINE", "WILL").await;
    assert_eq!(
        history(&house).await,
        ["ONLINE ANNOUNCED", "OFFLINE WILL", "ONLINE ANNOUNCED", "OFFLINE WILL"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_may_be_on_the_alias() {
    let house = House::start().await;
    let mut device = house.client("esp32").will(ALIAS, "offline", AtMostOnce, true).connect_v4().await;
    device.keep(ALIAS, "online").await;
    device.say("sensors/esp32", reading(20.0)).await;
    house.presence("esp32", "ONLINE", "READING").await;
    device.close().await;
    house.presence("esp32", "OFFLINE", "WILL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_promised_to_speak_and_does_not_is_offline() {
    let house = House::start().await;
    let mut device = house.client("esp32").with_presence_of("esp32").keep_alive(1).connect_v4().await;
    device.keep(TOPIC, "online").await;
    house.presence("esp32", "OFFLINE", "KEEPALIVE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_closes_without_a_will_is_told_from_one_that_was_reset() {
    let house = House::start().await;
    let mut listener = listener(&house, TOPIC).await;
    for (reset, reason) in [(false, "CLOSED"), (true, "SOCKET_ERROR")] {
        let mut device = house.somebody("esp32").await;
        device.say("sensors/esp32", reading(20.0)).await;
        assert_eq!(listener.hears().await.1, "online");
        if reset {
            device.abort()
        } else {
            device.close().await
        }
        house.presence("esp32", "OFFLINE", reason).await;
        assert_eq!(listener.hears().await.1, "offline", "there was no will to say it");
    }
    firmware(&house).await.abort();
    house.presence("esp32", "OFFLINE", "SOCKET_ERROR").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_said_online_and_says_goodbye_is_offline() {
    let house = House::start().await;
    let mut listener = listener(&house, TOPIC).await;
    firmware(&house).await.disconnect().await;
    house.presence("esp32", "OFFLINE", "CLOSED").await;
    assert_eq!(listener.hears().await.1, "online");
    assert_eq!(listener.hears().await.1, "offline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_reported_offline_is_so_until_it_speaks() {
    let house = House::start().await;
    let mut device = firmware(&house).await;
    for (retain, back) in [(true, "READING"), (false, "ANNOUNCED")] {
        let mut second = house.somebody("esp32-exit").await;
        second.publish(TOPIC, "offline", AtLeastOnce, retain).await;
        second.disconnect().await;
        house.presence("esp32", "OFFLINE", "SELF_REPORTED").await;
        match back {
            "READING" => device.say("sensors/esp32", reading(20.0)).await,
            _ => device.keep(TOPIC, "online").await,
        }
        house.presence("esp32", "ONLINE", back).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_is_one_event_and_the_next_death_is_seen() {
    let house = House::start().await;
    let mut listener = listener(&house, TOPIC).await;
    let _half_open = firmware(&house).await;
    let before = house.presence("esp32", "ONLINE", "ANNOUNCED").await;

    // The board was reset: it connects anew while the gateway still holds its old socket.
    let device = house.client("esp32").with_presence_of("esp32").connect_v4().await;

    let after = house.presence("esp32", "ONLINE", "TAKEOVER").await;
    assert_eq!(after["since"], before["since"], "it was there all the time");
    assert_ne!(after["session"], before["session"]);
    device.close().await;
    house.presence("esp32", "OFFLINE", "WILL").await;
    assert_eq!(history(&house).await, ["ONLINE ANNOUNCED", "ONLINE TAKEOVER", "OFFLINE WILL"]);
    assert_eq!(listener.hears().await.1, "online");
    assert_eq!(listener.hears().await.1, "offline");
    listener.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_that_says_online_again_is_still_one_event() {
    let house = House::start().await;
    let _half_open = firmware(&house).await;
    let mut device = firmware(&house).await;
    device.say("sensors/esp32", reading(20.0)).await;
    assert_eq!(history(&house).await, ["ONLINE ANNOUNCED", "ONLINE TAKEOVER"]);
    device.abort();
    house.presence("esp32", "OFFLINE", "SOCKET_ERROR").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_device_is_stale_until_it_speaks() {
    let house = House::start().await;
    let mut device = firmware(&house).await;
    let mut listener = listener(&house, TOPIC).await;
    assert_eq!(listener.hears().await.1, "online");
    let silent = Instant::now();
    sleep(Duration::from_secs(4)).await;
    assert_eq!(state(&house).await, "ONLINE ANNOUNCED", "five seconds are not over");

    house.presence("esp32", "STALE", "SILENCE").await;

    assert!(silent.elapsed() < Duration::from_secs(7));
    device.ping().await;
    assert_eq!(state(&house).await, "STALE SILENCE", "a ping is no reading");
    device.say("sensors/esp32", reading(20.0)).await;
    house.presence("esp32", "ONLINE", "READING").await;
    // The peers would begin their melody anew.
    listener.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_one_shot_publisher_says_stays_true_until_it_is_stale() {
    let house = House::start().await;
    let mut shot = house.somebody("shot").await;
    shot.say("sensors/esp32", reading(20.0)).await;
    shot.disconnect().await;
    house.presence("esp32", "ONLINE", "READING").await;

    house.presence("esp32", "STALE", "SILENCE").await;

    assert_eq!(history(&house).await, ["ONLINE READING", "STALE SILENCE"]);
    let mut listener = listener(&house, TOPIC).await;
    assert_eq!(listener.hears().await.1, "online", "stale is not gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_online_while_any_session_speaks_for_it() {
    let house = House::start().await;
    let first = firmware(&house).await;
    let mut second = house.somebody("esp32-telemetry").await;
    second.say("sensors/esp32", reading(20.0)).await;
    let mut listener = listener(&house, TOPIC).await;
    assert_eq!(listener.hears().await.1, "online");

    first.close().await;

    assert_eq!(listener.hears().await.1, "offline", "the will");
    assert_eq!(listener.hears().await.1, "online", "the truth");
    assert_eq!(history(&house).await, ["ONLINE ANNOUNCED", "ONLINE HANDOVER"]);
    second.close().await;
    house.presence("esp32", "OFFLINE", "CLOSED").await;
    assert_eq!(listener.hears().await.1, "offline");
    listener.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_that_is_named_is_one_that_speaks() {
    let house = House::start().await;
    let first = firmware(&house).await;
    let mut second = house.somebody("esp32-telemetry").await;
    second.say("sensors/esp32", reading(20.0)).await;
    let mut listener = listener(&house, TOPIC).await;
    assert_eq!(listener.hears().await.1, "online");

    first.close().await;

    assert_eq!(listener.hears().await.1, "offline", "the will");
    assert_eq!(listener.hears().await.1, "online", "the truth");
    second.say("sensors/esp32", reading(20.0)).await;
    assert_eq!(house.device("esp32").await["presence"]["client_id"], "esp32-telemetry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_truth_is_published_once_and_kept() {
    let house = House::start().await;
    let mut listener = listener(&house, TOPIC).await;
    let mut device = house.somebody("esp32").await;
    for _ in 0..10 {
        device.say("sensors/esp32", reading(20.0)).await;
    }
    assert_eq!(listener.hears().await.1, "online");
    device.keep(TOPIC, "ONLINE").await;
    assert_eq!(listener.hears().await.1, "ONLINE", "the device's own words, and right as they are");
    device.say("sensors/esp32", reading(20.0)).await;
    listener.hears_nothing().await;

    let mut late = house.somebody("late").await;
    late.subscribe("presence/#", AtLeastOnce).await;
    assert!(late.next_publish().await.retain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_something_else_there_is_corrected() {
    let house = House::start().await;
    let mut device = firmware(&house).await;
    let mut listener = listener(&house, TOPIC).await;
    assert_eq!(listener.hears().await.1, "online");
    let mut stranger = house.somebody("stranger").await;
    for wrong in ["perhaps", ""] {
        stranger.keep(TOPIC, wrong).await;
        assert_eq!(listener.hears().await.1, wrong);
        assert_eq!(listener.hears().await.1, "online");
    }
    stranger.say(TOPIC, "perhaps").await;
    assert_eq!(listener.hears().await.1, "perhaps");
    // It was not retained, so that the truth still stands.
    listener.hears_nothing().await;
    device.ping().await;
    assert_eq!(history(&house).await, ["ONLINE ANNOUNCED"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_truth_is_told_on_the_alias_where_something_else_stands() {
    let house = House::start().await;
    let mut device = firmware(&house).await;
    let mut listener = listener(&house, ALIAS).await;
    device.say("sensors/esp32", reading(20.0)).await;
    // Where nobody ever wrote, nothing is written.
    listener.hears_nothing().await;

    house.somebody("stranger").await.keep(ALIAS, "offline").await;
    assert_eq!(listener.hears().await.1, "offline");
    house.presence("esp32", "OFFLINE", "SELF_REPORTED").await;
    device.say("sensors/esp32", reading(20.0)).await;
    assert_eq!(listener.hears().await.1, "online");
    device.close().await;
    assert_eq!(listener.hears().await.1, "offline");
    listener.hears_nothing().await;
}
