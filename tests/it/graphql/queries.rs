//! What can be asked and done.

use serde_json::{Value, json};

use super::House;

#[tokio::test]
async fn a_query_shows_the_devices_as_they_are() {
    let house = House::start().await;
    let mut raspberry = house.device("raspberry").await;
    raspberry.measures(30.5).await;

    let data = house
        .ask("{ devices { name presence { status reason clientId } latest { temperature raw } mode crossLink { peer expectedPlaying hazard peerReading { temperature } } } nobody: device(name: \"nobody\") { name } }")
        .await;

    let [esp32, raspberry] = &data["devices"].as_array().unwrap()[..] else { panic!("{data}") };
    assert_eq!((&esp32["name"], &raspberry["name"]), (&json!("esp32"), &json!("raspberry")));
    assert_eq!(
        raspberry["presence"],
        json!({ "status": "ONLINE", "reason": "READING", "clientId": "raspberry" })
    );
    assert_eq!(raspberry["latest"]["temperature"], 30.5);
    assert_eq!(raspberry["latest"]["raw"]["humidity"], 40);
    assert_eq!(esp32["latest"], Value::Null);
    assert_eq!(
        esp32["crossLink"],
        json!({ "peer": "raspberry", "expectedPlaying": true, "hazard": "NONE", "peerReading": { "temperature": 30.5 } })
    );
    assert_eq!(data["nobody"], Value::Null);
}

#[tokio::test]
async fn readings_are_paged_from_the_newest() {
    let house = House::start().await;
    let mut device = house.device("pump").await;
    for n in 0..5 {
        device.measures(f64::from(n)).await;
    }
    let page = async |arguments: &str| {
        let ask = format!(
            "{{ device(name: \"pump\") {{ readings({arguments}) {{ nodes {{ temperature }} edges {{ cursor }} pageInfo {{ hasNextPage hasPreviousPage endCursor startCursor }} }} }} }}"
        );
        let data = house.ask(&ask).await;
        let readings = data["device"]["readings"].clone();
        let temperatures: Vec<f64> = readings["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["temperature"].as_f64().unwrap())
            .collect();
        (temperatures, readings["pageInfo"].clone())
    };
    let sides = |info: &Value| (info["hasPreviousPage"] == true, info["hasNextPage"] == true);

    let (newest, info) = page("first: 2").await;
    assert_eq!((newest, sides(&info)), (vec![4.0, 3.0], (false, true)));
    let (older, info) = page(&format!("first: 2, after: {}", info["endCursor"])).await;
    assert_eq!((older, sides(&info)), (vec![2.0, 1.0], (true, true)));
    let (oldest, oldest_info) = page(&format!("first: 2, after: {}", info["endCursor"])).await;
    assert_eq!((oldest, sides(&oldest_info)), (vec![0.0], (true, false)));
    let (newer, info) = page(&format!("last: 1, before: {}", info["startCursor"])).await;
    assert_eq!((newer, sides(&info)), (vec![3.0], (true, true)));
    let (from_the_end, info) = page("last: 2").await;
    assert_eq!((from_the_end, sides(&info)), (vec![1.0, 0.0], (true, false)));
}

#[tokio::test]
async fn a_command_reaches_the_device_and_comes_back_as_a_record() {
    let house = House::start().await;
    let mut esp32 = house.device("esp32").await;
    esp32.obeys().await;

    let play = "mutation { play(device: \"esp32\", idempotencyKey: \"k\") { id state delivery surface payload address action } }";
    let first = house.ask(play).await["play"].clone();
    let again = house.ask(play).await["play"].clone();

    assert_eq!((&first["delivery"], &first["surface"]), (&json!("ACKNOWLEDGED"), &json!("GRAPHQL")));
    assert_eq!((&first["state"], &first["payload"]), (&json!("UNCONFIRMABLE"), &json!("true")));
    assert!(first["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    assert_eq!(again["id"], first["id"]);
    assert_eq!(house.ask("{ device(name: \"esp32\") { mode } }").await["device"]["mode"], "FORCED_ON");
}

#[tokio::test]
async fn the_schema_can_be_read_as_tools_read_it() {
    let house = House::start().await;
    let nine = "ofType { kind name ".repeat(9) + &"}".repeat(9);
    let tools = format!(
        "query IntrospectionQuery {{ __schema {{ queryType {{ name }} mutationType {{ name }} subscriptionType {{ name }} types {{ ...FullType }} directives {{ name description locations args {{ ...InputValue }} }} }} }} \
         fragment FullType on __Type {{ kind name description fields(includeDeprecated: true) {{ name description args {{ ...InputValue }} type {{ ...TypeRef }} isDeprecated deprecationReason }} inputFields {{ ...InputValue }} interfaces {{ ...TypeRef }} enumValues(includeDeprecated: true) {{ name description isDeprecated deprecationReason }} possibleTypes {{ ...TypeRef }} }} \
         fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }} defaultValue }} \
         fragment TypeRef on __Type {{ kind name {nine} }}"
    );
    assert_eq!(house.ask(&tools).await["__schema"]["mutationType"]["name"], "Mutation");
}

#[tokio::test]
async fn readings_and_presence_are_asked_for_by_time() {
    let house = House::start().await;
    let mut pump = house.device("pump").await;
    for n in 0..4 {
        pump.measures(f64::from(n)).await;
        // Moments are shown in milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let all = house.ask("{ device(name: \"pump\") { readings { nodes { at } } } }").await;
    let at = |n: usize| all["device"]["readings"]["nodes"][3 - n]["at"].clone();
    let asked = format!(
        "{{ device(name: \"pump\") {{ readings(from: {from}, to: {to}, first: 1) {{ nodes {{ temperature }} pageInfo {{ endCursor hasNextPage }} }} \
           all: readings(from: {from}, to: {to}) {{ nodes {{ temperature }} }} \
           oldest: readings(from: {from}, last: 2) {{ nodes {{ temperature }} }} \
           presenceHistory(to: {from}) {{ nodes {{ status }} }} later: presenceHistory(from: {to}) {{ nodes {{ status }} }} }} }}",
        from = at(1),
        to = at(3),
    );
    let device = house.ask(&asked).await["device"].clone();

    assert_eq!(device["readings"]["nodes"], json!([{ "temperature": 2.0 }]));
    assert_eq!(device["readings"]["pageInfo"]["hasNextPage"], true);
    assert_eq!(device["all"]["nodes"], json!([{ "temperature": 2.0 }, { "temperature": 1.0 }]));
    assert_eq!(device["oldest"]["nodes"], json!([{ "temperature": 2.0 }, { "temperature": 1.0 }]));
    assert_eq!(device["presenceHistory"]["nodes"], json!([{ "status": "ONLINE" }]));
    assert_eq!(device["later"]["nodes"], json!([]));
    let next = format!(
        "{{ device(name: \"pump\") {{ readings(from: {}, first: 5, after: {}) {{ nodes {{ temperature }} pageInfo {{ hasNextPage }} }} }} }}",
        at(1),
        device["readings"]["pageInfo"]["endCursor"]
    );
    let older = house.ask(&next).await["device"]["readings"].take();
    assert_eq!(older, json!({ "nodes": [{ "temperature": 1.0 }], "pageInfo": { "hasNextPage": false } }));
}

#[tokio::test]
async fn commands_are_listed_by_what_they_are() {
    let house = House::start().await;
    let mut esp32 = house.device("esp32").await;
    esp32.obeys().await;
    for mutation in ["play(device: \"esp32\")", "stop(device: \"esp32\")", "play(device: \"raspberry\")"] {
        house.ask(&format!("mutation {{ {mutation} {{ id }} }}")).await;
    }
    let mut person = house.device("person").await;
    person.says("commands/esp32/play", "true").await;
    let listed = async |filter: &str| {
        let asked = format!("{{ commands(filter: {{ {filter} }}) {{ nodes {{ id device action }} }} }}");
        let commands = house.ask(&asked).await["commands"]["nodes"].take();
        let word = |command: &Value, key: &str| command[key].as_str().unwrap().to_owned();
        let commands = commands.as_array().unwrap().clone();
        commands
            .iter()
            .map(|command| word(command, "device") + " " + &word(command, "action"))
            .collect::<Vec<_>>()
    };

    assert_eq!(listed("").await, ["esp32 PLAY", "raspberry PLAY", "esp32 STOP", "esp32 PLAY"]);
    assert_eq!(listed("device: \"raspberry\"").await, ["raspberry PLAY"]);
    assert_eq!(listed("device: \"esp32\", action: PLAY").await, ["esp32 PLAY", "esp32 PLAY"]);
    assert_eq!(listed("surface: MQTT").await, ["esp32 PLAY"]);
    assert_eq!(listed("state: EXPIRED").await, [""; 0]);
    assert_eq!(listed("state: UNCONFIRMABLE").await.len(), 4);

    let first = house
        .ask("{ commands(first: 1) { nodes { id payload clientId } pageInfo { endCursor hasNextPage } } }")
        .await;
    let newest = &first["commands"]["nodes"][0];
    assert_eq!((&newest["payload"], &newest["clientId"]), (&json!("true"), &json!("person")));
    let cursor = &first["commands"]["pageInfo"]["endCursor"];
    let asked = format!(
        "{{ commands(after: {cursor}, first: 1) {{ nodes {{ device }} }} command(id: {}) {{ surface }} nobody: command(id: 1) {{ id }} \
           device(name: \"raspberry\") {{ commands {{ nodes {{ action }} }} }} }}",
        newest["id"]
    );
    let more = house.ask(&asked).await;
    assert_eq!(
        more,
        json!({
            "commands": { "nodes": [{ "device": "raspberry" }] },
            "command": { "surface": "MQTT" },
            "nobody": null,
            "device": { "commands": { "nodes": [{ "action": "PLAY" }] } },
        })
    );
}

#[tokio::test]
async fn rejections_are_listed_counted_and_replayed() {
    let house = House::start().await;
    let mut device = house.device("attic").await;
    device.says("sensors/attic", "nonsense").await;
    device.says("sensors/attic", "{\"temperature\": 1}").await;
    for _ in 0..30 {
        device.says("sensors/cellar", "nonsense").await;
    }

    let listed = house
        .ask("{ rejections(filter: { topic: \"sensors/attic\" }) { nodes { seq reason payload pointer clientId } } \
               odd: rejections(filter: { reason: MISSING_FIELD }) { nodes { payload start: payload(characters: 4) all: payload(characters: 99) } } \
               rejectionCounts { topic reason count } most: rejectionCounts(first: 1) { count } }")
        .await;
    let [missing, nonsense] = &listed["rejections"]["nodes"].as_array().unwrap()[..] else {
        panic!("{listed}")
    };
    assert_eq!((&nonsense["reason"], &nonsense["payload"]), (&json!("NOT_JSON"), &json!("nonsense")));
    assert_eq!((&missing["reason"], &missing["clientId"]), (&json!("MISSING_FIELD"), &json!("attic")));
    let (whole, start) = ("{\"temperature\": 1}", "{\"te");
    assert_eq!(listed["odd"]["nodes"], json!([{ "payload": whole, "start": start, "all": whole }]));
    assert_eq!(
        listed["rejectionCounts"][0],
        json!({ "topic": "sensors/cellar", "reason": "NOT_JSON", "count": 30.0 })
    );
    assert_eq!(listed["most"], json!([{ "count": 30.0 }]));

    let two = format!("rejections: [{}, {}]", missing["seq"], nonsense["seq"]);
    let all = house
        .ask(&format!(
            "mutation {{ replayRejections({two}) {{ items {{ rejection outcome reason }} next }} }}"
        ))
        .await;
    assert_eq!(
        all["replayRejections"],
        json!({
            "items": [
                { "rejection": nonsense["seq"], "outcome": "REJECTED", "reason": "NOT_JSON" },
                { "rejection": missing["seq"], "outcome": "REJECTED", "reason": "MISSING_FIELD" },
            ],
            "next": null,
        })
    );
    let mut replayed = Vec::new();
    let mut after = Value::Null;
    loop {
        let part = format!(
            "mutation {{ replayRejections(filter: {{ topic: \"sensors/cellar\" }}, first: 8, after: {after}) {{ items {{ rejection }} next }} }}"
        );
        let mut part = house.ask(&part).await["replayRejections"].take();
        replayed
            .extend(part["items"].as_array().unwrap().iter().map(|item| item["rejection"].as_i64().unwrap()));
        after = part["next"].take();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(replayed.len(), 20, "those that are kept: {replayed:?}");
    assert!(replayed.is_sorted_by(|one, next| one < next), "{replayed:?}");

    for arguments in [
        "".to_owned(),
        format!("({two}, filter: {{}})"),
        format!("({two}, first: 1)"),
        "(filter: {}, first: 1001)".to_owned(),
        "(filter: {}, after: \"x\")".to_owned(),
        "(rejections: [1])".to_owned(),
    ] {
        let answer = house.post(&format!("mutation {{ replayRejections{arguments} {{ next }} }}")).await;
        let code = &answer["errors"][0]["extensions"]["code"];
        let expected = if arguments == "(rejections: [1])" { "NOT_FOUND" } else { "INVALID" };
        assert_eq!(code, expected, "{arguments}: {answer}");
    }
}

#[tokio::test]
async fn clients_are_listed_as_they_are() {
    let house = House::start().await;
    let mut one = house.device("one").await;
    one.obeys().await;
    let mut two = house.device("two").await;
    two.measures(20.0).await;

    const ASKED: &str = "clientId address version keepAlive subscriptionCount queued inFlight lastMessageAt subscriptions { filter qos }";
    let first = house
        .ask(&format!(
            "{{ clients(first: 1) {{ nodes {{ {ASKED} }} pageInfo {{ endCursor hasNextPage }} }} }}"
        ))
        .await;
    let newest = &first["clients"]["nodes"][0];
    assert_eq!((&newest["clientId"], &newest["version"]), (&json!("two"), &json!("MQTT_3_1_1")));
    assert!(newest["lastMessageAt"].is_string() && newest["subscriptions"] == json!([]), "{newest}");
    let cursor = &first["clients"]["pageInfo"]["endCursor"];
    let second = house
        .ask(&format!("{{ clients(after: {cursor}) {{ nodes {{ {ASKED} }} pageInfo {{ hasNextPage }} }} }}"))
        .await;
    let [oldest] = &second["clients"]["nodes"].as_array().unwrap()[..] else { panic!("{second}") };
    assert_eq!(oldest["subscriptions"], json!([{ "filter": "commands/one/play", "qos": 1 }]));
    assert_eq!((&oldest["clientId"], &oldest["subscriptionCount"]), (&json!("one"), &json!(1)));
    assert_eq!(second["clients"]["pageInfo"]["hasNextPage"], false);
}
