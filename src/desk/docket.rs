//! The commands that are under way: a state machine without time or I/O.
//!
//! Ingest keeps it, so that what a device says is judged in the order in which it came, and the state that it makes of a
//! command is written together with it.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    broker::{Accept, Ticket},
    catalog::{Difference, Topic, Verdict},
    error::Error,
    model::{
        Answer, CommandRecord, CommandState, Delivery, Mismatch, Seq, ServiceReading, ServiceTopic, Target,
        Timestamp,
    },
};

/// So long after its end a command is still told of an acknowledgement or a late answer.
const REMEMBERED: Duration = Duration::from_secs(60);
/// And so many of them: a busy desk forgets sooner, because each may hold half a MiB.
const MAX_FINISHED: usize = 512;

/// What a record tells of an answer beside the answer itself: a device chooses how long its texts are, and each state of
/// the command says them again.
const MAX_TEXT: usize = 1_024;
const MAX_MISMATCHES: usize = 64;

/// Why a command expired whose acceptance took too long to write.
const JOURNAL_BEHIND: &str = "JOURNAL_BEHIND";
/// Why a command expired that the last run left.
const RESTART: &str = "RESTART";

#[derive(Debug, Default)]
pub struct Docket {
    cases: HashMap<Ticket, Case>,
    /// The one command that is under way on each topic of a service.
    under_way: HashMap<ServiceTopic, Ticket>,
    /// Commands of each service that it may answer, oldest first.
    answerable: HashMap<String, Vec<Ticket>>,
    by_id: HashMap<Seq, Ticket>,
    /// Those that have come to an end, oldest first, and when.
    finished: VecDeque<(Ticket, Instant)>,
}

#[derive(Debug)]
struct Case {
    record: CommandRecord,
    /// How it is answered, if it is.
    rule: Option<&'static Topic>,
}

impl Docket {
    /// Takes a command that is to be written as accepted. Refused while another one is under way on its topic.
    pub fn accept(&mut self, accept: Accept, now: Instant) -> Result<CommandRecord, Error> {
        self.forget(now);
        let Accept { ticket, mut record, rule, .. } = accept;
        if let Target::Service(topic) = &record.target {
            if let Some(other) = self.under_way.get(topic) {
                // One that is not written yet has no id.
                let other = self.cases.get(other).map(|case| case.record.id).filter(|id| *id != Seq::ZERO);
                return Err(Error::CommandInFlight { topic: topic.to_string(), command: other });
            }
            record.ambiguous = self.unanswered(topic);
            self.under_way.insert(topic.clone(), ticket);
            if rule.is_some() {
                self.answerable.entry(topic.service().to_owned()).or_default().push(ticket);
            }
        }
        let case = Case { record: record.clone(), rule };
        self.cases.insert(ticket, case);
        Ok(record)
    }

    /// The command has its place in the journal.
    pub fn settle(&mut self, ticket: Ticket, record: &CommandRecord) {
        if let Some(case) = self.cases.get_mut(&ticket) {
            case.record = record.clone();
            self.by_id.insert(record.id, ticket);
        }
    }

    /// The command was never written.
    pub fn lose(&mut self, ticket: Ticket) {
        if let Some(case) = self.remove(ticket)
            && let Target::Service(topic) = &case.record.target
        {
            self.under_way.remove(topic);
        }
    }

    /// Its message goes out now, to so many clients: the states that this makes. One that nobody answers has come to its
    /// end.
    pub fn announce(
        &mut self,
        ticket: Ticket,
        receivers: usize,
        at: Timestamp,
        now: Instant,
    ) -> Vec<CommandRecord> {
        let Some(case) = self.cases.get_mut(&ticket) else { return Vec::new() };
        case.record.at = at;
        case.record.state = CommandState::Published;
        case.record.delivery = Some(if receivers == 0 { Delivery::NoSubscriber } else { Delivery::Sent });
        let mut states = vec![case.record.clone()];
        if case.rule.is_none() {
            case.record.state = CommandState::Unconfirmable;
            states.push(case.record.clone());
            self.finish(ticket, now);
        }
        states
    }

    /// A subscriber acknowledged its message: how far its delivery came by that.
    pub fn delivered(&mut self, command: Seq, at: Timestamp) -> Option<CommandRecord> {
        let case = self.cases.get_mut(self.by_id.get(&command)?)?;
        if case.record.delivery != Some(Delivery::Sent) {
            return None;
        }
        case.record.delivery = Some(Delivery::Acknowledged);
        case.record.at = at;
        Some(case.record.clone())
    }

    /// Its time is over.
    pub fn lapse(&mut self, ticket: Ticket, at: Timestamp, now: Instant) -> Option<CommandRecord> {
        let case = self.cases.get_mut(&ticket).filter(|case| !case.record.state.is_final())?;
        case.record.at = at;
        if case.record.state == CommandState::Published {
            case.record.state = CommandState::TimedOut;
        } else {
            case.record.state = CommandState::Expired;
            case.record.reason = Some(JOURNAL_BEHIND.to_owned());
        }
        let record = case.record.clone();
        self.finish(ticket, now);
        Some(record)
    }

    /// What a service said, `back` entries before what it makes of a command.
    pub fn heard(&mut self, reading: &ServiceReading, back: i64, now: Instant) -> Option<CommandRecord> {
        let (ticket, verdict) = self.answered(reading)?;
        let case = self.cases.get_mut(&ticket)?;
        let late = case.record.state == CommandState::TimedOut;
        case.record.answer = Some(Answer {
            seq: Seq(-back),
            at: reading.at,
            topic: reading.topic.to_string(),
            payload: String::from_utf8_lossy(&reading.payload).into_owned(),
            late,
        });
        case.record.at = reading.at;
        if !late {
            conclude(&mut case.record, verdict);
        }
        let record = case.record.clone();
        if !late {
            self.finish(ticket, now);
        }
        Some(record)
    }

    /// The command that a reading answers. Of several the first that it confirms, as a device answers one after the other;
    /// else the one that is under way, else the one that has waited longest.
    fn answered(&self, reading: &ServiceReading) -> Option<(Ticket, Verdict)> {
        let tickets = self.answerable.get(reading.topic.service())?;
        let judge = |ticket: &Ticket| {
            let case = self.cases.get(ticket).filter(|case| case.awaits())?;
            let sent = case.record.payload.as_bytes();
            let verdict = case.rule?.verdict(sent, reading.topic.suffix(), &reading.payload)?;
            Some((*ticket, case.record.state, verdict))
        };
        let mut found: Vec<_> = tickets.iter().filter_map(judge).collect();
        found.sort_by_key(|(_, state, verdict)| {
            (*verdict != Verdict::Confirmed, *state == CommandState::TimedOut)
        });
        found.into_iter().next().map(|(ticket, _, verdict)| (ticket, verdict))
    }

    /// Another client published on a topic: whose command an answer is for cannot be told any more.
    pub fn overheard(&mut self, topic: &ServiceTopic) {
        if let Some(ticket) = self.under_way.get(topic)
            && let Some(case) = self.cases.get_mut(ticket)
        {
            case.record.ambiguous = true;
        }
    }

    /// What a command that the last run left comes to: it is never sent again.
    pub fn left(mut record: CommandRecord, at: Timestamp) -> CommandRecord {
        record.at = at;
        // Nothing more was ever to come of a command that nobody answers.
        let over = record.state == CommandState::Published && record.timeout_ms.is_none();
        if over {
            record.state = CommandState::Unconfirmable;
        } else {
            record.state = CommandState::Expired;
            record.reason = Some(RESTART.to_owned());
        }
        record
    }

    /// Whether an earlier command on the topic may still be answered.
    fn unanswered(&self, topic: &ServiceTopic) -> bool {
        let tickets = self.answerable.get(topic.service()).into_iter().flatten();
        let mut cases = tickets.filter_map(|ticket| self.cases.get(ticket));
        cases.any(|case| case.awaits() && case.record.target == Target::Service(topic.clone()))
    }

    /// The next command on its topic may come; what is still told of this one is.
    fn finish(&mut self, ticket: Ticket, now: Instant) {
        if let Some(case) = self.cases.get(&ticket)
            && let Target::Service(topic) = &case.record.target
        {
            self.under_way.remove(topic);
        }
        self.finished.push_back((ticket, now));
        self.forget(now);
    }

    /// Forgets those of which nothing is told any more.
    fn forget(&mut self, now: Instant) {
        while let Some((ticket, at)) = self.finished.front().copied()
            && (self.finished.len() > MAX_FINISHED || now.duration_since(at) > REMEMBERED)
        {
            self.finished.pop_front();
            self.remove(ticket);
        }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Case> {
        let case = self.cases.remove(&ticket)?;
        self.by_id.remove(&case.record.id);
        if let Target::Service(topic) = &case.record.target
            && let Some(tickets) = self.answerable.get_mut(topic.service())
        {
            tickets.retain(|one| *one != ticket);
            if tickets.is_empty() {
                self.answerable.remove(topic.service());
            }
        }
        Some(case)
    }
}

impl Case {
    /// Whether an answer would be its first. What reached nobody is answered by nobody.
    fn awaits(&self) -> bool {
        let open = matches!(self.record.state, CommandState::Published | CommandState::TimedOut);
        open && self.record.answer.is_none() && self.record.delivery != Some(Delivery::NoSubscriber)
    }
}

/// Ends a command by what the device answered.
fn conclude(record: &mut CommandRecord, verdict: Verdict) {
    let bounded = |text: String| text.chars().take(MAX_TEXT).collect();
    match verdict {
        Verdict::Confirmed => record.state = CommandState::Confirmed,
        Verdict::Refused(reason) => {
            record.state = CommandState::Refused;
            record.reason = Some(bounded(reason));
        }
        Verdict::Mismatch(differences) => {
            record.state = CommandState::Mismatch;
            let told = differences.into_iter().take(MAX_MISMATCHES);
            record.mismatches = told
                .map(|Difference { pointer, sent, reported }| Mismatch {
                    pointer,
                    sent: bounded(sent),
                    reported: bounded(reported),
                })
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        catalog,
        model::{Action, Surface},
    };

    const PID: &str =
        r#"{"kp":1.5,"ki":0.1,"kd":0.0,"setpoint":50.0,"pause_output":false,"pause_target_input":false}"#;

    fn rule(kind: &str) -> &'static Topic {
        catalog::find(kind).unwrap().commands().next().unwrap()
    }

    fn record(target: Target, payload: &str) -> CommandRecord {
        CommandRecord {
            id: Seq::ZERO,
            seq: Seq::ZERO,
            accepted_at: Timestamp(1),
            at: Timestamp(1),
            topic: String::new(),
            target,
            payload: payload.to_owned(),
            state: CommandState::Accepted,
            delivery: None,
            qos: 1,
            timeout_ms: Some(5_000),
            answer: None,
            mismatches: Vec::new(),
            reason: None,
            ambiguous: false,
            surface: Surface::Rest,
            client_id: None,
            address: None,
            idempotency_key: None,
        }
    }

    /// A docket, and a clock that stands until it is moved.
    struct Desk {
        docket: Docket,
        now: Instant,
        last: u64,
    }

    impl Desk {
        fn new() -> Desk {
            Desk { docket: Docket::default(), now: Instant::now(), last: 0 }
        }

        fn accept(
            &mut self,
            topic: &str,
            payload: &str,
            rule: Option<&'static Topic>,
        ) -> Result<Ticket, Error> {
            self.order(record(Target::Service(topic.parse().unwrap()), payload), rule)
        }

        fn order(&mut self, record: CommandRecord, rule: Option<&'static Topic>) -> Result<Ticket, Error> {
            self.last += 1;
            let ticket = Ticket(self.last);
            let accept = Accept { ticket, record, rule, offline: false };
            let mut record = self.docket.accept(accept, self.now)?;
            (record.id, record.seq) = (Seq(self.last as i64), Seq(self.last as i64));
            self.docket.settle(ticket, &record);
            Ok(ticket)
        }

        /// A command for `rig/heater/config`, a pid, that is out.
        fn out(&mut self) -> Ticket {
            let ticket = self.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
            assert_eq!(self.docket.announce(ticket, 1, Timestamp(2), self.now).len(), 1);
            ticket
        }

        fn says(&mut self, topic: &str, payload: &str) -> Option<CommandRecord> {
            let payload = Bytes::copy_from_slice(payload.as_bytes());
            let topic = topic.parse().unwrap();
            let reading =
                ServiceReading { seq: Seq::ZERO, at: Timestamp(9), topic, replay_of: None, payload };
            self.docket.heard(&reading, 1, self.now)
        }
    }

    #[test]
    fn what_the_device_says_ends_the_command() {
        for (answer, state) in
            [(PID, CommandState::Confirmed), (&PID.replace("50.0", "40"), CommandState::Mismatch)]
        {
            let mut desk = Desk::new();
            desk.out();
            let heard = desk.says("rig/heater/response", answer);
            let ended = heard.unwrap();
            assert_eq!(ended.state, state);
            let told = ended.answer.unwrap();
            assert_eq!((told.seq, told.payload.as_str(), told.late), (Seq(-1), answer, false));
            // One answer, and the next may come.
            assert_eq!(desk.says("rig/heater/response", PID), None);
            desk.out();
        }
    }

    #[test]
    fn what_was_said_before_it_went_out_is_no_answer() {
        let mut desk = Desk::new();
        let ticket = desk.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
        assert_eq!(desk.says("rig/heater/response", PID), None);
        desk.docket.announce(ticket, 1, Timestamp(2), desk.now);
        assert!(desk.says("rig/heater/response", PID).is_some());
    }

    #[test]
    fn what_reached_nobody_is_answered_by_nobody() {
        let mut desk = Desk::new();
        let ticket = desk.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
        desk.docket.announce(ticket, 0, Timestamp(2), desk.now);
        assert_eq!(desk.says("rig/heater/response", PID), None);
    }

    #[test]
    fn a_slow_answer_is_that_of_the_command_that_it_confirms() {
        let mut desk = Desk::new();
        let slow = desk.out();
        desk.docket.lapse(slow, Timestamp(8), desk.now).unwrap();
        let other = PID.replace("50.0", "60.0");
        let next = desk.accept("rig/heater/config", &other, Some(rule("pid"))).unwrap();
        desk.docket.announce(next, 1, Timestamp(9), desk.now);
        let first = desk.says("rig/heater/response", PID).unwrap();
        assert_eq!((first.id, first.state), (Seq(1), CommandState::TimedOut));
        let second = desk.says("rig/heater/response", &other).unwrap();
        assert_eq!((second.id, second.state), (Seq(2), CommandState::Confirmed));
    }

    #[test]
    fn a_command_that_is_not_written_yet_is_under_way_without_a_name() {
        let mut desk = Desk::new();
        let mut accept = |ticket| {
            let record = record(Target::Service("rig/heater/config".parse().unwrap()), PID);
            let accept = Accept { ticket: Ticket(ticket), record, rule: Some(rule("pid")), offline: false };
            desk.docket.accept(accept, desk.now)
        };
        assert!(accept(1).is_ok());
        let second = accept(2);
        assert!(matches!(second, Err(Error::CommandInFlight { command: None, .. })), "{second:?}");
    }

    #[test]
    fn one_command_is_under_way_on_a_topic() {
        let mut desk = Desk::new();
        let first = desk.out();
        let second = desk.accept("rig/heater/config", PID, Some(rule("pid")));
        assert!(matches!(second, Err(Error::CommandInFlight { command: Some(Seq(1)), .. })), "{second:?}");
        desk.accept("rig/other/config", PID, Some(rule("pid"))).unwrap();
        desk.docket.lapse(first, Timestamp(8), desk.now).unwrap();
        desk.out();
    }

    #[test]
    fn a_command_that_was_never_written_blocks_nobody() {
        let mut desk = Desk::new();
        let ticket = desk.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
        desk.docket.lose(ticket);
        desk.out();
    }

    #[test]
    fn a_late_answer_is_attached_and_changes_nothing() {
        let mut desk = Desk::new();
        let ticket = desk.out();
        let over = desk.docket.lapse(ticket, Timestamp(8), desk.now).unwrap();
        assert_eq!((over.state, over.answer), (CommandState::TimedOut, None));
        let late = desk.says("rig/heater/response", PID).unwrap();
        assert_eq!(late.state, CommandState::TimedOut);
        assert!(late.answer.unwrap().late);
        assert_eq!(desk.says("rig/heater/response", PID), None);
    }

    #[test]
    fn whose_answer_it_is_may_be_in_doubt() {
        let mut desk = Desk::new();
        let first = desk.out();
        desk.docket.overheard(&"rig/heater/config".parse().unwrap());
        assert!(desk.docket.lapse(first, Timestamp(8), desk.now).unwrap().ambiguous);
        // The first may still be answered.
        let second = desk.out();
        assert!(desk.docket.lapse(second, Timestamp(8), desk.now).unwrap().ambiguous);
        desk.says("rig/heater/response", PID);
        desk.says("rig/heater/response", PID);
        let third = desk.out();
        assert!(!desk.docket.lapse(third, Timestamp(8), desk.now).unwrap().ambiguous);
    }

    #[test]
    fn nobody_answers_what_has_no_answer() {
        let mut desk = Desk::new();
        let device = Target::Device { device: "esp32".into(), action: Action::Play };
        for _ in 0..2 {
            // A device takes the next at once.
            let ticket = desk.order(record(device.clone(), "true"), None).unwrap();
            let states = desk.docket.announce(ticket, 0, Timestamp(2), desk.now);
            let told: Vec<_> = states.iter().map(|record| (record.state, record.delivery)).collect();
            let nobody = Some(Delivery::NoSubscriber);
            assert_eq!(told, [(CommandState::Published, nobody), (CommandState::Unconfirmable, nobody)]);
        }
    }

    #[test]
    fn a_delivery_rises_once_also_after_the_end() {
        let mut desk = Desk::new();
        desk.out();
        desk.says("rig/heater/response", PID);
        let risen = desk.docket.delivered(Seq(1), Timestamp(10)).unwrap();
        assert_eq!((risen.state, risen.delivery), (CommandState::Confirmed, Some(Delivery::Acknowledged)));
        assert_eq!(desk.docket.delivered(Seq(1), Timestamp(11)), None);
    }

    #[test]
    fn a_command_that_could_not_be_written_in_time_expires() {
        let mut desk = Desk::new();
        let ticket = desk.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
        let over = desk.docket.lapse(ticket, Timestamp(8), desk.now).unwrap();
        assert_eq!((over.state, over.reason.as_deref()), (CommandState::Expired, Some("JOURNAL_BEHIND")));
        desk.out();
    }

    #[test]
    fn nothing_is_kept_of_what_is_long_over() {
        let mut desk = Desk::new();
        for _ in 0..3 {
            let ticket = desk.out();
            desk.docket.lapse(ticket, Timestamp(8), desk.now);
        }
        desk.now += REMEMBERED + Duration::from_secs(1);
        let last = desk.out();
        assert_eq!(desk.docket.cases.len(), 1);
        desk.docket.lose(last);
        let Docket { cases, under_way, answerable, by_id, finished } = &desk.docket;
        assert!(cases.is_empty() && under_way.is_empty() && answerable.is_empty() && by_id.is_empty());
        assert!(finished.is_empty());
    }

    #[test]
    fn what_the_last_run_left_is_over() {
        let service = Target::Service("rig/heater/config".parse().unwrap());
        let left = Docket::left(record(service, PID), Timestamp(9));
        assert_eq!((left.state, left.reason.as_deref()), (CommandState::Expired, Some("RESTART")));
        let device = Target::Device { device: "esp32".into(), action: Action::Play };
        let published =
            CommandRecord { state: CommandState::Published, timeout_ms: None, ..record(device, "true") };
        assert_eq!(Docket::left(published, Timestamp(9)).state, CommandState::Unconfirmable);
    }
}
