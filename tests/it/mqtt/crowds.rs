//! More than are welcome: connections that say nothing, clients without a place, and a system that has no socket left.

use std::{
    collections::VecDeque,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use crosslink::{
    broker::front::codec::{Code, Packet, QoS::AtLeastOnce, Version, encode},
    config::Listen,
};
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream as Stream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

use crate::{
    durability::Process,
    harness::{Client, DEADLINE, House, Newcomer, Victim, until},
};

type WebSocket = WebSocketStream<MaybeTlsStream<Stream>>;

/// The first answer of 3.1.1: what a client is told that comes when there is no place.
const REFUSED: Code = Code(3);

async fn websocket(url: String) -> WebSocket {
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
    connect_async(request).await.unwrap().0
}

/// A client over WebSocket, and with which code it was answered.
async fn browser(url: String, newcomer: Newcomer) -> (WebSocket, u8) {
    let mut socket = websocket(url).await;
    let mut bytes = BytesMut::new();
    encode(&Packet::Connect(Box::new(newcomer.connect)), Version::V4, &mut bytes);
    socket.send(Message::Binary(bytes.freeze())).await.unwrap();
    let connack = timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap().into_data();
    (socket, connack[3])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_when_all_places_are_taken_is_told_so_at_every_door() {
    let house = House::with(|config| config.max_connections = 3).await;
    let ws = format!("ws://{}/", house.mqtt_ws_addr());
    let http = format!("ws://{}/mqtt", house.http_addr());
    let first = house.somebody("first").await;
    let (_second, code) = browser(ws.clone(), house.client("second")).await;
    assert_eq!(code, 0);
    let (_third, code) = browser(http.clone(), house.client("third")).await;
    assert_eq!(code, 0);

    let refused = house.client("fourth").v5().try_connect().await.unwrap();
    assert_eq!(refused.connack.code, Code::SERVER_BUSY);
    assert_eq!(refused.refusal(), "as many clients are connected as may be");
    assert_eq!(house.client("fourth").try_connect().await.unwrap().connack.code, REFUSED);
    assert_eq!(browser(ws, house.client("fourth")).await.1, REFUSED.0);
    assert_eq!(browser(http, house.client("fourth")).await.1, REFUSED.0);

    first.disconnect().await;
    until("the place is free", async || match house.client("fourth").try_connect().await {
        Some(client) if client.connack.code == Code::SUCCESS => Ok(()),
        _ => Err("refused".into()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_replaces_itself_needs_no_free_place() {
    let house = House::with(|config| config.max_connections = 2).await;
    let mut neighbour = house.somebody("a").await;
    let mut twin = house.client("b").connect_v5().await;
    let mut heir = house.client("b").connect_v5().await;
    assert_eq!(twin.ended().await, Some(Code::SESSION_TAKEN_OVER));
    heir.ping().await;
    assert_eq!(house.client("c").try_connect().await.unwrap().connack.code, REFUSED);
    neighbour.ping().await;
}

/// An address of this machine that is not loopback's, if it has one.
fn own_address() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the system only chooses by which of its addresses it would be.
    socket.connect("192.0.2.1:9").ok()?;
    Some(SocketAddr::new(socket.local_addr().ok()?.ip(), 0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_takes_no_more_than_its_share_but_loopback_may() {
    let Some(address) = own_address() else { return };
    let house = House::with(|config| {
        config.mqtt = Listen::At(address);
        config.max_per_address = 2;
    })
    .await;
    let _two = (house.somebody("a").await, house.somebody("b").await);
    let refused = house.client("c").v5().try_connect().await.unwrap();
    assert_eq!(refused.connack.code, Code::QUOTA_EXCEEDED);
    assert_eq!(refused.refusal(), "as many clients of this address are connected as may be");
    let ws = format!("ws://{}/", house.mqtt_ws_addr());
    let mut local = Vec::new();
    for id in ["c", "d", "e"] {
        local.push(browser(ws.clone(), house.client(id)).await);
    }
    assert!(local.iter().all(|(_, code)| *code == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_without_a_word_is_closed_at_every_door() {
    let house = House::start().await;
    let mut silent = Client::dial(house.mqtt_ws_addr(), Version::V4).await;
    for url in [format!("ws://{}/", house.mqtt_ws_addr()), format!("ws://{}/mqtt", house.http_addr())] {
        let begun = Instant::now();
        let mut socket = websocket(url.clone()).await;
        let ended = async { while let Some(Ok(_)) = socket.next().await {} };
        timeout(DEADLINE, ended).await.unwrap_or_else(|_| panic!("{url} stays open"));
        let waited = begun.elapsed();
        assert!((4..8).contains(&waited.as_secs()), "{url}: {waited:?}");
    }
    assert_eq!(silent.next().await, None);
}

#[test]
fn websockets_that_say_no_connect_are_not_listened_to_for_long() {
    const SOCKETS: usize = 100;
    let directory = tempfile::tempdir().unwrap();
    let gateway = Process::with(directory.path(), &[], &["--mqtt-ws", "127.0.0.1:0"]);
    let ws = lines(&gateway, "ws://")[0].split_once("ws://").unwrap().1.parse().unwrap();
    let before = gateway.memory("VmHWM:");
    // The beginning of a frame of almost 2 MiB.
    let header = [&b"\x82\xFF"[..], &2_000_000_u64.to_be_bytes(), &[0; 4]].concat();
    for (door, path) in [(ws, "/"), (gateway.http, "/mqtt")] {
        let mut sockets: Vec<TcpStream> = (0..SOCKETS).map(|_| upgraded(door, path)).collect();
        for socket in &mut sockets {
            let _ = socket.write_all(&header).and_then(|()| socket.write_all(&[0; 1_500_000]));
        }
        for mut socket in sockets {
            // Closed or reset, it is over.
            let _ = socket.read_to_end(&mut Vec::new());
        }
    }
    let took = gateway.memory("VmHWM:") - before;
    assert!(took < 64, "{took} MiB for {SOCKETS} at a time");
}

/// A WebSocket for MQTT on which nothing was said yet.
fn upgraded(door: SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(door).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: mqtt\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_say_its_largest_packet_in_one_frame() {
    let house = House::start().await;
    for url in [format!("ws://{}/", house.mqtt_ws_addr()), format!("ws://{}/mqtt", house.http_addr())] {
        let (mut socket, code) = browser(url.clone(), house.client("browser")).await;
        assert_eq!(code, 0);
        let mut nobody = Client::dial(house.mqtt_addr(), Version::V4).await;
        let large = nobody.message("large", vec![b'x'; 2_097_000], AtLeastOnce, false);
        let mut bytes = BytesMut::new();
        encode(&Packet::Publish(large), Version::V4, &mut bytes);
        socket.send(Message::Binary(bytes.freeze())).await.unwrap();
        let puback = timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap().into_data();
        assert_eq!(&puback[..], [0x40, 2, 0, 1], "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_usual_limit_of_open_files_keeps_nobody_out() {
    let victim = Victim::under(&["sh", "-c", "ulimit -Sn 256; exec \"$@\"", "sh"]);
    let mut clients = Vec::new();
    for n in 0..400 {
        clients.push(victim.client(&format!("client-{n}")).connect_v4().await);
    }
    for client in &mut clients {
        client.ping().await;
    }
    drop(clients);
    assert!(!victim.said("LimitNOFILE"));
    victim.survives().await;
}

/// Begins as a client does; gives the connection and the code of the answer.
fn connect(mqtt: SocketAddr, id: u8) -> (TcpStream, u8) {
    let mut socket = TcpStream::connect(mqtt).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, id]).unwrap();
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).unwrap();
    (socket, connack[3])
}

fn counted(gateway: &Process, counter: &str) -> u64 {
    let (_, metrics) = gateway.get("/metrics");
    let count = metrics.lines().find_map(|line| line.strip_prefix(counter)?.strip_prefix(' ')?.parse().ok());
    count.unwrap_or_else(|| panic!("{counter} is not told: {metrics}"))
}

fn lines(gateway: &Process, about: &str) -> Vec<String> {
    gateway.log().into_iter().filter(|line| line.contains(about)).collect()
}

#[test]
fn two_thousand_silent_connections_keep_no_client_out() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Process::start(directory.path(), &["env", "CROSSLINK_MAX_CONNECTIONS=10"]);
    let (_client, code) = connect(gateway.mqtt, b'a');
    assert_eq!(code, 0);
    let mut silent = VecDeque::new();
    for _ in 0..2_000 {
        silent.push_back(TcpStream::connect(gateway.mqtt).unwrap());
        // The gateway has closed the oldest by then: they need not take this process's sockets.
        if silent.len() > 600 {
            silent.pop_front();
        }
    }
    let (_fresh, code) = connect(gateway.mqtt, b'b');
    assert_eq!(code, 0);
    assert_eq!(counted(&gateway, "crosslink_mqtt_refused_total"), 0);
    let gave_way = counted(&gateway, "crosslink_mqtt_gave_way_total");
    assert!(gave_way > 1_000, "{gave_way} of 2000 gave way");
}

#[test]
fn a_flood_that_is_refused_does_not_fill_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Process::start(directory.path(), &["env", "CROSSLINK_MAX_CONNECTIONS=1"]);
    let (_client, code) = connect(gateway.mqtt, b'a');
    assert_eq!(code, 0);
    for _ in 0..200 {
        assert_eq!(connect(gateway.mqtt, b'b').1, REFUSED.0);
    }
    assert_eq!(counted(&gateway, "crosslink_mqtt_refused_total"), 200);
    let said = lines(&gateway, "as many clients");
    assert!((1..=3).contains(&said.len()), "{said:#?}");
}

/// The time that the process has worked, in ticks of which a second has a hundred.
fn ticks(gateway: &Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_methods, reason = "no task runs here: the gateway is another process")]
fn a_system_without_sockets_is_waited_for_in_peace() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Process::start(directory.path(), &["sh", "-c", "ulimit -n 80; exec \"$@\"", "sh"]);
    let clients: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut socket = TcpStream::connect(gateway.mqtt).unwrap();
            // Half a CONNECT.
            socket.write_all(&[0x10, 13, 0, 4]).unwrap();
            socket
        })
        .collect();
    // Who says what it wants gets in although the others stay.
    let (_patient, code) = connect(gateway.mqtt, b'a');
    assert_eq!(code, 0);
    assert_eq!(lines(&gateway, "LimitNOFILE=").len(), 1);
    let before = ticks(&gateway);
    thread::sleep(Duration::from_secs(2));
    let worked = ticks(&gateway) - before;
    assert!(worked < 100, "{worked} of 200 ticks");
    let said = lines(&gateway, "cannot accept");
    assert!((1..=2).contains(&said.len()), "{said:#?}");
    assert!(counted(&gateway, "crosslink_mqtt_gave_way_total") > 0);
    drop(clients);
    assert_eq!(connect(gateway.mqtt, b'b').1, 0);
    assert_eq!(gateway.get("/readyz").0, 200);
}
