//! The catalog: every kind of service, its topics and their payloads.

use std::collections::BTreeMap;

use async_graphql::Enum;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use super::{
    answers::{WhenAsking, WhenListing, WhenSeen},
    etag::Tagged,
    examples,
    paging::Nothing,
    problem::{Path, Problem, Query},
};
use crate::{
    catalog::{self, Class, KINDS, Payload, Unit},
    error::Error,
    model::Page,
};

/// Where the catalog's schemas refer to each other.
const COMPONENTS: &str = "#/components/schemas/";

type KindPage = Page<Kind>;
type Schemas = BTreeMap<String, RefOr<Schema>>;

/// A kind of service.
#[derive(Debug, Serialize, ToSchema)]
pub struct Kind {
    /// As in the DAQAstra document.
    name: &'static str,
    /// One line for people.
    summary: &'static str,
    /// In order of precedence: the first that matches a suffix is the one.
    topics: Vec<Topic>,
}

/// A topic of a kind: where it is, which way it flows, what it carries.
#[derive(Debug, Serialize, ToSchema)]
pub struct Topic {
    /// What follows `{firmware}/{service}`: empty, `/config`, `/ch{n}`.
    suffix: &'static str,
    /// What stands for the placeholder of the suffix. Null where there is none.
    index: Option<IndexRange>,
    /// Who speaks here, and why.
    class: Class,
    /// The name of the payload's type: that of a schema of this document, of GraphQL and of AsyncAPI.
    #[serde(rename = "type")]
    type_name: String,
    /// The payload as a JSON Schema (2020-12) that stands alone. What devices send may have more fields than it names;
    /// a command may not.
    #[schema(value_type = Object)]
    json_schema: Value,
    /// Payloads as they look on the wire.
    #[schema(value_type = Vec<Payload>)]
    examples: Vec<&'static RawValue>,
    /// Every number in the payload that is worth a line in a chart.
    numbers: Vec<Number>,
    /// How the device says that a command was heard. Null where it does not, and for what is no command.
    answer: Option<AnswerRule>,
    /// What a command may do. Null for what is no command.
    effect: Option<Effect>,
}

/// The numbers that may stand for a placeholder.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexRange {
    /// The smallest.
    first: u16,
    /// The largest.
    last: u16,
}

/// A number in a payload.
#[derive(Debug, Serialize, ToSchema)]
pub struct Number {
    /// JSON pointer. `/*` stands for each item of a list.
    pointer: &'static str,
    /// Symbol of its unit, such as `Hz`. Empty for what counts or has no dimension. Null where the payload says it, or
    /// what the service is configured for.
    unit: Option<&'static str>,
    /// JSON pointer of its unit, where the payload says it.
    unit_at: Option<&'static str>,
}

/// How a device answers a command.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnswerRule {
    /// What the answer has to do with the command.
    rule: Rule,
    /// The suffix of the topic of the answer. Null when the command decides it.
    on: Option<&'static str>,
    /// The suffix of the topic on which it says that it could not.
    fault: Option<&'static str>,
    /// The fields that mean each other, where they differ.
    fields: Vec<MappedField>,
    /// JSON pointer, in the answer, of what it then works with.
    success: Option<&'static str>,
    /// JSON pointer, in the answer, of why it refused.
    error: Option<&'static str>,
    /// JSON pointer, in the command, of a text that in lower case and after a slash is the suffix of the answer.
    named: Option<&'static str>,
}

/// What an answer has to do with its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enum, ToSchema)]
#[schema(as = AnswerKind)]
#[graphql(name = "AnswerKind")]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Rule {
    /// It has the same fields.
    Echo,
    /// It has other fields that mean the same.
    Mapped,
    /// It says what the device then works with, or why not.
    Outcome,
    /// It is the state of the device, or a fault.
    State,
    /// It is a measurement, which says nothing of the command but that it was heard.
    Reading,
    /// It is telemetry that shows what was done.
    Implied,
}

/// A field of a command, and where the answer speaks of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct MappedField {
    /// JSON pointer in the command; empty for all of it.
    sent: &'static str,
    /// JSON pointer in the answer.
    reported: &'static str,
    /// Whether the answer says it in other words, which cannot be compared.
    in_words: bool,
}

/// What a command may do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Effect {
    /// At worst.
    class: EffectClass,
    /// JSON pointer of a boolean in the command: the class is this when it is true, and else `STATE`. Null when it is
    /// always this.
    when: Option<&'static str>,
}

/// What a command may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enum, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EffectClass {
    /// It sets what the service works with; twice is as once.
    State,
    /// It does something, each time.
    OneShot,
    /// It moves or powers something that can hurt.
    Hazard,
}

/// All kinds of services.
///
/// In the order of the DAQAstra document. They change with the gateway's version alone.
#[utoipa::path(get, path = "/api/v1/kinds", tag = "services", operation_id = "list_kinds",
    responses(
        (status = 200, description = "All of them", body = KindPage, example = json!(examples::kinds())),
        WhenSeen, WhenListing))]
pub async fn list(Query(Nothing {}): Query<Nothing>) -> Tagged<KindPage> {
    let schemas = catalog::schemas();
    let items = KINDS.iter().map(|kind| Kind::of(kind, &schemas)).collect();
    Tagged(Page { items, next: None })
}

/// One kind of service.
///
/// Its topics, what they carry, and how commands are answered.
#[utoipa::path(get, path = "/api/v1/kinds/{kind}", tag = "services", operation_id = "kind",
    params(("kind" = String, Path, description = "Its name", example = json!(examples::kind().name))),
    responses(
        (status = 200, description = "The kind", body = Kind, example = json!(Kind::described(examples::kind()))),
        WhenSeen, WhenAsking))]
pub async fn one(
    Path(name): Path<String>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Tagged<Kind>, Problem> {
    let kind = catalog::find(&name).ok_or(Error::NotFound { what: "kind", name })?;
    Ok(Tagged(Kind::described(kind)))
}

impl Kind {
    pub fn described(kind: &'static catalog::Kind) -> Kind {
        Kind::of(kind, &catalog::schemas())
    }

    fn of(kind: &'static catalog::Kind, schemas: &Schemas) -> Kind {
        let topics = kind.topics.iter().map(|topic| Topic::of(topic, schemas)).collect();
        Kind { name: kind.name, summary: kind.summary, topics }
    }
}

impl Topic {
    fn of(topic: &'static catalog::Topic, schemas: &Schemas) -> Topic {
        let type_name = (topic.shape.name)().into_owned();
        let examples = topic.examples.iter().filter_map(|example| serde_json::from_str(example).ok());
        Topic {
            suffix: topic.suffix,
            index: topic.index.as_ref().map(|range| IndexRange { first: range.start, last: range.end - 1 }),
            class: topic.class,
            json_schema: standing_alone(&type_name, topic.is_said(), schemas),
            type_name,
            examples: examples.collect(),
            numbers: topic.numbers.iter().map(Number::of).collect(),
            answer: AnswerRule::of(topic.answer),
            effect: topic.effect.map(Effect::of),
        }
    }
}

impl Number {
    fn of(number: &catalog::Number) -> Number {
        let (unit, unit_at) = match number.unit {
            Unit::Is(symbol) => (Some(symbol), None),
            Unit::At(pointer) => (None, Some(pointer)),
            Unit::Open => (None, None),
            Unit::None => (Some(""), None),
        };
        Number { pointer: number.pointer, unit, unit_at }
    }
}

impl AnswerRule {
    fn of(answer: catalog::Answer) -> Option<AnswerRule> {
        use catalog::Answer;
        let plain = |rule| AnswerRule {
            rule,
            on: None,
            fault: None,
            fields: Vec::new(),
            success: None,
            error: None,
            named: None,
        };
        Some(match answer {
            Answer::None => return None,
            Answer::Echo { on } => AnswerRule { on: Some(on), ..plain(Rule::Echo) },
            Answer::Mapped { on, fields } => {
                let fields = fields.iter().map(|field| MappedField {
                    sent: field.sent,
                    reported: field.reported,
                    in_words: field.in_words,
                });
                AnswerRule { on: Some(on), fields: fields.collect(), ..plain(Rule::Mapped) }
            }
            Answer::Outcome { on, success, error } => AnswerRule {
                on: Some(on),
                success: Some(success),
                error: Some(error),
                ..plain(Rule::Outcome)
            },
            Answer::State { on, fault } => {
                AnswerRule { on: Some(on), fault: Some(fault), ..plain(Rule::State) }
            }
            Answer::Reading { on } => AnswerRule { on: Some(on), ..plain(Rule::Reading) },
            Answer::Implied { named, sent, reported } => AnswerRule {
                named: Some(named),
                fields: vec![MappedField { sent, reported, in_words: false }],
                ..plain(Rule::Implied)
            },
        })
    }
}

impl Effect {
    fn of(effect: catalog::Effect) -> Effect {
        let (class, when) = match effect {
            catalog::Effect::State => (EffectClass::State, None),
            catalog::Effect::OneShot => (EffectClass::OneShot, None),
            catalog::Effect::Hazard => (EffectClass::Hazard, None),
            catalog::Effect::HazardWhen(pointer) => (EffectClass::Hazard, Some(pointer)),
        };
        Effect { class, when }
    }
}

/// The schema of a type, in which stands whatever it refers to. Of what is only said to a device, it takes no field that
/// it does not name, even if the device says it back with more. No type is a part of itself.
fn standing_alone(name: &str, open: bool, schemas: &Schemas) -> Value {
    let mut schema = json!(schemas.get(name));
    resolve(&mut schema, open, schemas);
    schema
}

fn resolve(schema: &mut Value, open: bool, schemas: &Schemas) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(place)) = fields.remove("$ref") {
                let name = place.trim_start_matches(COMPONENTS);
                if let Value::Object(referred) = json!(schemas.get(name)) {
                    for (key, value) in referred {
                        // What is said where it stands is more to the point.
                        fields.entry(key).or_insert(value);
                    }
                }
            }
            if !open && fields.get("properties").is_some_and(Value::is_object) {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            fields.values_mut().for_each(|value| resolve(value, open, schemas));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| resolve(item, open, schemas)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
