//! What the client says: messages on their way into history, and their acknowledgements back.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{End, MAX_UNSETTLED, Relief, Session, Unsettled, bare, protocol_error};
use crate::{
    broker::{
        Inbound, Input,
        front::{
            FanOut, Incoming,
            codec::{self, Ack, Code, Packet, Properties, Publish, QoS, Version},
            is_pattern,
            subscriptions::is_topic,
        },
    },
    model::{Keep, KeptChange, RejectionReason, Timestamp},
};

/// QoS 2 messages of one client that may wait to be released, where it cannot be told how many: more than the ids that a
/// well-behaved one uses at a time.
const MAX_UNRELEASED: usize = 4_096;

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> Session<R, W> {
    fn receive_maximum(&self) -> usize {
        match self.version {
            Version::V4 => MAX_UNRELEASED,
            // CONNACK says so.
            Version::V5 => MAX_UNSETTLED,
        }
    }

    pub(super) fn receive(&mut self, publish: Publish, fan_out: &mut FanOut) -> Result<(), End> {
        if publish.properties.topic_alias().is_some() {
            return Err(End::Refused(Code::TOPIC_ALIAS_INVALID, "topic aliases are not supported"));
        }
        if publish.topic.is_empty() || is_pattern(&publish.topic) {
            return Err(End::Refused(
                Code::TOPIC_INVALID,
                "a topic to publish on is neither empty nor a pattern",
            ));
        }
        if publish.properties.response_topic().is_some_and(is_pattern) {
            return Err(protocol_error("a topic to answer on is no pattern"));
        }
        metrics::counter!("crosslink_mqtt_received_total").increment(1);
        let at = Timestamp::now();
        self.vitals.spoke(at);
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        if !is_topic(&publish.topic) {
            if let Some(packet) = self.acknowledgement(qos, packet_id, Code::TOPIC_INVALID) {
                self.answer(packet, false);
            }
            return Ok(());
        }
        if qos == QoS::ExactlyOnce {
            match self.received.get(&packet_id) {
                // Sent again: it came in already. It may still be on its way to the disk, from an earlier connection perhaps.
                Some(written) => {
                    self.answer_after(Packet::PubRec(bare(packet_id)), Vec::new(), *written);
                    return Ok(());
                }
                None if self.received.len() >= self.receive_maximum() => {
                    return Err(End::Refused(
                        Code::RECEIVE_MAXIMUM_EXCEEDED,
                        "more QoS 2 messages came than may wait to be released",
                    ));
                }
                None => {}
            }
        }
        let incoming = Incoming {
            session: self.id,
            client_id: self.client_id.clone(),
            topic: publish.topic,
            payload: publish.payload,
            qos,
            retain: publish.retain,
            properties: publish.properties,
            at,
            will: false,
        };
        let mut recorded = self.front.judge(incoming, fan_out);
        if recorded.as_ref().is_some_and(|inbound| inbound.kept) {
            // History may correct what is kept, and the correction must be heard after it.
            self.front.router.publish(fan_out);
        }
        let code = match recorded.as_ref().and_then(|inbound| inbound.refused) {
            // The code for what is too large stands in no acknowledgement.
            Some(RejectionReason::TooLarge) => Code::QUOTA_EXCEEDED,
            Some(_) => Code::NOT_AUTHORIZED,
            None => Code::SUCCESS,
        };
        // A refusal ends the exchange in MQTT 5: no PUBREL follows.
        if qos == QoS::ExactlyOnce && !(code.is_failure() && self.version == Version::V5) {
            let inbound = recorded.as_mut().filter(|_| self.kept.is_some());
            self.received.insert(packet_id, inbound.is_some());
            if let (Some(inbound), Some(kept)) = (inbound, &self.kept) {
                inbound.keeps.push(kept.keep(KeptChange::Received { packet_id }));
            }
        }
        let packet = self.acknowledgement(qos, packet_id, code);
        match (recorded, packet) {
            (Some(mut inbound), Some(packet)) => {
                inbound.ack = Some(self.settled.ack());
                self.answer(packet, true);
                self.hold(inbound);
            }
            (Some(inbound), None) if self.front.intake.failing() => {
                // What is kept is history as soon as it can be: at the next start it has to be the same.
                let handed_on =
                    inbound.kept && self.held.is_empty() && self.front.intake.offer(inbound).is_ok();
                if !handed_on {
                    unrecorded(1);
                }
            }
            (Some(inbound), None) => self.hold(inbound),
            (None, Some(packet)) => self.answer(packet, false),
            (None, None) => {}
        }
        Ok(())
    }

    /// What a message is answered with; nothing when nobody waits for it.
    fn acknowledgement(&self, qos: QoS, packet_id: u16, code: Code) -> Option<Packet> {
        let properties = if code.is_failure() { self.reason(code.to_string()) } else { Properties::none() };
        let ack = Ack { packet_id, code, properties };
        match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Packet::PubAck(ack)),
            QoS::ExactlyOnce => Some(Packet::PubRec(ack)),
        }
    }

    /// Sends an acknowledgement in its turn: at once, or when the disk has what it acknowledges.
    pub(super) fn answer(&mut self, packet: Packet, waits: bool) {
        self.unsettled.push_back(Unsettled { packet, waits });
        self.acknowledge();
    }

    /// Sends an acknowledgement when this is written down, and all that came before.
    pub(super) fn answer_after(&mut self, packet: Packet, keeps: Vec<Keep>, waits: bool) {
        if waits {
            self.keep(keeps);
        }
        self.answer(packet, waits);
    }

    /// Hands changes of a persistent session on, behind the messages that are held, together with the right to acknowledge them.
    fn keep(&mut self, mut keeps: Vec<Keep>) {
        match self.held.back_mut() {
            Some(last) => {
                last.keeps.append(&mut keeps);
                match &mut last.ack {
                    Some(ack) => ack.and_another(),
                    None => last.ack = Some(self.settled.ack()),
                }
            }
            None => self.front.intake.send(Input::Keep { keeps, ack: Some(self.settled.ack()) }),
        }
    }

    /// The client has heard that a QoS 2 message came in, and will not send it again.
    pub(super) fn release(&mut self, packet_id: u16) {
        let written = self.received.remove(&packet_id);
        let code = if written.is_some() { Code::SUCCESS } else { Code::PACKET_ID_NOT_FOUND };
        // The packet id may be that of another message from then on.
        let keep = self.kept.as_ref().filter(|_| written == Some(true));
        let keeps: Vec<Keep> =
            keep.map(|kept| kept.keep(KeptChange::Released { packet_id })).into_iter().collect();
        let waits = !keeps.is_empty();
        self.answer_after(Packet::PubComp(Ack { code, ..bare(packet_id) }), keeps, waits);
    }

    pub(super) fn acknowledge(&mut self) {
        self.settled_now += self.settled.take();
        while let Some(first) = self.unsettled.front() {
            if first.waits && self.settled_now == 0 {
                break;
            }
            self.settled_now -= u64::from(first.waits);
            codec::encode(&first.packet, self.version, &mut self.writer.output);
            self.unsettled.pop_front();
        }
    }

    /// Hands a message on to history, after those that are held already.
    fn hold(&mut self, inbound: Inbound) {
        self.held_bytes += inbound.payload.len();
        self.held.push_back(inbound);
        self.hand_over();
    }

    /// Goes on with what is held.
    pub(super) fn relieve(&mut self, relief: Relief) {
        match relief {
            Relief::Room(room) => {
                if let Some(inbound) = self.held.pop_front() {
                    self.held_bytes -= inbound.payload.len();
                    self.front.intake.put(inbound, room);
                }
                self.hand_over();
            }
            Relief::JournalFails => {
                let before = self.held.len();
                self.held.retain(|inbound| !inbound.may_go_unrecorded());
                self.held_bytes = self.held.iter().map(|inbound| inbound.payload.len()).sum();
                unrecorded(before - self.held.len());
            }
        }
    }

    fn hand_over(&mut self) {
        while let Some(inbound) = self.held.pop_front() {
            let bytes = inbound.payload.len();
            if let Err(inbound) = self.front.intake.offer(inbound) {
                self.held.push_front(inbound);
                break;
            }
            self.held_bytes -= bytes;
        }
    }
}

/// Messages that went to other clients, and not into history.
fn unrecorded(messages: usize) {
    metrics::counter!("crosslink_unrecorded_total").increment(messages as u64);
}
