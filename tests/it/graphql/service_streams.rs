//! What services say and what becomes known of them, as it happens.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    House,
    fields::Schema,
    services::{THERMOCOUPLE, leaves, rows, thermocouple},
};

#[tokio::test]
async fn everything_that_services_say_and_are_told_comes_typed() {
    let house = House::start().await;
    let schema = Schema::of(&house).await;
    let payload = schema.selection("LiveReading", "payload");
    let fields = format!("{{ service kind type raw skipped payload {payload} }}");
    let mut live = house.subscribe(&format!("subscription {{ readings {fields} }}")).await;
    live.settled().await;
    let typed = schema.selection("CommandRecord", "typed");
    let asked = format!("subscription {{ commands {{ id kind suffix payload typed {typed} }} }}");
    let mut commands = house.subscribe(&asked).await;
    commands.settled().await;
    house.pin_every_kind().await;
    house.device("rig").await.says_everything().await;
    let mut replay = house.subscribe(&format!("subscription {{ readings(after: 0) {fields} }}")).await;

    for row in rows().iter().filter(|row| row.said) {
        let reading = live.next().await["readings"].take();
        assert_eq!(reading, replay.next().await["readings"]);
        assert_eq!((&reading["kind"], &reading["type"]), (&json!(row.kind), &json!(row.shape)));
        assert_eq!(reading["payload"]["__typename"], row.shape);
        assert_eq!(leaves(&reading["payload"]), leaves(&row.payload));
        assert_eq!((&reading["raw"], &reading["skipped"]), (&row.payload, &json!(0)));
    }
    live.settled().await;
    replay.settled().await;

    let mut known = BTreeSet::new();
    for row in rows().iter().filter(|row| !row.said) {
        let command = loop {
            let command = commands.next().await["commands"].take();
            // What becomes of the one before comes in between.
            if known.insert(command["id"].to_string()) {
                break command;
            }
        };
        assert_eq!((&command["kind"], &command["suffix"]), (&json!(row.kind), &json!(row.suffix)));
        assert_eq!(command["payload"], row.payload.to_string());
        assert_eq!(command["typed"]["__typename"], row.shape);
        assert_eq!(leaves(&command["typed"]), leaves(&row.payload), "{row:?}");
    }
}

#[tokio::test]
async fn readings_are_told_of_those_that_are_asked_for() {
    let house = House::start().await;
    let rig = &mut house.device("rig").await;
    rig.says("rig/scale", &weight(1)).await;
    rig.says("rig/oven/temperature", THERMOCOUPLE).await;
    let stream = async |arguments: &str| {
        let asked = format!("subscription {{ readings({arguments}) {{ seq service raw type }} }}");
        let mut socket = house.subscribe(&asked).await;
        let first =
            if arguments.contains("current") { socket.next().await["readings"].take() } else { Value::Null };
        socket.settled().await;
        (socket, first)
    };
    let (mut by_kind, _) = stream("filter: { kind: \"loadcell\" }").await;
    let (mut by_suffix, first) = stream("filter: { suffix: \"/temperature\" }, current: true").await;
    let (mut by_name, first_by_name) =
        stream("filter: { firmware: \"rig\", service: \"scale\" }, current: true").await;
    assert_eq!((&first["service"], &first_by_name["service"]), (&json!("oven"), &json!("scale")));
    assert_eq!(first_by_name["type"], Value::Null);

    rig.says("rig/scale", &weight(2)).await;
    house.pin("rig", "scale", "loadcell").await;
    rig.says("rig/scale", &weight(3)).await;
    rig.says("rig/oven/temperature", THERMOCOUPLE).await;

    let known = by_kind.next().await["readings"].take();
    assert_eq!((&known["raw"]["value"], &known["type"]), (&json!(3), &json!("LoadCellData")));
    by_kind.settled().await;
    assert_eq!(by_suffix.next().await["readings"]["service"], "oven");
    by_suffix.settled().await;
    assert_eq!(by_name.next().await["readings"]["raw"]["value"], 2);
    assert_eq!(by_name.next().await["readings"]["seq"], known["seq"]);

    let replay = "subscription { readings(filter: { kind: \"loadcell\" }, after: 0) { raw type } }";
    let mut replay = house.subscribe(replay).await;
    for value in 1..=3 {
        let reading = replay.next().await["readings"].take();
        assert_eq!((&reading["raw"]["value"], &reading["type"]), (&json!(value), &json!("LoadCellData")));
    }
    for arguments in ["filter: { kind: \"fan\" }", "maxRate: 0", "after: 999999"] {
        let mut refused =
            house.subscribe(&format!("subscription {{ readings({arguments}) {{ seq }} }}")).await;
        let message = refused.hear().await.to_string();
        assert!(message.contains("NOT_FOUND") || message.contains("INVALID"), "{arguments}: {message}");
    }
}

#[tokio::test]
async fn readings_of_services_resume_without_hole_or_duplicate() {
    const READINGS: i64 = 60;
    let mut house = House::start().await;
    let mut heard: Vec<i64> = Vec::new();
    for round in 0..3 {
        let mut rig = house.device("rig").await;
        let mut say = async |count: i64| {
            for n in 0..count {
                rig.says(["rig/a/temperature", "rig/b/temperature"][n as usize % 2], &thermocouple(1)).await;
            }
        };
        say(READINGS / 2).await;
        let after = heard.last().copied().unwrap_or_default();
        let mut stream =
            house.subscribe(&format!("subscription {{ readings(after: {after}) {{ seq }} }}")).await;
        say(READINGS / 2).await;
        // The last of each round stays unheard until the next.
        while (heard.len() as i64) < READINGS * (round + 1) - 1 {
            heard.push(stream.next().await["readings"]["seq"].as_i64().unwrap());
        }
        house = house.restart().await;
    }
    let told = house.ask("{ readings(first: 1000) { nodes { seq } } }").await;
    let told = told["readings"]["nodes"].as_array().unwrap().clone();
    let told: Vec<i64> = told.iter().rev().map(|node| node["seq"].as_i64().unwrap()).collect();
    assert_eq!(heard, told[..told.len() - 1]);
}

#[tokio::test]
async fn a_conflated_stream_tells_the_newest_of_each_topic() {
    let house = House::start().await;
    let rig = &mut house.device("rig").await;
    rig.says("rig/a/temperature", &thermocouple(0)).await;
    let asked = "subscription { readings(maxRate: 1, current: true) { seq service skipped } }";
    let mut few = house.subscribe(asked).await;
    assert_eq!(few.next().await["readings"]["service"], "a");

    for n in 1..=20 {
        rig.says("rig/a/temperature", &thermocouple(n)).await;
        rig.says("rig/b/temperature", &thermocouple(n)).await;
    }
    let newest = house.ask("{ readings(first: 2) { nodes { seq } } }").await["readings"]["nodes"].take();
    let (mut told, mut skipped, mut last) = (0, 0, Value::Null);
    while last != newest[0]["seq"] {
        let item = few.next().await["readings"].take();
        told += 1;
        skipped += item["skipped"].as_i64().unwrap();
        assert!(last.as_i64() < item["seq"].as_i64(), "seq only grows");
        last = item["seq"].clone();
    }
    assert_eq!(told + skipped, 40);
    assert!(skipped > 0, "{told} were told");
}

#[tokio::test]
async fn services_are_followed_from_what_is_known_of_them() {
    const FIELDS: &str = "{ seq firmware service state kind candidates evidence { seq suffix } }";
    let house = House::start().await;
    let rig = &mut house.device("rig").await;
    rig.says("rig/scale", &weight(1)).await;
    let mut all = house.subscribe(&format!("subscription {{ services {FIELDS} }}")).await;
    let mut cells =
        house.subscribe("subscription { services(filter: { kind: \"loadcell\" }) { service state } }").await;
    let standing = all.next().await["services"].take();
    assert_eq!((&standing["service"], &standing["state"]), (&json!("scale"), &json!("AMBIGUOUS")));
    assert_eq!(standing["evidence"]["suffix"], "");
    all.settled().await;
    cells.settled().await;

    rig.says("rig/oven/temperature", THERMOCOUPLE).await;
    rig.says("rig/oven/temperature", THERMOCOUPLE).await;
    house.pin("rig", "scale", "loadcell").await;
    house.ask("mutation { unpinService(firmware: \"rig\", service: \"scale\") { name } }").await;

    let mut changes = Vec::new();
    for (service, state, kind) in [
        ("oven", "INFERRED", json!("thermocouple")),
        ("scale", "PINNED", json!("loadcell")),
        ("scale", "AMBIGUOUS", Value::Null),
    ] {
        let change = all.next().await["services"].take();
        assert_eq!((&change["service"], &change["state"]), (&json!(service), &json!(state)));
        assert_eq!((&change["kind"], change["evidence"].is_null()), (&kind, service == "scale"));
        changes.push(change);
    }
    all.settled().await;
    assert_eq!(cells.next().await["services"], json!({ "service": "scale", "state": "PINNED" }));
    cells.settled().await;

    let resume = format!("subscription {{ services(after: {}) {FIELDS} }}", changes[0]["seq"]);
    let mut resumed = house.subscribe(&resume).await;
    assert_eq!(resumed.next().await["services"], changes[1]);
    assert_eq!(resumed.next().await["services"], changes[2]);
    let house = house.restart().await;
    let mut again = house.subscribe(&format!("subscription {{ services {FIELDS} }}")).await;
    assert_eq!(again.next().await["services"], changes[0]);
    assert_eq!(again.next().await["services"], changes[2]);
}

fn weight(value: i32) -> String {
    json!({ "value": value, "unit": "g" }).to_string()
}
