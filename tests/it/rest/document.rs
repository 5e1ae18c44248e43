//! The OpenAPI document is what the gateway answers, and what it shows is what it describes.

use std::collections::BTreeSet;

use crosslink::broker::QoS;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{device, refused};
use crate::harness::House;

const COMMITTED: &str = include_str!("../../../openapi/openapi.json");

pub struct Document(Value);

impl Document {
    pub fn committed() -> Document {
        Document(serde_json::from_str(COMMITTED).unwrap())
    }

    /// What is meant: here, or where a reference leads.
    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(place) => self.0.pointer(place.strip_prefix('#').unwrap()).expect(place),
            None => value,
        }
    }

    /// Each method of each path.
    fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.0["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
    }

    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        let method = method.as_str().to_lowercase();
        let fits = |template: &str| {
            let (template, path): (Vec<_>, Vec<_>) =
                (template.split('/').collect(), path.split('/').collect());
            template.len() == path.len()
                && template.iter().zip(path).all(|(level, said)| level.starts_with('{') || *level == said)
        };
        let named = |template: &str| template.matches('{').count();
        let found = self.operations().filter(|(template, knows, _)| *knows == method && fits(template));
        found.min_by_key(|(template, ..)| named(template)).map(|(.., operation)| operation)
    }

    /// Where a value is not as a schema says.
    pub fn against(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let (properties, _) = self.fields(schema);
        self.check(schema, value, at, &mut wrong);
        let unknown = |key: &&String| !properties.is_empty() && !properties.contains_key(*key);
        if let Some(object) = value.as_object() {
            wrong.extend(object.keys().filter(unknown).map(|key| format!("{at}/{key} is not described")));
        }
        wrong
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let schema = self.resolved(schema);
        if let Some(one_of) = schema["oneOf"].as_array() {
            if !one_of.iter().any(|schema| self.against(schema, value, at).is_empty()) {
                wrong.push(format!("{at}: {value} is none of {one_of:?}"));
            }
            return;
        }
        if let Some(any_of) = schema["anyOf"].as_array() {
            // Those of the catalog: what devices say may be more than is described.
            let fits = |schema: &Value| {
                let mut wrong = Vec::new();
                self.check(schema, value, at, &mut wrong);
                wrong.is_empty()
            };
            if !any_of.iter().any(fits) {
                wrong.push(format!("{at}: {value} is none of {any_of:?}"));
            }
            return;
        }
        let types = match &schema["type"] {
            Value::Null => Vec::new(),
            Value::Array(types) => types.iter().map(|one| one.as_str().unwrap()).collect(),
            one => vec![one.as_str().unwrap()],
        };
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let fits = |one: &&str| *one == is || (*one == "number" && is == "integer");
        if !types.is_empty() && !types.iter().any(fits) {
            wrong.push(format!("{at}: {value} is no {types:?}"));
        }
        if schema["enum"].as_array().is_some_and(|members| !members.contains(value)) {
            wrong.push(format!("{at}: {value} is none of {}", schema["enum"]));
        }
        for (n, item) in value.as_array().into_iter().flatten().enumerate() {
            wrong.extend(self.against(&schema["items"], item, &format!("{at}/{n}")));
        }
        if let Some(object) = value.as_object() {
            let (properties, required) = self.fields(schema);
            let missing = required.iter().filter(|key| !object.contains_key(*key));
            wrong.extend(missing.map(|key| format!("{at}/{key} is missing")));
            for (key, value) in object {
                if let Some(schema) = properties.get(key) {
                    wrong.extend(self.against(schema, value, &format!("{at}/{key}")));
                }
            }
        }
    }

    /// The properties of an object, and those that must be there.
    fn fields(&self, schema: &Value) -> (Map<String, Value>, BTreeSet<String>) {
        let schema = self.resolved(schema);
        let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
        let names = schema["required"].as_array().into_iter().flatten();
        let mut required: BTreeSet<String> = names.map(|name| name.as_str().unwrap().to_owned()).collect();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let (more, needed) = self.fields(part);
            properties.extend(more);
            required.extend(needed);
        }
        (properties, required)
    }
}

/// The operation says that it may answer so; what no operation answers is described once for all.
pub fn refuses(method: &Method, path: &str, status: u16, code: &str) {
    let document = Document::committed();
    match document.operation(method, path) {
        Some(operation) => {
            let answer = document.resolved(&operation["responses"][status.to_string()]);
            let mut said = answer["description"].as_str().unwrap_or_default().split("\n\n");
            let told = said.any(|one| one.starts_with(&format!("{code}: ")));
            assert!(told, "{method} {path} does not tell of {status} {code}");
        }
        None => assert!([404, 405].contains(&status), "{method} {path} is not described"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_served_as_it_is_committed() {
    let house = House::start().await;
    let served = house.get("/api/openapi.json").await;
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served, Document::committed().0);
    assert_eq!(crosslink::rest::contract(), COMMITTED, "cargo run -- schema openapi > openapi/openapi.json");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_it_is_described() {
    let house = House::start().await;
    let mut pump = device(&house, "pump", &[20.0]).await;
    device(&house, "raspberry", &[30.0]).await;
    pump.say("sensors/pump", "nonsense").await;
    pump.say("sensors/pump", b"\xff").await;
    for row in [3, 2] {
        pump.say(&format!("board1/camera/{row}"), json!(vec![21.5; 24]).to_string()).await;
    }
    pump.subscribe("commands/pump/play", QoS::AtLeastOnce).await;
    pump.say("rig/tank", r#"{ "value": 0.5, "unit": "V" }"#).await;
    pump.say("rig/imu/gyro", r#"{ "x": 0.1, "y": -0.1, "z": 0.05, "temp": 36.5, "more": [1] }"#).await;
    pump.say("rig/imu/config", r#"{ "accel": 2, "gyro": 1 }"#).await;
    house.flaps(house.client("restless")).await;
    let document = Document::committed();
    let mut left: BTreeSet<String> = document
        .operations()
        .map(|(.., operation)| operation["operationId"].as_str().unwrap().to_owned())
        .collect();

    for service in ["button", "scale"] {
        let kind = if service == "scale" { "loadcell" } else { "command" };
        let pinned = house.request(Method::PUT, &format!("/api/v1/services/rig/{service}"));
        assert!(pinned.json(&json!({ "kind": kind })).send().await.unwrap().status().is_success());
    }
    let armed = house.post("/api/v1/services/rig/scale/arm/tare", json!(true)).await.1;
    let token = json!({ "token": armed["token"] });
    let play = json!({ "action": "play" });
    for (method, path, body) in [
        (Method::POST, "/api/v1/devices/pump/commands", play),
        (Method::POST, "/play/esp32", Value::Null),
        (Method::GET, "/api/v1/devices", Value::Null),
        (Method::GET, "/api/v1/devices/raspberry", Value::Null),
        (Method::GET, "/api/v1/devices/pump", Value::Null),
        (Method::GET, "/api/v1/devices/pump/readings", Value::Null),
        (Method::GET, "/api/v1/devices/pump/presence", Value::Null),
        (Method::GET, "/api/v1/kinds", Value::Null),
        (Method::GET, "/api/v1/kinds/ir_cam", Value::Null),
        (Method::PUT, "/api/v1/services/rig/tank", json!({ "kind": "loadcell" })),
        (Method::GET, "/api/v1/services", Value::Null),
        (Method::GET, "/api/v1/services/rig/imu", Value::Null),
        (Method::GET, "/api/v1/services/rig/imu/readings", Value::Null),
        (Method::DELETE, "/api/v1/services/rig/tank", Value::Null),
        (Method::GET, "/api/v1/services/rig/tank/readings", Value::Null),
        (Method::POST, "/api/v1/services/rig/button/commands", json!({ "data": 1 })),
        (Method::POST, "/api/v1/services/rig/scale/commands/tare", json!(true)),
        (Method::POST, "/api/v1/services/rig/button/arm", json!({ "data": 1 })),
        (Method::POST, "/api/v1/services/rig/scale/arm/tare", json!(true)),
        (Method::POST, "/api/v1/commands/execute", token),
        (Method::GET, "/api/v1/commands", Value::Null),
        (Method::GET, "/api/v1/clients", Value::Null),
        (Method::GET, "/api/v1/clients/refused", Value::Null),
        (Method::GET, "/api/v1/rejections", Value::Null),
        (Method::GET, "/api/v1/rejections/counts", Value::Null),
        (Method::POST, "/api/v1/rejections/replay", json!({ "after": 0 })),
        (Method::GET, "/api/v1/services/board1/camera/frame.json", Value::Null),
        (Method::GET, "/api/v1/services/board1/camera/frame.png", Value::Null),
        (Method::GET, "/healthz", Value::Null),
        (Method::GET, "/readyz", Value::Null),
        (Method::GET, "/metrics", Value::Null),
    ] {
        let mut request = house.request(method.clone(), path);
        if !body.is_null() {
            request = request.json(&body);
        }
        let mut answers = vec![(path.to_owned(), request.send().await.unwrap())];
        if let Some(place) = answers[0].1.headers().get("location") {
            let place = place.to_str().unwrap().to_owned();
            answers.push((place.clone(), house.request(Method::GET, &place).send().await.unwrap()));
        }
        for (path, answer) in answers {
            let method = if path.starts_with("/api/v1/commands/") && !path.ends_with("/execute") {
                &Method::GET
            } else {
                &method
            };
            let operation = document.operation(method, &path).expect(&path);
            left.remove(operation["operationId"].as_str().unwrap());
            let described = &operation["responses"][answer.status().as_str()];
            for name in described["headers"].as_object().into_iter().flatten().map(|(name, _)| name) {
                assert!(answer.headers().contains_key(name), "{path} has no {name}");
            }
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            let text = answer.text().await.unwrap();
            let Some(media) = described["content"].get(kind.trim_end_matches("; charset=utf-8")) else {
                panic!("{path} answers {kind}: {text}");
            };
            if kind == "application/json" {
                let body: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(document.against(&media["schema"], &body, &path), [""; 0], "{body:#}");
                assert!(
                    body["items"].as_array().is_none_or(|items| !items.is_empty()),
                    "{path} shows nothing"
                );
            }
        }
    }
    assert_eq!(left, BTreeSet::new(), "operations that nobody has asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_keeps_out_strangers_and_says_so() {
    let house = House::start().await;
    let document = Document::committed();
    for (template, method, _) in document.operations() {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let path = template.replace("{device}", "esp32").replace("{action}", "play").replace("{id}", "1");
        let path = path.replace("{kind}", "pid").replace("{firmware}", "rig").replace("{service}", "fan");
        let path = path.replace("{suffix}", "config");
        let strange = house.request(method.clone(), &path).header("host", "evil.example");
        refused(strange, 421, "HOST_NOT_ALLOWED", "--allow-host").await;
        if method != Method::GET {
            let foreign = house.request(method, &path).header("origin", "http://evil.example");
            refused(foreign, 403, "ORIGIN_NOT_ALLOWED", "--allow-origin").await;
        }
    }
}

#[test]
fn every_body_has_an_example_that_is_as_it_is_described() {
    let document = Document::committed();
    for (path, method, operation) in document.operations() {
        let answers =
            operation["responses"].as_object().unwrap().values().map(|answer| document.resolved(answer));
        let bodies = answers.chain([&operation["requestBody"]]);
        let media = bodies.flat_map(|body| body["content"].as_object().into_iter().flatten());
        // A picture is not told as text.
        for (kind, media) in media.filter(|(kind, _)| !kind.starts_with("image/")) {
            let named = media["examples"].as_object().into_iter().flatten();
            let examples: Vec<&Value> =
                media.get("example").into_iter().chain(named.map(|(_, one)| &one["value"])).collect();
            assert!(!examples.is_empty(), "{method} {path} has no example of {kind}");
            for example in examples {
                assert_eq!(document.against(&media["schema"], example, path), [""; 0], "{method} {path}");
            }
        }
    }
}

#[test]
fn everything_is_described() {
    let document = Document::committed();
    let tags = document.0["tags"].as_array().unwrap();
    for (path, method, operation) in document.operations() {
        for word in ["summary", "description", "operationId"] {
            assert!(operation[word].is_string(), "{method} {path} has no {word}");
        }
        assert!(tags.iter().any(|tag| tag["name"] == operation["tags"][0] && tag["description"].is_string()));
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = document.resolved(parameter);
            let said = parameter["description"].is_string() && !parameter["example"].is_null();
            assert!(said, "{method} {path} does not describe {parameter}");
        }
    }
    for (name, schema) in document.0["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name} is not described");
        for (field, schema) in document.fields(schema).0 {
            let described = ["/description", "/oneOf/0/description"];
            let said = described.iter().any(|place| schema.pointer(place).is_some());
            assert!(said || field == "items", "{name}.{field} is not described: {schema}");
        }
        let members = schema["enum"].as_array().into_iter().flatten();
        for member in members.map(|member| member.as_str().unwrap()) {
            let said = schema["description"].as_str().unwrap();
            assert!(said.contains(&format!("`{member}`")), "{name} does not describe {member}");
        }
    }
}
