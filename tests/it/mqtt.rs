//! The broker as MQTT clients see it, in both versions.

use std::time::Duration;

use crosslink::broker::front::codec::{
    Code, Packet, Property, QoS,
    QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce},
    RetainHandling, Subscription, Version,
};
use tokio::time::{Instant, timeout};

use crate::harness::{
    Client, House,
    client::{ack, subscription},
};

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
