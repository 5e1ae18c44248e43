//! What goes over MQTT, as an AsyncAPI document.
//!
//! Channels are made of the forms that the gateway reads and writes topics by, and of the catalog of services;
//! payloads of the types that it reads and writes. Everything is told from a device's view.

mod devices;
mod doors;
mod parts;
mod services;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, Uri, header::HOST},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};

use self::{
    doors::Doors,
    parts::{Channel, JSON},
};
use crate::{
    address::{PRESENCE, SENSOR},
    app::App,
    config::Config,
    model::Pair,
};

const SAYABLE: &str = "a document has nothing that JSON cannot say";

/// The document, its parts in the order in which they are read.
#[derive(Debug, Serialize)]
struct Document<T> {
    asyncapi: &'static str,
    info: T,
    #[serde(rename = "defaultContentType")]
    default_content_type: &'static str,
    servers: Map<String, Value>,
    channels: T,
    operations: T,
    components: T,
}

/// What is the same for whoever asks, already written down.
type Written = Document<Box<RawValue>>;

/// The document at `/mqtt/asyncapi.json`.
pub fn router(app: App) -> Router {
    let written = Document::of(&app.config.pair).map(|part| to_raw_value(&part).expect(SAYABLE));
    Router::new().route("/mqtt/asyncapi.json", get(document)).with_state((app, Arc::new(written)))
}

/// The document as it is committed and compared: of a gateway that was told nothing.
pub fn contract() -> String {
    let document = Document { servers: Doors::standard().servers(), ..Document::of(&Config::default().pair) };
    serde_json::to_string_pretty(&document).expect(SAYABLE) + "\n"
}

async fn document(
    State((app, written)): State<(App, Arc<Written>)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let header = headers.get(HOST).and_then(|host| host.to_str().ok());
    let asked = uri.authority().map(|authority| authority.as_str()).or(header);
    let servers = Doors::seen(&app.listeners, asked).servers();
    Json(Document { servers, ..written.borrowed() }).into_response()
}

impl Document<Value> {
    /// Without servers.
    fn of(pair: &Pair) -> Document<Value> {
        let mut tags = Vec::from_iter(services::tags());
        tags.push(devices::tag());
        // Wherever they are listed, they are looked for by name.
        tags.sort_by_key(|tag| tag["name"].to_string());
        let told = Vec::from_iter(devices::channels(pair).into_iter().chain(services::channels()));
        let schemas = Map::from_iter(devices::schemas().into_iter().chain(services::schemas()));
        let parameters = Map::from_iter(devices::parameters(pair).into_iter().chain(services::parameters()));
        Document {
            asyncapi: "3.1.0",
            info: json!({
                "title": "Crosslink over MQTT",
                "version": env!("CARGO_PKG_VERSION"),
                "description": description(pair),
                "license": { "name": env!("CARGO_PKG_LICENSE") },
                "tags": tags,
            }),
            default_content_type: JSON,
            servers: Map::new(),
            channels: told.iter().map(|channel| (channel.id.clone(), channel.json())).collect(),
            operations: told.iter().flat_map(Channel::operations).collect(),
            components: json!({ "parameters": parameters, "schemas": schemas }),
        }
    }
}

impl<T> Document<T> {
    fn map<U>(self, part: impl Fn(T) -> U) -> Document<U> {
        Document {
            asyncapi: self.asyncapi,
            info: part(self.info),
            default_content_type: self.default_content_type,
            servers: self.servers,
            channels: part(self.channels),
            operations: part(self.operations),
            components: part(self.components),
        }
    }

    /// Without servers.
    fn borrowed(&self) -> Document<&T> {
        Document {
            asyncapi: self.asyncapi,
            info: &self.info,
            default_content_type: self.default_content_type,
            servers: Map::new(),
            channels: &self.channels,
            operations: &self.operations,
            components: &self.components,
        }
    }
}

fn description(pair: &Pair) -> String {
    let Pair(one, other) = pair;
    format!(
        "What devices, services and the gateway say to each other over MQTT.\n\n\
         **Everything is told from a device's view**: a device *sends* readings and its presence, and *receives* \
         commands. Whoever watches does it the other way round, and subscribes to what devices send: `{}`, `{}`, and \
         `{{firmware}}/#` for the services of a firmware.\n\n\
         Any name of a device is welcome; `{one}` and `{other}` are the pair that follows each other. A message of \
         QoS 1 is acknowledged when it is on disk. One that cannot be understood is kept as a rejection, at \
         `/api/v1/rejections` with the place of its flaw; nobody is disconnected for it. Sessions end with their \
         connection. There are no passwords yet.\n\n\
         **Services** are what a firmware offers: each is of a kind, and all of a kind have the same topics. A topic does \
         not say of which kind its service is, and some kinds have topics of the same form: they are told kind by kind, \
         as channels that have an address in common. Fields that a service says beyond those that are told here are \
         kept; in a command that the gateway is asked to send they are an error.",
        SENSOR.to_string().replace("{device}", "+"),
        PRESENCE.to_string().replace("{device}", "+"),
    )
}
