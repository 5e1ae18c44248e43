//! GraphQL as a client sees it: over HTTP and over a WebSocket, with devices that publish.

mod codes;
mod commands;
mod fields;
mod queries;
mod service_streams;
mod services;
mod streams;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::{
    StatusCode,
    header::{self, HeaderValue},
};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::harness;

/// Nothing here takes so long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn http_is_spoken_as_the_specification_says() {
    let house = House::start().await;
    let url = house.url("http");
    let http = reqwest::Client::new();
    let new = "application/graphql-response+json";

    let ask = |query: &str| http.post(&url).json(&json!({ "query": query }));
    let answer = ask("{ devices { name } }").header(header::ACCEPT, new).send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()[header::CONTENT_TYPE]),
        (StatusCode::OK, &HeaderValue::from_static(new))
    );
    let answer = ask("{ nothing }").header(header::ACCEPT, new).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let body: Value = answer.json().await.unwrap();
    assert!(body.get("data").is_none(), "{body}");
    assert_eq!(ask("{ nothing }").send().await.unwrap().status(), StatusCode::OK);

    let get = |query: &str| http.get(format!("{url}?query={query}"));
    let answer: Value = get("%7Bdevices%7Bname%7D%7D").send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["devices"][0]["name"], "esp32");
    let answer = get("mutation%7Bplay(device:%22esp32%22)%7Bid%7D%7D").send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()[header::ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("POST"))
    );
    assert_eq!(http.get(&url).send().await.unwrap().status(), StatusCode::BAD_REQUEST);

    let plain =
        http.post(&url).header(header::CONTENT_TYPE, "text/plain").body(r#"{"query":"{devices{name}}"}"#);
    let plain = plain.send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let plain: Value = plain.json().await.unwrap();
    assert_eq!(plain["errors"][0]["extensions"]["code"], "UNSUPPORTED_MEDIA_TYPE");
    let large = ask(&"#".repeat(300 * 1024)).send().await.unwrap();
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let large: Value = large.json().await.unwrap();
    assert_eq!(large["errors"][0]["extensions"]["code"], "TOO_LARGE");
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_closed_with_its_code() {
    let house = House::start().await;
    let subscribe = json!({ "id": "1", "type": "subscribe", "payload": { "query": "subscription { presence { seq } }" } });
    for (said, code) in [
        (vec![subscribe.clone()], 4401),
        (vec![json!({ "type": "connection_init" }), json!({ "type": "connection_init" })], 4429),
        (vec![json!({ "type": "connection_init" }), subscribe.clone(), subscribe.clone()], 4409),
        (vec![json!({ "type": "nonsense" })], 4400),
    ] {
        let mut socket = house.socket().await;
        for message in &said {
            socket.say(message).await;
        }
        assert_eq!(socket.closed().await, code, "{said:?}");
    }
}

#[tokio::test]
async fn one_socket_carries_many_operations_but_not_all() {
    let house = House::start().await;
    let mut socket = house.socket().await;
    socket.say(&json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hear().await["type"], "connection_ack");
    for id in 0..65 {
        let payload = json!({ "query": "subscription { sensors { seq } }" });
        socket.say(&json!({ "id": id.to_string(), "type": "subscribe", "payload": payload })).await;
    }
    let refused = socket.hear().await;
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("64")));
    socket.say(&json!({ "id": "0", "type": "complete" })).await;
    let payload = json!({ "query": "{ devices { name } }" });
    socket.say(&json!({ "id": "q", "type": "subscribe", "payload": payload })).await;
    assert_eq!(socket.hear().await["payload"]["data"]["devices"][0]["name"], "esp32");
    assert_eq!(socket.hear().await, json!({ "type": "complete", "id": "q" }));
}

#[tokio::test]
async fn a_gateway_that_stops_says_so() {
    let house = House::start().await;
    let mut socket = house.subscribe("subscription { sensors { seq } }").await;
    socket.settled().await;
    house.0.stop().await;
    assert_eq!(socket.closed().await, 1001);
}

/// A gateway that is spoken to by GraphQL.
pub struct House(pub harness::House);

impl House {
    pub async fn start() -> House {
        House(harness::House::start().await)
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/graphql", self.0.http_addr())
    }

    async fn post(&self, query: &str) -> Value {
        let http = reqwest::Client::new();
        let answer = http.post(self.url("http")).json(&json!({ "query": query })).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// The data, without errors.
    async fn ask(&self, query: &str) -> Value {
        let mut answer = self.post(query).await;
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer["data"].take()
    }

    pub async fn restart(self) -> House {
        House(self.0.restart().await)
    }

    async fn device(&self, name: &str) -> Device {
        let address = self.0.mqtt_addr();
        let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
        options.set_inflight(100);
        let (client, mut events) = AsyncClient::new(options, 100);
        let (heard, acknowledged) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Incoming::PubAck(_) | Incoming::SubAck(_)) = event {
                    heard.send_modify(|count| *count += 1);
                }
            }
        });
        Device { name: name.to_owned(), client, said: 0, acknowledged }
    }

    async fn socket(&self) -> Socket {
        let address = self.0.http_addr();
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that a test that does not read is soon felt at the other side.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let mut request = self.url("ws").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        Socket(client_async(request, stream).await.unwrap().0)
    }

    pub async fn subscribe(&self, query: &str) -> Socket {
        let mut socket = self.socket().await;
        socket.say(&json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hear().await["type"], "connection_ack");
        socket.say(&json!({ "id": "1", "type": "subscribe", "payload": { "query": query } })).await;
        socket
    }
}

/// An MQTT client that counts what is acknowledged: what it said is then in the journal.
struct Device {
    name: String,
    client: AsyncClient,
    said: usize,
    acknowledged: watch::Receiver<usize>,
}

impl Device {
    async fn measures(&mut self, temperature: f64) {
        self.says(&format!("sensors/{}", self.name), &reading(temperature)).await;
    }

    async fn says(&mut self, topic: &str, payload: &str) {
        self.says_soon(topic, payload).await;
        self.acknowledged().await;
    }

    async fn says_soon(&mut self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        self.said += 1;
    }

    /// Takes its commands, and acknowledges them.
    async fn obeys(&mut self) {
        self.client.subscribe(format!("commands/{}/play", self.name), QoS::AtLeastOnce).await.unwrap();
        self.said += 1;
        self.acknowledged().await;
    }

    async fn acknowledged(&mut self) {
        let said = self.said;
        let all = self.acknowledged.wait_for(|count| *count == said);
        timeout(PATIENCE, all).await.expect("the gateway acknowledges").unwrap();
    }
}

fn reading(temperature: f64) -> String {
    json!({ "temperature": temperature, "humidity": 40, "threshold": 29 }).to_string()
}

/// A client of `graphql-transport-ws`.
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub async fn hear(&mut self) -> Value {
        let heard = async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        timeout(PATIENCE, heard).await.expect("the gateway speaks")
    }

    /// The data of the next item.
    pub async fn next(&mut self) -> Value {
        let mut message = self.hear().await;
        assert!(message["type"] == "next" && message["payload"].get("errors").is_none(), "{message}");
        message["payload"]["data"].take()
    }

    /// What was said before has been understood, and nothing is left to hear.
    pub async fn settled(&mut self) {
        self.say(&json!({ "type": "ping" })).await;
        assert_eq!(self.hear().await, json!({ "type": "pong" }));
    }

    async fn closed(&mut self) -> u16 {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("the gateway closes").unwrap().unwrap() {
                Message::Close(frame) => return frame.unwrap().code.into(),
                _ => continue,
            }
        }
    }
}
