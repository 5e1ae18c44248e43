//! Commands: sent, listed, told one by one.

use crosslink::broker::QoS;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{device, refused};
use crate::{
    harness::{House, until},
    promises::slow_disk,
};

fn command(house: &House, device: &str, body: &'static str) -> RequestBuilder {
    house
        .request(Method::POST, &format!("/api/v1/devices/{device}/commands"))
        .header("content-type", "application/json")
        .body(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_acknowledged_and_stays_in_the_log() {
    let house = House::start().await;
    let mut pump = device(&house, "pump", &[20.0]).await;
    pump.subscribe("commands/pump/play", QoS::AtLeastOnce).await;

    let sending = command(&house, "pump", r#"{"action":"play"}"#).send();
    let (response, heard) = tokio::join!(sending, pump.hears());
    assert_eq!(heard, ("commands/pump/play".to_owned(), "true".to_owned()));
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let record: Value = response.json().await.unwrap();
    assert_eq!(location, format!("/api/v1/commands/{}", record["id"]));
    assert_eq!((&record["device"], &record["action"]), (&json!("pump"), &json!("play")));
    assert_eq!((&record["state"], &record["delivery"]), (&json!("UNCONFIRMABLE"), &json!("ACKNOWLEDGED")));
    assert_eq!((&record["surface"], &record["idempotency_key"]), (&json!("REST"), &Value::Null));
    assert!(record["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(house.get(&location).await, record);
    let pump = house.get("/api/v1/devices/pump").await;
    assert_eq!(pump["mode"], "FORCED_ON");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_command() {
    let house = House::start().await;
    let keyed = |device, body| command(&house, device, body).header("idempotency-key", "k1");
    let (_, first) = house.json(keyed("esp32", r#"{"action":"play"}"#)).await;
    let (_, again) = house.json(keyed("esp32", r#"{"action":"play"}"#)).await;
    assert_eq!((&first["id"], &first["delivery"]), (&again["id"], &json!("NO_SUBSCRIBER")));
    refused(keyed("esp32", r#"{"action":"stop"}"#), 409, "IDEMPOTENCY_CONFLICT", "k1").await;
    refused(keyed("raspberry", r#"{"action":"play"}"#), 409, "IDEMPOTENCY_CONFLICT", "k1").await;
    let strange = command(&house, "esp32", r#"{"action":"play"}"#).header("idempotency-key", "é");
    refused(strange, 400, "INVALID", "Idempotency-Key").await;
    let two = keyed("esp32", r#"{"action":"play"}"#).header("idempotency-key", "k2");
    refused(two, 400, "INVALID", "Idempotency-Key: it stands there twice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_says_what_is_wrong() {
    let house = House::start().await;
    for (body, says) in [
        (r#"{"action":"dance"}"#, "`play`, `stop`, `resume` at line 1 column 17"),
        (r#"{"action":"play","loud":true}"#, "unknown field `loud`"),
        (r#"{"action":"#, "line 1 column 10"),
        (r#"{"action":"play"} x"#, "line 1 column 19"),
        ("{}", "missing field `action`"),
        ("[]", "invalid type: sequence, expected an object"),
        (r#"["play"]"#, "invalid type: sequence, expected an object"),
        ("null", "expected an object"),
        ("", "line 1 column 0"),
    ] {
        refused(command(&house, "esp32", body), 400, "INVALID", says).await;
    }
    refused(command(&house, "nobody", r#"{"action":"play"}"#), 404, "NOT_FOUND", "no device \"nobody\"")
        .await;
    let text = house.request(Method::POST, "/api/v1/devices/esp32/commands").body("play");
    refused(text, 415, "UNSUPPORTED_MEDIA_TYPE", "application/json").await;
    let large = command(&house, "esp32", "").body(vec![b' '; 65 * 1024]);
    refused(large, 413, "TOO_LARGE", "limit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_many_times_at_once_is_one_command() {
    let house = House::start().await;
    let _pump = device(&house, "pump", &[20.0]).await;
    let requests = (0..10).map(|_| async {
        let request = command(&house, "pump", r#"{"action":"play"}"#).header("idempotency-key", "once");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["id"].clone()
    });
    let mut ids = futures_util::future::join_all(requests).await;
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_prefers_it_is_answered_before_the_acknowledgement() {
    let house = House::start().await;
    let mut pump = device(&house, "pump", &[20.0]).await;
    pump.subscribe("commands/pump/play", QoS::AtLeastOnce).await;
    pump.acknowledge_nothing();
    for preference in
        ["respond-async", "Respond-Async; foo=bar", "wait=10, respond-async", "a=b,respond-async,c"]
    {
        let request = command(&house, "pump", r#"{"action":"play"}"#).header("prefer", preference);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{preference}");
        assert_eq!(answer.headers()["preference-applied"], "respond-async");
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let record: Value = answer.json().await.unwrap();
        assert_eq!(location, format!("/api/v1/commands/{}", record["id"]));
        assert_eq!(record["delivery"], "SENT", "{record}");
        assert!(record["seq"].as_i64() > record["id"].as_i64(), "{record}");
        assert!(["PUBLISHED", "UNCONFIRMABLE"].contains(&record["state"].as_str().unwrap()), "{record}");

        // It was out, and goes on where its place says.
        let message = pump.next_publish().await;
        pump.acknowledge(message.packet_id).await;
        until("the record goes on", async || {
            let record = house.get(&location).await;
            if record["delivery"] == "ACKNOWLEDGED" { Ok(()) } else { Err(record) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_an_impatient_caller_is_what_the_log_says() {
    let house = House::start().await;
    until("a record is told that is under way", async || {
        let request = command(&house, "esp32", r#"{"action":"play"}"#).header("prefer", "respond-async");
        let (_, record) = house.json(request).await;
        let under_way = record["state"] == "PUBLISHED" && record["delivery"] == "NO_SUBSCRIBER";
        if under_way && record["seq"].as_i64() > record["id"].as_i64() { Ok(()) } else { Err(record) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_recorded_is_not_sent() {
    let house = House::start().await;
    let mut pump = device(&house, "pump", &[20.0]).await;
    pump.subscribe("commands/pump/play", QoS::AtLeastOnce).await;
    let stuck = slow_disk(&house).await;
    let ask = || command(&house, "pump", r#"{"action":"play"}"#);
    tokio::join!(
        refused(ask(), 503, "UNAVAILABLE", "the journal is not available"),
        refused(ask().header("prefer", "respond-async"), 503, "UNAVAILABLE", "the journal"),
    );
    stuck.rollback().await.unwrap();
    pump.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_preferences_change_nothing() {
    let house = House::start().await;
    for preference in
        ["", "wait=5", "respond-asynchronously", "return=respond-async", "handling=lenient;respond-async"]
    {
        let request = command(&house, "esp32", r#"{"action":"play"}"#).header("prefer", preference);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{preference}");
        assert!(!answer.headers().contains_key("preference-applied"));
    }
    let unknown = command(&house, "nobody", r#"{"action":"play"}"#).header("prefer", "respond-async");
    refused(unknown, 404, "NOT_FOUND", "nobody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_command_whatever_is_preferred() {
    let house = House::start().await;
    let keyed = || command(&house, "esp32", r#"{"action":"play"}"#).header("idempotency-key", "k");
    let (_, first) = house.json(keyed()).await;
    let (status, again) = house.json(keyed().header("prefer", "respond-async")).await;
    assert_eq!((status, again), (StatusCode::ACCEPTED, first));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_log_is_listed_by_what_is_asked() {
    let house = House::start().await;
    let mut pump = device(&house, "pump", &[20.0]).await;
    let id = async |device: &str, action: &str| {
        let path = format!("/api/v1/devices/{device}/commands");
        house.post(&path, json!({ "action": action })).await.1["id"].as_i64().unwrap()
    };
    let (first, second) = (id("pump", "play").await, id("esp32", "stop").await);
    pump.say("commands/esp32/play", "true").await;
    let third = id("pump", "resume").await;
    let list = async |query: &str| house.get(&format!("/api/v1/commands?{query}")).await;
    let ids = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect()
    };

    let all = list("").await;
    let mqtt = ids(&all)[1];
    assert_eq!((ids(&all), &all["next"]), (vec![third, mqtt, second, first], &Value::Null));
    let told = &all["items"][1];
    assert_eq!((&told["surface"], &told["client_id"]), (&json!("MQTT"), &json!("pump")));
    assert_eq!(house.get(&format!("/api/v1/commands/{mqtt}")).await, *told);
    for (query, expected) in [
        ("device=pump", vec![third, first]),
        ("device=esp32&action=stop", vec![second]),
        ("action=play", vec![mqtt, first]),
        ("surface=MQTT", vec![mqtt]),
        ("surface=GRAPHQL", vec![]),
        ("state=UNCONFIRMABLE&device=pump", vec![third, first]),
        ("state=EXPIRED", vec![]),
        // Nobody was ever asked by this name.
        ("device=nobody", vec![]),
    ] {
        assert_eq!(ids(&list(query).await), expected, "{query}");
    }
    let newest = list("limit=3").await;
    assert_eq!(
        (ids(&newest), &newest["next"]),
        (vec![third, mqtt, second], &json!(format!("before-{second}")))
    );
    assert_eq!(ids(&list(&format!("limit=3&after=before-{second}")).await), [first]);
    let later = list(&format!("limit=2&after={first}")).await;
    assert_eq!((ids(&later), &later["next"]), (vec![second, mqtt], &json!(mqtt.to_string())));

    for (query, says) in [
        ("action=dance", "action: unknown variant `dance`, expected one of `play`, `stop`, `resume`"),
        ("state=DONE", "state: unknown variant `DONE`, expected one of `ACCEPTED`, `PUBLISHED`"),
        ("surface=rest", "surface: unknown variant `rest`, expected one of `REST`, `GRAPHQL`, `MQTT`"),
        ("after=x", "after: "),
        ("limit=0", "limit: "),
        ("from=2026-11-21T20:15:00Z", "`from`"),
    ] {
        refused(house.request(Method::GET, &format!("/api/v1/commands?{query}")), 400, "INVALID", says).await;
    }
}
