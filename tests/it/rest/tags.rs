//! Answers that a client has already are not sent again, and never outlive what they tell.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{device, raw};
use crate::harness::{House, reading};

/// Asks with a tag: status, tag, length of the body.
async fn ask(house: &House, path: &str, seen: &str) -> (StatusCode, String, usize) {
    let answer = house.request(Method::GET, path).header("if-none-match", seen).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-cache", "{path}");
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    (answer.status(), tag, answer.text().await.unwrap().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_not_changed_is_not_sent_again() {
    let house = House::start().await;
    let mut pump = device(&house, "pump", &[20.0]).await;
    let (_, sent) = house.post("/api/v1/devices/pump/commands", json!({ "action": "play" })).await;
    pump.say("sensors/pump", "nonsense").await;
    pump.say("rig/tank", r#"{ "value": 0.5, "unit": "V" }"#).await;
    for path in [
        "/api/openapi.json",
        "/api/v1/devices/pump/readings",
        "/api/v1/devices/pump/presence",
        "/api/v1/kinds",
        "/api/v1/kinds/pid",
        "/api/v1/services/rig/tank/readings",
        "/api/v1/commands",
        &format!("/api/v1/commands/{}", sent["id"]),
        "/api/v1/clients",
        "/api/v1/clients/refused",
        "/api/v1/rejections",
        "/api/v1/rejections/counts",
    ] {
        let (status, tag, length) = ask(&house, path, "\"else\"").await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(length > 0);
        for seen in [tag.clone(), format!("W/{tag}"), format!("\"a\", {tag}"), "*".to_owned()] {
            assert_eq!(ask(&house, path, &seen).await, (StatusCode::NOT_MODIFIED, tag.clone(), 0), "{path}");
        }
        let head = format!("HEAD {path} HTTP/1.1\r\nif-none-match: {tag}");
        assert_eq!(raw(&house, &head).await.0, 304, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_is_sent_whatever_was_seen() {
    let house = House::start().await;
    let mut pump = device(&house, "pump", &[20.0]).await;
    let paths = ["/api/v1/devices/pump/readings", "/api/v1/rejections", "/api/v1/rejections/counts"];
    let mut seen = Vec::new();
    for path in paths {
        seen.push(ask(&house, path, "").await.1);
    }
    // The same reading again is another one.
    pump.say("sensors/pump", reading(20.0)).await;
    pump.say("sensors/pump", "nonsense").await;
    for (path, seen) in paths.into_iter().zip(&seen) {
        let (status, tag, _) = ask(&house, path, seen).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_ne!(tag, *seen, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ages_and_problems_have_no_tag() {
    let house = House::start().await;
    for (path, status) in
        [("/api/v1/devices", 200), ("/api/v1/devices/esp32", 200), ("/api/v1/commands/9", 404)]
    {
        let answer = house.request(Method::GET, path).header("if-none-match", "*").send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert!(!answer.headers().contains_key("etag"), "{path}");
    }
}
