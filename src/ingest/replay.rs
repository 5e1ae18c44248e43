//! Rejected messages, looked at anew.
//!
//! What a message measured becomes a reading at the end of the journal, with the time at which it came. Nobody
//! hears it on MQTT again, and it says nothing about who is there.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    Batch, Ingest,
    interpret::{Interpreted, Meaning, interpret},
    of,
};
use crate::{
    broker::{Inbound, QoS, front::refusal},
    model::{Event, Pair, Reading, Rejection, Replay, ReplayOutcome, ServiceReading},
};

/// A rejection that was looked at anew, and who waits to be told.
pub(super) struct Replayed {
    replay: Replay,
    /// The draft of its reading.
    draft: Option<usize>,
    done: oneshot::Sender<Replay>,
}

impl Ingest {
    pub(super) fn replay(&mut self, rejection: &Rejection, done: oneshot::Sender<Replay>, batch: &mut Batch) {
        let mut replay = Replay {
            rejection: rejection.seq,
            outcome: ReplayOutcome::Past,
            reading: None,
            reason: None,
            detail: None,
        };
        let mut draft = None;
        let inbound = inbound(rejection, &self.pair);
        match interpret(&self.book, &inbound).and_then(|known| self.admit(known, &inbound)) {
            Ok(Interpreted { meaning: Meaning::Reading(reading), .. }) => {
                replay.outcome = ReplayOutcome::Recorded;
                draft = Some(batch.drafts.len());
                batch.drafts.push(of(Event::Reading(Reading { replay_of: Some(rejection.seq), ..reading })));
            }
            Ok(Interpreted { meaning: Meaning::ServiceReading { reading, .. }, .. }) => {
                replay.outcome = ReplayOutcome::Recorded;
                draft = Some(batch.drafts.len());
                let reading = ServiceReading { replay_of: Some(rejection.seq), ..reading };
                batch.drafts.push(of(Event::ServiceReading(reading)));
            }
            Ok(_) => {}
            Err(again) => {
                replay.outcome = ReplayOutcome::Rejected;
                replay.reason = Some(again.reason);
                replay.detail = Some(again.to_string());
            }
        }
        batch.replays.push(Replayed { replay, draft, done });
    }
}

impl Replayed {
    /// Tells what became of it. `events` are those of the batch, by draft.
    pub(super) fn tell(self, events: &[Option<Arc<Event>>]) {
        let event = self.draft.and_then(|draft| events[draft].as_ref());
        let replay = Replay { reading: event.map(|event| event.seq()), ..self.replay };
        // Whoever asked may have gone.
        let _ = self.done.send(replay);
    }
}

/// The message as it came.
fn inbound(rejection: &Rejection, pair: &Pair) -> Inbound {
    let Rejection { topic, payload, retain, at, .. } = rejection;
    Inbound {
        client_id: rejection.client_id.as_str().into(),
        qos: QoS::from_u8(rejection.qos).unwrap_or(QoS::AtMostOnce),
        retain: *retain,
        refused: refusal(topic, payload, *retain, pair),
        ..Inbound::new(topic.clone(), payload.clone(), *at, pair)
    }
}
