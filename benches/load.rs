//! How much the whole gateway takes, from the socket to the disk and back: readings of devices, what services of all kinds
//! say, and that with what they are told, in the same run. Every message is QoS 1, so that the rate is that of what is on disk.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on has failed, and it prints"
)]

mod mqtt;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    ops::Range,
    thread,
    time::Instant,
};

use crosslink::{
    catalog::{KINDS, Kind, Topic},
    config::{Config, Listen},
    gateway::Gateway,
};

/// Publishers at a time.
const CLIENTS: usize = 8;
/// Messages of one publisher in one round.
const MESSAGES: usize = 20_000;
/// Messages that wait for their acknowledgement: the gateway allows for a thousand.
const WINDOW: usize = 800;
/// Topics of a placeholder that are spoken on: as many as a power distribution has channels.
const NUMBERED: u16 = 8;
/// Of each load, in turn: whatever else the machine does is shared by both.
const ROUNDS: usize = 5;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let any = Listen::At("127.0.0.1:0".parse().unwrap());
    let database = folder.path().join("load.db");
    let config = Config { http: Listen::Off, mqtt: any, mqtt_ws: Listen::Off, database, ..Config::default() };
    let gateway = runtime.block_on(Gateway::start(config)).unwrap();
    let address = gateway.mqtt_addr().unwrap();

    let said: Vec<Row> = rows().filter(|(_, topic)| topic.is_said()).collect();
    // A command is an entry in the journal and two in the command log.
    let told: Vec<Row> = rows().collect();
    let topics = said.iter().map(|(_, topic)| numbers(topic).len()).sum();
    let mut rates: [Vec<f64>; 4] = Default::default();
    for round in 0..=ROUNDS {
        let loads = [
            rate(address, "alone", &|client, number| device(1, client, number)),
            rate(address, "device", &|client, number| device(topics, client, number)),
            rate(address, "said", &|client, number| service(&said, client, number)),
            rate(address, "told", &|client, number| service(&told, client, number)),
        ];
        // The first round is for getting warm.
        if round > 0 {
            tell("round", loads);
            rates.iter_mut().zip(loads).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    tell("median", rates.map(median));
    runtime.block_on(gateway.stop());
}

fn tell(what: &str, [few, devices, said, told]: [f64; 4]) {
    println!(
        "{what}: a device for each client {few:.0}/s, as many as the services have topics {devices:.0}/s; \
        services say {said:.0}/s, ratio {:.2} and {:.2}; with commands {told:.0}/s, ratio {:.2} and {:.2}",
        said / few,
        said / devices,
        told / few,
        told / devices
    );
}

/// A topic of a kind.
type Row = (&'static Kind, &'static Topic);

fn rows() -> impl Iterator<Item = Row> {
    KINDS.iter().flat_map(|kind| kind.topics.iter().map(move |topic| (kind, topic)))
}

/// What the devices of a client measure, so many of them.
fn device(devices: usize, client: usize, message: usize) -> (String, Vec<u8>) {
    let device = message % devices;
    let temperature = 20.0 + (message % 100) as f64 / 10.0;
    let payload = format!(
        r#"{{"temperature":{temperature},"humidity":48,"threshold":29,"over_threshold":false,"unit":"C"}}"#
    );
    (format!("sensors/load{client}-{device}"), payload.into_bytes())
}

/// One row of the catalog after the other, each of a service of its kind.
fn service(rows: &[Row], client: usize, message: usize) -> (String, Vec<u8>) {
    let (round, (kind, topic)) = (message / rows.len(), rows[message % rows.len()]);
    let index = topic.index.as_ref().map(|range| range.start + (round % numbers(topic).len()) as u16);
    let example = topic.examples[round % topic.examples.len()];
    (format!("load{client}/{}{}", kind.name, topic.suffix_at(index)), example.as_bytes().to_vec())
}

/// The numbers that are spoken on in the place of a topic's placeholder: one if it has none.
fn numbers(topic: &Topic) -> Range<usize> {
    0..topic.index.as_ref().map_or(1, |range| (range.end - range.start).min(NUMBERED).into())
}

/// Messages a second, of all clients together, from the first CONNECT to the last acknowledgement.
fn rate(address: SocketAddr, name: &str, message: &dyn Fn(usize, usize) -> (String, Vec<u8>)) -> f64 {
    let packets: Vec<Vec<Vec<u8>>> = (0..CLIENTS)
        .map(|client| (0..MESSAGES).map(|number| packet(number, &message(client, number))).collect())
        .collect();
    let start = Instant::now();
    thread::scope(|scope| {
        for (client, packets) in packets.iter().enumerate() {
            scope.spawn(move || speak(address, &format!("{name}{client}"), packets));
        }
    });
    (CLIENTS * MESSAGES) as f64 / start.elapsed().as_secs_f64()
}

/// Publishes everything and waits for every acknowledgement.
fn speak(address: SocketAddr, id: &str, packets: &[Vec<u8>]) {
    let mut socket = mqtt::connect(address, id);
    let (mut sent, mut bytes) = (0, 0);
    let mut buffer = [0; 16 * 1024];
    // A PUBACK has four bytes.
    while bytes < 4 * packets.len() {
        let end = packets.len().min(bytes / 4 + WINDOW);
        if sent < end {
            socket.write_all(&packets[sent..end].concat()).unwrap();
            sent = end;
        }
        let read = socket.read(&mut buffer).unwrap();
        assert!(read > 0, "the gateway has closed the connection");
        bytes += read;
    }
}

fn packet(number: usize, (topic, payload): &(String, Vec<u8>)) -> Vec<u8> {
    mqtt::publish((number % 65_535) as u16 + 1, topic, payload)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
