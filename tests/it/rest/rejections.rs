//! Rejections: listed, counted, and replayed once the gateway knows better.

use std::path::Path;

use bytes::Bytes;
use crosslink::{
    config::Durability,
    model::{Event, Reading, Rejection, RejectionReason, SensorPayload, Seq, Timestamp},
    store,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{device, refused, seqs};
use crate::{
    disk::{hold, let_go},
    harness::{House, reading, until},
};

/// 2026-11-20T08:00:00Z, in microseconds: a day on which the gateway understood less.
const THEN: i64 = 1_795_161_600_000_000;
const MINUTE: i64 = 60_000_000;

const REPLAY: &str = "/api/v1/rejections/replay";

/// A message that came so many minutes later and was not understood.
fn rejected(minutes: i64, topic: &str, payload: impl Into<Bytes>, reason: RejectionReason) -> Event {
    Event::Rejection(Rejection {
        seq: Seq::ZERO,
        at: Timestamp(THEN + minutes * MINUTE),
        topic: topic.to_owned(),
        qos: 1,
        retain: false,
        client_id: "old".to_owned(),
        reason,
        pointer: String::new(),
        detail: "a gateway of that time did not know it".to_owned(),
        payload: payload.into(),
    })
}

/// What a device measured so many minutes later.
fn measured(minutes: i64, device: &str, temperature: f64) -> Event {
    let payload = Bytes::from(reading(temperature));
    let said: SensorPayload = serde_json::from_slice(&payload).unwrap();
    let reading: Reading =
        said.typed(Seq::ZERO, Timestamp(THEN + minutes * MINUTE), device.to_owned(), payload);
    Event::Reading(reading)
}

/// A gateway with a past. The events have the seqs from 1.
async fn house(folder: &Path, past: impl IntoIterator<Item = Event>) -> House {
    let database = folder.join("crosslink.db");
    let (store, mut journal) = store::open(&database, Durability::Normal).await.unwrap();
    for event in past {
        journal.append(&mut [store::Draft { event: Some(event), ..store::Draft::default() }]).await.unwrap();
    }
    journal.close().await.unwrap();
    drop(store);
    House::with(|config| config.database = database).await
}

async fn replay(house: &House, what: Value) -> Value {
    let (status, page) = house.post(REPLAY, what).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    page
}

fn outcomes(page: &Value) -> Vec<(i64, &str)> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|one| (one["rejection"].as_i64().unwrap(), one["outcome"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_reading_has_the_time_at_which_it_came_and_is_history() {
    let folder = tempfile::tempdir().unwrap();
    let mistaken = rejected(0, "sensors/pump", reading(99.0), RejectionReason::TypeMismatch);
    let mut house = house(folder.path(), [mistaken, measured(5, "pump", 20.0)]).await;
    let before = house.device("pump").await;
    assert_eq!(before["latest"]["temperature"], 20.0);

    let page = replay(&house, json!({ "rejections": [1] })).await;

    assert_eq!((outcomes(&page), &page["next"]), (vec![(1, "RECORDED")], &Value::Null));
    let seq = page["items"][0]["reading"].clone();
    let again = json!({ "rejection": 1, "outcome": "RECORDED_BEFORE", "reading": seq, "reason": null, "detail": null });
    for restarted in [false, true] {
        if restarted {
            house = house.restart().await;
        }
        // The end is exclusive, and with moments the order is that of time.
        let path = "/api/v1/devices/pump/readings";
        let then =
            house.get(&format!("{path}?from=2026-11-20T09:00:00%2B01:00&to=2026-11-20T08:05:00Z")).await;
        assert_eq!(seqs(&then), [seq.as_i64().unwrap()], "{then}");
        let replayed = &then["items"][0];
        assert_eq!(
            (&replayed["at"], &replayed["replay_of"]),
            (&json!("2026-11-20T08:00:00.000Z"), &json!(1))
        );
        assert_eq!((&replayed["temperature"], &replayed["over_threshold"]), (&json!(99.0), &json!(true)));
        let by_time = house.get(&format!("{path}?from=2026-11-20T08:00:00Z")).await;
        assert_eq!(seqs(&by_time), [2, seq.as_i64().unwrap()]);
        assert_eq!(seqs(&house.get(path).await), [seq.as_i64().unwrap(), 2]);

        let now = house.device("pump").await;
        assert_eq!(now["latest"], before["latest"]);
        assert_eq!(now["presence"]["last_message_at"], before["presence"]["last_message_at"]);
        assert_eq!(now["presence"]["status"], "UNKNOWN");
        assert_eq!(replay(&house, json!({ "rejections": [1] })).await["items"], json!([again]));
        assert_eq!(seqs(&house.get("/api/v1/rejections").await), [1]);
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_tells_of_each_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let past = [
        rejected(0, "sensors/pump", reading(1.0), RejectionReason::TypeMismatch),
        rejected(1, "sensors/pump", "nonsense", RejectionReason::NotUtf8),
        rejected(2, "presence/pump/status", "online", RejectionReason::TypeMismatch),
        rejected(3, "commands/pump/play", "true", RejectionReason::TypeMismatch),
        rejected(
            4,
            "sensors/pump",
            r#"{"temperature":"1","humidity":2,"threshold":3}"#,
            RejectionReason::NotJson,
        ),
    ];
    let mut house = house(folder.path(), past).await;
    let first = replay(&house, json!({ "rejections": [5, 4, 3, 2, 1, 1] })).await;
    assert_eq!(
        outcomes(&first),
        [(1, "RECORDED"), (2, "REJECTED"), (3, "PAST"), (4, "PAST"), (5, "REJECTED")]
    );
    let [_, text, _, _, number] = &first["items"].as_array().unwrap()[..] else { panic!("{first}") };
    assert_eq!((&text["reason"], &text["reading"]), (&json!("NOT_JSON"), &Value::Null));
    assert_eq!(number["reason"], "TYPE_MISMATCH");
    assert!(number["detail"].as_str().unwrap().starts_with("/temperature: expected a number"), "{number}");

    for restarted in [false, true] {
        if restarted {
            house = house.restart().await;
        }
        let again = replay(&house, json!({ "after": 0 })).await;
        assert_eq!(outcomes(&again)[0], (1, "RECORDED_BEFORE"));
        assert_eq!(outcomes(&again)[1..], outcomes(&first)[1..]);
        assert_eq!(again["items"].as_array().unwrap()[1..], first["items"].as_array().unwrap()[1..]);
        assert_eq!(house.device("pump").await["presence"]["status"], "UNKNOWN");
        assert_eq!(house.get("/api/v1/commands").await["items"], json!([]));
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_replays_in_steps_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let reasons = [RejectionReason::TypeMismatch, RejectionReason::OutOfRange];
    let past = (0..10).map(|n| {
        let topic = if n < 6 { "sensors/pump" } else { "sensors/fan" };
        rejected(n, topic, reading(n as f64), reasons[n as usize % 2])
    });
    let house = house(folder.path(), past).await;
    let rejections = |page: &Value| outcomes(page).iter().map(|(seq, _)| *seq).collect::<Vec<_>>();

    let filter = json!({ "reason": "TYPE_MISMATCH", "topic": "sensors/pump" });
    assert_eq!(outcomes(&replay(&house, filter).await), [(1, "RECORDED"), (3, "RECORDED"), (5, "RECORDED")]);
    let first = replay(&house, json!({ "topic": "sensors/fan", "limit": 3 })).await;
    assert_eq!((rejections(&first), &first["next"]), (vec![7, 8, 9], &json!("9")));
    let rest = replay(&house, json!({ "topic": "sensors/fan", "after": first["next"] })).await;
    assert_eq!((rejections(&rest), &rest["next"]), (vec![10], &Value::Null));
    let rest = replay(&house, json!({ "reason": "OUT_OF_RANGE", "after": 4 })).await;
    assert_eq!(rejections(&rest), [6, 8, 10]);
    // A device that has nothing newer has what was replayed.
    assert_eq!(house.device("fan").await["latest"]["temperature"], 9.0);
    assert_eq!(house.get("/api/v1/devices/pump/readings").await["items"].as_array().unwrap().len(), 4);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_seen_through_when_whoever_asked_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let past = [rejected(0, "sensors/pump", reading(1.0), RejectionReason::TypeMismatch)];
    let house = house(folder.path(), past).await;
    let ask = |house: &House| house.request(Method::POST, REPLAY).json(&json!({ "rejections": [1] }));

    let held = hold(&house).await;
    let impatient = tokio::spawn(ask(&house).send());
    until("the reading waits for the disk", async || {
        let report = house.get("/readyz").await;
        if report["reasons"][0]["code"] == "JOURNAL_BEHIND" { Ok(()) } else { Err(report) }
    })
    .await;
    impatient.abort();
    // Their turn comes after the first only.
    let others = [tokio::spawn(ask(&house).send()), tokio::spawn(ask(&house).send())];
    assert_eq!(house.get("/api/v1/rejections").await["items"].as_array().unwrap().len(), 1);
    let_go(held).await;

    for other in others {
        let page: Value = other.await.unwrap().unwrap().json().await.unwrap();
        assert_eq!(outcomes(&page), [(1, "RECORDED_BEFORE")], "{page}");
    }
    let mut pump = house.somebody("pump").await;
    pump.say("sensors/pump", reading(2.0)).await;
    assert_eq!(house.device("pump").await["latest"]["temperature"], 2.0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_nothing_in_particular_is_refused() {
    let house = House::start().await;
    let mut odd = house.somebody("odd").await;
    odd.say("sensors/pump", "nonsense").await;
    let seq = house.get("/api/v1/rejections").await["items"][0]["seq"].as_i64().unwrap();
    for (body, says) in [
        (json!({}), "give rejections, or a filter of reason, topic or after"),
        (json!({ "limit": 5 }), "give rejections, or a filter"),
        (json!({ "rejections": [] }), "rejections: the list is empty"),
        (json!({ "rejections": [seq], "reason": "NOT_JSON" }), "either these or a filter"),
        (json!({ "rejections": [seq], "limit": 5 }), "either these or a filter"),
        (json!({ "rejections": ["a"] }), "rejections[0]: "),
        (json!({ "rejections": (1..=1001).collect::<Vec<_>>() }), "at most 1000"),
        (json!({ "reason": "BORED" }), "expected one of `UNKNOWN_TOPIC`"),
        (json!({ "reason": "BORED" }), "reason: "),
        (json!({ "after": -1 }), "after: -1 is no seq"),
        (json!({ "after": "before-9" }), "after: \"before-9\" is no seq"),
        (json!({ "after": [1] }), "after: [1] is no seq"),
        (json!({ "after": 0, "limit": 1001 }), "limit: a page has 1 to 1000 items"),
        (json!({ "colour": "red" }), "unknown field `colour`"),
        (json!([[seq], null, null, null, null]), "expected an object"),
    ] {
        refused(house.request(Method::POST, REPLAY).json(&body), 400, "INVALID", says).await;
    }
    let missing = json!({ "rejections": [seq, seq + 1000] });
    let says = format!("no rejection \"{}\"", seq + 1000);
    refused(house.request(Method::POST, REPLAY).json(&missing), 404, "NOT_FOUND", &says).await;
    let text = house.request(Method::POST, REPLAY).body("{}");
    refused(text, 415, "UNSUPPORTED_MEDIA_TYPE", "application/json").await;
    let large = house.request(Method::POST, REPLAY).header("content-type", "application/json");
    refused(large.body(vec![b' '; 65 * 1024]), 413, "TOO_LARGE", "limit").await;
    let foreign = house.request(Method::POST, REPLAY).header("origin", "http://evil.example");
    refused(foreign, 403, "ORIGIN_NOT_ALLOWED", "evil.example").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_are_listed_by_reason_and_topic() {
    let house = House::start().await;
    let mut odd = device(&house, "odd", &[]).await;
    for (topic, payload) in [
        ("sensors/a", &b"nonsense"[..]),
        ("sensors/b", b"\xff\x00"),
        ("sensors/a", br#"{"temperature": 1, "humidity": "2", "threshold": 3}"#),
        ("sensors/b", b"nonsense"),
    ] {
        odd.say(topic, payload).await;
    }
    let list = async |query: &str| house.get(&format!("/api/v1/rejections?{query}")).await;

    let all = list("").await;
    let [fourth, third, second, first] = seqs(&all)[..] else { panic!("{all}") };
    let [_, typed, bytes, _] = &all["items"].as_array().unwrap()[..] else { panic!("{all}") };
    assert_eq!((&typed["pointer"], &typed["reason"]), (&json!("/humidity"), &json!("TYPE_MISMATCH")));
    assert_eq!((&bytes["payload"], &bytes["payload_base64"]), (&Value::Null, &json!("/wA=")));
    assert_eq!((&bytes["topic"], &bytes["client_id"]), (&json!("sensors/b"), &json!("odd")));
    assert_eq!((&bytes["qos"], &bytes["retain"]), (&json!(1), &json!(false)));
    assert!(typed["payload"].as_str().unwrap().starts_with("{\"temperature\""));
    assert!(typed["detail"].as_str().unwrap().contains("expected a number"), "{typed}");

    assert_eq!(seqs(&list("reason=NOT_JSON").await), [fourth, first]);
    assert_eq!(seqs(&list("topic=sensors/a").await), [third, first]);
    assert_eq!(seqs(&list("topic=sensors/b&reason=NOT_JSON").await), [fourth]);
    assert_eq!(seqs(&list("topic=sensors/%2B").await), [0; 0]);
    let newest = list("limit=3").await;
    assert_eq!(
        (seqs(&newest), &newest["next"]),
        (vec![fourth, third, second], &json!(format!("before-{second}")))
    );
    assert_eq!(seqs(&list(&format!("limit=3&after=before-{second}")).await), [first]);
    let later = list(&format!("after={first}&limit=2")).await;
    assert_eq!((seqs(&later), &later["next"]), (vec![second, third], &json!(third.to_string())));

    for (query, says) in [
        ("reason=BORED", "reason: unknown variant `BORED`, expected one of `UNKNOWN_TOPIC`, `NOT_UTF8`"),
        ("after=x", "after: "),
        ("limit=1001", "limit: a page has 1 to 1000 items"),
        ("device=a", "`device`"),
    ] {
        refused(house.request(Method::GET, &format!("/api/v1/rejections?{query}")), 400, "INVALID", says)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_go_on_where_samples_end() {
    let house = House::start().await;
    let mut odd = house.somebody("odd").await;
    for _ in 0..25 {
        odd.say("sensors/a", "nonsense").await;
    }
    odd.say("sensors/b", b"\xff").await;

    let counts = house.get("/api/v1/rejections/counts").await;

    let told = |one: &Value| json!([one["topic"], one["reason"], one["count"]]);
    let items = counts["items"].as_array().unwrap();
    assert_eq!(
        items.iter().map(told).collect::<Vec<_>>(),
        [json!(["sensors/b", "NOT_UTF8", 1]), json!(["sensors/a", "NOT_JSON", 25])]
    );
    assert!(items[0]["last_at"].as_str() >= items[1]["last_at"].as_str());
    assert_eq!(counts["next"], Value::Null);
    assert_eq!(seqs(&house.get("/api/v1/rejections?topic=sensors/a").await).len(), 20);
}
