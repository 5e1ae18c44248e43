//! GraphQL as a client sees it: over HTTP and over a WebSocket, with devices that publish.

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
async fn a_query_shows_the_devices_as_they_are() {
    let house = House::start().await;
    let mut raspberry = house.device("raspberry").await;
    raspberry.measures(30.5).await;

    let data = house
        .ask("{ devices { name presence { status reason clientId } latest { temperature raw } mode crossLink { peer expectedPlaying hazard peerReading { temperature } } } nobody: device(name: \"nobody\") { name } }")
        .await;

    let [esp32, raspberry] = &data["devices"].as_array().unwrap()[..] else { panic!("{data}") };
    assert_eq!((&esp32["name"], &raspberry["name"]), (&json!("esp32"), &json!("raspberry")));
    assert_eq!(
        raspberry["presence"],
        json!({ "status": "ONLINE", "reason": "READING", "clientId": "raspberry" })
    );
    assert_eq!(raspberry["latest"]["temperature"], 30.5);
    assert_eq!(raspberry["latest"]["raw"]["humidity"], 40);
    assert_eq!(esp32["latest"], Value::Null);
    assert_eq!(
        esp32["crossLink"],
        json!({ "peer": "raspberry", "expectedPlaying": true, "hazard": "NONE", "peerReading": { "temperature": 30.5 } })
    );
    assert_eq!(data["nobody"], Value::Null);
}

#[tokio::test]
async fn readings_are_paged_from_the_newest() {
    let house = House::start().await;
    let mut device = house.device("pump").await;
    for n in 0..5 {
        device.measures(f64::from(n)).await;
    }
    let page = async |arguments: &str| {
        let ask = format!(
            "{{ device(name: \"pump\") {{ readings({arguments}) {{ nodes {{ temperature }} edges {{ cursor }} pageInfo {{ hasNextPage hasPreviousPage endCursor startCursor }} }} }} }}"
        );
        let data = house.ask(&ask).await;
        let readings = data["device"]["readings"].clone();
        let temperatures: Vec<f64> = readings["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["temperature"].as_f64().unwrap())
            .collect();
        (temperatures, readings["pageInfo"].clone())
    };
    let sides = |info: &Value| (info["hasPreviousPage"] == true, info["hasNextPage"] == true);

    let (newest, info) = page("first: 2").await;
    assert_eq!((newest, sides(&info)), (vec![4.0, 3.0], (false, true)));
    let (older, info) = page(&format!("first: 2, after: {}", info["endCursor"])).await;
    assert_eq!((older, sides(&info)), (vec![2.0, 1.0], (true, true)));
    let (oldest, oldest_info) = page(&format!("first: 2, after: {}", info["endCursor"])).await;
    assert_eq!((oldest, sides(&oldest_info)), (vec![0.0], (true, false)));
    let (newer, info) = page(&format!("last: 1, before: {}", info["startCursor"])).await;
    assert_eq!((newer, sides(&info)), (vec![3.0], (true, true)));
    let (from_the_end, info) = page("last: 2").await;
    assert_eq!((from_the_end, sides(&info)), (vec![1.0, 0.0], (true, false)));
}

#[tokio::test]
async fn a_command_reaches_the_device_and_comes_back_as_a_record() {
    let house = House::start().await;
    let mut esp32 = house.device("esp32").await;
    esp32.obeys().await;

    let play = "mutation { play(device: \"esp32\", idempotencyKey: \"k\") { id state delivery surface payload address action } }";
    let first = house.ask(play).await["play"].clone();
    let again = house.ask(play).await["play"].clone();

    assert_eq!((&first["delivery"], &first["surface"]), (&json!("ACKNOWLEDGED"), &json!("GRAPHQL")));
    assert_eq!((&first["state"], &first["payload"]), (&json!("UNCONFIRMABLE"), &json!("true")));
    assert!(first["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    assert_eq!(again["id"], first["id"]);
    assert_eq!(house.ask("{ device(name: \"esp32\") { mode } }").await["device"]["mode"], "FORCED_ON");
}

#[tokio::test]
async fn errors_say_their_code() {
    let house = House::start().await;
    house.ask("mutation { play(device: \"esp32\", idempotencyKey: \"k\") { id } }").await;
    for (operation, code) in [
        ("mutation { play(device: \"nobody\") { id } }", "NOT_FOUND"),
        ("mutation { stop(device: \"esp32\", idempotencyKey: \"k\") { id } }", "IDEMPOTENCY_CONFLICT"),
        ("mutation { stop(device: \"esp32\", idempotencyKey: \"\") { id } }", "INVALID"),
        ("{ device(name: \"esp32\") { readings(first: 0) { nodes { seq } } } }", "INVALID"),
        ("{ device(name: \"esp32\") { readings(after: \"x\") { nodes { seq } } } }", "INVALID"),
        ("{ devices { readings(first: 1000) { nodes { seq at temperature humidity unit } } } }", "INVALID"),
        ("{ nothing }", "INVALID"),
        ("{ devices {", "INVALID"),
        ("subscription { sensors { seq } }", "INVALID"),
    ] {
        let answer = house.post(operation).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{operation}: {answer}");
    }
}

#[tokio::test]
async fn one_operation_reads_a_bounded_number_of_pages() {
    let house = House::start().await;
    let mut device = house.device("d0").await;
    for n in 0..70 {
        device.says(&format!("sensors/d{n}"), &reading(1.0)).await;
    }
    let answer = house.post("{ devices { readings(first: 1) { nodes { seq } } } }").await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID", "{answer}");
    house.ask("{ devices { latest { seq } } }").await;
}

#[tokio::test]
async fn the_schema_can_be_read_as_tools_read_it() {
    let house = House::start().await;
    let nine = "ofType { kind name ".repeat(9) + &"}".repeat(9);
    let tools = format!(
        "query IntrospectionQuery {{ __schema {{ queryType {{ name }} mutationType {{ name }} subscriptionType {{ name }} types {{ ...FullType }} directives {{ name description locations args {{ ...InputValue }} }} }} }} \
         fragment FullType on __Type {{ kind name description fields(includeDeprecated: true) {{ name description args {{ ...InputValue }} type {{ ...TypeRef }} isDeprecated deprecationReason }} inputFields {{ ...InputValue }} interfaces {{ ...TypeRef }} enumValues(includeDeprecated: true) {{ name description isDeprecated deprecationReason }} possibleTypes {{ ...TypeRef }} }} \
         fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }} defaultValue }} \
         fragment TypeRef on __Type {{ kind name {nine} }}"
    );
    assert_eq!(house.ask(&tools).await["__schema"]["mutationType"]["name"], "Mutation");
}

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
async fn readings_come_live_and_the_last_first_when_asked() {
    let house = House::start().await;
    let (mut pump, mut valve) = (house.device("pump").await, house.device("valve").await);
    valve.measures(1.0).await;
    pump.measures(2.0).await;
    let mut of_all =
        house.subscribe("subscription { sensors(current: true) { seq device temperature } }").await;
    let mut of_pump = house.subscribe("subscription { sensors(devices: [\"pump\"]) { temperature } }").await;
    assert_eq!(of_all.next().await["sensors"]["device"], "valve");
    assert_eq!(of_all.next().await["sensors"]["device"], "pump");
    of_pump.settled().await;

    valve.measures(3.0).await;
    pump.measures(4.0).await;

    assert_eq!(of_all.next().await["sensors"]["temperature"], 3.0);
    assert_eq!(of_all.next().await["sensors"]["temperature"], 4.0);
    assert_eq!(of_pump.next().await["sensors"]["temperature"], 4.0);
}

#[tokio::test]
async fn presence_begins_with_each_device_as_it_is() {
    let house = House::start().await;
    let mut raspberry = house.device("raspberry").await;
    raspberry.measures(20.0).await;
    let mut presence = house.subscribe("subscription { presence { seq device status reason } }").await;

    let unheard = presence.next().await["presence"].clone();
    assert_eq!(unheard, json!({ "seq": 0, "device": "esp32", "status": "UNKNOWN", "reason": null }));
    let online = presence.next().await["presence"].clone();
    assert_eq!((&online["device"], &online["status"]), (&json!("raspberry"), &json!("ONLINE")));

    raspberry.says("presence/raspberry/status", "offline").await;
    let offline = presence.next().await["presence"].clone();
    assert_eq!((&offline["status"], &offline["reason"]), (&json!("OFFLINE"), &json!("SELF_REPORTED")));

    let again = format!("subscription {{ presence(after: {}) {{ status }} }}", online["seq"]);
    let mut resumed = house.subscribe(&again).await;
    assert_eq!(resumed.next().await["presence"]["status"], "OFFLINE");
    raspberry.says("presence/raspberry/status", "online").await;
    assert_eq!(resumed.next().await["presence"]["status"], "ONLINE");
}

#[tokio::test]
async fn the_cross_link_follows_readings_and_commands() {
    let house = House::start().await;
    let mut raspberry = house.device("raspberry").await;
    raspberry.measures(20.0).await;
    let follow = "crossLink(device: \"esp32\"";
    let fields = "{ seq mode expectedPlaying hazard peerReading { temperature } }";
    let mut link = house.subscribe(&format!("subscription {{ {follow}) {fields} }}")).await;
    let first = link.next().await["crossLink"].clone();
    assert_eq!((&first["mode"], &first["expectedPlaying"]), (&json!("AUTO"), &json!(false)));

    raspberry.measures(35.0).await;
    assert_eq!(link.next().await["crossLink"]["expectedPlaying"], true);
    house.ask("mutation { stop(device: \"esp32\") { id } }").await;
    let forced = link.next().await["crossLink"].clone();
    assert_eq!((&forced["mode"], &forced["expectedPlaying"]), (&json!("FORCED_OFF"), &json!(false)));
    house.ask("mutation { stop(device: \"esp32\") { id } }").await;
    raspberry.measures(36.0).await;
    let next = link.next().await["crossLink"].clone();
    assert_eq!(next["peerReading"]["temperature"], 36.0, "what changes nothing is not told: {next}");

    let resume = format!("subscription {{ {follow}, after: {}) {fields} }}", first["seq"]);
    let mut resumed = house.subscribe(&resume).await;
    assert_eq!(resumed.next().await["crossLink"]["peerReading"]["temperature"], 35.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_in_the_middle_gets_each_reading_once() {
    const READINGS: i64 = 5_000;
    let house = House::start().await;
    let mut device = house.device("pump").await;
    let mut early = house.subscribe("subscription { sensors { seq temperature } }").await;
    early.settled().await;
    let pouring = tokio::spawn(async move {
        for n in 0..READINGS {
            device.says_soon("sensors/pump", &reading(n as f64)).await;
        }
        device.acknowledged().await;
    });

    let mut late = Vec::new();
    for n in 0..READINGS {
        let item = early.next().await["sensors"].clone();
        assert_eq!(item["temperature"], n as f64);
        if n % 1_000 == 500 {
            let join = format!("subscription {{ sensors(after: {}) {{ temperature }} }}", item["seq"]);
            let mut joined = house.subscribe(&join).await;
            late.push(tokio::spawn(async move {
                for expected in n + 1..READINGS {
                    assert_eq!(joined.next().await["sensors"]["temperature"], expected as f64);
                }
                joined.settled().await;
            }));
        }
    }
    early.settled().await;
    for joined in late {
        joined.await.unwrap();
    }
    pouring.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_does_not_read_is_caught_up() {
    // More than the gateway keeps in memory, and more than the sockets take.
    const READINGS: i64 = 12_000;
    let house = House::start().await;
    let mut device = house.device("pump").await;
    let mut slow = house.subscribe("subscription { sensors { temperature raw } }").await;
    slow.settled().await;
    let padding = "x".repeat(500);
    for n in 0..READINGS {
        let said = json!({ "temperature": n, "humidity": 1, "threshold": 29, "padding": padding });
        device.says_soon("sensors/pump", &said.to_string()).await;
    }
    device.acknowledged().await;

    for n in 0..READINGS {
        assert_eq!(slow.next().await["sensors"]["temperature"], n as f64);
    }
    slow.settled().await;
}

#[tokio::test]
async fn a_subscription_that_cannot_be_says_why() {
    let house = House::start().await;
    for (operation, code) in [
        ("subscription { sensors(after: 999999) { seq } }", "INVALID"),
        ("subscription { crossLink(device: \"esp32\", after: 999999) { seq } }", "INVALID"),
        ("subscription { crossLink(device: \"pump\") { seq } }", "NOT_FOUND"),
        ("subscription { nothing }", "INVALID"),
    ] {
        let mut socket = house.subscribe(operation).await;
        let message = socket.hear().await;
        let error = match message["type"].as_str().unwrap() {
            "error" => &message["payload"][0],
            _ => &message["payload"]["errors"][0],
        };
        assert_eq!(error["extensions"]["code"], code, "{operation}: {message}");
    }
    let mut socket = house.subscribe("subscription { sensors(after: 999999) { seq } }").await;
    let refused = socket.hear().await;
    assert!(refused.to_string().contains("ends at"), "{refused}");
    assert_eq!(socket.hear().await["type"], "complete");
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
struct House(harness::House);

impl House {
    async fn start() -> House {
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

    async fn subscribe(&self, query: &str) -> Socket {
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
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("the gateway speaks").unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The data of the next item.
    async fn next(&mut self) -> Value {
        let mut message = self.hear().await;
        assert!(message["type"] == "next" && message["payload"].get("errors").is_none(), "{message}");
        message["payload"]["data"].take()
    }

    /// What was said before has been understood, and nothing is left to hear.
    async fn settled(&mut self) {
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
