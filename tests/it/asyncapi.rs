//! What the AsyncAPI document says, tried on a gateway.

use crosslink::{broker::QoS, config::Listen};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{House, until};

#[test]
fn the_committed_document_is_what_the_code_says() {
    let committed = include_str!("../../openapi/asyncapi.json");
    let fix = "cargo run -- schema asyncapi > openapi/asyncapi.json";
    assert_eq!(crosslink::asyncapi::contract(), committed, "{fix}");
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
async fn what_the_document_shows_is_understood() {
    let house = House::start().await;
    let document = house.get("/mqtt/asyncapi.json").await;
    let mut client = house.somebody("a").await;
    let mut said = 0;
    for (id, channel) in document["channels"].as_object().unwrap() {
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
