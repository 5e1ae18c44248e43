//! What is peculiar to each way of answering, and what is no answer.

use super::*;

#[test]
fn other_words_confirm_what_they_speak_of() {
    let sent = r#"{"accel":2,"gyro":1}"#;
    let judged = |said| judged("mpu6050", "/config", sent, "/response", said);
    assert_eq!(judged(r#"{"accel":"8g","gyro":"500dps"}"#), Some(Confirmed));
    assert_eq!(judged(r#"{"accel":"whatever","gyro":""}"#), Some(Confirmed));
    assert_eq!(judged(r#"{"accel":"8g"}"#), None);
}

#[test]
fn an_outcome_that_says_neither_is_no_answer() {
    let sent = r#"{"field_range":2,"data_rate":50,"oversample":512,"declination":-13.2}"#;
    let judged = |said: &str| judged("qmc5883l", "/config", sent, "/response", said);
    for said in [r#"{"success":null,"error":null}"#, "{}", r#"{"success":false,"error":null}"#] {
        assert_eq!(judged(said), None, "{said}");
    }
    assert_eq!(judged(&format!(r#"{{"success":{sent}}}"#)), Some(Confirmed));
    assert_eq!(judged(r#"{"error":"bus"}"#), refused("bus"));
    assert_eq!(judged(&format!(r#"{{"success":{sent},"error":"bus"}}"#)), refused("bus"));
}

#[test]
fn a_state_on_the_way_confirms_if_the_device_says_that_it_obeys() {
    let judged = |sent: &str, said| {
        judged("actuator", "/command", &format!(r#"{{"command":"{sent}"}}"#), "/state", said)
    };
    let opening = r#"{"command":"OPEN","state":"OPENING","success":true}"#;
    assert_eq!(judged("OPEN", opening), Some(Confirmed));
    assert_eq!(judged("CLOSE", opening), None, "it is about another command");
    assert_eq!(judged("CLOSE", r#"{"command":"CLOSE","state":"CLOSED","success":true}"#), Some(Confirmed));
    let stuck = r#"{"command":"OPEN","state":"CLOSED","success":false}"#;
    assert_eq!(judged("OPEN", stuck), refused(stuck));
    assert_eq!(judged("CLOSE", stuck), None);
}

#[test]
fn a_state_without_a_command_speaks_of_the_last_one() {
    let judged =
        |suffix, said| judged("stateful_actuator", "/command", r#"{"command":"TRANSITION"}"#, suffix, said);
    let filling = r#"{"success":true,"inputs":[true],"outputs":[true],"current_state":"FILLING"}"#;
    assert_eq!(judged("/state", filling), Some(Confirmed));
    let failed = r#"{"current_state":"IDLE","inputs":[],"outputs":[],"success":false}"#;
    assert_eq!(judged("/state", failed), refused(failed));
    assert_eq!(judged("/sequence", r#"{"name":"seq1","success":true}"#), None);
    assert_eq!(judged("/sequence", r#"{"name":"seq1","success":false}"#), None);
}

#[test]
fn a_fault_refuses_the_command_that_it_names() {
    let judged = |said| judged("actuator", "/command", r#"{"command":"OPEN"}"#, "/fault", said);
    assert_eq!(
        judged(r#"{"error":"Unknown State","state":"Unknown","attempted_command":"OPEN"}"#),
        refused("Unknown State")
    );
    assert_eq!(judged(r#"{"error":"Stall Detected","state":"OPEN","attempted_command":"CLOSE"}"#), None);
    let wordless = r#"{"attempted_command":"OPEN","state":"CLOSED"}"#;
    assert_eq!(judged(wordless), refused(wordless));
}

#[test]
fn a_fault_that_names_no_command_refuses_the_one_under_way() {
    let said = r#"{"error":"Invalid State","inputs":[],"outputs":[],"current_state":"IDLE"}"#;
    let sent = r#"{"command":"TRANSITION"}"#;
    assert_eq!(judged("stateful_actuator", "/command", sent, "/fault", said), refused("Invalid State"));
    let said = r#"{"error":"Invalid State","inputs":[],"outputs":[],"current_state":"IDLE","attempted_command":"RESET"}"#;
    assert_eq!(judged("stateful_actuator", "/command", sent, "/fault", said), None);
}

#[test]
fn telemetry_confirms_what_it_shows_and_never_differs() {
    let sent = |enable: bool| {
        format!(r#"{{"rail":"Vcc2I","over_current_limit":10,"over_voltage_limit":26,"enable":{enable}}}"#)
    };
    let on = r#"{"state":"Running","current":0.5,"voltage":5.05,"enabled":true}"#;
    let off = r#"{"state":"Disabled { rt: None }","current":0,"voltage":0,"enabled":false}"#;
    for (enable, said, verdict) in
        [(true, on, Some(Confirmed)), (true, off, None), (false, on, None), (false, off, Some(Confirmed))]
    {
        assert_eq!(judged("pds", "/config", &sent(enable), "/vcc2i", said), verdict, "{enable} {said}");
        assert_eq!(judged("pds", "/config", &sent(enable), "/vcc1i", said), None);
    }
    let command = topic("pds", "/config");
    assert!(command.answers_on(sent(true).as_bytes(), "/vcc2i"));
    assert!(!command.answers_on(sent(true).as_bytes(), "/Vcc2I"));
    for sent in ["", "{}", r#"{"rail":2}"#, "[]"] {
        assert!(!command.answers_on(sent.as_bytes(), "/vcc2i"), "{sent}");
    }
}

#[test]
fn fields_that_the_type_does_not_know_say_nothing() {
    for mut exchange in exchanges() {
        let Some(fields) = exchange.said.as_object_mut() else { continue };
        fields.insert("uptime".to_owned(), json!({ "s": 12 }));
        assert_eq!(exchange.verdict(), Some(Confirmed), "{}: {}", exchange.kind.name, exchange.said);
    }
}

#[test]
fn what_does_not_fit_its_topic_is_no_answer() {
    for Exchange { kind, command, sent, suffix, said } in exchanges() {
        let (sent, said) = (sent.to_string(), said.to_string());
        for payload in ["", "null", "[]", "{}", "nonsense", "\u{feff}{}", &said[..said.len() - 1]] {
            let verdict = command.verdict(sent.as_bytes(), &suffix, payload.as_bytes());
            let fits = answering(kind, &suffix).check(payload.as_bytes()).is_ok();
            assert!(fits || verdict.is_none(), "{}: {payload}: {verdict:?}", kind.name);
        }
        assert_eq!(command.verdict(sent.as_bytes(), &suffix, &[0xff, b'1']), None);
    }
    let sent = r#"{"enable":true,"duty":0.5,"frequency":1000}"#;
    let said = r#"{"enable":"yes","duty":0.5,"frequency":1000}"#;
    assert_eq!(judged("pwm", "/config", sent, "/response", said), None);
}

#[test]
fn what_is_said_elsewhere_is_no_answer() {
    for (kind, command) in rows().filter(|(_, topic)| topic.class == Class::Command) {
        let sent = command.examples[0].as_bytes();
        let on = true_answer(kind, command, &json(command.examples[0])).map(|(suffix, _)| suffix);
        for row in kind.topics.iter().filter(|row| row.is_said()) {
            for index in row.index.clone().map_or(vec![None], |range| range.map(Some).collect()) {
                let suffix = row.suffix_at(index);
                let fault = matches!(command.answer, Answer::State { fault, .. } if fault == suffix);
                let answers = fault || on.as_deref() == Some(&suffix);
                assert_eq!(command.answers_on(sent, &suffix), answers, "{}{suffix}", kind.name);
                let verdict = command.verdict(sent, &suffix, row.examples[0].as_bytes());
                assert!(answers || verdict.is_none(), "{}{suffix}: {verdict:?}", kind.name);
            }
        }
    }
}

#[test]
fn what_can_hurt_is_what_the_table_says() {
    for (kind, topic) in rows() {
        let hazardous = |sent: &str| topic.hazardous(sent.as_bytes());
        let example = topic.examples[0];
        match topic.effect {
            Some(Effect::Hazard) => assert!(hazardous(example) && hazardous("nonsense"), "{}", kind.name),
            Some(Effect::HazardWhen(pointer)) => {
                for (value, hurts) in [(json!(true), true), (json!(false), false), (json!("true"), false)] {
                    let mut sent = json(example);
                    *sent.pointer_mut(pointer).unwrap() = value;
                    assert_eq!(hazardous(&sent.to_string()), hurts, "{}: {sent}", kind.name);
                }
                assert!(!hazardous("nonsense") && !hazardous("{}"), "{}", kind.name);
            }
            Some(Effect::State | Effect::OneShot) | None => assert!(!hazardous(example), "{}", kind.name),
        }
    }
}
