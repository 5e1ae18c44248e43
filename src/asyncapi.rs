//! What goes over MQTT, as an AsyncAPI document.
//!
//! Channels are made of the forms that the gateway reads and writes topics by, payloads of the types that
//! it reads and writes. Everything is told from a device's view.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, Uri, header::HOST},
    routing::get,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    address::{Form, NAME, PLAY, PRESENCE, SENSOR},
    app::{App, Listeners},
    config::{Config, Listen},
    model::{Action, Pair, PresencePayload, SensorPayload},
    origin,
};

/// In seconds. What devices in the field declare; the gateway takes any keepalive, also none.
const KEEPALIVE: u16 = 30;
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// The document, its parts in the order in which they are read.
#[derive(Debug, Serialize)]
struct Document {
    asyncapi: &'static str,
    info: Value,
    #[serde(rename = "defaultContentType")]
    default_content_type: &'static str,
    servers: Map<String, Value>,
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    components: Value,
}

/// The topics of one form, and what is said on them.
struct Channel {
    form: Form,
    title: &'static str,
    description: String,
    message: Message,
    operations: Vec<Operation>,
}

/// A schema is its name and what it says.
struct Message {
    name: &'static str,
    title: &'static str,
    summary: &'static str,
    content_type: &'static str,
    schema: (String, Value),
    /// Name, what it shows, payload.
    examples: Vec<(&'static str, &'static str, Value)>,
}

/// What a device does on a channel.
struct Operation {
    id: &'static str,
    action: &'static str,
    summary: &'static str,
    description: &'static str,
}

/// Where clients connect, as `host:port`.
struct Doors {
    mqtt: Option<String>,
    mqtt_ws: Option<String>,
    /// The port of the pages serves MQTT as well.
    pages: Option<String>,
}

/// The document at `/mqtt/asyncapi.json`.
pub fn router(app: App) -> Router {
    Router::new().route("/mqtt/asyncapi.json", get(document)).with_state(app)
}

/// The document as it is committed and compared: of a gateway that was told nothing.
pub fn contract() -> String {
    let Config { http, mqtt, mqtt_ws, pair, .. } = Config::default();
    let at = |listen| match listen {
        Listen::At(address) => Some(SocketAddr::to_string(&address)),
        Listen::Off => None,
    };
    let doors = Doors { mqtt: at(mqtt), mqtt_ws: at(mqtt_ws), pages: at(http) };
    let document = Document::of(doors, &pair);
    serde_json::to_string_pretty(&document).expect("a document has nothing that JSON cannot say") + "\n"
}

async fn document(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Json<Document> {
    let header = headers.get(HOST).and_then(|host| host.to_str().ok());
    let asked = uri.authority().map(|authority| authority.as_str()).or(header);
    Json(Document::of(Doors::seen(&app.listeners, asked), &app.config.pair))
}

impl Doors {
    /// The doors as somebody finds them who has asked for the host `asked`.
    fn seen(listeners: &Listeners, asked: Option<&str>) -> Doors {
        let name = asked.and_then(origin::name);
        let at = |address: SocketAddr| match &name {
            // It listens on each of its addresses, and this is one that leads here.
            Some(name) if address.ip().is_unspecified() => format!("{name}:{}", address.port()),
            _ => address.to_string(),
        };
        Doors {
            mqtt: listeners.mqtt.map(at),
            mqtt_ws: listeners.mqtt_ws.map(at),
            pages: asked.map(str::to_owned),
        }
    }

    fn servers(self) -> Map<String, Value> {
        let bindings = json!({ "mqtt": {
            "bindingVersion": "0.2.0",
            "cleanSession": true,
            "keepAlive": KEEPALIVE,
            "lastWill": {
                "topic": PRESENCE.to_string(),
                "message": PresencePayload::Offline,
                "qos": PRESENCE.qos.as_u8(),
                "retain": PRESENCE.retain,
            },
        } });
        let websocket = "MQTT in binary frames; ask for the subprotocol `mqtt`.";
        let mqtt = self.mqtt.map(|host| {
            json!({
                "host": host, "protocol": "mqtt", "protocolVersion": "3.1.1, 5", "title": "MQTT",
                "description": "MQTT 3.1.1 and 5 on one port, told apart by CONNECT.",
                "bindings": bindings.clone(),
            })
        });
        let mqtt_ws = self.mqtt_ws.map(|host| {
            json!({
                "host": host, "protocol": "ws", "title": "MQTT over WebSocket",
                "description": websocket, "bindings": bindings.clone(),
            })
        });
        let pages = self.pages.map(|host| {
            json!({
                "host": host, "pathname": "/mqtt", "protocol": "ws", "title": "MQTT over WebSocket, where the pages are",
                "description": format!("{websocket} One port for the pages and MQTT, for those who come through a proxy."),
                "bindings": bindings,
            })
        });
        [("mqtt", mqtt), ("mqtt-ws", mqtt_ws), ("pages", pages)]
            .into_iter()
            .filter_map(|(name, server)| Some((name.to_owned(), server?)))
            .collect()
    }
}

impl Document {
    fn of(doors: Doors, pair: &Pair) -> Document {
        let told = channels(pair);
        let mut channels = Map::new();
        let mut operations = Map::new();
        let mut schemas = Map::new();
        let mut tags = Vec::new();
        for channel in told {
            tags.push(json!({ "name": channel.id(), "description": channel.title }));
            operations.extend(channel.operations.iter().map(|one| (one.id.to_owned(), one.json(&channel))));
            channels.insert(channel.id().to_owned(), channel.json());
            let (name, schema) = channel.message.schema;
            schemas.insert(name, schema);
        }
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
            servers: doors.servers(),
            channels,
            operations,
            components: json!({
                "parameters": { "device": {
                    "description": format!("The name of the device: {NAME}"),
                    "examples": [pair.0, pair.1],
                } },
                "schemas": schemas,
            }),
        }
    }
}

impl Channel {
    /// Also the tag of what belongs to it.
    fn id(&self) -> &'static str {
        self.form.root
    }

    fn json(&self) -> Value {
        json!({
            "address": self.form.to_string(),
            "title": self.title,
            "description": self.description,
            "parameters": { "device": { "$ref": "#/components/parameters/device" } },
            "messages": { self.message.name: self.message.json() },
            "tags": [{ "name": self.id() }],
        })
    }
}

impl Message {
    fn json(&self) -> Value {
        let example = |(name, summary, payload): &(&str, &str, Value)| json!({ "name": name, "summary": summary, "payload": payload });
        json!({
            "name": self.name,
            "title": self.title,
            "summary": self.summary,
            "contentType": self.content_type,
            "payload": { "$ref": format!("#/components/schemas/{}", self.schema.0) },
            "examples": self.examples.iter().map(example).collect::<Vec<_>>(),
            "bindings": { "mqtt": {
                "bindingVersion": "0.2.0",
                "contentType": self.content_type,
                // UTF-8, all of them.
                "payloadFormatIndicator": 1,
            } },
        })
    }
}

impl Operation {
    fn json(&self, channel: &Channel) -> Value {
        let reference = format!("#/channels/{}", channel.id());
        json!({
            "action": self.action,
            "channel": { "$ref": reference },
            "messages": [{ "$ref": format!("{reference}/messages/{}", channel.message.name) }],
            "title": self.summary,
            "summary": self.summary,
            "description": self.description,
            "tags": [{ "name": channel.id() }],
            "bindings": { "mqtt": {
                "bindingVersion": "0.2.0",
                "qos": channel.form.qos.as_u8(),
                "retain": channel.form.retain,
            } },
        })
    }
}

fn description(pair: &Pair) -> String {
    let Pair(one, other) = pair;
    format!(
        "What devices and the gateway say to each other over MQTT.\n\n\
         **Everything is told from a device's view**: a device *sends* readings and its presence, and *receives* \
         commands. Whoever watches does it the other way round, and subscribes to what devices send: `{}`, `{}`.\n\n\
         Any name of a device is welcome; `{one}` and `{other}` are the pair that follows each other. A message of \
         QoS 1 is acknowledged when it is on disk. One that cannot be understood is kept as a rejection, at \
         `/api/v1/rejections` with the place of its flaw; nobody is disconnected for it. Sessions end with their \
         connection. There are no passwords yet.",
        SENSOR.to_string().replace("{device}", "+"),
        PRESENCE.to_string().replace("{device}", "+"),
    )
}

fn schema<T: ToSchema>() -> (String, Value) {
    (T::name().into_owned(), json!(T::schema()))
}

fn channels(pair: &Pair) -> [Channel; 3] {
    [commands(pair), presence(), sensors()]
}

fn sensors() -> Channel {
    Channel {
        form: SENSOR,
        title: "What devices measure",
        description: "Devices in the field also say `sensors/rasperry` and mean `sensors/raspberry`."
            .to_owned(),
        message: Message {
            name: "reading",
            title: "Reading",
            summary: "What a device measures now. Fields beyond these are kept.",
            content_type: JSON,
            schema: schema::<SensorPayload>(),
            examples: vec![
                (
                    "below",
                    "Nothing to play about",
                    json!({ "temperature": 21.5, "humidity": 48, "threshold": 29 }),
                ),
                (
                    "over",
                    "The threshold is reached: the peer plays",
                    json!({ "temperature": 29, "humidity": 40.5, "threshold": 29 }),
                ),
                (
                    "complete",
                    "With the fields that may be absent",
                    json!({ "temperature": 31.5, "humidity": 40, "threshold": 29, "over_threshold": true, "unit": "C" }),
                ),
            ],
        },
        operations: vec![
            Operation {
                id: "send_reading",
                action: "send",
                summary: "Say what it measures",
                description: "Every 2.6 seconds or so. A device that is silent for three of its periods, and no less than \
                    5 seconds, is STALE. A reading is never retained: what was measured once says nothing about now.",
            },
            Operation {
                id: "receive_peer_reading",
                action: "receive",
                summary: "Hear what the peer measures",
                description: "A device of the pair plays while its peer's threshold is reached, unless a command says otherwise.",
            },
        ],
    }
}

fn presence() -> Channel {
    Channel {
        form: PRESENCE,
        title: "Which devices are there",
        description: format!(
            "What stands here is true: when it differs from what the gateway knows by the device's connection, the \
             gateway corrects it. Devices in the field also say `/{PRESENCE}`."
        ),
        message: Message {
            name: "presence",
            title: "Presence",
            summary: "Whether a device is there. Case does not matter, nor does space around it.",
            content_type: TEXT,
            schema: schema::<PresencePayload>(),
            examples: vec![
                ("online", "The device has connected", json!(PresencePayload::Online)),
                (
                    "offline",
                    "The device leaves, or its will says that it is gone",
                    json!(PresencePayload::Offline),
                ),
            ],
        },
        operations: vec![
            Operation {
                id: "send_presence",
                action: "send",
                summary: "Say that it is there",
                description: "`online` after it has connected, `offline` before it leaves, both retained. `offline` is its will \
                    as well, retained, of QoS 0 or 1. An alias of the topic alone proves nobody's presence, nor does a \
                    message that was retained.",
            },
            Operation {
                id: "receive_peer_presence",
                action: "receive",
                summary: "Hear that the peer is there",
                description: "A device of the pair begins its melody anew with each `online` of its peer.",
            },
        ],
    }
}

fn commands(pair: &Pair) -> Channel {
    let example = |action: Action| {
        let shows = match action {
            Action::Play => "Play, whatever the peer measures",
            Action::Stop => "Be silent, whatever the peer measures",
            Action::Resume => "Follow the peer again",
        };
        (action.name(), shows, json!(action.payload()))
    };
    let schema = json!({
        "type": "string",
        "description": "`true` plays, `false` stops, an empty message resumes.",
        "enum": Action::ALL.map(Action::payload),
    });
    Channel {
        form: PLAY,
        title: "What devices are told to do",
        description: format!(
            "Sent by the gateway for those who use REST, GraphQL or the pages. Another client's commands are recorded as \
             well, also on `{0}{2}` and `{1}{2}`, where devices in the field look for them.",
            pair.0, pair.1, "/play"
        ),
        message: Message {
            name: "command",
            title: "Command",
            summary: "Play, stop or resume.",
            content_type: TEXT,
            schema: ("CommandPayload".to_owned(), schema),
            examples: Action::ALL.map(example).into(),
        },
        operations: vec![Operation {
            id: "receive_command",
            action: "receive",
            summary: "Be told to play, to stop or to resume",
            description: "Subscribe with QoS 1: the acknowledgement is all that a command gets for an answer. A command is never \
                retained, kept for a device that is away, or sent again; one that is published as retained is a rejection \
                and reaches nobody. A device that restarts has forgotten what it was told.",
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_told_as_they_are_found() {
        let listeners = Listeners {
            mqtt: Some(([0, 0, 0, 0], 1883).into()),
            mqtt_ws: Some(([192, 168, 1, 5], 8083).into()),
        };
        let found = |asked| {
            let doors = Doors::seen(&listeners, asked);
            [doors.mqtt, doors.mqtt_ws, doors.pages].map(Option::unwrap_or_default)
        };
        assert_eq!(found(Some("plant.local:80")), ["plant.local:1883", "192.168.1.5:8083", "plant.local:80"]);
        assert_eq!(found(Some("[::1]")), ["[::1]:1883", "192.168.1.5:8083", "[::1]"]);
        assert_eq!(found(None), ["0.0.0.0:1883", "192.168.1.5:8083", ""]);
    }
}
