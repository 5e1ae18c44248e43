//! Commands to services: sent, answered by a device that the test plays, followed to their end.

use crosslink::broker::QoS;
use serde_json::{Map, Value, json};
use tokio::join;

use super::House;
use crate::harness::{self, Client, until};

/// A command to the fan, and how it goes over the wire.
pub(super) const HALF: &str = "command: { pwm: { enable: true, duty: 0.5, frequency: 50 } }";
const HALF_WIRE: &str = r#"{"enable":true,"duty":0.5,"frequency":50}"#;
/// What the fan answers when it does so.
pub(super) const DONE: &str = r#"{ "enable": true, "duty": 0.5, "frequency": 50, "error": null }"#;

/// A house with a fan, which is for the test to play.
pub(super) async fn fan(house: &House) -> Client {
    house.pin("rig", "fan", "pwm").await;
    let mut rig = house.0.somebody("rig").await;
    rig.subscribe("rig/fan/config", QoS::AtLeastOnce).await;
    rig
}

/// The fan hears a command, and says this; gives what it heard.
pub(super) async fn replies(rig: &mut Client, answer: &str) -> (String, String) {
    let heard = rig.hears().await;
    rig.say("rig/fan/response", answer).await;
    heard
}

fn send(arguments: &str, fields: &str) -> String {
    format!("mutation {{ sendCommand(firmware: \"rig\", service: \"fan\", {arguments}) {{ {fields} }} }}")
}

impl House {
    /// The record of a command to the fan.
    pub(super) async fn sent(&self, arguments: &str, fields: &str) -> Value {
        self.ask(&send(arguments, fields)).await["sendCommand"].take()
    }

    /// What stands beside the error of an operation.
    async fn refused(&self, operation: &str) -> Value {
        let mut answer = self.post(operation).await;
        assert_eq!(answer["data"], Value::Null, "{operation}: {answer}");
        answer["errors"][0]["extensions"].take()
    }

    /// The same of a command that stands in the log as denied, without what tells of that.
    async fn denied(&self, operation: &str) -> Value {
        let mut refused = self.refused(operation).await;
        let record = refused.as_object_mut().unwrap().remove("record").expect("a record");
        let asked =
            format!("{{ command(id: {}) {{ state reason payload topic surface delivery }} }}", record["id"]);
        let logged = self.ask(&asked).await["command"].take();
        for field in ["payload", "topic", "surface"] {
            assert_eq!(logged[field], record[field]);
        }
        assert_eq!((&logged["state"], &logged["reason"]), (&json!("DENIED"), &refused["code"]));
        assert_eq!((&logged["surface"], &logged["delivery"]), (&json!("GRAPHQL"), &Value::Null));
        if refused["command"] == record["id"] {
            refused.as_object_mut().unwrap().remove("command");
        }
        refused
    }

    async fn logged(&self) -> usize {
        let log = self.ask("{ commands { nodes { id } } }").await;
        log["commands"]["nodes"].as_array().unwrap().len()
    }
}

#[tokio::test]
async fn a_command_is_confirmed_by_what_the_device_answers() {
    let house = House::start().await;
    let mut rig = fan(&house).await;
    const FIELDS: &str = "state delivery timeoutMs surface payload reason ambiguous mismatches { pointer } \
         answer { topic payload late raw typed { __typename ... on PWMCommandResponse { duty error } } }";
    let (record, heard) = join!(house.sent(HALF, FIELDS), replies(&mut rig, DONE));

    assert_eq!(heard, ("rig/fan/config".to_owned(), HALF_WIRE.to_owned()));
    assert_eq!(
        record,
        json!({
            "state": "CONFIRMED", "delivery": "ACKNOWLEDGED", "timeoutMs": 5000, "surface": "GRAPHQL",
            "payload": HALF_WIRE, "reason": null, "ambiguous": false, "mismatches": [],
            "answer": {
                "topic": "rig/fan/response", "payload": DONE, "late": false,
                "raw": { "enable": true, "duty": 0.5, "frequency": 50, "error": null },
                "typed": { "__typename": "PWMCommandResponse", "duty": 0.5, "error": null },
            },
        })
    );
}

#[tokio::test]
async fn an_answer_that_differs_or_refuses_says_how() {
    let house = House::start().await;
    let mut rig = fan(&house).await;
    const FIELDS: &str = "state reason mismatches { pointer sent reported } answer { seq }";
    let slower = DONE.replace("0.5", "0.25");
    let (record, _) = join!(house.sent(HALF, FIELDS), replies(&mut rig, &slower));
    let readings = house.ask("{ readings { nodes { seq } } }").await;
    assert_eq!(record["answer"]["seq"], readings["readings"]["nodes"][0]["seq"]);
    assert_eq!((&record["state"], &record["reason"]), (&json!("MISMATCH"), &Value::Null));
    assert_eq!(record["mismatches"], json!([{ "pointer": "/duty", "sent": "0.5", "reported": "0.25" }]));

    let refusal = DONE.replace("null", "\"over current\"");
    let (record, _) = join!(house.sent(HALF, FIELDS), replies(&mut rig, &refusal));
    assert_eq!((&record["state"], &record["reason"]), (&json!("REFUSED"), &json!("over current")));
    assert_eq!(record["mismatches"], json!([]));
    let listed = house.ask("{ commands(filter: { state: REFUSED }) { nodes { state } } }").await;
    assert_eq!(listed["commands"]["nodes"], json!([{ "state": "REFUSED" }]));
}

#[tokio::test]
async fn a_command_that_is_not_answered_in_time_fails_and_a_late_answer_is_attached() {
    let house = House::start().await;
    let mut rig = fan(&house).await;
    // So that the delivery does not rise meanwhile.
    rig.acknowledge_nothing();
    let mut told = house
        .subscribe(
            "subscription { commands(filter: { state: TIMED_OUT }) { id seq answer { late payload } } }",
        )
        .await;
    told.settled().await;

    let refused = house.refused(&send(&format!("{HALF}, timeoutMs: 100"), "id")).await;

    let record = &refused["record"];
    assert_eq!((&refused["code"], &refused["command"]), (&json!("CONFIRMATION_TIMEOUT"), &record["id"]));
    assert_eq!((&record["state"], &record["timeout_ms"]), (&json!("TIMED_OUT"), &json!(100)));
    assert_eq!(record["payload"], HALF_WIRE);
    let ended = told.next().await["commands"].take();
    assert_eq!((&ended["id"], &ended["seq"]), (&record["id"], &record["seq"]));
    assert_eq!(ended["answer"], Value::Null);

    replies(&mut rig, DONE).await;
    let late = told.next().await["commands"].take();
    assert_eq!(late["id"], record["id"]);
    assert_eq!(late["answer"], json!({ "late": true, "payload": DONE }));
    let asked = format!("{{ command(id: {}) {{ state answer {{ late }} }} }}", record["id"]);
    let expected = json!({ "state": "TIMED_OUT", "answer": { "late": true } });
    assert_eq!(house.ask(&asked).await["command"], expected);
}

#[tokio::test]
async fn each_state_of_a_command_is_told_in_order_and_again_to_who_resumes() {
    let house = House::start().await;
    let mut rig = fan(&house).await;
    rig.acknowledge_nothing();
    let stream = |after: &Value| {
        format!(
            "subscription {{ commands(after: {after}) {{ id seq state delivery answer {{ payload }} }} }}"
        )
    };
    let mut live = house.subscribe(&stream(&json!(0))).await;
    live.settled().await;
    let device = async {
        let message = rig.next_publish().await;
        rig.say("rig/fan/response", DONE).await;
        message.packet_id
    };
    let (record, packet) = join!(house.sent(HALF, "id state"), device);
    assert_eq!(record["state"], "CONFIRMED");
    rig.acknowledge(packet).await;

    let mut told = Vec::new();
    for expected in [
        json!(["ACCEPTED", null, null]),
        json!(["PUBLISHED", "SENT", null]),
        json!(["CONFIRMED", "SENT", DONE]),
        json!(["CONFIRMED", "ACKNOWLEDGED", DONE]),
    ] {
        let state = live.next().await["commands"].take();
        assert_eq!(json!([state["state"], state["delivery"], state["answer"]["payload"]]), expected);
        assert_eq!(state["id"], record["id"]);
        told.push(state);
    }
    assert!(told.is_sorted_by(|one, next| one["seq"].as_i64() < next["seq"].as_i64()), "{told:?}");
    for (seen, state) in told.iter().enumerate() {
        let mut resumed = house.subscribe(&stream(&state["seq"])).await;
        for missed in &told[seen + 1..] {
            assert_eq!(&resumed.next().await["commands"], missed);
        }
        resumed.settled().await;
    }
}

#[tokio::test]
async fn one_command_at_a_time_is_under_way() {
    let house = House::start().await;
    let mut rig = fan(&house).await;
    let first = house.sent(&format!("{HALF}, wait: PUBLISHED"), "id state").await;
    assert_eq!(first["state"], "PUBLISHED");

    let refused = house.denied(&send(HALF, "id")).await;
    assert_eq!(refused, json!({ "code": "COMMAND_IN_FLIGHT", "command": first["id"] }));

    replies(&mut rig, DONE).await;
    let asked = format!("{{ command(id: {}) {{ state }} }}", first["id"]);
    until("the answer is recognized", async || {
        let state = house.ask(&asked).await["command"]["state"].take();
        if state == "CONFIRMED" { Ok(()) } else { Err(state) }
    })
    .await;
    let (record, _) = join!(house.sent(HALF, "state"), replies(&mut rig, DONE));
    assert_eq!(record["state"], "CONFIRMED");
}

#[tokio::test]
async fn what_the_service_would_not_understand_is_not_sent() {
    let house = House::start().await;
    let _rig = fan(&house).await;
    let mut scale = house.0.somebody("scale").await;
    scale.say("rig/scale", r#"{ "value": 1.5, "unit": "g" }"#).await;

    for (command, named) in
        [("loadcell: true", "loadcell"), ("digitalOut: { commandBool: true }", "digital_out")]
    {
        let flaw = json!({
            "pointer": "", "reason": "KIND_CONFLICT",
            "detail": format!("expected a command for pwm, got one for {named}"),
        });
        let refused = house.denied(&send(&format!("command: {{ {command} }}"), "id")).await;
        assert_eq!(refused, json!({ "code": "PAYLOAD_INVALID", "flaws": [flaw] }));
    }
    for operation in ["sendCommand", "arm"] {
        let to = |service: &str, command: &str| {
            format!(
                "mutation {{ {operation}(firmware: \"rig\", service: \"{service}\", {command}) {{ __typename }} }}"
            )
        };
        let asked = to("scale", "command: { loadcell: true }");
        // Nothing is asked of a service by what is only armed.
        let refused = match operation {
            "arm" => house.refused(&asked).await,
            _ => house.denied(&asked).await,
        };
        let candidates = json!(["loadcell", "analog_in"]);
        assert_eq!(refused, json!({ "code": "KIND_AMBIGUOUS", "candidates": candidates }));
        for (service, command, code, says) in [
            ("nobody", HALF, "NOT_FOUND", "there is no service \\\"rig/nobody\\\""),
            ("a/b", HALF, "INVALID", "names no service"),
            ("fan", &format!("{HALF}, timeoutMs: 99"), "INVALID", "100 to 60000 ms, got 99"),
            ("fan", &format!("{HALF}, timeoutMs: 60001"), "INVALID", "100 to 60000 ms, got 60001"),
            ("fan", &format!("{HALF}, timeoutMs: -1"), "INVALID", "`timeoutMs` is no time: -1"),
            ("fan", &HALF.replace("0.5", "1.5"), "INVALID", "\\\"command.pwm.duty\\\", expected type"),
            ("fan", "command: {}", "INVALID", "exactly one field"),
        ] {
            let answer = house.post(&to(service, command)).await;
            assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
            assert!(answer["errors"][0].to_string().contains(says), "{answer}");
        }
    }
    assert_eq!(house.logged().await, 3, "those that were denied");
}

#[tokio::test]
async fn a_device_that_is_gone_is_told_nothing_unless_the_caller_insists() {
    let house = House::start().await;
    let mut rig = fan(&house).await;
    rig.say("rig/fan/response", DONE).await;
    rig.disconnect().await;
    let asked = send(&format!("{HALF}, timeoutMs: 100"), "id");
    until("the device is known to be gone", async || {
        let refused = house.refused(&asked).await;
        if refused["code"] == "DEVICE_OFFLINE" { Ok(()) } else { Err(refused) }
    })
    .await;
    assert_eq!(house.denied(&asked).await, json!({ "code": "DEVICE_OFFLINE" }));

    let logged = house.logged().await;
    let record = house.sent(&format!("{HALF}, offline: true, wait: PUBLISHED"), "state delivery").await;
    assert_eq!(record, json!({ "state": "PUBLISHED", "delivery": "NO_SUBSCRIBER" }));
    assert_eq!(house.logged().await, logged + 1);
}

#[tokio::test]
async fn what_can_hurt_is_armed_and_executed_once() {
    let house = House(harness::House::with(|config| config.arm_hazards = true).await);
    let mut rig = fan(&house).await;
    assert_eq!(house.denied(&send(HALF, "id")).await, json!({ "code": "ARMING_REQUIRED" }));
    let (off, stands) = (HALF.replace("true", "false"), DONE.replace("true", "false"));
    let (harmless, _) = join!(house.sent(&off, "state"), replies(&mut rig, &stands));
    assert_eq!(harmless["state"], "CONFIRMED");

    let arm = format!(
        "mutation {{ arm(firmware: \"rig\", service: \"fan\", {HALF}) {{ token expiresAt topic payload }} }}"
    );
    let armed = house.ask(&arm).await["arm"].take();
    assert_eq!((&armed["topic"], &armed["payload"]), (&json!("rig/fan/config"), &json!(HALF_WIRE)));
    assert!(armed["expiresAt"].is_string());
    assert_eq!(house.logged().await, 2, "nothing more is logged yet");

    let execute = |token: &Value| format!("mutation {{ execute(token: {token}) {{ state payload }} }}");
    let executed = execute(&armed["token"]);
    let (record, _) = join!(house.ask(&executed), replies(&mut rig, DONE));
    assert_eq!(record["execute"], json!({ "state": "CONFIRMED", "payload": HALF_WIRE }));
    for spent in [executed, execute(&json!("guessed"))] {
        assert_eq!(house.refused(&spent).await, json!({ "code": "ARMING_REQUIRED" }));
    }
    assert_eq!(house.logged().await, 3);

    let token = house.ask(&arm).await["arm"]["token"].take();
    let keyed = |key: &str| {
        format!("mutation {{ execute(token: {token}, idempotencyKey: \"{key}\") {{ id seq state }} }}")
    };
    let executed = keyed("k");
    let (record, _) = join!(house.ask(&executed), replies(&mut rig, DONE));
    assert_eq!(house.ask(&executed).await, record, "whoever has not heard the answer may ask again");
    for spent in [keyed("other"), execute(&token)] {
        assert_eq!(house.refused(&spent).await, json!({ "code": "ARMING_REQUIRED" }));
    }
    assert_eq!(house.logged().await, 4);
}

#[tokio::test]
async fn the_same_key_is_the_same_command() {
    let house = House::start().await;
    let mut rig = fan(&house).await;
    let keyed = format!("{HALF}, idempotencyKey: \"k\"");
    let (first, _) = join!(house.sent(&keyed, "id seq state"), replies(&mut rig, DONE));
    assert_eq!(house.sent(&keyed, "id seq state").await, first);
    let other = send(&keyed.replace("0.5", "0.6"), "id");
    assert_eq!(house.refused(&other).await, json!({ "code": "IDEMPOTENCY_CONFLICT" }));
    assert_eq!(house.logged().await, 1);

    let unanswered = send(&format!("{HALF}, idempotencyKey: \"late\", timeoutMs: 100"), "id");
    let timed_out = house.refused(&unanswered).await;
    assert_eq!(timed_out["code"], "CONFIRMATION_TIMEOUT");
    assert_eq!(house.refused(&unanswered).await["command"], timed_out["command"]);
    assert_eq!(house.logged().await, 2);
}

#[tokio::test]
async fn a_command_that_nobody_answers_waits_for_who_takes_it() {
    let house = House::start().await;
    house.pin("rig", "scale", "loadcell").await;
    let mut rig = house.0.somebody("rig").await;
    rig.subscribe("rig/scale/tare", QoS::AtLeastOnce).await;
    let tare = "mutation { sendCommand(firmware: \"rig\", service: \"scale\", command: { loadcell: true }) \
         { state delivery timeoutMs answer { seq } } }";
    let (record, heard) = join!(house.ask(tare), rig.hears());
    assert_eq!(heard, ("rig/scale/tare".to_owned(), "true".to_owned()));
    assert_eq!(
        record["sendCommand"],
        json!({ "state": "UNCONFIRMABLE", "delivery": "ACKNOWLEDGED", "timeoutMs": null, "answer": null })
    );
}

#[tokio::test]
async fn a_command_that_is_waited_for_holds_up_nothing_else_on_its_socket() {
    let house = House::start().await;
    let mut rig = fan(&house).await;
    let mut socket = house.subscribe(&send(HALF, "state")).await;
    let heard = rig.hears().await;
    assert_eq!(heard.1, HALF_WIRE);
    let payload = json!({ "query": "{ commands { nodes { state } } }" });
    socket.say(&json!({ "id": "2", "type": "subscribe", "payload": payload })).await;
    let first = socket.hear().await;
    assert_eq!((&first["id"], &first["type"]), (&json!("2"), &json!("next")));
    assert_eq!(socket.hear().await, json!({ "type": "complete", "id": "2" }));
    rig.say("rig/fan/response", DONE).await;
    assert_eq!(socket.next().await["sendCommand"]["state"], "CONFIRMED");
}

#[tokio::test]
async fn one_operation_sends_no_more_than_fifty_commands() {
    let house = House::start().await;
    let _rig = fan(&house).await;
    let many: String = (0..50)
        .map(|n| {
            format!(
                "c{n}: sendCommand(firmware: \"rig\", service: \"fan\", {HALF}, wait: PUBLISHED) {{ id }} "
            )
        })
        .collect();
    let answer = house.post(&format!("mutation {{ {many} }}")).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID", "{answer}");
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("50000 fields"), "{answer}");
    assert_eq!(house.logged().await, 0);
}

#[tokio::test]
async fn rest_shows_the_same_record() {
    let house = House::start().await;
    let mut rig = fan(&house).await;
    let slower = DONE.replace("0.5", "0.25");
    let keyed = format!("{HALF}, idempotencyKey: \"k\"");
    let (confirmed, _) = join!(house.sent(HALF, "id"), replies(&mut rig, DONE));
    let (differing, _) = join!(house.sent(&keyed, "id"), replies(&mut rig, &slower));
    let timed_out = house.refused(&send(&format!("{HALF}, timeoutMs: 100"), "id")).await;
    for id in [&confirmed["id"], &differing["id"], &timed_out["command"]] {
        let asked = format!(
            "{{ command(id: {id}) {{ id seq acceptedAt at device action firmware service suffix kind topic payload qos state \
               delivery timeoutMs answer {{ seq at topic payload late }} mismatches {{ pointer sent reported }} reason \
               ambiguous surface clientId address idempotencyKey type: typed {{ __typename }} \
               typed {{ ... on PWMCommand {{ enable duty frequency }} }} }} }}"
        );
        let mut by_graphql = house.ask(&asked).await["command"].take();
        by_graphql["type"] = by_graphql["type"]["__typename"].take();
        let by_rest = house.0.get(&format!("/api/v1/commands/{id}")).await;
        let names = |record: &Value| record.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let by_graphql = in_rests_words(by_graphql);
        assert_eq!(names(&by_graphql), names(&by_rest));
        told_by(&by_rest, &by_graphql);
    }
    // What stands beside the error is that record as well.
    let by_rest = house.0.get(&format!("/api/v1/commands/{}", timed_out["command"])).await;
    told_by(&by_rest, &timed_out["record"]);
}

/// As REST would call the fields.
fn in_rests_words(value: Value) -> Value {
    let snake = |name: &str| {
        let word = |letter: char| match letter.is_uppercase() {
            true => format!("_{}", letter.to_lowercase()),
            false => letter.to_string(),
        };
        name.chars().map(word).collect::<String>()
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (snake(&name), in_rests_words(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(in_rests_words).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// REST says all of this, and maybe more.
fn told_by(rest: &Value, said: &Value) {
    match said {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| told_by(&rest[name], value)),
        Value::Array(items) => {
            assert_eq!(rest.as_array().map(Vec::len), Some(items.len()), "{rest}");
            items.iter().enumerate().for_each(|(index, item)| told_by(&rest[index], item));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => assert_eq!(rest, said),
    }
}
