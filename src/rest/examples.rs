//! What the OpenAPI document shows, made of the types that are sent.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    commands::Record,
    devices::Device,
    kinds::Kind,
    readings::Reading as ServiceReading,
    services::{LatestReading, Service, Summary},
};
use crate::{
    catalog::{self, Effect, KINDS, Topic},
    crosslink::{CrossLink, Hazard},
    desk::Armed,
    devices::Mode,
    model::{
        Action, Answer, ClientSession, CommandRecord, CommandState, Cursor, Delivery, Evidence, Mismatch,
        Page, Presence, PresenceChange, PresenceReason, ProtocolVersion, Reading, RefusedClient, Rejection,
        RejectionCount, RejectionReason, Replay, ReplayOutcome, Seq, ServiceName, ServiceState, ServiceTopic,
        SessionId, Status, Surface, Target, Timestamp, TopicFilter,
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
    let (device, presence) = ("esp32".to_owned(), online());
    let change = PresenceChange { seq: Seq(4200), at: AT, device, flapping: false, presence };
    Page { items: vec![change], next: None }
}

pub fn command() -> Record {
    Record::untyped(record())
}

pub fn command_under_way() -> Record {
    Record::untyped(CommandRecord {
        seq: Seq(4712),
        state: CommandState::Published,
        delivery: Some(Delivery::Sent),
        ..record()
    })
}

/// A command that a service did.
pub fn confirmed() -> Record {
    told(CommandRecord { answer: Some(answer(answered())), ..service_record(CommandState::Confirmed) })
}

/// A command that a service did otherwise: the first number that it was told, it reports as half.
pub fn mismatch() -> Record {
    let mut reported: Value = serde_json::from_str(answered()).unwrap_or_default();
    let pointer = commanded().numbers.first().map_or("", |number| number.pointer);
    let sent = reported.pointer(pointer).cloned().unwrap_or_default();
    if let Some(value) = reported.pointer_mut(pointer) {
        *value = json!(sent.as_f64().unwrap_or_default() / 2.0);
    }
    let differing = Mismatch {
        pointer: pointer.to_owned(),
        sent: sent.to_string(),
        reported: reported.pointer(pointer).unwrap_or(&Value::Null).to_string(),
    };
    let mismatches = vec![differing];
    let answer = Some(answer(&reported.to_string()));
    told(CommandRecord { answer, mismatches, ..service_record(CommandState::Mismatch) })
}

/// A command that nobody has answered yet.
pub fn published() -> Record {
    told(CommandRecord {
        seq: Seq(4712),
        delivery: Some(Delivery::Sent),
        ..service_record(CommandState::Published)
    })
}

/// A command that nobody answered in time.
pub fn timed_out() -> Record {
    told(service_record(CommandState::TimedOut))
}

pub fn armed() -> Armed {
    Armed {
        token: "5b1f0c9e7a3d48266c02d94be1f7a853".to_owned(),
        expires_at: AT,
        topic: service_topic(commanded().suffix).to_string(),
        payload: commanded().examples[0].to_owned(),
    }
}

pub fn commands() -> Page<Record> {
    Page { items: vec![mismatch(), confirmed(), command()], next: Some(Cursor::Before(Seq(4711))) }
}

pub fn record() -> CommandRecord {
    CommandRecord {
        id: Seq(4711),
        seq: Seq(4714),
        accepted_at: AT,
        at: AT,
        target: Target::Device { device: "esp32".to_owned(), action: Action::Play },
        topic: "commands/esp32/play".to_owned(),
        payload: "true".to_owned(),
        state: CommandState::Unconfirmable,
        delivery: Some(Delivery::Acknowledged),
        surface: Surface::Rest,
        client_id: None,
        address: Some("192.168.1.20:51432".to_owned()),
        idempotency_key: None,
        qos: 1,
        timeout_ms: None,
        answer: None,
        mismatches: Vec::new(),
        reason: None,
        ambiguous: false,
    }
}

fn told(record: CommandRecord) -> Record {
    Record::of_kind(kind(), commanded(), record)
}

fn service_record(state: CommandState) -> CommandRecord {
    let topic = service_topic(commanded().suffix);
    CommandRecord {
        topic: topic.to_string(),
        target: Target::Service(topic),
        payload: commanded().examples[0].to_owned(),
        state,
        timeout_ms: Some(5000),
        ..record()
    }
}

fn answer(payload: &str) -> Answer {
    Answer {
        seq: Seq(4713),
        at: AT,
        topic: service_topic(said().suffix).to_string(),
        payload: payload.to_owned(),
        late: false,
    }
}

fn service_topic(suffix: &str) -> ServiceTopic {
    ServiceName::new("board1", "fan").expect("these are names").topic(suffix)
}

/// The first command of that kind.
fn commanded() -> &'static Topic {
    kind().commands().next().unwrap_or(&kind().topics[0])
}

/// How that kind answers it.
fn answered() -> &'static str {
    said().examples[0]
}

/// A kind that shows most of what the catalog says.
pub fn kind() -> &'static catalog::Kind {
    let hazardous = |topic: &Topic| matches!(topic.effect, Some(Effect::HazardWhen(_)));
    KINDS.iter().find(|kind| kind.topics.iter().any(hazardous)).unwrap_or(&KINDS[0])
}

pub fn kinds() -> Page<Kind> {
    Page { items: vec![Kind::described(kind())], next: None }
}

pub fn services() -> Page<Summary> {
    Page { items: vec![summary(ServiceState::Pinned)], next: None }
}

pub fn service() -> Service {
    Service { summary: summary(ServiceState::Pinned), latest: latest() }
}

pub fn inferred_service() -> Service {
    Service { summary: summary(ServiceState::Inferred), latest: latest() }
}

pub fn service_readings() -> Page<ServiceReading> {
    Page { items: vec![service_reading()], next: Some(Cursor::Before(Seq(4711))) }
}

fn summary(state: ServiceState) -> Summary {
    let suffix = said().suffix.to_owned();
    let candidates = vec![kind().name];
    Summary {
        firmware: "board1".to_owned(),
        name: "fan".to_owned(),
        state,
        kind: Some(kind().name),
        evidence: vec![Evidence {
            seq: Seq(4711),
            suffix,
            candidates: candidates.iter().map(|name| (*name).to_owned()).collect(),
        }],
        candidates,
        seq: Seq(4712),
        at: AT,
        first_at: AT,
        last_message_at: Some(AT),
        last_message_age_ms: Some(1250),
    }
}

fn latest() -> Vec<LatestReading> {
    vec![LatestReading { reading: service_reading(), age_ms: 1250 }]
}

fn service_reading() -> ServiceReading {
    ServiceReading {
        seq: Seq(4711),
        at: AT,
        firmware: "board1".to_owned(),
        service: "fan".to_owned(),
        suffix: said().suffix.to_owned(),
        index: None,
        kind: Some(kind().name),
        type_name: Some((said().shape.name)().into_owned()),
        replay_of: None,
        payload: Bytes::from_static(said().examples[0].as_bytes()),
    }
}

/// The first topic on which that kind speaks.
fn said() -> &'static Topic {
    kind().topics.iter().find(|topic| topic.is_said()).unwrap_or(&kind().topics[0])
}

pub fn clients() -> Page<ClientSession> {
    let client = ClientSession {
        client_id: "esp32-a1b2".to_owned(),
        address: "192.168.1.31:50114".to_owned(),
        version: ProtocolVersion::V4,
        since: AT,
        keep_alive: 30,
        session: SessionId(17),
        subscriptions: vec![TopicFilter { filter: "commands/esp32/play".to_owned(), qos: 1 }],
        subscription_count: 1,
        queued: 0,
        in_flight: 0,
        last_message_at: Some(AT),
        flapping: false,
    };
    Page { items: vec![client], next: None }
}

pub fn refused_clients() -> Page<RefusedClient> {
    let client = RefusedClient {
        client_id: "esp32-a1b2".to_owned(),
        address: "192.168.1.31:50114".to_owned(),
        since: AT,
        until: Timestamp(AT.0 + 60_000_000),
        attempts: 12,
    };
    Page { items: vec![client], next: None }
}

pub fn rejections() -> Page<Rejection> {
    let rejection = Rejection {
        seq: Seq(4711),
        at: AT,
        topic: "sensors/esp32".to_owned(),
        qos: 1,
        retain: false,
        client_id: "esp32-a1b2".to_owned(),
        reason: RejectionReason::TypeMismatch,
        pointer: "/temperature".to_owned(),
        detail: "expected a number, got \"21.5\"".to_owned(),
        payload: Bytes::from_static(br#"{"temperature":"21.5","humidity":48,"threshold":29}"#),
    };
    Page { items: vec![rejection], next: Some(Cursor::Before(Seq(4711))) }
}

pub fn rejection_counts() -> Page<RejectionCount> {
    let count = RejectionCount {
        topic: "sensors/esp32".to_owned(),
        reason: RejectionReason::TypeMismatch,
        count: 1204,
        last_at: AT,
    };
    Page { items: vec![count], next: None }
}

pub fn replays() -> Page<Replay> {
    let recorded = Replay {
        rejection: Seq(4711),
        outcome: ReplayOutcome::Recorded,
        reading: Some(Seq(5230)),
        reason: None,
        detail: None,
    };
    let rejected = Replay {
        rejection: Seq(4712),
        outcome: ReplayOutcome::Rejected,
        reading: None,
        reason: Some(RejectionReason::MissingField),
        detail: Some("/humidity: missing".to_owned()),
    };
    Page { items: vec![recorded, rejected], next: None }
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
