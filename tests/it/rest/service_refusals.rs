//! Commands to services that are not sent, and why.

use crosslink::broker::QoS::AtLeastOnce;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    refused,
    service_commands::{FAN, IS_ON, OFF, ON, answered, house_with_fan, tell, with_fan},
};
use crate::harness::{House, until};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_firmware_whose_client_is_gone() {
    let (house, mut board) = house_with_fan().await;
    board.say("board1/fan/response", IS_ON).await;
    board.disconnect().await;
    let quick = format!("{FAN}?timeout_ms=100");
    until("the board is known to be gone", async || {
        let (status, problem) = house.json(tell(&house, &quick, ON)).await;
        if status == StatusCode::CONFLICT { Ok(()) } else { Err(problem) }
    })
    .await;
    refused(tell(&house, &quick, ON), 409, "DEVICE_OFFLINE", "board1 is offline: its client board1").await;
    let allowed = tell(&house, &format!("{quick}&offline=allow"), ON);
    let problem = refused(allowed, 504, "CONFIRMATION_TIMEOUT", "").await;
    assert_eq!(problem["command"]["delivery"], "NO_SUBSCRIBER");

    let mut board = house.somebody("board1").await;
    board.subscribe("board1/fan/config", AtLeastOnce).await;
    board.hears_nothing().await;
    assert_eq!(answered(&house, &mut board, ON, IS_ON).await["state"], "CONFIRMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_kind_is_not_known_is_not_commanded() {
    let house = House::start().await;
    let mut board = house.somebody("board1").await;
    board.say("board1/scale", r#"{ "value": 0.5, "unit": "V" }"#).await;
    let request = tell(&house, "board1/scale/commands/tare", "true");
    let problem = refused(request, 409, "KIND_AMBIGUOUS", "pin it").await;
    let service = house.get("/api/v1/services/board1/scale").await;
    assert_eq!(problem["candidates"], service["candidates"]);
    assert!(problem["candidates"].as_array().unwrap().contains(&json!("loadcell")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_would_not_understand_is_refused_with_the_place() {
    let (house, mut board) = house_with_fan().await;
    for (payload, reason, pointer) in [
        (&br#"{"enable":true,"duty":1.5,"frequency":800}"#[..], "OUT_OF_RANGE", "/duty"),
        (br#"{"enable":1,"duty":0.5,"frequency":800}"#, "TYPE_MISMATCH", "/enable"),
        (br#"{"enable":true,"duty":0.5}"#, "MISSING_FIELD", "/frequency"),
        (br#"{"enable":true,"duty":0.5,"frequency":NaN}"#, "NON_FINITE", "/frequency"),
        (b"{\"enable\":", "NOT_JSON", ""),
        (b"", "NOT_JSON", ""),
        (b"\xff", "NOT_UTF8", ""),
    ] {
        let problem = refused(tell(&house, FAN, payload), 422, "PAYLOAD_INVALID", "expected").await;
        let flaw = &problem["flaws"][0];
        assert_eq!((&flaw["reason"], &flaw["pointer"]), (&json!(reason), &json!(pointer)), "{problem}");
        assert!(flaw["detail"].as_str().unwrap().contains("expected"), "{problem}");
    }
    let more = r#"{"enable":true,"duty":0.5,"frequency":800,"colour":1}"#;
    let problem = refused(tell(&house, FAN, more), 422, "PAYLOAD_INVALID", "colour").await;
    assert_eq!(problem["flaws"][0]["pointer"], "/colour");
    board.hears_nothing().await;
    assert_eq!(house.get("/api/v1/commands?state=CONFIRMED").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_stands_in_the_log_as_denied() {
    let (house, mut board) = with_fan(House::with(|config| config.arm_hazards = true).await).await;
    let log = async || house.get("/api/v1/commands").await["items"].as_array().unwrap().clone();
    let keyed = |payload: &'static str| tell(&house, FAN, payload).header("idempotency-key", "k");

    let answer = keyed("{ \"duty\":2 }").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let problem: Value = answer.json().await.unwrap();
    let denied = house.get(&location).await;
    assert_eq!(problem["command"], denied);
    assert_eq!((&denied["state"], &denied["reason"]), (&json!("DENIED"), &json!("PAYLOAD_INVALID")));
    assert_eq!(
        (&denied["payload"], &denied["topic"]),
        (&json!("{ \"duty\":2 }"), &json!("board1/fan/config"))
    );
    assert_eq!((&denied["surface"], &denied["delivery"]), (&json!("REST"), &Value::Null));
    assert_eq!((&denied["idempotency_key"], &denied["id"]), (&json!("k"), &denied["seq"]));
    assert!(denied["address"].as_str().unwrap().starts_with("127.0.0.1:"));

    let problem = refused(tell(&house, FAN, ON), 423, "ARMING_REQUIRED", "can hurt").await;
    assert_eq!(problem["command"]["reason"], "ARMING_REQUIRED");
    // The key is still that of whatever is sent with it.
    let is_off = r#"{"enable":false,"duty":0.1,"frequency":800,"error":null}"#;
    let (sent, ()) = tokio::join!(house.json(keyed(OFF)), async {
        assert_eq!(board.hears().await.1, OFF);
        // Another one meanwhile: that which is under way is named.
        let problem = refused(tell(&house, FAN, OFF), 409, "COMMAND_IN_FLIGHT", "under way").await;
        assert!(problem["command"].is_number(), "{problem}");
        board.say("board1/fan/response", is_off).await;
    });
    assert_eq!((sent.0, &sent.1["state"]), (StatusCode::OK, &json!("CONFIRMED")));
    let again = house.json(keyed(OFF)).await;
    assert_eq!(again.1["id"], sent.1["id"]);
    // Mistakes in asking are no commands.
    refused(tell(&house, "board1/fan/commands/no", ON), 404, "NOT_FOUND", "").await;
    refused(tell(&house, &format!("{FAN}?timeout_ms=1"), ON), 400, "INVALID", "").await;
    refused(keyed(ON), 409, "IDEMPOTENCY_CONFLICT", "").await;
    let states: Vec<Value> = log().await.iter().map(|record| record["state"].clone()).collect();
    assert_eq!(states, ["DENIED", "CONFIRMED", "DENIED", "DENIED"]);

    // However often it is asked in vain.
    for _ in 0..40 {
        refused(tell(&house, FAN, ON), 423, "ARMING_REQUIRED", "can hurt").await;
    }
    let denied = house.get("/api/v1/commands?state=DENIED").await["items"].as_array().map(Vec::len);
    assert!(denied.is_some_and(|denied| (20..=42).contains(&denied)), "{denied:?}");
    board.hears_nothing().await;

    let house = house.restart().await;
    let after = house.get("/api/v1/commands?state=DENIED").await["items"].as_array().map(Vec::len);
    assert_eq!(after, denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_command_says_what_is_wrong() {
    let (house, mut board) = house_with_fan().await;
    for (place, status, code, says) in [
        ("board1/nobody/commands/config", 404, "NOT_FOUND", "no service \"board1/nobody\""),
        ("board1/fan/commands/nothing", 404, "NOT_FOUND", "board1/fan/nothing"),
        ("board1/fan/commands/response", 404, "NOT_FOUND", "board1/fan/response"),
        ("board1/fan/commands/config/", 404, "NOT_FOUND", "board1/fan/config/"),
        ("board1/fan/commands/%23", 404, "NOT_FOUND", "board1/fan/#"),
        ("board1/fan/commands", 404, "NOT_FOUND", "board1/fan"),
        ("mqtt/fan/commands/config", 400, "INVALID", "names no service"),
        ("board1/fan/commands/config?timeout_ms=99", 400, "INVALID", "timeout_ms: an answer is waited for"),
        ("board1/fan/commands/config?timeout_ms=60001", 400, "INVALID", "100 to 60000 ms, not 60001"),
        ("board1/fan/commands/config?timeout_ms=soon", 400, "INVALID", "timeout_ms"),
        ("board1/fan/commands/config?offline=never", 400, "INVALID", "`allow`"),
        ("board1/fan/commands/config?colour=red", 400, "INVALID", "`colour`"),
        ("board1/fan/arm/nothing", 404, "NOT_FOUND", "board1/fan/nothing"),
        ("board1/fan/arm/config?offline=never", 400, "INVALID", "`allow`"),
    ] {
        refused(tell(&house, place, ON), status, code, says).await;
    }
    for media in ["application/x-www-form-urlencoded", "application/octet-stream", ""] {
        let request = house.request(Method::POST, &format!("/api/v1/services/{FAN}")).body(ON);
        let request = request.header("content-type", media);
        refused(request, 415, "UNSUPPORTED_MEDIA_TYPE", "`text/plain`").await;
    }
    let largest = "true".to_owned() + &" ".repeat(256 * 1024 - 4);
    refused(tell(&house, FAN, largest.clone()), 422, "PAYLOAD_INVALID", "expected an object").await;
    refused(tell(&house, FAN, largest + " "), 413, "TOO_LARGE", "limit").await;
    let execute = house.request(Method::POST, "/api/v1/commands/execute");
    refused(execute.json(&json!({ "key": 1 })), 400, "INVALID", "unknown field `key`").await;
    board.hears_nothing().await;
}
