//! Commands to services: what a device makes of them comes back.

use std::{collections::BTreeSet, time::Duration};

use crosslink::broker::QoS::{AtLeastOnce, AtMostOnce};
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::refused;
use crate::harness::{Client, DEADLINE, House, until};

/// What the fan is told, in nobody's usual spelling.
pub const ON: &str = r#"{ "frequency":800,"duty" : 0.1, "enable":true }"#;
pub const OFF: &str = r#"{"enable":false,"duty":0.1,"frequency":800}"#;
/// As the firmware says it: its numbers have 32 bits.
pub const IS_ON: &str = r#"{"enable":true,"duty":0.10000000149011612,"frequency":800,"error":null}"#;
pub const FAN: &str = "board1/fan/commands/config";

pub fn tell(house: &House, place: &str, payload: impl Into<reqwest::Body>) -> RequestBuilder {
    let request = house.request(Method::POST, &format!("/api/v1/services/{place}"));
    request.header("content-type", "application/json").body(payload)
}

async fn pin(house: &House, service: &str, kind: &str) {
    let request = house.request(Method::PUT, &format!("/api/v1/services/{service}"));
    assert!(request.json(&json!({ "kind": kind })).send().await.unwrap().status().is_success());
}

/// A house with a board that hears what its fan is told.
pub async fn house_with_fan() -> (House, Client) {
    with_fan(House::start().await).await
}

pub async fn with_fan(house: House) -> (House, Client) {
    pin(&house, "board1/fan", "pwm").await;
    let mut board = house.somebody("board1").await;
    board.subscribe("board1/fan/config", AtLeastOnce).await;
    (house, board)
}

/// Sends, and has the board answer so.
pub async fn answered(house: &House, board: &mut Client, payload: &'static str, answer: &str) -> Value {
    let (answered, ()) = tokio::join!(house.json(tell(house, FAN, payload)), async {
        assert_eq!(board.hears().await, ("board1/fan/config".to_owned(), payload.to_owned()));
        board.say("board1/fan/response", answer).await;
    });
    assert_eq!(answered.0, StatusCode::OK, "{}", answered.1);
    answered.1
}

async fn record(house: &House, id: &Value) -> Value {
    house.get(&format!("/api/v1/commands/{id}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_confirmed_by_what_the_device_reports() {
    let (house, mut board) = house_with_fan().await;
    let (answer, ()) = tokio::join!(tell(&house, FAN, ON).send(), async {
        assert_eq!(board.hears().await, ("board1/fan/config".to_owned(), ON.to_owned()));
        board.say("board1/fan/response", IS_ON).await;
    });
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let told: Value = answer.json().await.unwrap();
    assert_eq!(location, format!("/api/v1/commands/{}", told["id"]));
    assert_eq!((&told["state"], &told["payload"]), (&json!("CONFIRMED"), &json!(ON)));
    assert_eq!((&told["kind"], &told["type"]), (&json!("pwm"), &json!("PWMCommand")));
    assert_eq!((&told["timeout_ms"], &told["mismatches"]), (&json!(5000), &json!([])));
    assert_eq!((&told["surface"], &told["ambiguous"]), (&json!("REST"), &json!(false)));
    let reading = &house.get("/api/v1/services/board1/fan/readings").await["items"][0];
    let expected = json!({ "seq": reading["seq"], "at": reading["at"], "topic": "board1/fan/response",
        "payload": IS_ON, "late": false });
    assert_eq!(told["answer"], expected);

    // The acknowledgement of its message may come later still.
    let later = record(&house, &told["id"]).await;
    for field in ["state", "answer", "payload", "accepted_at", "topic"] {
        assert_eq!(later[field], told[field]);
    }
    assert_eq!(house.get("/api/v1/commands?state=CONFIRMED").await["items"][0]["id"], told["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_reports_otherwise_is_told_field_by_field() {
    let (house, mut board) = house_with_fan().await;
    let clamped = r#"{"enable":true,"duty":0.05,"frequency":500,"error":null}"#;
    let told = answered(&house, &mut board, ON, clamped).await;
    assert_eq!((&told["state"], &told["reason"]), (&json!("MISMATCH"), &Value::Null));
    let mut mismatches = told["mismatches"].as_array().unwrap().clone();
    mismatches.sort_by_key(|one| one["pointer"].to_string());
    let expected = [
        json!({ "pointer": "/duty", "sent": "0.1", "reported": "0.05" }),
        json!({ "pointer": "/frequency", "sent": "800", "reported": "500" }),
    ];
    assert_eq!(mismatches, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_tells_why_in_the_words_of_the_device() {
    let (house, mut board) = house_with_fan().await;
    let refusal = r#"{"enable":false,"duty":0,"frequency":0,"error":"over current"}"#;
    let told = answered(&house, &mut board, ON, refusal).await;
    assert_eq!((&told["state"], &told["reason"]), (&json!("REFUSED"), &json!("over current")));
    assert_eq!(told["answer"]["payload"], refusal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_an_answer_times_out_and_a_late_one_is_attached() {
    let (house, mut board) = house_with_fan().await;
    let request = tell(&house, &format!("{FAN}?timeout_ms=100"), ON);
    let answer = request.send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "CONFIRMATION_TIMEOUT");
    assert!(problem["detail"].as_str().unwrap().contains("board1/fan/config was published"), "{problem}");
    let told = &problem["command"];
    assert_eq!(location, format!("/api/v1/commands/{}", told["id"]));
    assert_eq!((&told["state"], &told["answer"]), (&json!("TIMED_OUT"), &Value::Null));
    assert_eq!((&told["kind"], &told["timeout_ms"]), (&json!("pwm"), &json!(100)));

    board.hears().await;
    board.say("board1/fan/response", IS_ON).await;
    let late = record(&house, &told["id"]).await;
    assert_eq!((&late["state"], &late["answer"]["late"]), (&json!("TIMED_OUT"), &json!(true)));
    assert_eq!(late["answer"]["payload"], IS_ON);
    assert!(late["seq"].as_i64() > told["seq"].as_i64());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_a_command_does_not_answer_it() {
    let (house, mut board) = house_with_fan().await;
    board.say("board1/fan/response", IS_ON).await;
    let request = tell(&house, &format!("{FAN}?timeout_ms=200"), ON);
    let problem = refused(request, 504, "CONFIRMATION_TIMEOUT", "200 ms").await;
    assert_eq!(problem["command"]["answer"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_commands_at_once_one_goes_through_and_the_others_are_refused() {
    let (house, mut board) = house_with_fan().await;
    let (answers, waiting) = (tokio::sync::Semaphore::new(0), 100);
    let requests = (0..waiting).map(|_| async {
        let answer = house.json(tell(&house, FAN, ON)).await;
        answers.add_permits(1);
        answer
    });
    let (told, ()) = tokio::join!(join_all(requests), async {
        board.hears().await;
        // All others have been told before the slow device answers.
        let _all = answers.acquire_many(waiting - 1).await.unwrap();
        board.say("board1/fan/response", IS_ON).await;
    });
    let (through, others): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|(status, _)| *status == StatusCode::OK);
    let [(_, through)] = &through[..] else { panic!("{through:?}") };
    assert_eq!(through["state"], "CONFIRMED");
    for (status, problem) in others {
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("COMMAND_IN_FLIGHT")));
        // It may still be on its way into the command log.
        assert!([&through["id"], &Value::Null].contains(&&problem["command"]), "{problem}");
    }
    board.hears_nothing().await;
    // The topic is free again.
    assert_eq!(answered(&house, &mut board, ON, IS_ON).await["state"], "CONFIRMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_a_command_is_under_way_is_told_which() {
    let (house, mut board) = house_with_fan().await;
    let first = tell(&house, FAN, ON).header("prefer", "respond-async");
    let (_, under_way) = house.json(first).await;
    let problem = refused(tell(&house, FAN, ON), 409, "COMMAND_IN_FLIGHT", "board1/fan/config").await;
    assert_eq!(problem["command"], under_way["id"]);
    // On another topic nothing is under way.
    pin(&house, "board1/pump", "pwm").await;
    let other = tell(&house, "board1/pump/commands/config?timeout_ms=100", ON);
    refused(other, 504, "CONFIRMATION_TIMEOUT", "board1/pump/config").await;
    board.hears().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_while_a_command_is_under_way_is_the_same_record_at_its_end() {
    let (house, mut board) = house_with_fan().await;
    let keyed = |payload| tell(&house, FAN, payload).header("idempotency-key", "k");
    let (_, begun) = house.json(keyed(ON).header("prefer", "respond-async")).await;
    let (one, other, ()) = tokio::join!(house.json(keyed(ON)), house.json(keyed(ON)), async {
        board.hears().await;
        refused(keyed(OFF), 409, "IDEMPOTENCY_CONFLICT", "\"k\"").await;
        board.say("board1/fan/response", IS_ON).await;
    });
    let again = house.json(keyed(ON)).await;
    for (status, told) in [one, other, again] {
        assert_eq!(
            (status, &told["state"], &told["id"]),
            (StatusCode::OK, &json!("CONFIRMED"), &begun["id"])
        );
        assert_eq!(told["idempotency_key"], "k");
    }
    refused(keyed(OFF), 409, "IDEMPOTENCY_CONFLICT", "\"k\"").await;
    board.hears_nothing().await;

    let quick = || tell(&house, &format!("{FAN}?timeout_ms=100"), ON).header("idempotency-key", "q");
    let first = refused(quick(), 504, "CONFIRMATION_TIMEOUT", "").await;
    let again = refused(quick(), 504, "CONFIRMATION_TIMEOUT", "").await;
    assert_eq!(first["command"]["id"], again["command"]["id"]);
    board.hears().await;
    board.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_prefers_it_finds_the_answer_at_the_location() {
    let (house, mut board) = house_with_fan().await;
    let answer = tell(&house, FAN, ON).header("prefer", "respond-async").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(answer.headers()["preference-applied"], "respond-async");
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let told: Value = answer.json().await.unwrap();
    assert_eq!((&told["state"], &told["answer"]), (&json!("PUBLISHED"), &Value::Null));
    assert_eq!(told["delivery"], "SENT");

    board.hears().await;
    board.say("board1/fan/response", IS_ON).await;
    let later = house.get(&location).await;
    assert_eq!((&later["state"], &later["answer"]["payload"]), (&json!("CONFIRMED"), &json!(IS_ON)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_during_which_another_client_spoke_there_is_ambiguous() {
    let (house, mut board) = house_with_fan().await;
    let mut other = house.somebody("other").await;
    let (answer, ()) = tokio::join!(house.json(tell(&house, FAN, ON)), async {
        board.hears().await;
        other.say("board1/fan/config", ON).await;
        board.say("board1/fan/response", IS_ON).await;
    });
    assert_eq!((&answer.1["state"], &answer.1["ambiguous"]), (&json!("CONFIRMED"), &json!(true)));
    board.hears().await;
    assert_eq!(answered(&house, &mut board, ON, IS_ON).await["ambiguous"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_hurt_is_armed_and_then_executed_once() {
    let (house, mut board) = with_fan(House::with(|config| config.arm_hazards = true).await).await;
    refused(tell(&house, FAN, ON), 423, "ARMING_REQUIRED", "board1/fan/config can hurt").await;
    board.hears_nothing().await;
    let is_off = r#"{"enable":false,"duty":0.1,"frequency":800,"error":null}"#;
    assert_eq!(answered(&house, &mut board, OFF, is_off).await["state"], "CONFIRMED");

    let arm = |payload: &'static str| tell(&house, "board1/fan/arm/config", payload);
    refused(arm("{}"), 422, "PAYLOAD_INVALID", "/enable").await;
    let (status, armed) = house.json(arm(ON)).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!((&armed["topic"], &armed["payload"]), (&json!("board1/fan/config"), &json!(ON)));
    board.hears_nothing().await;
    let execute = || {
        let request = house.request(Method::POST, "/api/v1/commands/execute");
        request.json(&json!({ "token": armed["token"] }))
    };
    let (answer, ()) = tokio::join!(execute().send(), async {
        assert_eq!(board.hears().await.1, ON);
        board.say("board1/fan/response", IS_ON).await;
    });
    let answer = answer.unwrap();
    assert!(answer.headers()["location"].to_str().unwrap().starts_with("/api/v1/commands/"));
    let told: Value = answer.json().await.unwrap();
    assert_eq!((&told["state"], &told["payload"]), (&json!("CONFIRMED"), &json!(ON)));

    refused(execute(), 423, "ARMING_REQUIRED", "it was executed").await;
    let unknown = house.request(Method::POST, "/api/v1/commands/execute").json(&json!({ "token": "x" }));
    refused(unknown, 423, "ARMING_REQUIRED", "nothing is armed").await;
    board.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_under_the_same_key_again_is_the_same_record() {
    let (house, mut board) = house_with_fan().await;
    let (_, armed) = house.json(tell(&house, "board1/fan/arm/config", ON)).await;
    let execute = |key| {
        let request = house.request(Method::POST, "/api/v1/commands/execute");
        request.json(&json!({ "token": armed["token"] })).header("idempotency-key", key)
    };
    let (_, begun) = house.json(execute("k").header("prefer", "respond-async")).await;
    let ((status, told), ()) = tokio::join!(house.json(execute("k")), async {
        board.hears().await;
        board.say("board1/fan/response", IS_ON).await;
    });
    assert_eq!((status, &told["state"], &told["id"]), (StatusCode::OK, &json!("CONFIRMED"), &begun["id"]));
    refused(execute("other"), 423, "ARMING_REQUIRED", "it was executed").await;
    board.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_answers_is_unconfirmable_within_a_second() {
    let house = House::start().await;
    pin(&house, "board1/scale", "loadcell").await;
    let tare = || tell(&house, "board1/scale/commands/tare?timeout_ms=60000", "true");
    let begun = Instant::now();
    let (status, told) = house.json(tare()).await;
    assert_eq!((status, &told["state"]), (StatusCode::OK, &json!("UNCONFIRMABLE")));
    assert_eq!((&told["delivery"], &told["timeout_ms"]), (&json!("NO_SUBSCRIBER"), &Value::Null));
    let mut board = house.somebody("board1").await;
    board.subscribe("board1/scale/tare", AtLeastOnce).await;
    board.acknowledge_nothing();
    let (_, told) = house.json(tare()).await;
    assert_eq!((&told["state"], &told["delivery"]), (&json!("UNCONFIRMABLE"), &json!("SENT")));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());

    let id = board.next_publish().await.packet_id;
    board.acknowledge(id).await;
    until("the delivery rises", async || {
        let later = record(&house, &told["id"]).await;
        if later["delivery"] == "ACKNOWLEDGED" { Ok(()) } else { Err(later) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_may_be_plain_text_and_the_topic_that_of_the_service() {
    let house = House::start().await;
    pin(&house, "board1/button", "command").await;
    let mut board = house.somebody("board1").await;
    board.subscribe("board1/button", AtLeastOnce).await;
    let payload = "{ \"data\": \"f\u{fc}nf\" }\r\n";
    for media in ["text/plain; charset=utf-8", "Application/JSON", "application/merge-patch+json"] {
        let request = tell(&house, "board1/button/commands", payload);
        let request = house.json(request.header("content-type", media));
        let ((status, told), heard) = tokio::join!(request, board.hears());
        assert_eq!(heard, ("board1/button".to_owned(), payload.to_owned()));
        assert_eq!((status, &told["suffix"]), (StatusCode::OK, &json!("")), "{media}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_commands_to_a_hundred_services_are_all_confirmed_and_none_is_mixed_up() {
    const SERVICES: usize = 100;
    let house = House::start().await;
    let mut board = house.somebody("board1").await;
    board.subscribe("board1/+/config", AtLeastOnce).await;
    for n in 0..SERVICES {
        pin(&house, &format!("board1/oven{n}"), "pid").await;
    }
    let config = |n: usize| {
        json!({ "kp": 0.2, "ki": 0.02, "kd": 0.4, "setpoint": n, "pause_output": false,
            "pause_target_input": false })
        .to_string()
    };
    let requests = (0..SERVICES).map(|n| {
        let request = tell(&house, &format!("board1/oven{n}/commands/config"), config(n));
        async { house.json(request).await }
    });
    let (told, ()) = tokio::join!(join_all(requests), async {
        let mut heard = Vec::new();
        while heard.len() < SERVICES {
            heard.push(board.hears().await);
        }
        // All are under way, and are answered in another order.
        heard.sort_by(|one, other| other.cmp(one));
        for (topic, payload) in heard {
            board.say(&topic.replace("/config", "/response"), payload).await;
        }
    });
    for (n, (status, told)) in told.iter().enumerate() {
        assert_eq!((*status, &told["state"]), (StatusCode::OK, &json!("CONFIRMED")), "{told}");
        assert_eq!(told["answer"]["topic"], format!("board1/oven{n}/response"));
        assert_eq!(told["answer"]["payload"], config(n));
        assert_eq!(told["ambiguous"], false);
    }
    let answers: BTreeSet<_> = told.iter().map(|(_, told)| told["answer"]["seq"].as_i64()).collect();
    assert_eq!(answers.len(), SERVICES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_slow_device_keeps_nobody_else_waiting() {
    // More than are worked on at a time elsewhere.
    const SERVICES: usize = 150;
    let house = House::start().await;
    let mut board = house.somebody("board1").await;
    board.subscribe("board1/+/config", AtMostOnce).await;
    for n in 0..SERVICES {
        pin(&house, &format!("board1/fan{n}"), "pwm").await;
    }
    let requests = (0..SERVICES).map(|n| {
        let request = tell(&house, &format!("board1/fan{n}/commands/config?timeout_ms=60000"), ON);
        let request = request.timeout(2 * DEADLINE);
        async { house.json(request).await.0 }
    });
    let (told, ()) = tokio::join!(join_all(requests), async {
        for _ in 0..SERVICES {
            board.hears().await;
        }
        house.get("/api/v1/devices").await;
        for n in 0..SERVICES {
            board.say(&format!("board1/fan{n}/response"), IS_ON).await;
        }
    });
    assert!(told.iter().all(|status| *status == StatusCode::OK), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_under_way_when_the_gateway_stops_expires_and_is_not_sent_again() {
    let (house, mut board) = house_with_fan().await;
    let (_, told) = house.json(tell(&house, FAN, ON).header("prefer", "respond-async")).await;
    board.hears().await;
    let house = house.restart().await;
    let mut board = house.somebody("board1").await;
    board.subscribe("board1/fan/config", AtLeastOnce).await;
    let left = record(&house, &told["id"]).await;
    assert_eq!((&left["state"], &left["reason"]), (&json!("EXPIRED"), &json!("RESTART")));
    board.hears_nothing().await;
    // Its topic is free.
    assert_eq!(answered(&house, &mut board, ON, IS_ON).await["state"], "CONFIRMED");
}
