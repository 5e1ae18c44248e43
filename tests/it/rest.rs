//! REST over real sockets: the original routes byte for byte, and the resources.

mod clients;
mod commands;
mod devices;
mod document;
mod kinds;
mod old_database;
mod original;
mod rejections;
mod service_commands;
mod service_refusals;
mod services;
mod tags;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

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

/// Status, code and what the detail must say; that the operation may answer so is documented. Returns the problem.
async fn refused(request: RequestBuilder, status: u16, code: &str, says: &str) -> Value {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.status(), status);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["instance"], path);
    assert_eq!(problem["type"], format!("urn:crosslink:problem:{}", code.to_lowercase().replace('_', "-")));
    assert!(problem["detail"].as_str().unwrap().contains(says), "{problem} does not say {says:?}");
    document::refuses(&method, &path, status, code);
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_a_problem() {
    let house = House::start().await;
    let get = |path| house.request(Method::GET, path);
    refused(get("/api/v1/devices/nobody"), 404, "NOT_FOUND", "no device \"nobody\"").await;
    refused(get("/api/v1/devices/nobody/readings"), 404, "NOT_FOUND", "nobody").await;
    refused(get("/api/v1/devices/%FF"), 400, "INVALID", "UTF-8").await;
    refused(get("/api/v1/commands/1000000"), 404, "NOT_FOUND", "1000000").await;
    refused(get("/api/v1/commands/x"), 400, "INVALID", "id: \"x\" is no number").await;
    refused(get("/api/v2/devices"), 404, "NOT_FOUND", "/api/v2/devices").await;
    refused(get("/api/v1/devices/esp32/commands"), 405, "METHOD_NOT_ALLOWED", "GET").await;
    refused(get("/api/v1/services/rig/fan/commands/config"), 405, "METHOD_NOT_ALLOWED", "GET").await;
    refused(get("/api/v1/rejections/replay"), 405, "METHOD_NOT_ALLOWED", "GET").await;
    for (path, allow) in [
        ("/api/v1/devices", "GET,HEAD"),
        ("/api/v1/commands/1", "GET,HEAD"),
        ("/api/v1/rejections/replay", "POST"),
        ("/api/openapi.json", "GET,HEAD"),
    ] {
        let response = house.request(Method::DELETE, path).send().await.unwrap();
        assert_eq!(response.headers()["allow"], allow, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_described_is_asked_in_vain() {
    let house = House::start().await;
    for path in [
        "/api/v1/devices",
        "/api/v1/devices/esp32",
        "/api/v1/devices/esp32/readings",
        "/api/v1/devices/esp32/presence",
        "/api/v1/commands",
        "/api/v1/commands/1",
        "/api/v1/clients",
        "/api/v1/clients/refused",
        "/api/v1/rejections",
        "/api/v1/rejections/counts",
    ] {
        let request = house.request(Method::GET, &format!("{path}?colour=red"));
        refused(request, 400, "INVALID", "`colour`").await;
    }
    for path in [
        "/api/v1/devices/esp32/commands",
        "/api/v1/services/rig/fan/commands",
        "/api/v1/services/rig/fan/commands/config",
        "/api/v1/services/rig/fan/arm",
        "/api/v1/services/rig/fan/arm/config",
        "/api/v1/commands/execute",
        "/api/v1/rejections/replay",
    ] {
        let request = house.request(Method::POST, &format!("{path}?colour=red"));
        refused(request, 400, "INVALID", "`colour`").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_an_answer_is_told_without_its_body() {
    let house = House::start().await;
    let path = "/api/v1/devices/esp32/readings";
    let whole = house.request(Method::GET, path).send().await.unwrap();
    let (status, head, body) = raw(&house, &format!("HEAD {path} HTTP/1.1")).await;
    assert_eq!((status, &*body), (200, ""));
    for name in ["etag", "content-type", "content-length"] {
        let line = format!("{name}: {}", whole.headers()[name].to_str().unwrap());
        assert!(head.contains(&line), "{head} does not say {line}");
    }
    assert_eq!(raw(&house, "HEAD /api/v1/devices/nobody HTTP/1.1").await.0, 404);
}
