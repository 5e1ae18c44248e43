//! A number has the same bounds in GraphQL as in JSON.

use std::fmt::Debug;

use async_graphql::{ScalarType, Value};
use serde::de::DeserializeOwned;

use crate::catalog::{Count, MathValue, Percent, Position, Ratio};

/// Numbers on both sides of each bound, and what is none.
const SAID: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.0",
    "-0.0",
    "1.0",
    "3.0",
    "0.5",
    "1.5",
    "-0.5",
    "42",
    "100",
    "100.0",
    "100.5",
    "101",
    "9007199254740991",
    "9007199254740992",
    "-9007199254740991",
    "-9007199254740992",
    "9223372036854775807",
    "18446744073709551615",
    "1e15",
    "1e300",
    "-1e300",
    "true",
    "false",
    "null",
    "\"1\"",
    "[1]",
    "{}",
];

/// How many of [`SAID`] are one.
fn accepted<T: ScalarType + DeserializeOwned + Debug + PartialEq>() -> usize {
    let mut accepted = 0;
    for said in SAID {
        let json = super::json(said);
        let read = serde_json::from_value::<T>(json.clone()).ok();
        assert_eq!(T::parse(Value::from_json(json).unwrap()).ok(), read, "{said}");
        accepted += usize::from(read.is_some());
        if let Some(read) = read {
            let told = read.to_value().into_json().unwrap();
            assert_eq!(serde_json::from_value::<T>(told).unwrap(), read, "{said}");
        }
    }
    accepted
}

#[test]
fn graphql_takes_what_json_takes() {
    assert_eq!(accepted::<Ratio>(), 6);
    assert_eq!(accepted::<Percent>(), 11);
    assert_eq!(accepted::<Count>(), 12);
    assert_eq!(accepted::<Position>(), 14);
    assert_eq!(accepted::<MathValue>(), 26);
}
