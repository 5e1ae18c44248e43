//! Who hears what.

use crosslink::broker::front::codec::{
    Code, Packet, Properties,
    QoS::{AtLeastOnce, AtMostOnce},
    Subscribe, Subscription,
};

use crate::harness::{House, client::subscription};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_subscriptions_hear_a_message_once_with_the_best_qos() {
    let house = House::start().await;
    let mut subscriber = house.somebody("subscriber").await;
    for (filter, qos) in [("a/#", AtMostOnce), ("a/+", AtLeastOnce), ("a/b", AtMostOnce), ("#", AtMostOnce)] {
        subscriber.subscribe(filter, qos).await;
    }
    let mut publisher = house.somebody("publisher").await;
    for n in 0..50 {
        publisher.say("a/b", n.to_string()).await;
        publisher.say("a/b/c", n.to_string()).await;
    }
    let mut heard = Vec::new();
    for _ in 0..100 {
        let publish = subscriber.next_publish().await;
        assert_eq!(publish.qos, if publish.topic == "a/b" { AtLeastOnce } else { AtMostOnce });
        heard.push((publish.topic, publish.payload));
    }
    subscriber.hears_nothing().await;
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_subscription_to_the_same_filter_replaces_the_first() {
    let house = House::start().await;
    let mut client = house.somebody("client").await;
    client.subscribe("a", AtLeastOnce).await;
    client.subscribe("a", AtMostOnce).await;
    client.say("a", "x").await;
    assert_eq!(client.next_publish().await.qos, AtMostOnce);
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_unsubscribed_hears_no_more() {
    let house = House::start().await;
    let mut client = house.client("client").connect_v5().await;
    client.subscribe("a", AtLeastOnce).await;
    client.subscribe("b", AtLeastOnce).await;
    assert_eq!(client.unsubscribe("a").await, Code::SUCCESS);
    assert_eq!(client.unsubscribe("a").await, Code::NO_SUBSCRIPTION_EXISTED);
    client.say("a", "x").await;
    client.say("b", "x").await;
    assert_eq!(client.hears().await.0, "b");
    client.hears_nothing().await;

    let mut old = house.client("old").connect_v4().await;
    old.unsubscribe("never").await;
    // Again, and again heard.
    client.subscribe("a", AtLeastOnce).await;
    client.say("a", "x").await;
    assert_eq!(client.hears().await.0, "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_no_echo_hears_only_others() {
    let house = House::start().await;
    let mut client = house.client("client").connect_v5().await;
    client.subscribe_as(Subscription { no_local: true, ..subscription("a", AtLeastOnce) }).await;
    client.say("a", "mine").await;
    house.somebody("other").await.say("a", "theirs").await;
    assert_eq!(client.hears().await.1, "theirs");
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_that_make_no_sense_are_refused_one_by_one() {
    let house = House::start().await;
    let mut old = house.client("old").connect_v4().await;
    let mut new = house.client("new").connect_v5().await;
    for filter in ["a#", "a+/b", "#/a", "a/#/b", "++", ""] {
        assert_eq!(old.subscribe(filter, AtLeastOnce).await, Code(0x80), "{filter}");
        assert_eq!(new.subscribe(filter, AtLeastOnce).await, Code::FILTER_INVALID, "{filter}");
    }
    assert_eq!(old.subscribe("$share/group/a", AtLeastOnce).await, Code(0x80));
    assert_eq!(new.subscribe("$share/group/a", AtLeastOnce).await, Code::SHARED_NOT_SUPPORTED);

    let filters = ["good", "a#", "also/+"].map(|filter| subscription(filter, AtLeastOnce)).to_vec();
    new.send(&Packet::Subscribe(Subscribe { packet_id: 77, properties: Properties::none(), filters })).await;
    match new.next().await {
        Some(Packet::SubAck(suback)) => {
            assert_eq!(suback.codes, [Code::GRANTED_QOS_1, Code::FILTER_INVALID, Code::GRANTED_QOS_1]);
        }
        other => panic!("expected SUBACK, got {other:?}"),
    }
    old.say("also/this", "x").await;
    assert_eq!(new.hears().await.0, "also/this");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_match_whole_levels() {
    let house = House::start().await;
    let mut client = house.somebody("client").await;
    for (filter, topics) in [
        ("a/+/c", &["a/b/c", "a//c"][..]),
        ("a/#", &["a", "a/", "a/b/c"]),
        ("+/+", &["/a", "a/"]),
        ("+", &["a"]),
        ("/#", &["/", "/a/b"]),
    ] {
        client.subscribe(filter, AtLeastOnce).await;
        for topic in ["aa/b/c", "b"].iter().chain(topics) {
            client.say(topic, "x").await;
        }
        for topic in topics {
            if filter == "+" {
                assert_eq!(client.hears().await.0, "b");
            }
            assert_eq!(client.hears().await.0, *topic, "{filter}");
        }
        client.unsubscribe(filter).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_with_more_filters_than_a_client_may_have_ends_the_connection() {
    let house = House::start().await;
    let mut subscriber = house.client("subscriber").connect_v5().await;
    let filters = vec![subscription("#", AtMostOnce); 1_001];
    subscriber
        .send(&Packet::Subscribe(Subscribe { packet_id: 7, properties: Properties::none(), filters }))
        .await;
    assert_eq!(subscriber.ended().await, Some(Code::QUOTA_EXCEEDED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_after_the_suback_is_heard_however_busy_the_broker_is() {
    const ROUNDS: usize = 60;
    let house = House::start().await;
    let mut busy = Vec::new();
    for n in 0..2 {
        let (mut talker, mut listener) =
            (house.somebody(&format!("talker{n}")).await, house.somebody(&format!("listener{n}")).await);
        listener.subscribe("noise", AtMostOnce).await;
        // QoS 0, 100 bytes of payload, 200 at a time.
        let packet = [&[0x30, 107, 0, 5][..], b"noise", &[b'x'; 100]].concat();
        let packets = packet.repeat(200);
        busy.push(tokio::spawn(async move {
            loop {
                talker.send_bytes(&packets).await;
            }
        }));
        busy.push(tokio::spawn(async move { while listener.next().await.is_some() {} }));
    }
    let mut publisher = house.somebody("publisher").await;
    for n in 0..ROUNDS {
        let mut subscriber = house.somebody(&format!("subscriber{n}")).await;
        let topic = format!("quiet/{n}");
        subscriber.subscribe(&topic, AtMostOnce).await;
        publisher.publish(&topic, "now", AtMostOnce, false).await;
        assert_eq!(subscriber.hears().await, (topic, "now".to_owned()));
    }
    for task in busy {
        task.abort();
    }
}
