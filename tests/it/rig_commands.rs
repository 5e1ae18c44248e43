//! What becomes of every command of every kind, when a simulated rig obeys and when it is in trouble.

use std::{collections::BTreeMap, time::Duration};

use crosslink::{
    catalog::{Answer, KINDS, Kind},
    simulator::{
        Voice,
        rig::{self, Fault, Options, Pace},
    },
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{House, until};

/// Long enough for a rig that answers at once, on a machine that is busy.
const PATIENT_MS: u32 = 8_000;
/// Long enough for what would come at once, and sooner over than a slow rig.
const HASTY_MS: u32 = 1_200;

/// Everything without delay. A rig that drops its connection does so later than any command ends.
const PACE: Pace = Pace {
    says_every: Duration::from_millis(100),
    picture_every: Duration::from_secs(5),
    happens_every: Duration::from_secs(60),
    slow_for: Duration::from_secs(3),
    drops_every: Duration::from_secs(20),
    garbage_every: 5,
};

/// What is sent: the document's example, but for what would change nothing.
fn payload(kind: &Kind) -> &'static str {
    match kind.name {
        // The rail is on.
        "pds" => r#"{"rail":"Vcc2I","over_current_limit":10,"over_voltage_limit":26,"enable":false}"#,
        // These stand at their examples.
        "bang_bang" => {
            r#"{"upper_threshold":48.5,"lower_threshold":40.0,"update_frequency":1000,"pause_output":false,"pause_target_input":false}"#
        }
        "flowmeter" => r#"{"slope":1.25,"offset":0.0,"measurement_interval":1000}"#,
        "stepper" => {
            r#"{"target_accel":0.1,"max_velocity":0.25,"num_steps":2000,"direction":true,"enable":true}"#
        }
        _ => kind.commands().next().unwrap().examples[0],
    }
}

/// The state that the rule of a kind and the fault of the rig make of a command.
fn expected(kind: &Kind, fault: Option<Fault>) -> &'static str {
    let command = kind.commands().next().unwrap();
    match (command.answer, fault) {
        (Answer::None, _) => "UNCONFIRMABLE",
        (_, None | Some(Fault::Garbage | Fault::Drop)) => "CONFIRMED",
        // Nothing comes in time.
        (_, Some(Fault::Silent | Fault::SlowAck)) => "TIMED_OUT",
        (_, Some(Fault::Clamp)) => match kind.name {
            // Half of its numbers, which stand for words, is none of them.
            "qmc5883l" => "REFUSED",
            // Booleans, words, and what says nothing of a number cannot be clamped.
            "actuator" | "stateful_actuator" | "digital_out" | "math" | "mpu6050" | "bme280" | "pds" => {
                "CONFIRMED"
            }
            _ => "MISMATCH",
        },
        (_, Some(Fault::Refuse)) => match kind.name {
            // An answer that has no place for a reason says what stands.
            "pid" | "stepper" | "bang_bang" | "flowmeter" | "digital_out" | "math" => "MISMATCH",
            // In words, which cannot be compared.
            "mpu6050" => "CONFIRMED",
            // A measurement would say that it has obeyed, and telemetry shows that it has not.
            "bme280" | "pds" => "TIMED_OUT",
            _ => "REFUSED",
        },
    }
}

/// The document's kinds, behind which others may stand.
const DOCUMENTED: usize = 22;

/// Those of them that take commands.
fn commanded() -> impl Iterator<Item = &'static Kind> {
    KINDS[..DOCUMENTED].iter().filter(|kind| kind.commands().next().is_some())
}

/// A gateway that knows the kind of each service of a rig, which is online.
async fn house_with_rig(fault: Option<Fault>) -> (House, CancellationToken) {
    let house = House::start().await;
    for kind in commanded() {
        let path = format!("/api/v1/services/rig1/{}", kind.name);
        let (status, body) =
            house.json(house.request(Method::PUT, &path).json(&json!({ "kind": kind.name }))).await;
        assert!(status.is_success(), "{path}: {status} {body}");
    }
    let stop = CancellationToken::new();
    let mqtt = (house.mqtt_addr().ip().to_string(), house.mqtt_addr().port());
    let firmwares = vec!["rig1".to_owned()];
    let options = Options { mqtt, firmwares, fault, pace: PACE, voice: Voice::Log };
    tokio::spawn(rig::run(options, stop.clone()));
    let all = commanded().count();
    until("the rig listens", async || {
        let clients = house.get("/api/v1/clients").await;
        let items = clients["items"].as_array().unwrap();
        let rig = items.iter().find(|client| client["client_id"] == "rig1");
        let subscribed = rig.and_then(|rig| rig["subscriptions"].as_array()).map_or(0, Vec::len);
        if subscribed >= all { Ok(()) } else { Err(clients) }
    })
    .await;
    (house, stop)
}

/// Sends the command of a kind by REST, and gives its record when it has come to an end.
async fn by_rest(house: &House, kind: &Kind, timeout_ms: u32) -> Value {
    let suffix = kind.commands().next().unwrap().suffix;
    let path = format!("/api/v1/services/rig1/{}/commands{suffix}?timeout_ms={timeout_ms}", kind.name);
    let request = house.request(Method::POST, &path).timeout(Duration::from_secs(30));
    let request = request.header("content-type", "application/json").body(payload(kind));
    match house.json(request).await {
        (StatusCode::OK, record) => record,
        (StatusCode::GATEWAY_TIMEOUT, problem) => {
            assert_eq!(problem["code"], "CONFIRMATION_TIMEOUT", "{problem}");
            problem["command"].clone()
        }
        (status, body) => panic!("{path}: {status} {body}"),
    }
}

/// The same by GraphQL.
async fn by_graphql(house: &House, kind: &Kind, timeout_ms: u32) -> Value {
    const SEND: &str = "mutation ($service: String!, $command: CommandInput!, $timeoutMs: Int!) {
        sendCommand(firmware: \"rig1\", service: $service, command: $command, timeoutMs: $timeoutMs) {
            id state reason ambiguous mismatches { pointer } answer { payload late } } }";
    let command = json!({ camel(kind.name): input(kind, &serde_json::from_str(payload(kind)).unwrap()) });
    let variables = json!({ "service": kind.name, "command": command, "timeoutMs": timeout_ms });
    let request = house.request(Method::POST, "/graphql").timeout(Duration::from_secs(30));
    let (_, answer) = house.json(request.json(&json!({ "query": SEND, "variables": variables }))).await;
    match &answer["errors"][0]["extensions"] {
        Value::Null => answer["data"]["sendCommand"].clone(),
        extensions => {
            assert_eq!(extensions["code"], "CONFIRMATION_TIMEOUT", "{}: {answer}", kind.name);
            extensions["record"].clone()
        }
    }
}

/// A payload as GraphQL takes it: in its own names.
fn input(kind: &Kind, payload: &Value) -> Value {
    let name = |wire: &str| match (kind.name, wire) {
        ("command", "data") => "dataJson".to_owned(),
        ("digital_out", "command") => "commandBool".to_owned(),
        ("mpu6050", "accel" | "gyro") => format!("{wire}Count"),
        _ => camel(wire),
    };
    match payload {
        Value::Object(fields) if kind.name != "command" || fields.contains_key("data") => {
            fields.iter().map(|(wire, value)| (name(wire), input(kind, value))).collect()
        }
        Value::Array(_) if kind.name == "analog_in" => json!({ "coefficients": payload }),
        other => other.clone(),
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default();
    let first = first[..1].to_lowercase() + &first[1..];
    words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..])
}

#[derive(Clone, Copy, Debug)]
enum By {
    Rest,
    GraphQl,
}

/// Sends the commands of all kinds at once, by each surface to a rig of its own, and compares what became of them. The
/// house with what came by REST goes on.
async fn all_end_as_expected(fault: Option<Fault>, timeout_ms: u32) -> (House, CancellationToken) {
    let (house, stop) = end_as_expected(fault, timeout_ms, By::GraphQl).await;
    stop.cancel();
    house.stop().await;
    end_as_expected(fault, timeout_ms, By::Rest).await
}

async fn end_as_expected(fault: Option<Fault>, timeout_ms: u32, by: By) -> (House, CancellationToken) {
    let (house, stop) = house_with_rig(fault).await;
    let sent: FuturesUnordered<_> = commanded()
        .map(|kind| {
            let house = &house;
            async move {
                let record = match by {
                    By::Rest => by_rest(house, kind, timeout_ms).await,
                    By::GraphQl => by_graphql(house, kind, timeout_ms).await,
                };
                (kind.name, record)
            }
        })
        .collect();
    let records: BTreeMap<&str, Value> = sent.collect().await;
    let states: BTreeMap<&str, &str> =
        records.iter().map(|(kind, record)| (*kind, record["state"].as_str().unwrap())).collect();
    let wanted: BTreeMap<&str, &str> = commanded().map(|kind| (kind.name, expected(kind, fault))).collect();
    assert_eq!(states, wanted, "{by:?} {records:#?}");
    for (kind, record) in &records {
        let (answer, mismatches) = (&record["answer"], record["mismatches"].as_array().unwrap());
        let state = states[kind];
        assert_eq!(answer.is_null(), matches!(state, "UNCONFIRMABLE" | "TIMED_OUT"), "{record}");
        assert_eq!(mismatches.is_empty(), state != "MISMATCH", "{record}");
        assert_eq!(record["reason"].is_null(), state != "REFUSED", "{record}");
        assert_eq!(record["ambiguous"], false, "{record}");
        // Whoever asks later is told the same.
        let path = format!(
            "/api/v1/commands/{}",
            record["id"].as_str().map_or_else(|| record["id"].to_string(), str::to_owned)
        );
        let kept = house.get(&path).await;
        assert_eq!(kept["state"], record["state"], "{kept}");
        assert_eq!(kept["answer"]["payload"], answer["payload"], "{kept}");
    }
    (house, stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_willing_rig_confirms_every_command_that_can_be() {
    all_end_as_expected(None, PATIENT_MS).await.1.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_between_measurements_confuses_no_command() {
    all_end_as_expected(Some(Fault::Garbage), PATIENT_MS).await.1.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rig_that_will_drop_its_connection_confirms_before() {
    all_end_as_expected(Some(Fault::Drop), PATIENT_MS).await.1.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_rig_confirms_nothing() {
    all_end_as_expected(Some(Fault::Silent), HASTY_MS).await.1.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clamping_rig_reports_what_it_took_instead() {
    all_end_as_expected(Some(Fault::Clamp), PATIENT_MS).await.1.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusing_rig_obeys_nothing() {
    all_end_as_expected(Some(Fault::Refuse), HASTY_MS).await.1.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_of_a_slow_rig_are_attached_late() {
    let (house, stop) = all_end_as_expected(Some(Fault::SlowAck), HASTY_MS).await;
    for kind in commanded().filter(|kind| expected(kind, Some(Fault::SlowAck)) == "TIMED_OUT") {
        until(&format!("the answer of {}", kind.name), async || {
            let page = house.get(&format!("/api/v1/commands?firmware=rig1&service={}", kind.name)).await;
            let record = &page["items"][0];
            let late = record["state"] == "TIMED_OUT" && record["answer"]["late"] == true;
            if late { Ok(()) } else { Err(record.clone()) }
        })
        .await;
    }
    stop.cancel();
}
