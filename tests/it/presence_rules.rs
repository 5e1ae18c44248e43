//! The rules of presence that take longer than a test can wait: here time is an argument.

use std::time::{Duration, Instant};

use crosslink::{
    model::{Presence, PresenceReason, SessionEnd, SessionId, Status, Timestamp},
    presence::{Signal, Watch},
};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

/// A watch over one device, `esp32`, and a clock that a test sets.
struct Story {
    watch: Watch,
    begin: Instant,
    now: Instant,
    changes: Vec<(u64, Status, PresenceReason)>,
    /// When each of the changes was told, and whether it is marked.
    told: Vec<(Instant, bool)>,
}

impl Story {
    fn new() -> Story {
        let begin = Instant::now();
        Story { watch: Watch::default(), begin, now: begin, changes: Vec::new(), told: Vec::new() }
    }

    /// After a start of the gateway, which knew the device.
    fn restored() -> Story {
        let mut story = Story::new();
        let known = vec![("esp32".to_owned(), Presence { status: Status::Online, ..Presence::default() })];
        let (watch, changes) = Watch::restored(known, Timestamp(0), story.begin);
        assert_eq!(changes[0].presence.status, Status::Unknown);
        assert_eq!(changes[0].presence.reason, Some(PresenceReason::Restart));
        story.watch = watch;
        story
    }

    /// Lets time pass, looking around four times a second as the gateway does.
    fn passes(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += SECOND / 4;
            let changes = self.watch.tick(self.at(), self.now);
            self.note(changes);
        }
    }

    fn hears(&mut self, signal: Signal<'_>) {
        self.hears_late(signal, self.at());
    }

    /// As when a slow disk made it wait since `at`.
    fn hears_late(&mut self, signal: Signal<'_>, at: Timestamp) {
        let changes = self.watch.observe(signal, at, self.now);
        self.note(changes);
    }

    fn at(&self) -> Timestamp {
        Timestamp((self.now - self.begin).as_micros() as i64)
    }

    fn connects(&mut self, session: i64) {
        self.hears(Signal::Started { session: SessionId(session), client_id: "esp32", will: None });
    }

    fn reads(&mut self, session: i64) {
        let (session, client_id, device) = (SessionId(session), "esp32", "esp32");
        self.hears(Signal::Reading { session, client_id, device, alone: false });
    }

    fn leaves(&mut self, session: i64, end: SessionEnd) {
        let session = SessionId(session);
        self.hears(Signal::Ended { session, end, will_published: false, successor: None });
    }

    fn note(&mut self, changes: Vec<crosslink::model::PresenceChange>) {
        for change in changes {
            let elapsed = (self.now - self.begin).as_secs();
            self.changes.push((elapsed, change.presence.status, change.presence.reason.unwrap()));
            self.told.push((self.now, change.flapping));
        }
    }
}

#[test]
fn a_known_device_that_stays_silent_is_offline_after_45_seconds() {
    let mut story = Story::restored();
    story.passes(300 * SECOND);
    assert_eq!(story.changes, [(45, Status::Offline, PresenceReason::Silence)]);
}

#[test]
fn a_known_device_that_speaks_in_time_is_online() {
    let mut story = Story::restored();
    story.passes(44 * SECOND);
    story.connects(1);
    story.reads(1);
    story.passes(2 * SECOND);
    assert_eq!(story.changes, [(44, Status::Online, PresenceReason::Reading)]);
}

#[test]
fn a_connection_alone_is_no_sign_of_life() {
    let mut story = Story::restored();
    let (session, client_id) = (SessionId(1), "esp32");
    story.hears(Signal::Started { session, client_id, will: Some("esp32") });
    story.hears(Signal::Online { session, client_id, device: "esp32", alias: true });
    story.passes(50 * SECOND);
    assert_eq!(story.changes, [(45, Status::Offline, PresenceReason::Silence)]);
}

#[test]
fn what_a_one_shot_publisher_left_behind_is_offline_45_seconds_after_it_is_stale() {
    let mut story = Story::new();
    story.connects(1);
    story.reads(1);
    story.leaves(1, SessionEnd::Disconnect);
    story.passes(300 * SECOND);
    assert_eq!(
        story.changes,
        [
            (0, Status::Online, PresenceReason::Reading),
            (5, Status::Stale, PresenceReason::Silence),
            (50, Status::Offline, PresenceReason::Silence),
        ]
    );
}

#[test]
fn a_stale_device_whose_last_session_says_goodbye_is_offline_45_seconds_later() {
    let mut story = Story::new();
    story.connects(1);
    story.reads(1);
    story.passes(20 * SECOND);
    story.leaves(1, SessionEnd::Disconnect);
    story.passes(300 * SECOND);
    assert_eq!(
        story.changes[1..],
        [(5, Status::Stale, PresenceReason::Silence), (65, Status::Offline, PresenceReason::Silence)]
    );
}

#[test]
fn a_stale_device_with_a_live_session_stays_stale() {
    let mut story = Story::new();
    story.connects(1);
    story.reads(1);
    story.passes(3_600 * SECOND);
    assert_eq!(story.changes[1..], [(5, Status::Stale, PresenceReason::Silence)]);
}

#[test]
fn a_slow_device_may_be_silent_for_three_of_its_periods() {
    let mut story = Story::new();
    story.connects(1);
    for _ in 0..5 {
        story.reads(1);
        story.passes(4 * SECOND);
    }
    story.reads(1);
    let last = (story.now - story.begin).as_secs();
    story.passes(60 * SECOND);
    assert_eq!(story.changes[1..], [(last + 12, Status::Stale, PresenceReason::Silence)]);
}

#[test]
fn one_pause_does_not_change_the_pace() {
    let mut story = Story::new();
    story.connects(1);
    for _ in 0..3 {
        story.reads(1);
        story.passes(2 * SECOND);
    }
    story.passes(60 * SECOND);
    for _ in 0..3 {
        story.reads(1);
        story.passes(2 * SECOND);
    }
    story.reads(1);
    let last = (story.now - story.begin).as_secs();
    story.passes(60 * SECOND);
    // Three periods of two seconds, however long the one pause was.
    assert_eq!(story.changes.last(), Some(&(last + 6, Status::Stale, PresenceReason::Silence)));
}

#[test]
fn a_device_that_slows_down_is_understood_in_time() {
    let mut story = Story::new();
    story.connects(1);
    for _ in 0..30 {
        story.reads(1);
        story.passes(SECOND);
    }
    for _ in 0..15 {
        story.reads(1);
        story.passes(10 * SECOND);
    }
    let before = story.changes.len();
    for _ in 0..10 {
        story.reads(1);
        story.passes(10 * SECOND);
    }
    assert_eq!(story.changes[before..], []);
}

#[test]
fn a_slow_disk_does_not_change_the_pace() {
    let mut story = Story::new();
    story.connects(1);
    for n in 0..20 {
        // Sent every ten seconds, looked at all at once.
        let (session, client_id, device) = (SessionId(1), "esp32", "esp32");
        let signal = Signal::Reading { session, client_id, device, alone: false };
        story.hears_late(signal, Timestamp(n * 10_000_000));
    }
    let before = story.changes.len();
    story.passes(29 * SECOND);
    assert_eq!(story.changes[before..], []);
}

#[test]
fn a_clock_that_is_set_anew_does_not_change_the_pace() {
    for jump in [-3_600_000_000, 3_600_000_000] {
        let mut story = Story::new();
        story.connects(1);
        for n in 0..8 {
            let (session, client_id, device) = (SessionId(1), "esp32", "esp32");
            let signal = Signal::Reading { session, client_id, device, alone: false };
            let at = story.at().0 + if n < 4 { 0 } else { jump };
            story.hears_late(signal, Timestamp(at));
            story.passes(4 * SECOND);
        }
        story.passes(60 * SECOND);
        assert_eq!(story.changes[1..], [(28 + 12, Status::Stale, PresenceReason::Silence)]);
    }
}

#[test]
fn a_device_that_comes_and_goes_is_told_of_once_a_second_and_as_it_is() {
    let mut story = Story::new();
    for session in 1..=100 {
        story.connects(session);
        story.reads(session);
        story.leaves(session, SessionEnd::Closed);
        story.now += SECOND / 100;
    }
    // When it goes for the fifth time, that is too often.
    assert_eq!(story.changes.len(), 9);
    story.passes(2 * SECOND);
    assert_eq!(story.changes[9..], [(1, Status::Offline, PresenceReason::Closed)]);
    story.passes(60 * SECOND);
    story.connects(200);
    story.reads(200);
    story.leaves(200, SessionEnd::Closed);
    assert_eq!(story.changes.len(), 12, "all is told again after a quiet minute");
    let marked: Vec<bool> = story.told.iter().map(|(_, flapping)| *flapping).collect();
    assert_eq!(marked, [&[false; 9][..], &[true], &[false; 2]].concat());
}

proptest! {
    #[test]
    fn whatever_a_device_does_its_last_state_is_told(
        steps in prop::collection::vec((0_u8..4, 0_u32..6), 0..100),
    ) {
        let mut story = Story::new();
        let mut session = 0;
        for (step, quarters) in steps {
            match step {
                0 => {
                    session += 1;
                    story.connects(session);
                    story.reads(session);
                }
                1 => story.reads(session),
                2 => story.leaves(session, SessionEnd::SocketError),
                _ => story.hears(Signal::Offline { device: "esp32" }),
            }
            story.passes(quarters * SECOND / 4);
        }
        story.passes(SECOND);
        let last = story.changes.last().map(|(_, status, _)| *status);
        prop_assert_eq!(last, story.watch.status("esp32"));
        for pair in story.told.windows(2) {
            prop_assert!(!pair[1].1 || pair[1].0 >= pair[0].0 + SECOND);
        }
    }
}
