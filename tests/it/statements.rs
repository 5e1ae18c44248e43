//! What a question costs the database, however many devices there are.

use reqwest::Client as Http;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    durability::Process,
    harness::{Newcomer, reading},
};

/// Devices that a gateway knows before anybody speaks: the pair.
const PAIR: usize = 2;
/// What is asked again costs the same, unless a change of presence is written at that moment.
const REPEATED: usize = 5;

/// A gateway as a process of its own, because its counters belong to the process.
struct Counted {
    process: Option<Process>,
    http: Http,
    _folder: TempDir,
}

impl Counted {
    /// With devices that have sent five readings each.
    async fn with(devices: usize) -> Counted {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), &[]);
        let mut client = Newcomer::new(process.mqtt, "many").connect_v4().await;
        for device in 0..devices {
            for n in 0..5 {
                client.say(&format!("sensors/d{device}"), reading(f64::from(n))).await;
            }
        }
        Counted { process: Some(process), http: Http::new(), _folder: folder }
    }

    /// With services whose topics, two each, have five readings each.
    async fn with_services(services: usize) -> Counted {
        let counted = Counted::with(0).await;
        let mut client = Newcomer::new(counted.process.as_ref().unwrap().mqtt, "rig").connect_v4().await;
        let put_out = json!({ "output": 1, "last_output": 0, "setpoint": 1, "input": 1 }).to_string();
        let kept = json!({ "kp": 1, "ki": 1, "kd": 1, "setpoint": 1, "pause_output": false, "pause_target_input": false });
        for service in 0..services {
            for _ in 0..5 {
                client.say(&format!("rig/s{service}/output"), &put_out).await;
                client.say(&format!("rig/s{service}/response"), kept.to_string()).await;
            }
            client.say(&format!("rig/s{service}/config"), kept.to_string()).await;
        }
        counted
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.process.as_ref().unwrap().http)
    }

    async fn get(&self, path: &str) -> String {
        self.http.get(self.url(path)).send().await.unwrap().text().await.unwrap()
    }

    async fn ask(&self, query: &str) -> Value {
        let request = self.http.post(self.url("/graphql")).json(&json!({ "query": query }));
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn statements(&self) -> u64 {
        let text = self.get("/metrics").await;
        let count = text.lines().find_map(|line| line.strip_prefix("crosslink_sql_statements_total "));
        count.expect("statements are counted").parse().unwrap()
    }

    /// The statements of one question.
    async fn cost(&self, ask: impl AsyncFn()) -> u64 {
        let mut least = u64::MAX;
        for _ in 0..REPEATED {
            let before = self.statements().await;
            ask().await;
            least = least.min(self.statements().await - before);
        }
        least
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_devices_cost_as_many_statements_as_one() {
    let mut costs = Vec::new();
    for devices in [1, 50] {
        let gateway = Counted::with(devices).await;
        let by_graphql = gateway
            .cost(async || {
                let query = "{ devices { name latest { seq } presence { status } crossLink { mode } } }";
                let answer = gateway.ask(query).await;
                assert_eq!(answer["data"]["devices"].as_array().unwrap().len(), devices + PAIR, "{answer}");
            })
            .await;
        let by_rest = gateway
            .cost(async || {
                let page: Value = serde_json::from_str(&gateway.get("/api/v1/devices").await).unwrap();
                assert_eq!(page["items"].as_array().unwrap().len(), devices + PAIR, "{page}");
            })
            .await;
        costs.push((by_graphql, by_rest));
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[1].0 <= 3 && costs[1].1 <= 3, "{costs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_fifty_devices_cost_as_many_statements_as_those_of_one() {
    const ASKED: &str = "{ devices { name readings(first: 3) { nodes { device temperature } } \
         presenceHistory(last: 1) { nodes { device status } } commands(first: 1) { nodes { device } } } }";
    let mut costs = Vec::new();
    for devices in [1, 50] {
        let gateway = Counted::with(devices).await;
        let cost = gateway
            .cost(async || {
                let answer = gateway.ask(ASKED).await;
                let all = answer["data"]["devices"].as_array().unwrap_or_else(|| panic!("{answer}"));
                let spoken: Vec<_> = all.iter().filter(|device| device["name"] != "raspberry").collect();
                for device in spoken.iter().filter(|device| device["name"] != "esp32") {
                    let name = &device["name"];
                    let expected = json!([4.0, 3.0, 2.0])
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|temperature| json!({ "device": name, "temperature": temperature }))
                        .collect::<Value>();
                    assert_eq!(device["readings"]["nodes"], expected, "{answer}");
                    let online = json!([{ "device": name, "status": "ONLINE" }]);
                    assert_eq!(device["presenceHistory"]["nodes"], online, "{answer}");
                }
            })
            .await;
        costs.push(cost);
    }
    // As many statements as pages, unless the machine is so busy that the devices do not ask at once.
    assert_eq!(costs[0], 3, "{costs:?}");
    assert!(costs[1] <= 6, "{costs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_services_cost_as_many_statements_as_one() {
    const ASKED: &str = "{ services { latest { payload { __typename } } readings(first: 5) { nodes { seq } } \
         outputs: readings(first: 5, suffix: \"/output\") { nodes { suffix } } commands(first: 1) { nodes { suffix } } } }";
    let mut costs = Vec::new();
    for services in [1, 10] {
        let gateway = Counted::with_services(services).await;
        let cost = gateway
            .cost(async || {
                let answer = gateway.ask(ASKED).await;
                let all = answer["data"]["services"].as_array().unwrap_or_else(|| panic!("{answer}"));
                assert_eq!(all.len(), services);
                for service in all {
                    let types = [&service["latest"][0], &service["latest"][1]]
                        .map(|reading| reading["payload"]["__typename"].as_str().unwrap());
                    assert_eq!(types, ["PidData", "PidCommandAndResponse"]);
                    assert_eq!(service["readings"]["nodes"].as_array().unwrap().len(), 5);
                    assert_eq!(service["outputs"]["nodes"], json!(vec![json!({ "suffix": "/output" }); 5]));
                    assert_eq!(service["commands"]["nodes"], json!([{ "suffix": "/config" }]));
                }
            })
            .await;
        costs.push(cost);
    }
    // One for the latest, two for each list of readings, one for the commands; more only if the machine is so busy
    // that the services do not ask at once.
    assert_eq!(costs[0], 6, "{costs:?}");
    assert!(costs[1] <= 12, "{costs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_of_services_cost_two_statements_however_many_services() {
    let gateway = Counted::with_services(3).await;
    for (asked, most) in [
        ("{ readings(first: 5) { nodes { payload { __typename } } } }", 2),
        ("{ readings(filter: { kind: \"pid\", suffix: \"/output\" }) { nodes { seq } } }", 2),
        ("{ service(firmware: \"rig\", name: \"s1\") { readings { nodes { seq } } } }", 2),
        (
            "{ commands(first: 5) { nodes { typed { __typename } mismatches { pointer } answer { raw typed { __typename } } } } }",
            1,
        ),
        ("{ kinds { topics { jsonSchema } } services { kind { name } evidence { seq } } }", 0),
    ] {
        let cost = gateway
            .cost(async || {
                let answer = gateway.ask(asked).await;
                assert!(answer.get("errors").is_none(), "{answer}");
            })
            .await;
        assert_eq!(cost, most, "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_operation_reads_of_services_is_bounded() {
    let gateway = Counted::with_services(25).await;
    let asked = "{ services { readings(first: 1000) { nodes { seq } } } }";
    let answer = gateway.ask(asked).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID", "{answer}");
    assert!(answer.to_string().contains("20000 entries"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_operation_reads_is_bounded() {
    let gateway = Counted::with(30).await;
    let lists = |count: usize| -> String {
        (0..count).map(|n| format!("l{n}: rejectionCounts(first: 1) {{ count }} ")).collect()
    };
    assert!(gateway.ask(&format!("{{ {} }}", lists(64))).await.get("errors").is_none());
    for (asked, most) in [
        (format!("{{ {} }}", lists(65)), 64),
        ("{ devices { readings(first: 1000) { nodes { seq } } } }".to_owned(), 1),
        ("{ devices { a: readings(first: 400) { nodes { seq } } b: readings(first: 400) { nodes { seq } } } }".to_owned(), 2),
    ] {
        let cost = gateway
            .cost(async || {
                let answer = gateway.ask(&asked).await;
                assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID", "{answer}");
            })
            .await;
        assert!(cost <= most, "{cost} statements for {asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_rest_costs_one_statement_however_long_it_is() {
    let gateway = Counted::with(3).await;
    let mut client = Newcomer::new(gateway.process.as_ref().unwrap().mqtt, "odd").connect_v4().await;
    for n in 0..30 {
        client.say(&format!("sensors/{}", n % 5), "nonsense").await;
        client.say("commands/d1/play", "true").await;
    }
    for (path, most) in [
        ("/api/v1/devices/d1/readings?limit=5", 1),
        ("/api/v1/devices/d1/readings?from=2026-01-01T00:00:00Z", 1),
        ("/api/v1/devices/d1/presence?after=0", 1),
        ("/api/v1/commands?device=d1", 1),
        ("/api/v1/commands?surface=MQTT&limit=2", 1),
        ("/api/v1/commands/1", 1),
        ("/api/v1/rejections?limit=1", 1),
        ("/api/v1/rejections?reason=NOT_JSON", 1),
        ("/api/v1/rejections/counts", 1),
        ("/api/v1/clients", 0),
        ("/api/v1/clients/refused", 0),
    ] {
        let cost = gateway.cost(async || drop(gateway.get(path).await)).await;
        assert_eq!(cost, most, "{path}");
    }
    let replay = gateway
        .cost(async || {
            let request = gateway.http.post(gateway.url("/api/v1/rejections/replay"));
            let answer = request.json(&json!({ "after": 0 })).send().await.unwrap();
            let page: Value = answer.json().await.unwrap();
            assert_eq!(page["items"].as_array().unwrap().len(), 30, "{page}");
        })
        .await;
    // The rejections, and what was made of them before.
    assert_eq!(replay, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_by_rest_cost_as_many_statements_as_one() {
    let gateway = Counted::with(0).await;
    let mut client = Newcomer::new(gateway.process.as_ref().unwrap().mqtt, "rig").connect_v4().await;
    for service in 0..20 {
        for channel in 0..8 {
            let payload = r#"{ "state": "Running", "current": 0.1, "enabled": true, "power_good": true }"#;
            client.say(&format!("rig/power{service}/ch{channel}"), payload).await;
        }
        client
            .say(&format!("rig/power{service}/config"), r#"{ "enable": true, "duty": 0.5, "frequency": 1 }"#)
            .await;
    }
    for (path, most) in [
        ("/api/v1/kinds", 0),
        ("/api/v1/kinds/pds", 0),
        ("/api/v1/services", 0),
        ("/api/v1/services?firmware=rig&state=INFERRED", 0),
        ("/api/v1/services/rig/power3", 1),
        // Which topics there are, and what was said there.
        ("/api/v1/services/rig/power3/readings", 2),
        ("/api/v1/services/rig/power3/readings?suffix=/ch2&limit=2", 2),
        ("/api/v1/commands?firmware=rig&service=power3&suffix=/config", 1),
    ] {
        let cost = gateway.cost(async || drop(gateway.get(path).await)).await;
        assert_eq!(cost, most, "{path}");
    }
}
