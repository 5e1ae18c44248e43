//! The gateway dies in the middle of commands: none is delivered twice, none is left without an end.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use serde_json::Value;

use crate::durability::Process;

/// How many kills the suite sees; the gate sees more.
const KILLS: u64 = 3;
const KILLS_IN_THE_GATE: u64 = 50;
/// Services of the one device, and as many people who command them.
const SERVICES: u64 = 4;

/// A device with a persistent session. It keeps what it is told, acknowledges every second message and answers two of
/// three: so a kill finds commands in every state.
fn device(mqtt: SocketAddr, told: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut socket = TcpStream::connect(mqtt)?;
    socket.set_nodelay(true)?;
    // No clean session.
    socket.write_all(&[0x10, 15, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0, 3, b'd', b'e', b'v'])?;
    socket.read_exact(&mut [0; 4])?;
    let filter = b"dev/+/config";
    socket.write_all(
        &[&[0x82, 5 + filter.len() as u8, 0, 1, 0, filter.len() as u8], &filter[..], &[1]].concat(),
    )?;
    loop {
        let mut head = [0; 2];
        socket.read_exact(&mut head)?;
        let mut length = usize::from(head[1] & 0x7f);
        if head[1] & 0x80 != 0 {
            let mut more = [0];
            socket.read_exact(&mut more)?;
            length |= usize::from(more[0]) << 7;
        }
        let mut rest = vec![0; length];
        socket.read_exact(&mut rest)?;
        if head[0] & 0xf0 != 0x30 {
            continue;
        }
        let topic = usize::from(rest[1]);
        let name = String::from_utf8_lossy(&rest[2..2 + topic]).replace("/config", "/response");
        let (packet_id, payload) = (&rest[2 + topic..4 + topic], &rest[4 + topic..]);
        let count = {
            let mut told = told.lock().unwrap();
            told.push(String::from_utf8_lossy(payload).into_owned());
            told.len()
        };
        if count % 2 == 0 {
            socket.write_all(&[0x40, 2, packet_id[0], packet_id[1]])?;
        }
        if count % 3 != 0 {
            let length = 2 + name.len() + payload.len();
            let mut packet =
                vec![0x30, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8, 0, name.len() as u8];
            packet.extend_from_slice(name.as_bytes());
            packet.extend_from_slice(payload);
            socket.write_all(&packet)?;
        }
    }
}

/// Asks with a body; gives the status and the body of the answer.
fn ask(http: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    let mut socket = TcpStream::connect(http)?;
    let length = body.len();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Commands one service again and again, each time something else, until the gateway dies.
fn command_until_death(http: SocketAddr, service: u64, sent: &AtomicU64) {
    let path = format!("/api/v1/services/dev/pid{service}/commands/config?timeout_ms=100");
    loop {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"kp":1.5,"ki":0.1,"kd":0.0,"setpoint":{number},"pause_output":false,"pause_target_input":false}}"#
        );
        match ask(http, "POST", &path, &body) {
            Ok((200 | 504, _)) => {}
            Ok((status, body)) => panic!("{status} {body}"),
            Err(_) => return,
        }
    }
}

/// All commands in their newest states.
fn log(gateway: &Process) -> Vec<Value> {
    let mut found = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let (status, body) = gateway.get(&format!("/api/v1/commands?after={after}&limit=1000"));
        assert_eq!(status, 200, "{body}");
        let page: Value = serde_json::from_str(&body).expect("JSON");
        found.extend(page["items"].as_array().expect("items").iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return found,
        }
    }
}

fn killed_in_the_middle_of_commands(kills: u64) {
    let directory = tempfile::tempdir().unwrap();
    let (told, sent) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    for round in 0..kills {
        let gateway = Process::start(directory.path(), &[]);
        while gateway.get("/readyz").0 != 200 {
            thread::yield_now();
        }
        for service in 0..SERVICES {
            let path = format!("/api/v1/services/dev/pid{service}");
            let (status, body) = ask(gateway.http, "PUT", &path, r#"{"kind":"pid"}"#).expect("an answer");
            assert!(status < 300, "{status} {body}");
        }
        let hears = thread::spawn({
            let (mqtt, told) = (gateway.mqtt, told.clone());
            move || device(mqtt, &told)
        });
        let people: Vec<_> = (0..SERVICES)
            .map(|service| {
                let (http, sent) = (gateway.http, sent.clone());
                thread::spawn(move || command_until_death(http, service, &sent))
            })
            .collect();
        // Somewhere in the middle of a command, differently each time.
        let begun = sent.load(Ordering::Relaxed);
        while sent.load(Ordering::Relaxed) < begun + 30 + 7 * (round % 5) {
            thread::yield_now();
        }
        gateway.kill();
        let _ = hears.join().expect("a device");
        people.into_iter().for_each(|person| person.join().expect("a person"));
    }
    // Once more, for what a persistent session would be given.
    let gateway = Process::start(directory.path(), &[]);
    let late = thread::spawn({
        let (mqtt, told) = (gateway.mqtt, told.clone());
        move || device(mqtt, &told)
    });
    let commands = log(&gateway);
    let mut states = BTreeMap::<String, usize>::new();
    for command in &commands {
        let state = command["state"].as_str().expect("a state").to_owned();
        assert!(!matches!(state.as_str(), "ACCEPTED" | "PUBLISHED"), "{command}");
        assert_eq!(command["reason"].is_null(), state != "EXPIRED", "{command}");
        *states.entry(state).or_default() += 1;
    }
    for state in ["CONFIRMED", "TIMED_OUT", "EXPIRED"] {
        assert!(states.contains_key(state), "no kill found a command {state}: {states:?}");
    }
    // A reading after the restart is committed behind all that could be told the device before it.
    let (status, _) =
        ask(gateway.http, "PUT", "/api/v1/services/dev/last", r#"{"kind":"pid"}"#).expect("an answer");
    assert!(status < 300);
    gateway.kill();
    let _ = late.join().expect("a device");
    let told = told.lock().unwrap();
    let logged: HashSet<&str> = commands.iter().filter_map(|command| command["payload"].as_str()).collect();
    let mut once = HashSet::new();
    for payload in told.iter() {
        assert!(once.insert(payload), "delivered twice: {payload}");
        assert!(logged.contains(payload.as_str()), "delivered, and not in the log: {payload}");
    }
    assert!(once.len() > logged.len() / 2, "{} of {} were delivered", once.len(), logged.len());
}

#[test]
fn a_command_survives_kill_9_with_an_end_and_is_delivered_once() {
    killed_in_the_middle_of_commands(KILLS);
}

#[test]
#[ignore = "long: part of the gate"]
fn a_command_survives_kill_9_many_times() {
    killed_in_the_middle_of_commands(KILLS_IN_THE_GATE);
}
