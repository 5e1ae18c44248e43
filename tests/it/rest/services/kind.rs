//! Of which kind a service is, how that became known, and what a pin does.

use crosslink::{
    broker::{QoS, front::codec::Packet},
    catalog::KINDS,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{VOLTS, each, pin, put, readings, refused, seqs, service, unpin};
use crate::{
    harness::{House, until},
    promises::slow_disk,
};

/// State, kind, candidates.
fn known(service: &Value) -> Value {
    json!([service["state"], service["kind"], service["candidates"]])
}

async fn until_slow(house: &House) {
    until("the disk is known to be slow", async || {
        let (_, ready) = house.json(house.request(Method::GET, "/readyz")).await;
        if ready["status"] == "ready" { Err(ready) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_of_a_service_is_what_its_messages_leave() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;

    // Told what each kind with this topic takes, and silent.
    rig.say("rig/a/config", r#"{ "enable": true, "duty": 0.5, "frequency": 1000 }"#).await;
    let unknown = until("it is heard of", async || {
        let (status, body) = house.json(house.request(Method::GET, "/api/v1/services/rig/a")).await;
        if status == StatusCode::OK { Ok(body) } else { Err(body) }
    })
    .await;
    assert_eq!((&unknown["state"], &unknown["kind"]), (&json!("UNKNOWN"), &Value::Null));
    assert_eq!(unknown["candidates"].as_array().unwrap().len(), KINDS.len());
    assert_eq!(unknown["candidates"][0], "pwm", "what takes this comes first");
    assert_eq!((&unknown["evidence"], &unknown["latest"]), (&json!([]), &json!([])));
    assert_eq!((&unknown["last_message_at"], &unknown["last_message_age_ms"]), (&Value::Null, &Value::Null));

    rig.say("rig/b/response", r#"{ "data": true }"#).await;
    let ambiguous = service(&house, "rig/b").await;
    assert_eq!(known(&ambiguous), json!(["AMBIGUOUS", null, ["digital_out", "math"]]));
    let first = readings(&house, "rig/b", "").await;
    assert_eq!((each(&first, "kind"), each(&first, "type")), (vec![&Value::Null], vec![&Value::Null]));
    let seq = seqs(&first)[0];
    assert_eq!(
        ambiguous["evidence"],
        json!([{ "seq": seq, "suffix": "/response", "candidates": ["digital_out", "math"] }])
    );

    rig.say("rig/b/ch7", r#"{ "data": 1.5 }"#).await;
    let inferred = service(&house, "rig/b").await;
    assert_eq!(known(&inferred), json!(["INFERRED", "math", ["math"]]));
    let all = readings(&house, "rig/b", "after=0").await;
    assert_eq!(inferred["evidence"][1]["seq"], seqs(&all)[1]);
    assert_eq!(inferred["evidence"].as_array().unwrap().len(), 2);
    // What it said before is typed now.
    assert_eq!(each(&all, "type"), ["MathPauseResponse", "MathResult"]);
    assert_eq!(each(&all, "index"), [&Value::Null, &json!(7)]);
    assert_eq!(inferred["first_at"], all["items"][0]["at"]);
    assert_eq!(inferred["last_message_at"], all["items"][1]["at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_a_pin_is_typed_by_it() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    rig.say("rig/tank", VOLTS).await;
    assert_eq!(service(&house, "rig/tank").await["state"], "AMBIGUOUS");
    let path = "/api/v1/services/rig/tank/readings";
    let before = house.request(Method::GET, path).send().await.unwrap();
    let tag = before.headers()["etag"].clone();

    let pinned = pin(&house, "rig/tank", "loadcell").await;

    assert_eq!((&pinned["state"], &pinned["kind"]), (&json!("PINNED"), &json!("loadcell")));
    assert_eq!(pinned["latest"][0]["type"], "LoadCellData");
    assert_eq!(pinned["latest"][0]["payload"], json!({ "value": 0.5, "unit": "V" }));
    let told = readings(&house, "rig/tank", "").await;
    assert_eq!(each(&told, "kind"), ["loadcell"]);
    assert_eq!(each(&told, "type"), ["LoadCellData"]);
    let again = house.request(Method::GET, path).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK, "the tag outlives what it stands for");

    // To say it again changes nothing, and to take it back is to be where it was.
    assert_eq!(pin(&house, "rig/tank", "loadcell").await["seq"], pinned["seq"]);
    let unpinned = unpin(&house, "rig/tank").await;
    assert_eq!(known(&unpinned), json!(["AMBIGUOUS", null, ["analog_in", "loadcell"]]));
    assert_eq!(unpinned["latest"][0]["type"], Value::Null);
    assert_eq!(unpin(&house, "rig/tank").await["seq"], unpinned["seq"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_pin_many_times_at_once_is_one() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    let stuck = slow_disk(&house).await;
    let message = rig.message("rig/tank", VOLTS, QoS::AtLeastOnce, false);
    rig.send(&Packet::Publish(message)).await;
    // They gather behind it, and are written together.
    let pins = futures_util::future::join_all((0..20).map(|_| pin(&house, "rig/ahead", "pid")));
    let release = async {
        until_slow(&house).await;
        stuck.rollback().await.unwrap();
    };
    let (all, ()) = tokio::join!(pins, release);
    for service in &all {
        assert_eq!((&service["state"], &service["seq"]), (&json!("PINNED"), &all[0]["seq"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_refused_with_the_place_of_what_is_written_with_it() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    let stuck = slow_disk(&house).await;
    let message = rig.message("rig/else", VOLTS, QoS::AtMostOnce, false);
    rig.send(&Packet::Publish(message)).await;
    rig.ping().await;
    // The next message and the pin gather behind it, and are written together.
    let message = rig.message("rig/tank", VOLTS, QoS::AtMostOnce, false);
    rig.send(&Packet::Publish(message)).await;
    rig.ping().await;
    let pin = house.json(put(&house, "rig/tank", &json!({ "kind": "pid" })));
    let release = async {
        until_slow(&house).await;
        stuck.rollback().await.unwrap();
    };
    let ((status, problem), ()) = tokio::join!(pin, release);
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let seq = seqs(&readings(&house, "rig/tank", "").await)[0];
    assert_eq!(problem["seqs"], json!([seq]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_against_what_was_said_needs_force() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    rig.say("rig/tank", VOLTS).await;
    let seq = seqs(&readings(&house, "rig/tank", "").await)[0];

    let wrong = put(&house, "rig/tank", &json!({ "kind": "pid" }));
    refused(wrong, 409, "KIND_CONTRADICTED", "rig/tank is no pid").await;
    let (_, problem) = house.json(put(&house, "rig/tank", &json!({ "kind": "pid", "force": false }))).await;
    assert_eq!(problem["seqs"], json!([seq]));
    assert_eq!(service(&house, "rig/tank").await["state"], "AMBIGUOUS");

    let (status, forced) =
        house.json(put(&house, "rig/tank", &json!({ "kind": "pid", "force": true }))).await;
    assert_eq!(status, StatusCode::OK, "{forced}");
    assert_eq!(
        (&forced["state"], &forced["kind"], &forced["evidence"]),
        (&json!("PINNED"), &json!("pid"), &json!([]))
    );
    // What does not fit the kind has none of its types.
    let told = readings(&house, "rig/tank", "").await;
    assert_eq!(each(&told, "kind"), ["pid"]);
    assert_eq!(each(&told, "type"), [&Value::Null]);

    // What it said before counts no more.
    let unpinned = unpin(&house, "rig/tank").await;
    assert_eq!((&unpinned["state"], &unpinned["kind"]), (&json!("UNKNOWN"), &Value::Null));
    assert_eq!(unpinned["candidates"].as_array().unwrap().len(), KINDS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kind_does_not_say_is_rejected_and_replayed_after_the_pin() {
    let house = House::start().await;
    let mut rig = house.somebody("rig").await;
    let accel = r#"{ "x": 0.01, "y": -0.02, "z": 0.98, "temp": 36.5, "roll": 1.2, "pitch": -0.7 }"#;
    rig.say("rig/tank", VOLTS).await;
    rig.say("rig/tank/accel", accel).await;

    let rejections = house.get("/api/v1/rejections?reason=KIND_CONFLICT").await;
    assert_eq!(each(&rejections, "topic"), ["rig/tank/accel"]);
    let rejection = seqs(&rejections)[0];
    assert_eq!(service(&house, "rig/tank").await["state"], "AMBIGUOUS");
    let replay = json!({ "rejections": [rejection] });
    let (_, in_vain) = house.post("/api/v1/rejections/replay", replay.clone()).await;
    assert_eq!(each(&in_vain, "outcome"), ["REJECTED"]);
    assert_eq!(each(&in_vain, "reason"), ["KIND_CONFLICT"]);

    let force = json!({ "kind": "mpu6050", "force": true });
    assert_eq!(house.json(put(&house, "rig/tank", &force)).await.0, StatusCode::OK);
    let (_, page) = house.post("/api/v1/rejections/replay", replay.clone()).await;

    assert_eq!(each(&page, "outcome"), ["RECORDED"], "{page}");
    let told = readings(&house, "rig/tank", "suffix=/accel").await;
    assert_eq!(seqs(&told), [page["items"][0]["reading"].as_i64().unwrap()]);
    let reading = &told["items"][0];
    assert_eq!((&reading["replay_of"], &reading["type"]), (&json!(rejection), &json!("MpuAccelData")));
    assert_eq!(reading["at"], rejections["items"][0]["at"]);
    assert_eq!(reading["payload"], serde_json::from_str::<Value>(accel).unwrap());
    let (_, again) = house.post("/api/v1/rejections/replay", replay).await;
    assert_eq!(each(&again, "outcome"), ["RECORDED_BEFORE"]);

    // History is the latest of a topic that has nothing else, and of no other.
    let latest = |service: &Value| service["latest"][1]["seq"].clone();
    assert_eq!(latest(&service(&house, "rig/tank").await), told["items"][0]["seq"]);
    rig.say("rig/tank/accel", accel).await;
    let newest = seqs(&readings(&house, "rig/tank", "suffix=/accel").await)[0];
    assert_eq!(latest(&service(&house, "rig/tank").await), newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_services_survives_a_restart() {
    let mut house = House::start().await;
    let mut rig = house.somebody("rig").await;
    rig.say("rig/tank", VOLTS).await;
    rig.say("rig/pause/response", r#"{ "data": true }"#).await;
    rig.say("rig/pause/ch0", r#"{ "data": 1.0 }"#).await;
    rig.say("rig/valve/command", r#"{ "command": "OPEN" }"#).await;
    pin(&house, "rig/tank", "analog_in").await;
    pin(&house, "rig/ahead", "pid").await;
    rig.disconnect().await;
    let ageless = async |house: &House| {
        let mut all = Vec::new();
        for name in ["rig/ahead", "rig/pause", "rig/tank", "rig/valve"] {
            let mut service = service(house, name).await;
            service["last_message_age_ms"].take();
            for one in service["latest"].as_array_mut().unwrap() {
                one["age_ms"].take();
            }
            all.push(service);
        }
        all
    };
    let before = ageless(&house).await;
    house = house.restart().await;
    assert_eq!(ageless(&house).await, before);
    let states: Vec<&Value> = before.iter().map(|service| &service["state"]).collect();
    assert_eq!(states, ["PINNED", "INFERRED", "PINNED", "UNKNOWN"]);
    assert_eq!(unpin(&house, "rig/tank").await["candidates"], json!(["analog_in", "loadcell"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_says_what_is_wrong() {
    let house = House::start().await;
    let body = |text: &'static str| {
        let request = house.request(Method::PUT, "/api/v1/services/rig/a");
        request.header("content-type", "application/json").body(text)
    };
    refused(body(r#"{"kind":"toaster"}"#), 404, "NOT_FOUND", "no kind \"toaster\"").await;
    for (text, says) in [
        ("{}", "missing field `kind`"),
        (r#"{"kind":"pid","colour":"red"}"#, "unknown field `colour`"),
        (r#"{"kind":"pid","force":null}"#, "invalid type: null"),
        (r#"{"kind":"pid","force":1}"#, "invalid type: integer"),
        (r#"["pid"]"#, "expected an object"),
        (r#"{"kind":"#, "line 1 column 8"),
    ] {
        refused(body(text), 400, "INVALID", says).await;
    }
    let text = house.request(Method::PUT, "/api/v1/services/rig/a").body("pid");
    refused(text, 415, "UNSUPPORTED_MEDIA_TYPE", "application/json").await;
    let large = body("").body(vec![b' '; 65 * 1024]);
    refused(large, 413, "TOO_LARGE", "limit").await;
    for method in [Method::PUT, Method::DELETE, Method::GET] {
        let request =
            house.request(method, "/api/v1/services/rig/a?colour=red").json(&json!({ "kind": "pid" }));
        refused(request, 400, "INVALID", "`colour`").await;
    }
    assert_eq!(house.get("/api/v1/services").await["items"], json!([]), "what is refused leaves nothing");
}
