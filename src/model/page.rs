//! Some of many.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

use super::{Seq, Timestamp};

/// Which part of what grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Part {
    /// Where to go on; without it, from the newest back.
    pub cursor: Option<Cursor>,
    /// Only what happened at this moment or later. With either moment the order is that of time.
    pub from: Option<Timestamp>,
    /// Only what happened before this moment.
    pub to: Option<Timestamp>,
    pub limit: u32,
}

impl Part {
    /// The whole time, on from a cursor.
    pub fn of(cursor: Option<Cursor>, limit: u32) -> Part {
        Part { cursor, from: None, to: None, limit }
    }

    /// Only what happened from one moment on, and before the other.
    pub fn between(self, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Part, String> {
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(format!("from: {from} is later than to: {to}"));
        }
        Ok(Part { from, to, ..self })
    }
}

/// Some of many. `next` is the `after` of the following page, and absent when there is nothing more yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name()));
        let next = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("The `after` of the following page. Null when there is nothing more yet."));
        let page = ObjectBuilder::new()
            .description(Some("Some of many."))
            .property("items", items)
            .property("next", next)
            .required("items")
            .required("next");
        page.into()
    }
}

/// Named by what is on it: a page of `Reading` is a `ReadingPage`.
impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// Where a page goes on: after a seq towards what is newer, or before one towards what is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cursor {
    After(Seq),
    Before(Seq),
}

impl Cursor {
    pub fn seq(self) -> Seq {
        match self {
            Cursor::After(seq) | Cursor::Before(seq) => seq,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cursor::After(seq) => write!(f, "{seq}"),
            Cursor::Before(seq) => write!(f, "before-{seq}"),
        }
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Cursor, String> {
        let (cursor, seq): (fn(Seq) -> Cursor, _) = match text.strip_prefix("before-") {
            Some(seq) => (Cursor::Before, seq),
            None => (Cursor::After, text),
        };
        match seq.parse() {
            Ok(seq) if seq >= 0 => Ok(cursor(Seq(seq))),
            _ => Err(format!("{text:?} is neither a seq nor the next of a page")),
        }
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cursor, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
