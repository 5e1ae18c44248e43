//! Samples of what is written, for the tests of the store.

use std::path::PathBuf;

use bytes::Bytes;
use entity::rejection_counts;
use metrics_exporter_prometheus::PrometheusRecorder;
use sea_orm::{ConnectionTrait, EntityTrait, StatementBuilder};
use tempfile::TempDir;

use super::{Draft, Journal, Store, open};
use crate::{
    config::Durability,
    json,
    model::{
        Action, CommandRecord, CommandState, Delivery, Event, Evidence, Keep, KeptChange, KeptId, Presence,
        PresenceChange, PresenceReason, Rejection, RejectionReason, Retained, SensorPayload, Seq,
        ServiceChange, ServiceReading, ServiceState, SessionChange, SessionEnd, SessionId, Status, Surface,
        Target, Timestamp,
    },
};

/// Not a whole number of milliseconds: the database keeps microseconds.
const AT: Timestamp = Timestamp(1_795_300_000_123_456);

/// A store in a folder of its own.
pub(super) struct House {
    pub(super) store: Store,
    pub(super) journal: Journal,
    folder: TempDir,
}

impl House {
    pub(super) async fn new() -> House {
        House::at(tempfile::tempdir().unwrap()).await
    }

    pub(super) async fn restarted(self) -> House {
        let House { store, journal, folder } = self;
        drop((store, journal));
        House::at(folder).await
    }

    async fn at(folder: TempDir) -> House {
        let path = folder.path().join("crosslink.db");
        let (store, journal) = open(&path, Durability::Normal).await.unwrap();
        House { store, journal, folder }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("crosslink.db")
    }

    pub(super) async fn append(&mut self, drafts: &mut [Draft]) {
        self.journal.append(drafts).await.unwrap();
    }

    /// What SQLite does to answer a query.
    pub(super) async fn plan(&self, query: &impl StatementBuilder) -> Vec<String> {
        let db = self.store.db();
        let mut statement = db.get_database_backend().build(query);
        statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
        let rows = db.query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect()
    }

    /// How often something was rejected, by topic.
    pub(super) async fn counts(&self) -> Vec<(String, i64)> {
        let rows = rejection_counts::Entity::find().all(self.store.db()).await.unwrap();
        rows.into_iter().map(|row| (row.topic, row.count)).collect()
    }
}

/// How many statements were counted.
pub(super) fn statements(recorder: &PrometheusRecorder) -> u64 {
    let text = recorder.handle().render();
    let line = text.lines().find(|line| line.starts_with("crosslink_sql_statements_total ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn event(event: Event) -> Draft {
    Draft { event: Some(event), ..Draft::default() }
}

pub(super) fn reading(device: &str, temperature: f64) -> Draft {
    let payload = format!(r#"{{"temperature":{temperature},"humidity":40,"threshold":25.5}}"#);
    reading_of(device, payload.as_bytes())
}

pub(super) fn reading_of(device: &str, payload: &[u8]) -> Draft {
    let (said, _) = json::read::<SensorPayload>(payload).unwrap();
    event(Event::Reading(said.typed(Seq::ZERO, AT, device.into(), Bytes::copy_from_slice(payload))))
}

/// A reading with a field of 240 KiB beside those that are known.
pub(super) fn large(device: &str) -> Draft {
    let more = "x".repeat(240 * 1024);
    let payload = format!(r#"{{"temperature":20,"humidity":40,"threshold":25.5,"more":"{more}"}}"#);
    reading_of(device, payload.as_bytes())
}

/// A reading on a topic of a service, that is no reading of a service that has a kind.
pub(super) fn service_reading(topic: &str, payload: &[u8]) -> Draft {
    event(Event::ServiceReading(ServiceReading {
        seq: Seq::ZERO,
        at: AT,
        topic: topic.parse().unwrap(),
        replay_of: None,
        payload: Bytes::copy_from_slice(payload),
    }))
}

/// What a service said last left it two kinds.
pub(super) fn service(name: &str) -> Draft {
    let candidates = vec!["analog_in".to_owned(), "loadcell".to_owned()];
    let evidence = Evidence { seq: Seq::ZERO, suffix: "/tare".into(), candidates: candidates.clone() };
    event(Event::Service(ServiceChange {
        seq: Seq::ZERO,
        at: AT,
        service: name.parse().unwrap(),
        state: ServiceState::Ambiguous,
        kind: None,
        candidates,
        evidence: Some(evidence),
    }))
}

pub(super) fn presence(device: &str) -> Draft {
    let presence = Presence {
        status: Status::Offline,
        since: Some(AT),
        reason: Some(PresenceReason::SocketError),
        last_message_at: Some(Timestamp(AT.0 - 1)),
        client_id: Some("client".into()),
        session: Some(SessionId(7)),
    };
    let device = device.into();
    event(Event::Presence(PresenceChange { seq: Seq::ZERO, at: AT, device, flapping: true, presence }))
}

pub(super) fn session() -> Draft {
    event(Event::Session(SessionChange {
        seq: Seq::ZERO,
        at: AT,
        session: SessionId(7),
        client_id: "client".into(),
        address: "127.0.0.1:4711".into(),
        ended: Some(SessionEnd::Keepalive),
    }))
}

pub(super) fn command(device: &str) -> Draft {
    event(Event::Command(record(device, None)))
}

pub(super) fn service_command(topic: &str) -> Draft {
    event(Event::Command(service_record(topic)))
}

/// A command whose payload is 240 KiB.
pub(super) fn large_command(topic: &str) -> Draft {
    event(Event::Command(CommandRecord { payload: "x".repeat(240 * 1024), ..service_record(topic) }))
}

fn service_record(topic: &str) -> CommandRecord {
    let target = Target::Service(topic.parse().unwrap());
    CommandRecord { target, topic: topic.into(), payload: r#"{"duty":0.5}"#.into(), ..record("", None) }
}

fn record(device: &str, key: Option<&str>) -> CommandRecord {
    CommandRecord {
        id: Seq::ZERO,
        seq: Seq::ZERO,
        accepted_at: AT,
        at: AT,
        target: Target::Device { device: device.into(), action: Action::Play },
        topic: format!("commands/{device}/play"),
        payload: "true".into(),
        state: CommandState::Accepted,
        delivery: None,
        surface: Surface::GraphQl,
        client_id: None,
        address: Some("127.0.0.1".into()),
        idempotency_key: key.map(str::to_owned),
        qos: 1,
        timeout_ms: None,
        answer: None,
        mismatches: Vec::new(),
        reason: None,
        ambiguous: false,
    }
}

/// A new command, as the journal knows it.
pub(super) async fn accepted(house: &mut House, device: &str, key: Option<&str>) -> CommandRecord {
    written(house, record(device, key)).await
}

/// A new command for a service, as the journal knows it.
pub(super) async fn accepted_by_service(house: &mut House, topic: &str) -> CommandRecord {
    written(house, service_record(topic)).await
}

/// A known command in its next state, as the journal knows it.
pub(super) async fn moved(
    house: &mut House,
    record: CommandRecord,
    state: CommandState,
    delivery: Option<Delivery>,
) -> CommandRecord {
    let at = Timestamp(record.at.0 + 1);
    written(house, CommandRecord { at, state, delivery, ..record }).await
}

async fn written(house: &mut House, record: CommandRecord) -> CommandRecord {
    let mut drafts = [event(Event::Command(record))];
    house.append(&mut drafts).await;
    let [Draft { event: Some(Event::Command(record)), .. }] = drafts else { unreachable!("it is a command") };
    record
}

pub(super) fn rejected(topic: &str, payload: &[u8]) -> Draft {
    event(Event::Rejection(Rejection {
        seq: Seq::ZERO,
        at: AT,
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload),
        qos: 1,
        retain: true,
        client_id: "client".into(),
        reason: RejectionReason::NotJson,
        pointer: "/temperature".into(),
        detail: "expected a number".into(),
    }))
}

pub(super) fn retained(topic: &str, payload: &[u8]) -> Draft {
    let message = Retained {
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload),
        qos: 1,
        at: AT,
        properties: Bytes::new(),
        expires_at: None,
    };
    Draft { retained: Some(message), ..Draft::default() }
}

/// Changes of one persistent session that nothing else brings.
pub(super) fn kept(session: i64, changes: impl IntoIterator<Item = KeptChange>) -> Draft {
    let keep = |change| Keep { session: KeptId(session), change };
    Draft { keeps: changes.into_iter().map(keep).collect(), ..Draft::default() }
}
