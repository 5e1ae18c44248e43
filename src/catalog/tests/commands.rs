//! What each command may do, and how it is answered.

use super::{found, json, rows, topic};
use crate::catalog::{
    Answer::{self, Echo, Implied, Mapped, Outcome, Reading, State},
    Class,
    Effect::{self, Hazard, HazardWhen, OneShot},
    Mapped as Field,
};

const RESPONSE: &str = "/response";
const ECHO: Answer = Echo { on: RESPONSE };
const STATE: Answer = State { on: "/state", fault: "/fault" };

const fn same(sent: &'static str, reported: &'static str) -> Field {
    Field { sent, reported, in_words: false }
}

const fn in_words(pointer: &'static str) -> Field {
    Field { sent: pointer, reported: pointer, in_words: true }
}

/// Kind, suffix, answer and effect of every command.
const COMMANDS: &[(&str, &str, Answer, Effect)] = &[
    ("actuator", "/command", STATE, Hazard),
    ("analog_in", "/config", Answer::None, Effect::State),
    ("analog_out", "/config", ECHO, Effect::State),
    ("bang_bang", "/config", ECHO, Effect::State),
    ("bme280", "/config", Reading { on: RESPONSE }, Effect::State),
    ("command", "", Answer::None, OneShot),
    ("complementary_pwm", "/config", ECHO, HazardWhen("/enable")),
    ("digital_out", "/config", Mapped { on: RESPONSE, fields: &[same("/command", "/data")] }, Effect::State),
    ("flowmeter", "/config", ECHO, Effect::State),
    ("loadcell", "/tare", Answer::None, OneShot),
    ("math", "/pause", Mapped { on: RESPONSE, fields: &[same("", "/data")] }, Effect::State),
    (
        "mpu6050",
        "/config",
        Mapped { on: RESPONSE, fields: &[in_words("/accel"), in_words("/gyro")] },
        Effect::State,
    ),
    (
        "pds",
        "/config",
        Implied { named: "/rail", sent: "/enable", reported: "/enabled" },
        HazardWhen("/enable"),
    ),
    ("pid", "/config", ECHO, Effect::State),
    ("pwm", "/config", ECHO, HazardWhen("/enable")),
    ("qmc5883l", "/config", Outcome { on: RESPONSE, success: "/success", error: "/error" }, Effect::State),
    ("stateful_actuator", "/command", STATE, Hazard),
    ("stepper", "/config", ECHO, Hazard),
];

#[test]
fn each_command_has_its_answer_and_its_effect() {
    let ours: Vec<_> = rows()
        .filter(|(_, topic)| topic.class == Class::Command)
        .map(|(kind, topic)| (kind.name, topic.suffix, topic.answer, topic.effect.unwrap()))
        .collect();
    // Kinds that the document does not have come after its own.
    assert_eq!(&ours[..COMMANDS.len()], COMMANDS);
}

#[test]
fn what_is_no_command_has_neither() {
    for (kind, topic) in rows().filter(|(_, topic)| topic.class != Class::Command) {
        assert_eq!((topic.answer, topic.effect), (Answer::None, None), "{}{}", kind.name, topic.suffix);
    }
}

/// The pointers that a rule names, and where: in the command itself, or on the topic with this suffix.
fn named(answer: Answer, command: &serde_json::Value) -> Vec<(Option<String>, &'static str)> {
    let said = |on: &str, pointer| (Some(on.to_owned()), pointer);
    match answer {
        Answer::None => Vec::new(),
        Echo { on } | Reading { on } => vec![said(on, "")],
        Mapped { on, fields } => {
            fields.iter().flat_map(|field| [(None, field.sent), said(on, field.reported)]).collect()
        }
        Outcome { on, success, error } => vec![said(on, success), said(on, error)],
        State { on, fault } => vec![said(on, "/state"), said(fault, "/error")],
        Implied { named, sent, reported } => {
            let name = command.pointer(named).unwrap().as_str().unwrap();
            vec![(None, sent), said(&format!("/{}", name.to_lowercase()), reported)]
        }
    }
}

#[test]
fn every_rule_names_topics_and_fields_that_are_there() {
    for (kind, suffix, answer, effect) in COMMANDS {
        let command = json(topic(kind, suffix).examples[0]);
        if let HazardWhen(pointer) = effect {
            assert!(command.pointer(pointer).unwrap().is_boolean(), "{kind}{suffix}");
        }
        for (on, pointer) in named(*answer, &command) {
            let Some(on) = on else {
                assert!(command.pointer(pointer).is_some(), "{kind}{suffix}: {pointer}");
                continue;
            };
            let answering = found(kind, &on).unwrap_or_else(|| panic!("{kind}{suffix}: {on}")).topic;
            assert!(answering.is_said(), "{kind}{on}");
            let there = json(answering.examples[0]).pointer(pointer).is_some();
            // A stateful actuator names its state differently.
            let named_otherwise = *kind == "stateful_actuator" && pointer == "/state";
            assert!(there || named_otherwise, "{kind}{on}: {pointer}");
        }
    }
}
