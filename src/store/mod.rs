//! The database: one journal, one writer, many readers.
//!
//! The only module that names sea-orm. A query per function, named by what it answers; what must be
//! fast has an index, and the migration says for which query.

use std::{fs::File, path::Path, sync::Arc, time::Duration};

use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr, QuerySelect,
    entity::prelude::*,
    sqlx::{
        ConnectOptions as _,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

use crate::{config::Durability, error::Error, model::Seq};

mod commands;
mod devices;
mod events;
mod file;
mod journal;
mod paging;
mod presence;
mod readings;
mod rejections;
mod retained;
mod words;

pub use devices::DeviceFacts;
pub use journal::{Draft, Journal};

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
    let writer = connect(writing(SqliteConnectOptions::new().filename(&path), durability), 1).await?;
    Migrator::up(&writer, None).await?;
    let readers = connect(reading(SqliteConnectOptions::new().filename(&path)), MAX_READERS).await?;
    let store = Store(Arc::new(Inner { readers, _lock: lock }));
    let journal = Journal::open(writer, store.clone()).await?;
    Ok((store, journal))
}

impl Store {
    /// The last entry of the journal.
    pub async fn head(&self) -> Result<Seq, Error> {
        Ok(head(self.db()).await?)
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
