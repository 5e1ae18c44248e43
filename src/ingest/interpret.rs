//! What a message means. Pure: it knows the message and the names of the pair, nothing else.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{
    address::{Address, Form, NAME, Place},
    broker::Inbound,
    model::{
        Action, CommandRecord, CommandState, Delivery, Pair, PresencePayload, Reading, Rejection,
        RejectionReason, SensorPayload, Seq, Surface,
    },
};

/// What a message means.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    Reading(Reading),
    /// A device says that it is there.
    Online {
        device: String,
    },
    /// Somebody says that a device is gone.
    Offline {
        device: String,
    },
    /// Another MQTT client sent a command.
    Command(CommandRecord),
    /// Nothing to record: it is not the gateway's business, or a will that its session's end tells already.
    Nothing,
}

/// A meaning, and whether the topic was spelt as devices in the field do.
#[derive(Clone, Debug, PartialEq)]
pub struct Interpreted {
    pub meaning: Meaning,
    pub alias: bool,
}

/// What `inbound` means, or why it means nothing.
pub fn interpret(pair: &Pair, inbound: &Inbound) -> Result<Interpreted, Box<Rejection>> {
    if let Some(reason) = inbound.refused {
        return Err(reject(inbound, reason, "", refused(reason, inbound)));
    }
    let (address, alias) = match Place::of(&inbound.topic, pair) {
        Place::Known { address, alias } => (address, alias),
        Place::Unknown(form) => {
            return Err(reject(inbound, RejectionReason::UnknownTopic, "", unknown(form, &inbound.topic)));
        }
        Place::Foreign => return Ok(Interpreted { meaning: Meaning::Nothing, alias: false }),
    };
    let meaning = match address {
        Address::Sensor { device } => sensor(device, inbound).map(Meaning::Reading),
        Address::Presence { device } => presence(device, inbound),
        Address::Play { device } => command(device, inbound).map(Meaning::Command),
    };
    match meaning {
        Ok(meaning) => Ok(Interpreted { meaning, alias }),
        Err(flaw) => Err(reject(inbound, flaw.reason, &flaw.pointer, flaw.detail)),
    }
}

/// What is wrong with a payload, and where.
struct Flaw {
    reason: RejectionReason,
    pointer: String,
    detail: String,
}

impl Flaw {
    fn new(reason: RejectionReason, pointer: &str, detail: String) -> Flaw {
        Flaw { reason, pointer: pointer.to_owned(), detail }
    }
}

/// Keeps a message byte for byte, with the reason why it could not be understood.
pub(super) fn reject(
    inbound: &Inbound,
    reason: RejectionReason,
    pointer: &str,
    detail: String,
) -> Box<Rejection> {
    Box::new(Rejection {
        seq: Seq::ZERO,
        at: inbound.at,
        topic: inbound.topic.clone(),
        payload: own(&inbound.payload),
        qos: inbound.qos.as_u8(),
        retain: inbound.retain,
        client_id: inbound.client_id.to_string(),
        reason,
        pointer: pointer.to_owned(),
        detail,
    })
}

/// A copy: what is kept must not keep the whole buffer that it was read into.
fn own(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(payload)
}

fn sensor(device: String, inbound: &Inbound) -> Result<Reading, Flaw> {
    let parsed: SensorPayload =
        serde_json::from_slice(&inbound.payload).map_err(|why| diagnose(&inbound.payload, &why))?;
    // A list of the right values would be taken for the fields in their order.
    if inbound.payload.trim_ascii_start().first() != Some(&b'{') {
        let detail = "expected an object, got a list".to_owned();
        return Err(Flaw::new(RejectionReason::TypeMismatch, "", detail));
    }
    // Fields that are not known were skipped, and will be told to others all the same.
    serde_json::from_slice::<Sound>(&inbound.payload).map_err(|why| diagnose(&inbound.payload, &why))?;
    Ok(parsed.typed(Seq::ZERO, inbound.at, device, own(&inbound.payload)))
}

/// JSON that everyone can read: all its texts are UTF-8, all its numbers finite.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Sound, D::Error> {
        json.deserialize_any(Sound)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Sound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_str<E>(self, _: &str) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sound, A::Error> {
        while list.next_element::<Sound>()?.is_some() {}
        Ok(Sound)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Sound, A::Error> {
        while object.next_entry::<Sound, Sound>()?.is_some() {}
        Ok(Sound)
    }
}

fn presence(device: String, inbound: &Inbound) -> Result<Meaning, Flaw> {
    let text = text(&inbound.payload)?;
    if inbound.will || (inbound.retain && inbound.payload.is_empty()) {
        return Ok(Meaning::Nothing);
    }
    match PresencePayload::of_payload(text) {
        Some(PresencePayload::Online) => Ok(Meaning::Online { device }),
        Some(PresencePayload::Offline) => Ok(Meaning::Offline { device }),
        None => {
            let detail = format!("expected online or offline, got {}", excerpt(&format!("{text:?}")));
            Err(Flaw::new(RejectionReason::TypeMismatch, "", detail))
        }
    }
}

fn command(device: String, inbound: &Inbound) -> Result<CommandRecord, Flaw> {
    let payload = text(&inbound.payload)?;
    Ok(CommandRecord {
        id: Seq::ZERO,
        seq: Seq::ZERO,
        accepted_at: inbound.at,
        at: inbound.at,
        device,
        action: Action::of_payload(payload),
        topic: inbound.topic.clone(),
        payload: payload.to_owned(),
        state: CommandState::Unconfirmable,
        delivery: Some(if inbound.receivers == 0 { Delivery::NoSubscriber } else { Delivery::Sent }),
        surface: Surface::Mqtt,
        client_id: Some(inbound.client_id.to_string()),
        address: None,
        idempotency_key: None,
    })
}

fn text(payload: &[u8]) -> Result<&str, Flaw> {
    std::str::from_utf8(payload).map_err(|why| {
        let detail = format!("expected UTF-8 text, got other bytes from byte {} on", why.valid_up_to());
        Flaw::new(RejectionReason::NotUtf8, "", detail)
    })
}

fn unknown(form: Form, topic: &str) -> String {
    format!("expected {form}, where a device is {NAME}, got {}", excerpt(topic))
}

fn refused(reason: RejectionReason, inbound: &Inbound) -> String {
    match reason {
        RejectionReason::RetainedCommand => {
            "expected a command that is not retained: a retained one would be repeated to every device that connects".into()
        }
        RejectionReason::TooLarge => format!(
            "expected at most {} bytes, got {}",
            crate::broker::front::MAX_PAYLOAD,
            inbound.payload.len()
        ),
        _ => "it was refused".into(),
    }
}

/// The fields of a sensor's payload, and what each must be.
const SENSOR_FIELDS: [(&str, Expected); 5] = [
    ("temperature", Expected::Number),
    ("humidity", Expected::Number),
    ("threshold", Expected::Number),
    ("over_threshold", Expected::OptionalBool),
    ("unit", Expected::OptionalString),
];

#[derive(Clone, Copy)]
enum Expected {
    Number,
    OptionalBool,
    OptionalString,
}

impl Expected {
    fn name(self) -> &'static str {
        match self {
            Expected::Number => "a number",
            Expected::OptionalBool => "true, false or null",
            Expected::OptionalString => "a text or null",
        }
    }

    fn accepts(self, value: Option<&Value>) -> bool {
        matches!(
            (self, value),
            (Expected::Number, Some(Value::Number(_)))
                | (Expected::OptionalBool, None | Some(Value::Null | Value::Bool(_)))
                | (Expected::OptionalString, None | Some(Value::Null | Value::String(_)))
        )
    }
}

/// Why a payload is no reading. It has failed already, so that there is time to look closely.
fn diagnose(payload: &[u8], why: &serde_json::Error) -> Flaw {
    if let Err(flaw) = text(payload) {
        return flaw;
    }
    let value: Value = match serde_json::from_slice(payload) {
        Ok(value) => value,
        Err(why) => return not_json(payload, &why),
    };
    let Value::Object(fields) = &value else {
        let detail = format!("expected an object, got {}", kind_of(&value));
        return Flaw::new(RejectionReason::TypeMismatch, "", detail);
    };
    for (name, expected) in SENSOR_FIELDS {
        let field = fields.get(name);
        if expected.accepts(field) {
            continue;
        }
        let pointer = format!("/{name}");
        return match field {
            None => {
                let detail = format!("expected {}, got nothing", expected.name());
                Flaw::new(RejectionReason::MissingField, &pointer, detail)
            }
            Some(field) => {
                let detail = format!("expected {}, got {}", expected.name(), excerpt(&field.to_string()));
                Flaw::new(RejectionReason::TypeMismatch, &pointer, detail)
            }
        };
    }
    // Each field is as it should be, so that one of them must be there twice.
    Flaw::new(RejectionReason::TypeMismatch, "", format!("expected each field once: {why}"))
}

fn not_json(payload: &[u8], why: &serde_json::Error) -> Flaw {
    let detail = format!("expected JSON: {why}");
    let non_finite = why.to_string().starts_with("number out of range") || names_non_finite(payload, why);
    let reason = if non_finite { RejectionReason::NonFinite } else { RejectionReason::NotJson };
    Flaw::new(reason, "", detail)
}

/// Whether parsing stopped at `NaN` or `Infinity`, which some firmwares print as numbers.
fn names_non_finite(payload: &[u8], why: &serde_json::Error) -> bool {
    let Some(line) = payload.split(|byte| *byte == b'\n').nth(why.line().saturating_sub(1)) else {
        return false;
    };
    let stop = why.column().saturating_sub(1).min(line.len());
    let start =
        line[..stop].iter().rposition(|byte| matches!(byte, b':' | b',' | b'[')).map_or(0, |at| at + 1);
    let word =
        String::from_utf8_lossy(&line[start..]).trim_start().trim_start_matches('-').to_ascii_lowercase();
    word.starts_with("nan") || word.starts_with("inf")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Enough of what came to recognize it.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::QoS,
        model::{SessionId, Timestamp},
    };
    use proptest::prelude::*;

    fn inbound(topic: &str, payload: &[u8]) -> Inbound {
        Inbound {
            session: SessionId(1),
            client_id: "c".into(),
            topic: topic.into(),
            payload: Bytes::copy_from_slice(payload),
            qos: QoS::AtMostOnce,
            retain: false,
            at: Timestamp(1),
            will: false,
            refused: None,
            receivers: 0,
            kept: false,
            ack: None,
            room: 0,
        }
    }

    fn pair() -> Pair {
        Pair("raspberry".into(), "esp32".into())
    }

    fn rejection(topic: &str, payload: &[u8]) -> (RejectionReason, String) {
        let rejection = interpret(&pair(), &inbound(topic, payload)).expect_err("a rejection");
        (rejection.reason, rejection.to_string())
    }

    #[test]
    fn a_reading_keeps_its_exact_payload() {
        let payload = br#"{"temperature":29,"humidity":40.5,"threshold":29.0,"extra":[1]}"#;
        let interpreted = interpret(&pair(), &inbound("sensors/rasperry", payload)).expect("a reading");
        let Meaning::Reading(reading) = interpreted.meaning else { panic!("not a reading") };
        assert!(interpreted.alias);
        assert_eq!((reading.device.as_str(), &reading.payload[..]), ("raspberry", &payload[..]));
        assert!(reading.over_threshold, "the threshold is inclusive");
    }

    #[test]
    fn a_flaw_is_named_with_its_place() {
        use RejectionReason as R;
        for (payload, reason, message) in [
            (
                &br#"{"temperature":"22.8","humidity":1,"threshold":1}"#[..],
                R::TypeMismatch,
                r#"/temperature: expected a number, got "22.8""#,
            ),
            (
                br#"{"temperature":1,"threshold":1}"#,
                R::MissingField,
                "/humidity: expected a number, got nothing",
            ),
            (
                br#"{"temperature":1,"humidity":1,"threshold":null}"#,
                R::TypeMismatch,
                "/threshold: expected a number, got null",
            ),
            (
                br#"{"temperature":1,"humidity":1,"threshold":1,"over_threshold":1}"#,
                R::TypeMismatch,
                "/over_threshold: expected true, false or null, got 1",
            ),
            (b"[]", R::TypeMismatch, "expected an object, got a list"),
            (b" [31.5,40,29,null,null]", R::TypeMismatch, "expected an object, got a list"),
            (b"\xff", R::NotUtf8, "expected UTF-8 text, got other bytes from byte 0 on"),
        ] {
            assert_eq!(rejection("sensors/a", payload), (reason, message.to_owned()));
        }
        for payload in [
            &br#"{"temperature":NaN,"humidity":1,"threshold":1}"#[..],
            br#"{"humidity":1e999}"#,
            br#"{"t": -Infinity}"#,
        ] {
            assert_eq!(
                rejection("sensors/a", payload).0,
                R::NonFinite,
                "{}",
                String::from_utf8_lossy(payload)
            );
        }
        for payload in [&b""[..], b"{", b"nonsense", br#"{"temperature":1"#] {
            assert_eq!(rejection("sensors/a", payload).0, R::NotJson, "{}", String::from_utf8_lossy(payload));
        }
        for (extra, reason) in [
            (&b"\"\xff\""[..], R::NotUtf8),
            (b"1e999", R::NonFinite),
            (br#""\ud800""#, R::NotJson),
            (&b"[".repeat(200), R::NotJson),
        ] {
            let known = br#"{"temperature":1,"humidity":1,"threshold":1,"extra":"#;
            let close: &[u8] = if extra.starts_with(b"[") { &b"]".repeat(200) } else { b"" };
            assert_eq!(rejection("sensors/a", &[known, extra, close, b"}"].concat()).0, reason);
        }
        assert_eq!(rejection("sensors/a/b", b"{}").0, R::UnknownTopic);
        assert_eq!(rejection("presence/a/status", b"maybe").0, R::TypeMismatch);
        assert_eq!(rejection("commands/a/play", b"\xff\xfe").0, R::NotUtf8);
    }

    #[test]
    fn presence_is_read_whatever_its_case() {
        for payload in [&b"online"[..], b"ONLINE", b" Online\n"] {
            let interpreted = interpret(&pair(), &inbound("presence/a/status", payload)).expect("presence");
            assert_eq!(interpreted.meaning, Meaning::Online { device: "a".into() });
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(topic in "(sensors|presence|commands)/[a/]{0,3}(status|play)?", payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = interpret(&pair(), &inbound(&topic, &payload));
        }

        #[test]
        fn nothing_that_looks_like_json_panics(payload in r#"[{\[\]}:,"0-9a-zA-Z .\n-]{0,60}"#) {
            let _ = interpret(&pair(), &inbound("sensors/a", payload.as_bytes()));
        }
    }
}
