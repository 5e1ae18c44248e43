//! What MQTT 5 says beside topic and payload.

use bytes::Bytes;
use crosslink::broker::front::codec::{
    Code, Packet, Properties, Property,
    QoS::{AtLeastOnce, AtMostOnce},
    SubAck, Subscribe, Subscription, Version,
};

use crate::harness::{Client, House, client::subscription, until};

fn travelling() -> Vec<Property> {
    vec![
        Property::PayloadFormat(1),
        Property::ContentType("text/plain".into()),
        Property::ResponseTopic("answers/here".into()),
        Property::CorrelationData(Bytes::from_static(b"\x00\xFF7")),
        Property::UserProperty("a".into(), "1".into()),
        Property::UserProperty("a".into(), "ä".into()),
    ]
}

/// A retained message with all that travels, which expires after a minute.
async fn say_all(house: &House, topic: &str) {
    let mut publisher = house.client("publisher").connect_v5().await;
    let mut message = publisher.message(topic, "x", AtLeastOnce, true);
    message.properties = travelling().into_iter().chain([Property::MessageExpiry(60)]).collect();
    assert_eq!(publisher.publish_packet(&message).await, Code::SUCCESS);
    publisher.disconnect().await;
}

async fn hears_all(client: &mut Client) {
    let publish = client.next_publish().await;
    let mut properties: Vec<Property> = publish.properties.iter().cloned().collect();
    let at = properties.iter().position(|property| matches!(property, Property::MessageExpiry(1..=60)));
    properties.remove(at.unwrap_or_else(|| panic!("no expiry, or not counted down: {properties:?}")));
    assert_eq!(properties, travelling());
}

async fn subscribe_as(client: &mut Client, id: u32, filter: &str) -> SubAck {
    let packet_id = client.next_id();
    let properties = Properties::from_iter([Property::SubscriptionId(id)]);
    let filters = vec![subscription(filter, AtLeastOnce)];
    client.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters })).await;
    match client.next().await {
        Some(Packet::SubAck(suback)) => suback,
        other => panic!("expected SUBACK, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_travel_to_those_who_are_there_away_late_or_speak_3_1_1() {
    let house = House::start().await;
    let mut there = house.client("there").connect_v5().await;
    there.subscribe("a", AtLeastOnce).await;
    let mut away = house.client("away").lasting(60).connect_v5().await;
    away.subscribe("a", AtLeastOnce).await;
    away.disconnect().await;
    let mut old = house.somebody("old").await;
    old.subscribe("a", AtMostOnce).await;
    say_all(&house, "a").await;

    hears_all(&mut there).await;
    hears_all(&mut house.client("away").lasting(60).connect_v5().await).await;
    assert_eq!(old.next_publish().await.properties, Properties::none());
    let mut late = house.client("late").connect_v5().await;
    late.subscribe("a", AtLeastOnce).await;
    hears_all(&mut late).await;

    let house = house.restart().await;
    let mut later = house.client("later").connect_v5().await;
    later.subscribe("a", AtLeastOnce).await;
    hears_all(&mut later).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_has_properties() {
    let house = House::start().await;
    let mut watcher = house.client("watcher").connect_v5().await;
    watcher.subscribe("will", AtLeastOnce).await;
    let mut newcomer = house.client("client").will("will", "gone", AtLeastOnce, false);
    let will = newcomer.connect.will.as_mut().unwrap();
    will.properties = travelling().into_iter().chain([Property::MessageExpiry(60)]).collect();
    newcomer.connect_v5().await.abort();
    hears_all(&mut watcher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_reaches_nobody() {
    let house = House::start().await;
    let mut away = house.client("away").lasting(60).connect_v5().await;
    away.subscribe("a", AtLeastOnce).await;
    away.disconnect().await;
    let mut publisher = house.client("publisher").connect_v5().await;
    for (text, expiry) in [("short", 1), ("long", 60)] {
        let mut message = publisher.message("a", text, AtLeastOnce, text == "short");
        message.properties.push(Property::MessageExpiry(expiry));
        publisher.publish_packet(&message).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let mut away = house.client("away").lasting(60).connect_v5().await;
    assert_eq!(away.hears().await.1, "long");
    let mut late = house.client("late").connect_v5().await;
    late.subscribe("a", AtLeastOnce).await;
    late.hears_nothing().await;
    until("nothing is retained on disk", async || match house.rows("retained").await {
        0 => Ok(()),
        rows => Err(rows.into()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_presence_that_expires_does_not_hide_the_truth() {
    let house = House::start().await;
    let mut device = house.client("esp32").connect_v5().await;
    let mut online = device.message("presence/esp32/status", "online", AtLeastOnce, true);
    online.properties.push(Property::MessageExpiry(1));
    device.publish_packet(&online).await;
    let mut watcher = house.somebody("watcher").await;
    watcher.subscribe("presence/esp32/status", AtLeastOnce).await;
    assert_eq!(watcher.hears().await.1, "online");
    // What has expired is said again, for those who come later.
    assert_eq!(watcher.hears().await.1, "online");
    device.abort();
    assert_eq!(watcher.hears().await.1, "offline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_names_the_subscriptions_by_which_it_comes() {
    let house = House::start().await;
    for newcomer in [house.client("linked"), house.client("lasting").lasting(60)] {
        let mut client = newcomer.connect_v5().await;
        assert_eq!(subscribe_as(&mut client, 5, "a/+").await.codes, [Code::GRANTED_QOS_1]);
        subscribe_as(&mut client, 268_435_455, "a/#").await;
        client.subscribe("a/b", AtMostOnce).await;
        house.somebody("publisher").await.say("a/b", "x").await;
        let publish = client.next_publish().await;
        let mut ids: Vec<u32> = publish.properties.subscription_ids().collect();
        ids.sort_unstable();
        assert_eq!(ids, [5, 268_435_455]);
        client.hears_nothing().await;
        // Subscribed again under another name: the old one is no longer said.
        subscribe_as(&mut client, 6, "a/+").await;
        house.somebody("publisher").await.say("a/c", "y").await;
        let mut ids: Vec<u32> = client.next_publish().await.properties.subscription_ids().collect();
        ids.sort_unstable();
        assert_eq!(ids, [6, 268_435_455]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_why_to_who_wants_to_know() {
    let house = House::start().await;
    let share = "$share/group/a";
    let mut client = house.client("curious").connect_v5().await;
    let suback = subscribe_as(&mut client, 1, share).await;
    assert_eq!(suback.codes, [Code::SHARED_NOT_SUPPORTED]);
    assert_eq!(suback.properties.reason_string(), Some("shared subscriptions not supported"));

    let mut newcomer = house.client("terse");
    newcomer.connect.properties.push(Property::RequestProblemInfo(0));
    let mut client = newcomer.connect_v5().await;
    assert!(subscribe_as(&mut client, 1, share).await.properties.is_empty());

    let mut newcomer = house.client("");
    newcomer.connect.version = Version::V5;
    newcomer.connect.properties.push(Property::AuthMethod("magic".into()));
    let refused = newcomer.try_connect().await.unwrap();
    assert_eq!(refused.connack.code, Code::BAD_AUTHENTICATION_METHOD);
    assert_eq!(refused.connack.properties.reason_string(), Some("bad authentication method"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reason_makes_a_packet_too_large() {
    let house = House::start().await;
    let mut newcomer = house.client("small");
    newcomer.connect.properties.push(Property::MaximumPacketSize(40));
    let mut client = newcomer.clone().connect_v5().await;
    let suback = subscribe_as(&mut client, 1, "$share/group/a").await;
    assert_eq!((suback.codes, suback.properties), (vec![Code::SHARED_NOT_SUPPORTED], Properties::none()));
    client.send(&Packet::Connect(Box::new(newcomer.connect.clone()))).await;
    match client.next().await {
        Some(Packet::Disconnect(told)) => {
            assert_eq!((told.code, told.properties), (Code::PROTOCOL_ERROR, Properties::none()));
        }
        other => panic!("expected DISCONNECT, got {other:?}"),
    }

    newcomer.connect.version = Version::V5;
    newcomer.connect.properties.push(Property::AuthMethod("magic".into()));
    let refused = newcomer.try_connect().await.unwrap();
    assert_eq!(refused.connack.code, Code::BAD_AUTHENTICATION_METHOD);
    assert!(refused.connack.properties.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_nothing_of_its_own_does_not_find_its_will() {
    let house = House::start().await;
    let mut witness = house.somebody("witness").await;
    witness.subscribe("wills/#", AtLeastOnce).await;
    let mortal = house.client("mortal").lasting(60).will("wills/mortal", "gone", AtLeastOnce, false);
    let mut mortal = mortal.connect_v5().await;
    mortal.subscribe_as(Subscription { no_local: true, ..subscription("wills/#", AtLeastOnce) }).await;
    mortal.abort();
    assert_eq!(witness.hears().await.1, "gone");
    witness.say("wills/other", "gone too").await;

    let mut mortal = house.client("mortal").lasting(60).connect_v5().await;
    assert_eq!(mortal.hears().await.0, "wills/other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connack_says_what_there_is_not() {
    let house = House::start().await;
    let client = house.client("client").connect_v5().await;
    let said: Vec<&Property> = client.connack.properties.iter().collect();
    assert!(said.contains(&&Property::SharedAvailable(0)));
    assert!(!said.iter().any(|property| matches!(property, Property::TopicAliasMaximum(1..))));
    assert!(!said.contains(&&Property::SubscriptionIdsAvailable(0)));
}
