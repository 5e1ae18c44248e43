//! Promises that no single surface makes: what is in the file, what comes before what, and how it ends.

use std::{path::Path, time::Duration};

use crosslink::{
    broker::front::codec::{
        Code, Packet, Publish,
        QoS::{AtLeastOnce, AtMostOnce},
    },
    config::Durability,
    model::{
        Action, CommandRecord, CommandState, Event, Part, Rejection, RejectionReason, Seq, Surface, Target,
        Timestamp,
    },
    store::{self, RejectionFilter},
};
use reqwest::Method;
use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait, TryGetable,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    durability::Process,
    harness::{Client, House, Newcomer, client::ack, reading},
};

/// Another program that looks into the database.
async fn opened(database: &Path) -> DatabaseConnection {
    Database::connect(format!("sqlite://{}", database.display())).await.unwrap()
}

async fn one<T: TryGetable>(db: &impl ConnectionTrait, sql: &str) -> T {
    let row = db.query_one_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// Holds up the journal: nothing is committed until it is dropped.
pub async fn slow_disk(house: &House) -> DatabaseTransaction {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    opened(&house.database()).await.begin_with_options(options).await.unwrap()
}

/// The rejections that a stopped gateway left, oldest first.
pub async fn rejections(folder: &TempDir) -> Vec<Rejection> {
    let database = folder.path().join("crosslink.db");
    let (store, journal) = store::open(&database, Durability::Normal).await.unwrap();
    let mut rejections =
        store.rejections(&RejectionFilter::default(), Part::of(None, 1_000)).await.unwrap().items;
    journal.close().await.unwrap();
    rejections.reverse();
    rejections
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_understood_is_kept_byte_for_byte() {
    let house = House::start().await;
    let mut device = house.client("odd").connect_v4().await;
    let large = vec![b' '; 300 * 1024];
    let said: [(&str, &[u8], _, _, _, _); 6] = [
        ("sensors/esp32", b"\xff\x00{", AtLeastOnce, false, RejectionReason::NotUtf8, ""),
        ("/presence/esp32/status", b" perhaps\n", AtMostOnce, true, RejectionReason::TypeMismatch, ""),
        ("sensors/a/b", b"", AtLeastOnce, false, RejectionReason::UnknownTopic, ""),
        ("commands/esp32/play", b"true", AtLeastOnce, true, RejectionReason::RetainedCommand, ""),
        ("sensors/esp32", &large, AtMostOnce, false, RejectionReason::TooLarge, ""),
        (
            "sensors/esp32",
            br#"{"temperature": 1, "humidity": "4", "threshold": 2}"#,
            AtLeastOnce,
            true,
            RejectionReason::TypeMismatch,
            "/humidity",
        ),
    ];
    for (topic, payload, qos, retain, _, _) in said {
        device.publish(topic, payload, qos, retain).await;
    }

    let kept = rejections(&house.stop().await).await;

    assert_eq!(kept.len(), said.len());
    for (kept, (topic, payload, qos, retain, reason, pointer)) in kept.iter().zip(said) {
        assert_eq!((&*kept.topic, kept.qos, kept.retain), (topic, qos.as_u8(), retain));
        assert_eq!((kept.reason, &*kept.pointer, &*kept.client_id), (reason, pointer, "odd"), "{topic}");
        assert!(kept.payload == payload, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_twenty_samples_only_a_counter_grows() {
    let house = House::start().await;
    let mut device = house.somebody("odd").await;
    for _ in 0..30 {
        device.say("sensors/esp32", "nonsense").await;
    }
    device.say("sensors/pump", "nonsense").await;
    let folder = house.stop().await;

    let db = opened(&folder.path().join("crosslink.db")).await;
    let kept: i64 = one(&db, "SELECT count(*) FROM rejections WHERE topic = 'sensors/esp32'").await;
    let counted: i64 = one(&db, "SELECT count FROM rejection_counts WHERE topic = 'sensors/esp32'").await;
    let others: i64 = one(&db, "SELECT count(*) FROM rejections WHERE topic = 'sensors/pump'").await;
    assert_eq!((kept, counted, others), (20, 30, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_happens_has_its_place_without_holes() {
    let mut house = House::start().await;
    for _ in 0..2 {
        let mut device = house.client("esp32").with_presence_of("esp32").connect_v4().await;
        device.keep("presence/esp32/status", "online").await;
        for n in 0..25 {
            device.say("sensors/esp32", reading(f64::from(n))).await;
            device.say("sensors/esp32", "nonsense").await;
            device.say("commands/raspberry/play", "true").await;
        }
        house.post("/api/v1/devices/esp32/commands", json!({ "action": "play" })).await;
        device.abort();
        house.presence("esp32", "OFFLINE", "SOCKET_ERROR").await;
        house = house.restart().await;
    }
    let folder = house.stop().await;

    let db = opened(&folder.path().join("crosslink.db")).await;
    assert!(one::<bool>(&db, "SELECT min(seq) = 1 AND max(seq) = count(*) FROM journal").await);
    assert_eq!(one::<i64>(&db, "SELECT count(DISTINCT kind) FROM journal").await, 5);
    let mark: i32 = one(&db, "PRAGMA application_id").await;
    assert_eq!(mark.to_be_bytes(), *b"XLNK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_in_the_log_before_the_device_hears_it() {
    let house = House::start().await;
    let db = opened(&house.database()).await;
    let mut device = house.somebody("esp32").await;
    device.subscribe("commands/esp32/play", AtLeastOnce).await;
    for n in 1..=30 {
        let path = if n % 2 == 0 { "/play/esp32" } else { "/stop/esp32" };
        let asked = tokio::spawn(house.request(Method::POST, path).send());
        device.hears().await;
        assert_eq!(one::<i64>(&db, "SELECT count(*) FROM commands").await, n);
        assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_journal_is_stuck_a_command_reaches_nobody() {
    let house = House::start().await;
    let mut device = house.somebody("esp32").await;
    device.subscribe("commands/esp32/play", AtLeastOnce).await;
    let stuck = slow_disk(&house).await;

    let (status, body) = house.json(house.request(Method::POST, "/play/esp32")).await;

    assert_eq!((status.as_u16(), body), (500, json!("Failed to send command to esp32")));
    stuck.rollback().await.unwrap();
    device.hears_nothing().await;
    // It is not sent later either: nobody wants it any more.
    device.say("sensors/esp32", reading(20.0)).await;
    device.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_slow_only_the_acknowledgement_waits() {
    let house = House::start().await;
    let mut listener = house.somebody("listener").await;
    listener.subscribe("sensors/+", AtMostOnce).await;
    let mut device = house.somebody("esp32").await;
    device.say("sensors/esp32", reading(1.0)).await;
    listener.hears().await;
    let slow = slow_disk(&house).await;

    let message = device.message("sensors/esp32", reading(2.0), AtLeastOnce, false);
    device.send(&Packet::Publish(message.clone())).await;
    // Other clients hear it at once, and the connection lives.
    assert_eq!(listener.next_publish().await.payload, reading(2.0));
    device.send(&Packet::PingReq).await;
    assert_eq!(device.next().await, Some(Packet::PingResp));
    device.hears_nothing().await;
    assert_eq!(house.device("esp32").await["latest"]["temperature"], 1.0);

    slow.rollback().await.unwrap();
    assert_eq!(device.puback(message.packet_id).await, Code::SUCCESS);
    assert_eq!(house.device("esp32").await["latest"]["temperature"], 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_thousand_messages_on_the_way_to_a_slow_disk_is_read_no_further() {
    const ON_THE_WAY: u16 = 1_000;
    let house = House::start().await;
    let mut device = house.client("esp32").keep_alive(1).connect_v4().await;
    device.say("sensors/esp32", reading(0.0)).await;
    let slow = slow_disk(&house).await;
    let message = device.message("sensors/esp32", reading(1.0), AtLeastOnce, false);
    let publish = async |device: &mut Client, id| {
        device.send(&Packet::Publish(Publish { packet_id: id, ..message.clone() })).await;
    };

    for id in 1..ON_THE_WAY {
        publish(&mut device, id).await;
    }
    device.ping().await;
    publish(&mut device, ON_THE_WAY).await;
    device.send(&Packet::PingReq).await;
    device.hears_nothing().await;
    // Longer than its keepalive, which stands still meanwhile.
    sleep(Duration::from_secs(2)).await;
    slow.rollback().await.unwrap();

    let mut answers = Vec::new();
    for _ in 0..=ON_THE_WAY {
        answers.push(device.next().await.expect("the connection is alive"));
    }
    // It is read on as soon as there is room for one more.
    answers.retain(|packet| *packet != Packet::PingResp);
    assert_eq!(answers, (1..=ON_THE_WAY).map(|id| Packet::PubAck(ack(id))).collect::<Vec<_>>());
    house.presence("esp32", "ONLINE", "READING").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_much_in_a_long_life_is_heard_to_the_end() {
    let house = House::start().await;
    let mut device = house.somebody("esp32").await;
    // More than may be on the way to the disk at one moment.
    let nonsense = vec![b'x'; 250_000];
    for _ in 0..300 {
        device.say("sensors/esp32", &nonsense).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_there_for_who_asks() {
    let house = House::start().await;
    let mut device = house.somebody("esp32").await;
    for n in 0..50 {
        device.say("sensors/esp32", reading(f64::from(n))).await;
        assert_eq!(house.device("esp32").await["latest"]["temperature"], f64::from(n));
        let page = house.get("/api/v1/devices/esp32/readings?limit=1").await;
        assert_eq!(page["items"][0]["temperature"], f64::from(n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_other_clients_are_in_the_log_with_who_and_what() {
    let house = House::start().await;
    house.somebody("script").await.say("esp32/play", " ON ").await;
    let folder = house.stop().await;

    let db = opened(&folder.path().join("crosslink.db")).await;
    let row =
        "SELECT client_id || '|' || topic || '|' || CAST(payload AS TEXT) || '|' || action FROM commands";
    assert_eq!(one::<String>(&db, row).await, "script|esp32/play| ON |1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_the_same_after_a_restart() {
    let house = House::start().await;
    let ask = |house: &House| {
        let path = "/api/v1/devices/esp32/commands";
        house.request(Method::POST, path).header("idempotency-key", "k").json(&json!({ "action": "play" }))
    };
    let (status, first) = house.json(ask(&house)).await;
    assert_eq!(status, 200, "{first}");

    let house = house.restart().await;

    let mut device = house.somebody("esp32").await;
    device.subscribe("commands/esp32/play", AtLeastOnce).await;
    let (_, again) = house.json(ask(&house)).await;
    assert_eq!(again["id"], first["id"]);
    device.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_live_in_one_process() {
    let (one, other) = (House::start().await, House::start().await);
    let mut listener = other.somebody("listener").await;
    listener.subscribe("#", AtLeastOnce).await;
    one.somebody("esp32").await.say("sensors/esp32", reading(20.0)).await;

    listener.hears_nothing().await;
    assert_eq!(one.device("esp32").await["latest"]["temperature"], 20.0);
    assert_eq!(other.device("esp32").await["latest"], json!(null));
    one.stop().await;
    other.somebody("esp32").await.say("sensors/esp32", reading(21.0)).await;
    assert_eq!(listener.hears().await.0, "sensors/esp32");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_a_killed_gateway_left_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("crosslink.db");
    let (store, mut journal) = store::open(&database, Durability::Normal).await.unwrap();
    for state in [CommandState::Accepted, CommandState::Published] {
        let at = Timestamp::now();
        let record = CommandRecord {
            id: Seq::ZERO,
            seq: Seq::ZERO,
            accepted_at: at,
            at,
            target: Target::Device { device: "esp32".to_owned(), action: Action::Play },
            topic: "commands/esp32/play".to_owned(),
            payload: "true".to_owned(),
            state,
            delivery: None,
            surface: Surface::Rest,
            client_id: None,
            address: None,
            idempotency_key: None,
            qos: 1,
            timeout_ms: None,
            answer: None,
            mismatches: Vec::new(),
            reason: None,
            ambiguous: false,
        };
        let draft = store::Draft { event: Some(Event::Command(record)), ..store::Draft::default() };
        journal.append(&mut [draft]).await.unwrap();
    }
    journal.close().await.unwrap();
    drop(store);

    let house = House::with(|config| config.database = database).await;

    assert_eq!(house.get("/api/v1/commands/1").await["state"], "EXPIRED");
    assert_eq!(house.get("/api/v1/commands/2").await["state"], "UNCONFIRMABLE");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    // No plug is pulled here, and the disk is shared.
    let gateway = Process::start(folder.path(), &["env", "CROSSLINK_DURABILITY=normal"]);
    let mut device = Newcomer::new(gateway.mqtt, "old").connect_v4().await;
    for topic in ["sensors/rasperry", "sensors/raspberry", "sensors/rasperry"] {
        device.say(topic, reading(20.0)).await;
    }
    device.say("/presence/esp32/status", "online").await;
    device.say("esp32/play", "true").await;

    let (_, metrics) = gateway.get("/metrics");
    gateway.kill();
    assert!(metrics.lines().any(|line| line == "crosslink_aliases_total 4"), "{metrics}");
}
