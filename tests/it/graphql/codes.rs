//! What goes wrong has one name, whoever is asked: REST, GraphQL, the table in the README.

use reqwest::{Method, RequestBuilder, header};
use sea_orm::{ConnectOptions, ConnectionTrait, Database};
use serde_json::json;

use super::House;

/// The same fault by both ways has this code, and in REST the status that the README says.
async fn both(house: &House, code: &str, by_rest: RequestBuilder, by_graphql: RequestBuilder) {
    let ((status, problem), (_, answer)) = tokio::join!(house.0.json(by_rest), house.0.json(by_graphql));
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let row = format!("| `{code}` | {} |", status.as_u16());
    assert!(std::fs::read_to_string(readme).unwrap().contains(&row), "README.md has no row {row}");
}

#[tokio::test]
async fn the_same_fault_has_the_same_code_by_rest_and_graphql() {
    let house = House::start().await;
    let rest = |method, path: &str| house.0.request(method, path);
    let graphql = |query: &str| house.0.request(Method::POST, "/graphql").json(&json!({ "query": query }));
    let send = |device: &str, action: &str| {
        rest(Method::POST, &format!("/api/v1/devices/{device}/commands")).json(&json!({ "action": action }))
    };
    let sent = house.ask("mutation { play(device: \"esp32\", idempotencyKey: \"k\") { id } }").await;
    let sent = &sent["play"]["id"];

    let (by_rest, by_graphql) =
        (send("nobody", "play"), graphql("mutation { play(device: \"nobody\") { id } }"));
    both(&house, "NOT_FOUND", by_rest, by_graphql).await;
    let by_rest = send("esp32", "stop").header("idempotency-key", "k");
    let by_graphql = graphql("mutation { stop(device: \"esp32\", idempotencyKey: \"k\") { id } }");
    both(&house, "IDEMPOTENCY_CONFLICT", by_rest, by_graphql).await;
    let by_rest = rest(Method::GET, "/api/v1/devices/esp32/readings?limit=0");
    let by_graphql = graphql("{ device(name: \"esp32\") { readings(first: 0) { nodes { seq } } } }");
    both(&house, "INVALID", by_rest, by_graphql).await;
    let by_graphql = rest(Method::GET, "/graphql?query=mutation%7Bplay(device:%22esp32%22)%7Bid%7D%7D");
    both(&house, "METHOD_NOT_ALLOWED", rest(Method::DELETE, "/api/v1/devices"), by_graphql).await;
    let mut rig = house.0.somebody("rig").await;
    rig.say(
        "rig/plate/temperature",
        r#"{ "temperature": 20.0, "ambient": 21.0, "unit": "C", "error": null }"#,
    )
    .await;
    let by_rest = rest(Method::PUT, "/api/v1/services/rig/plate").json(&json!({ "kind": "pid" }));
    let by_graphql =
        graphql("mutation { pinService(firmware: \"rig\", service: \"plate\", kind: \"pid\") { state } }");
    both(&house, "KIND_CONTRADICTED", by_rest, by_graphql).await;
    let large = "#".repeat(300 * 1024);
    both(&house, "TOO_LARGE", send("esp32", &large), graphql(&large)).await;
    let plain = |request: RequestBuilder| request.header(header::CONTENT_TYPE, "text/plain").body("{}");
    let by_rest = plain(rest(Method::POST, "/api/v1/devices/esp32/commands"));
    both(&house, "UNSUPPORTED_MEDIA_TYPE", by_rest, plain(rest(Method::POST, "/graphql"))).await;

    let mut database = ConnectOptions::new(format!("sqlite://{}", house.0.database().display()));
    database.max_connections(1);
    let db = Database::connect(database).await.unwrap();
    // No action has this number.
    db.execute_unprepared("UPDATE commands SET action = 99").await.unwrap();
    let by_rest = rest(Method::GET, &format!("/api/v1/commands/{sent}"));
    both(&house, "INTERNAL", by_rest, graphql(&format!("{{ command(id: {sent}) {{ id }} }}"))).await;

    // Somebody else writes for a long time.
    db.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    let (by_rest, by_graphql) =
        (send("esp32", "play"), graphql("mutation { play(device: \"esp32\") { id } }"));
    both(&house, "UNAVAILABLE", by_rest, by_graphql).await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_invalid() {
    let house = House::start().await;
    for operation in [
        "mutation { stop(device: \"esp32\", idempotencyKey: \"\") { id } }",
        "{ device(name: \"esp32\") { readings(after: \"x\") { nodes { seq } } } }",
        "{ device(name: \"esp32\") { readings(from: \"yesterday\") { nodes { seq } } } }",
        "{ device(name: \"esp32\") { readings(from: \"2026-11-21T20:15:00Z\", to: \"2026-11-21T20:00:00Z\") { nodes { seq } } } }",
        "{ commands(filter: { state: LOST }) { nodes { id } } }",
        "{ rejectionCounts(first: 0) { count } }",
        "{ devices { readings(first: 1000) { nodes { seq at temperature humidity unit } } } }",
        "{ nothing }",
        "{ devices {",
        "subscription { sensors { seq } }",
    ] {
        let answer = house.post(operation).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID", "{operation}: {answer}");
    }
}

#[tokio::test]
async fn what_is_too_much_says_how_much_there_may_be() {
    let house = House::start().await;
    let asked = "{ devices { readings(first: 1000) { nodes { seq at temperature humidity unit } } } }";
    let answer = house.post(asked).await;
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "INVALID", "{answer}");
    assert_eq!(
        error["message"],
        "one operation asks for at most 50000 fields, each as often as it may be in the answer: \
         this one for 60010"
    );
}
