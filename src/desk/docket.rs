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
    catalog::{Topic, Verdict},
    error::Error,
    model::{
        Answer, CommandRecord, CommandState, Delivery, Mismatch, Seq, ServiceReading, ServiceTopic, Target,
        Timestamp,
    },
};

/// So long after its end a command is still told of an acknowledgement or a late answer.
const REMEMBERED: Duration = Duration::from_secs(60);
/// And so many of them: a busy desk forgets sooner.
const MAX_FINISHED: usize = 4_096;

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
    /// Its message is about to go out: what comes from now on may answer it.
    announced: Option<Timestamp>,
    /// A subscriber was faster than the news that it is out.
    acknowledged: bool,
}

/// What a reading makes of a command.
#[derive(Debug, Default)]
pub struct Heard {
    /// Stands before the reading: that the command went out, when that is not written yet.
    pub before: Option<CommandRecord>,
    /// Stands behind it.
    pub after: Option<CommandRecord>,
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
        let case = Case { record: record.clone(), rule, announced: None, acknowledged: false };
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

    /// Its message is about to go out.
    pub fn announce(&mut self, ticket: Ticket, at: Timestamp) {
        if let Some(case) = self.cases.get_mut(&ticket) {
            case.announced = Some(at);
        }
    }

    /// Its message is out, to so many clients: the states that this makes. One that nobody answers has come to its end.
    pub fn published(&mut self, ticket: Ticket, receivers: usize, now: Instant) -> Vec<CommandRecord> {
        let Some(case) = self.cases.get_mut(&ticket) else { return Vec::new() };
        // An answer may have been faster.
        if case.record.state != CommandState::Accepted {
            return Vec::new();
        }
        let mut states = vec![case.goes_out(receivers)];
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
        case.acknowledged = true;
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
        if case.announced.is_some() {
            case.record.state = CommandState::TimedOut;
        } else {
            case.record.state = CommandState::Expired;
            case.record.reason = Some(JOURNAL_BEHIND.to_owned());
        }
        let record = case.record.clone();
        self.finish(ticket, now);
        Some(record)
    }

    /// What a service said, `back` entries before what it makes of a command: those of the next.
    pub fn heard(&mut self, reading: &ServiceReading, back: i64, now: Instant) -> Heard {
        let mut heard = Heard::default();
        let Some(tickets) = self.answerable.get(reading.topic.service()) else { return heard };
        // The one that is under way before those that timed out.
        let found = tickets.iter().rev().find_map(|ticket| {
            let case = self.cases.get(ticket).filter(|case| case.awaits())?;
            let sent = case.record.payload.as_bytes();
            let verdict = case.rule?.verdict(sent, reading.topic.suffix(), &reading.payload)?;
            Some((*ticket, verdict))
        });
        let Some((ticket, verdict)) = found else { return heard };
        let Some(case) = self.cases.get_mut(&ticket) else { return heard };
        let late = case.record.state == CommandState::TimedOut;
        if case.record.state == CommandState::Accepted {
            heard.before = Some(case.goes_out(1));
        }
        case.record.answer = Some(Answer {
            seq: Seq(-back),
            at: reading.at,
            topic: reading.topic.to_string(),
            payload: String::from_utf8_lossy(&reading.payload).into_owned(),
            late,
        });
        case.record.at = reading.at;
        if !late {
            case.record.conclude(verdict);
            self.finish(ticket, now);
        }
        heard.after = self.cases.get(&ticket).map(|case| case.record.clone());
        heard
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
    /// Whether an answer would be its first.
    fn awaits(&self) -> bool {
        let open = !self.record.state.is_final() || self.record.state == CommandState::TimedOut;
        open && self.announced.is_some() && self.record.answer.is_none()
    }

    /// The state in which its message goes out.
    fn goes_out(&mut self, receivers: usize) -> CommandRecord {
        self.record.delivery = Some(match (receivers, self.acknowledged) {
            (0, _) => Delivery::NoSubscriber,
            (_, false) => Delivery::Sent,
            (_, true) => Delivery::Acknowledged,
        });
        self.record.state = CommandState::Published;
        self.record.at = self.announced.unwrap_or(self.record.at);
        self.record.clone()
    }
}

impl CommandRecord {
    /// Ends by what the device answered.
    fn conclude(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Confirmed => self.state = CommandState::Confirmed,
            Verdict::Refused(reason) => {
                self.state = CommandState::Refused;
                self.reason = Some(reason);
            }
            Verdict::Mismatch(differences) => {
                self.state = CommandState::Mismatch;
                self.mismatches = differences
                    .into_iter()
                    .map(|one| Mismatch { pointer: one.pointer, sent: one.sent, reported: one.reported })
                    .collect();
            }
        }
    }
}
