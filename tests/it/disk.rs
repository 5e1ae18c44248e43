//! A disk that is full or slow: devices go on talking to each other, nothing that was acknowledged is missing, and
//! the gateway recovers by itself.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crosslink::broker::front::codec::{Packet, QoS};
use reqwest::{Method, StatusCode};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    durability::{Process, Publisher, intact},
    harness::{self, House, reading},
};

/// Whatever a test waits for has happened by then, also on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(20);
/// No file may grow beyond it, until the limit is lifted.
const SMALL: &str = "trap '' 25; ulimit -S -f 1200; exec \"$0\" \"$@\"";

/// A gateway whose files cannot grow beyond some hundred KiB, as on a disk that is full.
fn cramped(directory: &Path) -> Process {
    Process::start(directory, &["sh", "-c", SMALL])
}

fn room(gateway: &Process, limit: &str) {
    let limit = format!("--fsize={limit}:");
    let done = Command::new("prlimit").args(["--pid", &gateway.id().to_string(), &limit]).status();
    assert!(done.expect("prlimit").success());
}

#[allow(clippy::disallowed_methods, reason = "these tests have no runtime to hold up")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn until(fact: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "not so in time: {fact}");
        pause(Duration::from_millis(20));
    }
}

fn readiness(gateway: &Process) -> (u16, Value) {
    let (status, body) = gateway.get("/readyz");
    (status, serde_json::from_str(&body).unwrap())
}

fn metric(gateway: &Process, name: &str) -> u64 {
    let (_, text) = gateway.get("/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Publishes readings until the disk takes no more; gives how many were sent, and how many acknowledged.
fn fill(gateway: &Process, publisher: &mut Publisher) -> (u64, u64) {
    publisher.socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (mut sent, mut acknowledged) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if sent - acknowledged < 900 {
            sent += 1;
            publisher.publish("filler", sent as u16, sent).unwrap();
        } else if readiness(gateway).0 == 503 {
            break;
        }
        while sent - acknowledged >= 100 {
            match publisher.acknowledged() {
                Ok(id) => {
                    acknowledged += 1;
                    assert_eq!(u64::from(id), acknowledged, "acknowledgements come in order");
                }
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(why) => panic!("the connection broke: {why}"),
            }
        }
    }
    (sent, acknowledged)
}

/// Somebody who listens to `sensors/peer`.
fn subscriber(gateway: &Process) -> TcpStream {
    let mut socket = Publisher::connect(gateway.mqtt, "subscriber").unwrap().socket;
    let filter = b"sensors/peer";
    let mut packet = vec![0x82, 5 + filter.len() as u8, 0, 1, 0, filter.len() as u8];
    packet.extend(filter);
    packet.push(0);
    socket.write_all(&packet).unwrap();
    let mut suback = [0; 5];
    socket.read_exact(&mut suback).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

#[test]
fn a_full_disk_stops_no_device_and_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = cramped(directory.path());
    let mut publisher = Publisher::connect(gateway.mqtt, "filler").unwrap();
    let (sent, mut acknowledged) = fill(&gateway, &mut publisher);

    let (status, report) = readiness(&gateway);
    assert_eq!(status, 503, "{report}");
    let reason = &report["reasons"][0];
    assert_eq!((&report["status"], &reason["code"]), (&"unready".into(), &"JOURNAL_FAILING".into()));
    assert!(reason["since"].is_string(), "{report}");
    assert!(sent > acknowledged, "what is not written is not acknowledged");

    // Devices go on talking to each other.
    let mut subscriber = subscriber(&gateway);
    let mut talker = Publisher::connect(gateway.mqtt, "peer").unwrap().socket;
    let packet = b"\x30\x10\x00\x0csensors/peerhi";
    talker.write_all(packet).unwrap();
    let mut heard = vec![0; packet.len()];
    subscriber.read_exact(&mut heard).unwrap();
    assert_eq!(heard, packet);
    until("what was not recorded is counted", || metric(&gateway, "crosslink_unrecorded_total") == 1);

    // Commands are refused, on both routes.
    let (status, body) = gateway.ask("POST", "/play/esp32");
    assert_eq!((status, body.as_str()), (500, "Failed to send command to esp32"));

    pause(Duration::from_secs(2));
    let complaints = gateway.log().iter().filter(|line| line.contains("cannot be written")).count();
    assert_eq!(complaints, 1, "{:#?}", gateway.log());

    room(&gateway, "unlimited");
    publisher.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    while acknowledged < sent {
        acknowledged += 1;
        assert_eq!(u64::from(publisher.acknowledged().unwrap()), acknowledged);
    }
    until("the gateway is ready again", || readiness(&gateway).0 == 200);
    assert_eq!(gateway.ask("POST", "/play/esp32").0, 200);
    assert_eq!(gateway.readings("filler").len() as u64, sent, "each once, and none is missing");
    assert!(gateway.stop() < Duration::from_secs(5));
    assert_eq!(intact(&directory.path().join("crosslink.db")), ("ok".to_owned(), true));
}

#[test]
fn a_gateway_stops_in_time_while_the_disk_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = cramped(directory.path());
    let mut publisher = Publisher::connect(gateway.mqtt, "filler").unwrap();
    let (_, acknowledged) = fill(&gateway, &mut publisher);
    assert_eq!(readiness(&gateway).0, 503);

    let took = gateway.stop();

    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(intact(&directory.path().join("crosslink.db")), ("ok".to_owned(), true));
    let gateway = Process::start(directory.path(), &[]);
    assert!(gateway.readings("filler").len() as u64 >= acknowledged);
    assert!(gateway.stop() < Duration::from_secs(5));
}

/// Keeps the gateway from writing, as a disk that hangs does, until it is rolled back.
pub async fn hold(house: &House) -> DatabaseConnection {
    let mut options = ConnectOptions::new(format!("sqlite://{}", house.database().display()));
    options.max_connections(1);
    let db = Database::connect(options).await.unwrap();
    db.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    db
}

pub async fn let_go(db: DatabaseConnection) {
    db.execute_unprepared("ROLLBACK").await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_silent_who_waits_for_the_disk() {
    let house = House::start().await;
    let mut device = house.client("esp32").with_presence_of("esp32").connect_v4().await;
    device.keep("presence/esp32/status", "online").await;
    house.presence("esp32", "ONLINE", "ANNOUNCED").await;

    let held = hold(&house).await;
    let begun = Instant::now();
    let (mut told, mut unready) = (Value::Null, Value::Null);
    while begun.elapsed() < Duration::from_secs(9) {
        let packet = device.message("sensors/esp32", reading(20.0), QoS::AtMostOnce, false);
        device.send(&Packet::Publish(packet)).await;
        sleep(Duration::from_millis(300)).await;
        let (_, report) = house.json(house.request(Method::GET, "/readyz")).await;
        match report["reasons"][0]["code"].as_str() {
            Some("JOURNAL_BEHIND") if told.is_null() => told = report,
            Some("JOURNAL_FAILING") => unready = report,
            _ => {}
        }
    }
    let_go(held).await;
    device.say("sensors/esp32", reading(20.0)).await;

    assert_eq!(house.history("esp32").await, [("ONLINE".to_owned(), "ANNOUNCED".to_owned())]);
    assert_eq!(told["status"], "degraded", "a disk that hangs is told while it does");
    assert_eq!(unready["status"], "unready");
    harness::until("the disk keeps up", async || {
        let report = house.get("/readyz").await;
        if report["status"] == "ready" { Ok(()) } else { Err(report) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_went_away_still_holds_its_idempotency_key() {
    let house = House::start().await;
    let held = hold(&house).await;
    let order = || {
        let request = house.request(Method::POST, "/api/v1/devices/esp32/commands");
        request.header("idempotency-key", "once").json(&json!({ "action": "play" }))
    };
    order().timeout(Duration::from_millis(500)).send().await.unwrap_err();
    let (status, problem) = house.json(order()).await;
    let_go(held).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &json!("IDEMPOTENCY_CONFLICT")),
        "{problem}"
    );

    let record = harness::until("the command is written", async || match house.json(order()).await {
        (StatusCode::CONFLICT, problem) => Err(problem),
        (_, record) => Ok(record),
    })
    .await;
    assert_eq!(house.json(order()).await.1["id"], record["id"], "it was sent once");
}
