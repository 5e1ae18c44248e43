//! The database: one journal, one writer, many readers.
//!
//! The only module that names sea-orm. A query per function, named by what it answers; what must be
//! fast has an index, and the migration says for which query.

use std::{fs::File, path::Path, sync::Arc, time::Duration};

use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
    sqlx::{
        ConnectOptions as _,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use tracing::info;

use crate::{
    config::Durability,
    error::Error,
    model::{Seq, Timestamp},
};

mod audit;
mod batch;
mod command_rows;
mod commands;
mod devices;
mod events;
mod file;
mod journal;
mod kept;
mod paging;
mod presence;
mod readings;
mod rejections;
mod retained;
mod rows;
#[cfg(test)]
mod samples;
mod service_readings;
mod services;
mod words;

pub use audit::{Audit, Broken, Flaw, Head, OldCommands, Removed, verify};
pub use commands::CommandFilter;
pub use devices::{DeviceFacts, WentOut};
pub use journal::{Draft, Journal, refused};
pub use rejections::RejectionFilter;
pub use services::TopicFacts;

/// Enough for the pages of a few people at once; more would only wait for the same disk.
const MAX_READERS: u32 = 4;

/// In pages of 4 KiB: 32 MiB of log before it moves into the file. SQLite's own 1000 would move it after
/// nearly every batch, which costs more than the batch.
const WAL_PAGES: &str = "8000";

/// In KiB, negative as SQLite wants it. The writer appends, so it needs little more than the last pages.
const WRITER_CACHE: &str = "-16000";

/// In KiB for each reader, negative as SQLite wants it.
const READER_CACHE: &str = "-8000";

/// How long a statement waits for a lock. Only a backup or a person's `sqlite3` can hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many prepared statements a connection keeps. Those of a large batch are some 100 KB each.
const STATEMENT_CACHE: usize = 32;

/// Reads what the [`Journal`] wrote. A cheap handle.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    readers: DatabaseConnection,
    /// Held as long as anyone may write; let go with the last handle.
    _lock: File,
}

/// Opens the database, creates it if there is none, and brings it to this version's shape.
///
/// Refuses, with the file untouched, what is not Crosslink's, what a newer Crosslink wrote, and what
/// another Crosslink uses. The last is known by a lock on `{database}.lock`, which is left in place.
pub async fn open(database: &Path, durability: Durability) -> Result<(Store, Journal), Error> {
    let (path, lock) = file::prepare(database).await?;
    let writer = writing(SqliteConnectOptions::new().filename(&path), durability);
    let db = connect(writer.clone(), 1).await?;
    migrate(&db, &path).await?;
    db.close().await?;
    let readers = connect(reading(SqliteConnectOptions::new().filename(&path)), MAX_READERS).await?;
    let store = Store(Arc::new(Inner { readers, _lock: lock }));
    let journal = Journal::open(writer, store.clone()).await?;
    Ok((store, journal))
}

/// Brings the database to this version's shape, and says so before: a large one takes its time.
async fn migrate(db: &DatabaseConnection, path: &Path) -> Result<(), DbErr> {
    let applied = Migrator::get_applied_migrations(db).await?;
    let pending = Migrator::get_pending_migrations(db).await?;
    if !applied.is_empty() && !pending.is_empty() {
        let path = path.display();
        info!("{path} comes from an earlier version and is adapted to this one; a large one takes minutes");
    }
    Migrator::up(db, None).await
}

impl Store {
    /// The last entry of the journal.
    pub async fn head(&self) -> Result<Seq, Error> {
        Ok(head(self.db()).await?)
    }

    /// When the last entry up to a place was made.
    pub async fn moment(&self, seq: Seq) -> Result<Timestamp, Error> {
        use entity::journal::{Column, Entity};
        let query = Entity::find().select_only().column(Column::At).filter(Column::Seq.lte(seq.0));
        let at: Option<i64> = query.order_by_desc(Column::Seq).into_tuple().one(self.db()).await?;
        Ok(Timestamp(at.unwrap_or_default()))
    }

    /// Whether the database can be read.
    pub async fn probe(&self) -> Result<(), Error> {
        self.head().await.map(drop)
    }

    fn db(&self) -> &DatabaseConnection {
        &self.0.readers
    }
}

async fn head(db: &impl ConnectionTrait) -> Result<Seq, DbErr> {
    use entity::journal::{Column, Entity};
    let last: Option<Option<i64>> =
        Entity::find().select_only().expr(Column::Seq.max()).into_tuple().one(db).await?;
    Ok(Seq(last.flatten().unwrap_or_default()))
}

fn writing(options: SqliteConnectOptions, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match durability {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Normal => SqliteSynchronous::Normal,
    };
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("cache_size", WRITER_CACHE)
}

fn reading(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.pragma("query_only", "ON").pragma("cache_size", READER_CACHE)
}

/// Connects, and counts the statements. Connections stay open: none of them is far away.
async fn connect(options: SqliteConnectOptions, at_most: u32) -> Result<DatabaseConnection, DbErr> {
    let options = options
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENT_CACHE)
        .disable_statement_logging()
        .pragma("temp_store", "MEMORY");
    // The options hold the path; a path may be no URL.
    let mut connection = ConnectOptions::new("sqlite:");
    connection
        .max_connections(at_most)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .record_stmt_in_spans(false)
        .map_sqlx_sqlite_opts(move |_| options.clone());
    let mut db = Database::connect(connection).await?;
    db.set_metric_callback(|_| metrics::counter!("crosslink_sql_statements_total").increment(1));
    Ok(db)
}

impl From<DbErr> for Error {
    fn from(why: DbErr) -> Error {
        Error::internal(why)
    }
}

/// A row that no Crosslink has written.
fn unreadable(seq: i64, why: impl Into<anyhow::Error>) -> Error {
    Error::internal(why.into().context(format!("entry {seq} of the journal cannot be read")))
}

#[cfg(test)]
mod tests {
    use super::samples::{
        House, command, kept, presence, reading, rejected, retained, service, service_command,
        service_reading, session, statements,
    };
    use super::*;
    use crate::model::{CommandState, Event, KeptChange, Part, Timestamp};
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[tokio::test]
    async fn statements_do_not_grow_with_what_is_asked_for() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _counting = metrics::set_default_local_recorder(&recorder);
        let statements = || statements(&recorder);
        let mut house = House::new().await;
        for device in ["a", "b", "c", "d"] {
            let mut drafts = [reading(device, 20.0), presence(device), session(), command(device)];
            house.append(&mut drafts).await;
            house.append(&mut [rejected(device, b"x")]).await;
            let name = format!("rig/{device}");
            let topic = format!("{name}/1");
            let mut drafts = [service_reading(&topic, b"1"), service(&name), service_command(&topic)];
            house.append(&mut drafts).await;
        }
        let services = ["rig/a", "rig/b", "rig/c", "rig/d"];

        let before = statements();
        assert_eq!(house.store.events(Seq::ZERO, 100).await.unwrap().len(), 32);
        assert_eq!(statements() - before, 3);

        let before = statements();
        assert_eq!(house.store.devices_as_of(Seq(32)).await.unwrap().len(), 4);
        assert_eq!(statements() - before, 3);

        let before = statements();
        assert_eq!(house.store.service_changes().await.unwrap().len(), 4);
        assert_eq!(house.store.service_topics().await.unwrap().len(), 4);
        assert_eq!(statements() - before, 2);

        let before = statements();
        let page = house.store.service_readings(&services, None, Part::of(None, 9)).await.unwrap();
        assert_eq!(page.items.len(), 4);
        assert_eq!(statements() - before, 2);

        let before = statements();
        let each = house.store.service_readings_of_each(&services, None, Part::of(None, 9)).await.unwrap();
        assert_eq!(each.len(), 4);
        assert_eq!(statements() - before, 2);
    }

    /// As the first two steps made it: a command for a device, a reading that was made of a rejection.
    const LEFT: &str = r#"
        PRAGMA application_id = 0x584C4E4B;
        INSERT INTO sources (id, class, name, first_at) VALUES (1, 1, 'a', 7);
        INSERT INTO journal (seq, at, kind, source, body, replay_of) VALUES
            (1, 7, 5, NULL, NULL, NULL), (2, 8, 4, 1, NULL, NULL),
            (3, 7, 1, 1, CAST('{"temperature":20.5,"humidity":40,"threshold":29,"more":1}' AS BLOB), 1);
        INSERT INTO rejections
            (seq, topic, payload, qos, retain, client_id, reason, pointer, detail, size)
        VALUES (1, 'sensors/a', CAST('x' AS BLOB), 0, false, 'c', 3, '', '', 10);
        INSERT INTO commands
            (id, source, topic, payload, qos, action, surface, client_id, address, idempotency_key, accepted_at, state)
        VALUES (2, 1, 'commands/a/play', CAST('true' AS BLOB), 1, 1, 1, NULL, NULL, 'k', 8, 1);
        INSERT INTO command_states (seq, command, state, delivery) VALUES (2, 2, 1, NULL);
    "#;

    #[tokio::test]
    async fn a_database_without_services_loses_nothing_and_takes_services() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crosslink.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let db = connect(options, 1).await.unwrap();
        Migrator::up(&db, Some(2)).await.unwrap();
        db.execute_unprepared(LEFT).await.unwrap();
        db.close().await.unwrap();

        let (store, mut journal) = open(&path, Durability::Normal).await.unwrap();
        let mut drafts = [service_reading("rig/a", b"true"), service("rig/a"), service_command("rig/a/1")];
        journal.append(&mut drafts).await.unwrap();
        let events = store.events(Seq::ZERO, 10).await.unwrap();
        let [Event::Rejection(_), Event::Command(record), Event::Reading(reading), new @ ..] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!((record.target.device(), record.idempotency_key.as_deref()), (Some("a"), Some("k")));
        assert_eq!((reading.temperature, reading.replay_of), (20.5, Some(Seq(1))));
        assert_eq!(new, drafts.map(|draft| draft.event.unwrap()));
        assert!(store.db().query_one_raw(statement(&store, "SELECT * FROM services")).await.is_err());
    }

    #[tokio::test]
    async fn readings_from_before_there_were_runs_are_found_between_moments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crosslink.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let db = connect(options, 1).await.unwrap();
        Migrator::up(&db, Some(3)).await.unwrap();
        db.execute_unprepared(
            "PRAGMA application_id = 0x584C4E4B;
            INSERT INTO sources (id, class, name, first_at) VALUES (1, 1, 'a', 7), (2, 1, 'b', 7);
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 50)
            INSERT INTO journal (seq, at, kind, source, body)
            SELECT n, n % 7 * 300000000, 1, 1 + n % 2, CAST('{\"temperature\":20,\"humidity\":40,\"threshold\":29}' AS BLOB) FROM n",
        )
        .await
        .unwrap();
        db.close().await.unwrap();

        let (store, _journal) = open(&path, Durability::Normal).await.unwrap();
        let part = Part {
            from: Some(Timestamp(600_000_000)),
            to: Some(Timestamp(1_500_000_000)),
            ..Part::of(None, 99)
        };
        let page = store.readings("a", part).await.unwrap();
        let wanted = (1..=50).filter(|seq| seq % 2 == 0 && (2..5).contains(&(seq % 7)));
        assert_eq!(page.items.len(), wanted.count());
    }

    #[tokio::test]
    async fn a_database_without_persistent_sessions_keeps_its_retained_messages_and_takes_sessions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crosslink.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let db = connect(options, 1).await.unwrap();
        Migrator::up(&db, Some(5)).await.unwrap();
        db.execute_unprepared(
            "PRAGMA application_id = 0x584C4E4B;
            INSERT INTO retained (topic, payload, qos, at) VALUES ('t', CAST('v' AS BLOB), 1, 1795300000123456)",
        )
        .await
        .unwrap();
        db.close().await.unwrap();

        let (store, mut journal) = open(&path, Durability::Normal).await.unwrap();
        assert_eq!(store.retained().await.unwrap(), [retained("t", b"v").retained.unwrap()]);
        assert_eq!(store.kept_sessions().await.unwrap(), []);
        let connected = KeptChange::Connected { client_id: "c".into(), expiry: 9 };
        journal.append(&mut [kept(1, [connected])]).await.unwrap();
        assert_eq!(store.kept_sessions().await.unwrap().len(), 1);
    }

    fn statement(store: &Store, sql: &str) -> sea_orm::Statement {
        sea_orm::Statement::from_string(store.db().get_database_backend(), sql)
    }

    #[tokio::test]
    async fn a_killed_gateway_loses_nothing_committed() {
        let mut house = House::new().await;
        let mut drafts = [reading("a", 20.0), command("a")];
        house.append(&mut drafts).await;

        let copy = tempfile::tempdir().unwrap();
        for name in ["crosslink.db", "crosslink.db-wal"] {
            std::fs::copy(house.path().with_file_name(name), copy.path().join(name)).unwrap();
        }
        let (store, journal) = open(&copy.path().join("crosslink.db"), Durability::Full).await.unwrap();
        assert_eq!(journal.head(), Seq(2));
        let events = store.events(Seq::ZERO, 10).await.unwrap();
        assert_eq!(events, drafts.map(|draft| draft.event.unwrap()));
        let [Event::Reading(_), Event::Command(record)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(record.state, CommandState::Accepted);
    }

    #[tokio::test]
    async fn a_closed_database_is_one_file() {
        let mut house = House::new().await;
        house.append(&mut [reading("a", 20.0)]).await;
        let path = house.path();
        house.journal.close().await.unwrap();
        assert!(!path.with_file_name("crosslink.db-wal").exists());
        assert!(house.store.probe().await.is_err());
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let house = House::new().await;
        assert!(house.store.db().execute_unprepared("DELETE FROM journal").await.is_err());
    }
}
