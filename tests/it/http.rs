//! What holds for every route: who may ask, what every answer says, and how the server ends.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode, header::HeaderMap};
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

/// A page that is served elsewhere and may use the gateway.
const LISTED: &str = "http://plant.local:3000";

async fn house_with_a_listed_origin() -> House {
    House::with(|config| config.allow_origin = vec![LISTED.to_owned()]).await
}

/// What a browser asks before it sends a request of a page.
async fn preflight(house: &House, path: &str, origin: &str, method: &str, headers: &str) -> HeaderMap {
    let request = house
        .request(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers);
    request.send().await.unwrap().headers().clone()
}

/// The words of a header, in lower case.
fn words(headers: &HeaderMap, name: &str) -> Vec<String> {
    let value = headers.get(name).map(|value| value.to_str().unwrap().to_lowercase()).unwrap_or_default();
    value.split(',').map(|word| word.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_origin_may_use_everything() {
    let house = house_with_a_listed_origin().await;
    for (method, path, headers) in [
        ("POST", "/play/esp32", "content-type, idempotency-key"),
        ("POST", "/api/v1/devices/esp32/commands", "content-type, idempotency-key, prefer"),
        ("POST", "/api/v1/rejections/replay", "content-type"),
        ("POST", "/graphql", "content-type"),
        ("GET", "/api/v1/devices/esp32/readings", "if-none-match"),
        ("HEAD", "/api/v1/commands", "if-none-match"),
        ("PUT", "/api/v1/devices/esp32", "content-type"),
        ("DELETE", "/api/v1/devices/esp32", "content-type"),
    ] {
        let allowed = preflight(&house, path, LISTED, method, headers).await;
        assert_eq!(allowed["access-control-allow-origin"], LISTED, "{path}");
        assert!(words(&allowed, "access-control-allow-methods").contains(&method.to_lowercase()), "{method}");
        let known = words(&allowed, "access-control-allow-headers");
        assert!(headers.split(", ").all(|header| known.contains(&header.to_owned())), "{headers}: {known:?}");
        assert_eq!(allowed["access-control-max-age"], "600");
        let denied = preflight(&house, path, "http://evil.example", method, headers).await;
        assert!(!denied.contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listed_origin_can_read_every_answer_also_an_error() {
    let house = house_with_a_listed_origin().await;
    let ask = |method: Method, path: &str, origin: &str| {
        house.request(method, path).header("origin", origin).send()
    };
    for (method, path, status) in [
        (Method::POST, "/play/esp32", 200),
        (Method::POST, "/play/nobody", 400),
        (Method::POST, "/dance/esp32", 400),
        (Method::POST, "/api/esp32", 404),
        (Method::GET, "/play/esp32", 404),
        (Method::GET, "/api/v1/devices", 200),
        (Method::GET, "/api/v1/devices/nobody", 404),
        (Method::GET, "/api/v1/commands?limit=0", 400),
        (Method::GET, "/nothing", 404),
        (Method::DELETE, "/api/v1/devices", 405),
        (Method::POST, "/api/v1/rejections/replay", 415),
        (Method::GET, "/api/openapi.json", 200),
        (Method::GET, "/healthz", 200),
    ] {
        let answer = ask(method.clone(), path, LISTED).await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], LISTED, "{method} {path}");
        assert!(words(answer.headers(), "vary").contains(&"origin".to_owned()), "{method} {path}");
        let exposed = words(answer.headers(), "access-control-expose-headers");
        for name in ["allow", "etag", "location", "preference-applied"] {
            assert!(exposed.contains(&name.to_owned()), "{method} {path} keeps {name} to itself");
        }
        let other = ask(method.clone(), path, "http://evil.example").await.unwrap();
        assert!(!other.headers().contains_key("access-control-allow-origin"), "{method} {path}");
        let expected = if matches!(method, Method::GET) { status } else { 403 };
        assert_eq!(other.status(), expected, "{method} {path}");
    }
    // By a name that the gateway does not know, a page can read why.
    let head = format!("GET /api/v1/devices HTTP/1.1\r\nhost: evil.example\r\norigin: {LISTED}");
    let (status, head, _) = raw(&house, &head).await;
    assert_eq!(status, 421);
    assert!(head.contains(&format!("access-control-allow-origin: {LISTED}")), "{head}");
    let seen =
        house.request(Method::GET, "/api/openapi.json").header("origin", LISTED).header("if-none-match", "*");
    let seen = seen.send().await.unwrap();
    assert_eq!(
        (seen.status(), &seen.headers()["access-control-allow-origin"]),
        (StatusCode::NOT_MODIFIED, &LISTED.parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_origin_is_listed_no_page_elsewhere_reads_anything() {
    let house = House::start().await;
    for path in ["/play/esp32", "/api/v1/devices", "/nothing"] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let request = house.request(method.clone(), path).header("origin", LISTED);
            let answer = request.header("access-control-request-method", "POST").send().await.unwrap();
            let spoken = answer.headers().keys().any(|name| name.as_str().starts_with("access-control-"));
            assert!(!spoken, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_listed_origins_only_a_preflight_is_answered_for_browsers() {
    let house = house_with_a_listed_origin().await;
    for method in ["OPTIONS", "GET", "HEAD", "PUT", "DELETE", "PATCH"] {
        let (status, ..) = raw(&house, &format!("{method} /play/esp32 HTTP/1.1\r\norigin: {LISTED}")).await;
        assert_eq!(status, 404, "{method}");
    }
    let (status, _, body) = raw(&house, "OPTIONS /api/v1/devices HTTP/1.1").await;
    assert_eq!(status, 405, "{body}");
    let preflight =
        format!("OPTIONS /play/esp32 HTTP/1.1\r\norigin: {LISTED}\r\naccess-control-request-method: POST");
    let (status, head, _) = raw(&house, &preflight).await;
    assert_eq!(status, 200);
    assert!(head.contains(&format!("access-control-allow-origin: {LISTED}")), "{head}");
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
