//! What is known of a payload's type, and how a row of the table is written down.

use std::{any::TypeId, borrow::Cow, collections::BTreeMap, fmt, ops::Range};

use serde::de::DeserializeOwned;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr, Schema,
        schema::{AdditionalProperties, AnyOfBuilder},
    },
};

use super::{Answer, Class, Effect, KINDS, Number, Payload, Topic};
use crate::json::{self, Fit, Flaw, Parsed};

/// A payload type, as the surfaces need to know it.
#[derive(Clone, Copy)]
pub struct Shape {
    of: TypeId,
    /// Its name in Rust, GraphQL and JSON schema.
    pub name: fn() -> Cow<'static, str>,
    /// The names of its fields; none for what is no object.
    pub fields: fn() -> &'static [&'static str],
    pub(super) check: fn(&[u8]) -> Result<Fit, Flaw>,
    pub(super) read: fn(&[u8]) -> Result<Payload, Flaw>,
    pub(super) read_exactly: fn(&[u8]) -> Result<Payload, Flaw>,
    pub(super) fit: fn(&Parsed) -> Result<Fit, Flaw>,
    pub(super) fit_exactly: fn(&Parsed) -> Result<(), Flaw>,
    schema: fn() -> RefOr<Schema>,
    /// Pushes the schemas that `schema` refers to.
    references: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Shape {
    /// `LISTS`: lists are a part of the type, and its JSON begins with the byte `OPENING`.
    const fn of<T, const LISTS: bool, const OPENING: u8>() -> Shape
    where
        T: DeserializeOwned + ToSchema + Into<Payload> + 'static,
    {
        Shape {
            of: TypeId::of::<T>(),
            name: T::name,
            fields: json::fields::<T>,
            check: |payload| read::<T, LISTS, OPENING>(payload).map(|(_, fit)| fit),
            read: |payload| read::<T, LISTS, OPENING>(payload).map(|(value, _)| value.into()),
            read_exactly: |payload| json::read_exactly::<T>(payload).map(Into::into),
            fit: |parsed| parsed.fit::<T>().map(|(_, fit)| fit),
            fit_exactly: |parsed| parsed.exactly::<T>().map(drop),
            schema: T::schema,
            references: T::schemas,
        }
    }
}

fn read<T: DeserializeOwned, const LISTS: bool, const OPENING: u8>(payload: &[u8]) -> Result<(T, Fit), Flaw> {
    if LISTS { json::read_with_lists(payload, OPENING) } else { json::read(payload) }
}

/// Types that have no list in them, or none that is looked into.
pub(super) const fn plain<T: DeserializeOwned + ToSchema + Into<Payload> + 'static>() -> Shape {
    Shape::of::<T, false, b' '>()
}

/// An object that has lists in it, but no object within.
pub(super) const fn with_lists<T: DeserializeOwned + ToSchema + Into<Payload> + 'static>() -> Shape {
    Shape::of::<T, true, b'{'>()
}

/// A bare list.
pub(super) const fn list<T: DeserializeOwned + ToSchema + Into<Payload> + 'static>() -> Shape {
    Shape::of::<T, true, b'['>()
}

impl Topic {
    pub(super) const fn command(
        suffix: &'static str,
        shape: Shape,
        effect: Effect,
        examples: &'static [&'static str],
    ) -> Topic {
        Topic { effect: Some(effect), ..Topic::new(suffix, Class::Command, shape, examples) }
    }

    pub(super) const fn feed(suffix: &'static str, shape: Shape, examples: &'static [&'static str]) -> Topic {
        Topic::new(suffix, Class::Feed, shape, examples)
    }

    pub(super) const fn telemetry(
        suffix: &'static str,
        shape: Shape,
        examples: &'static [&'static str],
    ) -> Topic {
        Topic::new(suffix, Class::Telemetry, shape, examples)
    }

    pub(super) const fn event(
        suffix: &'static str,
        shape: Shape,
        examples: &'static [&'static str],
    ) -> Topic {
        Topic::new(suffix, Class::Event, shape, examples)
    }

    /// How the device answers this command.
    pub(super) const fn answered(mut self, answer: Answer) -> Topic {
        self.answer = answer;
        self
    }

    /// The placeholder of the suffix runs over `index`.
    pub(super) const fn for_each(mut self, index: Range<u16>) -> Topic {
        self.index = Some(index);
        self
    }

    pub(super) const fn with(mut self, numbers: &'static [Number]) -> Topic {
        self.numbers = numbers;
        self
    }

    const fn new(
        suffix: &'static str,
        class: Class,
        shape: Shape,
        examples: &'static [&'static str],
    ) -> Topic {
        Topic {
            suffix,
            index: None,
            class,
            shape,
            examples,
            numbers: &[],
            answer: Answer::None,
            effect: None,
        }
    }
}

/// Every payload type and what they are made of, by name, as JSON schema. Types that devices send take more fields
/// than they name; those that are only sent to devices do not.
pub fn schemas() -> BTreeMap<String, RefOr<Schema>> {
    let mut all = BTreeMap::new();
    let topics = || KINDS.iter().flat_map(|kind| kind.topics);
    // What is said comes last: a type that is used both ways takes more fields.
    let (said, sent): (Vec<_>, Vec<_>) = topics().partition(|topic| topic.is_said());
    for topic in sent.into_iter().chain(said) {
        let mut found = vec![((topic.shape.name)().into_owned(), (topic.shape.schema)())];
        (topic.shape.references)(&mut found);
        if topic.is_said() {
            found.iter_mut().for_each(|(_, schema)| open(schema));
        }
        all.extend(found);
    }
    all
}

/// Takes fields that it does not name.
fn open(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(object)) = schema {
        object.additional_properties = None::<Box<AdditionalProperties<Schema>>>;
    }
}

/// One of all the payload types.
impl PartialSchema for Payload {
    fn schema() -> RefOr<Schema> {
        let names: std::collections::BTreeSet<_> =
            KINDS.iter().flat_map(|kind| kind.topics).map(|topic| (topic.shape.name)()).collect();
        let said = "What a service says or is told, as on the wire: which of these it is, `type` says.";
        // Some are alike, so that a payload may be several of them.
        names
            .into_iter()
            .fold(AnyOfBuilder::new(), |all, name| all.item(Ref::from_schema_name(name)))
            .description(Some(said))
            .into()
    }
}

impl ToSchema for Payload {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.extend(self::schemas());
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Shape) -> bool {
        self.of == other.of
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.name)())
    }
}
