//! A parsed payload, and serde's way through it.

use std::{cell::Cell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, DeserializeSeed, Error as _, Expected, Unexpected, Visitor},
    forward_to_deserialize_any,
};
use serde_json::Number;

use super::{Flaw, excerpt};
use crate::model::RejectionReason;

/// JSON with its fields in their order, those that come twice included.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// What is done with fields that a type does not know.
pub(super) struct Knowledge {
    exact: bool,
    passed_over: Cell<bool>,
}

impl Knowledge {
    pub(super) fn exact() -> Knowledge {
        Knowledge { exact: true, passed_over: Cell::new(false) }
    }

    pub(super) fn loose() -> Knowledge {
        Knowledge { exact: false, passed_over: Cell::new(false) }
    }

    /// Whether any was passed over.
    pub(super) fn passed_over(&self) -> bool {
        self.passed_over.get()
    }
}

/// A flaw on its way up to the root: each level puts its name before the pointer.
#[derive(Debug)]
pub(super) struct Fault {
    reason: RejectionReason,
    pointer: String,
    expected: String,
    /// Filled in by the place that was read, unless it is known before.
    got: Option<String>,
}

impl Fault {
    fn new(reason: RejectionReason, expected: impl fmt::Display, got: Option<String>) -> Fault {
        Fault { reason, pointer: String::new(), expected: expected.to_string(), got }
    }

    fn under(mut self, level: impl fmt::Display) -> Fault {
        let level = level.to_string().replace('~', "~0").replace('/', "~1");
        self.pointer = format!("/{level}{}", self.pointer);
        self
    }

    fn about(mut self, tree: &Tree) -> Fault {
        self.got.get_or_insert_with(|| tree.to_string());
        self
    }
}

impl From<Fault> for Flaw {
    fn from(fault: Fault) -> Flaw {
        let got = fault.got.unwrap_or_else(|| "something else".to_owned());
        let detail = format!("expected {}, got {got}", fault.expected);
        Flaw::new(fault.reason, fault.pointer, detail)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.pointer, self.expected)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(expected: T) -> Fault {
        Fault::new(RejectionReason::TypeMismatch, excerpt(&expected.to_string()), None)
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        Fault::new(RejectionReason::TypeMismatch, expected, None)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        Fault::new(RejectionReason::OutOfRange, expected, None)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Fault {
        Fault::new(RejectionReason::TypeMismatch, expected, Some(format!("{length} of them")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Fault {
        let expected = format!("only the fields {}", expected.join(", "));
        Fault::new(RejectionReason::TypeMismatch, expected, Some(quoted(field))).under(field)
    }

    fn duplicate_field(field: &'static str) -> Fault {
        Fault::new(RejectionReason::TypeMismatch, "the field once", Some("it again".to_owned())).under(field)
    }
}

/// One place in a tree, or the place of a field that is not there.
#[derive(Clone, Copy)]
pub(super) struct Reader<'de> {
    tree: Option<&'de Tree>,
    knowledge: &'de Knowledge,
    optional: bool,
}

impl<'de> Reader<'de> {
    pub(super) fn new(tree: &'de Tree, knowledge: &'de Knowledge) -> Reader<'de> {
        Reader { tree: Some(tree), knowledge, optional: false }
    }

    fn at(self, tree: Option<&'de Tree>) -> Reader<'de> {
        Reader { tree, optional: false, ..self }
    }

    fn wrong(self, expected: impl fmt::Display) -> Fault {
        let expected = format!("{expected}{}", if self.optional { " or null" } else { "" });
        match self.tree {
            Some(tree) => Fault::new(RejectionReason::TypeMismatch, expected, None).about(tree),
            None => Fault::new(RejectionReason::MissingField, expected, Some("nothing".to_owned())),
        }
    }

    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree {
            Some(Tree::Number(_)) => self.deserialize_any(visitor),
            _ => Err(self.wrong("a number")),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Some(tree) = self.tree else { return Err(self.wrong(&visitor as &dyn Expected)) };
        let read = match tree {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(*value),
            Tree::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (None, Some(value), _) => visitor.visit_i64(value),
                (None, None, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Tree::Text(text) => visitor.visit_str(text),
            Tree::List(items) => {
                visitor.visit_seq(Items { items: items.iter().enumerate(), reader: self, index: 0 })
            }
            Tree::Object(fields) => visitor.visit_map(Fields::all(fields, self)),
        };
        read.map_err(|fault| fault.about(tree))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree {
            Some(Tree::Bool(_)) => self.deserialize_any(visitor),
            _ => Err(self.wrong(if self.optional { "true, false" } else { "true or false" })),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree {
            Some(Tree::Text(_)) => self.deserialize_any(visitor),
            _ => Err(self.wrong("a text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree {
            None | Some(Tree::Null) => visitor.visit_none(),
            Some(_) => visitor.visit_some(Reader { optional: true, ..self }),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tree {
            Some(Tree::List(_)) => self.deserialize_any(visitor),
            _ => Err(self.wrong("a list")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.tree {
            Some(Tree::Object(fields)) => visitor.visit_map(Fields::of(fields, names, self)),
            _ => Err(self.wrong("an object")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let wrong = || self.wrong(format!("an object with one of the fields {}", names.join(", ")));
        let Some(Tree::Object(fields)) = self.tree else { return Err(wrong()) };
        let (known, unknown): (Vec<_>, Vec<_>) =
            fields.iter().partition(|(name, _)| names.contains(&name.as_str()));
        if let Some((name, _)) = unknown.first() {
            if self.knowledge.exact {
                return Err(Fault::unknown_field(name, names));
            }
            self.knowledge.passed_over.set(true);
        }
        let [(name, value)] = known[..] else { return Err(wrong()) };
        visitor.visit_enum(Variant { name, reader: self.at(Some(value)) })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct map
        identifier ignored_any
    }
}

struct Items<'de, I> {
    items: I,
    reader: Reader<'de>,
    index: usize,
}

impl<'de, I: Iterator<Item = (usize, &'de Tree)>> de::SeqAccess<'de> for Items<'de, I> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        self.index = index;
        seed.deserialize(self.reader.at(Some(item))).map(Some).map_err(|fault| fault.under(index))
    }
}

/// The fields of an object, and then those that ought to be there and are not.
struct Fields<'de> {
    fields: std::slice::Iter<'de, (String, Tree)>,
    /// All that are known, if not all are welcome.
    names: Option<&'static [&'static str]>,
    missing: Vec<&'static str>,
    current: Option<(&'de str, Option<&'de Tree>)>,
    reader: Reader<'de>,
}

impl<'de> Fields<'de> {
    fn all(fields: &'de [(String, Tree)], reader: Reader<'de>) -> Fields<'de> {
        Fields { fields: fields.iter(), names: None, missing: Vec::new(), current: None, reader }
    }

    fn of(fields: &'de [(String, Tree)], names: &'static [&'static str], reader: Reader<'de>) -> Fields<'de> {
        let there = |name: &str| fields.iter().any(|(field, _)| field == name);
        let missing = names.iter().copied().filter(|name| !there(name)).rev().collect();
        Fields { fields: fields.iter(), names: Some(names), missing, current: None, reader }
    }

    fn advance(&mut self) -> Option<(&'de str, Option<&'de Tree>)> {
        for (name, value) in self.fields.by_ref() {
            let known = self.names.is_none_or(|names| names.contains(&name.as_str()));
            if known || self.reader.knowledge.exact {
                return Some((name, Some(value)));
            }
            self.reader.knowledge.passed_over.set(true);
        }
        self.missing.pop().map(|name| (name, None))
    }
}

impl<'de> de::MapAccess<'de> for Fields<'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.current = self.advance();
        match self.current {
            Some((name, _)) => seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (name, value) = self.current.take().ok_or_else(|| Fault::custom("a name before its value"))?;
        seed.deserialize(self.reader.at(value)).map_err(|fault| {
            match value {
                Some(tree) => fault.about(tree),
                None => fault,
            }
            .under(name)
        })
    }
}

struct Variant<'de> {
    name: &'de str,
    reader: Reader<'de>,
}

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = Fault;
    type Variant = Variant<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Variant<'de>), Fault> {
        Ok((seed.deserialize(de::value::BorrowedStrDeserializer::new(self.name))?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(self.reader.wrong("no value"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self.reader).map_err(|fault| fault.under(self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.reader.deserialize_seq(visitor).map_err(|fault| fault.under(self.name))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.reader.deserialize_struct("", names, visitor).map_err(|fault| fault.under(self.name))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Tree, D::Error> {
        json.deserialize_any(Grow)
    }
}

struct Grow;

impl<'de> Visitor<'de> for Grow {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value);
        number.map(Tree::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut object: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = object.next_entry()? {
            fields.push(field);
        }
        Ok(Tree::Object(fields))
    }
}

/// Lists and objects only by what they are: they may be large.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tree::Null => f.write_str("null"),
            Tree::Bool(value) => write!(f, "{value}"),
            Tree::Number(number) => write!(f, "{number}"),
            Tree::Text(text) => f.write_str(&quoted(text)),
            Tree::List(_) => f.write_str("a list"),
            Tree::Object(_) => f.write_str("an object"),
        }
    }
}

/// The beginning of a text, so that what is kept of it is not larger than what came.
fn quoted(text: &str) -> String {
    excerpt(&format!("{:?}", excerpt(text)))
}

pub(super) fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(Probe) {
        Err(Names(names)) => names,
        Ok(_) => &[],
    }
}

/// Asks a type for nothing but the names of its fields.
struct Probe;

#[derive(Debug)]
struct Names(&'static [&'static str]);

impl<'de> Deserializer<'de> for Probe {
    type Error = Names;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Names> {
        Err(Names(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Names> {
        Err(Names(names))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only its names were asked for")
    }
}

impl std::error::Error for Names {}

impl de::Error for Names {
    fn custom<T: fmt::Display>(_: T) -> Names {
        Names(&[])
    }
}
