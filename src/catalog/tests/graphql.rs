//! A query may ask all members of the union at once.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::{EmptyMutation, EmptySubscription, Object, Schema};
use futures_util::FutureExt;
use serde_json::Value;

use super::{json, rows};
use crate::catalog::Payload;

struct Query;

#[Object]
impl Query {
    async fn payload(&self, kind: String, suffix: String, said: String) -> Payload {
        super::read(&kind, &suffix, &said)
    }
}

fn answer(query: &str) -> Value {
    let schema = Schema::build(Query, EmptyMutation, EmptySubscription).finish();
    let response = schema.execute(query).now_or_never().expect("nothing to wait for");
    assert!(response.errors.is_empty(), "{:?}", response.errors);
    response.data.into_json().unwrap()
}

/// A field of a member: its name, its type as it is written, and what is said of it.
type Field = (String, String, String);

/// The members of the union, each with its fields in order.
fn members() -> BTreeMap<String, Vec<Field>> {
    let union = answer(
        "{ __type(name: \"Payload\") { possibleTypes { name fields { name description
            type { ...T ofType { ...T ofType { ...T ofType { ...T } } } } } } } }
        fragment T on __Type { kind name }",
    );
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fields = |member: &Value| {
        let fields = member["fields"].as_array().unwrap().iter();
        fields
            .map(|field| (text(&field["name"]), written(&field["type"]), text(&field["description"])))
            .collect()
    };
    let members = union["__type"]["possibleTypes"].as_array().unwrap().iter();
    members.map(|member| (text(&member["name"]), fields(member))).collect()
}

fn written(kind: &Value) -> String {
    match kind["kind"].as_str().unwrap() {
        "NON_NULL" => format!("{}!", written(&kind["ofType"])),
        "LIST" => format!("[{}]", written(&kind["ofType"])),
        _ => kind["name"].as_str().unwrap().to_owned(),
    }
}

pub(super) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

#[test]
fn the_members_have_the_names_of_the_document() {
    let names: BTreeSet<_> = rows().map(|(_, topic)| (topic.shape.name)().into_owned()).collect();
    assert_eq!(members().into_keys().collect::<BTreeSet<_>>(), names);
}

#[test]
fn a_name_of_a_field_has_one_type_in_all_members() {
    let mut types = BTreeMap::<String, BTreeMap<String, Vec<String>>>::new();
    for (member, fields) in members() {
        for (name, kind, _) in fields {
            types.entry(name).or_default().entry(kind).or_default().push(member.clone());
        }
    }
    types.retain(|_, types| types.len() > 1);
    assert!(types.is_empty(), "{types:#?}");
}

#[test]
fn a_field_of_another_name_says_how_it_is_called_on_the_wire() {
    let members = members();
    let mut renamed = 0;
    for (_, topic) in rows() {
        let fields = &members[&*(topic.shape.name)()];
        let wire = (topic.shape.fields)();
        if wire.is_empty() {
            assert_eq!(fields.len(), 1, "{:?} is bare", topic.shape);
            continue;
        }
        assert_eq!(fields.len(), wire.len(), "{:?}", topic.shape);
        for ((name, _, said), wire) in fields.iter().zip(wire) {
            let told = said.contains(&format!("On the wire `{wire}`."));
            assert_eq!(told, *name != camel(wire), "{:?}.{name}", topic.shape);
            renamed += usize::from(told);
        }
    }
    assert_eq!(renamed, 9);
}

#[test]
fn every_member_and_every_field_is_described() {
    for (member, fields) in members() {
        assert!(fields.iter().all(|(_, _, said)| said.ends_with('.')), "{member}: {fields:?}");
    }
}

/// Lists included; `1` in GraphQL may be `1.0` on the wire.
fn same(told: &Value, said: &Value) -> bool {
    match (told.as_array(), said.as_array()) {
        (Some(told), Some(said)) => {
            told.len() == said.len() && told.iter().zip(said).all(|(a, b)| same(a, b))
        }
        _ => told == said || told.as_f64().is_some() && told.as_f64() == said.as_f64(),
    }
}

#[test]
fn graphql_tells_every_example_as_it_was_said() {
    let members = members();
    let mut compared = 0;
    for (kind, topic, example) in super::examples() {
        let (name, wire) = ((topic.shape.name)(), json(example));
        let fields = members[&*name].iter().map(|(field, ..)| field);
        let said: Vec<_> = match wire.as_object() {
            Some(object) => fields
                .zip((topic.shape.fields)())
                .filter_map(|(field, wire)| Some((field, object.get(*wire)?)))
                .filter(|(_, value)| !value.is_object())
                .collect(),
            None => fields.map(|field| (field, &wire)).collect(),
        };
        let asked: Vec<_> = said.iter().map(|(field, _)| field.as_str()).collect();
        let (asked, said_as) = (asked.join(" "), serde_json::to_string(example).unwrap());
        let suffix = topic.suffix_at(topic.index.as_ref().map(|index| index.start));
        let told = answer(&format!(
            "{{ payload(kind: \"{}\", suffix: \"{suffix}\", said: {said_as}) {{ __typename ... on {name} {{ __typename {asked} }} }} }}",
            kind.name,
        ));
        assert_eq!(told["payload"]["__typename"], *name);
        for (field, value) in said {
            compared += 1;
            assert!(same(&told["payload"][field], value), "{}{suffix} {field}: {told}", kind.name);
        }
    }
    assert!(compared > 130, "{compared}");
}
