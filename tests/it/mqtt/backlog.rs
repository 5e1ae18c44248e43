//! What clients notice while the journal is behind, or cannot write: here the test is the journal.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use crosslink::{
    broker::{
        self, Broker, Input, Inputs, Intake, Message,
        front::codec::{
            Ack, Code, Packet, Properties,
            QoS::{AtLeastOnce, AtMostOnce},
            Subscribe,
        },
    },
    config::Config,
    model::Seq,
};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::harness::{Client, DEADLINE, Newcomer, client::subscription, until};

/// What would come has come by then.
const SILENCE: Duration = Duration::from_millis(300);
/// More than there is room for on the way to the disk, in messages of 250 KiB.
const MORE_THAN_FITS: usize = 450;

struct Front {
    broker: Broker,
    address: SocketAddr,
    inputs: Inputs,
    intake: Intake,
}

impl Front {
    async fn open() -> Front {
        let (intake, inputs) = broker::intake();
        let broker = Broker::open(&Config::default(), Vec::new(), Vec::new(), intake.clone()).unwrap();
        let address = broker.listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        Front { broker, address, inputs, intake }
    }

    fn client(&self, id: &str) -> Newcomer {
        Newcomer::new(self.address, id)
    }

    /// What came in until nothing more does; its room stays taken.
    async fn taken(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        while let Ok(true) = timeout(SILENCE, self.inputs.take(&mut inputs, 4_096)).await {}
        inputs
    }

    /// Publishes as `id` until its socket is read no further; tells how many messages were written.
    async fn publish_until_full(&self, id: &str, payload: &[u8]) -> (Client, usize) {
        let mut client = self.client(id).connect_v4().await;
        for n in 0..MORE_THAN_FITS {
            let message = client.message("sensors/a", payload, AtMostOnce, false);
            if timeout(SILENCE, client.send(&Packet::Publish(message))).await.is_err() {
                return (client, n);
            }
        }
        (client, MORE_THAN_FITS)
    }
}

fn publishes(inputs: &[Input]) -> usize {
    inputs.iter().filter(|input| matches!(input, Input::Publish(_))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_read_and_answered_until_a_thousand_acknowledgements_wait() {
    let mut front = Front::open().await;
    let mut listener = front.client("listener").connect_v4().await;
    listener.subscribe("sensors/+", AtMostOnce).await;
    let mut device = front.client("device").keep_alive(1).connect_v4().await;
    let mut messages = Vec::new();
    for n in 0..1_100 {
        messages.push(device.message("sensors/a", n.to_string(), AtLeastOnce, false));
    }
    for message in &messages[..999] {
        device.send(&Packet::Publish(message.clone())).await;
    }
    device.ping().await;
    for message in &messages[999..] {
        device.send(&Packet::Publish(message.clone())).await;
    }
    for n in 0..1_000 {
        assert_eq!(listener.hears().await.1, n.to_string());
    }
    listener.hears_nothing().await;
    // Longer than one and a half keepalives: the clock stands still.
    sleep(Duration::from_secs(3)).await;

    let mut settled = 0;
    while settled < messages.len() {
        for input in front.taken().await {
            if let Input::Publish(mut inbound) = input {
                inbound.ack.take().unwrap().settle();
                settled += 1;
            }
        }
    }
    for message in &messages {
        assert_eq!(device.puback(message.packet_id).await, Code::SUCCESS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_keep_the_order_of_the_messages() {
    let mut front = Front::open().await;
    let mut device = front.client("device").connect_v4().await;
    let recorded = device.message("sensors/a", "1", AtLeastOnce, false);
    let passing = device.message("elsewhere", "2", AtLeastOnce, false);
    device.send(&Packet::Publish(recorded.clone())).await;
    device.send(&Packet::Publish(passing.clone())).await;
    device.hears_nothing().await;
    for input in front.taken().await {
        if let Input::Publish(mut inbound) = input {
            inbound.ack.take().unwrap().settle();
        }
    }
    device.puback(recorded.packet_id).await;
    device.puback(passing.packet_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_without_room_stop_their_client_before_they_fill_the_memory() {
    let mut front = Front::open().await;
    let payload = vec![b' '; 250 * 1024];
    let (_first, written) = front.publish_until_full("first", &payload).await;
    // There are 64 MiB of room; the client may hold 1 MiB, and the system's buffers take a little.
    assert!(written < MORE_THAN_FITS, "all {written} messages were read");
    let (_second, written) = front.publish_until_full("second", &payload).await;
    assert!(written < 60, "{written} messages were read without room");
    assert!(publishes(&front.taken().await) < 270);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_not_acknowledged_before_the_message_that_waits_for_room() {
    let mut front = Front::open().await;
    let payload = vec![b' '; 250 * 1024];
    let (_first, _) = front.publish_until_full("first", &payload).await;
    let mut device = front.client("device").persistent().connect_v4().await;
    let message = device.message("sensors/a", &payload, AtLeastOnce, false);
    device.send(&Packet::Publish(message.clone())).await;
    let (packet_id, filters) = (device.next_id(), vec![subscription("a", AtLeastOnce)]);
    let subscribe = Subscribe { packet_id, properties: Properties::none(), filters };
    device.send(&Packet::Subscribe(subscribe)).await;
    for input in front.taken().await {
        if let Input::Keep { ack: Some(ack), .. } = input {
            ack.settle();
        }
    }
    device.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_0_that_waited_for_the_disk_flows_on_unrecorded_once_the_journal_fails() {
    let front = Front::open().await;
    let mut listener = front.client("listener").connect_v4().await;
    listener.subscribe("sensors/last", AtMostOnce).await;
    let mut device = front.client("device").connect_v4().await;
    let speaks = tokio::spawn(async move {
        for _ in 0..MORE_THAN_FITS {
            device.publish("sensors/a", vec![b' '; 250 * 1024], AtMostOnce, false).await;
        }
        device.publish("sensors/last", "x", AtMostOnce, false).await;
        device
    });
    sleep(Duration::from_secs(2)).await;
    assert!(!speaks.is_finished(), "it waits for the disk");

    front.inputs.set_failing(true);

    assert_eq!(listener.hears().await.1, "x");
    speaks.await.unwrap().ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_becomes_history_although_the_journal_failed_for_a_while() {
    let mut front = Front::open().await;
    front.inputs.set_failing(true);
    let mut device = front.client("device").connect_v4().await;
    device.publish("sensors/a", "{}", AtMostOnce, false).await;
    device.publish("presence/a/status", "online", AtMostOnce, true).await;
    device.ping().await;
    let kept: Vec<String> = front
        .taken()
        .await
        .into_iter()
        .filter_map(|input| if let Input::Publish(inbound) = input { Some(inbound.topic) } else { None })
        .collect();
    assert_eq!(kept, ["presence/a/status"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_go_do_not_fill_the_memory_while_the_disk_refuses() {
    let mut front = Front::open().await;
    let ended = broker::Ended {
        session: crosslink::model::SessionId(1),
        client_id: "restless".into(),
        address: String::new(),
        at: crosslink::model::Timestamp::now(),
        end: crosslink::model::SessionEnd::Closed,
        will_published: false,
        successor: None,
    };
    for _ in 0..70_000 {
        let (client_id, address) = (ended.client_id.clone(), String::new());
        front.intake.send(Input::Ended(broker::Ended { client_id, address, ..ended }));
    }
    let refused = front.client("one too many").try_connect().await.unwrap();
    assert_eq!(refused.connack.code, Code(3), "server unavailable, as 3.1.1 says it");

    let inputs = front.taken().await;
    front.inputs.release(&inputs);
    front.client("now").connect_v4().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_its_receiver_refuses_is_not_delivered() {
    let mut front = Front::open().await;
    let mut device = front.client("device").connect_v5().await;
    device.subscribe("commands/device/play", AtLeastOnce).await;
    device.acknowledge_nothing();
    for (command, code) in [(7, Code::NOT_AUTHORIZED), (8, Code::SUCCESS)] {
        front.broker.publish(Message {
            topic: "commands/device/play".into(),
            payload: Bytes::from_static(b"true"),
            qos: AtLeastOnce,
            retain: false,
            command: Some(Seq(command)),
            life: Duration::ZERO,
        });
        let packet_id = device.next_publish().await.packet_id;
        device.send(&Packet::PubAck(Ack { packet_id, code, properties: Properties::none() })).await;
    }
    device.ping().await;
    let delivered: Vec<Seq> = front
        .taken()
        .await
        .into_iter()
        .filter_map(|input| if let Input::Delivered { command } = input { Some(command) } else { None })
        .collect();
    assert_eq!(delivered, [Seq(8)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_does_not_delay_the_stop() {
    let front = Front::open().await;
    let mut stuck = front.client("stuck").connect_v4().await;
    stuck.subscribe("a", AtMostOnce).await;
    let mut publisher = front.client("publisher").connect_v4().await;
    for _ in 0..40 {
        publisher.publish("a", vec![b'x'; 1024 * 1024], AtMostOnce, false).await;
    }
    publisher.ping().await;
    sleep(SILENCE).await;
    let begun = Instant::now();
    front.broker.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// Each of many waits for room, and little by little there is some.
#[tokio::test]
async fn everybody_who_waits_for_room_gets_it() {
    let mut front = Front::open().await;
    let mut devices = Vec::new();
    let payload = vec![b' '; 250 * 1024];
    let (first, _) = front.publish_until_full("first", &payload).await;
    devices.push(first);
    for n in 0..20 {
        let mut device = front.client(&n.to_string()).connect_v4().await;
        let message = device.message("sensors/a", &payload, AtLeastOnce, false);
        device.send(&Packet::Publish(message)).await;
        devices.push(device);
    }
    sleep(SILENCE).await;
    // Room for one after the other, as messages go to the disk.
    let all = Instant::now();
    let mut waiting = front.taken().await;
    waiting.reverse();
    let mut last = 0;
    until("all who wait come in", async || {
        for _ in 0..2 {
            if let Some(input) = waiting.pop() {
                front.inputs.release(&[input]);
            }
        }
        sleep(Duration::from_millis(1)).await;
        let mut more = Vec::new();
        let _ = timeout(Duration::from_millis(5), front.inputs.take(&mut more, 4_096)).await;
        last += more
            .iter()
            .filter(|input| matches!(input, Input::Publish(inbound) if inbound.qos == AtLeastOnce))
            .count();
        for input in more {
            waiting.insert(0, input);
        }
        if last == 20 { Ok(()) } else { Err(last.into()) }
    })
    .await;
    assert!(all.elapsed() < DEADLINE);
}
