//! A firmware's connection to the broker.

use std::time::Duration;

use futures_util::{StreamExt, stream::BoxStream};
use rumqttc::{AsyncClient, QoS, SubscribeFilter};

use super::{
    super::wire::{News, Pings, closed, dial, options},
    service::Message,
};

/// Unlike the pair, it keeps the keepalive by itself.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// All that a firmware has to say when it boots, a picture among it, some times over; when more waits, the line is dead.
const MAX_UNSENT: usize = 1_024;
/// No packet that comes is larger: the gateway passes on 256 KiB.
const MAX_PACKET: usize = 512 * 1024;

/// A connection in the making, in use or gone. Dropped, it is cut without a DISCONNECT.
pub(super) struct Wire {
    client: AsyncClient,
    news: BoxStream<'static, News>,
}

impl Wire {
    /// Connects as `firmware` after `delay`.
    pub(super) fn connect(mqtt: &(String, u16), firmware: &str, delay: Duration) -> Wire {
        let mut options = options(firmware, mqtt);
        options.set_keep_alive(KEEPALIVE).set_max_packet_size(MAX_PACKET, MAX_PACKET);
        let (client, news) = dial(options, MAX_UNSENT, Pings::ByKeepalive, delay);
        Wire { client, news }
    }

    /// What comes next. May be given up at any time: nothing is lost by it.
    pub(super) async fn next(&mut self) -> News {
        self.news.next().await.expect("the news go on for ever")
    }

    pub(super) fn subscribe(&self, topics: Vec<String>) {
        let filters = topics.into_iter().map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
        let _ = self.client.try_subscribe_many(filters);
    }

    /// On a dead line it is lost, as on the device.
    pub(super) fn send(&self, Message { topic, payload, answer }: Message) {
        let qos = if answer { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let _ = self.client.try_publish(topic, qos, false, payload);
    }

    /// Says DISCONNECT, and waits until the broker has closed the connection.
    pub(super) async fn part(mut self) {
        let _ = self.client.try_disconnect();
        closed(&mut self.news).await;
    }
}
