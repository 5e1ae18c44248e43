//! The same broker, over WebSocket.

use bytes::BytesMut;
use crosslink::broker::front::codec::{Packet, QoS::AtLeastOnce, Version, encode};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, Instant, sleep, timeout},
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderValue, StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

use crate::harness::{Client, DEADLINE, House};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_speaks_mqtt_over_websocket() {
    let house = House::start().await;
    let mut request = format!("ws://{}/", house.mqtt_ws_addr()).into_client_request().unwrap();
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
    let (mut browser, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "mqtt");
    let mut subscriber = house.somebody("subscriber").await;
    subscriber.subscribe("a", AtLeastOnce).await;

    // Where frames begin and end means nothing: here one packet is cut, the next rides along.
    let mut bytes = BytesMut::new();
    encode(&Packet::Connect(Box::new(house.client("browser").connect)), Version::V4, &mut bytes);
    let mut late = bytes.split_off(5);
    let publish = subscriber.message("a", "from a browser", AtLeastOnce, false);
    encode(&Packet::Publish(publish.clone()), Version::V4, &mut late);
    browser.send(Message::Binary(bytes.freeze())).await.unwrap();
    browser.send(Message::Binary(late.freeze())).await.unwrap();

    assert_eq!(subscriber.hears().await.1, "from a browser");
    let [id_high, id_low] = publish.packet_id.to_be_bytes();
    let expected = [0x20, 0x02, 0, 0, 0x40, 0x02, id_high, id_low];
    let mut answer = Vec::new();
    while answer.len() < expected.len() {
        let message = timeout(DEADLINE, browser.next()).await.unwrap().unwrap().unwrap();
        answer.extend_from_slice(&message.into_data());
    }
    assert_eq!(answer, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_does_not_ask_for_mqtt_is_refused() {
    let house = House::start().await;
    let url = format!("ws://{}/", house.mqtt_ws_addr());
    for protocol in [None, Some("chat")] {
        let mut request = url.as_str().into_client_request().unwrap();
        if let Some(protocol) = protocol {
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        match connect_async(request).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), StatusCode::BAD_REQUEST),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_keeps_nobody_out() {
    let house = House::start().await;
    let _idle = Client::dial(house.mqtt_ws_addr(), Version::V4).await;
    let mut request = format!("ws://{}/", house.mqtt_ws_addr()).into_client_request().unwrap();
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
    assert!(connect_async(request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handshake_counts_for_the_deadline_of_connect() {
    let house = House::start().await;
    let begun = Instant::now();
    let mut idle = TcpStream::connect(house.mqtt_ws_addr()).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    let request = "GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   sec-websocket-protocol: mqtt\r\n\r\n";
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, idle.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
}
