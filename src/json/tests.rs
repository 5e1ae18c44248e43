use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    name: String,
    inner: Option<Inner>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    value: f64,
}

fn flaw(payload: &str) -> (RejectionReason, String, String) {
    let flaw = read::<Outer>(payload.as_bytes()).unwrap_err();
    (flaw.reason, flaw.pointer, flaw.detail)
}

fn place_of(payload: &str) -> String {
    let (reason, pointer, _) = flaw(payload);
    assert_eq!(reason, RejectionReason::NonFinite, "{payload}");
    pointer
}

#[test]
fn what_fits_is_read_and_more_is_passed_over() {
    let inner = Some(Inner { value: 1.0 });
    let (outer, fit) = read::<Outer>(br#"{"name":"a","inner":{"value":1}}"#).unwrap();
    assert_eq!((outer, fit), (Outer { name: "a".to_owned(), inner }, Fit::Exact));
    for more in [r#"{"name":"a","x":[1]}"#, r#"{"x":{"name":2},"name":"a","inner":null,"x":3}"#] {
        let (outer, fit) = read::<Outer>(more.as_bytes()).unwrap();
        assert_eq!((outer, fit), (Outer { name: "a".to_owned(), inner: None }, Fit::Loose));
        assert_eq!(read_exactly::<Outer>(more.as_bytes()).unwrap_err().pointer, "/x");
    }
}

#[test]
fn a_flaw_tells_what_was_expected_where_and_what_came() {
    for (payload, reason, said) in [
        (r#"{"name":1}"#, RejectionReason::TypeMismatch, "/name: expected a text, got 1"),
        (
            r#"{"name":"a","inner":{"value":"22.8"}}"#,
            RejectionReason::TypeMismatch,
            "/inner/value: expected a number, got \"22.8\"",
        ),
        (
            r#"{"name":"a","inner":7}"#,
            RejectionReason::TypeMismatch,
            "/inner: expected an object or null, got 7",
        ),
        (r#"{"inner":null}"#, RejectionReason::MissingField, "/name: expected a text, got nothing"),
        (r#"["a"]"#, RejectionReason::TypeMismatch, "expected an object, got a list"),
        (
            r#"{"name":"a","name":"b"}"#,
            RejectionReason::TypeMismatch,
            "/name: expected the field once, got it again",
        ),
    ] {
        let flaw = read::<Outer>(payload.as_bytes()).unwrap_err();
        assert_eq!((flaw.reason, flaw.to_string()), (reason, said.to_owned()));
    }
}

#[test]
fn the_place_of_what_is_no_number_is_found() {
    for (payload, pointer) in [
        ("NaN", ""),
        ("[NaN]", "/0"),
        ("[1, [2, {\"a\": []}, -Infinity]]", "/1/2"),
        (r#"{"a":{"b":[],"c":{"d":1},"e":nan}}"#, "/a/e"),
        (r#"{"a":"}{][,:\"","b":inf}"#, "/b"),
        (r#"{"a\"b":1,"c\\":"\\","d":[{"e":-nan}]}"#, "/d/0/e"),
        (r#"{"a/b":{"~":1e999}}"#, "/a~1b/~0"),
        (r#"{"\u0061\ud83d\ude00":1e400}"#, "/a😀"),
        ("{\n  \"a\": 1,\n\n  \"b\":\n    [\n      2,\n      NaN\n    ]\n}", "/b/1"),
        ("\r\n{\"a\":\r\n\r\n-1e999}", "/a"),
        ("{\"ä\":\"öü\",\"ß\":[\"→\",NaN]}", "/ß/1"),
    ] {
        assert_eq!(place_of(payload), pointer, "{payload}");
    }
}

#[test]
fn words_that_look_like_no_number_are_not_taken_for_one() {
    for payload in [
        r#"{"name":"Running inf"#,
        r#"{"name":"a nan"#,
        "{\"name\":\"a inf\u{1}\"}",
        r#"{"name":"a nan\q"}"#,
        "{nan:1}",
        "{\"a\":1 nan}",
        "1 nan",
        "nul",
        "",
        " ",
        "n",
    ] {
        assert_eq!(flaw(payload).0, RejectionReason::NotJson, "{payload}");
    }
    assert_eq!(flaw(r#"{"name":"a","inner":"NaN"}"#).0, RejectionReason::TypeMismatch);
}

#[test]
fn a_place_is_within_the_payload() {
    for payload in [&b""[..], b"\n\n", b"a\nb"] {
        for (line, column) in [(0, 0), (1, 0), (1, 1), (2, 9), (9, 9)] {
            assert!(place::offset(payload, line, column) <= payload.len());
        }
    }
}

#[test]
fn fields_are_known_by_name() {
    assert_eq!(fields::<Outer>(), ["name", "inner"]);
    assert!(fields::<Vec<f64>>().is_empty() && fields::<bool>().is_empty());
    assert_eq!(parse(br#"{"name":1,"x":2,"value":3}"#).unwrap().names(), ["name", "x", "value"]);
    assert!(parse(b"[1]").unwrap().names().is_empty() && parse(b"{").is_err());
}
