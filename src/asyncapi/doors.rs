//! Where clients connect, told as they find it.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::parts::BINDING_VERSION;
use crate::{
    address::PRESENCE,
    app::Listeners,
    config::{Config, Listen},
    model::PresencePayload,
    origin,
};

/// In seconds. What devices in the field declare; the gateway takes any keepalive, also none.
const KEEPALIVE: u16 = 30;

/// Where clients connect, as `host:port`.
pub(super) struct Doors {
    mqtt: Option<String>,
    mqtt_ws: Option<String>,
    /// The port of the pages serves MQTT as well.
    pages: Option<String>,
}

impl Doors {
    /// Those of a gateway that was told nothing.
    pub fn standard() -> Doors {
        let Config { http, mqtt, mqtt_ws, .. } = Config::default();
        let at = |listen| match listen {
            Listen::At(address) => Some(SocketAddr::to_string(&address)),
            Listen::Off => None,
        };
        Doors { mqtt: at(mqtt), mqtt_ws: at(mqtt_ws), pages: at(http) }
    }

    /// The doors as somebody finds them who has asked for the host `asked`.
    pub fn seen(listeners: &Listeners, asked: Option<&str>) -> Doors {
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

    pub fn servers(self) -> Map<String, Value> {
        let bindings = json!({ "mqtt": {
            "bindingVersion": BINDING_VERSION,
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
