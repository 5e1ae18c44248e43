//! What is kept for those who subscribe later.

use std::collections::BTreeSet;

use crosslink::broker::front::codec::{
    Code, Packet, Properties, Publish,
    QoS::{AtLeastOnce, AtMostOnce},
    RetainHandling, Subscribe, Subscription,
};

use crate::harness::{House, client::subscription};

/// What somebody hears who subscribes to `filter` now.
async fn kept(house: &House, filter: &str) -> Vec<Publish> {
    let mut late = house.somebody("late").await;
    late.subscribe(filter, AtLeastOnce).await;
    let mut kept = Vec::new();
    while let Some(publish) = late.publish_if_any().await {
        kept.push(publish);
    }
    late.disconnect().await;
    kept
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_retained_message_of_a_topic_is_kept() {
    let house = House::start().await;
    let mut publisher = house.somebody("publisher").await;
    publisher.keep("a", "first").await;
    publisher.keep("a", "second").await;
    publisher.say("a", "passing").await;

    let kept = kept(&house, "a").await;

    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].payload, "second");
    assert!(kept[0].retain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_empty_retained_message_forgets_what_is_kept() {
    let house = House::start().await;
    let mut publisher = house.somebody("publisher").await;
    publisher.keep("a", "kept").await;

    publisher.say("a", "").await;
    assert_eq!(kept(&house, "a").await.len(), 1);

    publisher.keep("a", "").await;
    assert_eq!(kept(&house, "#").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_hears_everything_that_is_kept() {
    let house = House::start().await;
    let mut publisher = house.somebody("publisher").await;
    let topics: BTreeSet<String> = (0..1_000).map(|n| format!("kept/{n}")).collect();
    for topic in &topics {
        publisher.publish(topic, "x", AtMostOnce, true).await;
    }
    publisher.ping().await;
    let heard: BTreeSet<String> = kept(&house, "#").await.into_iter().map(|publish| publish.topic).collect();
    assert_eq!(heard, topics);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_survives_a_restart() {
    let house = House::start().await;
    let mut publisher = house.somebody("publisher").await;
    for n in 0..150 {
        publisher.keep(&format!("kept/{n}"), n.to_string()).await;
    }
    publisher.keep("kept/0", "again").await;
    publisher.keep("kept/1", "").await;
    let before = sorted(kept(&house, "#").await);

    let house = house.restart().await;

    let after = sorted(kept(&house, "#").await);
    assert_eq!(after, before);
    assert_eq!(after.len(), 149);
    assert_eq!(after[0], ("kept/0".into(), "again".into()));
}

fn sorted(kept: Vec<Publish>) -> Vec<(String, String)> {
    let text = |publish: Publish| (publish.topic, String::from_utf8(publish.payload.to_vec()).unwrap());
    let mut kept: Vec<(String, String)> = kept.into_iter().map(text).collect();
    kept.sort();
    kept
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_forwarded_live_does_not_look_retained() {
    let house = House::start().await;
    let mut old = house.client("old").connect_v4().await;
    let mut new = house.client("new").connect_v5().await;
    let mut curious = house.client("curious").connect_v5().await;
    old.subscribe("a", AtLeastOnce).await;
    new.subscribe("a", AtLeastOnce).await;
    curious.subscribe_as(Subscription { retain_as_published: true, ..subscription("a", AtLeastOnce) }).await;

    house.somebody("publisher").await.keep("a", "x").await;

    assert!(!old.next_publish().await.retain);
    assert!(!new.next_publish().await.retain);
    assert!(curious.next_publish().await.retain, "it asked for the flag as published");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_chooses_when_to_hear_what_is_kept() {
    let house = House::start().await;
    house.somebody("publisher").await.keep("a", "x").await;
    let mut client = house.client("client").connect_v5().await;
    let with = |retain_handling| Subscription { retain_handling, ..subscription("a", AtLeastOnce) };

    client.subscribe_as(with(RetainHandling::Never)).await;
    client.hears_nothing().await;
    client.subscribe_as(with(RetainHandling::SendIfNew)).await;
    client.hears_nothing().await;
    client.subscribe_as(with(RetainHandling::Send)).await;
    assert_eq!(client.hears().await.1, "x");
    client.unsubscribe("a").await;
    client.subscribe_as(with(RetainHandling::SendIfNew)).await;
    assert_eq!(client.hears().await.1, "x");
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_comes_with_the_lower_qos() {
    let house = House::start().await;
    let mut publisher = house.somebody("publisher").await;
    publisher.publish("zero", "x", AtMostOnce, true).await;
    publisher.keep("one", "x").await;
    let mut client = house.somebody("client").await;
    for (topic, qos, expected) in [
        ("zero", AtLeastOnce, AtMostOnce),
        ("one", AtLeastOnce, AtLeastOnce),
        ("one", AtMostOnce, AtMostOnce),
    ] {
        client.subscribe(topic, qos).await;
        assert_eq!(client.next_publish().await.qos, expected, "{topic} {qos:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_much_is_kept_as_one_subscriber_can_be_given() {
    let house = House::start().await;
    let mut publisher = house.somebody("publisher").await;
    for n in 0..20 {
        publisher.keep(&format!("some/large/thing/{n}"), vec![b'x'; 1024 * 1024]).await;
    }
    publisher.keep("some/large/thing/0", "small now").await;
    let mut late = house.somebody("late").await;
    late.subscribe("some/large/#", AtLeastOnce).await;
    let mut kept = BTreeSet::new();
    while let Some(publish) = late.publish_if_any().await {
        kept.insert(publish.topic);
    }
    assert_eq!(kept.len(), 15);
    late.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_names_a_filter_a_thousand_times_gets_what_can_wait() {
    let house = House::start().await;
    let mut publisher = house.somebody("publisher").await;
    for n in 0..100 {
        publisher.keep(&format!("many/{n}"), "x").await;
    }
    let mut late = house.client("late").connect_v5().await;
    let filters = vec![subscription("many/+", AtMostOnce); 1_000];
    late.send(&Packet::Subscribe(Subscribe { packet_id: 1, properties: Properties::none(), filters })).await;
    let mut heard = 0;
    loop {
        match late.next().await {
            Some(Packet::Publish(_)) => heard += 1,
            Some(Packet::SubAck(suback)) => break assert_eq!(suback.codes, [Code::GRANTED_QOS_0; 1_000]),
            other => panic!("{other:?}"),
        }
    }
    while late.publish_if_any().await.is_some() {
        heard += 1;
    }
    assert!((100..=30_000).contains(&heard), "{heard}");
    late.ping().await;
}
