//! A database that an earlier Crosslink has left.

use std::path::Path;

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};

use crate::harness::House;

/// As the first version made it: a play that was published, a stop that expired, a reading.
const LEFT: &str = r#"
    PRAGMA application_id = 0x584C4E4B;
    INSERT INTO sources (id, class, name, first_at) VALUES (1, 1, 'pump', 1795292100000000);
    INSERT INTO journal (seq, at, kind, source, body) VALUES
        (1, 1795292100000000, 1, 1, '{"temperature":20.5,"humidity":40,"threshold":29}'),
        (2, 1795292101000000, 4, 1, NULL), (3, 1795292101000001, 4, 1, NULL), (4, 1795292101000002, 4, 1, NULL),
        (5, 1795292102000000, 4, 1, NULL), (6, 1795292103000000, 4, 1, NULL);
    INSERT INTO commands
        (id, source, topic, payload, qos, action, surface, client_id, address, idempotency_key, accepted_at)
    VALUES
        (2, 1, 'commands/pump/play', CAST('true' AS BLOB), 1, 1, 1, NULL, '127.0.0.1:50000', 'k', 1795292101000000),
        (5, 1, 'commands/pump/play', CAST('false' AS BLOB), 1, 2, 2, NULL, NULL, NULL, 1795292102000000);
    INSERT INTO command_states (seq, command, state, delivery) VALUES
        (2, 2, 1, NULL), (3, 2, 2, 2), (4, 2, 3, 2), (5, 5, 1, NULL), (6, 5, 4, NULL);
"#;

async fn leave(database: &Path) {
    let db = Database::connect(format!("sqlite://{}?mode=rwc", database.display())).await.unwrap();
    Migrator::up(&db, Some(1)).await.unwrap();
    db.execute_unprepared(LEFT).await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_has_left_is_listed_as_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("crosslink.db");
    leave(&database).await;

    let house = House::with(|config| config.database = database).await;

    let list = async |query: &str| house.get(&format!("/api/v1/commands?{query}")).await["items"].take();
    let all = list("").await;
    let told = |one: &Value| json!([one["id"], one["seq"], one["state"], one["delivery"], one["surface"]]);
    assert_eq!(
        all.as_array().unwrap().iter().map(told).collect::<Vec<_>>(),
        [json!([5, 6, "EXPIRED", null, "GRAPHQL"]), json!([2, 4, "UNCONFIRMABLE", "SENT", "REST"])]
    );
    assert_eq!(list("state=UNCONFIRMABLE").await, json!([all[1]]));
    assert_eq!(list("state=EXPIRED").await, json!([all[0]]));
    assert_eq!(list("state=ACCEPTED").await, json!([]));
    assert_eq!(house.get("/api/v1/commands/2").await, all[1]);

    let readings = house.get("/api/v1/devices/pump/readings?from=2026-11-21T20:15:00Z").await;
    assert_eq!(readings["items"][0]["temperature"], 20.5, "{readings}");
    assert_eq!(readings["items"][0]["replay_of"], Value::Null);
    house.stop().await;
}
