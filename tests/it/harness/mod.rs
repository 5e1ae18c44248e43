//! A whole gateway for one test, on free ports and with a database of its own.
//!
//! Facts are waited for with a deadline, never slept for.

pub mod client;
#[path = "../../../fuzz/packets.rs"]
pub mod packets;
mod victim;
mod wire;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crosslink::{
    broker::front::codec::Code,
    config::{Config, Durability, Listen},
    error::Error,
    gateway::Gateway,
};
use reqwest::{Method, StatusCode};
use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub use client::{Client, Newcomer};
pub use victim::Victim;

/// Whatever a test waits for has happened by then, also on a machine that is busy.
pub const DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

pub struct House {
    gateway: Gateway,
    folder: TempDir,
    config: Config,
    http: reqwest::Client,
}

impl House {
    pub async fn start() -> House {
        House::with(|_| {}).await
    }

    /// With a configuration that is changed first.
    pub async fn with(change: impl FnOnce(&mut Config)) -> House {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            http: free_port(),
            mqtt: free_port(),
            mqtt_ws: free_port(),
            database: folder.path().join("crosslink.db"),
            // No test pulls the plug, and the disk is shared.
            durability: Durability::Normal,
            ..Config::default()
        };
        change(&mut config);
        let gateway = Gateway::start(config.clone()).await.unwrap();
        House { gateway, folder, config, http: reqwest::Client::new() }
    }

    /// Stops and starts with the same database; the ports are new.
    pub async fn restart(self) -> House {
        self.restart_with(|_| {}).await
    }

    /// The same with a configuration that is changed in between.
    pub async fn restart_with(mut self, change: impl FnOnce(&mut Config)) -> House {
        self.gateway.stop().await;
        change(&mut self.config);
        // A process that another test is about to run has every open file of this one, the lock too, until it runs.
        let gateway =
            until("the database is let go", async || match Gateway::start(self.config.clone()).await {
                Err(Error::Setup(why)) if why.contains("another Crosslink uses") => Err(why.into()),
                started => Ok(started.unwrap()),
            })
            .await;
        House { gateway, ..self }
    }

    /// Gives back the folder with the database.
    pub async fn stop(self) -> TempDir {
        self.gateway.stop().await;
        self.folder
    }

    /// What a defect in the router would do.
    pub fn kill_router(&self) {
        self.gateway.kill_router();
    }

    /// As if the router hung.
    pub fn deafen_router(&self) {
        self.gateway.deafen_router();
    }

    /// A line of `/metrics`, by all that stands before its value.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await;
        let lines = text.as_str().unwrap().lines();
        let value = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).next();
        value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    }

    pub fn database(&self) -> PathBuf {
        self.config.database.clone()
    }

    /// How many rows a table has at the moment.
    pub async fn rows(&self, table: &str) -> i64 {
        let url = format!("sqlite://{}?mode=ro", self.config.database.display());
        let database = Database::connect(url).await.unwrap();
        let counted = database.query_one_raw(Statement::from_string(
            DbBackend::Sqlite,
            format!("SELECT count(*) AS counted FROM {table}"),
        ));
        let rows = counted.await.unwrap().unwrap().try_get("", "counted").unwrap();
        database.close().await.unwrap();
        rows
    }

    pub fn mqtt_addr(&self) -> SocketAddr {
        self.gateway.mqtt_addr().unwrap()
    }

    pub fn mqtt_ws_addr(&self) -> SocketAddr {
        self.gateway.mqtt_ws_addr().unwrap()
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.gateway.http_addr().unwrap()
    }

    /// A client that is about to connect.
    pub fn client(&self, id: &str) -> Newcomer {
        Newcomer::new(self.mqtt_addr(), id)
    }

    /// A client without an opinion on how it connects.
    pub async fn somebody(&self, id: &str) -> Client {
        self.client(id).connect_v4().await
    }

    /// A client that breaks off until it is refused; with what it is told then.
    pub async fn flaps(&self, newcomer: Newcomer) -> Client {
        until("who flaps is refused", async || {
            let client = newcomer.clone().try_connect().await.ok_or(Value::Null)?;
            if client.connack.code != Code::SUCCESS {
                return Ok(client);
            }
            client.abort();
            Err("let in".into())
        })
        .await
    }

    /// `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http_addr())
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path)).timeout(DEADLINE)
    }

    /// The JSON at `path`, which is there.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.json(self.request(Method::GET, path)).await;
        assert_eq!(status, StatusCode::OK, "GET {path}: {body}");
        body
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.json(self.request(Method::POST, path).json(&body)).await
    }

    /// The answer to a request; a body that is not JSON is a string.
    pub async fn json(&self, request: reqwest::RequestBuilder) -> (StatusCode, Value) {
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A device as REST tells it; null while it is not known.
    pub async fn device(&self, device: &str) -> Value {
        match self.json(self.request(Method::GET, &format!("/api/v1/devices/{device}"))).await {
            (StatusCode::OK, device) => device,
            (StatusCode::NOT_FOUND, _) => Value::Null,
            (status, body) => panic!("GET device {device}: {status} {body}"),
        }
    }

    /// The device's history of presence, oldest first: status and reason.
    pub async fn history(&self, device: &str) -> Vec<(String, String)> {
        let page = self.get(&format!("/api/v1/devices/{device}/presence?after=0&limit=500")).await;
        let word = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| (word(item, "status"), word(item, "reason"))).collect()
    }

    /// Waits until the device has this status for this reason, and returns its presence.
    pub async fn presence(&self, device: &str, status: &str, reason: &str) -> Value {
        let wanted = json!([status, reason]);
        until(&format!("{device} is {status} ({reason})"), async || {
            let presence = self.device(device).await["presence"].take();
            let is = json!([presence["status"], presence["reason"]]);
            if is == wanted { Ok(presence) } else { Err(is) }
        })
        .await
    }
}

/// Waits for a fact; what is there instead is shown when it does not come.
pub async fn until<T>(fact: &str, mut look: impl AsyncFnMut() -> Result<T, Value>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(instead) if Instant::now() > deadline => panic!("not so in time: {fact}; but {instead}"),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// What a device says about 60 % of humidity and its threshold of 29 °C.
pub fn reading(temperature: f64) -> Vec<u8> {
    json!({ "temperature": temperature, "humidity": 60.0, "threshold": 29.0 }).to_string().into_bytes()
}

fn free_port() -> Listen {
    Listen::At((Ipv4Addr::LOCALHOST, 0).into())
}
