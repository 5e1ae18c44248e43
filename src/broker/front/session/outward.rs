//! What the client hears: its subscriptions, and the messages that come by them.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::yield_now,
    time::Instant,
};

use super::{End, HIGH_WATER, Session, bare};
use crate::{
    broker::{
        Input,
        front::{
            codec::{
                self, Ack, Code, Packet, Properties, QoS, RetainHandling, SubAck, Subscribe, UnsubAck,
                Unsubscribe,
            },
            outgoing::{Delivery, TooSlow},
            subscriptions::{Grant, Held, is_filter, levels, matches},
        },
        router::{Gone, Link, Routed},
    },
    model::{Keep, KeptChange, Seq, SessionId},
};

/// Messages taken from the router at a time, so that the socket gets its turn.
const DRAIN: usize = 256;
/// Levels of filters that these are compared with: ten milliseconds on a PC, in which one of its threads does nothing else.
const LEVELS_AT_A_TIME: usize = 1_000_000;
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
        self.asked_for = self.asked_for.saturating_add(subscribe.filters.len());
        let id = subscribe.properties.subscription_ids().next();
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut granted = Vec::new();
        // A persistent session may have asked for them earlier.
        let asked_for = self.asked_for.max(self.subscriptions.len());
        let mut reservation = self.front.subscriptions.reserve();
        let mut claims = self.front.router.claims();
        for mut subscription in subscribe.filters {
            subscription.qos = subscription.qos.min(self.best_qos());
            let known = self.subscriptions.iter().position(|held| held.wanted.filter == subscription.filter);
            let code = match &subscription.filter {
                filter if filter.starts_with("$share/") => Code::SHARED_NOT_SUPPORTED,
                filter if !is_filter(filter) => Code::FILTER_INVALID,
                _ if known.is_none() && self.subscriptions.len() >= MAX_SUBSCRIPTIONS => Code::QUOTA_EXCEEDED,
                filter if known.is_none() && !reservation.claim(filter, asked_for) => Code::QUOTA_EXCEEDED,
                filter if self.kept.is_none() && !claims.claim(filter, asked_for) => Code::QUOTA_EXCEEDED,
                _ => Code(subscription.qos.as_u8()),
            };
            codes.push(code);
            if code.is_failure() {
                continue;
            }
            let new = known.is_none();
            // What went in before somebody subscribed is not missed.
            let since = known.map_or(u64::MAX, |at| self.subscriptions[at].since);
            let held = Held { wanted: subscription, id, since };
            match known {
                Some(at) => self.subscriptions[at] = held.clone(),
                None => {
                    self.levels += levels(&held.wanted.filter);
                    self.subscriptions.push(held.clone());
                }
            }
            granted.push((held, new));
        }
        let new: Vec<String> =
            granted.iter().filter(|(_, new)| *new).map(|(held, _)| held.wanted.filter.clone()).collect();
        if self.kept.is_none() && !new.is_empty() {
            // The router has the filter before the index says that somebody listens.
            self.link_to(&new).await?;
            drop(claims);
            let last = self.front.router.last();
            let fresh = self.subscriptions.iter_mut().filter(|held| held.since == u64::MAX);
            fresh.for_each(|held| held.since = last);
        }
        self.vitals.listens(&self.subscriptions);
        let whose = self.whose();
        for (held, _) in &granted {
            self.front.subscriptions.add(&whose, held);
        }
        drop(reservation);
        let mut keeps = Vec::new();
        if let Some(kept) = &self.kept {
            keeps.extend(granted.iter().map(|(held, _)| kept.keep(KeptChange::Subscribed(held.kept()))));
        }
        for (held, new) in &granted {
            if self.send_retained(held, *new, &mut keeps)? {
                yield_now().await;
            }
        }
        let refused = codes.iter().find(|code| code.is_failure());
        let properties = refused.map_or(Properties::none(), |code| self.reason(code.to_string()));
        let packet = Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes, properties });
        self.answer_kept(packet, keeps);
        Ok(())
    }

    /// A session that outlives its connection would have to know of every message on disk how far the client had come with it.
    fn best_qos(&self) -> QoS {
        if self.kept.is_some() { QoS::AtLeastOnce } else { QoS::ExactlyOnce }
    }

    /// What is retained and belongs to a subscription. Whether there may have been something.
    fn send_retained(&mut self, held: &Held, new: bool, keeps: &mut Vec<Keep>) -> Result<bool, TooSlow> {
        match held.wanted.retain_handling {
            RetainHandling::Never => return Ok(false),
            RetainHandling::SendIfNew if !new => return Ok(false),
            RetainHandling::SendIfNew | RetainHandling::Send => {}
        }
        if held.wanted.qos == QoS::AtMostOnce && !self.outbox.lock().is_roomy() {
            // None of it would be sent. Who names the same filter a thousand times has had it.
            return Ok(false);
        }
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
        Ok(true)
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<(), End> {
        if unsubscribe.filters.len() > MAX_SUBSCRIPTIONS {
            return Err(TOO_MANY_FILTERS);
        }
        let mut codes = Vec::with_capacity(unsubscribe.filters.len());
        let mut keeps = Vec::new();
        for filter in &unsubscribe.filters {
            let Some(at) = self.subscriptions.iter().position(|held| held.wanted.filter == *filter) else {
                codes.push(Code::NO_SUBSCRIPTION_EXISTED);
                continue;
            };
            self.subscriptions.remove(at);
            self.levels -= levels(filter);
            self.front.subscriptions.remove(&self.whose(), filter);
            if let Some(kept) = &self.kept {
                keeps.push(kept.keep(KeptChange::Unsubscribed { filter: filter.clone() }));
            }
            if let Some(link) = &mut self.link {
                link.unsubscribe(filter);
                if !self.subscriptions.is_empty() {
                    self.heard.expect_copies();
                }
            }
            codes.push(Code::SUCCESS);
        }
        self.vitals.listens(&self.subscriptions);
        let properties = Properties::none();
        let packet = Packet::UnsubAck(UnsubAck { packet_id: unsubscribe.packet_id, codes, properties });
        self.answer_kept(packet, keeps);
        Ok(())
    }

    /// What changes a persistent session is answered when it is on disk, because its client relies on finding it there.
    fn answer_kept(&mut self, packet: Packet, keeps: Vec<Keep>) {
        if self.kept.is_some() {
            self.answer_after(packet, keeps, true);
        } else {
            self.send(&packet);
        }
    }

    /// Takes what the router has for this client.
    pub(super) fn drain(&mut self, first: Option<Routed>) -> Result<(), End> {
        self.heard.trim(self.front.router.tail_begins(), Instant::now());
        let at_a_time = self.at_a_time();
        let mut routed = first;
        for taken in 1.. {
            if let Some(message) = routed {
                self.deliver(message)?;
            }
            // Looked at before the next is taken: what is taken is delivered.
            if taken == at_a_time {
                break;
            }
            match self.link.as_mut().and_then(Link::try_next) {
                Some(next) => routed = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Messages that are compared with all subscriptions before others get a turn.
    pub(super) fn at_a_time(&self) -> usize {
        at_a_time(self.levels)
    }

    pub(super) fn deliver(&mut self, routed: Routed) -> Result<(), End> {
        // What goes in is UTF-8.
        let Ok(topic) = std::str::from_utf8(&routed.topic) else { return Ok(()) };
        let header = routed.header;
        if self.heard.came_by_the_tail(header.number, header.place) {
            return Ok(());
        }
        let (matching, Some(grant)) = self.granted(topic, header.origin, None) else { return Ok(()) };
        if !self.heard.is_first_copy(header.number, matching) {
            return Ok(());
        }
        self.heard.note(header.place);
        self.outbox.lock().push(self.front.delivery(&header, topic, routed.payload, grant))?;
        Ok(())
    }

    /// How many subscriptions bring a message on `topic`, and how it comes by them. With a number, only those
    /// count that were granted before that message went in.
    pub(super) fn granted(
        &self,
        topic: &str,
        origin: SessionId,
        number: Option<u64>,
    ) -> (usize, Option<Grant>) {
        let mut matching = 0;
        let mut best: Option<Grant> = None;
        for held in self.subscriptions.iter().filter(|held| matches(topic, &held.wanted.filter)) {
            if number.is_some_and(|number| number <= held.since) {
                continue;
            }
            matching += 1;
            if !(held.wanted.no_local && origin == self.id) {
                best.get_or_insert_default().join(held.grant());
            }
        }
        (matching, best)
    }

    /// The client has acknowledged a message of QoS 1.
    pub(super) fn acknowledged(&mut self, ack: &Ack) {
        let command = self.outbox.lock().acknowledge(ack.packet_id);
        self.delivered(command, ack.code);
    }

    /// The client has a message of QoS 2, or does not want it. It hears that the message will not come again, even if it never came.
    pub(super) fn received_by(&mut self, ack: &Ack) {
        if ack.code.is_failure() {
            return self.acknowledged(ack);
        }
        let received = self.outbox.lock().received(ack.packet_id);
        let code = if received.is_ok() { Code::SUCCESS } else { Code::PACKET_ID_NOT_FOUND };
        self.send(&Packet::PubRel(Ack { code, ..bare(ack.packet_id) }));
        self.delivered(received.unwrap_or_default(), ack.code);
    }

    fn delivered(&self, command: Option<Seq>, code: Code) {
        if let Some(command) = command.filter(|_| !code.is_failure()) {
            self.front.intake.send(Input::Delivered { command });
        }
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

/// With so many levels of filters.
fn at_a_time(levels: usize) -> usize {
    (LEVELS_AT_A_TIME / levels.max(1)).clamp(1, DRAIN)
}

/// The next message, or never when there is no link.
pub(super) async fn next(link: &mut Option<Link>) -> Result<Option<Routed>, Gone> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_levels_the_fewer_messages_at_a_time() {
        let few = LEVELS_AT_A_TIME / DRAIN;
        assert_eq!([0, few, 10 * few, usize::MAX].map(at_a_time), [DRAIN, DRAIN, DRAIN / 10, 1]);
    }
}
