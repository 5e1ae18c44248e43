//! Services: which there are, and what they say and are told.

mod kind;

use std::collections::BTreeMap;

use crosslink::{
    catalog::{self, Class, KINDS, Topic},
    model::ServiceTopic,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json, value::RawValue};

use super::{refused, seqs};
use crate::harness::House;

/// Fields as they were sent, byte for byte.
type Raw = BTreeMap<String, Box<RawValue>>;

const VOLTS: &str = r#"{ "value": 0.5, "unit": "V" }"#;

fn put(house: &House, service: &str, body: &Value) -> RequestBuilder {
    house.request(Method::PUT, &format!("/api/v1/services/{service}")).json(body)
}

async fn pin(house: &House, service: &str, kind: &str) -> Value {
    let (status, body) = house.json(put(house, service, &json!({ "kind": kind }))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

async fn unpin(house: &House, service: &str) -> Value {
    let (status, body) =
        house.json(house.request(Method::DELETE, &format!("/api/v1/services/{service}"))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

async fn service(house: &House, service: &str) -> Value {
    house.get(&format!("/api/v1/services/{service}")).await
}

async fn readings(house: &House, service: &str, query: &str) -> Value {
    house.get(&format!("/api/v1/services/{service}/readings?{query}")).await
}

/// The items of a page, byte for byte.
async fn raw(house: &House, path: &str) -> Vec<Raw> {
    let text = house.request(Method::GET, path).send().await.unwrap().text().await.unwrap();
    let page: Raw = serde_json::from_str(&text).unwrap();
    serde_json::from_str(page["items"].get()).unwrap()
}

/// One field of each item.
fn each<'a>(page: &'a Value, field: &str) -> Vec<&'a Value> {
    page["items"].as_array().unwrap().iter().map(|item| &item[field]).collect()
}

/// The suffixes that a topic may have: all of them, or the first and the last of very many.
fn suffixes(topic: &Topic) -> Vec<(Option<u16>, String)> {
    let indices: Vec<Option<u16>> = match &topic.index {
        None => vec![None],
        Some(range) if range.len() > 64 => vec![Some(range.start), Some(range.end - 1)],
        Some(range) => range.clone().map(Some).collect(),
    };
    indices.into_iter().map(|index| (index, topic.suffix_at(index))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_catalog_is_understood_typed_and_told() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    let mut count = 0;
    for kind in KINDS {
        let name = format!("rig/{}", kind.name);
        let pinned = pin(&house, &name, kind.name).await;
        assert_eq!((&pinned["state"], &pinned["kind"]), (&json!("PINNED"), &json!(kind.name)));
        for topic in kind.topics {
            // The document has a row for each channel and each rail of a power distribution.
            count += if kind.name == "pds" { suffixes(topic).len() } else { 1 };
            for (index, suffix) in suffixes(topic) {
                for example in topic.examples {
                    rig.say(&format!("{name}{suffix}"), example).await;
                    let expected = json!({ "firmware": "rig", "service": kind.name, "suffix": suffix,
                        "kind": kind.name, "type": (topic.shape.name)() });
                    let commands = topic.class == Class::Command;
                    let path = if commands {
                        format!("/api/v1/commands?firmware=rig&service={}&suffix={suffix}&limit=1", kind.name)
                    } else {
                        format!("/api/v1/services/{name}/readings?suffix={suffix}&limit=1")
                    };
                    let told = raw(&house, &path).await.remove(0);
                    for (field, value) in expected.as_object().unwrap() {
                        assert_eq!(told[field].get(), value.to_string(), "{field} of {name}{suffix}");
                    }
                    if commands {
                        assert_eq!(told["typed"].get(), *example);
                        assert_eq!(told["payload"].get(), json!(example).to_string());
                        assert_eq!(told["surface"].get(), r#""MQTT""#);
                        assert_eq!((told["device"].get(), told["action"].get()), ("null", "null"));
                    } else {
                        assert_eq!(told["payload"].get(), *example, "{name}{suffix}");
                        assert_eq!(told["index"].get(), json!(index).to_string());
                    }
                }
            }
        }
        let latest = service(&house, &name).await["latest"].take();
        let mut said: Vec<String> = Vec::new();
        for topic in kind.topics.iter().filter(|topic| topic.is_said()) {
            said.extend(suffixes(topic).into_iter().map(|(_, suffix)| suffix));
        }
        said.sort_by(|one, other| ServiceTopic::rank(one).cmp(&ServiceTopic::rank(other)));
        let told: Vec<&str> =
            latest.as_array().unwrap().iter().map(|one| one["suffix"].as_str().unwrap()).collect();
        assert_eq!(told, said, "{name}");
        assert!(latest.as_array().unwrap().iter().all(|one| one["age_ms"].as_i64() >= Some(0)));
    }
    assert_eq!(count, 61);
    assert_eq!(house.get("/api/v1/rejections").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_listed_by_what_is_asked() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    rig.say("rig/tank", VOLTS).await;
    rig.say("rig/imu/gyro", r#"{ "x": 0.1, "y": -0.1, "z": 0.05, "temp": 36.5 }"#).await;
    rig.say("lab/tank", VOLTS).await;
    pin(&house, "lab/tank", "analog_in").await;
    pin(&house, "lab/ahead", "pid").await;
    for (query, expected) in [
        ("", vec!["lab/ahead", "lab/tank", "rig/imu", "rig/tank"]),
        ("firmware=lab", vec!["lab/ahead", "lab/tank"]),
        ("service=tank", vec!["lab/tank", "rig/tank"]),
        ("firmware=rig&service=tank", vec!["rig/tank"]),
        ("kind=mpu6050", vec!["rig/imu"]),
        ("kind=stepper", vec![]),
        ("state=PINNED", vec!["lab/ahead", "lab/tank"]),
        ("state=PINNED&kind=pid", vec!["lab/ahead"]),
        ("state=AMBIGUOUS", vec!["rig/tank"]),
        ("firmware=nobody", vec![]),
    ] {
        let page = house.get(&format!("/api/v1/services?{query}")).await;
        let names: Vec<String> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("{}/{}", one["firmware"].as_str().unwrap(), one["name"].as_str().unwrap()))
            .collect();
        assert_eq!(
            (names, &page["next"]),
            (expected.iter().map(|name| (*name).to_owned()).collect(), &Value::Null)
        );
    }
    let get = |query: &str| house.request(Method::GET, &format!("/api/v1/services?{query}"));
    refused(get("kind=toaster"), 404, "NOT_FOUND", "no kind \"toaster\"").await;
    refused(get("state=pinned"), 400, "INVALID", "expected one of `UNKNOWN`, `AMBIGUOUS`").await;
    refused(get("name=tank"), 400, "INVALID", "`name`").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_may_be_any_text_that_a_topic_can_hold() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    let (firmware, name) = ("Prüfstand 1", "Öl %druck?");
    rig.say(&format!("{firmware}/{name}"), VOLTS).await;
    let path = "Pr%C3%BCfstand%201/%C3%96l%20%25druck%3F";
    let told = service(&house, path).await;
    assert_eq!((&told["firmware"], &told["name"]), (&json!(firmware), &json!(name)));
    assert_eq!(pin(&house, path, "loadcell").await["latest"][0]["firmware"], firmware);
    assert_eq!(each(&readings(&house, path, "").await, "service"), [name]);
    assert_eq!(unpin(&house, path).await["state"], "AMBIGUOUS");
    let listed = house.get("/api/v1/services?firmware=Pr%C3%BCfstand+1").await;
    assert_eq!(each(&listed, "name"), [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_of_each_topic_is_told_with_its_age() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    for channel in [3, 1, 3] {
        rig.say(&format!("rig/power/ch{channel}"), catalog::find("pds").unwrap().topics[1].examples[0]).await;
    }
    let all = readings(&house, "rig/power", "after=0").await;
    let seqs = seqs(&all);

    let power = service(&house, "rig/power").await;

    let latest: Vec<Value> = power["latest"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!([one["suffix"], one["index"], one["seq"], one["type"]]))
        .collect();
    assert_eq!(
        latest,
        [
            json!(["/ch1", 1, seqs[1], "PowerChannelResponse"]),
            json!(["/ch3", 3, seqs[2], "PowerChannelResponse"])
        ]
    );
    assert!(power["latest"][0]["age_ms"].as_i64() >= power["latest"][1]["age_ms"].as_i64());
    assert!(power["last_message_age_ms"].as_i64() <= power["latest"][0]["age_ms"].as_i64());
    for path in ["/api/v1/services", "/api/v1/services/rig/power"] {
        let answer = house.request(Method::GET, path).send().await.unwrap();
        assert!(!answer.headers().contains_key("etag"), "{path} tells ages");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_come_in_pages_and_between_moments() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    for suffix in ["accel", "gyro", "accel"] {
        let payload = r#"{ "x": 1.0, "y": 2.0, "z": 3.0, "temp": 20.0, "roll": 0.0, "pitch": 0.0 }"#;
        rig.say(&format!("rig/imu/{suffix}"), payload).await;
    }
    rig.say("rig/other", VOLTS).await;
    let all = readings(&house, "rig/imu", "after=0").await;
    let [first, second, third] = seqs(&all)[..] else { panic!("{all}") };
    for (query, expected, next) in [
        ("".to_owned(), vec![third, second, first], Value::Null),
        ("limit=2".to_owned(), vec![third, second], json!(format!("before-{second}"))),
        (format!("limit=2&after=before-{second}"), vec![first], Value::Null),
        (format!("limit=1&after={first}"), vec![second], json!(second.to_string())),
        ("suffix=/accel".to_owned(), vec![third, first], Value::Null),
        ("suffix=/gyro&after=0".to_owned(), vec![second], Value::Null),
        ("suffix=".to_owned(), vec![], Value::Null),
        ("suffix=/nothing".to_owned(), vec![], Value::Null),
        ("to=2100-01-01T01:00:00+01:00&limit=1".to_owned(), vec![third], json!(format!("before-{third}"))),
        ("from=2100-01-01T00:00:00Z".to_owned(), vec![], Value::Null),
    ] {
        let page = readings(&house, "rig/imu", &query).await;
        assert_eq!((seqs(&page), &page["next"]), (expected, &next), "{query}");
    }
    for (query, says) in [
        ("limit=0", "limit: a page has 1 to 1000 items, not 0"),
        ("after=x", "neither a seq nor the next of a page"),
        ("from=yesterday", "from: \"yesterday\" is no RFC 3339 time"),
        ("from=2026-11-22T00:00:00Z&to=2026-11-21T00:00:00Z", "is later than"),
        ("colour=red", "`colour`"),
    ] {
        let request = house.request(Method::GET, &format!("/api/v1/services/rig/imu/readings?{query}"));
        refused(request, 400, "INVALID", says).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_no_service_is_refused_and_says_what_does() {
    let house = House::start().await;
    let long = format!("{}/a", "x".repeat(65));
    for name in [
        "sensors/a",
        "presence/a",
        "commands/a",
        "mqtt/a",
        "$SYS/a",
        "esp32/play",
        "raspberry/play",
        "a/b%2Fc",
        "a%2Fb/c",
        "a/b%2B",
        "%23/b",
        "a/%0A",
        &long,
    ] {
        let path = format!("/api/v1/services/{name}");
        let says = "names no service: each of the two names is one level of a topic, 1 to 64 bytes";
        refused(put(&house, name, &json!({ "kind": "pid" })), 400, "INVALID", says).await;
        refused(house.request(Method::DELETE, &path), 400, "INVALID", says).await;
        refused(house.request(Method::GET, &path), 400, "INVALID", says).await;
        for of_it in ["readings", "frame.json", "frame.png"] {
            refused(house.request(Method::GET, &format!("{path}/{of_it}")), 400, "INVALID", says).await;
        }
    }
    refused(house.request(Method::GET, "/api/v1/services/%FF/a"), 400, "INVALID", "UTF-8").await;
    assert_eq!(pin(&house, "esp32/fan", "pwm").await["state"], "PINNED");
    assert_eq!(each(&house.get("/api/v1/services").await, "name"), ["fan"], "what is refused leaves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_nobody_knows_is_not_found() {
    let house = House::start().await;
    for (method, path) in [
        (Method::GET, "/api/v1/services/rig/nobody"),
        (Method::GET, "/api/v1/services/rig/nobody/readings"),
        (Method::GET, "/api/v1/services/rig/nobody/frame.json"),
        (Method::GET, "/api/v1/services/rig/nobody/frame.png"),
        (Method::DELETE, "/api/v1/services/rig/nobody"),
    ] {
        refused(house.request(method, path), 404, "NOT_FOUND", "no service \"rig/nobody\"").await;
    }
    refused(house.request(Method::POST, "/api/v1/services/rig/a"), 405, "METHOD_NOT_ALLOWED", "POST").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_log_tells_what_services_were_told() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    let config = r#"{ "enable": true, "duty": 0.5, "frequency": 1000 }"#;
    rig.say("rig/fan/config", config).await;
    rig.say("rig/scale/tare", "true").await;
    rig.say("commands/esp32/play", "true").await;
    rig.say("lab/fan/config", config).await;
    let list = async |query: &str| house.get(&format!("/api/v1/commands?after=0&{query}")).await;
    let all = list("").await;
    assert_eq!(
        each(&all, "topic"),
        ["rig/fan/config", "rig/scale/tare", "commands/esp32/play", "lab/fan/config"]
    );
    for (query, expected) in [
        ("firmware=rig", vec!["rig/fan/config", "rig/scale/tare"]),
        ("service=fan", vec!["rig/fan/config", "lab/fan/config"]),
        ("suffix=/tare", vec!["rig/scale/tare"]),
        ("firmware=lab&service=fan&suffix=/config&surface=MQTT", vec!["lab/fan/config"]),
        ("device=esp32", vec!["commands/esp32/play"]),
        ("device=esp32&firmware=rig", vec![]),
    ] {
        assert_eq!(each(&list(query).await, "topic"), expected, "{query}");
    }
    let fan = &all["items"][0];
    let of = |record: &Value| {
        json!([
            record["firmware"],
            record["service"],
            record["suffix"],
            record["kind"],
            record["type"],
            record["typed"]
        ])
    };
    assert_eq!(of(fan), json!(["rig", "fan", "/config", null, null, null]));
    assert_eq!(of(&all["items"][2]), json!([null, null, null, null, null, null]));
    assert_eq!((&all["items"][2]["device"], &all["items"][2]["action"]), (&json!("esp32"), &json!("play")));

    // As soon as it is known what the service is, so is what it was told.
    pin(&house, "rig/fan", "pwm").await;
    let told = house.get(&format!("/api/v1/commands/{}", fan["id"])).await;
    let payload: Value = serde_json::from_str(config).unwrap();
    assert_eq!(of(&told), json!(["rig", "fan", "/config", "pwm", "PWMCommand", payload]));
    assert_eq!(told["payload"], config);
}
