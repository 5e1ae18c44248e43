//! What the AsyncAPI document says, tried on a gateway.

use std::collections::BTreeSet;

use crosslink::{
    broker::QoS,
    catalog::{self, Answer, Class, Effect, KINDS, Kind, Topic},
    config::Listen,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{House, until};

#[test]
fn the_committed_document_is_what_the_code_says() {
    let committed = include_str!("../../openapi/asyncapi.json");
    let fix = "cargo run -- schema asyncapi > openapi/asyncapi.json";
    assert_eq!(crosslink::asyncapi::contract(), committed, "{fix}");
}

fn contract() -> Value {
    serde_json::from_str(&crosslink::asyncapi::contract()).unwrap()
}

/// Each topic of each kind, with its channel and what is said on it, by its place in the document.
fn told(document: &Value) -> Vec<(&'static Kind, &'static Topic, String, &Value)> {
    let channels = document["channels"].as_object().unwrap();
    let topics = KINDS.iter().flat_map(|kind| kind.topics.iter().map(move |topic| (kind, topic)));
    let found = topics.map(|(kind, topic)| {
        let address = format!("{{firmware}}/{{service}}{}", topic.suffix);
        let mut found = channels.iter().filter(|(_, channel)| {
            channel["address"] == *address && channel["tags"] == json!([{ "name": kind.name }])
        });
        let (id, channel) = found.next().unwrap_or_else(|| panic!("no {address} of {}", kind.name));
        assert_eq!(found.next(), None);
        (kind, topic, id.clone(), channel)
    });
    found.collect()
}

/// The one message of a channel.
fn message(channel: &Value) -> &Value {
    let messages = channel["messages"].as_object().unwrap();
    assert_eq!(messages.len(), 1, "{channel}");
    messages.values().next().unwrap()
}

/// The one operation on a channel.
fn operation<'a>(document: &'a Value, channel: &str) -> &'a Value {
    let place = format!("#/channels/{channel}");
    let operations = document["operations"].as_object().unwrap().values();
    let mut found = operations.filter(|operation| operation["channel"]["$ref"] == place);
    let operation = found.next().unwrap();
    assert_eq!(found.next(), None);
    operation
}

#[test]
fn each_topic_of_each_kind_has_a_channel_of_its_own() {
    let document = contract();
    let told = told(&document);
    let ids = told.iter().map(|(.., id, _)| id.as_str()).collect::<BTreeSet<_>>();
    assert_eq!(ids.len(), told.len());
    let devices = ["commands", "presence", "sensors"];
    let all = document["channels"].as_object().unwrap().keys().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(all, ids.into_iter().chain(devices).collect());
}

#[test]
fn each_kind_is_a_tag_that_says_what_it_is() {
    let tags = &contract()["info"]["tags"];
    for kind in KINDS {
        let tag = json!({ "name": kind.name, "description": kind.summary });
        assert!(tags.as_array().unwrap().contains(&tag), "{tag}");
    }
}

#[test]
fn what_stands_in_an_address_is_told() {
    let document = contract();
    for (_, topic, id, channel) in told(&document) {
        let parameters = channel["parameters"].as_object().unwrap();
        assert_eq!(parameters["firmware"], json!({ "$ref": "#/components/parameters/firmware" }), "{id}");
        assert_eq!(parameters["service"], json!({ "$ref": "#/components/parameters/service" }), "{id}");
        let placeholder = topic.suffix.split_once('{').map(|(_, rest)| rest.split_once('}').unwrap().0);
        assert_eq!(parameters.len(), 2 + usize::from(placeholder.is_some()), "{id}");
        let Some(name) = placeholder else { continue };
        let range = topic.index.clone().unwrap();
        match parameters[name]["enum"].as_array() {
            Some(values) => {
                let numbers = range.map(|number| json!(number.to_string())).collect::<Vec<_>>();
                assert_eq!(*values, numbers, "{id}");
            }
            None => {
                let bounds = format!("from {} to {}", range.start, range.end - 1);
                assert!(parameters[name]["description"].as_str().unwrap().contains(&bounds), "{id}");
            }
        }
    }
}

#[test]
fn a_channel_shows_every_example_of_its_topic() {
    let document = contract();
    for (_, topic, id, channel) in told(&document) {
        let shown = message(channel)["examples"].as_array().unwrap();
        let shown = shown.iter().map(|example| example["payload"].clone()).collect::<Vec<_>>();
        let known = topic.examples.iter().map(|example| serde_json::from_str(example).unwrap());
        assert_eq!(shown, known.collect::<Vec<Value>>(), "{id}");
        for example in shown {
            assert!(topic.read_exactly(example.to_string().as_bytes()).is_ok(), "{id}: {example}");
        }
    }
}

#[test]
fn a_message_has_the_type_of_its_topic_and_the_units_of_its_numbers() {
    let document = contract();
    for (_, topic, id, channel) in told(&document) {
        let message = message(channel);
        let place = format!("#/components/schemas/{}", (topic.shape.name)());
        assert_eq!(message["payload"], json!({ "$ref": place }), "{id}");
        assert_eq!(message["contentType"], "application/json");
        assert_ne!(message["summary"], "", "{id}");
        let description = message["description"].as_str().unwrap_or_default();
        for number in topic.numbers {
            assert!(description.contains(&format!("`{}`: ", number.pointer)), "{id}: {number:?}");
        }
    }
}

#[test]
fn a_service_hears_commands_and_feeds_and_says_the_rest() {
    let document = contract();
    for (_, topic, id, _) in told(&document) {
        let operation = operation(&document, &id);
        let (action, qos) = match topic.class {
            Class::Command => ("receive", 1),
            Class::Feed => ("receive", 0),
            Class::Telemetry | Class::Event => ("send", 0),
        };
        assert_eq!(operation["action"], action, "{id}");
        let flags = json!({ "bindingVersion": "0.2.0", "qos": qos, "retain": false });
        assert_eq!(operation["bindings"]["mqtt"], flags, "{id}");
    }
}

#[test]
fn a_command_tells_its_effect_and_where_it_is_answered() {
    let document = contract();
    for (kind, topic, id, _) in told(&document) {
        let operation = operation(&document, &id);
        let reply = match topic.answer {
            Answer::Echo { on }
            | Answer::Mapped { on, .. }
            | Answer::Outcome { on, .. }
            | Answer::State { on, .. }
            | Answer::Reading { on } => Some(on),
            Answer::None | Answer::Implied { .. } => None,
        };
        let answered = operation["reply"]["channel"]["$ref"].as_str().map(|place| {
            let channel = document.pointer(place.strip_prefix('#').unwrap()).unwrap();
            assert_eq!(channel["tags"], json!([{ "name": kind.name }]), "{id}");
            channel["address"].as_str().unwrap()
        });
        let reply = reply.map(|suffix| format!("{{firmware}}/{{service}}{suffix}"));
        assert_eq!(answered, reply.as_deref(), "{id}");
        let effect = match topic.effect {
            None => continue,
            Some(Effect::State) => "STATE",
            Some(Effect::OneShot) => "ONE_SHOT",
            Some(Effect::Hazard | Effect::HazardWhen(_)) => "HAZARD",
        };
        let description = operation["description"].as_str().unwrap();
        assert!(description.contains("**Answer**: "), "{id}: {description}");
        assert!(description.contains(&format!("**Effect**: {effect}")), "{id}: {description}");
    }
}

#[test]
fn every_payload_type_is_among_the_schemas() {
    let document = contract();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in catalog::schemas() {
        assert_eq!(schemas[&name], json!(schema), "{name}");
    }
    let types = KINDS.iter().flat_map(|kind| kind.topics).map(|topic| (topic.shape.name)());
    let types = types.inspect(|name| assert!(schemas.contains_key(&**name), "{name}"));
    assert!(types.collect::<BTreeSet<_>>().len() >= 47);
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").map(|place| place.as_str().unwrap()));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = contract();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > KINDS.len());
    for place in found {
        let end = place.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(end.is_some(), "{place} leads nowhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_tells_what_is_committed_but_where_it_is() {
    let house = House::start().await;
    let mut document = house.get("/mqtt/asyncapi.json").await;
    let mut committed = contract();
    for document in [&mut document, &mut committed] {
        document["servers"].take();
    }
    assert_eq!(document, committed);
}

/// Where the document says that clients connect, by the name of the server.
async fn hosts(house: &House, host: Option<&str>) -> Value {
    let mut request = house.request(Method::GET, "/mqtt/asyncapi.json");
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let (status, document) = house.json(request).await;
    assert_eq!(status, StatusCode::OK, "{document}");
    document["servers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, one)| (name.clone(), one["host"].clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_leads_to_the_gateway_that_it_comes_from() {
    let house = House::start().await;
    let doors =
        json!({ "mqtt": house.mqtt_addr(), "mqtt-ws": house.mqtt_ws_addr(), "pages": house.http_addr() });
    assert_eq!(hosts(&house, None).await, doors);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_listens_everywhere_is_told_by_the_name_that_it_was_asked_by() {
    let house = House::with(|config| {
        config.open = true;
        config.mqtt = Listen::At(([0, 0, 0, 0], 0).into());
        config.mqtt_ws = Listen::Off;
    })
    .await;
    let mqtt = format!("localhost:{}", house.mqtt_addr().port());
    assert_eq!(hosts(&house, Some("localhost:80")).await, json!({ "mqtt": mqtt, "pages": "localhost:80" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_document_shows_of_devices_is_understood() {
    let house = House::start().await;
    let document = house.get("/mqtt/asyncapi.json").await;
    let mut client = house.somebody("a").await;
    let mut said = 0;
    let channels = document["channels"].as_object().unwrap().iter();
    for (id, channel) in channels.filter(|(_, channel)| channel["tags"][0]["name"] == "devices") {
        let topic = channel["address"].as_str().unwrap().replace("{device}", "esp32");
        let flags = flags(&document, id);
        let messages = channel["messages"].as_object().unwrap().values();
        for example in messages.flat_map(|message| message["examples"].as_array().unwrap()) {
            let payload = match &example["payload"] {
                Value::String(text) => text.clone(),
                json => json.to_string(),
            };
            client.publish(&topic, &payload, flags.0, flags.1).await;
            until(&format!("{payload:?} on {topic} is understood"), async || {
                let device = house.device("esp32").await;
                let (is, wanted) = match id.as_str() {
                    "sensors" => (&device["latest"]["payload"], example["payload"].clone()),
                    "presence" => (&device["presence"]["status"], json!(payload.to_uppercase())),
                    "commands" => (&device["mode"], mode(&example["name"])),
                    other => panic!("nobody knows what {other} does"),
                };
                if *is == wanted { Ok(()) } else { Err(is.clone()) }
            })
            .await;
            said += 1;
        }
    }
    assert_eq!(said, 8);
}

/// QoS and retain of every operation on a channel, which agree.
fn flags(document: &Value, channel: &str) -> (QoS, bool) {
    let on_channel = |operation: &&Value| operation["channel"]["$ref"] == format!("#/channels/{channel}");
    let operations = document["operations"].as_object().unwrap().values();
    let mut flags = operations.filter(on_channel).map(|operation| {
        let mqtt = &operation["bindings"]["mqtt"];
        let qos = u8::try_from(mqtt["qos"].as_u64().unwrap()).unwrap();
        (QoS::from_u8(qos).unwrap(), mqtt["retain"].as_bool().unwrap())
    });
    let first = flags.next().unwrap();
    assert!(flags.all(|other| other == first));
    first
}

fn mode(action: &Value) -> Value {
    match action.as_str().unwrap() {
        "play" => json!("FORCED_ON"),
        "stop" => json!("FORCED_OFF"),
        _ => json!("AUTO"),
    }
}
