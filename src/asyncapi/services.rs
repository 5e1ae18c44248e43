//! The channels of the services: each topic of each kind in the catalog.

use serde_json::{Map, Value, json};

use super::parts::{Action, Channel, Example, JSON, Message, Operation, Reply, shared};
use crate::{
    address::{PLAY, PRESENCE, SENSOR},
    catalog::{self, Answer, Class, Effect, KINDS, Kind, Mapped, Number, Topic, Unit},
    model::QoS,
};

const FIRMWARE: &str = "firmware";
const SERVICE: &str = "service";
/// What a name is, for people.
const NAME: &str =
    "one level of a topic, 1 to 64 bytes, without control characters and with underscores for spaces";
/// So many values of a placeholder are listed; of more, the first and the last are told.
const LISTED: usize = 64;

pub(super) fn tags() -> impl Iterator<Item = Value> {
    KINDS.iter().map(|kind| json!({ "name": kind.name, "description": kind.summary }))
}

pub(super) fn channels() -> Vec<Channel> {
    let schemas = Map::from_iter(schemas());
    let topics = KINDS.iter().flat_map(|kind| kind.topics.iter().map(move |topic| (kind, topic)));
    topics.map(|(kind, topic)| channel(kind, topic, &schemas)).collect()
}

pub(super) fn parameters() -> [(String, Value); 2] {
    let [sensors, presence, commands] = [SENSOR, PRESENCE, PLAY].map(|form| form.root);
    let firmware = format!(
        "The name of the firmware: {NAME}. None of `{sensors}`, `{presence}`, `{commands}` and `mqtt`, nor what begins \
         with `$`."
    );
    let service = format!("The name of the service: {NAME}.");
    [
        (FIRMWARE.to_owned(), json!({ "description": firmware, "examples": ["board1"] })),
        (SERVICE.to_owned(), json!({ "description": service, "examples": ["fan", "tank_level"] })),
    ]
}

pub(super) fn schemas() -> impl Iterator<Item = (String, Value)> {
    catalog::schemas().into_iter().map(|(name, schema)| (name, json!(schema)))
}

fn channel(kind: &'static Kind, topic: &'static Topic, schemas: &Map<String, Value>) -> Channel {
    let message = message(kind, topic, schemas);
    Channel {
        id: id(kind, topic),
        address: address(topic.suffix),
        title: title(kind, topic),
        description: paragraphs([Some(message.summary.clone()), others(kind, topic)]),
        tag: kind.name,
        parameters: Map::from_iter([shared(FIRMWARE), shared(SERVICE)].into_iter().chain(placeholder(topic))),
        qos: match topic.class {
            Class::Command => QoS::AtLeastOnce,
            Class::Feed | Class::Telemetry | Class::Event => QoS::AtMostOnce,
        },
        retain: false,
        operations: vec![operation(kind, topic)],
        message,
    }
}

/// `pwm_config`, `ir_cam_row`: what is no letter or digit stands between words.
fn id(kind: &Kind, topic: &Topic) -> String {
    let words = topic.suffix.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.fold(kind.name.to_owned(), |id, word| format!("{id}_{word}"))
}

fn title(kind: &Kind, topic: &Topic) -> String {
    format!("{}{}", kind.name, topic.suffix)
}

fn address(suffix: &str) -> String {
    format!("{{{FIRMWARE}}}/{{{SERVICE}}}{suffix}")
}

/// Which other kinds speak on topics of this form, if any.
fn others(kind: &Kind, topic: &Topic) -> Option<String> {
    let suffix = topic.suffix_at(topic.index.as_ref().map(|range| range.start));
    let others = catalog::resolve(&suffix).filter(|found| found.kind != kind);
    let others = Vec::from_iter(others.map(|found| format!("`{}`", found.kind.name)));
    (!others.is_empty()).then(|| format!("Topics of this form are also those of {}.", listed(&others)))
}

/// The parameter that stands for numbers in the suffix.
fn placeholder(topic: &Topic) -> Option<(String, Value)> {
    let range = topic.index.clone()?;
    let (_, rest) = topic.suffix.split_once('{')?;
    let (name, _) = rest.split_once('}')?;
    let [first, last] = [range.start, range.end.saturating_sub(1)].map(|index| index.to_string());
    let mut parameter =
        json!({ "description": format!("A number from {first} to {last}, without leading zeros.") });
    if range.len() <= LISTED {
        parameter["enum"] = range.map(|index| index.to_string()).collect();
    } else {
        parameter["examples"] = json!([first, last]);
    }
    Some((name.to_owned(), parameter))
}

fn message(kind: &Kind, topic: &Topic, schemas: &Map<String, Value>) -> Message {
    let schema = (topic.shape.name)().into_owned();
    // In the words of its type.
    let summary = schemas.get(&schema).and_then(|schema| schema["description"].as_str()).unwrap_or_default();
    let id = id(kind, topic);
    let example = |(index, example): (usize, &&str)| Example {
        name: format!("{id}_{}", index + 1),
        summary: None,
        payload: serde_json::from_str(example).expect("the examples of the catalog are JSON"),
    };
    Message {
        name: schema.clone(),
        title: schema.clone(),
        summary: summary.to_owned(),
        description: numbers(topic.numbers),
        content_type: JSON,
        schema,
        examples: topic.examples.iter().enumerate().map(example).collect(),
    }
}

fn operation(kind: &'static Kind, topic: &'static Topic) -> Operation {
    let title = title(kind, topic);
    let id = id(kind, topic);
    let (action, summary) = match topic.class {
        Class::Command | Class::Feed => (Action::Receive, format!("Hear {title}")),
        Class::Telemetry | Class::Event => (Action::Send, format!("Say {title}")),
    };
    let description = match topic.class {
        Class::Command => {
            let effect = topic.effect.map(effect);
            let terms = "Subscribe with QoS 1. A command is never retained, kept for a service that is away, or sent again. The \
                         gateway sends one at a time here, and no other before this one is answered or its time is over.";
            paragraphs([Some(answer(kind, topic.answer)), effect, Some(terms.to_owned())])
        }
        Class::Feed => {
            "A value to work with. Another service of the same firmware sends it; users do not.".to_owned()
        }
        Class::Telemetry => "A value, or how the service stands. Never retained.".to_owned(),
        Class::Event => "Something has happened. Never retained.".to_owned(),
    };
    Operation {
        id: format!("{id}_{}", action.name()),
        action,
        summary,
        description,
        reply: reply(kind, topic.answer),
    }
}

/// The numbers in a payload, each with its unit.
fn numbers(numbers: &[Number]) -> Option<String> {
    let line = |number: &Number| {
        let unit = match number.unit {
            Unit::Is(symbol) => format!("in {symbol}"),
            Unit::At(pointer) => format!("in the unit that `{pointer}` says"),
            Unit::Open => "in the unit that the service is configured for".to_owned(),
            Unit::None => "without a unit".to_owned(),
        };
        format!("- `{}`: {unit}", number.pointer)
    };
    let lines = Vec::from_iter(numbers.iter().map(line));
    (!lines.is_empty()).then(|| format!("Numbers:\n\n{}", lines.join("\n")))
}

/// How the service answers a command.
fn answer(kind: &'static Kind, answer: Answer) -> String {
    let at = |suffix| format!("`{}`", address(suffix));
    match answer {
        Answer::None => "**Answer**: none. The acknowledgement is all that comes back.".to_owned(),
        Answer::Echo { on } => {
            let refuses =
                kind.resolve(on).is_some_and(|found| (found.topic.shape.fields)().contains(&"error"));
            let refusal = if refuses { "; an `error` that is not null means that it refused" } else { "" };
            format!("**Answer**: the same fields on {}{refusal}.", at(on))
        }
        Answer::Mapped { on, fields } => {
            let fields = Vec::from_iter(fields.iter().map(mapped));
            format!("**Answer**: on {}, where {}.", at(on), listed(&fields))
        }
        Answer::Outcome { on, success, error } => format!(
            "**Answer**: on {}, with what it then works with at `{success}`, or with why it refused at `{error}`.",
            at(on)
        ),
        Answer::State { on, fault } => {
            format!("**Answer**: its state on {}, or what went wrong on {}.", at(on), at(fault))
        }
        Answer::Reading { on } => {
            format!(
                "**Answer**: a measurement on {}, which says no more than that the command was heard.",
                at(on)
            )
        }
        Answer::Implied { named, sent, reported } => format!(
            "**Answer**: telemetry on {}, with the text at `{named}` in lower case for the dots: what was sent at `{sent}` \
             is told there at `{reported}`.",
            at("/…")
        ),
    }
}

fn mapped(field: &Mapped) -> String {
    let sent = match field.sent {
        "" => "what was sent".to_owned(),
        pointer => format!("what was sent at `{pointer}`"),
    };
    let how = if field.in_words { ", in other words," } else { "" };
    format!("{sent} comes back{how} at `{}`", field.reported)
}

/// What a command may do.
fn effect(effect: Effect) -> String {
    const HAZARD: &str = "it moves or powers something that can hurt";
    match effect {
        Effect::State => {
            "**Effect**: STATE, it sets what the service works with, and twice is as once.".to_owned()
        }
        Effect::OneShot => "**Effect**: ONE_SHOT, it does something each time.".to_owned(),
        Effect::Hazard => format!("**Effect**: HAZARD, {HAZARD}."),
        Effect::HazardWhen(pointer) => {
            format!("**Effect**: HAZARD when `{pointer}` is true, because {HAZARD}; else STATE.")
        }
    }
}

/// The channel of the answer, where it is always the same. A fault has one of its own, which the description names.
fn reply(kind: &'static Kind, answer: Answer) -> Option<Reply> {
    let on = match answer {
        Answer::Echo { on }
        | Answer::Mapped { on, .. }
        | Answer::Outcome { on, .. }
        | Answer::State { on, .. }
        | Answer::Reading { on } => on,
        Answer::None | Answer::Implied { .. } => return None,
    };
    let topic = kind.resolve(on)?.topic;
    Some(Reply { channel: id(kind, topic), message: (topic.shape.name)().into_owned() })
}

/// `a`, `a and b`, `a, b and c`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

fn paragraphs(said: impl IntoIterator<Item = Option<String>>) -> String {
    Vec::from_iter(said.into_iter().flatten()).join("\n\n")
}
