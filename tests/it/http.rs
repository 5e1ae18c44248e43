//! What holds for every route: who may ask, what every answer says, and how the server ends.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest},
};

use crate::{harness::House, rest::raw};

/// An MQTT 3.1.1 client named `a`.
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
const PLAY: &str = "POST /play/esp32 HTTP/1.1";

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_somebody_elses_is_no_name_of_the_gateway() {
    let house = House::with(|config| config.allow_host = vec!["plant.local".to_owned()]).await;
    for host in ["127.0.0.1:8080", "localhost", "[::1]:8080", "Plant.local:8080", "10.0.0.9"] {
        assert_eq!(raw(&house, &format!("{PLAY}\r\nhost: {host}")).await.0, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:8080", "plant.local.evil.example"] {
        let (status, _, body) = raw(&house, &format!("GET /api/v1/devices HTTP/1.1\r\nhost: {host}")).await;
        assert_eq!(status, 421, "{host}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["code"], "HOST_NOT_ALLOWED");
        assert!(problem["detail"].as_str().unwrap().contains("--allow-host"), "{problem}");
    }
    assert_eq!(raw(&house, "POST http://evil.example/play/esp32 HTTP/1.1\r\nhost: localhost").await.0, 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_may_look_but_not_touch() {
    let house = House::start().await;
    let port = house.http_addr().port();
    let host = format!("localhost:{port}");
    for origin in ["http://evil.example", "null", "http://localhost:1", "http://127.0.0.1.evil.example"] {
        let (status, _, body) = raw(&house, &format!("{PLAY}\r\nhost: {host}\r\norigin: {origin}")).await;
        assert_eq!(status, 403, "{origin}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["code"], "ORIGIN_NOT_ALLOWED");
        assert!(problem["detail"].as_str().unwrap().contains("--allow-origin"), "{problem}");
        let asked = format!("GET /api/v1/devices HTTP/1.1\r\nhost: {host}\r\norigin: {origin}");
        let (status, head, _) = raw(&house, &asked).await;
        assert_eq!(status, 200);
        assert!(!head.contains("access-control-allow-origin"), "{head}");
    }
    let own = format!("{PLAY}\r\nhost: {host}\r\norigin: http://{host}");
    assert_eq!(raw(&house, &own).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_origin_may_use_everything() {
    let listed = "http://plant.local:3000";
    let house = House::with(|config| config.allow_origin = vec![listed.to_owned()]).await;
    for path in ["/play/esp32", "/api/v1/devices/esp32/commands"] {
        let asks = |origin| {
            house
                .request(Method::OPTIONS, path)
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "content-type, idempotency-key")
        };
        let allowed = asks(listed).send().await.unwrap();
        assert_eq!(allowed.headers()["access-control-allow-origin"], listed);
        assert!(allowed.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
        let denied = asks("http://evil.example").send().await.unwrap();
        assert!(!denied.headers().contains_key("access-control-allow-origin"));
    }
    let used = house.request(Method::POST, "/play/esp32").header("origin", listed).send().await.unwrap();
    assert_eq!(
        (used.status(), &used.headers()["access-control-allow-origin"]),
        (StatusCode::OK, &listed.parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_listed_origins_only_a_preflight_is_answered_for_browsers() {
    let listed = "http://plant.local:3000";
    let house = House::with(|config| config.allow_origin = vec![listed.to_owned()]).await;
    for method in ["OPTIONS", "GET", "HEAD", "PUT", "DELETE", "PATCH"] {
        let (status, ..) = raw(&house, &format!("{method} /play/esp32 HTTP/1.1\r\norigin: {listed}")).await;
        assert_eq!(status, 404, "{method}");
    }
    let (status, _, body) = raw(&house, "OPTIONS /api/v1/devices HTTP/1.1").await;
    assert_eq!(status, 405, "{body}");
    let preflight =
        format!("OPTIONS /play/esp32 HTTP/1.1\r\norigin: {listed}\r\naccess-control-request-method: POST");
    let (status, head, _) = raw(&house, &preflight).await;
    assert_eq!(status, 200);
    assert!(head.contains(&format!("access-control-allow-origin: {listed}")), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_keeps_browsers_from_guessing() {
    let house = House::start().await;
    for path in ["/healthz", "/api/v1/devices", "/nothing"] {
        let response = house.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(response.headers()["x-frame-options"], "DENY", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_comes_in_by_a_websocket_with_its_subprotocol() {
    let house = House::start().await;
    let dial = |subprotocol: Option<&'static str>, origin: Option<&'static str>| {
        let mut request = format!("ws://{}/mqtt", house.http_addr()).into_client_request().unwrap();
        let headers = [("sec-websocket-protocol", subprotocol), ("origin", origin)];
        for (name, value) in headers {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        async move {
            match connect_async(request).await {
                Ok((_, response)) => {
                    (101, response.headers()["sec-websocket-protocol"].to_str().unwrap().to_owned())
                }
                Err(tungstenite::Error::Http(response)) => (response.status().as_u16(), String::new()),
                Err(why) => panic!("{why}"),
            }
        }
    };
    assert_eq!(dial(Some("mqtt"), None).await, (101, "mqtt".to_owned()));
    assert_eq!(dial(Some("mqttv3.1, mqtt"), None).await, (101, "mqtt".to_owned()));
    assert_eq!(dial(Some("soap"), None).await.0, 400);
    assert_eq!(dial(Some("mqtt"), Some("http://evil.example")).await.0, 403);
    let (status, problem) = house.json(house.request(Method::GET, "/mqtt")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("INVALID")));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_to_machines() {
    let house = House::start().await;
    assert_eq!(house.get("/healthz").await, json!("ok"));
    assert_eq!(house.get("/readyz").await, json!({ "status": "ready", "reasons": [] }));

    let response = house.request(Method::GET, "/metrics").send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = response.text().await.unwrap();
    for line in [
        "# TYPE crosslink_rejections_total counter",
        "# HELP crosslink_mqtt_clients Clients that are connected",
        "crosslink_mqtt_clients 0",
        "# TYPE crosslink_journal_head gauge",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_nobody_who_says_nothing() {
    let house = House::start().await;
    let mut request = format!("ws://{}/mqtt", house.http_addr()).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    socket.send(tungstenite::Message::binary(CONNECT)).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let mut idle = TcpStream::connect(house.http_addr()).await.unwrap();

    let begun = Instant::now();
    house.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap_or(0), 0);
}
