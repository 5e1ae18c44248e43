//! What the client hears: its subscriptions, and the messages that come by them.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{End, HIGH_WATER, Session};
use crate::{
    broker::{
        front::{
            codec::{
                self, Code, Packet, Properties, QoS, RetainHandling, SubAck, Subscribe, UnsubAck, Unsubscribe,
            },
            outgoing::{Delivery, TooSlow},
            subscriptions::{Grant, Held, is_filter, matches},
        },
        router::{Link, Routed, RouterGone},
    },
    model::KeptChange,
};

/// Messages taken from the router at a time, so that the socket gets its turn.
const DRAIN: usize = 256;
/// Filters that one client may subscribe to.
const MAX_SUBSCRIPTIONS: usize = 1_000;
/// In one packet: each filter is work, and nobody else gets a turn meanwhile.
const TOO_MANY_FILTERS: End =
    End::Refused(Code::QUOTA_EXCEEDED, "a packet names more filters than a client may have");

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> Session<R, W> {
    pub(super) async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), End> {
        if subscribe.filters.len() > MAX_SUBSCRIPTIONS {
            return Err(TOO_MANY_FILTERS);
        }
        let id = subscribe.properties.subscription_ids().next();
        if self.link.is_none() && self.kept.is_none() {
            let router = self.front.router.clone();
            let link = tokio::task::spawn_blocking(move || router.link()).await;
            self.link = Some(link.map_err(|_| RouterGone)??);
        }
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut granted = Vec::new();
        for mut subscription in subscribe.filters {
            subscription.qos = subscription.qos.min(QoS::AtLeastOnce);
            let known = self.subscriptions.iter().position(|held| held.wanted.filter == subscription.filter);
            let code = match &subscription.filter {
                filter if filter.starts_with("$share/") => Code::SHARED_NOT_SUPPORTED,
                filter if !is_filter(filter) => Code::FILTER_INVALID,
                _ if known.is_none() && self.subscriptions.len() >= MAX_SUBSCRIPTIONS => Code::QUOTA_EXCEEDED,
                _ => Code(subscription.qos.as_u8()),
            };
            codes.push(code);
            if code.is_failure() {
                continue;
            }
            let new = known.is_none();
            let held = Held { wanted: subscription, id };
            match known {
                Some(at) => self.subscriptions[at] = held.clone(),
                None => self.subscriptions.push(held.clone()),
            }
            granted.push((held, new));
        }
        let new: Vec<String> =
            granted.iter().filter(|(_, new)| *new).map(|(held, _)| held.wanted.filter.clone()).collect();
        if let (Some(link), false) = (&mut self.link, new.is_empty()) {
            // The router has the filter before the index says that somebody listens.
            for routed in link.subscribe(&new).await? {
                self.deliver(routed)?;
            }
        }
        self.vitals.listens(&self.subscriptions);
        let whose = self.whose();
        for (held, _) in &granted {
            self.front.subscriptions.add(&whose, held);
        }
        if let Some(kept) = &self.kept {
            let keep = |(held, _): &(Held, bool)| kept.keep(KeptChange::Subscribed(held.kept()));
            let keeps = granted.iter().map(keep).collect();
            self.write_down(keeps);
        }
        let refused = codes.iter().find(|code| code.is_failure());
        let properties = refused.map_or(Properties::none(), |code| self.reason(code.to_string()));
        self.send(&Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes, properties }));
        for (held, new) in granted {
            self.send_retained(&held, new)?;
        }
        Ok(())
    }

    fn send_retained(&mut self, held: &Held, new: bool) -> Result<(), TooSlow> {
        match held.wanted.retain_handling {
            RetainHandling::Never => return Ok(()),
            RetainHandling::SendIfNew if !new => return Ok(()),
            RetainHandling::SendIfNew | RetainHandling::Send => {}
        }
        let mut keeps = Vec::new();
        for (message, expires) in self.front.retained.matching(&held.wanted.filter) {
            let keep = self.outbox.lock().push(Delivery {
                topic: message.topic,
                payload: message.payload,
                qos: QoS::from_u8(message.qos).unwrap_or(QoS::AtLeastOnce).min(held.wanted.qos),
                retain: true,
                properties: message.properties,
                ids: held.id.into_iter().collect(),
                expires,
                life: None,
                command: None,
            })?;
            keeps.extend(keep);
        }
        self.front.intake.keep(keeps);
        Ok(())
    }

    pub(super) async fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<(), End> {
        if unsubscribe.filters.len() > MAX_SUBSCRIPTIONS {
            return Err(TOO_MANY_FILTERS);
        }
        let mut codes = Vec::with_capacity(unsubscribe.filters.len());
        let mut ended = Vec::new();
        for filter in unsubscribe.filters {
            let Some(at) = self.subscriptions.iter().position(|held| held.wanted.filter == filter) else {
                codes.push(Code::NO_SUBSCRIPTION_EXISTED);
                continue;
            };
            self.subscriptions.remove(at);
            self.front.subscriptions.remove(&self.whose(), &filter);
            ended.push(filter);
            codes.push(Code::SUCCESS);
        }
        if let (Some(link), false) = (&mut self.link, ended.is_empty()) {
            for routed in link.unsubscribe(&ended).await? {
                self.deliver(routed)?;
            }
        }
        if let Some(kept) = &self.kept {
            let keep = |filter| kept.keep(KeptChange::Unsubscribed { filter });
            let keeps = ended.into_iter().map(keep).collect();
            self.write_down(keeps);
        }
        self.vitals.listens(&self.subscriptions);
        let properties = Properties::none();
        self.send(&Packet::UnsubAck(UnsubAck { packet_id: unsubscribe.packet_id, codes, properties }));
        Ok(())
    }

    /// Takes what the router has for this client.
    pub(super) fn drain(&mut self, first: Option<Routed>) -> Result<(), End> {
        let mut routed = first;
        for taken in 1.. {
            if let Some(message) = routed {
                self.deliver(message)?;
            }
            // Looked at before the next is taken: what is taken is delivered.
            if taken == DRAIN {
                break;
            }
            match self.link.as_mut().and_then(Link::try_next) {
                Some(next) => routed = next?,
                None => break,
            }
        }
        Ok(())
    }

    fn deliver(&mut self, routed: Routed) -> Result<(), End> {
        // What goes in is UTF-8.
        let Ok(topic) = std::str::from_utf8(&routed.topic) else { return Ok(()) };
        let header = routed.header;
        let mut matching = 0;
        let mut best: Option<Grant> = None;
        for held in self.subscriptions.iter().filter(|held| matches(topic, &held.wanted.filter)) {
            matching += 1;
            if held.wanted.no_local && header.origin == self.id {
                continue;
            }
            best.get_or_insert_default().join(held.grant());
        }
        let Some(grant) = best else { return Ok(()) };
        let mut outgoing = self.outbox.lock();
        if !outgoing.is_first_copy(header.number, matching) {
            return Ok(());
        }
        outgoing.push(self.front.delivery(&header, topic, routed.payload, grant))?;
        Ok(())
    }

    /// Turns what waits for the client into bytes, as far as they can be taken.
    pub(super) fn fill_output(&mut self) {
        let mut outgoing = self.outbox.lock();
        while self.writer.output.len() < HIGH_WATER {
            let Some(publish) = outgoing.next() else { break };
            let too_large =
                self.max_packet.is_some_and(|max| codec::publish_len(&publish, self.version) > max as usize);
            if too_large {
                outgoing.acknowledge(publish.packet_id);
                continue;
            }
            codec::encode_publish(&publish, self.version, &mut self.writer.output);
        }
        let keeps = outgoing.keeps();
        drop(outgoing);
        self.front.intake.keep(keeps);
        if !self.writer.has_output() {
            self.last_written = Instant::now();
        }
    }
}

/// The next message, or never when there is no link.
pub(super) async fn next(link: &mut Option<Link>) -> Result<Option<Routed>, RouterGone> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}
