//! Every command can be said in GraphQL, and goes out as it is on the wire.

use std::collections::BTreeMap;

use async_graphql::{
    EmptySubscription, Name, Object, Request, Response, Schema, Value as Input, Variables, indexmap::IndexMap,
};
use futures_util::FutureExt;
use serde_json::{Value, json};

use super::{examples, graphql::camel};
use crate::catalog::{Class, CommandInput, KINDS, Kind, Topic, find};

struct Query;

#[Object]
impl Query {
    async fn nothing(&self) -> bool {
        false
    }
}

struct Mutation;

#[Object]
impl Mutation {
    /// The kind and the payload.
    async fn send(&self, command: CommandInput) -> [String; 2] {
        let (kind, payload) = command.of();
        [kind.name.to_owned(), payload]
    }
}

fn schema() -> Schema<Query, Mutation, EmptySubscription> {
    Schema::build(Query, Mutation, EmptySubscription).finish()
}

fn execute(request: impl Into<Request>) -> Response {
    schema().execute(request).now_or_never().expect("nothing to wait for")
}

/// The kind and the payload of a command, or why it is refused.
fn send(command: &Input) -> Result<(String, String), String> {
    sent(execute(format!("mutation {{ send(command: {command}) }}")))
}

fn send_as_variable(command: &Input) -> Result<(String, String), String> {
    let variables = Input::Object([(Name::new("command"), command.clone())].into_iter().collect());
    let document = "mutation($command: CommandInput!) { send(command: $command) }";
    let variables = Variables::from_json(variables.into_json().unwrap());
    sent(execute(Request::new(document).variables(variables)))
}

fn sent(response: Response) -> Result<(String, String), String> {
    match response.errors.first() {
        Some(error) => Err(error.message.clone()),
        None => Ok(serde_json::from_value(response.data.into_json().unwrap()["send"].take()).unwrap()),
    }
}

/// A field of an input: its name and its type.
struct Field {
    name: String,
    said: String,
    holds: Value,
}

/// The fields of every input, as the schema has them.
struct Inputs(BTreeMap<String, Vec<Field>>);

impl Inputs {
    fn new() -> Inputs {
        let response = execute(
            "{ __schema { types { name inputFields { name description
                type { ...T ofType { ...T ofType { ...T ofType { ...T } } } } } } } }
            fragment T on __Type { kind name }",
        );
        let mut all = response.data.into_json().unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let field = |field: &Value| Field {
            name: text(&field["name"]),
            said: text(&field["description"]),
            holds: field["type"].clone(),
        };
        let fields = |input: &Value| Some(input["inputFields"].as_array()?.iter().map(field).collect());
        let types = all["__schema"]["types"].take();
        let named = |input: &Value| Some((text(&input["name"]), fields(input)?));
        Inputs(types.as_array().unwrap().iter().filter_map(named).collect())
    }

    fn of(&self, kind: &Kind) -> &Field {
        let name = camel(kind.name);
        let mut fields = self.0["CommandInput"].iter();
        fields.find(|field| field.name == name).unwrap_or_else(|| panic!("no command for {name}"))
    }

    /// The fields of the object that a field holds; none if it holds none.
    fn within(&self, field: &Field) -> &[Field] {
        self.0.get(bare(&field.holds)["name"].as_str().unwrap()).map_or(&[], Vec::as_slice)
    }

    /// What is said on the wire, in the words of this type.
    fn said(&self, holds: &Value, wire: &Value) -> Input {
        match holds["kind"].as_str().unwrap() {
            "NON_NULL" => self.said(&holds["ofType"], wire),
            "LIST" => {
                let items = wire.as_array().unwrap().iter();
                Input::List(items.map(|item| self.said(&holds["ofType"], item)).collect())
            }
            "ENUM" => Input::Enum(Name::new(wire.as_str().unwrap().to_uppercase())),
            "INPUT_OBJECT" => {
                let fields = &self.0[holds["name"].as_str().unwrap()];
                let said =
                    |(field, wire): (&Field, &Value)| (Name::new(&field.name), self.said(&field.holds, wire));
                let pairs: Vec<_> = match wire.as_object() {
                    Some(object) => object.iter().map(|(name, wire)| (called(fields, name), wire)).collect(),
                    // It is bare on the wire.
                    None => fields.iter().map(|field| (field, wire)).collect(),
                };
                Input::Object(pairs.into_iter().map(said).collect())
            }
            _ => Input::from_json(wire.clone()).unwrap(),
        }
    }

    fn command(&self, kind: &Kind, wire: &Value) -> Input {
        let field = self.of(kind);
        one(&field.name, self.said(&field.holds, wire))
    }
}

/// A type without its wrappings.
fn bare(holds: &Value) -> &Value {
    match holds["ofType"].is_object() {
        true => bare(&holds["ofType"]),
        false => holds,
    }
}

/// The field that is called so on the wire.
fn called<'a>(fields: &'a [Field], wire: &str) -> &'a Field {
    let told = format!("On the wire `{wire}`.");
    let lower = wire[..1].to_lowercase() + &wire[1..];
    let found = fields.iter().find(|field| field.said.contains(&told) || field.name == camel(&lower));
    found.unwrap_or_else(|| panic!("no field for {wire}"))
}

fn one(name: &str, value: Input) -> Input {
    Input::Object(IndexMap::from([(Name::new(name), value)]))
}

/// The payload of a command, to be changed.
fn payload(command: &mut Input) -> &mut IndexMap<Name, Input> {
    let Input::Object(command) = command else { panic!() };
    let Input::Object(payload) = &mut command[0] else { panic!() };
    payload
}

fn commands() -> impl Iterator<Item = (&'static Kind, &'static Topic, &'static str)> {
    examples().filter(|(_, topic, _)| topic.class == Class::Command)
}

/// `1` on the wire may be `1.0` as well.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn a_command_is_one_of_the_kinds_that_take_commands() {
    let sdl = schema().sdl();
    assert!(sdl.contains("input CommandInput @oneOf {"), "{sdl}");
    let mut kinds: Vec<_> = commands().map(|(kind, ..)| camel(kind.name)).collect();
    kinds.dedup();
    assert!(
        KINDS.iter().all(|kind| kind.commands().count() <= 1),
        "the kind alone says which topic is meant"
    );
    let inputs = Inputs::new();
    let fields: Vec<_> = inputs.0["CommandInput"].iter().map(|field| field.name.as_str()).collect();
    assert_eq!(fields, kinds);
}

#[test]
fn every_command_goes_out_as_it_is_on_the_wire() {
    let inputs = Inputs::new();
    for (kind, topic, example) in commands() {
        let command = inputs.command(kind, &super::json(example));
        for said in [send(&command), send_as_variable(&command)] {
            let (name, payload) = said.unwrap_or_else(|why| panic!("{command}: {why}"));
            assert_eq!(name, kind.name);
            assert_eq!(plain(&super::json(&payload)), plain(&super::json(example)), "{command}");
            let read = |payload: &str| topic.read_exactly(payload.as_bytes()).unwrap();
            assert_eq!(read(&payload), read(example), "{command}");
        }
    }
}

#[test]
fn what_is_sent_has_the_fields_of_the_wire_in_their_order() {
    let stepper =
        "{ stepper: { enable: true, direction: false, numSteps: 2000.0, maxVelocity: 1, targetAccel: 0.5 } }";
    let response = execute(format!("mutation {{ send(command: {stepper}) }}"));
    let wire = r#"{"target_accel":0.5,"max_velocity":1.0,"num_steps":2000,"direction":false,"enable":true}"#;
    assert_eq!(sent(response), Ok(("stepper".to_owned(), wire.to_owned())));
}

#[test]
fn a_command_of_two_kinds_or_of_none_is_refused() {
    let inputs = Inputs::new();
    let two = |first: &str, second: &str| {
        let (first, second) = (find(first).unwrap(), find(second).unwrap());
        let Input::Object(mut both) = inputs.command(first, &json!(true)) else { panic!() };
        let Input::Object(other) = inputs.command(second, &json!(true)) else { panic!() };
        both.extend(other);
        Input::Object(both)
    };
    for command in [two("loadcell", "math"), Input::Object(IndexMap::new())] {
        for said in [send(&command), send_as_variable(&command)] {
            let why = said.unwrap_err();
            assert!(why.contains("argument \"command\"") && why.contains("exactly one field"), "{why}");
        }
    }
    let why = send(&one("aht20", Input::Object(IndexMap::new()))).unwrap_err();
    assert!(why.contains("unknown field \"aht20\" of type \"CommandInput\""), "{why}");
}

#[test]
fn a_field_that_is_missing_or_null_or_unknown_is_named() {
    let inputs = Inputs::new();
    let mut spoilt = 0;
    for (kind, _, example) in commands() {
        let command = inputs.command(kind, &super::json(example));
        let fields = inputs.within(inputs.of(kind));
        for Field { name, .. } in fields.iter().filter(|field| field.holds["kind"] == "NON_NULL") {
            spoilt += 1;
            let mut less = command.clone();
            payload(&mut less).shift_remove(name.as_str());
            let why = send(&less).unwrap_err();
            assert!(why.contains(&format!("field \"{name}\" of type")) && why.contains("required"), "{why}");

            let mut null = command.clone();
            payload(&mut null).insert(Name::new(name), Input::Null);
            let why = send(&null).unwrap_err();
            assert!(why.contains(&format!("\"command.{}.{name}\"", camel(kind.name))), "{why}");
        }
        if !fields.is_empty() {
            let mut more = command.clone();
            payload(&mut more).insert(Name::new("more"), Input::from(1));
            let why = send(&more).unwrap_err();
            assert!(why.contains("unknown field \"more\" of type"), "{why}");
        }
    }
    assert!(spoilt > 40, "{spoilt}");
}

#[test]
fn a_number_out_of_its_bounds_is_named() {
    let inputs = Inputs::new();
    let mut spoilt = 0;
    for (kind, _, example) in commands() {
        let command = inputs.command(kind, &super::json(example));
        for Field { name, holds, .. } in inputs.within(inputs.of(kind)) {
            let wrong = match bare(holds)["name"].as_str().unwrap() {
                "Ratio" => ["-0.1", "1.1", "\"1\"", "[1]"],
                "Count" => ["-1", "1.5", "9007199254740992", "true"],
                "Float" => ["\"1\"", "true", "NaN", "[1]"],
                _ => continue,
            };
            for wrong in wrong {
                spoilt += 1;
                let mut command = command.clone();
                // As it is written here, whatever it is.
                payload(&mut command).insert(Name::new(name), Input::Enum(Name::new(wrong)));
                let why = send(&command).unwrap_err();
                let place = format!("\"command.{}.{name}\", expected type", camel(kind.name));
                assert!(why.contains(&place), "{wrong}: {why}");
            }
        }
    }
    assert!(spoilt > 60, "{spoilt}");
}

#[test]
fn no_device_is_told_why_it_refused() {
    let inputs = Inputs::new();
    let wire = json!({ "value": 2.5, "max_volts": 5.0, "enabled": true });
    let mut command = inputs.command(find("analog_out").unwrap(), &wire);
    payload(&mut command).insert(Name::new("error"), Input::Null);
    let why = send(&command).unwrap_err();
    assert!(why.contains("unknown field \"error\" of type \"DacConfigInput\""), "{why}");
}

#[test]
fn every_input_and_every_field_is_described() {
    for (input, fields) in Inputs::new().0 {
        assert!(fields.iter().all(|field| field.said.ends_with('.')), "{input}");
    }
}

#[test]
fn a_number_is_finite() {
    for number in ["1e999", "-1e999"] {
        let command = format!("{{ flowmeter: {{ slope: {number}, offset: 0, measurementInterval: 1 }} }}");
        let why = sent(execute(format!("mutation {{ send(command: {command}) }}"))).unwrap_err();
        assert!(why.contains("out of range"), "{why}");
    }
}
