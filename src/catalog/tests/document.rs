//! The table says what the document says.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::{found, json, rows};
use crate::{
    catalog::{Class, KINDS},
    json::Fit,
};

/// The DAQAstra document, as a machine read it.
const DOCUMENT: &str = include_str!("../../../tests/fixtures/daqastra-catalog.json");

#[derive(Deserialize)]
struct Kind {
    kind: String,
    description: String,
    topics: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    suffix: String,
    dir: String,
    kind: String,
    schema: String,
    example: Option<Value>,
    #[serde(default)]
    examples: Vec<Value>,
}

impl Row {
    /// The suffixes that the row prints, if it has a placeholder: the first and the last.
    fn suffixes(&self) -> Vec<String> {
        match self.suffix.as_str() {
            "/ch{0..num_channels}" => vec!["/ch0".to_owned(), "/ch255".to_owned()],
            "/{row}" => vec!["/0".to_owned(), "/35".to_owned()],
            literal => vec![literal.to_owned()],
        }
    }

    fn class(&self, kind: &Kind) -> Class {
        match (kind.kind.as_str(), self.kind.as_str(), self.dir.as_str()) {
            ("stateful_actuator", "cmd", "in") if self.suffix == "/fault" => Class::Event,
            (_, "cmd", "in") => Class::Command,
            (_, "event", "out") => Class::Event,
            (_, "telemetry", "out") => Class::Telemetry,
            (_, "telemetry", "in") => Class::Feed,
            other => panic!("{other:?}"),
        }
    }

    fn examples(&self) -> impl Iterator<Item = &Value> {
        self.example.iter().chain(&self.examples)
    }
}

/// The rows of the kinds that the document has: there may be others.
fn documented() -> impl Iterator<Item = (&'static crate::catalog::Kind, &'static crate::catalog::Topic)> {
    rows().take_while(|(kind, _)| KINDS[..22].contains(kind))
}

fn document() -> Vec<Kind> {
    serde_json::from_str(DOCUMENT).unwrap()
}

#[test]
fn there_are_22_kinds_in_the_order_of_the_document() {
    let names: Vec<_> = document().into_iter().map(|kind| kind.kind).collect();
    assert_eq!(names.len(), 22);
    assert_eq!(names, KINDS.iter().map(|kind| kind.name).take(22).collect::<Vec<_>>());
}

#[test]
fn every_summary_is_the_description() {
    for (kind, described) in KINDS.iter().zip(document()) {
        assert_eq!(kind.summary, described.description, "{}", kind.name);
    }
}

#[test]
fn each_of_61_rows_is_a_topic_of_its_class_and_its_type() {
    let mut met = BTreeSet::new();
    let mut count = 0;
    for kind in document() {
        for row in &kind.topics {
            count += 1;
            for suffix in row.suffixes() {
                let at = format!("{}{suffix}", kind.kind);
                let found = found(&kind.kind, &suffix).unwrap_or_else(|| panic!("{at}"));
                assert_eq!(found.topic.class, row.class(&kind), "{at}");
                assert_eq!((found.topic.shape.name)(), row.schema, "{at}");
                assert_eq!(found.topic.suffix_at(found.index), suffix);
                met.insert((found.kind.name, found.topic.suffix));
            }
        }
    }
    assert_eq!(count, 61);
    assert_eq!(met, documented().map(|(kind, topic)| (kind.name, topic.suffix)).collect());
}

#[test]
fn a_placeholder_has_the_rows_of_the_document_and_no_more() {
    let document = document();
    for (kind, topic) in rows().filter(|(kind, topic)| topic.index.is_some() && kind.name == "pds") {
        let printed = &document.iter().find(|one| one.kind == kind.name).unwrap().topics;
        let same = printed.iter().filter(|row| row.schema == (topic.shape.name)());
        let suffixes: Vec<_> = same.map(|row| row.suffix.clone()).collect();
        let ours: Vec<_> = topic.index.clone().unwrap().map(|index| topic.suffix_at(Some(index))).collect();
        assert_eq!(ours, suffixes);
    }
    for suffix in ["/36", "/00", "/+1", "/-1", "/", "/1/", "/x", "/ch0"] {
        assert!(found("ir_cam", suffix).is_none(), "{suffix}");
    }
    for suffix in ["/ch256", "/ch99999", "/ch", "/ch01", "/CH0", "ch0", "/ch0/"] {
        assert!(found("math", suffix).is_none(), "{suffix}");
    }
    for suffix in ["/ch8", "/vcc0i", "/vcc3i", "/vcci", "/vcc1", "/Vcc1i"] {
        assert!(found("pds", suffix).is_none(), "{suffix}");
    }
}

#[test]
fn there_are_47_types_and_their_names_are_the_documents() {
    let document = document();
    let theirs: BTreeSet<_> = document.iter().flat_map(|kind| &kind.topics).map(|row| &*row.schema).collect();
    let ours: BTreeSet<_> = documented().map(|(_, topic)| (topic.shape.name)()).collect();
    assert_eq!(theirs.len(), 47);
    assert_eq!(ours, theirs.into_iter().map(Into::into).collect());
}

#[test]
fn every_example_of_the_document_fits_exactly() {
    let mut count = 0;
    for kind in document() {
        for row in &kind.topics {
            for (suffix, example) in
                row.suffixes().iter().flat_map(|suffix| row.examples().map(move |one| (suffix, one)))
            {
                count += 1;
                let (topic, payload) = (super::topic(&kind.kind, suffix), example.to_string());
                assert_eq!(topic.check(payload.as_bytes()), Ok(Fit::Exact), "{}{suffix}", kind.kind);
                let exactly = topic.read_exactly(payload.as_bytes());
                assert_eq!(exactly, topic.read(payload.as_bytes()), "{}{suffix}", kind.kind);
            }
            assert!(row.examples().count() > 0, "{}{}", kind.kind, row.suffix);
        }
    }
    assert!(count > 61, "{count}");
}

#[test]
fn the_examples_of_the_table_are_the_documents() {
    for (kind, topic) in documented() {
        let said: Vec<_> = topic.examples.iter().map(|example| json(example)).collect();
        let document = document();
        let kind = document.iter().find(|one| one.kind == kind.name).unwrap();
        let rows = kind.topics.iter().filter(|row| {
            row.suffixes().iter().any(|suffix| super::topic(&kind.kind, suffix).suffix == topic.suffix)
        });
        let theirs: Vec<_> = rows.flat_map(Row::examples).collect();
        for example in said {
            // The document prints three pixels of a row and how many there are.
            let same = |one: &&Value| {
                **one == example
                    || topic.suffix == "/{row}"
                        && one.as_array().unwrap()[..3] == example.as_array().unwrap()[..3]
            };
            assert!(theirs.iter().any(same), "{}{}: {example}", kind.kind, topic.suffix);
        }
    }
}
