//! REST over real sockets: the original routes byte for byte, and the resources.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crosslink::broker::QoS;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Client, DEADLINE, House, reading};

/// Sends a request as it is written, and returns the status, the head and the body.
pub async fn raw(house: &House, head: &str) -> (u16, String, String) {
    let (address, request) = (house.http_addr(), format!("{head}\r\nconnection: close\r\n\r\n"));
    let text = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    });
    let text = text.await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

async fn original(house: &House, method: &str, path: &str) -> (u16, String) {
    let (status, _, body) = raw(house, &format!("{method} {path} HTTP/1.1\r\nhost: localhost")).await;
    (status, body)
}

fn command(house: &House, device: &str, body: &'static str) -> RequestBuilder {
    house
        .request(Method::POST, &format!("/api/v1/devices/{device}/commands"))
        .header("content-type", "application/json")
        .body(body)
}

/// A device that has sent these temperatures.
async fn device(house: &House, name: &str, temperatures: &[f64]) -> Client {
    let mut client = house.somebody(name).await;
    for temperature in temperatures {
        client.say(&format!("sensors/{name}"), reading(*temperature)).await;
    }
    client
}

fn seqs(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|item| item["seq"].as_i64().unwrap()).collect()
}

/// Status, code and what the detail must say.
async fn refused(request: RequestBuilder, status: u16, code: &str, says: &str) {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.status(), status);
    let path = response.url().path().to_owned();
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["instance"], path);
    assert_eq!(problem["type"], format!("urn:crosslink:problem:{}", code.to_lowercase().replace('_', "-")));
    assert!(problem["detail"].as_str().unwrap().contains(says), "{problem} does not say {says:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_routes_answer_byte_for_byte() {
    let house = House::start().await;
    for (path, status, body) in [
        ("/play/esp32", 200, "Sent 'play' command to esp32"),
        ("/stop/raspberry", 200, "Sent 'stop' command to raspberry"),
        ("/resume/esp32", 200, "Sent 'resume' command to esp32"),
        ("/pl%61y/esp%33%32", 200, "Sent 'play' command to esp32"),
        ("/play/esp32?now", 200, "Sent 'play' command to esp32"),
        ("/play/nobody", 400, "Unknown device"),
        ("/dance/nobody", 400, "Unknown device"),
        ("/dance/esp32", 400, "Unknown action"),
        ("/PLAY/esp32", 400, "Unknown action"),
        ("/play/esp32%2Fx", 400, "Unknown device"),
        ("/play/%FF", 400, "Unknown device"),
        ("/play/%20", 400, "Unknown device"),
    ] {
        assert_eq!(original(&house, "POST", path).await, (status, body.to_owned()), "{path}");
    }
    let (_, head, _) = raw(&house, "POST /play/esp32 HTTP/1.1\r\nhost: localhost").await;
    assert!(head.contains("content-type: text/plain") && head.contains("content-length: 28"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_routes_are_post_on_two_levels_that_nobody_else_has() {
    let house = House::start().await;
    for path in ["/play", "/play/", "/play/esp32/", "/play/esp32/x", "/api/esp32", "/%61pi/esp32"] {
        assert_eq!(original(&house, "POST", path).await.0, 404, "{path}");
    }
    for path in ["/graphql/esp32", "/mqtt/esp32", "/assets/esp32"] {
        assert_eq!(original(&house, "POST", path).await.0, 404, "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(original(&house, method, "/play/esp32").await.0, 404, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_has_spoken_is_known_to_the_original_routes() {
    let house = House::start().await;
    let _device = device(&house, "pump", &[20.0]).await;
    assert_eq!(original(&house, "POST", "/play/pump").await, (200, "Sent 'play' command to pump".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_the_pair_and_whoever_spoke() {
    let house = House::start().await;
    let _device = device(&house, "pump", &[20.5]).await;
    let _device = device(&house, "raspberry", &[30.0]).await;

    let page = house.get("/api/v1/devices").await;
    assert_eq!(page["next"], Value::Null);
    let names: Vec<&str> =
        page["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["esp32", "pump", "raspberry"]);

    let pump = house.get("/api/v1/devices/pump").await;
    assert_eq!(pump["presence"]["status"], "ONLINE");
    assert_eq!(pump["presence"]["client_id"], "pump");
    assert_eq!(
        pump["latest"]["payload"],
        json!({ "temperature": 20.5, "humidity": 60.0, "threshold": 29.0 })
    );
    assert_eq!((&pump["mode"], &pump["cross_link"]), (&json!("AUTO"), &Value::Null));

    let esp32 = house.get("/api/v1/devices/esp32").await;
    assert_eq!(esp32["presence"]["status"], "UNKNOWN");
    assert_eq!(esp32["cross_link"]["peer"], "raspberry");
    assert_eq!(esp32["cross_link"]["expected_playing"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_come_in_pages() {
    let house = House::start().await;
    let _device = device(&house, "pump", &[1.0, 2.0, 3.0]).await;
    let path = "/api/v1/devices/pump/readings";

    let all = house.get(&format!("{path}?after=0")).await;
    let seqs_of_all = seqs(&all);
    let [first, second, third] = seqs_of_all[..] else { panic!("{all}") };
    assert_eq!(all["next"], Value::Null);

    let newest = house.get(&format!("{path}?limit=2")).await;
    assert_eq!((seqs(&newest), &newest["next"]), (vec![third, second], &json!(format!("before-{second}"))));
    let older = house.get(&format!("{path}?limit=2&after=before-{second}")).await;
    assert_eq!((seqs(&older), &older["next"]), (vec![first], &Value::Null));
    let newer = house.get(&format!("{path}?limit=1&after={first}")).await;
    assert_eq!((seqs(&newer), &newer["next"]), (vec![second], &json!(second.to_string())));
    assert_eq!(newer["items"][0]["temperature"], 2.0);

    let presence = house.get("/api/v1/devices/pump/presence").await;
    assert_eq!(presence["items"][0]["status"], "ONLINE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_parameter_is_named() {
    let house = House::start().await;
    for (query, says) in [
        ("after=x", "after"),
        ("after=-1", "neither a seq nor the next of a page"),
        ("after=before-", "neither a seq nor the next of a page"),
        ("before=4", "before"),
        ("limit=0", "1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("limit=many", "limit"),
        ("from=yesterday", "from"),
    ] {
        for of in ["readings", "presence"] {
            let request = house.request(Method::GET, &format!("/api/v1/devices/esp32/{of}?{query}"));
            refused(request, 400, "INVALID", says).await;
        }
    }
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
        ("[]", "line 1"),
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
async fn what_is_not_there_is_a_problem() {
    let house = House::start().await;
    let get = |path| house.request(Method::GET, path);
    refused(get("/api/v1/devices/nobody"), 404, "NOT_FOUND", "no device \"nobody\"").await;
    refused(get("/api/v1/devices/nobody/readings"), 404, "NOT_FOUND", "nobody").await;
    refused(get("/api/v1/devices/%FF"), 400, "INVALID", "UTF-8").await;
    refused(get("/api/v1/commands/1000000"), 404, "NOT_FOUND", "1000000").await;
    refused(get("/api/v1/commands/x"), 400, "INVALID", "x").await;
    refused(get("/api/v2/devices"), 404, "NOT_FOUND", "/api/v2/devices").await;
    refused(get("/api/v1/devices/esp32/commands"), 405, "METHOD_NOT_ALLOWED", "GET").await;
    let response = house.request(Method::DELETE, "/api/v1/devices").send().await.unwrap();
    assert_eq!(response.headers()["allow"], "GET,HEAD");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_served_as_it_is_committed() {
    let house = House::start().await;
    let served = house.get("/api/openapi.json").await;
    assert_eq!(served["openapi"], "3.1.0");
    let committed = include_str!("../../openapi/openapi.json");
    assert_eq!(served, serde_json::from_str::<Value>(committed).unwrap());
    assert_eq!(crosslink::rest::contract(), committed, "cargo run -- schema openapi > openapi/openapi.json");
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
