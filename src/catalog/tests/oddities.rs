//! Where the document is not as one expects.

use super::{found, json, read, rows, topic};
use crate::{
    catalog::{Class, Count, MathValue, Payload, Position, resolve},
    json::Fit,
    model::RejectionReason::{MissingField, OutOfRange, TypeMismatch},
};

fn reason(kind: &str, suffix: &str, payload: &str) -> (crate::model::RejectionReason, String) {
    let flaw = topic(kind, suffix).read(payload.as_bytes()).unwrap_err();
    (flaw.reason, flaw.pointer)
}

#[test]
fn a_flowmeter_says_units() {
    assert!(matches!(
        read("flowmeter", "/data", r#"{"value":1,"units":"L/min"}"#),
        Payload::FlowMeterData(_)
    ));
    let said = reason("flowmeter", "/data", r#"{"value":1,"unit":"L/min"}"#);
    assert_eq!(said, (MissingField, "/units".to_owned()));
    assert_eq!(reason("loadcell", "", r#"{"value":1,"units":"g"}"#), (MissingField, "/unit".to_owned()));
}

#[test]
fn an_mpu6050_takes_numbers_and_answers_texts() {
    let Payload::MpuConfig(sent) = read("mpu6050", "/config", r#"{"accel":2,"gyro":1}"#) else { panic!() };
    assert_eq!((sent.accel, sent.gyro), (Count(2), Count(1)));
    assert_eq!(reason("mpu6050", "/config", r#"{"accel":"2g","gyro":1}"#).0, TypeMismatch);
    assert_eq!(reason("mpu6050", "/response", r#"{"accel":2,"gyro":1}"#).0, TypeMismatch);
}

#[test]
fn a_bme280_answers_with_a_reading() {
    let response = topic("bme280", "/response");
    assert_eq!((response.shape.name)(), (topic("bme280", "/data").shape.name)());
    assert!(response.check(topic("bme280", "/config").examples[0].as_bytes()).is_err());
}

#[test]
fn the_state_of_a_power_channel_is_any_text() {
    for state in ["Running", "Disabled { rt: None }", "", "Fault(OverCurrent)"] {
        let mut channel = json(topic("pds", "/ch0").examples[0]);
        channel["state"] = state.into();
        let Payload::PowerChannelResponse(channel) = read("pds", "/ch7", &channel.to_string()) else {
            panic!()
        };
        assert_eq!(channel.state, state);
    }
    let rail = r#"{"state":"Disabled { rt: None }","current":0,"voltage":0,"enabled":false}"#;
    assert!(matches!(read("pds", "/vcc2i", rail), Payload::PowerRailResponse(_)));
}

#[test]
fn the_fault_of_a_stateful_actuator_is_an_event() {
    let fault = topic("stateful_actuator", "/fault");
    assert_eq!((fault.class, fault.effect), (Class::Event, None));
    assert!(super::find("stateful_actuator").unwrap().commands().all(|topic| topic.suffix != "/fault"));
}

#[test]
fn a_channel_of_an_expression_is_read_as_told() {
    let channel = found("math", "/ch12").unwrap();
    assert_eq!((channel.topic.class, channel.index), (Class::Feed, Some(12)));
    assert!(channel.topic.is_said());
    for (payload, value) in [
        (r#"{"data":1.0}"#, MathValue::Number(1.0)),
        (r#"{"data":-3}"#, MathValue::Number(-3.0)),
        (r#"{"data":true}"#, MathValue::Bool(true)),
    ] {
        let Payload::MathResult(result) = read("math", "/ch0", payload) else { panic!() };
        assert_eq!(result.data, value);
    }
    assert_eq!(reason("math", "/ch0", r#"{"data":"1.0"}"#), (TypeMismatch, "/data".to_owned()));
}

#[test]
fn a_row_of_a_picture_has_24_or_32_pixels() {
    for pixels in 0..=64 {
        let payload = serde_json::to_string(&vec![23.5; pixels]).unwrap();
        let read = topic("ir_cam", "/35").read_exactly(payload.as_bytes());
        assert_eq!(read.is_ok(), [24, 32].contains(&pixels), "{pixels}");
        match read {
            Ok(read) => assert_eq!(read.row().unwrap().len(), pixels),
            Err(flaw) => {
                assert_eq!((flaw.reason, flaw.pointer.as_str()), (TypeMismatch, ""));
                assert_eq!(flaw.detail, format!("expected a list of 24 or 32 numbers, got {pixels} of them"));
            }
        }
    }
}

#[test]
fn the_percent_of_a_stepper_goes_to_100_and_a_duty_to_1() {
    let status = |percent: &str| format!(r#"{{"percent":{percent},"steps":1,"position":-7}}"#);
    for percent in ["0", "42", "99.5", "100"] {
        let Payload::StepperStatus(read) = read("stepper", "/status", &status(percent)) else { panic!() };
        assert_eq!(read.position, Position(-7));
    }
    for percent in ["100.1", "-1"] {
        let said = reason("stepper", "/status", &status(percent));
        assert_eq!(said, (OutOfRange, "/percent".to_owned()), "{percent}");
    }
    let duty = |duty: &str| format!(r#"{{"enable":true,"duty":{duty},"frequency":50}}"#);
    assert!(topic("pwm", "/config").check(duty("1").as_bytes()).is_ok());
    assert_eq!(reason("pwm", "/config", &duty("42")), (OutOfRange, "/duty".to_owned()));
}

#[test]
fn some_payloads_are_bare() {
    for (kind, suffix) in [("loadcell", "/tare"), ("math", "/pause")] {
        for payload in ["true", "false", " true\n"] {
            assert_eq!(topic(kind, suffix).check(payload.as_bytes()), Ok(Fit::Exact));
        }
        for payload in ["1", "\"true\"", "null", "[true]", r#"{"data":true}"#] {
            assert_eq!(reason(kind, suffix, payload), (TypeMismatch, String::new()), "{payload}");
        }
    }
    assert!(read("ir_cam", "/0", topic("ir_cam", "/0").examples[0]).row().is_some());
}

#[test]
fn some_kinds_speak_on_the_service_itself() {
    let kinds: Vec<_> = resolve("").map(|found| found.kind.name).collect();
    assert_eq!(kinds, ["aht20", "analog_in", "command", "loadcell", "qmc5883l"]);
}

#[test]
fn an_error_and_a_success_that_is_a_configuration_may_be_null_or_left_out() {
    let mut count = 0;
    for (kind, topic) in rows() {
        for name in (topic.shape.fields)().iter().filter(|name| ["error", "success"].contains(name)) {
            let mut payload = json(topic.examples[0]);
            let boolean = payload[*name].is_boolean();
            for change in [Some(serde_json::Value::Null), None] {
                let fields = payload.as_object_mut().unwrap();
                match change {
                    Some(null) => drop(fields.insert((*name).to_owned(), null)),
                    None => drop(fields.remove(*name)),
                }
                let fits = topic.check(payload.to_string().as_bytes()) == Ok(Fit::Exact);
                assert_eq!(fits, !boolean, "{}{}: {payload}", kind.name, topic.suffix);
                count += usize::from(fits);
            }
        }
    }
    assert_eq!(count, 2 * 9);
}
