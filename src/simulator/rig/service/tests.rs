use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{
    catalog::{self, KINDS, Mapped, Number},
    json::Fit,
};

fn services() -> Vec<Service> {
    KINDS.iter().map(|kind| Service::new("rig1", kind)).collect()
}

fn service(kind: &str) -> Service {
    Service::new("rig1", catalog::find(kind).expect("there is such a kind"))
}

/// The row of the catalog that a message is on, by the suffix with its placeholder. The payload fits it exactly.
fn row(service: &Service, message: &Message) -> String {
    let suffix = message.topic.strip_prefix(&service.base).expect("it is this service's");
    let found = service.kind.resolve(suffix).unwrap_or_else(|| panic!("{message:?}"));
    let payload = String::from_utf8_lossy(&message.payload);
    assert_eq!(found.topic.check(&message.payload), Ok(Fit::Exact), "{}: {payload}", message.topic);
    assert!(found.topic.is_said(), "{}", message.topic);
    named(service.kind, found.topic, found.index)
}

/// A row of the document, in which the channels of a power system have a row each.
fn named(kind: &Kind, topic: &Topic, index: Option<u16>) -> String {
    match &topic.index {
        Some(range) if range.len() <= MAX_CHANNELS => format!("{}{}", kind.name, topic.suffix_at(index)),
        _ => format!("{}{}", kind.name, topic.suffix),
    }
}

/// A command's example with each of its numbers replaced by each of these, as far as that is a command at all.
fn extremes(topic: &Topic) -> Vec<String> {
    let mut all: Vec<String> = topic.examples.iter().map(|&example| example.to_owned()).collect();
    for example in topic.examples {
        for extreme in [json!(0), json!(1), json!(-1), json!(1e300), json!(-1e300), json!((1_i64 << 53) - 1)]
        {
            for Number { pointer, .. } in topic.numbers {
                let mut value: Value = serde_json::from_str(example).expect("an example is JSON");
                likeness::put(&mut value, &pointer.replace("/*", "/1"), Some(&extreme));
                all.push(value.to_string());
            }
        }
        all.push(example.replace("true", "false"));
        all.push(example.replace("OPEN", "CLOSE"));
    }
    all.push("nonsense".to_owned());
    all
}

#[test]
fn everything_that_is_said_in_an_hour_and_after_every_command_fits_exactly() {
    let mut world = World::new("rig1");
    let mut services = services();
    let mut rows = BTreeSet::new();
    let mut commands: Vec<(usize, String, String)> = Vec::new();
    for (number, service) in services.iter().enumerate() {
        for topic in service.kind.commands() {
            let payloads = extremes(topic).into_iter();
            commands.extend(payloads.map(|payload| (number, topic.suffix.to_owned(), payload)));
        }
    }
    let mut commands = commands.into_iter();
    for second in 0..3_600 {
        for _ in 0..10 {
            for news in world.step() {
                for service in &mut services {
                    let told = service.tell(&mut world, news);
                    rows.extend(told.map(|message| row(service, &message)));
                }
            }
        }
        for service in &mut services {
            let mut said = service.measure(&mut world, 2);
            if second % 60 == 0 {
                said.extend(service.report(&mut world));
                said.extend(service.picture(&mut world));
                said.extend(service.happening(&mut world));
            }
            rows.extend(said.iter().map(|message| row(service, message)));
        }
        // The first half hour is without commands.
        if second > 1_800
            && second % 2 == 0
            && let Some((number, suffix, payload)) = commands.next()
        {
            let service = &mut services[number];
            let reply = service.take(&mut world, &suffix, payload.as_bytes(), Temper::Willing);
            rows.extend(reply.answer.map(|message| row(service, &message)));
        }
    }
    assert_eq!(commands.next(), None, "every command had its turn");
    let catalog = KINDS.iter().flat_map(|kind| {
        let said = kind.topics.iter().filter(|topic| topic.is_said());
        said.flat_map(super::rows).map(|Row { topic, index }| named(kind, topic, index))
    });
    assert_eq!(rows, catalog.collect());
}

#[test]
fn every_command_of_the_catalog_is_listened_to() {
    let mut heard = BTreeSet::new();
    for service in services() {
        for topic in service.command_topics() {
            assert!(service.suffix_in(&topic).is_some(), "{topic}");
            heard.insert(topic);
        }
    }
    assert_eq!(heard.len(), KINDS.iter().flat_map(Kind::commands).count());
}

/// What a service answers, as suffix and JSON.
fn answer(kind: &str, suffix: &str, payload: &str, temper: Temper) -> Option<(String, Value)> {
    let mut service = service(kind);
    let message = service.take(&mut World::new("rig1"), suffix, payload.as_bytes(), temper).answer?;
    row(&service, &message);
    let suffix = message.topic.strip_prefix(&service.base).expect("it is this service's").to_owned();
    Some((suffix, serde_json::from_slice(&message.payload).expect("it is JSON")))
}

#[test]
fn every_example_is_answered_by_its_rule() {
    for kind in KINDS {
        for topic in kind.commands() {
            let sent: Value = serde_json::from_str(topic.examples[0]).expect("an example is JSON");
            let answer = answer(kind.name, topic.suffix, topic.examples[0], Temper::Willing);
            let Some((on, said)) = answer else {
                assert_eq!(topic.answer, Answer::None, "{}", kind.name);
                continue;
            };
            match topic.answer {
                Answer::None => panic!("{} has no answer to give", kind.name),
                Answer::Echo { on: expected } => {
                    assert_eq!(on, expected);
                    for (name, value) in sent.as_object().expect("it is an object") {
                        assert_eq!(said[name].as_f64(), value.as_f64(), "{} {name}", kind.name);
                    }
                    assert!(said.get("error").is_none_or(Value::is_null));
                }
                Answer::Mapped { on: expected, fields } => {
                    assert_eq!(on, expected);
                    for Mapped { sent: from, reported, in_words } in fields {
                        assert!(*in_words || said.pointer(reported) == sent.pointer(from), "{said}");
                    }
                }
                Answer::Outcome { on: expected, success, error } => {
                    assert_eq!((on.as_str(), said.pointer(error)), (expected, Some(&Value::Null)));
                    assert_eq!(said.pointer(success), Some(&sent));
                }
                Answer::State { on: expected, .. } => {
                    assert_eq!((on.as_str(), &said["success"]), (expected, &json!(true)));
                }
                Answer::Reading { on: expected } => assert_eq!(on, expected),
                Answer::Implied { sent: from, reported, .. } => {
                    assert_eq!(on, "/vcc2i");
                    assert_eq!(said.pointer(reported), sent.pointer(from));
                }
            }
        }
    }
}

#[test]
fn a_refusal_says_so_where_its_type_can() {
    let refused =
        |kind: &str, suffix: &str, payload: &str| answer(kind, suffix, payload, Temper::Refusing("no"));
    let (on, said) = refused("actuator", "/command", r#"{"command":"OPEN"}"#).expect("a fault");
    assert_eq!(
        (on.as_str(), &said["error"], &said["attempted_command"]),
        ("/fault", &json!("no"), &json!("OPEN"))
    );
    let (_, said) =
        refused("pwm", "/config", r#"{"enable":true,"duty":0.5,"frequency":9}"#).expect("an echo");
    assert_eq!((&said["error"], &said["frequency"]), (&json!("no"), &json!(1000)));
    let compass = r#"{"field_range":2,"data_rate":50,"oversample":512,"declination":0}"#;
    let (_, said) = refused("qmc5883l", "/config", compass).expect("an outcome");
    assert_eq!(said, json!({ "success": null, "error": "no" }));
    let (_, said) = refused("math", "/pause", "true").expect("what stands");
    assert_eq!(said, json!({ "data": false }));
    assert_eq!(refused("bme280", "/config", r#"{"standby":"62ms","mode":"Weather","offset":0}"#), None);
}

#[test]
fn nonsense_is_refused() {
    let told = |kind: &str, suffix: &str, payload: &str| {
        answer(kind, suffix, payload, Temper::Willing).expect("there is an answer").1
    };
    assert_eq!(told("actuator", "/command", r#"{"command":"FLY"}"#)["error"], "Unknown State FLY");
    assert_eq!(told("stateful_actuator", "/command", r#"{"command":"FLY"}"#)["error"], "Invalid Command FLY");
    let compass = r#"{"field_range":3,"data_rate":50,"oversample":512,"declination":0}"#;
    assert_eq!(told("qmc5883l", "/config", compass)["error"], "field range 3 is none of [2, 8]");
    let halted = r#"{"enable":true,"duty":0.5,"frequency":0}"#;
    assert_eq!(told("pwm", "/config", halted)["error"], "it cannot run at 0 Hz");
    assert!(told("pwm", "/config", "{").to_string().contains("expected JSON"));
}

#[test]
fn a_stingy_one_takes_half() {
    let half = answer("pwm", "/config", r#"{"enable":true,"duty":0.5,"frequency":1000}"#, Temper::Stingy);
    let expected = json!({ "enable": true, "duty": 0.25, "frequency": 500, "error": null });
    assert_eq!(half, Some(("/response".to_owned(), expected)));
}

/// A kind that nobody has heard of, which borrows the types of others.
fn imaginary() -> &'static Kind {
    let row = |kind: &str, suffix: &str| {
        let found = catalog::find(kind).and_then(|kind| kind.resolve(suffix)).expect("it is in the catalog");
        let topic = found.topic;
        Topic {
            suffix: topic.suffix,
            index: topic.index.clone(),
            class: topic.class,
            shape: topic.shape,
            examples: topic.examples,
            numbers: topic.numbers,
            answer: topic.answer,
            effect: topic.effect,
        }
    };
    let topics = vec![
        row("pwm", "/config"),
        row("pwm", "/response"),
        row("math", "/pause"),
        row("pds", "/ch3"),
        row("pds", "/vcc1i"),
        row("stepper", "/status"),
        row("ir_cam", "/5"),
        row("actuator", "/fault"),
    ];
    Box::leak(Box::new(Kind { name: "imaginary", summary: "", topics: topics.leak() }))
}

#[test]
fn a_kind_that_the_world_does_not_know_says_all_that_it_has_to_say() {
    let mut service = Service::new("rig1", imaginary());
    let mut world = World::new("rig1");
    let mut said: Vec<Message> = service.report(&mut world);
    for _ in 0..1_000 {
        said.extend(service.measure(&mut world, 2));
    }
    said.extend(service.happening(&mut world));

    let rows: BTreeSet<String> = said.iter().map(|message| row(&service, message)).collect();

    let mut wanted: BTreeSet<String> = (0..8).map(|channel| format!("imaginary/ch{channel}")).collect();
    let others = ["/response", "/vcc1i", "/vcc2i", "/status", "/{row}", "/fault"];
    wanted.extend(others.map(|suffix| format!("imaginary{suffix}")));
    assert_eq!(rows, wanted);
    let different: BTreeSet<&[u8]> =
        said.iter().filter(|one| one.topic.ends_with("/status")).map(|one| &one.payload[..]).collect();
    assert!(different.len() > 5, "its numbers wobble");
}

#[test]
fn a_kind_that_the_world_does_not_know_answers_by_its_rule() {
    let mut service = Service::new("rig1", imaginary());
    let mut world = World::new("rig1");
    let sent = br#"{"enable":false,"duty":0.125,"frequency":7}"#;
    let mut told = |temper| {
        let answer = service.take(&mut world, "/config", sent, temper).answer.expect("an echo");
        row(&service, &answer);
        serde_json::from_slice::<Value>(&answer.payload).expect("it is JSON")
    };
    let echo = json!({ "enable": false, "duty": 0.125, "frequency": 7, "error": null });
    assert_eq!(told(Temper::Willing), echo);
    assert_eq!(told(Temper::Refusing("no"))["error"], "no");
    let untouched = world.say("pwm", "/response", None);
    assert_eq!(untouched, World::new("rig1").say("pwm", "/response", None));
}
