//! The journal's one writer.
//!
//! A batch is one transaction, in statements of many rows: a row then costs about a microsecond, and the
//! disk is waited for once.

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, RuntimeErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait, sqlx::sqlite::SqliteConnectOptions,
};

use super::{
    Store,
    audit::OldCommands,
    batch::{Batch, Memory},
    kept,
};
use crate::{
    error::Error,
    model::{Event, Keep, Retained, Seq},
};

/// What SQLite calls too big, a violated constraint, a mismatched type and a parameter out of range.
const REFUSALS: [i32; 4] = [18, 19, 20, 25];

/// One thing to write: an event, a retained message, changes of persistent sessions, or several of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    pub event: Option<Event>,
    /// An empty payload deletes what the topic kept.
    pub retained: Option<Retained>,
    /// What changes of persistent sessions with it, in order.
    pub keeps: Vec<Keep>,
}

/// The one writer. There is no second one, in this process or another.
pub struct Journal {
    db: DatabaseConnection,
    /// How to connect anew.
    options: SqliteConnectOptions,
    /// Closed with the writer; holds the lock on the file.
    store: Store,
    head: Seq,
    /// Absent after a batch that may have failed: what is in the database is then read anew.
    memory: Option<Memory>,
}

impl Journal {
    pub(super) async fn open(options: SqliteConnectOptions, store: Store) -> Result<Journal, Error> {
        let db = super::connect(options.clone(), 1).await?;
        kept::tidy(&db).await?;
        let memory = Memory::load(&db).await?;
        Ok(Journal { db, options, store, head: memory.head, memory: Some(memory) })
    }

    /// The last entry.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// Commits the drafts in one transaction and gives each event its place, in order and without holes.
    ///
    /// A rejection beyond its bounds is only counted and keeps no place: its draft's event is gone
    /// afterwards. On an error nothing is written, no place is used, and the drafts are as before.
    pub async fn append(&mut self, drafts: &mut [Draft]) -> Result<(), Error> {
        // Taken, and put back after the commit: neither an error nor being cancelled leaves it wrong.
        let mut memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.recovered().await?,
        };
        let batch = Batch::of(drafts, &mut memory)?;
        let placed = batch.write(&self.db).await?;
        self.head = memory.head;
        self.memory = Some(memory);
        for (draft, event) in drafts.iter_mut().zip(placed) {
            draft.event = event;
        }
        Ok(())
    }

    /// Removes rows of the command log and all that goes with them, in one transaction. On an error all of it stands.
    pub async fn remove(&mut self, old: OldCommands) -> Result<(), Error> {
        // As for a batch: what comes after an error looks anew at what is in the database.
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.recovered().await?,
        };
        let transaction = begin(&self.db).await?;
        old.remove(&transaction).await?;
        transaction.commit().await?;
        self.memory = Some(memory);
        Ok(())
    }

    /// What is in the database, read on a new connection. SQLite ends a transaction by itself when it cannot
    /// write; the old connection may believe that it goes on, and would commit nothing ever after.
    async fn recovered(&mut self) -> Result<Memory, DbErr> {
        self.db.close_by_ref().await?;
        self.db = super::connect(self.options.clone(), 1).await?;
        Memory::load(&self.db).await
    }

    /// Closes the database, so that all of it is in the one file. Every [`Store`] is of no use afterwards.
    pub async fn close(self) -> Result<(), Error> {
        self.store.db().close_by_ref().await?;
        Ok(self.db.close().await?)
    }
}

/// A transaction that nobody else writes beside.
pub(super) async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    db.begin_with_options(options).await
}

/// Whether the database works and yet refuses what was to be written: the same drafts may be tried again once, because
/// what the writer knows is then read anew, and after that never will be written.
pub fn refused(why: &Error) -> bool {
    let Error::Internal(why) = why else { return false };
    if why.is::<serde_json::Error>() {
        return true;
    }
    let Some(DbErr::Exec(RuntimeErr::SqlxError(why)) | DbErr::Query(RuntimeErr::SqlxError(why))) =
        why.downcast_ref()
    else {
        return false;
    };
    let code = why.as_database_error().and_then(|why| why.code()?.parse::<i32>().ok());
    // What follows the lower byte says which constraint.
    code.is_some_and(|code| REFUSALS.contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;

    use super::*;
    use crate::store::{
        rows::ROWS_PER_STATEMENT,
        samples::{House, command, presence, reading, rejected, retained, session},
    };

    impl Journal {
        /// Runs SQL on the writer's own connection.
        pub(in crate::store) async fn execute(&self, sql: &str) {
            self.db.execute_unprepared(sql).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_failed_batch_leaves_no_trace() {
        let mut house = House::new().await;
        house.append(&mut [reading("a", 20.0)]).await;
        let mut drafts = [reading("b", 21.0), command("b"), rejected("sensors/b", b"x"), retained("t", b"v")];
        let before = drafts.clone();

        house.journal.execute("PRAGMA query_only = ON").await;
        assert!(house.journal.append(&mut drafts).await.is_err());
        assert_eq!(drafts, before);
        assert_eq!(house.journal.head(), Seq(1));

        house.journal.execute("PRAGMA query_only = OFF").await;
        house.append(&mut drafts).await;
        let seqs = drafts[..3].iter().map(|draft| draft.event.as_ref().unwrap().seq());
        assert_eq!(seqs.collect::<Vec<_>>(), [Seq(2), Seq(3), Seq(4)]);
        assert_eq!(house.store.events(Seq::ZERO, 10).await.unwrap().len(), 4);
        assert_eq!(house.counts().await, [("sensors/b".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn what_is_refused_is_told_from_a_disk_that_fails() {
        let mut house = House::new().await;
        let mut replayed = reading("a", 20.0);
        if let Some(Event::Reading(reading)) = &mut replayed.event {
            reading.replay_of = Some(Seq(1));
        }
        house.append(&mut [replayed.clone()]).await;
        // No rejection is replayed twice.
        for _ in 0..2 {
            assert!(refused(&house.journal.append(&mut [replayed.clone()]).await.unwrap_err()));
        }
        house.append(&mut [reading("a", 20.0)]).await;

        house.journal.execute("PRAGMA query_only = ON").await;
        assert!(!refused(&house.journal.append(&mut [reading("a", 20.0)]).await.unwrap_err()));
        house.journal.execute("PRAGMA query_only = OFF").await;
        house.append(&mut [reading("a", 20.0)]).await;
        house.journal.execute("PRAGMA max_page_count = 40").await;
        let large = vec![b'x'; 1 << 20];
        assert!(!refused(&house.journal.append(&mut [retained("t", &large)]).await.unwrap_err()));
    }

    #[tokio::test]
    async fn a_full_disk_loses_only_the_batch() {
        let mut house = House::new().await;
        house.journal.execute("PRAGMA max_page_count = 40").await;
        let large = vec![b'x'; 1 << 20];
        let mut drafts = [reading("a", 20.0), retained("t", &large)];
        assert!(house.journal.append(&mut drafts).await.is_err());
        house.append(&mut drafts[..1]).await;
        assert_eq!(house.store.head().await.unwrap(), Seq(1));
        assert_eq!(house.store.retained().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_cancelled_batch_leaves_no_hole() {
        let mut house = House::new().await;
        for turns in 0..40 {
            let mut drafts = [reading("a", 20.0), rejected("sensors/a", b"x")];
            let mut batch = Box::pin(house.journal.append(&mut drafts));
            for _ in 0..turns {
                if futures_util::poll!(&mut batch).is_ready() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_micros(50)).await;
            }
        }
        house.append(&mut [reading("a", 20.0)]).await;
        let events = house.store.events(Seq::ZERO, 1000).await.unwrap();
        let seqs: Vec<_> = events.iter().map(|event| event.seq().0).collect();
        assert_eq!(seqs, (1..=house.journal.head().0).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_large_batch_keeps_its_order() {
        let mut house = House::new().await;
        let mut drafts: Vec<_> =
            (0..ROWS_PER_STATEMENT * 2 + 7).map(|n| reading(&format!("d{}", n % 9), n as f64)).collect();
        house.append(&mut drafts).await;
        let events = house.store.events(Seq::ZERO, drafts.len() + 1).await.unwrap();
        let written: Vec<_> = drafts.into_iter().filter_map(|draft| draft.event).collect();
        assert_eq!(events, written);
    }

    #[tokio::test]
    async fn retained_messages_survive_a_restart() {
        let mut house = House::new().await;
        let mut drafts = [retained("a", b"1"), retained("b", b"1"), retained("a", b"2"), retained("c", b"1")];
        house.append(&mut drafts).await;
        house.append(&mut [retained("b", b""), retained("c", b""), retained("c", b"3")]).await;

        let mut kept = house.restarted().await.store.retained().await.unwrap();
        kept.sort_by(|one, other| one.topic.cmp(&other.topic));
        let wanted = [retained("a", b"2"), retained("c", b"3")].map(|draft| draft.retained.unwrap());
        assert_eq!(kept, wanted);
    }

    #[tokio::test]
    async fn the_journal_goes_on_after_a_restart() {
        let mut house = House::new().await;
        let mut first = [presence("a"), session(), command("a")];
        house.append(&mut first).await;
        let mut house = house.restarted().await;
        let mut second = [reading("a", 20.0), reading("b", 21.0)];
        house.append(&mut second).await;

        let events = house.store.events(Seq::ZERO, 10).await.unwrap();
        let written: Vec<_> = first.into_iter().chain(second).filter_map(|draft| draft.event).collect();
        assert_eq!(events, written);
    }
}
