//! Who is connected to the broker.

use crosslink::broker::QoS;
use reqwest::Method;
use serde_json::{Value, json};

use super::refused;
use crate::harness::{House, reading, until};

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|client| client["client_id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_with_all_that_is_known_of_it() {
    let house = House::start().await;
    let mut listener = house.client("listener").keep_alive(7).connect_v5().await;
    listener.subscribe("sensors/#", QoS::AtLeastOnce).await;
    listener.subscribe("presence/+/status", QoS::AtMostOnce).await;
    let mut pump = house.somebody("pump").await;

    let page = house.get("/api/v1/clients").await;
    assert_eq!((ids(&page), &page["next"]), (vec!["pump", "listener"], &Value::Null));
    let [newest, oldest] = &page["items"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!((&newest["version"], &newest["keep_alive"]), (&json!("MQTT_3_1_1"), &json!(30)));
    assert_eq!((&newest["last_message_at"], &newest["subscriptions"]), (&Value::Null, &json!([])));
    assert_eq!((&oldest["version"], &oldest["keep_alive"]), (&json!("MQTT_5"), &json!(7)));
    let filters = json!([{ "filter": "sensors/#", "qos": 1 }, { "filter": "presence/+/status", "qos": 0 }]);
    assert_eq!((&oldest["subscriptions"], &oldest["subscription_count"]), (&filters, &json!(2)));
    assert!(oldest["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(oldest["since"].as_str() <= newest["since"].as_str());
    assert_eq!((&oldest["queued"], &oldest["in_flight"]), (&json!(0), &json!(0)));

    listener.acknowledge_nothing();
    pump.say("sensors/pump", reading(20.0)).await;
    listener.next_publish().await;
    let page = house.get("/api/v1/clients").await;
    assert!(page["items"][0]["last_message_at"].is_string(), "{page}");
    assert_eq!(page["items"][1]["in_flight"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_in_pages_by_session() {
    let house = House::start().await;
    let a = house.somebody("a").await;
    let _others = (house.somebody("b").await, house.somebody("c").await);

    let newest = house.get("/api/v1/clients?limit=2").await;
    assert_eq!(ids(&newest), ["c", "b"]);
    let next = newest["next"].as_str().unwrap();
    let older = house.get(&format!("/api/v1/clients?limit=2&after={next}")).await;
    assert_eq!((ids(&older), &older["next"]), (vec!["a"], &Value::Null));
    let session = older["items"][0]["session"].as_str().unwrap();
    let later = house.get(&format!("/api/v1/clients?limit=1&after={session}")).await;
    assert_eq!((ids(&later), &later["next"]), (vec!["b"], &newest["items"][1]["session"]));

    a.disconnect().await;
    until("who leaves is on no page", async || {
        let page = house.get("/api/v1/clients").await;
        if ids(&page) == ["c", "b"] { Ok(()) } else { Err(page) }
    })
    .await;
    for (query, says) in [("after=x", "after: "), ("limit=0", "limit: "), ("device=a", "`device`")] {
        let request = house.request(Method::GET, &format!("/api/v1/clients?{query}"));
        refused(request, 400, "INVALID", says).await;
    }
}
