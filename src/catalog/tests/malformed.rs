//! What is wrong with a payload is told with its reason and its place, and whatever comes, all ways of reading agree.
//!
//! Each example is spoilt at each of its places, as its schema says that it can be.

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{
    examples,
    schemas::{Schemas, types},
    topic,
};
use crate::{
    catalog::Topic,
    json::{Fit, Flaw},
    model::RejectionReason::{self, MissingField, NonFinite, NotJson, NotUtf8, OutOfRange, TypeMismatch},
};

/// Stands for text that is put in afterwards, because it is no JSON or would not come out as it was put in.
const HERE: &str = "@@here";
/// A device that is wrong once is wrong a thousand times, and each is kept.
const LONGEST_DETAIL: usize = 512;

/// A place in an example.
struct Place {
    topic: &'static Topic,
    example: Value,
    pointer: String,
    /// What may be here.
    schemas: Vec<Value>,
    /// Whether it is a field that must be there, or may be left out. None for what is no field.
    required: Option<bool>,
}

impl Place {
    fn value(&self) -> &Value {
        self.example.pointer(&self.pointer).unwrap()
    }

    fn takes(&self, kind: &str) -> bool {
        self.schemas.iter().any(|schema| types(schema).contains(&kind))
    }

    /// The example with something else here.
    fn with(&self, value: Value) -> String {
        let mut example = self.example.clone();
        *example.pointer_mut(&self.pointer).unwrap() = value;
        example.to_string()
    }

    fn with_text(&self, text: &str) -> String {
        self.with(json!(HERE)).replace(&format!("\"{HERE}\""), text)
    }

    /// The object around this field, and the field's name.
    fn around(&self) -> (&str, &str) {
        self.pointer.rsplit_once('/').unwrap()
    }

    fn is_refused(&self, payload: &str, reason: RejectionReason) {
        self.is_refused_at(payload.as_bytes(), reason, &self.pointer);
    }

    fn is_refused_at(&self, payload: &[u8], reason: RejectionReason, pointer: &str) {
        let said = String::from_utf8_lossy(&payload[..payload.len().min(300)]).into_owned();
        let flaw = self.topic.check(payload).expect_err(&said);
        assert_eq!((flaw.reason, flaw.pointer.as_str()), (reason, pointer), "{said}: {flaw}");
        tells(&flaw);
        assert_eq!(self.topic.read(payload).as_ref(), Err(&flaw), "{said}");
        assert_eq!(self.topic.read_exactly(payload).as_ref(), Err(&flaw), "{said}");
    }

    fn fits(&self, payload: &str) {
        assert_eq!(self.topic.check(payload.as_bytes()), Ok(Fit::Exact), "{payload}");
        let read = self.topic.read(payload.as_bytes());
        assert_eq!(self.topic.read_exactly(payload.as_bytes()), read, "{payload}");
    }
}

fn tells(flaw: &Flaw) {
    assert!(flaw.detail.starts_with("expected ") && flaw.detail.contains(", got "), "{flaw}");
    assert!(flaw.detail.len() <= LONGEST_DETAIL, "{} bytes of detail", flaw.detail.len());
    assert!(flaw.pointer.len() <= 256, "{} bytes of pointer", flaw.pointer.len());
}

/// Each place in each example.
fn places() -> Vec<Place> {
    let all = Schemas::new();
    let mut places = Vec::new();
    for (_, topic, example) in examples() {
        let example = super::json(example);
        let schema = all.named(&(topic.shape.name)()).clone();
        let mut open = vec![(String::new(), vec![schema], None)];
        while let Some((pointer, schemas, required)) = open.pop() {
            let schemas: Vec<_> =
                schemas.iter().flat_map(|schema| all.alternatives(schema)).cloned().collect();
            match example.pointer(&pointer).unwrap() {
                Value::Object(fields) => open.extend(fields.keys().filter_map(|name| {
                    // Of what is passed on unread, nothing is known.
                    let object = schemas.iter().find(|schema| schema["properties"].get(name).is_some())?;
                    let required =
                        object["required"].as_array().is_some_and(|names| names.contains(&json!(name)));
                    let pointer = format!("{pointer}/{name}");
                    Some((pointer, vec![object["properties"][name].clone()], Some(required)))
                })),
                Value::Array(items) => open
                    .extend((0..items.len()).map(|index| {
                        (format!("{pointer}/{index}"), vec![schemas[0]["items"].clone()], None)
                    })),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
            places.push(Place { topic, example: example.clone(), pointer, schemas, required });
        }
    }
    assert!(places.len() > 250, "{}", places.len());
    places
}

#[test]
fn a_value_of_another_type_is_refused_where_it_stands() {
    let values = [
        ("null", json!(null)),
        ("boolean", json!(true)),
        ("number", json!(0.5)),
        ("string", json!("x")),
        ("array", json!([])),
        ("array", json!([0.5, "x"])),
        ("object", json!({})),
        ("object", json!({ "x": 1 })),
    ];
    for place in places() {
        for (kind, value) in &values {
            if !place.takes(kind) {
                place.is_refused(&place.with(value.clone()), TypeMismatch);
            }
        }
    }
}

#[test]
fn a_list_of_the_values_is_no_object() {
    for place in places() {
        if let Value::Object(fields) = place.value() {
            let values: Vec<_> = fields.values().cloned().collect();
            place.is_refused(&place.with(json!(values)), TypeMismatch);
        }
    }
}

#[test]
fn a_field_that_is_not_there_is_missed_unless_it_may_be_left_out() {
    for place in places() {
        let Some(required) = place.required else { continue };
        let (around, name) = place.around();
        let mut example = place.example.clone();
        example.pointer_mut(around).unwrap().as_object_mut().unwrap().remove(name);
        match required {
            true if around.ends_with("/conversion") => {
                place.is_refused_at(example.to_string().as_bytes(), TypeMismatch, around);
            }
            true => place.is_refused(&example.to_string(), MissingField),
            false => place.fits(&example.to_string()),
        }
    }
}

#[test]
fn a_field_that_comes_twice_is_refused() {
    for place in places().into_iter().filter(|place| place.required.is_some()) {
        let (around, name) = place.around();
        let mut example = place.example.clone();
        let fields = example.pointer_mut(around).unwrap().as_object_mut().unwrap();
        fields.insert(HERE.to_owned(), fields[name].clone());
        let payload = example.to_string().replace(HERE, name);
        match around.ends_with("/conversion") {
            true => place.is_refused_at(payload.as_bytes(), TypeMismatch, around),
            false => place.is_refused(&payload, TypeMismatch),
        }
    }
}

#[test]
fn a_field_that_is_not_known_is_passed_over_unless_a_user_sends_it() {
    for place in places() {
        let known = place.schemas.iter().any(|schema| schema.get("properties").is_some());
        if !place.value().is_object() || !known {
            continue;
        }
        for value in [json!(1), json!([[{}]]), json!({ "value": null })] {
            let mut object = place.value().clone();
            object[HERE] = value;
            let payload = place.with(object);
            assert_eq!(place.topic.check(payload.as_bytes()), Ok(Fit::Loose), "{payload}");
            let read = place.topic.read(payload.as_bytes());
            assert_eq!(read, place.topic.read(place.example.to_string().as_bytes()), "{payload}");
            let flaw = place.topic.read_exactly(payload.as_bytes()).unwrap_err();
            let pointer = format!("{}/{HERE}", place.pointer);
            assert_eq!((flaw.reason, flaw.pointer.as_str()), (TypeMismatch, pointer.as_str()));
            tells(&flaw);
        }
    }
}

#[test]
fn a_number_beyond_its_bounds_is_out_of_range() {
    let mut bounded = 0;
    for place in places() {
        for schema in &place.schemas {
            for (bound, step) in [("minimum", -1.0), ("maximum", 1.0)] {
                let Some(bound) = schema[bound].as_f64() else { continue };
                bounded += 1;
                place.fits(&place.with_text(&bound.to_string()));
                place.is_refused(&place.with_text(&(bound + step).to_string()), OutOfRange);
                place.is_refused(
                    &place.with_text(&format!("{}1e300", if step < 0.0 { "-" } else { "" })),
                    OutOfRange,
                );
            }
        }
    }
    assert!(bounded > 40, "{bounded}");
}

#[test]
fn a_whole_number_may_be_spelt_as_a_float_and_has_no_fraction() {
    for place in places().iter().filter(|place| place.takes("integer") && !place.takes("string")) {
        for spelt in ["3.0", "3e0", "30.0e-1", "0.0", "-0.0", "-0"] {
            place.fits(&place.with_text(spelt));
        }
        place.is_refused(&place.with_text("1.5"), TypeMismatch);
    }
}

#[test]
fn what_is_no_number_is_told_where_it_stands() {
    for place in places() {
        for text in [
            "NaN",
            "nan",
            "-nan",
            "Infinity",
            "-Infinity",
            "inf",
            "-inf",
            "1e999",
            "-1e999",
            "NAN",
            "nan(ind)",
        ] {
            place.is_refused(&place.with_text(text), NonFinite);
            // On lines of its own, as a device that prints for people does.
            let spread = serde_json::to_string_pretty(&super::json(&place.with(json!(HERE)))).unwrap();
            let payload = spread.replace(&format!("\"{HERE}\""), &format!("\r\n\t{text}\n"));
            place.is_refused(&payload, NonFinite);
        }
    }
}

#[test]
fn a_text_of_a_mebibyte_is_a_text() {
    let long = "\\u0001".repeat(1 << 18);
    for place in places() {
        let payload = place
            .with_text(&format!("\"{}\"", &long[..if place.required.is_some() { long.len() } else { 6000 }]));
        match place.topic.check(payload.as_bytes()) {
            Ok(fit) => assert!(place.takes("string") && fit == Fit::Exact),
            Err(flaw) => {
                assert!(!place.takes("string"), "{}", place.pointer);
                assert_eq!((flaw.reason, &flaw.pointer), (TypeMismatch, &place.pointer));
                tells(&flaw);
            }
        }
    }
}

#[test]
fn what_is_cut_off_is_no_json() {
    for (_, topic, example) in examples() {
        for end in 0..example.len() {
            let flaw = topic.read(&example.as_bytes()[..end]).unwrap_err();
            assert_eq!((flaw.reason, flaw.pointer.as_str()), (NotJson, ""), "{}", &example[..end]);
            tells(&flaw);
        }
    }
}

#[test]
fn other_bytes_than_text_are_no_utf8_wherever_they_stand() {
    for place in places() {
        let payload = place.with_text("\"@\"");
        let bytes: Vec<u8> = payload.bytes().map(|byte| if byte == b'@' { 0xff } else { byte }).collect();
        place.is_refused_at(&bytes, NotUtf8, "");
    }
}

#[test]
fn what_is_nested_too_deeply_is_no_json() {
    for place in places() {
        for (opening, closing) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", opening.repeat(2000), closing.repeat(2000));
            place.is_refused_at(place.with_text(&deep).as_bytes(), NotJson, "");
        }
    }
}

#[test]
fn a_pointer_is_cut_at_a_whole_level() {
    let topic = topic("pwm", "/config");
    let name = "x/~".repeat(60_000);
    let spoilt =
        |value: &str| format!("{{\"enable\":true,\"duty\":0.5,\"frequency\":50,\"{name}\":{value}}}");
    let flaw = topic.read_exactly(spoilt("1").as_bytes()).unwrap_err();
    assert_eq!((flaw.reason, flaw.pointer.as_str()), (TypeMismatch, ""));
    tells(&flaw);
    let flaw = topic.read(spoilt("[NaN]").as_bytes()).unwrap_err();
    assert_eq!((flaw.reason, flaw.pointer.as_str()), (NonFinite, ""));
    tells(&flaw);
    let nested = format!("{}NaN", "{\"seven77\":".repeat(100));
    let flaw = topic.read(nested.as_bytes()).unwrap_err();
    assert_eq!(flaw.pointer, "/seven77".repeat(32));
}

/// All ways of reading say the same.
fn agree(topic: &Topic, payload: &[u8]) {
    let (check, read, exactly) = (topic.check(payload), topic.read(payload), topic.read_exactly(payload));
    assert_eq!(check.as_ref().err(), read.as_ref().err());
    // `read` takes the quick path where it can, `read_exactly` always the one with care.
    assert_eq!(exactly.is_ok(), check == Ok(Fit::Exact));
    match exactly {
        Ok(exactly) => assert_eq!(read, Ok(exactly)),
        Err(flaw) => tells(&flaw),
    }
}

/// What is worth putting into a payload.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "NaN",
    "1e999",
    "-0.0",
    "3.0",
    "\"error\":null,",
    "\"data\":",
    "\"value\":1,",
    "\u{fffd}",
    "\n",
    "9007199254740993",
    "{\"Polynomial\":[1]}",
    "\"\\ud800\"",
];

#[derive(Debug, Clone)]
enum Change {
    Put(&'static str),
    Remove(usize),
    Set(u8),
}

fn change() -> impl Strategy<Value = (Index, Change)> {
    let change = prop_oneof![
        (0..PIECES.len()).prop_map(|piece| Change::Put(PIECES[piece])),
        (1..20_usize).prop_map(Change::Remove),
        any::<u8>().prop_map(Change::Set),
    ];
    (any::<Index>(), change)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_bytes_come_all_ways_of_reading_agree(row in any::<Index>(), payload in vec(any::<u8>(), 0..64)) {
        agree(row.get(&super::rows().collect::<Vec<_>>()).1, &payload);
    }

    #[test]
    fn however_an_example_is_changed_all_ways_of_reading_agree(
        row in any::<Index>(),
        changes in vec(change(), 1..5),
    ) {
        let examples: Vec<_> = examples().collect();
        let (_, topic, example) = row.get(&examples);
        let mut payload = example.as_bytes().to_vec();
        for (place, change) in changes {
            let at = place.index(payload.len() + 1);
            let end = match change {
                Change::Put(_) => at,
                Change::Remove(count) => (at + count).min(payload.len()),
                Change::Set(_) => (at + 1).min(payload.len()),
            };
            let put = match change {
                Change::Put(piece) => piece.as_bytes().to_vec(),
                Change::Remove(_) => Vec::new(),
                Change::Set(byte) => vec![byte],
            };
            payload.splice(at..end, put);
        }
        agree(topic, &payload);
    }
}
