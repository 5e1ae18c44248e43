//! How long a message takes from one MQTT client to another at 1 000 a second, and how long it takes through mosquitto, a
//! message to each in turn. Wants Debian's mosquitto.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot go on has failed, it prints, and its own threads sleep"
)]

mod mqtt;

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use crosslink::{
    config::{Config, Listen},
    gateway::Gateway,
};

/// Messages a second through each broker.
const RATE: u32 = 1_000;
const MESSAGES: usize = 20_000;
/// For getting warm.
const WARM: usize = 2_000;

/// So many times mosquitto's p99 a message may take, or the bench fails.
const MOST: f64 = 6.0;
/// A message that takes longer is lost.
const LOST: Duration = Duration::from_secs(10);

/// Where Debian puts it.
const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// What is recorded on its way: a gateway that did not would have it easier.
const TOPIC: &str = "sensors/esp32";
const READING: &[u8] =
    br#"{"temperature":22.5,"humidity":60.0,"threshold":29.0,"over_threshold":false,"unit":"C"}"#;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let any = Listen::At("127.0.0.1:0".parse().unwrap());
    let database = folder.path().join("latency.db");
    let config = Config { http: Listen::Off, mqtt: any, mqtt_ws: Listen::Off, database, ..Config::default() };
    let gateway = runtime.block_on(Gateway::start(config)).unwrap();
    let mosquitto = Mosquitto::start();

    let mut ways = [Way::through(gateway.mqtt_addr().unwrap()), Way::through(mosquitto.address)];
    let begun = Instant::now();
    for n in 0..WARM + MESSAGES {
        for (side, way) in (0u32..).zip(&mut ways) {
            // Half a turn apart, so that neither waits for the other.
            let due =
                begun + Duration::from_secs(1) / RATE * n as u32 + Duration::from_secs(1) / RATE / 2 * side;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            way.say();
        }
    }
    let [ours, theirs] = ways.map(|way| way.times());
    let mut most = 0.0_f64;
    for (what, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let of = |times: &[Duration]| times[(times.len() as f64 * share) as usize];
        let (ours, theirs) = (of(&ours), of(&theirs));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        println!("{what}: Crosslink {ours:?}, mosquitto {theirs:?}, ratio {ratio:.2}");
        if what == "p99" {
            most = ratio;
        }
    }
    runtime.block_on(gateway.stop());
    if most <= MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A publisher and a subscriber of one broker.
struct Way {
    publisher: TcpStream,
    said: Vec<Instant>,
    heard: Receiver<Instant>,
}

impl Way {
    fn through(address: SocketAddr) -> Way {
        let mut subscriber = mqtt::connect(address, "subscriber");
        mqtt::subscribe(&mut subscriber, TOPIC);
        let (heard, times) = mpsc::channel();
        thread::spawn(move || {
            while let Some((kind, rest)) = mqtt::next(&mut subscriber) {
                let now = Instant::now();
                assert_eq!(kind & 0xf6, 0x32, "a message of QoS 1");
                let at = 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                subscriber.write_all(&[0x40, 2, rest[at], rest[at + 1]]).unwrap();
                if heard.send(now).is_err() {
                    break;
                }
            }
        });
        let publisher = mqtt::connect(address, "publisher");
        let mut acknowledged = publisher.try_clone().unwrap();
        thread::spawn(move || while mqtt::next(&mut acknowledged).is_some() {});
        Way { publisher, said: Vec::new(), heard: times }
    }

    fn say(&mut self) {
        let packet_id = (self.said.len() % 60_000 + 1) as u16;
        let packet = mqtt::publish(packet_id, TOPIC, READING);
        self.said.push(Instant::now());
        self.publisher.write_all(&packet).unwrap();
    }

    /// How long each message took after the first ones, from the shortest to the longest.
    fn times(self) -> Vec<Duration> {
        let heard = || self.heard.recv_timeout(LOST).expect("no message is lost");
        let mut times: Vec<_> = self.said.iter().map(|said| heard() - *said).skip(WARM).collect();
        times.sort();
        times
    }
}

struct Mosquitto {
    process: Child,
    address: SocketAddr,
}

impl Mosquitto {
    fn start() -> Mosquitto {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut process = Command::new(MOSQUITTO)
            .args(["-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is installed");
        while TcpStream::connect(address).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "mosquitto runs");
            thread::sleep(Duration::from_millis(20));
        }
        Mosquitto { process, address }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
