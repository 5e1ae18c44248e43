//! What an MQTT client hears of a simulated rig, and what the rig makes of what it is told.

use std::{collections::BTreeSet, time::Duration};

use clap::ValueEnum;
use crosslink::{
    broker::front::codec::QoS::AtLeastOnce,
    catalog::{self, Answer, Class, KINDS, Kind, Match, Topic},
    error::Error,
    json::Fit,
    simulator::{
        Voice,
        rig::{self, Fault, Options, Pace},
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::harness::{Client, DEADLINE, House};

/// Everything without delay.
const HURRIED: Pace = Pace {
    says_every: Duration::from_millis(100),
    picture_every: Duration::from_millis(300),
    happens_every: Duration::from_millis(100),
    slow_for: Duration::from_secs(2),
    drops_every: Duration::from_millis(300),
    garbage_every: 5,
};

const PWM: &str = r#"{"enable":true,"duty":0.5,"frequency":800}"#;

/// A running rig. Dropped, it runs on.
struct Rig {
    task: JoinHandle<Result<(), Error>>,
    stop: CancellationToken,
}

impl Rig {
    fn start(mqtt: (String, u16), firmwares: &[&str], fault: Option<Fault>) -> Rig {
        let firmwares = firmwares.iter().map(|&name| name.to_owned()).collect();
        let stop = CancellationToken::new();
        let options = Options { mqtt, firmwares, fault, pace: HURRIED, voice: Voice::Log };
        Rig { task: tokio::spawn(rig::run(options, stop.clone())), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn mqtt(house: &House) -> (String, u16) {
    let address = house.mqtt_addr();
    (address.ip().to_string(), address.port())
}

/// A rig with a fault that is online, and a client that hears all of it.
async fn heard(house: &House, fault: Option<Fault>) -> (Rig, Client) {
    let mut client = house.somebody("listener").await;
    client.subscribe("rig1/#", AtLeastOnce).await;
    let rig = Rig::start(mqtt(house), &["rig1"], fault);
    // What it reports before it listens ends with its last service, and then it measures.
    hears(&mut client, "it measures", |topic, _| (topic == "rig1/thermocouple/temperature").then_some(()))
        .await;
    hears(&mut client, "it goes on", |topic, _| (topic == "rig1/thermocouple/temperature").then_some(()))
        .await;
    (rig, client)
}

/// Listens until something was heard.
async fn hears<T>(client: &mut Client, what: &str, mut wanted: impl FnMut(&str, &[u8]) -> Option<T>) -> T {
    let listen = async {
        loop {
            let publish = client.next_publish().await;
            assert!(!publish.retain, "{}", publish.topic);
            if let Some(found) = wanted(&publish.topic, &publish.payload) {
                return found;
            }
        }
    };
    timeout(DEADLINE, listen).await.unwrap_or_else(|_| panic!("not heard in time: {what}"))
}

/// The next message on this topic of the rig's.
async fn next_on(client: &mut Client, topic: &str) -> Value {
    let what = format!("something on {topic}");
    hears(client, &what, |heard, payload| {
        (heard == topic).then(|| serde_json::from_slice(payload).unwrap_or(Value::Null))
    })
    .await
}

fn resolved(topic: &str) -> Match {
    let (_, rest) = topic.split_once('/').unwrap();
    let (service, suffix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let found = catalog::find(service).and_then(|kind| kind.resolve(suffix));
    found.unwrap_or_else(|| panic!("the catalog has no {topic}"))
}

/// A row of the document, in which the channels of a power system have a row each.
fn row(kind: &Kind, topic: &Topic, index: Option<u16>) -> String {
    match &topic.index {
        Some(range) if range.len() <= 8 => format!("{}{}", kind.name, topic.suffix_at(index)),
        _ => format!("{}{}", kind.name, topic.suffix),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_rows_of_the_catalog_are_heard_and_each_command_is_answered_by_its_rule() {
    let house = House::start().await;
    let mut client = house.somebody("listener").await;
    client.subscribe("rig1/#", AtLeastOnce).await;
    let rig = Rig::start(mqtt(&house), &["rig1"], None);
    let (mut missing, mut commands) = (BTreeSet::new(), BTreeSet::new());
    for (kind, topic) in KINDS.iter().flat_map(|kind| kind.topics.iter().map(move |topic| (kind, topic))) {
        let numbers = topic.index.clone().unwrap_or_default();
        missing.extend(numbers.map(|number| row(kind, topic, Some(number))));
        if topic.index.is_none() {
            missing.insert(row(kind, topic, None));
        }
        if topic.class == Class::Command {
            commands.insert(row(kind, topic, None));
        }
    }
    assert!(missing.len() >= 61, "{} rows", missing.len());

    hears(&mut client, "all that is said", |topic, payload| {
        let Match { kind, topic: said, index } = resolved(topic);
        let text = String::from_utf8_lossy(payload);
        assert_eq!(said.check(payload), Ok(Fit::Exact), "{topic}: {text}");
        missing.remove(&row(kind, said, index));
        (missing == commands).then_some(())
    })
    .await;

    for kind in KINDS {
        for command in kind.commands() {
            let base = format!("rig1/{}", kind.name);
            client.say(&format!("{base}{}", command.suffix), command.examples[0]).await;
            let answered = match command.answer {
                Answer::None => command.suffix,
                Answer::Echo { on }
                | Answer::Mapped { on, .. }
                | Answer::Outcome { on, .. }
                | Answer::State { on, .. }
                | Answer::Reading { on } => on,
                Answer::Implied { .. } => "/vcc2i",
            };
            let said = next_on(&mut client, &format!("{base}{answered}")).await;
            let refused = said.get("error").is_some_and(|error| !error.is_null());
            assert!(!refused && said["success"] != json!(false), "{}: {said}", kind.name);
            assert!(missing.remove(&row(kind, command, None)));
        }
    }
    assert_eq!(missing, BTreeSet::new());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_firmware_is_a_client_of_its_own() {
    let house = House::start().await;
    let mut client = house.somebody("listener").await;
    client.subscribe("+/stepper/status", AtLeastOnce).await;
    let rig = Rig::start(mqtt(&house), &["cell", "press"], None);
    for firmware in ["cell", "press"] {
        next_on(&mut client, &format!("{firmware}/stepper/status")).await;
    }
    let clients = house.get("/api/v1/clients").await;
    let ids: BTreeSet<_> =
        clients["items"].as_array().unwrap().iter().filter_map(|one| one["client_id"].as_str()).collect();
    assert_eq!(ids, BTreeSet::from(["cell", "listener", "press"]), "{clients}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_firmwares_of_one_name_are_refused() {
    let options = Options {
        mqtt: ("127.0.0.1".to_owned(), 1),
        firmwares: vec!["rig1".to_owned(), "rig1".to_owned()],
        fault: None,
        pace: HURRIED,
        voice: Voice::Log,
    };
    let run = rig::run(options, CancellationToken::new());
    let refused = timeout(DEADLINE, run).await.expect("it does not even try").unwrap_err();
    assert_eq!(refused.code(), "INVALID");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_rig_measures_on_before_it_answers() {
    let house = House::start().await;
    let (rig, mut client) = heard(&house, Some(Fault::SlowAck)).await;
    client.say("rig1/pwm/config", PWM).await;
    let mut measured = 0;
    let answer = hears(&mut client, "the answer", |topic, payload| {
        measured += usize::from(topic == "rig1/thermocouple/temperature");
        (topic == "rig1/pwm/response").then(|| serde_json::from_slice::<Value>(payload).unwrap())
    })
    .await;
    assert!(measured >= 2, "{measured}");
    assert_eq!(answer["frequency"], 800);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_rig_measures_on_and_answers_nothing() {
    let house = House::start().await;
    let (rig, mut client) = heard(&house, Some(Fault::Silent)).await;
    client.say("rig1/pwm/config", PWM).await;
    client.say("rig1/actuator/command", r#"{"command":"OPEN"}"#).await;
    let mut measured = 0;
    hears(&mut client, "measurements", |topic, _| {
        let answers = ["rig1/pwm/response", "rig1/actuator/state", "rig1/actuator/fault"];
        assert!(!answers.contains(&topic), "{topic}");
        measured += usize::from(topic == "rig1/thermocouple/temperature");
        (measured >= 5).then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clamping_rig_answers_with_less_than_was_asked() {
    let house = House::start().await;
    let (rig, mut client) = heard(&house, Some(Fault::Clamp)).await;
    client.say("rig1/pwm/config", PWM).await;
    let answer = next_on(&mut client, "rig1/pwm/response").await;
    assert_eq!(answer, json!({ "enable": true, "duty": 0.25, "frequency": 400, "error": null }));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusing_rig_says_why() {
    let house = House::start().await;
    let (rig, mut client) = heard(&house, Some(Fault::Refuse)).await;
    client.say("rig1/pwm/config", PWM).await;
    let answer = next_on(&mut client, "rig1/pwm/response").await;
    assert_eq!((&answer["error"], &answer["duty"]), (&json!("interlock open: refused"), &json!(0.0)));
    client.say("rig1/actuator/command", r#"{"command":"OPEN"}"#).await;
    let fault = next_on(&mut client, "rig1/actuator/fault").await;
    let why = json!("interlock open: refused");
    assert_eq!((&fault["error"], &fault["attempted_command"]), (&why, &json!("OPEN")));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_comes_between_good_measurements() {
    let house = House::start().await;
    let (rig, mut client) = heard(&house, Some(Fault::Garbage)).await;
    let (mut broken, mut good) = (0, 0);
    hears(&mut client, "garbage", |topic, payload| {
        match resolved(topic).topic.check(payload) {
            Ok(fit) => good += usize::from(fit == Fit::Exact),
            Err(_) => broken += 1,
        }
        (broken >= 6).then_some(())
    })
    .await;
    assert!(good > broken, "{good} good, {broken} broken");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rig_that_drops_its_connection_comes_back_and_listens_again() {
    let house = House::start().await;
    let (rig, mut client) = heard(&house, Some(Fault::Drop)).await;
    // Nobody has told it anything: it says so only when it connects.
    next_on(&mut client, "rig1/pwm/response").await;
    for _ in 0..2 {
        next_on(&mut client, "rig1/thermocouple/temperature").await;
    }
    client.say("rig1/pwm/config", PWM).await;
    assert_eq!(next_on(&mut client, "rig1/pwm/response").await["frequency"], 800);
    rig.stop().await;
}

#[tokio::test]
async fn a_rig_connects_again_and_again() {
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::start(("127.0.0.1".to_owned(), broker.local_addr().unwrap().port()), &["rig1"], None);
    for _ in 0..2 {
        let (mut line, _) = timeout(DEADLINE, broker.accept()).await.expect("it connects").unwrap();
        line.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"rig1/stepper/config") {
            said.push(timeout(DEADLINE, line.read_u8()).await.expect("it subscribes").unwrap());
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_has_a_rig_beside_the_pair() {
    let house = House::with(|config| config.demo = true).await;
    let mut client = house.somebody("listener").await;
    client.subscribe("sensors/+", AtLeastOnce).await;
    client.subscribe("rig1/#", AtLeastOnce).await;
    let mut missing = BTreeSet::from(["sensors/esp32", "rig1/pid/output", "rig1/ir_cam/35"]);
    hears(&mut client, "the demo", |topic, _| {
        missing.remove(topic);
        missing.is_empty().then_some(())
    })
    .await;
    house.stop().await;
}

#[test]
fn the_readme_tells_of_every_fault_of_a_rig() {
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("| fault of a rig |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    for fault in Fault::value_variants() {
        let value = fault.to_possible_value().unwrap();
        assert!(table.contains(&format!("\n| `{}` |", value.get_name())), "{fault:?}");
    }
}
