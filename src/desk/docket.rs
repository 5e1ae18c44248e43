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
        let doubtful = self.is_doubtful(ticket, reading);
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
        case.record.ambiguous |= doubtful;
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

    /// Whether an answer may as well be more of what another command on the topic was answered with.
    fn is_doubtful(&self, ticket: Ticket, reading: &ServiceReading) -> bool {
        let Some(case) = self.cases.get(&ticket) else { return false };
        let sent = case.record.payload.as_bytes();
        if case.rule.is_none_or(|rule| rule.is_about(sent, reading.topic.suffix(), &reading.payload)) {
            return false;
        }
        let tickets = self.answerable.get(reading.topic.service()).into_iter().flatten();
        let mut others = tickets.filter(|other| **other != ticket).filter_map(|other| self.cases.get(other));
        others.any(|other| other.record.target == case.record.target && other.record.answer.is_some())
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
mod tests;
