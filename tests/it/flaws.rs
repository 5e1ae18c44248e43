//! What is wrong with a message of a service is told with its place, and nobody is disconnected for it.

use crosslink::catalog::{KINDS, Topic};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::House;

/// Larger than anything that is kept.
const MEBIBYTE: usize = 1024 * 1024;

/// Fields that may be left out or null, wherever they are.
const OPTIONAL: [&str; 2] = ["error", "success"];
/// Shares of a whole.
const RATIOS: [&str; 2] = ["duty", "deadtime"];

/// A payload that is wrong, why, and where.
struct Spoilt {
    payload: Vec<u8>,
    reason: &'static str,
    pointer: String,
}

fn spoilt(payload: impl Into<Vec<u8>>, reason: &'static str, pointer: impl Into<String>) -> Spoilt {
    Spoilt { payload: payload.into(), reason, pointer: pointer.into() }
}

/// The first example of a topic, in every way wrong.
fn variants(topic: &Topic) -> Vec<Spoilt> {
    let example = topic.examples[0];
    let mut all = vec![
        spoilt(b"\xff\xfe".to_vec(), "NOT_UTF8", ""),
        spoilt("[".repeat(2_000) + &"]".repeat(2_000), "NOT_JSON", ""),
        spoilt(&example.as_bytes()[..example.len() - 1], "NOT_JSON", ""),
        spoilt("", "NOT_JSON", ""),
        spoilt("\"a text\"", "TYPE_MISMATCH", ""),
    ];
    let said: Value = serde_json::from_str(example).unwrap();
    for (name, value) in said.as_object().into_iter().flatten() {
        let pointer = format!("/{name}");
        let with = |other: &str| {
            let mut fields = said.clone();
            fields[name] = json!("#");
            fields.to_string().replace("\"#\"", other)
        };
        // One kind passes on whatever it is told.
        let anything = topic.suffix.is_empty() && name == "data";
        if !anything {
            all.push(spoilt(with("[7]"), "TYPE_MISMATCH", wrong_list(value, &pointer)));
        }
        if value.is_number() {
            all.push(spoilt(with("NaN"), "NON_FINITE", &pointer));
            all.push(spoilt(with("-1e999"), "NON_FINITE", &pointer));
        }
        if RATIOS.contains(&name.as_str()) {
            all.push(spoilt(with("1.5"), "OUT_OF_RANGE", &pointer));
        }
        if value.get("value").is_some() {
            let (wrong, less) = (r#"{"value":"22.8","unit":"C"}"#, r#"{"value":22.8}"#);
            all.push(spoilt(with(wrong), "TYPE_MISMATCH", format!("{pointer}/value")));
            all.push(spoilt(with(less), "MISSING_FIELD", format!("{pointer}/unit")));
        }
        if !OPTIONAL.contains(&name.as_str()) || value.is_boolean() {
            let mut fields = said.clone();
            fields.as_object_mut().unwrap().remove(name);
            all.push(spoilt(fields.to_string(), "MISSING_FIELD", &pointer));
        }
    }
    all
}

/// Where a list of a number is wrong: in itself, where a list is expected.
fn wrong_list(value: &Value, pointer: &str) -> String {
    if value.is_array() { format!("{pointer}/0") } else { pointer.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_flaw_of_each_row_is_told_with_its_place_and_the_client_stays() {
    let house = House::start().await;
    let mut client = house.somebody("rig").await;
    let (mut expected, mut topics) = (Vec::new(), Vec::new());
    for kind in KINDS {
        let service = format!("/api/v1/services/rig/{}", kind.name);
        let pinned =
            house.json(house.request(Method::PUT, &service).json(&json!({ "kind": kind.name }))).await;
        assert_eq!(pinned.0, StatusCode::OK, "{}", pinned.1);
        for topic in kind.topics {
            let index = topic.index.as_ref().map(|range| range.start);
            let name = format!("rig/{}{}", kind.name, topic.suffix_at(index));
            for Spoilt { payload, reason, pointer } in variants(topic) {
                client.say(&name, payload).await;
                expected.push(json!([name, reason, pointer]));
            }
            topics.push(name);
        }
    }
    let mut told = Vec::new();
    let mut path = "/api/v1/rejections?after=0&limit=1000".to_owned();
    loop {
        let page = house.get(&path).await;
        let items = page["items"].as_array().unwrap();
        told.extend(items.iter().map(|one| json!([one["topic"], one["reason"], one["pointer"]])));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/rejections?after={next}&limit=1000");
    }
    for (told, expected) in told.iter().zip(&expected) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), expected.len());

    for name in &topics {
        client.say(name, "\"".to_owned() + &"x".repeat(MEBIBYTE) + "\"").await;
    }
    let counts = house.get("/api/v1/rejections/counts").await;
    let counts = counts["items"].as_array().unwrap();
    let large = counts.iter().filter(|count| count["reason"] == "TOO_LARGE" && count["count"] == 1).count();
    assert_eq!(large, topics.len());
    client.ping().await;
}
