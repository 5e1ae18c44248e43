//! Who says, wants or names as much as can be delays nobody, and the router's memory of it is bounded.

use bytes::BytesMut;
use crosslink::broker::front::codec::{
    Packet, Properties,
    QoS::{AtLeastOnce, AtMostOnce},
    Subscribe, Version, encode,
};
use tokio::{
    task::JoinHandle,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::{
    floods::{Flood, SERVED},
    harness::{Newcomer, client::subscription},
};

/// What the router may keep of messages, twice while one takes the other's place, in MiB. More is counted than is taken.
const LEFT_BY_MESSAGES: u64 = 192;
/// Filters of 123 levels that the router takes at least: each counts for sixteen.
const DEEP: usize = 250;
/// Packets that a flooder writes at a time.
const AT_A_TIME: u64 = 500;

/// Somebody who publishes as fast as it can, on the topics that `topic` gives to numbers.
fn flooder(
    flood: &Flood,
    name: &str,
    topic: impl Fn(u64) -> String + Send + 'static,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (newcomer, stop) = (flood.victim.client(name), stop.clone());
    tokio::spawn(async move {
        let mut client = newcomer.keep_alive(0).connect_v4().await;
        for first in (0..).step_by(AT_A_TIME as usize) {
            let mut bytes = BytesMut::new();
            for number in first..first + AT_A_TIME {
                let publish = client.message(&topic(number), "x", AtMostOnce, false);
                encode(&Packet::Publish(publish), Version::V4, &mut bytes);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = client.send_bytes(&bytes) => {}
            }
        }
    })
}

/// Somebody who hears what is flooded, and tells in the end how much.
async fn listener(newcomer: Newcomer, filter: &str, stop: &CancellationToken) -> JoinHandle<u64> {
    let mut client = newcomer.keep_alive(0).connect_v4().await;
    client.subscribe(filter, AtMostOnce).await;
    let stop = stop.clone();
    tokio::spawn(async move {
        for heard in 0.. {
            tokio::select! {
                () = stop.cancelled() => return heard,
                _ = client.next_publish() => {}
            }
        }
        u64::MAX
    })
}

/// Others are served and hear each other, each time.
async fn others_are_served(flood: &Flood, times: usize, in_time: bool) {
    let mut one = flood.victim.client("one").keep_alive(0).connect_v4().await;
    let mut other = flood.victim.client("other").keep_alive(0).connect_v4().await;
    one.subscribe("others", AtLeastOnce).await;
    let mut slowest = Duration::ZERO;
    for number in 0..times {
        let begun = Instant::now();
        flood.victim.serves().await;
        other.publish("others", number.to_string(), AtMostOnce, false).await;
        other.ping().await;
        let said = begun.elapsed();
        assert_eq!(one.hears().await.1, number.to_string(), "said after {said:?}");
        slowest = slowest.max(begun.elapsed());
    }
    eprintln!("others waited {slowest:?} at most");
    assert!(!in_time || slowest < SERVED, "others waited {slowest:?}");
}

async fn messages_without_end(flooders: usize, times: usize, in_time: bool) -> Flood {
    let flood = Flood::begin().await;
    let stop = CancellationToken::new();
    let listener = listener(flood.victim.client("listener"), "a/b/c/d/e", &stop).await;
    let flooders: Vec<_> = (0..flooders)
        .map(|n| flooder(&flood, &format!("flooder-{n}"), |_| "a/b/c/d/e".into(), &stop))
        .collect();
    others_are_served(&flood, times, in_time).await;
    stop.cancel();
    for task in flooders {
        task.await.unwrap();
    }
    assert!(listener.await.unwrap() > 0);
    flood
}

/// Filters as deep as may be, and topics that nobody has had, which the router compares with them.
async fn deep_filters_and_new_topics(clients: usize, filters: usize, times: usize, in_time: bool) -> Flood {
    let flood = Flood::begin().await;
    let deep = "a/".repeat(120);
    let (mut hoarders, mut granted) = (Vec::new(), 0);
    for number in 0..clients {
        let mut client = flood.victim.client(&format!("hoarder-{number}")).keep_alive(0).connect_v5().await;
        let wanted =
            (0..filters).map(|n| subscription(&format!("{deep}{number}/{n}/+"), AtMostOnce)).collect();
        let properties = Properties::none();
        client.send(&Packet::Subscribe(Subscribe { packet_id: 1, properties, filters: wanted })).await;
        let Some(Packet::SubAck(suback)) = client.next().await else { panic!("expected SUBACK") };
        granted += suback.codes.iter().filter(|code| !code.is_failure()).count();
        hoarders.push(client);
    }
    assert!(granted >= DEEP, "{granted} filters were granted");
    let stop = CancellationToken::new();
    let listener = listener(flood.victim.client("listener"), "a/#", &stop).await;
    let topics = flooder(&flood, "flooder", move |n| format!("{deep}{n}"), &stop);
    others_are_served(&flood, times, in_time).await;
    stop.cancel();
    topics.await.unwrap();
    assert!(listener.await.unwrap() > 0);
    flood
}

/// As much as the router keeps by each of many filters, and more.
async fn messages_by_many_filters(filters: usize, mib: usize) -> Flood {
    const PAYLOAD: usize = 16 * 1024;
    let flood = Flood::begin().await;
    let mut client = flood.victim.client("collector").keep_alive(0).connect_v4().await;
    for number in 0..filters {
        client.subscribe(&format!("many/{number}"), AtMostOnce).await;
    }
    let mut publisher = flood.victim.client("publisher").keep_alive(0).connect_v4().await;
    for _ in 0..mib * 1024 * 1024 / PAYLOAD {
        for number in 0..filters {
            publisher.publish(&format!("many/{number}"), [b'x'; PAYLOAD], AtMostOnce, false).await;
        }
        for _ in 0..filters {
            client.next_publish().await;
        }
    }
    flood
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_publishes_without_end_delays_nobody() {
    messages_without_end(2, 3, false).await.ends(LEFT_BY_MESSAGES, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn four_who_publish_without_end_delay_nobody() {
    messages_without_end(4, 100, true).await.ends(LEFT_BY_MESSAGES, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_filters_and_new_topics_delay_nobody() {
    deep_filters_and_new_topics(2, 200, 3, false).await.ends(LEFT_BY_MESSAGES, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn all_deep_filters_that_are_wanted_and_new_topics_keep_nobody_out() {
    // Not within a second: a new router compares each topic anew with every filter.
    deep_filters_and_new_topics(4, 1_000, 50, false).await.ends(LEFT_BY_MESSAGES, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_by_many_filters_need_a_bounded_memory() {
    messages_by_many_filters(20, 1).await.ends(LEFT_BY_MESSAGES, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn a_gibibyte_by_sixty_filters_needs_a_bounded_memory() {
    messages_by_many_filters(60, 20).await.ends(LEFT_BY_MESSAGES, true).await;
}
