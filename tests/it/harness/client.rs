//! An MQTT client that does exactly what a test says, and nothing by itself but acknowledge.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use crosslink::broker::front::codec::{
    Ack, Code, ConnAck, Connect, Disconnect, Packet, Properties, Property, Publish, QoS, RetainHandling,
    Subscribe, Subscription, Unsubscribe, Version, Will, encode,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{DEADLINE, wire};

/// What would come has come by then.
const SILENCE: Duration = Duration::from_millis(300);

/// A client that is about to connect: version 3.1.1, a clean session, a keepalive of 30 s, no will.
#[derive(Clone)]
pub struct Newcomer {
    address: SocketAddr,
    pub connect: Connect,
}

pub struct Client {
    pub connack: ConnAck,
    version: Version,
    stream: TcpStream,
    input: BytesMut,
    publishes: VecDeque<Publish>,
    last_id: u16,
    acknowledges: bool,
}

impl Newcomer {
    pub fn new(address: SocketAddr, id: &str) -> Newcomer {
        let connect = Connect {
            version: Version::V4,
            clean_start: true,
            keep_alive: 30,
            client_id: id.to_owned(),
            will: None,
            username: None,
            password: None,
            properties: Properties::none(),
        };
        Newcomer { address, connect }
    }

    /// In seconds; 0 turns it off.
    pub fn keep_alive(mut self, seconds: u16) -> Newcomer {
        self.connect.keep_alive = seconds;
        self
    }

    pub fn persistent(mut self) -> Newcomer {
        self.connect.clean_start = false;
        self
    }

    /// An MQTT 5 session that outlives its connection for so many seconds.
    pub fn lasting(mut self, seconds: u32) -> Newcomer {
        self.connect.version = Version::V5;
        self.connect.clean_start = false;
        self.connect.properties.push(Property::SessionExpiry(seconds));
        self
    }

    pub fn will(mut self, topic: &str, payload: &str, qos: QoS, retain: bool) -> Newcomer {
        self.connect.will = Some(Will {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos,
            retain,
            properties: Properties::none(),
        });
        self
    }

    /// The will that every device has: `offline`, retained, on its presence topic.
    pub fn with_presence_of(self, device: &str) -> Newcomer {
        self.will(&format!("presence/{device}/status"), "offline", QoS::AtLeastOnce, true)
    }

    pub fn v5(mut self) -> Newcomer {
        self.connect.version = Version::V5;
        self
    }

    pub async fn connect_v4(self) -> Client {
        self.admitted().await
    }

    pub async fn connect_v5(self) -> Client {
        self.v5().admitted().await
    }

    /// In the version that its CONNECT says; None when the gateway closes without an answer.
    pub async fn try_connect(self) -> Option<Client> {
        let mut client = Client::dial(self.address, self.connect.version).await;
        client.send(&Packet::Connect(Box::new(self.connect))).await;
        match client.next().await? {
            Packet::ConnAck(connack) => Some(Client { connack, ..client }),
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    async fn admitted(self) -> Client {
        let client = self.try_connect().await.expect("the gateway answers CONNECT");
        assert_eq!(client.connack.code, Code::SUCCESS);
        client
    }
}

impl Client {
    /// A connection on which nothing was said yet.
    pub async fn dial(address: SocketAddr, version: Version) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            connack: ConnAck {
                session_present: false,
                code: Code::UNSPECIFIED,
                properties: Properties::none(),
            },
            version,
            stream,
            input: BytesMut::new(),
            publishes: VecDeque::new(),
            last_id: 0,
            acknowledges: true,
        }
    }

    /// What a person would read of why it was refused.
    pub fn refusal(&self) -> &str {
        let reason = self.connack.properties.iter().find_map(|property| match property {
            Property::ReasonString(reason) => Some(reason.as_str()),
            _ => None,
        });
        reason.unwrap_or_default()
    }

    /// From now on QoS 1 messages stay unacknowledged until the test does it.
    pub fn acknowledge_nothing(&mut self) {
        self.acknowledges = false;
    }

    /// Publishes and waits until the exchange is over; tells the reason code of the first answer.
    pub async fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: QoS, retain: bool) -> Code {
        let publish = self.message(topic, payload, qos, retain);
        self.publish_packet(&publish).await
    }

    /// A QoS 1 message that is not retained, acknowledged.
    pub async fn say(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        assert_eq!(self.publish(topic, payload, QoS::AtLeastOnce, false).await, Code::SUCCESS, "{topic}");
    }

    /// A QoS 1 message that is retained, acknowledged.
    pub async fn keep(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        assert_eq!(self.publish(topic, payload, QoS::AtLeastOnce, true).await, Code::SUCCESS, "{topic}");
    }

    /// A message with a packet id of its own, not sent yet.
    pub fn message(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: QoS, retain: bool) -> Publish {
        Publish {
            dup: false,
            qos,
            retain,
            topic: topic.to_owned(),
            packet_id: if qos == QoS::AtMostOnce { 0 } else { self.next_id() },
            properties: Properties::none(),
            payload: Bytes::copy_from_slice(payload.as_ref()),
        }
    }

    /// Sends a message and waits until the exchange is over; tells the reason code of the first answer.
    pub async fn publish_packet(&mut self, publish: &Publish) -> Code {
        let id = publish.packet_id;
        self.send(&Packet::Publish(publish.clone())).await;
        match publish.qos {
            QoS::AtMostOnce => Code::SUCCESS,
            QoS::AtLeastOnce => self.puback(id).await,
            QoS::ExactlyOnce => {
                let code = self.pubrec(id).await;
                if !code.is_failure() {
                    self.release(id).await;
                }
                code
            }
        }
    }

    pub async fn puback(&mut self, id: u16) -> Code {
        match self.answer().await {
            Packet::PubAck(ack) if ack.packet_id == id => ack.code,
            other => panic!("expected PUBACK {id}, got {other:?}"),
        }
    }

    pub async fn pubrec(&mut self, id: u16) -> Code {
        match self.answer().await {
            Packet::PubRec(ack) if ack.packet_id == id => ack.code,
            other => panic!("expected PUBREC {id}, got {other:?}"),
        }
    }

    /// The second half of a QoS 2 exchange.
    pub async fn release(&mut self, id: u16) -> Code {
        self.send(&Packet::PubRel(ack(id))).await;
        match self.answer().await {
            Packet::PubComp(ack) if ack.packet_id == id => ack.code,
            other => panic!("expected PUBCOMP {id}, got {other:?}"),
        }
    }

    /// Tells what was granted.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> Code {
        self.subscribe_as(subscription(filter, qos)).await
    }

    pub async fn subscribe_as(&mut self, subscription: Subscription) -> Code {
        let packet_id = self.next_id();
        let properties = Properties::none();
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters: vec![subscription] })).await;
        match self.answer().await {
            Packet::SubAck(suback) if suback.packet_id == packet_id && suback.codes.len() == 1 => {
                suback.codes[0]
            }
            other => panic!("expected SUBACK {packet_id}, got {other:?}"),
        }
    }

    /// In version 3.1.1 the answer says nothing, which counts as success.
    pub async fn unsubscribe(&mut self, filter: &str) -> Code {
        let packet_id = self.next_id();
        let (properties, filters) = (Properties::none(), vec![filter.to_owned()]);
        self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })).await;
        match self.answer().await {
            Packet::UnsubAck(unsuback) if unsuback.packet_id == packet_id => {
                unsuback.codes.first().copied().unwrap_or_default()
            }
            other => panic!("expected UNSUBACK {packet_id}, got {other:?}"),
        }
    }

    /// Everything that was sent before has been read when the answer is here.
    pub async fn ping(&mut self) {
        self.send(&Packet::PingReq).await;
        assert_eq!(self.answer().await, Packet::PingResp);
    }

    /// The next message, acknowledged unless the client has stopped that.
    pub async fn next_publish(&mut self) -> Publish {
        let publish = match self.publishes.pop_front() {
            Some(publish) => publish,
            None => match self.next().await.expect("the connection is alive") {
                Packet::Publish(publish) => publish,
                other => panic!("expected a message, got {other:?}"),
            },
        };
        self.took(publish).await
    }

    /// The next message as topic and text.
    pub async fn hears(&mut self) -> (String, String) {
        let publish = self.next_publish().await;
        (publish.topic, String::from_utf8(publish.payload.to_vec()).unwrap())
    }

    pub async fn acknowledge(&mut self, id: u16) {
        self.send(&Packet::PubAck(ack(id))).await;
    }

    /// Acknowledges a QoS 2 message, from the first half of its exchange to the end of it; tells what PUBREL says.
    pub async fn receive(&mut self, id: u16) -> Code {
        self.send(&Packet::PubRec(ack(id))).await;
        match self.answer().await {
            Packet::PubRel(rel) if rel.packet_id == id => {
                self.send(&Packet::PubComp(ack(id))).await;
                rel.code
            }
            other => panic!("expected PUBREL {id}, got {other:?}"),
        }
    }

    /// The next message, unless nothing more comes.
    pub async fn publish_if_any(&mut self) -> Option<Publish> {
        let publish = match self.publishes.pop_front() {
            Some(publish) => publish,
            None => match timeout(SILENCE, self.read()).await {
                Ok(Some(Packet::Publish(publish))) => publish,
                Ok(other) => panic!("expected a message or silence, got {other:?}"),
                Err(_) => return None,
            },
        };
        Some(self.took(publish).await)
    }

    /// Nothing more comes.
    pub async fn hears_nothing(&mut self) {
        assert_eq!(self.publish_if_any().await, None);
    }

    /// Waits until the gateway ends the connection; tells the reason it gave, as only MQTT 5 can.
    pub async fn ended(&mut self) -> Option<Code> {
        let mut reason = None;
        while let Some(packet) = self.next().await {
            if let Packet::Disconnect(disconnect) = packet {
                reason = Some(disconnect.code);
            }
        }
        reason
    }

    /// The gateway has ended the connection: nothing comes behind what was on its way.
    pub async fn cut(mut self) {
        while timeout(DEADLINE, self.stream.read_buf(&mut self.input))
            .await
            .expect("it was cut")
            .is_ok_and(|read| read > 0)
        {
            self.input.clear();
        }
    }

    pub async fn disconnect(self) {
        self.disconnect_with(Code::SUCCESS).await;
    }

    pub async fn disconnect_with(mut self, code: Code) {
        match self.version {
            Version::V4 => self.send_bytes(&[0xE0, 0]).await,
            Version::V5 => {
                self.send(&Packet::Disconnect(Disconnect { code, properties: Properties::none() })).await
            }
        }
        self.ended().await;
    }

    /// Closes the connection without a word.
    pub async fn close(mut self) {
        // Closing with bytes unread would reset it: the gateway closes its end first.
        let _ = self.stream.shutdown().await;
        self.ended().await;
    }

    /// Resets the connection.
    pub fn abort(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        timeout(DEADLINE, self.stream.write_all(bytes)).await.expect("the gateway reads").unwrap();
    }

    /// The next packet, whatever it is; None when the connection has ended.
    pub async fn next(&mut self) -> Option<Packet> {
        timeout(DEADLINE, self.read()).await.expect("the gateway answers in time")
    }

    pub fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// The next packet that is no message; messages are kept for later.
    async fn answer(&mut self) -> Packet {
        loop {
            match self.next().await.expect("the connection is alive") {
                Packet::Publish(publish) => self.publishes.push_back(publish),
                other => return other,
            }
        }
    }

    async fn took(&mut self, publish: Publish) -> Publish {
        match publish.qos {
            _ if !self.acknowledges => {}
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.acknowledge(publish.packet_id).await,
            QoS::ExactlyOnce => assert_eq!(self.receive(publish.packet_id).await, Code::SUCCESS),
        }
        publish
    }

    /// Cancelling loses nothing.
    async fn read(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = wire::take(&mut self.input, self.version) {
                return Some(packet);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

pub fn subscription(filter: &str, qos: QoS) -> Subscription {
    Subscription {
        filter: filter.to_owned(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    }
}

pub fn ack(packet_id: u16) -> Ack {
    Ack { packet_id, code: Code::SUCCESS, properties: Properties::none() }
}
