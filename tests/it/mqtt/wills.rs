//! What is said for a client that can no longer say it.

use crosslink::broker::front::codec::{
    Code,
    QoS::{AtLeastOnce, AtMostOnce},
};

use crate::harness::{Client, House, Newcomer};

async fn witness(house: &House) -> Client {
    let mut witness = house.somebody("witness").await;
    witness.subscribe("#", AtLeastOnce).await;
    witness
}

fn mortal(house: &House) -> Newcomer {
    house.client("mortal").will("wills/mortal", "farewell", AtLeastOnce, false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_is_published_when_a_client_ends_badly() {
    let house = House::start().await;
    let mut witness = witness(&house).await;
    let farewell = ("wills/mortal".to_owned(), "farewell".to_owned());

    mortal(&house).connect_v4().await.abort();
    assert_eq!(witness.hears().await, farewell);

    mortal(&house).connect_v4().await.close().await;
    assert_eq!(witness.hears().await, farewell);

    let mut rude = mortal(&house).connect_v4().await;
    rude.send_bytes(&[0x00, 0x00]).await;
    assert_eq!(witness.hears().await, farewell);

    mortal(&house).connect_v5().await.disconnect_with(Code::DISCONNECT_WITH_WILL).await;
    assert_eq!(witness.hears().await, farewell);
    witness.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_goodbye_has_no_will() {
    let house = House::start().await;
    let mut witness = witness(&house).await;
    mortal(&house).connect_v4().await.disconnect().await;
    mortal(&house).connect_v5().await.disconnect().await;
    witness.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_has_the_flags_that_its_client_chose() {
    let house = House::start().await;
    let mut witness = witness(&house).await;
    let will = |topic, qos, retain| house.client("mortal").will(topic, "x", qos, retain).connect_v4();
    will("\u{e9}t\u{e9}/1", AtMostOnce, true).await.abort();
    let publish = witness.next_publish().await;
    assert_eq!((publish.topic.as_str(), publish.qos), ("\u{e9}t\u{e9}/1", AtMostOnce));
    will("passing", AtLeastOnce, false).await.abort();
    assert_eq!(witness.next_publish().await.qos, AtLeastOnce);

    let mut late = house.somebody("late").await;
    late.subscribe("#", AtLeastOnce).await;
    let publish = late.next_publish().await;
    assert_eq!((publish.topic.as_str(), publish.retain), ("\u{e9}t\u{e9}/1", true));
    late.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_taken_over_has_not_died_and_the_heir_still_can() {
    let house = House::start().await;
    let mut witness = house.somebody("witness").await;
    witness.subscribe("presence/esp32/status", AtLeastOnce).await;
    let device = || house.client("esp32").with_presence_of("esp32").connect_v4();
    let mut first = device().await;
    first.keep("presence/esp32/status", "online").await;
    assert_eq!(witness.hears().await.1, "online");

    let second = device().await;
    assert_eq!(first.ended().await, None);
    let third = device().await;
    witness.hears_nothing().await;
    drop(second);

    third.abort();
    assert_eq!(witness.hears().await.1, "offline");
    witness.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_that_could_never_be_published_is_refused_at_once() {
    let house = House::start().await;
    for topic in ["a/+", "#", "", "$SYS/x"] {
        let refused = house.client("mortal").will(topic, "x", AtMostOnce, false).try_connect().await;
        assert_ne!(refused.unwrap().connack.code, Code::SUCCESS, "{topic:?}");
    }
    let command = house.client("mortal").will("commands/esp32/play", "true", AtMostOnce, true);
    assert_ne!(command.try_connect().await.unwrap().connack.code, Code::SUCCESS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_fires_no_wills() {
    let house = House::start().await;
    let mut device =
        house.client("mortal").will("wills/mortal", "farewell", AtLeastOnce, true).connect_v5().await;
    device.keep("wills/mortal", "alive").await;

    let house = house.restart().await;

    assert_eq!(device.ended().await, Some(Code::SERVER_SHUTTING_DOWN));
    let mut late = house.somebody("late").await;
    late.subscribe("#", AtLeastOnce).await;
    assert_eq!(late.hears().await.1, "alive");
    late.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_because_of_an_error_has_a_will() {
    let house = House::start().await;
    let mut witness = witness(&house).await;
    mortal(&house).connect_v5().await.disconnect_with(Code::UNSPECIFIED).await;
    assert_eq!(witness.hears().await, ("wills/mortal".to_owned(), "farewell".to_owned()));
}
