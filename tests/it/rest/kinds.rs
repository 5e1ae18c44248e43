//! The catalog, as REST tells it.

use crosslink::catalog::{self, KINDS, Topic, Unit};
use reqwest::Method;
use serde_json::{Value, json};

use super::{document::Document, refused};
use crate::harness::House;

/// Each topic of each kind as it is told, with the row of the catalog.
fn rows(page: &Value) -> Vec<(&'static Topic, Value)> {
    let mut rows = Vec::new();
    for (kind, told) in KINDS.iter().zip(page["items"].as_array().unwrap()) {
        assert_eq!((told["name"].as_str(), told["summary"].as_str()), (Some(kind.name), Some(kind.summary)));
        let topics = told["topics"].as_array().unwrap();
        assert_eq!(topics.len(), kind.topics.len(), "{}", kind.name);
        rows.extend(kind.topics.iter().zip(topics.iter().cloned()));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_are_told_with_all_their_topics() {
    let house = House::start().await;
    let page = house.get("/api/v1/kinds").await;
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (KINDS.len(), &Value::Null));
    let rows = rows(&page);
    assert_eq!(rows.len(), KINDS.iter().flat_map(|kind| kind.topics).count());
    for (topic, told) in &rows {
        assert_eq!(told["suffix"], topic.suffix);
        assert_eq!(told["type"].as_str(), Some(&*(topic.shape.name)()));
        assert_eq!(told["class"], json!(topic.class));
        let examples: Vec<Value> =
            topic.examples.iter().map(|example| serde_json::from_str(example).unwrap()).collect();
        assert_eq!(told["examples"], json!(examples));
        match &topic.index {
            Some(range) => assert_eq!(told["index"], json!({ "first": range.start, "last": range.end - 1 })),
            None => assert_eq!(told["index"], Value::Null),
        }
    }
    for kind in page["items"].as_array().unwrap() {
        let path = format!("/api/v1/kinds/{}", kind["name"].as_str().unwrap());
        assert_eq!(house.get(&path).await, *kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_stand_alone_and_describe_their_examples() {
    let house = House::start().await;
    let document = Document::committed();
    for (topic, told) in rows(&house.get("/api/v1/kinds").await) {
        let schema = &told["json_schema"];
        let text = schema.to_string();
        assert!(!text.contains("$ref") && schema["description"].is_string(), "{schema}");
        for example in told["examples"].as_array().unwrap() {
            assert_eq!(document.against(schema, example, topic.suffix), [""; 0]);
            if example.is_object() {
                // Whatever a device says beside, is kept; whatever a user sends beside, is refused.
                let closed = schema["additionalProperties"] == json!(false);
                assert_eq!(closed, !topic.is_said(), "{schema}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_where_the_catalog_says() {
    let house = House::start().await;
    for (topic, told) in rows(&house.get("/api/v1/kinds").await) {
        let examples = told["examples"].as_array().unwrap();
        let found = |pointer: &str| examples.iter().find_map(|example| example.pointer(pointer));
        let numbers = told["numbers"].as_array().unwrap();
        assert_eq!(numbers.len(), topic.numbers.len());
        for (known, number) in topic.numbers.iter().zip(numbers) {
            assert_eq!(number["pointer"], known.pointer);
            assert!(found(&known.pointer.replace("/*", "/0")).is_some_and(Value::is_number), "{number}");
            let (unit, unit_at) = match known.unit {
                Unit::Is(symbol) => (json!(symbol), Value::Null),
                Unit::At(pointer) => {
                    assert!(found(pointer).is_some_and(Value::is_string), "{number}");
                    (Value::Null, json!(pointer))
                }
                Unit::Open => (Value::Null, Value::Null),
                Unit::None => (json!(""), Value::Null),
            };
            assert_eq!((&number["unit"], &number["unit_at"]), (&unit, &unit_at), "{}", topic.suffix);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_tell_how_they_are_answered_and_what_they_may_do() {
    let house = House::start().await;
    let of = async |kind: &str, suffix: &str| {
        let kind = house.get(&format!("/api/v1/kinds/{kind}")).await;
        let topics = kind["topics"].as_array().unwrap().clone();
        let topic = topics.into_iter().find(|topic| topic["suffix"] == suffix).unwrap();
        (topic["answer"].clone(), topic["effect"].clone())
    };
    let answer = |rule: &str, more: Value| {
        let mut answer = json!({ "rule": rule, "on": null, "fault": null, "fields": [], "success": null,
            "error": null, "named": null });
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        answer
    };
    let field = |sent: &str, reported: &str, in_words: bool| json!({ "sent": sent, "reported": reported, "in_words": in_words });
    let state = json!({ "class": "STATE", "when": null });
    let hazard_when = |when: Option<&str>| json!({ "class": "HAZARD", "when": when });
    let response = json!({ "on": "/response" });
    let mapped = |fields: Vec<Value>| json!({ "on": "/response", "fields": fields });
    for (kind, suffix, rule, effect) in [
        ("pid", "/config", answer("ECHO", response.clone()), state.clone()),
        ("pwm", "/config", answer("ECHO", response.clone()), hazard_when(Some("/enable"))),
        ("bme280", "/config", answer("READING", response), state.clone()),
        ("math", "/pause", answer("MAPPED", mapped(vec![field("", "/data", false)])), state.clone()),
        (
            "mpu6050",
            "/config",
            answer("MAPPED", mapped(vec![field("/accel", "/accel", true), field("/gyro", "/gyro", true)])),
            state.clone(),
        ),
        (
            "qmc5883l",
            "/config",
            answer("OUTCOME", json!({ "on": "/response", "success": "/success", "error": "/error" })),
            state.clone(),
        ),
        (
            "actuator",
            "/command",
            answer("STATE", json!({ "on": "/state", "fault": "/fault" })),
            hazard_when(None),
        ),
        (
            "pds",
            "/config",
            answer("IMPLIED", json!({ "named": "/rail", "fields": [field("/enable", "/enabled", false)] })),
            hazard_when(Some("/enable")),
        ),
        ("loadcell", "/tare", Value::Null, json!({ "class": "ONE_SHOT", "when": null })),
        ("analog_in", "/config", Value::Null, state),
        ("pid", "/output", Value::Null, Value::Null),
    ] {
        assert_eq!(of(kind, suffix).await, (rule, effect), "{kind}{suffix}");
    }
    let answered = |topic: &&Topic| topic.answer != catalog::Answer::None;
    let known = KINDS.iter().flat_map(|kind| kind.topics).filter(answered).count();
    let told = rows(&house.get("/api/v1/kinds").await);
    assert_eq!(told.iter().filter(|(_, told)| !told["answer"].is_null()).count(), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_there_is_not_is_not_found() {
    let house = House::start().await;
    for kind in ["toaster", "PID", "p%20id"] {
        refused(house.request(Method::GET, &format!("/api/v1/kinds/{kind}")), 404, "NOT_FOUND", "no kind")
            .await;
    }
    for path in ["/api/v1/kinds", "/api/v1/kinds/pid"] {
        refused(house.request(Method::GET, &format!("{path}?colour=red")), 400, "INVALID", "`colour`").await;
    }
}
