//! The JSON schemas describe what is read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{examples, rows};
use crate::catalog::schemas;

/// Where a schema finds those that it refers to.
const SHARED: &str = "#/components/schemas/";

pub(super) struct Schemas(Value);

impl Schemas {
    pub(super) fn new() -> Schemas {
        Schemas(serde_json::to_value(schemas()).unwrap())
    }

    pub(super) fn named(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or_else(|| panic!("there is no schema {name}"))
    }

    /// The schemas of which one has to hold: itself, what it refers to, or its alternatives.
    pub(super) fn alternatives<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        if let Some(name) = schema["$ref"].as_str() {
            return self.alternatives(self.named(name.strip_prefix(SHARED).unwrap()));
        }
        match schema["oneOf"].as_array() {
            Some(several) => several.iter().flat_map(|one| self.alternatives(one)).collect(),
            None => vec![schema],
        }
    }

    fn holds(&self, schema: &Value, value: &Value) -> bool {
        self.alternatives(schema).into_iter().filter(|one| self.holds_one(one, value)).count() == 1
    }

    fn holds_one(&self, schema: &Value, value: &Value) -> bool {
        let rules = schema.as_object().unwrap();
        rules.iter().all(|(keyword, rule)| match keyword.as_str() {
            "description" | "format" | "title" => true,
            "type" => types(schema).iter().any(|one| is(value, one)),
            "minimum" => value.as_f64().is_none_or(|value| value >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|value| value <= rule.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| self.holds(rule, item))),
            "required" => {
                let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                value.as_object().is_none_or(|fields| names.into_iter().all(|name| fields.contains_key(name)))
            }
            "properties" => value.as_object().is_none_or(|fields| {
                fields.iter().all(|(name, value)| rule.get(name).is_none_or(|rule| self.holds(rule, value)))
            }),
            "additionalProperties" => {
                assert_eq!(*rule, json!(false));
                value
                    .as_object()
                    .is_none_or(|fields| fields.keys().all(|name| schema["properties"].get(name).is_some()))
            }
            unknown => panic!("this test does not know {unknown:?}"),
        })
    }

    /// The names of all that a schema refers to, itself included.
    fn reach(&self, name: &str, found: &mut BTreeSet<String>) {
        if found.insert(name.to_owned()) {
            let written = self.named(name).to_string();
            for rest in written.split(SHARED).skip(1) {
                self.reach(rest.split('"').next().unwrap(), found);
            }
        }
    }
}

pub(super) fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().map(|one| one.as_str().unwrap()).collect(),
        // Anything.
        _ => vec!["null", "boolean", "number", "integer", "string", "array", "object"],
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|value| value.fract() == 0.0),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("{kind}"),
    }
}

#[test]
fn there_is_a_schema_for_each_type_and_all_that_they_are_made_of() {
    let schemas = Schemas::new();
    let mut reached = BTreeSet::new();
    rows().for_each(|(_, topic)| schemas.reach(&(topic.shape.name)(), &mut reached));
    let there: BTreeSet<_> = schemas.0.as_object().unwrap().keys().cloned().collect();
    assert_eq!(there, reached);
    let shared =
        ["Conversion", "Count", "MathValue", "Measure", "Percent", "Polynomial", "Position", "Ratio"];
    assert!(there.len() >= 47 + shared.len(), "{there:?}");
    assert!(shared.iter().all(|name| there.contains(*name)), "{there:?}");
}

#[test]
fn every_example_is_as_its_schema_says() {
    let schemas = Schemas::new();
    for (kind, topic, example) in examples() {
        let schema = schemas.named(&(topic.shape.name)());
        assert!(schemas.holds(schema, &super::json(example)), "{}{}: {example}", kind.name, topic.suffix);
    }
}

#[test]
fn a_schema_says_what_is_wrong_with_an_example() {
    let schemas = Schemas::new();
    let wrong = [
        ("PWMCommand", json!({ "enable": true, "duty": 2, "frequency": 50 })),
        ("PWMCommand", json!({ "enable": true, "duty": 0.5, "frequency": 0.5 })),
        ("PWMCommand", json!({ "enable": true, "duty": 0.5, "frequency": 50, "error": null })),
        ("PWMCommandResponse", json!({ "enable": true, "duty": 0.5, "error": null })),
        ("IrCamFrameRow", json!([1, 2, 3])),
        ("MathResult", json!({ "data": "on" })),
        ("AnalogConversionConfig", json!({ "conversion": { "Linear": [1, 2] } })),
    ];
    for (name, value) in wrong {
        assert!(!schemas.holds(schemas.named(name), &value), "{name}: {value}");
    }
}

#[test]
fn only_what_is_only_sent_takes_no_other_fields() {
    let schemas = Schemas::new();
    let (mut said, mut sent) = (BTreeSet::new(), BTreeSet::new());
    for (_, topic) in rows() {
        let reached = if topic.is_said() { &mut said } else { &mut sent };
        schemas.reach(&(topic.shape.name)(), reached);
    }
    let mut closed = 0;
    for (name, schema) in schemas.0.as_object().unwrap() {
        let only_sent = sent.contains(name) && !said.contains(name);
        match schema.get("additionalProperties") {
            Some(rule) => assert!(only_sent && *rule == json!(false), "{name}"),
            None => assert!(!only_sent || schema.get("properties").is_none(), "{name}"),
        }
        closed += usize::from(schema.get("additionalProperties").is_some());
    }
    assert_eq!(closed, 10);
}
