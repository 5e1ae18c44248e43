//! What happens, as it happens.

use serde_json::{Value, json};

use super::{House, reading};

#[tokio::test]
async fn readings_come_live_and_the_last_first_when_asked() {
    let house = House::start().await;
    let (mut pump, mut valve) = (house.device("pump").await, house.device("valve").await);
    valve.measures(1.0).await;
    pump.measures(2.0).await;
    let mut of_all =
        house.subscribe("subscription { sensors(current: true) { seq device temperature } }").await;
    let mut of_pump = house.subscribe("subscription { sensors(devices: [\"pump\"]) { temperature } }").await;
    assert_eq!(of_all.next().await["sensors"]["device"], "valve");
    assert_eq!(of_all.next().await["sensors"]["device"], "pump");
    of_pump.settled().await;

    valve.measures(3.0).await;
    pump.measures(4.0).await;

    assert_eq!(of_all.next().await["sensors"]["temperature"], 3.0);
    assert_eq!(of_all.next().await["sensors"]["temperature"], 4.0);
    assert_eq!(of_pump.next().await["sensors"]["temperature"], 4.0);
}

#[tokio::test]
async fn presence_begins_with_each_device_as_it_is() {
    let house = House::start().await;
    let mut raspberry = house.device("raspberry").await;
    raspberry.measures(20.0).await;
    let mut presence = house.subscribe("subscription { presence { seq device status reason } }").await;

    let unheard = presence.next().await["presence"].clone();
    assert_eq!(unheard, json!({ "seq": 0, "device": "esp32", "status": "UNKNOWN", "reason": null }));
    let online = presence.next().await["presence"].clone();
    assert_eq!((&online["device"], &online["status"]), (&json!("raspberry"), &json!("ONLINE")));

    raspberry.says("presence/raspberry/status", "offline").await;
    let offline = presence.next().await["presence"].clone();
    assert_eq!((&offline["status"], &offline["reason"]), (&json!("OFFLINE"), &json!("SELF_REPORTED")));

    let again = format!("subscription {{ presence(after: {}) {{ status }} }}", online["seq"]);
    let mut resumed = house.subscribe(&again).await;
    assert_eq!(resumed.next().await["presence"]["status"], "OFFLINE");
    raspberry.says("presence/raspberry/status", "online").await;
    assert_eq!(resumed.next().await["presence"]["status"], "ONLINE");
}

#[tokio::test]
async fn the_cross_link_follows_readings_and_commands() {
    let house = House::start().await;
    let mut raspberry = house.device("raspberry").await;
    raspberry.measures(20.0).await;
    let follow = "crossLink(device: \"esp32\"";
    let fields = "{ seq mode expectedPlaying hazard peerReading { temperature } }";
    let mut link = house.subscribe(&format!("subscription {{ {follow}) {fields} }}")).await;
    let first = link.next().await["crossLink"].clone();
    assert_eq!((&first["mode"], &first["expectedPlaying"]), (&json!("AUTO"), &json!(false)));

    raspberry.measures(35.0).await;
    assert_eq!(link.next().await["crossLink"]["expectedPlaying"], true);
    house.ask("mutation { stop(device: \"esp32\") { id } }").await;
    let forced = link.next().await["crossLink"].clone();
    assert_eq!((&forced["mode"], &forced["expectedPlaying"]), (&json!("FORCED_OFF"), &json!(false)));
    house.ask("mutation { stop(device: \"esp32\") { id } }").await;
    raspberry.measures(36.0).await;
    let next = link.next().await["crossLink"].clone();
    assert_eq!(next["peerReading"]["temperature"], 36.0, "what changes nothing is not told: {next}");

    let resume = format!("subscription {{ {follow}, after: {}) {fields} }}", first["seq"]);
    let mut resumed = house.subscribe(&resume).await;
    assert_eq!(resumed.next().await["crossLink"]["peerReading"]["temperature"], 35.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_in_the_middle_gets_each_reading_once() {
    const READINGS: i64 = 5_000;
    let house = House::start().await;
    let mut device = house.device("pump").await;
    let mut early = house.subscribe("subscription { sensors { seq temperature } }").await;
    early.settled().await;
    let pouring = tokio::spawn(async move {
        for n in 0..READINGS {
            device.says_soon("sensors/pump", &reading(n as f64)).await;
        }
        device.acknowledged().await;
    });

    let mut late = Vec::new();
    for n in 0..READINGS {
        let item = early.next().await["sensors"].clone();
        assert_eq!(item["temperature"], n as f64);
        if n % 1_000 == 500 {
            let join = format!("subscription {{ sensors(after: {}) {{ temperature }} }}", item["seq"]);
            let mut joined = house.subscribe(&join).await;
            late.push(tokio::spawn(async move {
                for expected in n + 1..READINGS {
                    assert_eq!(joined.next().await["sensors"]["temperature"], expected as f64);
                }
                joined.settled().await;
            }));
        }
    }
    early.settled().await;
    for joined in late {
        joined.await.unwrap();
    }
    pouring.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_does_not_read_is_caught_up() {
    // More than the gateway keeps in memory, and more than the sockets take.
    const READINGS: i64 = 12_000;
    let house = House::start().await;
    let mut device = house.device("pump").await;
    let mut slow = house.subscribe("subscription { sensors { temperature raw } }").await;
    slow.settled().await;
    let padding = "x".repeat(500);
    for n in 0..READINGS {
        let said = json!({ "temperature": n, "humidity": 1, "threshold": 29, "padding": padding });
        device.says_soon("sensors/pump", &said.to_string()).await;
    }
    device.acknowledged().await;

    for n in 0..READINGS {
        assert_eq!(slow.next().await["sensors"]["temperature"], n as f64);
    }
    slow.settled().await;
}

#[tokio::test]
async fn a_subscription_that_cannot_be_says_why() {
    let house = House::start().await;
    for (operation, code) in [
        ("subscription { sensors(after: 999999) { seq } }", "INVALID"),
        ("subscription { commands(after: 999999) { seq } }", "INVALID"),
        ("subscription { rejections(after: 999999) { seq } }", "INVALID"),
        ("subscription { sensors(maxRate: 0.01) { seq } }", "INVALID"),
        ("subscription { sensors(maxRate: 101) { seq } }", "INVALID"),
        ("subscription { crossLink(device: \"esp32\", after: 999999) { seq } }", "INVALID"),
        ("subscription { crossLink(device: \"pump\") { seq } }", "NOT_FOUND"),
        ("subscription { nothing }", "INVALID"),
    ] {
        let mut socket = house.subscribe(operation).await;
        let message = socket.hear().await;
        let error = match message["type"].as_str().unwrap() {
            "error" => &message["payload"][0],
            _ => &message["payload"]["errors"][0],
        };
        assert_eq!(error["extensions"]["code"], code, "{operation}: {message}");
    }
    let mut socket = house.subscribe("subscription { sensors(after: 999999) { seq } }").await;
    let refused = socket.hear().await;
    assert!(refused.to_string().contains("ends at"), "{refused}");
    assert_eq!(socket.hear().await["type"], "complete");
}

#[tokio::test]
async fn commands_are_followed_from_state_to_state() {
    let house = House::start().await;
    let mut esp32 = house.device("esp32").await;
    esp32.obeys().await;
    let mut all = house.subscribe("subscription { commands { id seq state } }").await;
    let mut stops = house
        .subscribe(
            "subscription { commands(filter: { action: STOP, state: UNCONFIRMABLE }) { action state } }",
        )
        .await;
    all.settled().await;
    stops.settled().await;

    let id = house.ask("mutation { play(device: \"esp32\") { id } }").await["play"]["id"].take();
    let mut seen = Vec::new();
    for state in ["ACCEPTED", "PUBLISHED", "UNCONFIRMABLE"] {
        let item = all.next().await["commands"].take();
        assert_eq!((&item["id"], &item["state"]), (&id, &json!(state)));
        seen.push(item["seq"].as_i64().unwrap());
    }
    house.ask("mutation { stop(device: \"esp32\") { id } }").await;
    assert_eq!(stops.next().await["commands"], json!({ "action": "STOP", "state": "UNCONFIRMABLE" }));

    let resumed = format!("subscription {{ commands(after: {}) {{ seq state }} }}", seen[0]);
    let mut resumed = house.subscribe(&resumed).await;
    assert_eq!(resumed.next().await["commands"], json!({ "seq": seen[1], "state": "PUBLISHED" }));
}

#[tokio::test]
async fn rejections_are_followed() {
    let house = House::start().await;
    let mut attic = house.device("attic").await;
    let mut all = house.subscribe("subscription { rejections { reason payload } }").await;
    let filter = "{ reason: MISSING_FIELD, topic: \"sensors/attic\" }";
    let mut some = house
        .subscribe(&format!("subscription {{ rejections(filter: {filter}) {{ pointer detail }} }}"))
        .await;
    all.settled().await;
    some.settled().await;

    attic.says("sensors/attic", "nonsense").await;
    attic.says("sensors/cellar", "{}").await;
    attic.says("sensors/attic", "{\"temperature\": 1}").await;

    assert_eq!(all.next().await["rejections"], json!({ "reason": "NOT_JSON", "payload": "nonsense" }));
    assert_eq!(all.next().await["rejections"], json!({ "reason": "MISSING_FIELD", "payload": "{}" }));
    assert_eq!(all.next().await["rejections"]["reason"], "MISSING_FIELD");
    let detail = some.next().await["rejections"].take();
    assert!(detail["pointer"].as_str().unwrap().starts_with('/'), "{detail}");
}

/// What happens while a client is away, twice and across a restart, and what it hears when it comes back.
#[tokio::test]
async fn every_stream_resumes_after_a_restart_without_hole_or_duplicate() {
    const STREAMS: [&str; 3] = ["sensors", "commands", "rejections"];
    let mut house = House::start().await;
    let mut heard = [const { Vec::<i64>::new() }; STREAMS.len()];
    for round in 0..3 {
        let mut esp32 = house.device("esp32").await;
        esp32.obeys().await;
        let mut happen = async |count: i64| {
            for n in 0..count {
                esp32.measures(n as f64).await;
                esp32.says("sensors/esp32", "nonsense").await;
                house.ask("mutation { play(device: \"esp32\") { id } }").await;
            }
        };
        happen(2).await;
        let mut sockets = Vec::new();
        for (stream, heard) in STREAMS.iter().zip(&heard) {
            let after = heard.last().copied().unwrap_or_default();
            sockets.push(
                house.subscribe(&format!("subscription {{ {stream}(after: {after}) {{ seq }} }}")).await,
            );
        }
        happen(1).await;
        // Of what happened in this round, the last of each stays unheard until the next.
        for ((stream, heard), socket) in STREAMS.iter().zip(&mut heard).zip(&mut sockets) {
            let each = if *stream == "commands" { 3 } else { 1 };
            let known = each * 3 * (round + 1) - 1;
            while heard.len() < known {
                heard.push(socket.next().await[stream]["seq"].as_i64().unwrap());
            }
        }
        house = house.restart().await;
    }

    let everything = house
        .ask("{ device(name: \"esp32\") { readings { nodes { seq } } } rejections { nodes { seq } } commands { nodes { id seq } } }")
        .await;
    let seqs = |list: &Value, key: &str| -> Vec<i64> {
        let nodes = list["nodes"].as_array().unwrap();
        nodes.iter().rev().map(|node| node[key].as_i64().unwrap()).collect()
    };
    let (readings, rejections) =
        (seqs(&everything["device"]["readings"], "seq"), seqs(&everything["rejections"], "seq"));
    assert_eq!(heard[0], readings[..readings.len() - 1]);
    assert_eq!(heard[2], rejections[..rejections.len() - 1]);
    assert!(heard[1].is_sorted_by(|one, next| one < next), "{heard:?}");
    for told in [seqs(&everything["commands"], "id"), seqs(&everything["commands"], "seq")] {
        let last = heard[1].last().unwrap();
        assert!(told.iter().all(|seq| heard[1].contains(seq) || seq > last), "{told:?} {heard:?}");
    }
}

#[tokio::test]
async fn a_conflated_stream_tells_the_newest_and_how_many_it_left_out() {
    let house = House::start().await;
    let mut pump = house.device("pump").await;
    pump.measures(0.0).await;
    let fields = "{ seq temperature skipped }";
    let mut all = house.subscribe(&format!("subscription {{ sensors {fields} }}")).await;
    let mut few =
        house.subscribe(&format!("subscription {{ sensors(maxRate: 1, current: true) {fields} }}")).await;
    all.settled().await;
    let first = few.next().await["sensors"].take();
    assert_eq!((&first["temperature"], &first["skipped"]), (&json!(0.0), &json!(0)));

    for n in 1..=50 {
        pump.measures(f64::from(n)).await;
    }
    let mut seqs = Vec::new();
    for n in 1..=50 {
        let item = all.next().await["sensors"].take();
        assert_eq!((&item["temperature"], &item["skipped"]), (&json!(f64::from(n)), &json!(0)));
        seqs.push(item["seq"].clone());
    }
    // However long the fifty took: what is told and what is left out are all of them, up to the newest.
    let (mut told, mut skipped) = (0, 0);
    let last = loop {
        let item = few.next().await["sensors"].take();
        told += 1;
        skipped += item["skipped"].as_i64().unwrap();
        if item["seq"] == seqs[49] {
            break item;
        }
    };
    assert_eq!((told + skipped, &last["temperature"]), (50, &json!(50.0)));
    assert!(skipped > 0, "{told} were told");

    let replay = format!("subscription {{ sensors(maxRate: 0.1, after: {}) {fields} }}", first["seq"]);
    let mut replay = house.subscribe(&replay).await;
    let item = replay.next().await["sensors"].take();
    assert_eq!((&item["seq"], &item["skipped"]), (&seqs[49], &json!(49)), "a replay is conflated too");
    replay.settled().await;
}
