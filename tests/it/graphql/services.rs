//! Services and the catalog: what can be asked of them and said about them.

use std::collections::{BTreeMap, BTreeSet};

use crosslink::catalog::{self, KINDS, Kind};
use serde_json::{Value, json};

use super::{Device, House, fields::Schema};

/// The rows of the DAQAstra document.
const DOCUMENT: &str = include_str!("../../fixtures/daqastra-catalog.json");

#[tokio::test]
async fn every_row_of_the_document_comes_back_as_its_type() {
    let house = House::start().await;
    let rig = &mut house.device("rig").await;
    let schema = Schema::of(&house).await;
    let payload = schema.selection("ServiceReading", "payload");
    house.pin_every_kind().await;
    for row in rows() {
        rig.says(&row.topic(), &row.payload.to_string()).await;
        let found = format!(
            "filter: {{ firmware: \"rig\", service: \"{}\", suffix: \"{}\" }}, first: 1",
            row.kind, row.suffix
        );
        let asked = match row.said {
            true => format!(
                "{{ list: readings({found}) {{ nodes {{ kind type index raw typed: payload {payload} }} }} }}"
            ),
            false => {
                format!("{{ list: commands({found}) {{ nodes {{ kind suffix payload typed {payload} }} }} }}")
            }
        };
        let told = house.ask(&asked).await["list"]["nodes"][0].take();

        assert_eq!(told["kind"], row.kind, "{row:?}: {told}");
        assert_eq!(told["typed"]["__typename"], row.shape, "{row:?}: {told}");
        assert_eq!(leaves(&told["typed"]), leaves(&row.payload), "{row:?}: {told}");
        if row.said {
            let digits: String = row.suffix.chars().filter(char::is_ascii_digit).collect();
            assert_eq!((&told["raw"], &told["type"]), (&row.payload, &json!(row.shape)));
            assert_eq!(told["index"], digits.parse::<u16>().map_or(Value::Null, Value::from), "{row:?}");
        } else {
            assert_eq!(
                (&told["payload"], &told["suffix"]),
                (&json!(row.payload.to_string()), &json!(row.suffix))
            );
        }
    }
}

#[tokio::test]
async fn a_field_of_the_payload_types_has_one_type_whichever_it_is_in() {
    let house = House::start().await;
    const TYPE: &str = "kind name ofType { kind name ofType { kind name ofType { kind name } } }";
    let union = house
        .ask(&format!(
            "{{ __type(name: \"Payload\") {{ kind possibleTypes {{ name fields {{ name type {{ {TYPE} }} }} }} }} }}"
        ))
        .await;
    let members = union["__type"]["possibleTypes"].as_array().unwrap();
    let names: BTreeSet<_> = members.iter().map(|member| member["name"].as_str().unwrap()).collect();
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let topics = document.as_array().unwrap().iter().flat_map(|kind| kind["topics"].as_array().unwrap());
    let expected: BTreeSet<_> = topics.map(|topic| topic["schema"].as_str().unwrap()).collect();
    assert_eq!(expected.len(), 47);
    assert!(names.is_superset(&expected), "{:?}", expected.difference(&names));

    let mut types = BTreeMap::new();
    for member in members {
        for field in member["fields"].as_array().unwrap() {
            let known = types.entry(field["name"].to_string()).or_insert(&field["type"]);
            assert_eq!(**known, field["type"], "{} of {}", field["name"], member["name"]);
            assert!(member["name"] == "CommandCmd" || !field["type"].to_string().contains("\"JSON\""));
        }
    }
}

#[tokio::test]
async fn the_catalog_is_the_same_by_rest_and_graphql() {
    let house = House::start().await;
    let asked = "{ kinds { name summary topics { suffix firstIndex lastIndex class type examples jsonSchema effect { class when } \
         numbers { pointer unit unit_at: unitAt } } } }";
    let by_graphql = house.ask(asked).await;
    let by_rest = house.0.get("/api/v1/kinds").await;
    let mut count = 0;
    for (one, other) in pairs(&by_graphql["kinds"], &by_rest["items"]) {
        assert_eq!((&one["name"], &one["summary"]), (&other["name"], &other["summary"]));
        for (one, other) in pairs(&one["topics"], &other["topics"]) {
            count += 1;
            for field in ["suffix", "class", "type", "examples", "effect", "numbers"] {
                assert_eq!(one[field], other[field], "{field} of {} {}", other["type"], other["suffix"]);
            }
            let index = &other["index"];
            assert_eq!((&one["firstIndex"], &one["lastIndex"]), (&index["first"], &index["last"]));
            let (one, other) = (&one["jsonSchema"], &other["json_schema"]);
            for word in ["description", "required", "additionalProperties"] {
                assert_eq!(one[word], other[word], "{word} of {one}");
            }
        }
    }
    assert_eq!(count, KINDS.iter().map(|kind| kind.topics.len()).sum::<usize>());
}

/// What stands at the same place of two lists of the same length.
fn pairs<'a>(one: &'a Value, other: &'a Value) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    let (one, other) = (one.as_array().unwrap(), other.as_array().unwrap());
    assert_eq!(one.len(), other.len());
    one.iter().zip(other)
}

#[tokio::test]
async fn the_catalog_is_told_as_it_is() {
    let house = House::start().await;
    let asked = "{ kinds { name summary topics { suffix type } } none: kind(name: \"fan\") { name } \
         pds: kind(name: \"pds\") { topics { suffix firstIndex lastIndex class numbers { pointer unit unitAt } \
             effect { class when } answer { __typename ... on ImpliedAnswer { named sent reported } } } } \
         qmc: kind(name: \"qmc5883l\") { topics { suffix type jsonSchema examples answer { ... on OutcomeAnswer { on success error } } } } }";
    let told = house.ask(asked).await;

    assert_eq!(told["kinds"].as_array().unwrap().len(), KINDS.len());
    assert_eq!(told["none"], Value::Null);
    let [config, channel, _] = &told["pds"]["topics"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!(
        config["answer"],
        json!({ "__typename": "ImpliedAnswer", "named": "/rail", "sent": "/enable", "reported": "/enabled" })
    );
    assert_eq!(config["effect"], json!({ "class": "HAZARD", "when": "/enable" }));
    assert_eq!(
        config["numbers"][0],
        json!({ "pointer": "/over_current_limit", "unit": "A", "unitAt": null })
    );
    assert_eq!((&channel["firstIndex"], &channel["lastIndex"]), (&json!(0), &json!(7)));
    assert_eq!((&channel["class"], &channel["effect"]), (&json!("TELEMETRY"), &Value::Null));
    let answer = &told["qmc"]["topics"][2];
    assert_eq!(answer["type"], "Qmc5883lConfigResponse");
    assert_eq!(answer["examples"][0]["success"]["declination"], -13.2);
    let success = answer["jsonSchema"]["properties"]["success"].to_string();
    assert!(success.contains("#/$defs/Qmc5883lConfig"), "{success}");
    assert!(
        answer["jsonSchema"]["$defs"]["Qmc5883lConfig"]["properties"]["declination"].is_object(),
        "{answer}"
    );
    assert_eq!(
        told["qmc"]["topics"][0]["answer"],
        json!({ "on": "/response", "success": "/success", "error": "/error" })
    );
}

#[tokio::test]
async fn what_was_said_before_a_pin_becomes_typed() {
    let house = House::start().await;
    let rig = &mut house.device("rig").await;
    rig.says("rig/scale", "{ \"value\": 1.5, \"unit\": \"g\" }").await;
    const ASKED: &str = "{ service(firmware: \"rig\", name: \"scale\") { state kind { name } candidates firstAt lastMessageAt \
         evidence { seq suffix candidates } latest { seq suffix type payload { ... on LoadCellData { value unit } } raw } } }";

    let mut before = house.ask(ASKED).await["service"].take();
    let latest = before["latest"].take();
    assert_eq!((&before["state"], &before["kind"]), (&json!("AMBIGUOUS"), &Value::Null));
    assert_eq!(before["candidates"], json!(["loadcell", "analog_in"]), "the unit speaks for the first");
    assert_eq!(before["evidence"][0]["seq"], latest[0]["seq"]);
    assert_eq!((&latest[0]["payload"], &latest[0]["type"]), (&Value::Null, &Value::Null));
    assert_eq!(latest[0]["raw"], json!({ "value": 1.5, "unit": "g" }));

    house.pin("rig", "scale", "loadcell").await;

    let after = house.ask(ASKED).await["service"].take();
    assert_eq!((&after["state"], &after["kind"]["name"]), (&json!("PINNED"), &json!("loadcell")));
    assert_eq!(after["latest"][0]["payload"], json!({ "value": 1.5, "unit": "g" }));
    assert_eq!(after["latest"][0]["type"], "LoadCellData");

    let unpin = "mutation { unpinService(firmware: \"rig\", service: \"scale\") { state kind { name } } }";
    assert_eq!(house.ask(unpin).await["unpinService"], json!({ "state": "AMBIGUOUS", "kind": null }));
}

#[tokio::test]
async fn a_pin_that_history_contradicts_is_refused_unless_forced() {
    let house = House::start().await;
    let rig = &mut house.device("rig").await;
    rig.says("rig/oven/temperature", THERMOCOUPLE).await;
    let pin = |arguments: &str| {
        format!("mutation {{ pinService({arguments}) {{ state kind {{ name }} latest {{ type }} }} }}")
    };
    let as_pid = "firmware: \"rig\", service: \"oven\", kind: \"pid\"";

    let refused = house.post(&pin(as_pid)).await;
    let reading = house.ask("{ readings { nodes { seq } } }").await["readings"]["nodes"][0]["seq"].take();
    assert_eq!(
        refused["errors"][0]["extensions"],
        json!({ "code": "KIND_CONTRADICTED", "seqs": [reading] }),
        "{refused}"
    );
    let forced = house.ask(&pin(&format!("{as_pid}, force: true"))).await["pinService"].take();
    assert_eq!(forced, json!({ "state": "PINNED", "kind": { "name": "pid" }, "latest": [{ "type": null }] }));

    for (arguments, code) in [
        ("firmware: \"rig\", service: \"oven\", kind: \"fan\"", "NOT_FOUND"),
        ("firmware: \"\", service: \"oven\", kind: \"pid\"", "INVALID"),
        ("firmware: \"rig\", service: \"a/b\", kind: \"pid\"", "INVALID"),
        ("firmware: \"rig\", service: \"+\", kind: \"pid\"", "INVALID"),
        ("firmware: \"sensors\", service: \"oven\", kind: \"pid\"", "INVALID"),
        ("firmware: \"$SYS\", service: \"oven\", kind: \"pid\"", "INVALID"),
        ("firmware: \"esp32\", service: \"play\", kind: \"pid\"", "INVALID"),
    ] {
        let answer = house.post(&pin(arguments)).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{arguments}: {answer}");
    }
    let unknown = house.post("mutation { unpinService(firmware: \"rig\", service: \"b\") { name } }").await;
    assert_eq!(unknown["errors"][0]["extensions"]["code"], "NOT_FOUND", "{unknown}");
}

#[tokio::test]
async fn services_are_found_by_what_they_are_also_after_a_restart() {
    let house = House::start().await;
    let rig = &mut house.device("rig").await;
    rig.says("rig/oven/temperature", THERMOCOUPLE).await;
    rig.says("rig/scale", "{ \"value\": 1.5, \"unit\": \"g\" }").await;
    rig.says("lab/oven/temperature", THERMOCOUPLE).await;
    rig.says("rig/fan/config", "{ \"enable\": false, \"duty\": 0.5, \"frequency\": 50 }").await;
    house.pin("rig", "later", "pid").await;
    const FILTERS: [(&str, &[&str]); 6] = [
        ("", &["lab/oven", "rig/fan", "rig/later", "rig/oven", "rig/scale"]),
        ("firmware: \"lab\"", &["lab/oven"]),
        ("service: \"oven\"", &["lab/oven", "rig/oven"]),
        ("kind: \"thermocouple\", firmware: \"rig\"", &["rig/oven"]),
        ("state: PINNED", &["rig/later"]),
        ("kind: \"stepper\"", &[]),
    ];
    let all = "{ services { firmware name state kind { name } candidates evidence { seq } seq firstAt lastMessageAt \
         latest { seq payload { __typename } } commands { nodes { id suffix } } } }";
    let found = async |house: &House| {
        for (filter, expected) in FILTERS {
            let mut data =
                house.ask(&format!("{{ services(filter: {{ {filter} }}) {{ firmware name }} }}")).await;
            let names: Vec<String> = items(&mut data["services"])
                .map(|service| text(&service["firmware"]) + "/" + &text(&service["name"]))
                .collect();
            assert_eq!(names, expected, "{filter}");
        }
        house.ask(all).await["services"].take()
    };

    let before = found(&house).await;
    assert_eq!(before[1]["state"], "UNKNOWN", "it was only spoken to: {before}");
    assert_eq!(before[1]["commands"]["nodes"][0]["suffix"], "/config");
    let house = house.restart().await;
    assert_eq!(found(&house).await, before);

    let nothing = house.ask("{ service(firmware: \"rig\", name: \"nobody\") { name } }").await;
    assert_eq!(nothing["service"], Value::Null);
    for asked in ["services", "readings"] {
        let asked = format!("{{ {asked}(filter: {{ kind: \"fan\" }}) {{ __typename }} }}");
        let answer = house.post(&asked).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "NOT_FOUND", "{answer}");
    }
}

#[tokio::test]
async fn readings_are_found_by_what_they_are() {
    let house = House::start().await;
    let rig = &mut house.device("rig").await;
    for n in 0..3 {
        rig.says("rig/oven/temperature", &thermocouple(n)).await;
        rig.says("rig/valve/output", &pid(n)).await;
    }
    rig.says("lab/valve/output", &pid(3)).await;
    rig.says("rig/valve/response", PID_RESPONSE).await;
    let found = async |filter: &str| {
        let asked =
            format!("{{ readings(filter: {{ {filter} }}) {{ nodes {{ firmware service suffix }} }} }}");
        let mut data = house.ask(&asked).await;
        let topic = |reading: Value| {
            text(&reading["firmware"]) + "/" + &text(&reading["service"]) + &text(&reading["suffix"])
        };
        items(&mut data["readings"]["nodes"]).map(topic).collect::<Vec<_>>()
    };

    assert_eq!(found("").await.len(), 8);
    assert_eq!(found("firmware: \"lab\"").await, ["lab/valve/output"]);
    assert_eq!(found("kind: \"thermocouple\"").await, ["rig/oven/temperature"; 3]);
    assert_eq!(found("service: \"valve\", suffix: \"/response\"").await, ["rig/valve/response"]);
    assert_eq!(found("kind: \"pid\", firmware: \"rig\"").await.len(), 4);
    assert_eq!(found("suffix: \"\"").await, [""; 0]);
}

#[tokio::test]
async fn readings_of_services_are_paged_in_both_directions() {
    let house = House::start().await;
    let rig = &mut house.device("rig").await;
    for n in 0..5 {
        rig.says("rig/oven/temperature", &thermocouple(n)).await;
        rig.says("rig/valve/output", &pid(n)).await;
    }
    for root in [
        "readings(filter: { kind: \"thermocouple\" }, ARGUMENTS)",
        "service(firmware: \"rig\", name: \"oven\") { readings(ARGUMENTS) FIELDS }",
        "service(firmware: \"rig\", name: \"oven\") { readings(suffix: \"/temperature\", ARGUMENTS) FIELDS }",
    ] {
        let page = async |arguments: &str| {
            const FIELDS: &str = "{ nodes { at payload { ... on ThermocoupleData { ambient } } } \
                 pageInfo { hasNextPage hasPreviousPage endCursor startCursor } }";
            let asked = match root.contains("FIELDS") {
                true => root.replace("FIELDS", FIELDS),
                false => format!("{root} {FIELDS}"),
            };
            let data = house.ask(&format!("{{ {} }}", asked.replace("ARGUMENTS", arguments))).await;
            let mut page = if root.starts_with("readings") {
                data["readings"].clone()
            } else {
                data["service"]["readings"].clone()
            };
            let info = page["pageInfo"].take();
            let ambient = |node: Value| node["payload"]["ambient"].as_f64().unwrap();
            let sides = (info["hasPreviousPage"] == true, info["hasNextPage"] == true);
            (items(&mut page["nodes"]).map(ambient).collect::<Vec<_>>(), sides, info)
        };

        let (newest, sides, info) = page("first: 2").await;
        assert_eq!((newest, sides), (vec![4.0, 3.0], (false, true)), "{root}");
        let (older, sides, info) = page(&format!("first: 2, after: {}", info["endCursor"])).await;
        assert_eq!((older, sides), (vec![2.0, 1.0], (true, true)));
        let (oldest, sides, _) = page(&format!("first: 2, after: {}", info["endCursor"])).await;
        assert_eq!((oldest, sides), (vec![0.0], (true, false)));
        let (newer, sides, _) = page(&format!("last: 1, before: {}", info["startCursor"])).await;
        assert_eq!((newer, sides), (vec![3.0], (true, true)));
        let (from_the_end, sides, _) = page("last: 2").await;
        assert_eq!((from_the_end, sides), (vec![1.0, 0.0], (true, false)));
        let (all, ..) = page("from: \"2020-01-01T00:00:00Z\", to: \"2100-01-01T00:00:00Z\"").await;
        assert_eq!(all, [4.0, 3.0, 2.0, 1.0, 0.0]);
        assert_eq!(page("from: \"2100-01-01T00:00:00Z\"").await.0, [0.0; 0]);
    }
}

#[tokio::test]
async fn commands_for_services_are_found_among_those_for_devices() {
    let house = House::start().await;
    let person = &mut house.device("person").await;
    person.says("rig/scale/tare", "true").await;
    person.says("commands/esp32/play", "true").await;
    person.says("lab/fan/config", "{ \"enable\": false, \"duty\": 0.5, \"frequency\": 50 }").await;
    house.pin("lab", "fan", "pwm").await;
    let found = async |filter: &str| {
        const FIELDS: &str = "device action firmware service suffix kind payload typed { ... on PWMCommand { duty frequency } }";
        let asked = format!("{{ commands(filter: {{ {filter} }}) {{ nodes {{ {FIELDS} }} }} }}");
        let mut data = house.ask(&asked).await;
        items(&mut data["commands"]["nodes"]).collect::<Vec<_>>()
    };

    assert_eq!(found("").await.len(), 3);
    let [fan] = &found("firmware: \"lab\"").await[..] else { panic!("one command") };
    assert_eq!((&fan["device"], &fan["action"]), (&Value::Null, &Value::Null));
    assert_eq!((&fan["service"], &fan["kind"]), (&json!("fan"), &json!("pwm")));
    assert_eq!(fan["typed"], json!({ "duty": 0.5, "frequency": 50 }));
    let [scale] = &found("suffix: \"/tare\", service: \"scale\"").await[..] else { panic!("one command") };
    assert_eq!((&scale["firmware"], &scale["payload"]), (&json!("rig"), &json!("true")));
    let [play] = &found("device: \"esp32\"").await[..] else { panic!("one command") };
    assert_eq!(
        (&play["action"], &play["firmware"], &play["typed"]),
        (&json!("PLAY"), &Value::Null, &Value::Null)
    );
}

pub(super) const THERMOCOUPLE: &str =
    "{ \"temperature\": 20.0, \"ambient\": 0.0, \"unit\": \"C\", \"error\": null }";
const PID_RESPONSE: &str = "{ \"kp\": 0.2, \"ki\": 0.02, \"kd\": 0.4, \"setpoint\": 1.0, \"pause_output\": false, \"pause_target_input\": false }";

pub(super) fn thermocouple(ambient: i32) -> String {
    json!({ "temperature": 20.0, "ambient": ambient, "unit": "C" }).to_string()
}

fn pid(output: i32) -> String {
    json!({ "output": output, "last_output": 0.0, "setpoint": 1.0, "input": 1.0 }).to_string()
}

/// A payload of a row of the document.
#[derive(Debug)]
pub(super) struct Row {
    pub kind: String,
    pub suffix: String,
    pub shape: String,
    pub payload: Value,
    /// By the service; else it is a command.
    pub said: bool,
}

impl Row {
    fn topic(&self) -> String {
        format!("rig/{}{}", self.kind, self.suffix)
    }
}

/// The rows of the document with their examples, and each example that has no error with one.
pub(super) fn rows() -> Vec<Row> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut rows = Vec::new();
    let mut count = 0;
    for kind in document.as_array().unwrap() {
        for topic in kind["topics"].as_array().unwrap() {
            count += 1;
            let suffix = text(&topic["suffix"]).replace("{row}", "35").replace("{0..num_channels}", "12");
            let kind = text(&kind["kind"]);
            let found = catalog::find(&kind).unwrap().resolve(&suffix).unwrap();
            let mut payloads = match topic.get("examples") {
                Some(examples) => examples.as_array().unwrap().clone(),
                None => vec![topic["example"].clone()],
            };
            if payloads[0].get("error").is_some_and(Value::is_null) {
                let mut refused = payloads[0].clone();
                refused["error"] = json!("too hot");
                payloads.push(refused);
            }
            rows.extend(payloads.into_iter().map(|payload| Row {
                kind: kind.clone(),
                suffix: suffix.clone(),
                shape: text(&topic["schema"]),
                payload,
                said: found.topic.is_said(),
            }));
        }
    }
    assert_eq!(count, 61);
    rows
}

/// All that a payload says, whatever its fields are called; integers as they are spelt in GraphQL.
pub(super) fn leaves(value: &Value) -> Vec<String> {
    fn gather(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Null => {}
            Value::Object(fields) => {
                fields
                    .iter()
                    .filter(|(name, _)| *name != "__typename")
                    .for_each(|(_, inner)| gather(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| gather(inner, found)),
            Value::Number(number) => found.push(number.as_f64().unwrap().to_string()),
            Value::Bool(_) | Value::String(_) => found.push(value.to_string()),
        }
    }
    let mut found = Vec::new();
    gather(value, &mut found);
    found.sort();
    found
}

fn items(list: &mut Value) -> impl Iterator<Item = Value> + use<> {
    list.as_array_mut().unwrap_or_else(|| panic!("no list")).drain(..).collect::<Vec<_>>().into_iter()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl House {
    pub(super) async fn pin_every_kind(&self) {
        for kind in KINDS {
            self.pin("rig", kind.name, kind.name).await;
        }
    }

    pub(super) async fn pin(&self, firmware: &str, service: &str, kind: &str) {
        let named = format!("firmware: \"{firmware}\", service: \"{service}\", kind: \"{kind}\"");
        let pinned =
            self.ask(&format!("mutation {{ pinService({named}) {{ state kind {{ name }} }} }}")).await;
        assert_eq!(pinned["pinService"], json!({ "state": "PINNED", "kind": { "name": kind } }));
    }
}

impl Device {
    /// Says what a rig with a service of every kind says and is told. The name of each is that of its kind.
    pub(super) async fn says_everything(&mut self) {
        for row in rows() {
            self.says(&row.topic(), &row.payload.to_string()).await;
        }
        // Kinds that the document does not have.
        let documented = |kind: &Kind| rows().iter().any(|row| row.kind == kind.name);
        for kind in KINDS.iter().filter(|kind| !documented(kind)) {
            for topic in kind.topics {
                let suffix = topic.suffix_at(topic.index.as_ref().map(|range| range.start));
                self.says(&format!("rig/{}{suffix}", kind.name), topic.examples[0]).await;
            }
        }
    }
}
