//! What is known of each service: a state machine without time or I/O.
//!
//! Whatever changes is an event of the journal, and the book is the sum of these events.

use std::{collections::BTreeMap, sync::Arc};

use super::ServiceFilter;
use crate::{
    catalog::{self, Kind, Kinds},
    error::Error,
    model::{
        Event, Evidence, Seq, ServiceChange, ServiceName, ServiceReading, ServiceState, ServiceTopic,
        Timestamp,
    },
};

/// Services that are known at most: a client that invents names must not fill the memory.
const MAX_SERVICES: usize = 4_096;
/// And their topics. A camera has 37.
const MAX_TOPICS: usize = 16_384;

/// All services at one place in the journal.
#[derive(Clone, Debug, Default)]
pub struct Book {
    services: BTreeMap<String, Arc<Service>>,
    topics: usize,
}

/// A service as it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: ServiceName,
    pub state: ServiceState,
    /// The place of what was last learnt of its kind.
    pub seq: Seq,
    /// When that was.
    pub at: Timestamp,
    /// When it was first heard of.
    pub first_at: Timestamp,
    /// Pinned, or the one that is left.
    pub kind: Option<&'static Kind>,
    /// What it may be by what it said; the most likely first.
    pub likely: Vec<&'static Kind>,
    pub candidates: Kinds,
    /// The messages that left fewer kinds each, oldest first.
    pub evidence: Vec<Evidence>,
    /// The latest reading of each topic, by suffix.
    pub topics: BTreeMap<String, Heard>,
    /// Kinds that something spoke for without deciding: each is moved to the front once.
    hinted: Kinds,
}

/// The latest reading of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub seq: Seq,
    pub at: Timestamp,
    /// It was made of a rejection, so that anything heard is newer.
    pub replayed: bool,
}

impl Book {
    pub fn get(&self, service: &str) -> Option<&Arc<Service>> {
        self.services.get(service)
    }

    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The place of the newest that it holds.
    pub fn seq(&self) -> Seq {
        let newest = |service: &Arc<Service>| {
            let heard = service.topics.values().map(|heard| heard.seq);
            heard.fold(service.seq, Seq::max)
        };
        self.services.values().map(newest).max().unwrap_or_default()
    }

    /// The places of the latest reading of each topic, with this suffix, of those services that the filter has.
    pub fn latest(&self, filter: &ServiceFilter, suffix: Option<&str>) -> Vec<Seq> {
        let services = self.services.values().filter(|service| filter.has(service));
        let topics = services.flat_map(|service| &service.topics);
        let wanted = topics.filter(|(topic, _)| suffix.is_none_or(|suffix| suffix == topic.as_str()));
        wanted.map(|(_, heard)| heard.seq).collect()
    }

    /// Whether there is room for what is said on a topic: it is known, or not one too many.
    pub fn admits(&self, topic: &ServiceTopic) -> bool {
        let known =
            self.get(topic.service()).is_some_and(|service| service.topics.contains_key(topic.suffix()));
        known || (self.topics < MAX_TOPICS && self.admits_service(topic.service()))
    }

    /// Whether there is room for a service that is spoken to. A kind takes commands on very few topics, which are not
    /// counted: however much is said, who is known can be told something.
    pub fn admits_service(&self, service: &str) -> bool {
        self.services.contains_key(service) || self.services.len() < MAX_SERVICES
    }

    /// What a reading, which fits these kinds, tells of its service, if anything.
    pub fn observe(&mut self, reading: &ServiceReading, fits: Kinds, hinted: Kinds) -> Option<ServiceChange> {
        let before = self.services.get(reading.topic.service());
        let candidates = before.map_or(Kinds::ALL, |service| service.candidates).and(fits);
        // No suffix is that of all kinds: the first message always leaves fewer.
        if before.is_some_and(|service| service.candidates == candidates) {
            self.heard(&reading.topic, reading.seq, reading.at, false);
            return None;
        }
        let mut service =
            before.map_or_else(|| Service::new(&reading.topic, reading.at), |known| (**known).clone());
        service.candidates = candidates;
        service.hint(hinted);
        service.judge();
        let evidence = Evidence {
            seq: Seq::ZERO,
            suffix: reading.topic.suffix().to_owned(),
            candidates: service.likely.iter().map(|kind| kind.name.to_owned()).collect(),
        };
        let change = self.change(service, reading.at, Some(evidence));
        self.heard(&reading.topic, reading.seq, reading.at, false);
        Some(change)
    }

    /// What a command, which these kinds take, tells of the service that it is for, if anything: it decides nothing.
    pub fn commanded(&mut self, topic: &ServiceTopic, hinted: Kinds, at: Timestamp) -> Option<ServiceChange> {
        let before = self.services.get(topic.service());
        if before.is_some_and(|known| known.kind.is_some() || hinted.without(known.hinted).is_empty()) {
            return None;
        }
        let mut service = before.map_or_else(|| Service::new(topic, at), |known| (**known).clone());
        service.hint(hinted);
        if let Some(known) = self.services.get_mut(topic.service())
            && known.likely == service.likely
        {
            Arc::make_mut(known).hinted = service.hinted;
            return None;
        }
        Some(self.change(service, at, None))
    }

    /// Pins a service to a kind, or says why not. None when it is so already.
    pub fn pin(
        &mut self,
        name: &ServiceName,
        kind: &'static Kind,
        force: bool,
        at: Timestamp,
    ) -> Result<Option<ServiceChange>, Error> {
        let before = self.services.get(name.as_str());
        if !self.admits_service(name.as_str()) {
            return Err(Error::Invalid(format!(
                "there are {MAX_SERVICES} services already, and {name} is none of them"
            )));
        }
        let mut service = before.map_or_else(|| Service::new(&name.topic(""), at), |known| (**known).clone());
        if service.state == ServiceState::Pinned && service.kind == Some(kind) {
            return Ok(None);
        }
        if !service.candidates.has(kind) {
            if !force {
                return Err(self.contradicted(name.as_str(), kind.name));
            }
            // What it said before counts no more.
            service.candidates = Kinds::ALL;
            service.evidence.clear();
            service.judge();
        }
        service.state = ServiceState::Pinned;
        service.kind = Some(kind);
        Ok(Some(self.change(service, at, None)))
    }

    /// That what a service said contradicts a kind, and where that stands: of what is not committed yet, nowhere.
    pub fn contradicted(&self, service: &str, kind: &'static str) -> Error {
        let evidence = self.get(service).into_iter().flat_map(|known| &known.evidence);
        let mut against = evidence.filter(|one| !one.candidates.iter().any(|name| name == kind));
        let seqs = against.next().map(|evidence| evidence.seq.0).into_iter().collect();
        Error::KindContradicted { service: service.to_owned(), kind, seqs }
    }

    /// Forgets a pin. None when there is none.
    pub fn unpin(&mut self, name: &ServiceName, at: Timestamp) -> Result<Option<ServiceChange>, Error> {
        let Some(known) = self.services.get(name.as_str()) else {
            return Err(Error::NotFound { what: "service", name: name.to_string() });
        };
        if known.state != ServiceState::Pinned {
            return Ok(None);
        }
        let mut service = (**known).clone();
        service.state = ServiceState::Unknown;
        service.judge();
        Ok(Some(self.change(service, at, None)))
    }

    /// Follows what was committed.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::ServiceReading(reading) => {
                self.heard(&reading.topic, reading.seq, reading.at, reading.replay_of.is_some());
            }
            Event::Service(change) => self.learn(change),
            Event::Reading(_)
            | Event::Presence(_)
            | Event::Session(_)
            | Event::Command(_)
            | Event::Rejection(_) => {}
        }
    }

    /// The latest reading of a topic.
    pub fn heard(&mut self, topic: &ServiceTopic, seq: Seq, at: Timestamp, replayed: bool) {
        let Some(service) = self.services.get_mut(topic.service()) else { return };
        let service = Arc::make_mut(service);
        let heard = Heard { seq, at, replayed };
        match service.topics.get_mut(topic.suffix()) {
            // What was replayed is the latest only of a topic that has nothing else.
            Some(last) if !replayed || last.replayed => *last = heard,
            Some(_) => {}
            None => {
                service.topics.insert(topic.suffix().to_owned(), heard);
                self.topics += 1;
            }
        }
    }

    /// Takes over a service as it was committed. What it was hinted at is in no event.
    pub fn settle(&mut self, mut settled: Arc<Service>) {
        let before = self.services.get(settled.name.as_str());
        let (hinted, topics) = before.map_or((Kinds::NONE, 0), |known| (known.hinted, known.topics.len()));
        self.topics = self.topics - topics + settled.topics.len();
        if settled.hinted != hinted {
            Arc::make_mut(&mut settled).hinted = hinted;
        }
        self.services.insert(settled.name.as_str().to_owned(), settled);
    }

    fn change(&mut self, service: Service, at: Timestamp, evidence: Option<Evidence>) -> ServiceChange {
        let change = ServiceChange {
            seq: Seq::ZERO,
            at,
            service: service.name.clone(),
            state: service.state,
            kind: service.kind.map(|kind| kind.name.to_owned()),
            candidates: service.likely.iter().map(|kind| kind.name.to_owned()).collect(),
            evidence,
        };
        self.services.insert(service.name.as_str().to_owned(), Arc::new(service));
        change
    }

    fn learn(&mut self, change: &ServiceChange) {
        let topic = change.service.topic("");
        let known = self.services.entry(change.service.as_str().to_owned());
        let service = Arc::make_mut(known.or_insert_with(|| Arc::new(Service::new(&topic, change.at))));
        // Kinds that a later catalog no longer has are passed over.
        let likely: Vec<_> = change.candidates.iter().filter_map(|name| catalog::find(name)).collect();
        let candidates = likely.iter().copied().collect::<Kinds>();
        if !candidates.without(service.candidates).is_empty() {
            // It was forced: what it said before counts no more.
            service.evidence.clear();
        }
        service.evidence.extend(change.evidence.clone());
        service.seq = change.seq;
        service.at = change.at;
        service.state = change.state;
        service.kind = change.kind.as_deref().and_then(catalog::find);
        service.likely = likely;
        service.candidates = candidates;
        // The service was not known yet when the reading was.
        if let Some(evidence) = &change.evidence {
            self.heard(&change.service.topic(&evidence.suffix), evidence.seq, change.at, false);
        }
    }
}

impl Service {
    fn new(topic: &ServiceTopic, at: Timestamp) -> Service {
        Service {
            name: topic.service_name(),
            state: ServiceState::Unknown,
            seq: Seq::ZERO,
            at,
            first_at: at,
            kind: None,
            likely: Kinds::ALL.iter().collect(),
            candidates: Kinds::ALL,
            evidence: Vec::new(),
            topics: BTreeMap::new(),
            hinted: Kinds::NONE,
        }
    }

    /// What is known of it as the change that led to it.
    pub fn standing(&self) -> ServiceChange {
        let told = |evidence: &&Evidence| evidence.seq.next() == self.seq;
        ServiceChange {
            seq: self.seq,
            at: self.at,
            service: self.name.clone(),
            state: self.state,
            kind: self.kind.map(|kind| kind.name.to_owned()),
            candidates: self.likely.iter().map(|kind| kind.name.to_owned()).collect(),
            evidence: self.evidence.last().filter(told).cloned(),
        }
    }

    /// The places of the latest reading of each topic, by suffix as people count.
    pub fn latest(&self) -> Vec<Seq> {
        let mut topics: Vec<_> = self.topics.iter().collect();
        topics.sort_by_key(|(suffix, _)| ServiceTopic::rank(suffix));
        topics.into_iter().map(|(_, heard)| heard.seq).collect()
    }

    /// When it last spoke.
    pub fn last_message_at(&self) -> Option<Timestamp> {
        self.topics.values().map(|heard| heard.at).max()
    }

    /// Moves kinds to the front that were not there before.
    fn hint(&mut self, hinted: Kinds) {
        let fresh = hinted.without(self.hinted);
        self.hinted = self.hinted.or(fresh);
        self.likely.sort_by_key(|kind| !fresh.has(kind));
    }

    /// What its candidates make of it.
    fn judge(&mut self) {
        let candidates = self.candidates;
        self.likely.retain(|kind| candidates.has(kind));
        let missing = candidates.without(self.likely.iter().copied().collect());
        self.likely.extend(missing.iter());
        if self.state == ServiceState::Pinned {
            return;
        }
        self.kind = candidates.single();
        self.state = match (candidates == Kinds::ALL, self.kind) {
            (true, _) => ServiceState::Unknown,
            (false, Some(_)) => ServiceState::Inferred,
            (false, None) => ServiceState::Ambiguous,
        };
    }
}

#[cfg(test)]
mod tests;
