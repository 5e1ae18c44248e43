//! What a message means. Pure: it knows the message, the names of the pair and the services, nothing else.

use bytes::Bytes;

use super::service::{self, Meant};
use crate::{
    address::{Address, Form, NAME, Place},
    broker::Inbound,
    catalog::Kinds,
    json::{self, Flaw, excerpt, text},
    model::{
        Action, CommandRecord, CommandState, Delivery, PresencePayload, Reading, Rejection, RejectionReason,
        SensorPayload, Seq, ServiceReading, ServiceTopic, Surface, Target,
    },
    registry::Book,
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
    /// What a service says: the kinds that it fits, and those that something in it speaks for.
    ServiceReading {
        reading: ServiceReading,
        fits: Kinds,
        hinted: Kinds,
    },
    /// Another MQTT client sent a command. The kinds that take it, when it is for a service.
    Command {
        record: Box<CommandRecord>,
        hinted: Kinds,
    },
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
pub fn interpret(book: &Book, inbound: &Inbound) -> Result<Interpreted, Box<Rejection>> {
    if let Some(reason) = inbound.refused {
        let flaw = Flaw { reason, pointer: String::new(), detail: refused(reason, inbound) };
        return Err(reject(inbound, flaw));
    }
    let (meaning, alias) = match &inbound.place {
        Place::Known { address: Address::Sensor { device }, alias } => {
            (sensor(device, inbound).map(Meaning::Reading), *alias)
        }
        Place::Known { address: Address::Presence { device }, alias } => (presence(device, inbound), *alias),
        Place::Known { address: Address::Play { device }, alias } => (play(device, inbound), *alias),
        Place::Known { address: Address::Service(topic), .. } => (service(book, topic, inbound), false),
        Place::Unknown(form) => (Err(unknown(*form, &inbound.topic)), false),
        Place::Beside(topic) => match book.get(topic.service()) {
            Some(known) => (Err(service::elsewhere(known, topic)), false),
            None => (Ok(Meaning::Nothing), false),
        },
        Place::Foreign => (Ok(Meaning::Nothing), false),
    };
    match meaning {
        Ok(meaning) => Ok(Interpreted { meaning, alias }),
        Err(flaw) => Err(reject(inbound, flaw)),
    }
}

/// Keeps a message byte for byte, with what was wrong with it.
pub(super) fn reject(inbound: &Inbound, flaw: Flaw) -> Box<Rejection> {
    Box::new(Rejection {
        seq: Seq::ZERO,
        at: inbound.at,
        topic: inbound.topic.clone(),
        payload: own(&inbound.payload),
        qos: inbound.qos.as_u8(),
        retain: inbound.retain,
        client_id: inbound.client_id.to_string(),
        reason: flaw.reason,
        pointer: flaw.pointer,
        detail: flaw.detail,
    })
}

/// A copy: what is kept must not keep the whole buffer that it was read into.
fn own(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(payload)
}

fn sensor(device: &str, inbound: &Inbound) -> Result<Reading, Flaw> {
    let (said, _) = json::read::<SensorPayload>(&inbound.payload)?;
    Ok(said.typed(Seq::ZERO, inbound.at, device.to_owned(), own(&inbound.payload)))
}

fn service(book: &Book, topic: &ServiceTopic, inbound: &Inbound) -> Result<Meaning, Flaw> {
    if inbound.retain && inbound.payload.is_empty() {
        // It takes back what was retained on the topic.
        return Ok(Meaning::Nothing);
    }
    let known = book.get(topic.service()).map(|known| &**known);
    Ok(match service::meaning(known, topic, &inbound.payload)? {
        Meant::Said { fits, hinted } => {
            let (topic, payload) = (topic.clone(), own(&inbound.payload));
            let reading = ServiceReading { seq: Seq::ZERO, at: inbound.at, topic, replay_of: None, payload };
            Meaning::ServiceReading { reading, fits, hinted }
        }
        Meant::Told { hinted, payload } => {
            Meaning::Command { record: command(Target::Service(topic.clone()), payload, inbound), hinted }
        }
    })
}

fn presence(device: &str, inbound: &Inbound) -> Result<Meaning, Flaw> {
    let text = text(&inbound.payload)?;
    if inbound.will || (inbound.retain && inbound.payload.is_empty()) {
        return Ok(Meaning::Nothing);
    }
    let device = device.to_owned();
    match PresencePayload::of_payload(text) {
        Some(PresencePayload::Online) => Ok(Meaning::Online { device }),
        Some(PresencePayload::Offline) => Ok(Meaning::Offline { device }),
        None => {
            let detail = format!("expected online or offline, got {}", excerpt(&format!("{text:?}")));
            Err(Flaw { reason: RejectionReason::TypeMismatch, pointer: String::new(), detail })
        }
    }
}

fn play(device: &str, inbound: &Inbound) -> Result<Meaning, Flaw> {
    let payload = text(&inbound.payload)?;
    let target = Target::Device { device: device.to_owned(), action: Action::of_payload(payload) };
    Ok(Meaning::Command { record: command(target, payload, inbound), hinted: Kinds::NONE })
}

fn command(target: Target, payload: &str, inbound: &Inbound) -> Box<CommandRecord> {
    Box::new(CommandRecord {
        id: Seq::ZERO,
        seq: Seq::ZERO,
        accepted_at: inbound.at,
        at: inbound.at,
        target,
        topic: inbound.topic.clone(),
        payload: payload.to_owned(),
        state: CommandState::Unconfirmable,
        delivery: Some(if inbound.receivers == 0 { Delivery::NoSubscriber } else { Delivery::Sent }),
        qos: inbound.qos.as_u8(),
        timeout_ms: None,
        answer: None,
        mismatches: Vec::new(),
        reason: None,
        ambiguous: false,
        surface: Surface::Mqtt,
        client_id: Some(inbound.client_id.to_string()),
        address: None,
        idempotency_key: None,
    })
}

fn unknown(form: Form, topic: &str) -> Flaw {
    let detail = format!("expected {form}, where a device is {NAME}, got {}", excerpt(topic));
    Flaw { reason: RejectionReason::UnknownTopic, pointer: String::new(), detail }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    use crate::{
        catalog::KINDS,
        model::{Pair, Timestamp},
    };
    use proptest::{prelude::*, sample::Index};

    fn inbound(topic: &str, payload: &[u8]) -> Inbound {
        Inbound::new(topic.to_owned(), Bytes::copy_from_slice(payload), Timestamp(1), &Pair::default())
    }

    fn rejection(topic: &str, payload: &[u8]) -> (RejectionReason, String) {
        let rejection = interpret(&Book::default(), &inbound(topic, payload)).expect_err("a rejection");
        (rejection.reason, rejection.to_string())
    }

    #[test]
    fn a_reading_keeps_its_exact_payload() {
        let payload = br#"{"temperature":29,"humidity":40.5,"threshold":29.0,"extra":[1]}"#;
        let interpreted =
            interpret(&Book::default(), &inbound("sensors/rasperry", payload)).expect("a reading");
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
            let interpreted =
                interpret(&Book::default(), &inbound("presence/a/status", payload)).expect("presence");
            assert_eq!(interpreted.meaning, Meaning::Online { device: "a".into() });
        }
    }

    fn meaning(book: &Book, topic: &str, payload: &str) -> Result<Meaning, (RejectionReason, String)> {
        let meant = interpret(book, &inbound(topic, payload.as_bytes()));
        meant.map(|it| it.meaning).map_err(|rejection| (rejection.reason, rejection.to_string()))
    }

    /// A book that knows the services as these messages leave them.
    fn book(messages: &[(&str, &str)]) -> Book {
        let mut book = Book::default();
        for (topic, payload) in messages {
            match meaning(&book, topic, payload) {
                Ok(Meaning::ServiceReading { reading, fits, hinted }) => {
                    book.observe(&reading, fits, hinted);
                }
                Ok(Meaning::Command { record, hinted }) => {
                    book.commanded(record.target.service().unwrap(), hinted, Timestamp(1));
                }
                other => panic!("{topic} {payload}: {other:?}"),
            }
        }
        book
    }

    fn fits(book: &Book, topic: &str, payload: &str) -> Vec<&'static str> {
        match meaning(book, topic, payload) {
            Ok(Meaning::ServiceReading { fits, .. }) => fits.iter().map(|kind| kind.name).collect(),
            other => panic!("{topic} {payload}: {other:?}"),
        }
    }

    #[test]
    fn a_message_fits_the_kinds_with_its_suffix_and_shape() {
        let nobody = Book::default();
        assert_eq!(fits(&nobody, "rig/a", r#"{"value":1,"unit":"V"}"#), ["analog_in", "loadcell"]);
        assert_eq!(fits(&nobody, "rig/a/response", r#"{"data":true}"#), ["digital_out", "math"]);
        assert_eq!(
            fits(&nobody, "rig/a/temperature", r#"{"temperature":1,"ambient":2,"unit":"C"}"#),
            ["thermocouple"]
        );
    }

    #[test]
    fn what_says_more_is_of_the_kind_that_says_it() {
        let nobody = Book::default();
        let said = r#"{"enable":true,"duty":0.5,"frequency":1000,"deadtime":0.1}"#;
        assert_eq!(fits(&nobody, "rig/a/response", said), ["complementary_pwm"]);
        let said = r#"{"enable":true,"duty":0.5,"frequency":1000,"rev":7}"#;
        assert_eq!(fits(&nobody, "rig/a/response", said), ["pwm"], "what is not known is passed over");
    }

    #[test]
    fn a_command_is_told_and_not_said() {
        let meant = meaning(&Book::default(), "rig/a/tare", "true");
        let Ok(Meaning::Command { record, hinted }) = meant else { panic!("{meant:?}") };
        assert_eq!(record.target.service().unwrap().suffix(), "/tare");
        assert_eq!(hinted.iter().map(|kind| kind.name).collect::<Vec<_>>(), ["loadcell"]);
        let unknown = meaning(&Book::default(), "rig/a/config", r#"{"command":true,"fast":1}"#);
        let expected =
            (RejectionReason::TypeMismatch, r#"/fast: expected only the fields command, got "fast""#);
        assert_eq!(unknown.unwrap_err(), (expected.0, expected.1.to_owned()));
    }

    #[test]
    fn a_flaw_is_that_of_the_nearest_kind() {
        let wrong =
            r#"{"kp":"x","ki":0,"kd":0,"setpoint":1,"pause_output":false,"pause_target_input":false}"#;
        let flaw = meaning(&Book::default(), "rig/a/response", wrong).unwrap_err();
        assert_eq!(flaw, (RejectionReason::TypeMismatch, r#"/kp: expected a number, got "x""#.to_owned()));
    }

    #[test]
    fn a_service_does_not_change_its_kind() {
        let book = book(&[("rig/a/response", r#"{"enable":true,"duty":0.5,"frequency":1000}"#)]);
        let pid = r#"{"kp":1,"ki":0,"kd":0,"setpoint":1,"pause_output":false,"pause_target_input":false}"#;
        let (reason, detail) = meaning(&book, "rig/a/response", pid).unwrap_err();
        assert_eq!(
            (reason, &*detail),
            (RejectionReason::KindConflict, "expected what a pwm says, got what a pid would")
        );
        let (reason, detail) = meaning(&book, "rig/a/tare", "true").unwrap_err();
        assert_eq!(
            (reason, &*detail),
            (RejectionReason::KindConflict, "expected what a pwm says, got /tare, where a loadcell would")
        );
        let (reason, detail) = meaning(&book, "rig/a/on/nothing", "1").unwrap_err();
        assert_eq!(
            (reason, &*detail),
            (
                RejectionReason::UnknownTopic,
                "expected a topic on which a pwm speaks or listens, got /on/nothing"
            )
        );
        let (reason, _) = meaning(&book, "rig/a/response", r#"{"enable":true,"duty":0.5}"#).unwrap_err();
        assert_eq!(reason, RejectionReason::MissingField, "a flaw of its own is no conflict");
    }

    #[test]
    fn of_a_pinned_service_nothing_else_is_expected() {
        let mut book = book(&[("rig/a", r#"{"value":1,"unit":"V"}"#)]);
        let analog_in = crate::catalog::find("analog_in").unwrap();
        book.pin(&"rig/a".parse().unwrap(), analog_in, false, Timestamp(1)).unwrap();
        for (topic, expected) in [
            ("rig/a/tare", "expected what an analog_in says, got /tare, where a loadcell would"),
            ("rig/a/on/nothing", "expected a topic on which an analog_in speaks or listens, got /on/nothing"),
        ] {
            assert_eq!(meaning(&book, topic, "true").unwrap_err().1, expected);
        }
    }

    #[test]
    fn what_is_beside_the_catalog_is_nothing_until_the_service_is_known() {
        assert_eq!(meaning(&Book::default(), "rig/a/on/nothing", "1"), Ok(Meaning::Nothing));
        let taken_back = Inbound { retain: true, ..inbound("rig/a/out", b"") };
        assert_eq!(interpret(&Book::default(), &taken_back).unwrap().meaning, Meaning::Nothing);
    }

    /// A service of each kind, all examples of its topics, and what is known of them when they were heard.
    fn rig() -> &'static (Book, Vec<(String, &'static str)>) {
        static RIG: OnceLock<(Book, Vec<(String, &'static str)>)> = OnceLock::new();
        RIG.get_or_init(|| {
            let (mut book, mut said) = (Book::default(), Vec::new());
            for (kind, topic) in
                KINDS.iter().flat_map(|kind| kind.topics.iter().map(move |topic| (kind, topic)))
            {
                let suffix = topic.suffix_at(topic.index.as_ref().map(|range| range.start));
                said.extend(
                    topic.examples.iter().map(|example| (format!("rig/{}{suffix}", kind.name), *example)),
                );
            }
            for (topic, example) in &said {
                let heard = interpret(&book, &inbound(topic, example.as_bytes())).expect("an example");
                if let Meaning::ServiceReading { reading, fits, hinted } = heard.meaning {
                    book.observe(&reading, fits, hinted);
                }
            }
            (book, said)
        })
    }

    proptest! {
        #[test]
        fn nothing_panics(topic in "(sensors|presence|commands|rig)/[a/]{0,3}(status|play|config|response|0|ch1)?", payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = interpret(&Book::default(), &inbound(&topic, &payload));
        }

        #[test]
        fn nothing_that_looks_like_json_panics(payload in r#"[{\[\]}:,"0-9a-zA-Z .\n-]{0,60}"#) {
            let _ = interpret(&Book::default(), &inbound("sensors/a", payload.as_bytes()));
        }

        #[test]
        fn nothing_that_a_known_service_says_almost_right_panics(which in any::<Index>(), at in any::<Index>(), bytes in prop::collection::vec(any::<u8>(), 0..3), cut in 0..3_usize) {
            let (book, said) = rig();
            let (topic, example) = which.get(said);
            let mut payload = example.as_bytes().to_vec();
            let at = at.index(payload.len() + 1);
            let end = payload.len().min(at + cut);
            payload.splice(at..end, bytes);
            if let Err(rejection) = interpret(book, &inbound(topic, &payload)) {
                prop_assert_eq!(&rejection.payload[..], &payload[..]);
            }
        }
    }
}
