//! A device's connection to the broker.
//!
//! Each connection has a client of its own: one that outlives a clean session can wait for ever for
//! acknowledgements that will not come.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    FutureExt, Stream, StreamExt,
    stream::{self, BoxStream},
};
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, SubscribeFilter};
use tokio::time;

use super::speech::Report;
use crate::address::Address;

/// Declared, but kept by the measurements alone: the firmware never pings.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// At most three packets are sent at once; when more than these wait, the line is dead.
const MAX_UNSENT: usize = 16;
/// How long a farewell may take: a broker on the same network answers in milliseconds.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection in the making, in use or gone.
///
/// It lives only while [`Wire::next`] is awaited: left alone it stays open and silent, and dropped it
/// is cut without a DISCONNECT.
pub(super) struct Wire {
    client: AsyncClient,
    news: BoxStream<'static, News>,
    device: String,
    /// The topic of its presence, as the device spells it.
    presence: String,
}

pub(super) enum News {
    Connected,
    Message {
        topic: String,
        payload: Bytes,
    },
    /// The last news of this connection, and why.
    Lost(String),
}

impl Wire {
    /// Connects as `device` after `delay`, with `offline` on the topic `presence` as its will.
    pub(super) fn connect(mqtt: &(String, u16), device: &str, presence: String, delay: Duration) -> Wire {
        let mut options = options(device, mqtt);
        let will = LastWill::new(&presence, "offline", QoS::AtLeastOnce, true);
        options.set_keep_alive(KEEPALIVE).set_last_will(will);
        let (client, news) = dial(options, MAX_UNSENT, Pings::Never, delay);
        Wire { client, news, device: device.to_owned(), presence }
    }

    /// What comes next. May be given up at any time: nothing is lost by it.
    pub(super) async fn next(&mut self) -> News {
        self.news.next().await.expect("the news go on for ever")
    }

    /// Subscribes to all that concerns the device, and says `online`.
    pub(super) fn greet(&self, peer: &str) {
        let (device, peer) = (self.device.clone(), peer.to_owned());
        let subscriptions = [
            (Address::Play { device }, QoS::AtLeastOnce),
            (Address::Sensor { device: peer.clone() }, QoS::AtMostOnce),
            (Address::Presence { device: peer }, QoS::AtLeastOnce),
        ];
        let filters = subscriptions.map(|(address, qos)| SubscribeFilter::new(address.to_string(), qos));
        let _ = self.client.try_subscribe_many(filters);
        self.announce("online");
    }

    /// Publishes a measurement. On a dead line it is lost, as on the device.
    pub(super) fn report(&self, Report { topic, payload, .. }: Report) {
        let _ = self.client.try_publish(topic, QoS::AtMostOnce, false, payload);
    }

    /// Says `offline` and DISCONNECT, and waits until the broker has closed the connection.
    pub(super) async fn part(mut self) {
        self.announce("offline");
        let _ = self.client.try_disconnect();
        closed(&mut self.news).await;
    }

    fn announce(&self, status: &str) {
        let _ = self.client.try_publish(&self.presence, QoS::AtLeastOnce, true, status);
    }
}

/// Whether PINGREQ is sent when nothing else is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pings {
    Never,
    ByKeepalive,
}

/// What every simulated client says of itself: a clean session under this name.
pub(super) fn options(name: &str, (host, port): &(String, u16)) -> MqttOptions {
    // An address of IPv6 stands in brackets before its port.
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    let host = if bare_v6 { format!("[{host}]") } else { host.clone() };
    let mut options = MqttOptions::new(name, host, *port);
    options.set_clean_session(true);
    options
}

/// Connects after `delay`. What is sent waits in a queue of `unsent` packets; the news begin with the connection.
pub(super) fn dial(
    options: MqttOptions,
    unsent: usize,
    pings: Pings,
    delay: Duration,
) -> (AsyncClient, BoxStream<'static, News>) {
    let (client, mut eventloop) = AsyncClient::new(options, unsent);
    eventloop.network_options.set_tcp_nodelay(true);
    (client, time::sleep(delay).map(move |()| news(eventloop, pings)).flatten_stream().boxed())
}

/// Waits until the broker has closed a connection that has said DISCONNECT.
pub(super) async fn closed(news: &mut BoxStream<'static, News>) {
    let lost = async { while !matches!(news.next().await, Some(News::Lost(_)) | None) {} };
    let _ = time::timeout(FAREWELL, lost).await;
}

/// The connection's news until it is lost; then silence.
fn news(eventloop: EventLoop, pings: Pings) -> impl Stream<Item = News> + Send {
    stream::unfold(Some(eventloop), move |eventloop| async move {
        let mut eventloop = eventloop?;
        loop {
            match eventloop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if pings == Pings::Never {
                        // CONNECT has declared the keepalive. From here on no PINGREQ is sent for it.
                        eventloop.mqtt_options.set_keep_alive(Duration::ZERO);
                    }
                    return Some((News::Connected, Some(eventloop)));
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let news = News::Message { topic: publish.topic, payload: publish.payload };
                    return Some((news, Some(eventloop)));
                }
                Ok(_) => {}
                Err(why) => return Some((News::Lost(why.to_string()), None)),
            }
        }
    })
    .chain(stream::pending())
}
