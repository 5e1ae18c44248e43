//! Devices, and what happened to them.

use reqwest::Method;
use serde_json::{Value, json};

use super::{device, refused, seqs};
use crate::harness::House;

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_the_pair_and_whoever_spoke() {
    let house = House::start().await;
    let _device = device(&house, "pump", &[20.5]).await;
    let _device = device(&house, "raspberry", &[30.0]).await;

    let page = house.get("/api/v1/devices").await;
    assert_eq!(page["next"], Value::Null);
    let names: Vec<&str> =
        page["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["esp32", "pump", "raspberry"]);

    let pump = house.get("/api/v1/devices/pump").await;
    assert_eq!(pump["presence"]["status"], "ONLINE");
    assert_eq!(pump["presence"]["client_id"], "pump");
    assert_eq!(
        pump["latest"]["payload"],
        json!({ "temperature": 20.5, "humidity": 60.0, "threshold": 29.0 })
    );
    assert_eq!((&pump["mode"], &pump["cross_link"]), (&json!("AUTO"), &Value::Null));

    let esp32 = house.get("/api/v1/devices/esp32").await;
    assert_eq!(esp32["presence"]["status"], "UNKNOWN");
    assert_eq!(esp32["cross_link"]["peer"], "raspberry");
    assert_eq!(esp32["cross_link"]["expected_playing"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_come_in_pages() {
    let house = House::start().await;
    let _device = device(&house, "pump", &[1.0, 2.0, 3.0]).await;
    let path = "/api/v1/devices/pump/readings";

    let all = house.get(&format!("{path}?after=0")).await;
    let seqs_of_all = seqs(&all);
    let [first, second, third] = seqs_of_all[..] else { panic!("{all}") };
    assert_eq!(all["next"], Value::Null);

    let newest = house.get(&format!("{path}?limit=2")).await;
    assert_eq!((seqs(&newest), &newest["next"]), (vec![third, second], &json!(format!("before-{second}"))));
    let older = house.get(&format!("{path}?limit=2&after=before-{second}")).await;
    assert_eq!((seqs(&older), &older["next"]), (vec![first], &Value::Null));
    let newer = house.get(&format!("{path}?limit=1&after={first}")).await;
    assert_eq!((seqs(&newer), &newer["next"]), (vec![second], &json!(second.to_string())));
    assert_eq!(newer["items"][0]["temperature"], 2.0);

    let presence = house.get("/api/v1/devices/pump/presence").await;
    assert_eq!(presence["items"][0]["status"], "ONLINE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_parameter_is_named() {
    let house = House::start().await;
    for (query, says) in [
        ("after=x", "after: "),
        ("after=-1", "neither a seq nor the next of a page"),
        ("after=before-", "neither a seq nor the next of a page"),
        ("before=4", "before"),
        ("limit=0", "limit: a page has 1 to 1000 items, not 0"),
        ("limit=1001", "limit: a page has 1 to 1000 items, not 1001"),
        ("limit=many", "limit: "),
        ("limit=1&limit=2", "duplicate field `limit`"),
        ("from=yesterday", "from: \"yesterday\" is no RFC 3339 time"),
        ("to=2026-11-21", "to: \"2026-11-21\" is no RFC 3339 time"),
        ("to=2026-11-21T20:15:00", "to: "),
        ("from=", "from: "),
        (
            "from=2026-11-21T20:15:00Z&to=2026-11-21T20:15:00%2B01:00",
            "from: 2026-11-21T20:15:00.000Z is later than to: 2026-11-21T19:15:00.000Z",
        ),
    ] {
        for of in ["readings", "presence"] {
            let request = house.request(Method::GET, &format!("/api/v1/devices/esp32/{of}?{query}"));
            refused(request, 400, "INVALID", says).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_told_between_two_moments() {
    let house = House::start().await;
    let _device = device(&house, "pump", &[1.0, 2.0, 3.0]).await;
    let path = "/api/v1/devices/pump/readings";
    let all = house.get(&format!("{path}?after=0")).await;
    let seqs_of_all = seqs(&all);
    let at = |n: usize| all["items"][n]["at"].as_str().unwrap().to_owned();
    let count = async |query: &str| seqs(&house.get(&format!("{path}?{query}")).await).len();

    assert_eq!(seqs(&house.get(&format!("{path}?from={}&after=0", at(0))).await), seqs_of_all);
    assert_eq!(count(&format!("to={}", at(0))).await, 0);
    assert_eq!(count(&format!("from={}&to={}", at(0), at(0))).await, 0);
    assert_eq!(count("from=2100-01-01T00:00:00Z").await, 0);
    assert_eq!(count("to=2100-01-01T00:00:00Z").await, 3);
    // A plus that is not escaped is meant all the same.
    assert_eq!(count("to=2100-01-01T01:00:00+01:00&from=2000-01-01T00:00:00-12:00").await, 3);
    let first = house.get(&format!("{path}?to=2100-01-01T00:00:00Z&limit=2")).await;
    assert_eq!(seqs(&first), [seqs_of_all[2], seqs_of_all[1]]);
    let next = first["next"].as_str().unwrap();
    let last = house.get(&format!("{path}?to=2100-01-01T00:00:00Z&limit=2&after={next}")).await;
    assert_eq!((seqs(&last), &last["next"]), (vec![seqs_of_all[0]], &Value::Null));

    let presence = "/api/v1/devices/pump/presence";
    let changes = house.get(&format!("{presence}?after=0")).await;
    let begun = changes["items"][0]["at"].as_str().unwrap();
    assert_eq!(seqs(&house.get(&format!("{presence}?from={begun}&after=0")).await), seqs(&changes));
    assert_eq!(seqs(&house.get(&format!("{presence}?to={begun}")).await), [0; 0]);
}
