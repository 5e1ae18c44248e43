//! Numbers that know their bounds, at every door.

use std::{fmt, ops::RangeInclusive};

use async_graphql::{InputType, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Unexpected, Visitor},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

/// What JSON can say exactly everywhere, also in a browser.
const LARGEST: i64 = (1 << 53) - 1;

/// A share of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio(pub f64);

/// Hundredths of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percent(pub f64);

/// How many, or which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count(pub i64);

/// Where, in whole steps to either side of zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Position(pub i64);

/// What an expression results in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum MathValue {
    Bool(bool),
    Number(f64),
}

/// A number from 0.0 to 1.0.
#[Scalar(name = "Ratio")]
impl ScalarType for Ratio {
    fn parse(value: Value) -> InputValueResult<Ratio> {
        within(&value, Ratio::BOUNDS).map(Ratio)
    }

    fn is_valid(value: &Value) -> bool {
        within::<Ratio>(value, Ratio::BOUNDS).is_ok()
    }

    fn to_value(&self) -> Value {
        float(self.0)
    }
}

/// A number from 0 to 100.
#[Scalar(name = "Percent")]
impl ScalarType for Percent {
    fn parse(value: Value) -> InputValueResult<Percent> {
        within(&value, Percent::BOUNDS).map(Percent)
    }

    fn is_valid(value: &Value) -> bool {
        within::<Percent>(value, Percent::BOUNDS).is_ok()
    }

    fn to_value(&self) -> Value {
        float(self.0)
    }
}

/// An unsigned integer, which may be larger than an `Int`: up to 2^53 - 1.
#[Scalar(name = "Count")]
impl ScalarType for Count {
    fn parse(value: Value) -> InputValueResult<Count> {
        whole(&value, Count::BOUNDS).map(Count)
    }

    fn is_valid(value: &Value) -> bool {
        whole::<Count>(value, Count::BOUNDS).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

/// An integer, which may be larger than an `Int`: up to 2^53 - 1 to either side of zero.
#[Scalar(name = "Position")]
impl ScalarType for Position {
    fn parse(value: Value) -> InputValueResult<Position> {
        whole(&value, Position::BOUNDS).map(Position)
    }

    fn is_valid(value: &Value) -> bool {
        whole::<Position>(value, Position::BOUNDS).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

/// A number or a boolean, as the channel is configured.
#[Scalar(name = "MathValue")]
impl ScalarType for MathValue {
    fn parse(value: Value) -> InputValueResult<MathValue> {
        match &value {
            Value::Boolean(value) => Ok(MathValue::Bool(*value)),
            Value::Number(number) => match number.as_f64() {
                Some(number) => Ok(MathValue::Number(number)),
                None => Err(InputValueError::custom(format!("{number} is no finite number"))),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            MathValue::Bool(value) => Value::Boolean(*value),
            MathValue::Number(value) => float(*value),
        }
    }
}

impl Ratio {
    const BOUNDS: RangeInclusive<f64> = 0.0..=1.0;
}

impl Percent {
    const BOUNDS: RangeInclusive<f64> = 0.0..=100.0;
}

impl Count {
    const BOUNDS: RangeInclusive<i64> = 0..=LARGEST;
}

impl Position {
    const BOUNDS: RangeInclusive<i64> = -LARGEST..=LARGEST;
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Ratio, D::Error> {
        json.deserialize_any(Within(Ratio::BOUNDS)).map(Ratio)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Percent, D::Error> {
        json.deserialize_any(Within(Percent::BOUNDS)).map(Percent)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Count, D::Error> {
        json.deserialize_any(Whole(Count::BOUNDS)).map(Count)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Position, D::Error> {
        json.deserialize_any(Whole(Position::BOUNDS)).map(Position)
    }
}

impl<'de> Deserialize<'de> for MathValue {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<MathValue, D::Error> {
        json.deserialize_any(NumberOrBool)
    }
}

/// Reads a number between bounds.
struct Within(RangeInclusive<f64>);

impl Visitor<'_> for Within {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from {} to {}", self.0.start(), self.0.end())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        match self.0.contains(&value) {
            true => Ok(value),
            false => Err(E::invalid_value(Unexpected::Float(value), &self)),
        }
    }
}

/// Reads an integer between bounds, spelt as an integer or as a float without a fraction.
struct Whole(RangeInclusive<i64>);

impl Visitor<'_> for Whole {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.0.start() {
            0 => write!(f, "a whole number from 0 to {}", self.0.end()),
            start => write!(f, "a whole number from {start} to {}", self.0.end()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<i64, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(value), &self)),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<i64, E> {
        match self.0.contains(&value) {
            true => Ok(value),
            false => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<i64, E> {
        match integral(value) {
            Some(value) => self.visit_i64(value),
            None => Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
    }
}

struct NumberOrBool;

impl Visitor<'_> for NumberOrBool {
    type Value = MathValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<MathValue, E> {
        Ok(MathValue::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<MathValue, E> {
        Ok(MathValue::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<MathValue, E> {
        Ok(MathValue::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<MathValue, E> {
        Ok(MathValue::Number(value))
    }
}

fn within<T: InputType>(value: &Value, bounds: RangeInclusive<f64>) -> Result<f64, InputValueError<T>> {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(number) if bounds.contains(&number) => Ok(number),
            _ => Err(InputValueError::custom(format!(
                "{number} is no number from {} to {}",
                bounds.start(),
                bounds.end()
            ))),
        },
        _ => Err(InputValueError::expected_type(value.clone())),
    }
}

fn whole<T: InputType>(value: &Value, bounds: RangeInclusive<i64>) -> Result<i64, InputValueError<T>> {
    match value {
        Value::Number(number) => match number.as_i64().or_else(|| integral(number.as_f64()?)) {
            Some(number) if bounds.contains(&number) => Ok(number),
            _ => Err(InputValueError::custom(format!(
                "{number} is no whole number from {} to {}",
                bounds.start(),
                bounds.end()
            ))),
        },
        _ => Err(InputValueError::expected_type(value.clone())),
    }
}

/// A float without a fraction. What is larger than an i64 becomes its end, which is out of all bounds.
fn integral(value: f64) -> Option<i64> {
    (value.fract() == 0.0).then_some(value as i64)
}

fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

impl PartialSchema for Ratio {
    fn schema() -> RefOr<Schema> {
        bounded(Type::Number, "A share of a whole, 0.0 to 1.0.", 0.0, 1.0)
    }
}

impl PartialSchema for Percent {
    fn schema() -> RefOr<Schema> {
        bounded(Type::Number, "Hundredths of a whole, 0 to 100.", 0.0, 100.0)
    }
}

impl PartialSchema for Count {
    fn schema() -> RefOr<Schema> {
        let said =
            "How many, or which: an unsigned integer, spelt as an integer or as a float without a fraction.";
        bounded(Type::Integer, said, 0.0, LARGEST as f64)
    }
}

impl PartialSchema for Position {
    fn schema() -> RefOr<Schema> {
        let said = "Where: a signed integer, spelt as an integer or as a float without a fraction.";
        bounded(Type::Integer, said, -LARGEST as f64, LARGEST as f64)
    }
}

impl PartialSchema for MathValue {
    fn schema() -> RefOr<Schema> {
        let types = SchemaType::from_iter([Type::Number, Type::Boolean]);
        let said = "A number or a boolean, as the channel is configured.";
        ObjectBuilder::new().schema_type(types).description(Some(said)).into()
    }
}

impl ToSchema for Ratio {}
impl ToSchema for Percent {}
impl ToSchema for Count {}
impl ToSchema for Position {}
impl ToSchema for MathValue {}

fn bounded(kind: Type, said: &str, from: f64, to: f64) -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(kind).description(Some(said));
    number.minimum(Some(from)).maximum(Some(to)).into()
}
