//! The catalog: what a kind of service says and is told.

use std::{collections::BTreeMap, sync::LazyLock};

use async_graphql::{Enum, Json, Object, SimpleObject, Union};
use serde_json::{Map, Value};

use super::{limits::TOPICS, problem::Problem};
use crate::{
    catalog::{self, Answer, Class, Effect, Kind, Mapped, Number, Topic, Unit},
    error::Error,
};

pub struct KindNode(pub &'static Kind);

/// A kind of service.
#[Object(name = "Kind")]
impl KindNode {
    /// Its name, such as `pwm` or `bme280`.
    async fn name(&self) -> &str {
        self.0.name
    }

    /// What it is, in a line.
    async fn summary(&self) -> &str {
        self.0.summary
    }

    /// The topics on which it speaks and listens. The first that matches a suffix is the one.
    #[graphql(complexity = "TOPICS * child_complexity")]
    async fn topics(&self) -> Vec<TopicNode> {
        self.0.topics.iter().map(TopicNode).collect()
    }
}

pub struct TopicNode(&'static Topic);

/// A topic of a kind of service: where it is, which way it flows, what it carries.
#[Object(name = "Topic")]
impl TopicNode {
    /// What follows the service: empty, or beginning with a slash. What is in braces stands for a number.
    async fn suffix(&self) -> &str {
        self.0.suffix
    }

    /// The first number that can stand in the suffix. Null where there is none.
    async fn first_index(&self) -> Option<u16> {
        self.0.index.as_ref().map(|index| index.start)
    }

    /// The last number that can stand in the suffix. Null where there is none.
    async fn last_index(&self) -> Option<u16> {
        self.0.index.as_ref().map(|index| index.end - 1)
    }

    /// Who speaks, and why.
    async fn class(&self) -> Class {
        self.0.class
    }

    /// The type of its payload, by name: one of `Payload`.
    #[graphql(name = "type")]
    async fn shape(&self) -> String {
        (self.0.shape.name)().into_owned()
    }

    /// The payload as a JSON Schema (2020-12) that stands alone. What devices send may have more fields than it names;
    /// a command may not.
    async fn json_schema(&self) -> Option<Json<Value>> {
        let mut schema = SCHEMAS.get((self.0.shape.name)().as_ref())?.clone();
        if !self.0.is_said() {
            close(&mut schema);
        }
        Some(Json(schema))
    }

    /// Payloads as they look on the wire.
    async fn examples(&self) -> Result<Vec<Json<Value>>, Problem> {
        let read = |example: &&str| serde_json::from_str(example).map(Json);
        Ok(self.0.examples.iter().map(read).collect::<Result<_, _>>().map_err(Error::internal)?)
    }

    /// The numbers in the payload that are worth a line in a chart.
    async fn numbers(&self) -> Vec<NumberNode> {
        self.0.numbers.iter().map(NumberNode::from).collect()
    }

    /// How the device says that it heard a command. Null where it does not, and of what is no command.
    async fn answer(&self) -> Option<AnswerRule> {
        AnswerRule::of(self.0.answer)
    }

    /// What a command may do. Null of what is no command.
    async fn effect(&self) -> Option<EffectNode> {
        self.0.effect.map(EffectNode::from)
    }
}

/// A number in a payload.
#[derive(SimpleObject)]
#[graphql(name = "Number")]
pub struct NumberNode {
    /// Where it is, as JSON pointer; `/*` stands for each item of a list.
    pointer: &'static str,
    /// Symbol of its unit, such as `Hz`. Empty for what counts or has no dimension. Null where the payload says it, or
    /// what the service is configured for.
    unit: Option<&'static str>,
    /// Where the payload says its unit, as JSON pointer.
    unit_at: Option<&'static str>,
}

impl From<&Number> for NumberNode {
    fn from(number: &Number) -> NumberNode {
        let (unit, unit_at) = match number.unit {
            Unit::Is(unit) => (Some(unit), None),
            Unit::At(pointer) => (None, Some(pointer)),
            Unit::Open => (None, None),
            Unit::None => (Some(""), None),
        };
        NumberNode { pointer: number.pointer, unit, unit_at }
    }
}

/// How a device says that it heard a command.
#[derive(Union)]
pub enum AnswerRule {
    Echo(EchoAnswer),
    Mapped(MappedAnswer),
    Outcome(OutcomeAnswer),
    State(StateAnswer),
    Reading(ReadingAnswer),
    Implied(ImpliedAnswer),
}

/// With the same fields; an `error` beside them means that it refused.
#[derive(SimpleObject)]
pub struct EchoAnswer {
    /// Suffix of the topic on which it answers.
    on: &'static str,
}

/// With fields that mean those of the command.
#[derive(SimpleObject)]
pub struct MappedAnswer {
    /// Suffix of the topic on which it answers.
    on: &'static str,
    /// Which field means which.
    fields: Vec<MappedField>,
}

/// A field of a command, and where the answer speaks of it.
#[derive(SimpleObject)]
pub struct MappedField {
    /// In the command, as JSON pointer; empty for the payload as a whole.
    sent: &'static str,
    /// In the answer, as JSON pointer.
    reported: &'static str,
    /// Whether the answer says it in other words, which cannot be compared.
    in_words: bool,
}

/// With what it then works with, or with why not.
#[derive(SimpleObject)]
pub struct OutcomeAnswer {
    /// Suffix of the topic on which it answers.
    on: &'static str,
    /// Where the answer says what it works with, as JSON pointer.
    success: &'static str,
    /// Where the answer says why not, as JSON pointer.
    error: &'static str,
}

/// With its state, or with a fault.
#[derive(SimpleObject)]
pub struct StateAnswer {
    /// Suffix of the topic on which it tells its state.
    on: &'static str,
    /// Suffix of the topic on which it tells a fault.
    fault: &'static str,
}

/// With a measurement, which says nothing of the command but that it was heard.
#[derive(SimpleObject)]
pub struct ReadingAnswer {
    /// Suffix of the topic of the measurement.
    on: &'static str,
}

/// With telemetry that shows it.
#[derive(SimpleObject)]
pub struct ImpliedAnswer {
    /// Where the command says a name, as JSON pointer: in lower case and after a slash it is the suffix of the telemetry.
    named: &'static str,
    /// In the command, as JSON pointer.
    sent: &'static str,
    /// In the telemetry, as JSON pointer.
    reported: &'static str,
}

impl AnswerRule {
    fn of(answer: Answer) -> Option<AnswerRule> {
        let field = |&Mapped { sent, reported, in_words }: &Mapped| MappedField { sent, reported, in_words };
        Some(match answer {
            Answer::None => return None,
            Answer::Echo { on } => AnswerRule::Echo(EchoAnswer { on }),
            Answer::Mapped { on, fields } => {
                AnswerRule::Mapped(MappedAnswer { on, fields: fields.iter().map(field).collect() })
            }
            Answer::Outcome { on, success, error } => {
                AnswerRule::Outcome(OutcomeAnswer { on, success, error })
            }
            Answer::State { on, fault } => AnswerRule::State(StateAnswer { on, fault }),
            Answer::Reading { on } => AnswerRule::Reading(ReadingAnswer { on }),
            Answer::Implied { named, sent, reported } => {
                AnswerRule::Implied(ImpliedAnswer { named, sent, reported })
            }
        })
    }
}

/// What a command may do.
#[derive(SimpleObject)]
#[graphql(name = "Effect")]
pub struct EffectNode {
    /// At worst.
    class: EffectClass,
    /// Only when the boolean at this JSON pointer of the payload is true; else it is as `STATE`. Null: always.
    when: Option<&'static str>,
}

/// What a command may do at worst.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub enum EffectClass {
    /// It sets what the service works with; twice is as once.
    State,
    /// It does something, each time.
    OneShot,
    /// It moves or powers something that can hurt.
    Hazard,
}

impl From<Effect> for EffectNode {
    fn from(effect: Effect) -> EffectNode {
        let (class, when) = match effect {
            Effect::State => (EffectClass::State, None),
            Effect::OneShot => (EffectClass::OneShot, None),
            Effect::Hazard => (EffectClass::Hazard, None),
            Effect::HazardWhen(pointer) => (EffectClass::Hazard, Some(pointer)),
        };
        EffectNode { class, when }
    }
}

/// Each payload type as a schema that stands alone. Made when it is first asked.
static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let schemas = catalog::schemas().into_iter();
    let all = schemas.filter_map(|(name, schema)| Some((name, serde_json::to_value(schema).ok()?))).collect();
    let alone = |(name, schema): (&String, &Value)| {
        let (mut schema, mut parts) = (schema.clone(), Map::new());
        gather(&mut schema, &all, &mut parts);
        if let Value::Object(fields) = &mut schema
            && !parts.is_empty()
        {
            fields.insert("$defs".to_owned(), Value::Object(parts));
        }
        (name.clone(), schema)
    };
    all.iter().map(alone).collect()
});

/// Points what a schema refers to at its own parts, and adds these.
fn gather(schema: &mut Value, all: &BTreeMap<String, Value>, parts: &mut Map<String, Value>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/components/schemas/").map(str::to_owned)
            {
                *target = format!("#/$defs/{name}");
                if !parts.contains_key(&name) {
                    let mut part = all.get(&name).cloned().unwrap_or_default();
                    // A part that refers to itself ends here.
                    parts.insert(name.clone(), Value::Null);
                    gather(&mut part, all, parts);
                    parts.insert(name, part);
                }
            }
            fields.values_mut().for_each(|inner| gather(inner, all, parts));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| gather(inner, all, parts)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Lets no object have fields that its schema does not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_each_type_stands_alone() {
        for topic in catalog::KINDS.iter().flat_map(|kind| kind.topics) {
            let name = (topic.shape.name)();
            let text = SCHEMAS[name.as_ref()].to_string();
            assert!(!text.contains("#/components"), "{text}");
            for reference in text.split("#/$defs/").skip(1) {
                let part = reference.split('"').next().unwrap();
                assert!(SCHEMAS[name.as_ref()]["$defs"][part].is_object(), "{name} has no {part}: {text}");
            }
        }
    }
}
