//! How long a command takes from its POST to the device's own answer, and how long the same two messages take when a plain
//! MQTT client publishes them one after the other, each until its acknowledgement, in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on has failed, and it prints"
)]

mod mqtt;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crosslink::{
    config::{Config, Listen},
    gateway::Gateway,
};

/// Of each, in turn: whatever else the machine does is shared by both.
const ROUNDS: usize = 2_000;
/// For getting warm.
const WARM: usize = 200;

const SENT: &[u8] =
    br#"{"kp":1.5,"ki":0.1,"kd":0.0,"setpoint":50.0,"pause_output":false,"pause_target_input":false}"#;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let any = Listen::At("127.0.0.1:0".parse().unwrap());
    let database = folder.path().join("commands.db");
    let config = Config { http: any, mqtt: any, mqtt_ws: Listen::Off, database, ..Config::default() };
    let gateway = runtime.block_on(Gateway::start(config)).unwrap();
    let (mqtt, http) = (gateway.mqtt_addr().unwrap(), gateway.http_addr().unwrap());

    let mut http = Http::connect(http);
    for firmware in ["bench", "plain"] {
        let (status, body) =
            http.ask("PUT", &format!("/api/v1/services/{firmware}/pid"), br#"{"kind":"pid"}"#);
        assert!(status < 300, "{status} {body}");
    }
    let device = mqtt::connect(mqtt, "bench");
    thread::spawn(move || answer(device));
    let mut plain = mqtt::connect(mqtt, "plain");

    let (mut commands, mut publishes) = (Vec::new(), Vec::new());
    for round in 0..WARM + ROUNDS {
        let begun = Instant::now();
        let (status, body) = http.ask("POST", "/api/v1/services/bench/pid/commands/config", SENT);
        let command = begun.elapsed();
        assert!(status == 200 && body.contains("CONFIRMED"), "{status} {body}");

        let begun = Instant::now();
        for topic in ["plain/pid/config", "plain/pid/response"] {
            plain.write_all(&mqtt::publish(1, topic, SENT)).unwrap();
            mqtt::next(&mut plain).unwrap();
        }
        if round >= WARM {
            publishes.push(begun.elapsed());
            commands.push(command);
        }
    }
    let of = |times: &mut Vec<Duration>| {
        times.sort();
        [times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1]]
    };
    let (commands, publishes) = (of(&mut commands), of(&mut publishes));
    for (what, at) in [("p50", 0), ("p99", 1), ("max", 2)] {
        let ratio = commands[at].as_secs_f64() / publishes[at].as_secs_f64();
        println!("{what}: confirmed {:?}, two publishes {:?}, ratio {ratio:.2}", commands[at], publishes[at]);
    }
    runtime.block_on(gateway.stop());
}

/// A device that does as it is told, at once.
fn answer(mut device: TcpStream) {
    mqtt::subscribe(&mut device, "bench/pid/config");
    while let Some((kind, rest)) = mqtt::next(&mut device) {
        if kind & 0xf0 != 0x30 {
            continue;
        }
        let topic = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let (packet_id, payload) = (&rest[2 + topic..4 + topic], &rest[4 + topic..]);
        let acknowledgement = [0x40, 2, packet_id[0], packet_id[1]];
        let said = [&acknowledgement[..], &mqtt::publish(1, "bench/pid/response", payload)].concat();
        device.write_all(&said).unwrap();
    }
}

/// One connection that is kept.
struct Http(TcpStream);

impl Http {
    fn connect(address: SocketAddr) -> Http {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        Http(socket)
    }

    /// The status of the answer, and its body.
    fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.0.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = self.0.read(&mut buffer).unwrap();
            assert!(read > 0, "the gateway has closed the connection");
            answer.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            if rest.len() >= length.unwrap() {
                return (head[9..12].parse().unwrap(), rest.to_owned());
            }
        }
    }
}
