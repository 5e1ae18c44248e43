//! Every field of the schema, in a house that has something to say in each.

use std::collections::{BTreeMap, BTreeSet};

use crosslink::catalog::KINDS;
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};
use tokio::join;

use super::{
    House,
    commands::{DONE, HALF, fan, replies},
    services::THERMOCOUPLE,
};

/// What is asked at the top: type, field with arguments, and how many items a stream gives.
fn asked(
    token: &Value,
    command: &Value,
    readings: usize,
    changes: usize,
) -> Vec<(&'static str, String, usize)> {
    let query = |field: &str| ("Query", field.to_owned(), 1);
    let mutation = |field: &str| ("Mutation", field.to_owned(), 1);
    let stream = |field: &str, items| ("Subscription", field.to_owned(), items);
    let tare = "firmware: \"rig\", service: \"loadcell\", command: { loadcell: true }";
    vec![
        // While it is armed.
        ("Mutation", format!("execute(token: {token})"), 1),
        ("Mutation", format!("arm({tare})"), 1),
        ("Mutation", format!("sendCommand({tare})"), 1),
        mutation("play(device: \"esp32\", idempotencyKey: \"k\")"),
        mutation("stop(device: \"esp32\")"),
        mutation("resume(device: \"esp32\")"),
        mutation("replayRejections(filter: {}, first: 1)"),
        mutation("replayRejections(filter: {})"),
        mutation("pinService(firmware: \"lab\", service: \"oven\", kind: \"thermocouple\")"),
        mutation("unpinService(firmware: \"lab\", service: \"oven\")"),
        query("devices"),
        query("device(name: \"esp32\")"),
        query("kinds"),
        query("kind(name: \"pds\")"),
        query("services"),
        query("service(firmware: \"rig\", name: \"pds\")"),
        query("readings(first: 90)"),
        query("commands(first: 60)"),
        ("Query", format!("command(id: {command})"), 1),
        query("rejections(first: 9)"),
        query("rejectionCounts"),
        query("clients"),
        query("refusedClients"),
        stream("sensors(after: 0)", 3),
        stream("presence", 2),
        stream("crossLink(device: \"esp32\")", 1),
        stream("commands(after: 0)", 9),
        stream("rejections(after: 0)", 2),
        stream("readings(after: 0)", readings),
        stream("services(after: 0)", changes),
        stream("irFrames(firmware: \"board1\", service: \"camera\", after: 0)", 1),
    ]
}

#[tokio::test]
async fn every_field_says_something() {
    let house = House::start().await;
    let (mut esp32, mut raspberry) = (house.device("esp32").await, house.device("raspberry").await);
    esp32.obeys().await;
    raspberry.obeys().await;
    esp32.says("lab/oven/temperature", "one day this is understood").await;
    esp32.says("lab/oven/temperature", THERMOCOUPLE).await;
    house.pin_every_kind().await;
    esp32.says_everything().await;
    let measured = json!({ "temperature": 30, "humidity": 40, "threshold": 29, "unit": "C", "more": true });
    esp32.says("sensors/esp32", &measured.to_string()).await;
    raspberry.says("sensors/raspberry", &measured.to_string()).await;
    raspberry.says("commands/esp32/play", "true").await;
    raspberry.says("sensors/raspberry", "one day this is understood").await;
    raspberry.says("sensors/raspberry", "nonsense").await;
    let mut rig = fan(&house).await;
    for answer in [DONE.replace("0.5", "0.25"), DONE.replace("null", "\"over current\"")] {
        join!(house.sent(HALF, "id"), replies(&mut rig, &answer));
    }
    for row in ["3", "2"] {
        esp32.says(&format!("board1/camera/{row}"), &json!(vec![36.6; 24]).to_string()).await;
    }
    let listed = house
        .ask("{ rejections { nodes { seq } } commands { nodes { id } } readings { nodes { seq } } }")
        .await;
    let understood = &listed["rejections"]["nodes"][1]["seq"];
    understand(&house, understood, &measured).await;
    let understood_later = &listed["rejections"]["nodes"][2]["seq"];
    understand(&house, understood_later, &serde_json::from_str(THERMOCOUPLE).unwrap()).await;

    house.0.flaps(house.0.client("restless")).await;

    let schema = Schema::of(&house).await;
    let armed = house
        .ask("mutation { arm(firmware: \"rig\", service: \"loadcell\", command: { loadcell: true }) { token } }")
        .await;
    let mut told = Told::default();
    // What is replayed, pinned and unpinned comes in addition.
    let readings = listed["readings"]["nodes"].as_array().unwrap().len() + 1;
    let command = &listed["commands"]["nodes"][0]["id"];
    let asked = asked(&armed["arm"]["token"], command, readings, KINDS.len() + 4);
    for (root, field, items) in &asked {
        let name = field.split('(').next().unwrap();
        let operation = format!("{} {{ {field} {} }}", root.to_lowercase(), schema.selection(root, name));
        for data in answers(&house, root, &operation, *items).await {
            told.hear(&schema, root, &data);
        }
    }

    let silent: Vec<&String> = schema.fields().filter(|field| !told.values.contains_key(*field)).collect();
    assert!(silent.is_empty(), "never told: {silent:?}");
    for (field, value) in [
        ("Reading.raw", measured.clone()),
        ("Reading.replayOf", understood.clone()),
        ("ServiceReading.replayOf", understood_later.clone()),
        ("LiveReading.replayOf", understood_later.clone()),
        ("ServiceChange.kind", json!("thermocouple")),
        ("Topic.suffix", json!("/{row}")),
        ("SensorReading.unit", json!("C")),
        ("SensorReading.replayOf", understood.clone()),
        ("CommandRecord.clientId", json!("raspberry")),
        ("CommandRecord.idempotencyKey", json!("k")),
        ("CommandRecord.timeoutMs", json!(5000)),
        ("CommandRecord.reason", json!("over current")),
        ("CommandAnswer.topic", json!("rig/fan/response")),
        ("Mismatch.pointer", json!("/duty")),
        ("Armed.topic", json!("rig/loadcell/tare")),
        ("Replay.outcome", json!("RECORDED")),
        ("Replay.reason", json!("NOT_JSON")),
        ("Rejection.payload", json!("nonsense")),
        ("Rejection.payloadBase64", json!("bm9uc2Vuc2U=")),
        ("CrossLink.hazard", json!("NONE")),
        ("ClientSession.version", json!("MQTT_3_1_1")),
        ("ClientSession.flapping", json!(false)),
        ("RefusedClient.clientId", json!("restless")),
        ("PresenceChange.flapping", json!(false)),
        ("TopicFilter.filter", json!("commands/esp32/play")),
        ("PresenceChange.reason", json!("READING")),
    ] {
        assert!(told.values[field].contains(&value.to_string()), "{field}: {:?}", told.values[field]);
    }
}

/// From now on the gateway knows what this rejection means.
async fn understand(house: &House, rejection: &Value, meant: &Value) {
    let db = Database::connect(format!("sqlite://{}", house.0.database().display())).await.unwrap();
    let update = format!("UPDATE rejections SET payload = '{meant}' WHERE seq = {rejection}");
    assert_eq!(db.execute_unprepared(&update).await.unwrap().rows_affected(), 1);
    db.close().await.unwrap();
}

async fn answers(house: &House, root: &str, operation: &str, items: usize) -> Vec<Value> {
    if root != "Subscription" {
        return vec![house.ask(operation).await];
    }
    let mut socket = house.subscribe(operation).await;
    let mut heard = Vec::new();
    for _ in 0..items {
        heard.push(socket.next().await);
    }
    heard
}

/// What was said of each field, but null.
#[derive(Default)]
struct Told {
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Told {
    fn hear(&mut self, schema: &Schema, object: &str, value: &Value) {
        for one in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
            // Which member of a union it is, it says itself.
            let object = one["__typename"].as_str().unwrap_or(object);
            let told = |(field, value): &(&String, &Value)| *field != "__typename" && !value.is_null();
            for (field, value) in one.as_object().into_iter().flatten().filter(told) {
                let path = format!("{object}.{field}");
                self.values.entry(path.clone()).or_default().insert(value.to_string());
                if let Some(inner) =
                    schema.objects[object].get(field).filter(|inner| schema.has_fields(inner))
                {
                    self.hear(schema, inner, value);
                }
            }
        }
    }
}

/// The gateway's own objects, and of what type each of their fields is.
pub(super) struct Schema {
    objects: BTreeMap<String, BTreeMap<String, String>>,
    unions: BTreeMap<String, Vec<String>>,
    pages: BTreeSet<String>,
    paths: Vec<String>,
}

impl Schema {
    pub(super) async fn of(house: &House) -> Schema {
        let named = "name ofType { name ofType { name ofType { name ofType { name } } } }";
        let asked = format!(
            "{{ __schema {{ types {{ name kind possibleTypes {{ name }} fields {{ name args {{ name }} type {{ {named} }} }} }} }} }}"
        );
        let schema = house.ask(&asked).await;
        let (mut objects, mut pages, mut paths) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        let mut unions = BTreeMap::new();
        for object in schema["__schema"]["types"].as_array().unwrap() {
            let name = object["name"].as_str().unwrap();
            if object["kind"] == "UNION" {
                let members = object["possibleTypes"].as_array().unwrap().iter();
                let members = members.map(|member| member["name"].as_str().unwrap().to_owned()).collect();
                unions.insert(name.to_owned(), members);
            }
            if object["kind"] != "OBJECT" || name.starts_with("__") {
                continue;
            }
            let mut fields = BTreeMap::new();
            for field in object["fields"].as_array().unwrap() {
                let path = format!("{name}.{}", field["name"].as_str().unwrap());
                if field["args"].as_array().unwrap().iter().any(|argument| argument["name"] == "first") {
                    pages.insert(path.clone());
                }
                paths.push(path);
                fields.insert(field["name"].as_str().unwrap().to_owned(), innermost(&field["type"]));
            }
            objects.insert(name.to_owned(), fields);
        }
        Schema { objects, unions, pages, paths }
    }

    fn has_fields(&self, name: &str) -> bool {
        self.objects.contains_key(name) || self.unions.contains_key(name)
    }

    fn fields(&self) -> impl Iterator<Item = &String> {
        self.paths.iter()
    }

    /// All that a field has within, to the end.
    pub(super) fn selection(&self, object: &str, field: &str) -> String {
        let within = &self.objects[object][field];
        if let Some(members) = self.unions.get(within) {
            let of = |member: &String| format!("... on {member} {} ", self.all(member));
            return format!("{{ __typename {} }}", members.iter().map(of).collect::<String>());
        }
        if self.objects.contains_key(within) { self.all(within) } else { String::new() }
    }

    fn all(&self, object: &str) -> String {
        let selections = self.objects[object].keys().map(|field| {
            let few = if self.pages.contains(&format!("{object}.{field}")) { "(first: 3)" } else { "" };
            format!("{field}{few} {}", self.selection(object, field))
        });
        format!("{{ {} }}", selections.collect::<String>())
    }
}

/// Without lists and non-nulls.
fn innermost(named: &Value) -> String {
    named["name"].as_str().map_or_else(|| innermost(&named["ofType"]), str::to_owned)
}
