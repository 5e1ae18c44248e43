//! What a message on a service's topic means, by the catalog and by what is known of the service.

use crate::{
    catalog::{self, Kind, Kinds, Match, Unit},
    json::{self, Fit, Flaw, Parsed, text},
    model::{RejectionReason, ServiceState, ServiceTopic},
    registry::Service,
};

/// What a message on a service's topic is.
#[derive(Debug, PartialEq)]
pub(super) enum Meant<'p> {
    /// The service says it. Of those kinds that it fits, something in it speaks for some.
    Said { fits: Kinds, hinted: Kinds },
    /// The service is told it: a command that these kinds take.
    Told { hinted: Kinds, payload: &'p str },
}

/// What the payload means on this topic of a service, of which this is known.
pub(super) fn meaning<'p>(
    known: Option<&Service>,
    topic: &ServiceTopic,
    payload: &'p [u8],
) -> Result<Meant<'p>, Flaw> {
    if let Some(service) = known
        && let Some(kind) = service.kind
        && let Some(found) = kind.resolve(topic.suffix())
        && let Some(fits) = as_one(service, &found, topic)
    {
        // Most messages are these.
        let meant = match found.topic.is_said() {
            true => found.topic.check(payload).map(|_| Meant::Said { fits, hinted: Kinds::NONE }),
            false => told(&found, payload).map(|payload| Meant::Told { hinted: Kinds::NONE, payload }),
        };
        return meant.map_err(|flaw| unlike(kind, topic, payload, flaw));
    }
    let possible = known.map_or(Kinds::ALL, possible);
    let pinned = known.and_then(pinned);
    let expected = pinned.map_or(possible, Kinds::of);
    if !expected.iter().any(|kind| kind.resolve(topic.suffix()).is_some()) {
        return Err(conflict(expected, topic));
    }
    // Once for all kinds: a payload may be large, and the kinds that share a suffix many.
    let parsed = json::parse(payload)?;
    let names = parsed.names();
    let mut fitting = Fitting::default();
    for found in catalog::resolve(topic.suffix()).filter(|found| possible.has(found.kind)) {
        fitting.look(&found, &parsed, alike(&found, &names));
    }
    let Fitting { exact, loose, partly, taking, nearest, .. } = fitting;
    // What says just what a kind says is of that kind, and not of one that says less.
    let fits = if exact.is_empty() { loose } else { exact };
    let fits = pinned.map_or(fits, |kind| fits.or(Kinds::of(kind).and(exact.or(partly))));
    if pinned.is_none_or(|kind| fits.or(taking).has(kind)) {
        if !fits.is_empty() {
            return Ok(Meant::Said { fits, hinted: with_its_unit(known, fits, topic, payload) });
        }
        if !taking.is_empty() {
            return Ok(Meant::Told { hinted: taking, payload: text(payload)? });
        }
    }
    if let Some(kind) = pinned {
        // What it might have been without its pin does not matter.
        let of_its_own = kind.resolve(topic.suffix()).and_then(|found| flaw(&found, payload));
        return Err(of_its_own
            .map_or_else(|| conflict(Kinds::of(kind), topic), |flaw| unlike(kind, topic, payload, flaw)));
    }
    match (nearest, possible.iter().find(|kind| kind.resolve(topic.suffix()).is_some())) {
        (Some((_, flaw)), _) if known.is_none() => Err(flaw),
        (Some((_, flaw)), Some(kind)) => Err(unlike(kind, topic, payload, flaw)),
        _ => Err(conflict(possible, topic)),
    }
}

/// The kinds that a service may be, if a message on this topic of its kind is the same for each of them.
fn as_one(service: &Service, found: &Match, topic: &ServiceTopic) -> Option<Kinds> {
    let possible = possible(service);
    let same = !found.topic.is_said()
        || possible.len() == 1
        || possible.without(catalog::alike(found, topic.suffix())).is_empty();
    same.then_some(possible)
}

/// What is wrong with a payload, if anything.
fn flaw(found: &Match, payload: &[u8]) -> Option<Flaw> {
    match found.topic.is_said() {
        true => found.topic.check(payload).err(),
        false => told(found, payload).err(),
    }
}

/// Which kinds a payload fits, and how.
#[derive(Default)]
struct Fitting {
    exact: Kinds,
    /// Those that know the most of its fields, if none knows all of them.
    loose: Kinds,
    most: usize,
    /// All that pass over some of its fields.
    partly: Kinds,
    /// Those that take it as a command.
    taking: Kinds,
    /// What is wrong with it for the kind that knows the most of its fields.
    nearest: Option<(usize, Flaw)>,
}

impl Fitting {
    fn look(&mut self, found: &Match, payload: &Parsed, alike: usize) {
        let this = Kinds::of(found.kind);
        let names = (found.topic.shape.fields)();
        let fit = if !found.topic.is_said() {
            found.topic.fit_exactly(payload).map(|()| None)
        } else if alike == 0 && !names.is_empty() {
            // What has none of the fields, all of which may be absent, says nothing of its kind.
            found.topic.fit(payload).and_then(|_| Err(nothing(names)))
        } else {
            found.topic.fit(payload).map(Some)
        };
        match fit {
            Ok(None) => self.taking = self.taking.or(this),
            Ok(Some(Fit::Exact)) => self.exact = self.exact.or(this),
            Ok(Some(Fit::Loose)) => {
                self.partly = self.partly.or(this);
                if alike > self.most {
                    (self.most, self.loose) = (alike, this);
                } else if alike == self.most {
                    self.loose = self.loose.or(this);
                }
            }
            Err(flaw) if self.nearest.as_ref().is_none_or(|(before, _)| alike > *before) => {
                self.nearest = Some((alike, flaw));
            }
            Err(_) => {}
        }
    }
}

/// How many of the fields a kind knows.
fn alike(found: &Match, names: &[&str]) -> usize {
    let known = (found.topic.shape.fields)();
    names.iter().filter(|name| known.contains(name)).count()
}

fn nothing(names: &[&str]) -> Flaw {
    let detail = format!("expected at least one of the fields {}, got none of them", names.join(", "));
    Flaw { reason: RejectionReason::MissingField, pointer: String::new(), detail }
}

/// What is wrong with a message on a topic that no kind has, of a service that is known.
pub(super) fn elsewhere(known: &Service, topic: &ServiceTopic) -> Flaw {
    let detail = format!(
        "expected a topic on which {} speaks or listens, got {}",
        kinds(pinned(known).map_or(known.candidates, Kinds::of)),
        json::excerpt(topic.suffix())
    );
    Flaw { reason: RejectionReason::UnknownTopic, pointer: String::new(), detail }
}

fn pinned(service: &Service) -> Option<&'static Kind> {
    service.kind.filter(|_| service.state == ServiceState::Pinned)
}

/// What it may be. What it was pinned to, it is.
fn possible(service: &Service) -> Kinds {
    service.candidates.or(service.kind.map_or(Kinds::NONE, Kinds::of))
}

/// Whether a kind takes the payload as a command: as text, if it does.
fn told<'p>(found: &Match, payload: &'p [u8]) -> Result<&'p str, Flaw> {
    if found.topic.check(payload) != Ok(Fit::Exact) {
        found.topic.read_exactly(payload)?;
    }
    text(payload)
}

/// Those of the kinds whose examples have the units that the payload has.
fn with_its_unit(known: Option<&Service>, fits: Kinds, topic: &ServiceTopic, payload: &[u8]) -> Kinds {
    // It is asked for when something is learnt, and that is seldom.
    let learns = known.is_none_or(|service| service.candidates.and(fits) != service.candidates);
    if fits.len() < 2 || !learns {
        return Kinds::NONE;
    }
    let Ok(said) = serde_json::from_slice::<serde_json::Value>(payload) else { return Kinds::NONE };
    let has_unit = |found: &Match| {
        let units = found.topic.numbers.iter().filter_map(|number| match number.unit {
            Unit::At(pointer) => Some(pointer),
            Unit::Is(_) | Unit::Open | Unit::None => None,
        });
        let examples =
            || found.topic.examples.iter().filter_map(|example| serde_json::from_str(example).ok());
        units.into_iter().any(|pointer| {
            said.pointer(pointer).is_some()
                && examples()
                    .any(|example: serde_json::Value| example.pointer(pointer) == said.pointer(pointer))
        })
    };
    let matches = fits.iter().filter_map(|kind| kind.resolve(topic.suffix()));
    matches.filter(has_unit).map(|found| found.kind).collect()
}

/// What is wrong with a message of a service of this kind: what is wrong with its payload, unless that is what another
/// kind says.
fn unlike(kind: &'static Kind, topic: &ServiceTopic, payload: &[u8], flaw: Flaw) -> Flaw {
    let Ok(parsed) = json::parse(payload) else { return flaw };
    let names = parsed.names();
    let fields = |found: &Match| alike(found, &names);
    let own = kind.resolve(topic.suffix()).as_ref().map_or(0, fields);
    let others: Kinds = catalog::resolve(topic.suffix())
        .filter(|other| other.kind != kind && fields(other) > own && other.topic.fit(&parsed).is_ok())
        .map(|other| other.kind)
        .collect();
    if others.is_empty() {
        return flaw;
    }
    let detail = format!("expected what {} says, got what {} would", a(kind), kinds(others));
    Flaw { reason: RejectionReason::KindConflict, pointer: String::new(), detail }
}

/// What is wrong with a message on a topic that a service of these kinds does not have.
fn conflict(possible: Kinds, topic: &ServiceTopic) -> Flaw {
    let others: Kinds = catalog::resolve(topic.suffix()).map(|found| found.kind).collect();
    let detail = format!(
        "expected what {} says, got {}, where {} would",
        kinds(possible),
        topic.suffix(),
        kinds(others)
    );
    Flaw { reason: RejectionReason::KindConflict, pointer: String::new(), detail }
}

fn kinds(kinds: Kinds) -> String {
    let names: Vec<String> = kinds.iter().map(a).collect();
    names.join(" or ")
}

fn a(kind: &Kind) -> String {
    let vowel = kind.name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {}", if vowel { "an" } else { "a" }, kind.name)
}
