//! How many refused commands are written into the log.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Refusals of one topic for one reason that are recorded in a minute; the others are counted. A person's slips are fewer,
/// and a program that asks in vain fills the disk no faster than one whose commands are accepted, one after the other.
const MAX_A_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// What was recorded in this minute, by topic and reason. There are as many as there are topics that take commands.
#[derive(Debug, Default)]
pub struct Denials {
    began: Option<Instant>,
    recorded: HashMap<(String, String), u32>,
}

impl Denials {
    /// Whether one more is recorded.
    pub fn admit(&mut self, topic: &str, reason: &str, now: Instant) -> bool {
        if self.began.is_none_or(|began| now.duration_since(began) >= MINUTE) {
            self.began = Some(now);
            self.recorded.clear();
        }
        let recorded = self.recorded.entry((topic.to_owned(), reason.to_owned())).or_default();
        *recorded += 1;
        *recorded <= MAX_A_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_room_for_some_of_each_reason_in_a_minute() {
        let (mut denials, now) = (Denials::default(), Instant::now());
        let mut admitted = |topic, reason, now| {
            (0..2 * MAX_A_MINUTE).filter(|_| denials.admit(topic, reason, now)).count() as u32
        };
        assert_eq!(admitted("rig/fan/config", "PAYLOAD_INVALID", now), MAX_A_MINUTE);
        assert_eq!(admitted("rig/fan/config", "DEVICE_OFFLINE", now), MAX_A_MINUTE);
        assert_eq!(admitted("rig/pump/config", "PAYLOAD_INVALID", now), MAX_A_MINUTE);
        assert_eq!(admitted("rig/fan/config", "PAYLOAD_INVALID", now + MINUTE / 2), 0);
        assert_eq!(admitted("rig/fan/config", "PAYLOAD_INVALID", now + MINUTE), MAX_A_MINUTE);
    }
}
