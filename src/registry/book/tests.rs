use super::*;
use bytes::Bytes;
use proptest::prelude::*;

fn kind(name: &str) -> &'static Kind {
    catalog::find(name).unwrap()
}

fn kinds(names: &[&str]) -> Kinds {
    names.iter().map(|name| kind(name)).collect()
}

fn name() -> ServiceName {
    "rig/a".parse().unwrap()
}

fn reading(suffix: &str) -> ServiceReading {
    let (topic, payload) = (name().topic(suffix), Bytes::new());
    ServiceReading { seq: Seq::ZERO, at: Timestamp(1), topic, replay_of: None, payload }
}

/// A book and what was committed of it, so that the places are known.
#[derive(Default)]
struct Told {
    book: Book,
    events: Vec<Event>,
}

impl Told {
    fn says(&mut self, suffix: &str, fits: &[&str]) -> Option<ServiceState> {
        let reading = reading(suffix);
        let change = self.book.observe(&reading, kinds(fits), Kinds::NONE);
        self.commit(Event::ServiceReading(reading));
        self.changed(change)
    }

    fn pin(&mut self, name: &str, force: bool) -> Result<Option<ServiceState>, Vec<i64>> {
        match self.book.pin(&self::name(), kind(name), force, Timestamp(2)) {
            Ok(change) => Ok(self.changed(change)),
            Err(Error::KindContradicted { seqs, .. }) => Err(seqs),
            Err(why) => panic!("{why}"),
        }
    }

    fn changed(&mut self, change: Option<ServiceChange>) -> Option<ServiceState> {
        let change = change?;
        let state = change.state;
        self.commit(Event::Service(change));
        self.book.settle(self.restored().get("rig/a").unwrap().clone());
        Some(state)
    }

    fn commit(&mut self, mut event: Event) {
        event.place(Seq(i64::try_from(self.events.len()).unwrap() + 1));
        self.events.push(event);
    }

    fn restored(&self) -> Book {
        let mut book = Book::default();
        self.events.iter().for_each(|event| book.apply(event));
        book
    }

    fn service(&self) -> &Service {
        self.book.get("rig/a").unwrap()
    }
}

#[test]
fn what_a_service_says_leaves_fewer_kinds() {
    let mut told = Told::default();
    assert_eq!(told.says("/response", &["digital_out", "math"]), Some(ServiceState::Ambiguous));
    assert_eq!(told.says("/response", &["digital_out", "math"]), None);
    assert_eq!(told.says("/ch0", &["math"]), Some(ServiceState::Inferred));
    let service = told.service();
    assert_eq!(service.kind, Some(kind("math")));
    let evidence: Vec<_> =
        service.evidence.iter().map(|one| (one.seq.0, &*one.suffix, one.candidates.len())).collect();
    assert_eq!(evidence, [(1, "/response", 2), (4, "/ch0", 1)]);
}

#[test]
fn a_pin_against_what_was_said_is_refused_unless_forced() {
    let mut told = Told::default();
    told.says("/response", &["pwm"]);
    assert_eq!(told.pin("pid", false), Err(vec![1]));
    assert_eq!(told.pin("pwm", false), Ok(Some(ServiceState::Pinned)));
    assert_eq!(told.pin("pwm", false), Ok(None));
    assert_eq!(told.pin("pid", true), Ok(Some(ServiceState::Pinned)));
    assert_eq!((told.service().kind, &*told.service().evidence), (Some(kind("pid")), &[][..]));
}

#[test]
fn without_its_pin_a_service_is_what_it_says() {
    let mut told = Told::default();
    assert_eq!(told.pin("math", false), Ok(Some(ServiceState::Pinned)), "ahead of the first message");
    assert_eq!(told.says("/response", &["digital_out", "math"]), Some(ServiceState::Pinned));
    let change = told.book.unpin(&name(), Timestamp(3)).unwrap();
    assert_eq!(told.changed(change), Some(ServiceState::Ambiguous));
    assert_eq!(told.service().kind, None);
    assert_eq!(told.book.unpin(&name(), Timestamp(3)).unwrap(), None);
    assert!(told.book.unpin(&"rig/b".parse().unwrap(), Timestamp(3)).is_err());
}

#[test]
fn a_command_makes_a_kind_likely_and_decides_nothing() {
    let mut told = Told::default();
    let topic = name().topic("/tare");
    let change = told.book.commanded(&topic, kinds(&["loadcell"]), Timestamp(1));
    assert_eq!(told.changed(change), Some(ServiceState::Unknown));
    assert_eq!(told.service().likely[0], kind("loadcell"));
    assert_eq!(told.book.commanded(&topic, kinds(&["loadcell"]), Timestamp(1)), None);
    assert_eq!(told.says("", &["analog_in", "loadcell"]), Some(ServiceState::Ambiguous));
    assert_eq!(told.service().likely, [kind("loadcell"), kind("analog_in")]);
}

#[test]
fn commands_that_contradict_each_other_make_each_kind_likely_once() {
    let mut told = Told::default();
    told.says("", &["analog_in", "loadcell"]);
    let mut changes = 0;
    for _ in 0..5 {
        for (suffix, kind) in [("/tare", "loadcell"), ("/config", "analog_in")] {
            let change = told.book.commanded(&name().topic(suffix), kinds(&[kind]), Timestamp(1));
            changes += usize::from(told.changed(change).is_some());
        }
    }
    assert_eq!(changes, 2);
}

#[test]
fn who_is_known_is_told_something_and_pinned_however_many_there_are() {
    let mut book = Book::default();
    let topic = |n: usize, suffix: &str| -> ServiceTopic { format!("rig/{n}{suffix}").parse().unwrap() };
    for n in 0..MAX_SERVICES {
        assert!(book.admits_service(topic(n, "").service()));
        book.commanded(&topic(n, "/config"), Kinds::NONE, Timestamp(1));
    }
    let per_service = MAX_TOPICS / MAX_SERVICES;
    for (n, ch) in (0..MAX_SERVICES).flat_map(|n| (0..per_service).map(move |ch| (n, ch))) {
        let topic = topic(n, &format!("/ch{ch}"));
        assert!(book.admits(&topic));
        book.heard(&topic, Seq(1), Timestamp(1), false);
    }
    let (known, stranger) = (topic(0, "/config"), topic(MAX_SERVICES, "/config"));
    assert!(book.admits_service(known.service()) && book.admits(&topic(0, "/ch0")));
    assert!(!book.admits(&topic(0, "/ch9")) && !book.admits_service(stranger.service()));
    assert!(book.pin(&known.service_name(), kind("pwm"), false, Timestamp(2)).is_ok());
    assert!(book.pin(&stranger.service_name(), kind("pwm"), false, Timestamp(2)).is_err());
}

#[test]
fn what_was_replayed_is_the_latest_of_a_silent_topic_only() {
    let mut told = Told::default();
    told.says("/out", &["digital_in"]);
    told.book.heard(&name().topic("/out"), Seq(9), Timestamp(9), true);
    assert_eq!(told.service().topics["/out"].seq, Seq(1));
    told.book.heard(&name().topic("/response"), Seq(10), Timestamp(9), true);
    told.book.heard(&name().topic("/response"), Seq(11), Timestamp(9), true);
    assert_eq!(told.service().topics["/response"].seq, Seq(11));
}

proptest! {
    /// Whatever happens, what is committed restores what is known.
    #[test]
    fn a_book_is_the_sum_of_its_events(acts in prop::collection::vec((0usize..4, 0usize..22, any::<bool>()), 1..30)) {
        let mut told = Told::default();
        for (act, index, force) in acts {
            let one = &catalog::KINDS[index];
            match act {
                0 => {
                    let known = told.book.get("rig/a").map_or(Kinds::ALL, |service| service.candidates);
                    let fits = if known.has(one) { known.without(Kinds::of(&catalog::KINDS[(index + 1) % 22])) } else { known };
                    if fits != Kinds::ALL {
                        let names: Vec<_> = fits.iter().map(|kind| kind.name).collect();
                        told.says("/x", &names);
                    }
                }
                1 => drop(told.pin(one.name, force)),
                2 => {
                    if let Ok(change) = told.book.unpin(&name(), Timestamp(3)) {
                        told.changed(change);
                    }
                }
                _ => {
                    let change = told.book.commanded(&name().topic("/config"), Kinds::of(one), Timestamp(4));
                    told.changed(change);
                }
            }
            if let Some(service) = told.book.get("rig/a") {
                prop_assert!(!service.candidates.is_empty());
                prop_assert_eq!(service.likely.len(), service.candidates.len());
                prop_assert_eq!(service.state == ServiceState::Pinned || service.kind == service.candidates.single(), true);
            }
        }
    }
}
