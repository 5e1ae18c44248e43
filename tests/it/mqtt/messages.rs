//! How a message goes from its publisher to those who are subscribed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crosslink::broker::front::codec::{
    Ack, Code, Packet, Property, Publish,
    QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce},
    Version, encode,
};

use crate::harness::{Client, House, client::ack, reading};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_arrives_with_the_lower_qos_of_publish_and_subscription() {
    let house = House::start().await;
    let mut publisher = house.somebody("publisher").await;
    for wanted in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
        let mut subscriber = house.client("subscriber").connect_v5().await;
        let mut lasting = house.client("lasting").lasting(60).connect_v5().await;
        assert_eq!(subscriber.subscribe("a", wanted).await, Code(wanted.as_u8()));
        assert_eq!(lasting.subscribe("a", wanted).await, Code(wanted.min(AtLeastOnce).as_u8()));
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            publisher.publish("a", "x", qos, false).await;
            assert_eq!(subscriber.next_publish().await.qos, qos.min(wanted), "{wanted:?} {qos:?}");
            assert_eq!(
                lasting.next_publish().await.qos,
                qos.min(wanted).min(AtLeastOnce),
                "{wanted:?} {qos:?}"
            );
        }
        lasting.disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_message_takes_its_place_until_its_exchange_is_over() {
    let house = House::start().await;
    let mut newcomer = house.client("subscriber");
    newcomer.connect.properties.push(Property::ReceiveMaximum(1));
    let mut subscriber = newcomer.connect_v5().await;
    subscriber.acknowledge_nothing();
    subscriber.subscribe("a", ExactlyOnce).await;
    let mut publisher = house.somebody("publisher").await;
    for text in ["1", "2", "3"] {
        publisher.publish("a", text, ExactlyOnce, false).await;
    }
    let first = subscriber.next_publish().await;
    assert_eq!((&first.payload[..], first.qos, first.dup), (&b"1"[..], ExactlyOnce, false));
    // Said twice, it is answered twice: the client may not have heard it.
    for _ in 0..2 {
        subscriber.send(&Packet::PubRec(ack(first.packet_id))).await;
        assert_eq!(subscriber.next().await, Some(Packet::PubRel(ack(first.packet_id))));
    }
    subscriber.hears_nothing().await;
    subscriber.send(&Packet::PubComp(ack(first.packet_id))).await;
    let second = subscriber.next_publish().await;
    assert_eq!(second.payload, "2");
    // A refusal is the end of an exchange.
    let refusal = Ack { code: Code::QUOTA_EXCEEDED, ..ack(second.packet_id) };
    subscriber.send(&Packet::PubRec(refusal)).await;
    let third = subscriber.next_publish().await;
    assert_eq!(third.payload, "3");
    assert_eq!(subscriber.receive(third.packet_id).await, Code::SUCCESS);
    assert_eq!(subscriber.receive(third.packet_id).await, Code::PACKET_ID_NOT_FOUND);
    subscriber.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_publisher_arrive_in_order() {
    let house = House::start().await;
    let mut subscriber = house.somebody("subscriber").await;
    subscriber.subscribe("#", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;
    for n in 0..200 {
        let qos = if n % 3 == 0 { AtMostOnce } else { AtLeastOnce };
        let message = publisher.message(&format!("topic/{}", n % 5), n.to_string(), qos, false);
        publisher.send(&Packet::Publish(message)).await;
    }
    for n in 0..200 {
        assert_eq!(subscriber.hears().await.1, n.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qos_2_message_that_is_sent_again_arrives_once() {
    let house = House::start().await;
    let mut subscriber = house.somebody("subscriber").await;
    subscriber.subscribe("+/+", AtLeastOnce).await;
    for topic in ["any/thing", "sensors/esp32"] {
        let mut publisher = house.client("publisher").connect_v5().await;
        let first = publisher.message(topic, reading(20.0), ExactlyOnce, false);
        publisher.send(&Packet::Publish(first.clone())).await;
        publisher.pubrec(first.packet_id).await;
        publisher.send(&Packet::Publish(Publish { dup: true, ..first.clone() })).await;
        publisher.pubrec(first.packet_id).await;
        assert_eq!(publisher.release(first.packet_id).await, Code::SUCCESS);
        assert_eq!(publisher.release(first.packet_id).await, Code::PACKET_ID_NOT_FOUND);
        // Released, so that the packet id is free for another message.
        let second = Publish { payload: Bytes::from(reading(21.0)), ..first };
        assert_eq!(publisher.publish_packet(&second).await, Code::SUCCESS);

        assert_eq!(subscriber.next_publish().await.payload, reading(20.0));
        assert_eq!(subscriber.next_publish().await.payload, reading(21.0));
    }
    subscriber.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_leaves_at_most_a_hundred_messages_unacknowledged() {
    let house = House::start().await;
    let mut subscriber = house.client("subscriber").connect_v4().await;
    assert_eq!(window(&house, &mut subscriber).await, (1..=100).collect::<Vec<u16>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_may_take_less_at_a_time() {
    let house = House::start().await;
    let mut newcomer = house.client("subscriber");
    newcomer.connect.properties.push(Property::ReceiveMaximum(5));
    let mut subscriber = newcomer.connect_v5().await;
    assert_eq!(window(&house, &mut subscriber).await, [1, 2, 3, 4, 5]);
}

/// The packet ids that come before the gateway waits. Each acknowledgement then lets one more come.
async fn window(house: &House, subscriber: &mut Client) -> Vec<u16> {
    const MORE: usize = 10;
    subscriber.acknowledge_nothing();
    subscriber.subscribe("a", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;
    // The publisher's own packet ids are far from those of the subscriber.
    for _ in 0..1_000 {
        publisher.next_id();
    }
    for n in 0..100 + MORE {
        publisher.say("a", n.to_string()).await;
    }
    let mut ids = Vec::new();
    while let Some(publish) = subscriber.publish_if_any().await {
        ids.push(publish.packet_id);
    }
    for (n, id) in ids.iter().take(MORE).enumerate() {
        subscriber.acknowledge(*id).await;
        let next = subscriber.next_publish().await;
        assert_eq!(next.payload, (ids.len() + n).to_string());
        assert!(!ids[n + 1..].contains(&next.packet_id));
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_with_properties_reaches_both_versions() {
    let house = House::start().await;
    let mut old = house.client("old").connect_v4().await;
    let mut new = house.client("new").connect_v5().await;
    old.subscribe("#", AtLeastOnce).await;
    new.subscribe("#", AtLeastOnce).await;
    let mut publisher = house.client("publisher").connect_v5().await;
    let mut message = publisher.message("a", "x", AtLeastOnce, false);
    for property in [
        Property::PayloadFormat(1),
        Property::MessageExpiry(60),
        Property::ContentType("text/plain".into()),
        Property::ResponseTopic("b".into()),
        Property::CorrelationData(Bytes::from_static(b"c")),
        Property::UserProperty("d".into(), "e".into()),
    ] {
        message.properties.push(property);
    }

    assert_eq!(publisher.publish_packet(&message).await, Code::SUCCESS);

    for subscriber in [&mut old, &mut new] {
        assert_eq!(subscriber.hears().await, ("a".into(), "x".into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_need_not_be_ascii() {
    let house = House::start().await;
    let mut subscriber = house.somebody("subscriber").await;
    subscriber.subscribe("\u{e9}t\u{e9}/+", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;
    for (topic, qos) in [
        ("\u{e9}t\u{e9}/1", AtMostOnce),
        ("\u{e9}t\u{e9}/2", AtLeastOnce),
        ("\u{1f321}", AtLeastOnce),
        ("\u{e9}t\u{e9}/3", AtLeastOnce),
    ] {
        publisher.publish(topic, "chaud", qos, false).await;
    }
    for n in 1..=3 {
        assert_eq!(subscriber.hears().await.0, format!("\u{e9}t\u{e9}/{n}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_larger_than_a_client_takes_is_not_sent_to_it() {
    let house = House::start().await;
    let mut newcomer = house.client("small");
    newcomer.connect.properties.push(Property::MaximumPacketSize(100));
    let mut small = newcomer.connect_v5().await;
    let mut large = house.somebody("large").await;
    small.subscribe("a", AtLeastOnce).await;
    large.subscribe("a", AtLeastOnce).await;
    let mut publisher = house.somebody("publisher").await;

    publisher.say("a", vec![b'x'; 1_000_000]).await;
    publisher.say("a", "small").await;

    assert_eq!(small.hears().await.1, "small");
    assert_eq!(large.next_publish().await.payload.len(), 1_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_command_is_refused_and_reaches_nobody() {
    let house = House::start().await;
    let mut device = house.client("esp32").connect_v4().await;
    device.subscribe("#", AtLeastOnce).await;
    let mut old = house.client("old").connect_v4().await;
    let mut new = house.client("new").connect_v5().await;

    for topic in ["commands/esp32/play", "commands/nobody/play", "esp32/play"] {
        assert_eq!(new.publish(topic, "true", AtLeastOnce, true).await, Code::NOT_AUTHORIZED);
        assert_eq!(new.publish(topic, "true", ExactlyOnce, true).await, Code::NOT_AUTHORIZED);
        // 3.1.1 has no words for it: the publisher is acknowledged all the same.
        old.publish(topic, "true", AtLeastOnce, true).await;
        old.publish(topic, "true", ExactlyOnce, true).await;
        old.publish(topic, "true", AtMostOnce, true).await;
    }
    old.say("end", "").await;

    assert_eq!(device.hears().await.0, "end");
    let mut late = house.somebody("late").await;
    late.subscribe("#", AtLeastOnce).await;
    late.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_to_be_recorded_is_refused() {
    let house = House::start().await;
    let mut subscriber = house.somebody("subscriber").await;
    subscriber.subscribe("sensors/+", AtLeastOnce).await;
    let mut device = house.client("device").connect_v5().await;
    let large = vec![b' '; 300 * 1024];

    assert_eq!(device.publish("sensors/esp32", &large, AtLeastOnce, false).await, Code::QUOTA_EXCEEDED);
    assert_eq!(device.publish("sensors/esp32", &large, AtMostOnce, true).await, Code::SUCCESS);
    device.say("sensors/esp32", reading(20.0)).await;

    assert_eq!(subscriber.next_publish().await.payload, reading(20.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_no_censor() {
    let house = House::start().await;
    let mut subscriber = house.somebody("subscriber").await;
    subscriber.subscribe("#", AtLeastOnce).await;
    let mut device = house.client("device").connect_v5().await;
    for (topic, payload) in [
        ("sensors/esp32", "{not json"),
        ("sensors/esp32", "\u{0}"),
        ("sensors/a/b", "{}"),
        ("presence/esp32/status", "perhaps"),
        ("commands/esp32/dance", "true"),
    ] {
        device.say(topic, payload).await;
        assert_eq!(subscriber.hears().await, (topic.into(), payload.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_the_broker_itself_is_refused_without_a_quarrel() {
    let house = House::start().await;
    let mut client = house.client("client").connect_v5().await;
    assert_eq!(client.publish("$SYS/x", "", AtLeastOnce, false).await, Code::TOPIC_INVALID);
    client.publish("$SYS/x", "", AtMostOnce, true).await;
    client.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_0_and_1_are_answered_in_the_order_of_the_messages() {
    let house = House::start().await;
    let mut publisher = house.client("publisher").connect_v4().await;
    // Those on `sensors` wait for the disk, the others do not.
    let ids = [1_u16, 2, 3, 4, 5, 6];
    for id in ids {
        let topic = if id % 2 == 0 { "anything" } else { "sensors/esp32" };
        let mut message = publisher.message(topic, reading(20.0), AtLeastOnce, false);
        message.packet_id = id;
        publisher.send(&Packet::Publish(message)).await;
    }
    for id in ids {
        assert_eq!(publisher.next().await, Some(Packet::PubAck(ack(id))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_not_sent_again_after_a_reconnect() {
    let house = House::start().await;
    let connect = || house.client("esp32").persistent().connect_v4();
    let mut device = connect().await;
    device.acknowledge_nothing();
    device.subscribe("commands/esp32/play", AtLeastOnce).await;
    house.somebody("script").await.say("commands/esp32/play", "true").await;
    assert_eq!(device.hears().await.1, "true");
    device.abort();
    house.somebody("script").await.say("commands/esp32/play", "false").await;

    let mut device = connect().await;
    device.subscribe("commands/esp32/play", AtLeastOnce).await;
    device.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_waited_too_long_for_a_stalled_device_is_not_sent() {
    let house = House::start().await;
    let mut newcomer = house.client("esp32");
    newcomer.connect.properties.push(Property::ReceiveMaximum(1));
    let mut device = newcomer.connect_v5().await;
    device.acknowledge_nothing();
    device.subscribe("#", AtLeastOnce).await;
    let mut script = house.somebody("script").await;
    for topic in ["first", "commands/esp32/play", "esp32/play", "last"] {
        script.say(topic, "true").await;
    }
    let first = device.next_publish().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    device.acknowledge(first.packet_id).await;
    assert_eq!(device.hears().await.0, "last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_heard_without_a_hole() {
    let house = House::start().await;
    let mut subscriber = house.somebody("subscriber").await;
    subscriber.subscribe("burst", AtMostOnce).await;
    let mut publisher = house.somebody("publisher").await;
    let mut burst = BytesMut::new();
    for n in 0..10_000 {
        let message = publisher.message("burst", n.to_string(), AtMostOnce, false);
        encode(&Packet::Publish(message), Version::V4, &mut burst);
    }
    publisher.send_bytes(&burst).await;
    for n in 0..10_000 {
        assert_eq!(subscriber.hears().await.1, n.to_string());
    }
}
