//! What the OpenAPI document shows, made of the types that are sent.

use bytes::Bytes;

use super::devices::Device;
use crate::{
    crosslink::{CrossLink, Hazard},
    devices::Mode,
    model::{
        Action, CommandRecord, CommandState, Cursor, Delivery, Page, Presence, PresenceChange,
        PresenceReason, Reading, Seq, SessionId, Status, Surface, Timestamp,
    },
};

/// 2026-11-21T20:15:00.250Z
const AT: Timestamp = Timestamp(1_795_292_100_250_000);

pub fn devices() -> Page<Device> {
    Page { items: vec![device()], next: None }
}

pub fn device() -> Device {
    Device {
        name: "esp32".to_owned(),
        presence: online(),
        latest: Some(reading("esp32", 4710, 21.5)),
        mode: Mode::Auto,
        cross_link: Some(CrossLink {
            seq: Seq(4710),
            at: AT,
            device: "esp32".to_owned(),
            peer: "raspberry".to_owned(),
            mode: Mode::Auto,
            peer_reading: Some(reading("raspberry", 4709, 29.5)),
            peer_reading_age_ms: Some(1250),
            expected_playing: Some(true),
            hazard: Hazard::None,
        }),
    }
}

pub fn readings() -> Page<Reading> {
    Page { items: vec![reading("esp32", 4710, 21.5)], next: Some(Cursor::Before(Seq(4710))) }
}

pub fn presence() -> Page<PresenceChange> {
    let change = PresenceChange { seq: Seq(4200), at: AT, device: "esp32".to_owned(), presence: online() };
    Page { items: vec![change], next: None }
}

pub fn command() -> CommandRecord {
    CommandRecord {
        id: Seq(4711),
        seq: Seq(4714),
        accepted_at: AT,
        at: AT,
        device: "esp32".to_owned(),
        action: Action::Play,
        topic: "commands/esp32/play".to_owned(),
        payload: "true".to_owned(),
        state: CommandState::Unconfirmable,
        delivery: Some(Delivery::Acknowledged),
        surface: Surface::Rest,
        client_id: None,
        address: Some("192.168.1.20:51432".to_owned()),
        idempotency_key: None,
    }
}

fn online() -> Presence {
    Presence {
        status: Status::Online,
        since: Some(AT),
        reason: Some(PresenceReason::Announced),
        last_message_at: Some(AT),
        client_id: Some("esp32-a1b2".to_owned()),
        session: Some(SessionId(17)),
    }
}

fn reading(device: &str, seq: i64, temperature: f64) -> Reading {
    let payload = format!(r#"{{"temperature":{temperature},"humidity":48,"threshold":29}}"#);
    Reading {
        seq: Seq(seq),
        at: AT,
        device: device.to_owned(),
        temperature,
        humidity: 48.0,
        threshold: 29.0,
        over_threshold: temperature >= 29.0,
        unit: None,
        replay_of: None,
        payload: Bytes::from(payload),
    }
}
