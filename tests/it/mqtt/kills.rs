//! The gateway is killed while persistent sessions are in use: nothing that was acknowledged is missing, and QoS 2 comes in once.

use std::collections::{HashMap, HashSet};

use crosslink::broker::front::codec::{
    Packet,
    QoS::{AtLeastOnce, ExactlyOnce},
};
use serde_json::Value;

use crate::{
    durability::Process,
    harness::{Client, Newcomer, client::ack, reading},
};

/// Each of the moments at which a QoS 2 exchange can break off, three times.
const KILLS: usize = 12;
/// Messages for the listener between two kills.
const MESSAGES: usize = 20;

/// How far a QoS 2 exchange has come, as its sender knows.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Published,
    Received,
    Released,
    Complete,
}

/// A device that says each reading once, however often it is interrupted.
struct Device {
    client: Client,
    stage: Stage,
    reading: usize,
}

impl Device {
    async fn goes_on(gateway: &Process, stage: Stage, reading: usize) -> Device {
        let client = Newcomer::new(gateway.mqtt, "esp32").persistent().connect_v4().await;
        // A session that nothing was acknowledged in may not have come to the disk.
        assert!(client.connack.session_present || stage == Stage::Published || reading == 0);
        let mut device = Device { client, stage, reading };
        if reading > 0 {
            device.until(Stage::Complete, true).await;
        }
        device.reading += 1;
        device.stage = Stage::Published;
        device
    }

    /// Says what is to be said from here to a stage, the last of it without waiting for its answer.
    async fn until(&mut self, last: Stage, dup: bool) {
        let id = self.reading as u16;
        if self.stage == Stage::Published {
            let mut message =
                self.client.message("sensors/esp32", reading(self.reading as f64), ExactlyOnce, false);
            (message.packet_id, message.dup) = (id, dup);
            self.client.send(&Packet::Publish(message)).await;
            if last == Stage::Published {
                return;
            }
            self.client.pubrec(id).await;
            self.stage = Stage::Received;
        }
        if last == Stage::Received {
            return;
        }
        if self.stage != Stage::Complete {
            self.client.send(&Packet::PubRel(ack(id))).await;
            self.stage = Stage::Released;
        }
        if last == Stage::Complete && self.stage == Stage::Released {
            assert!(matches!(self.client.next().await, Some(Packet::PubComp(_))));
            self.stage = Stage::Complete;
        }
    }

    /// What had been answered before the connection ended.
    async fn hears_the_end(&mut self) {
        while let Some(packet) = self.client.next().await {
            match packet {
                Packet::PubRec(_) => self.stage = Stage::Received,
                Packet::PubComp(_) => self.stage = Stage::Complete,
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn drain(listener: &mut Client, heard: &mut HashSet<String>) {
    while let Some(publish) = listener.publish_if_any().await {
        heard.insert(String::from_utf8(publish.payload.to_vec()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_that_waits_and_doubles_nothing_that_came_in() {
    let directory = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut heard) = (HashSet::new(), HashSet::new());
    let (mut stage, mut said) = (Stage::Complete, 0);
    for round in 0..KILLS {
        let gateway = Process::start(directory.path(), &[]);
        let mut listener = Newcomer::new(gateway.mqtt, "listener").persistent().connect_v4().await;
        assert!(listener.connack.session_present || acknowledged.is_empty());
        // What was granted once stands.
        if !listener.connack.session_present {
            listener.subscribe("kept/#", AtLeastOnce).await;
        }
        match round % 3 {
            0 => listener.disconnect().await,
            1 => listener.acknowledge_nothing(),
            _ => drain(&mut listener, &mut heard).await,
        }
        let mut publisher = Newcomer::new(gateway.mqtt, "publisher").connect_v4().await;
        let mut texts = HashMap::new();
        for n in 0..MESSAGES {
            let text = format!("{round}/{n}");
            let message = publisher.message("kept/x", &text, AtLeastOnce, false);
            texts.insert(message.packet_id, text);
            publisher.send(&Packet::Publish(message)).await;
        }
        let mut device = Device::goes_on(&gateway, stage, said).await;
        let last = [Stage::Published, Stage::Received, Stage::Released, Stage::Complete][round % 4];
        device.until(last, false).await;
        for _ in 0..round {
            match publisher.next().await {
                Some(Packet::PubAck(ack)) => acknowledged.extend(texts.remove(&ack.packet_id)),
                other => panic!("{other:?}"),
            }
        }
        gateway.kill();
        while let Some(Packet::PubAck(ack)) = publisher.next().await {
            acknowledged.extend(texts.remove(&ack.packet_id));
        }
        device.hears_the_end().await;
        (stage, said) = (device.stage, device.reading);
    }
    let gateway = Process::start(directory.path(), &[]);
    let device = Device::goes_on(&gateway, stage, said).await;
    let mut listener = Newcomer::new(gateway.mqtt, "listener").persistent().connect_v4().await;
    drain(&mut listener, &mut heard).await;
    let missing: Vec<&String> = acknowledged.difference(&heard).collect();
    assert!(missing.is_empty(), "acknowledged and not heard: {missing:?}");
    assert!(acknowledged.len() >= KILLS * (KILLS - 1) / 2);

    let (_, body) = gateway.get("/api/v1/devices/esp32/readings?after=0&limit=1000");
    let page: Value = serde_json::from_str(&body).unwrap();
    let readings = page["items"].as_array().unwrap().iter();
    let readings: Vec<f64> = readings.map(|item| item["payload"]["temperature"].as_f64().unwrap()).collect();
    let wanted: Vec<f64> = (1..device.reading).map(|n| n as f64).collect();
    assert_eq!(readings, wanted);
    gateway.kill();
}
