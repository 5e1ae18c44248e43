//! The journal's one writer.
//!
//! A batch is one transaction, in statements of many rows: a row then costs about a microsecond, and the
//! disk is waited for once.

use std::collections::HashMap;

use entity::{
    command_states, commands, journal, rejection_counts, rejections, retained, runs, sources, topics,
};
use sea_orm::{
    DatabaseConnection, DbErr, QuerySelect, RuntimeErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait, entity::prelude::*, sea_query::OnConflict, sqlx::sqlite::SqliteConnectOptions,
};

use super::{
    Store,
    audit::{self, Hash, Link},
    command_rows::{command_row, state_row},
    kept,
    paging::SLOT,
    rejections::Tally,
    rows::{delete, insert},
    words::{PresenceBody, ServiceBody, SessionBody, Word, class, kind},
};
use crate::{
    error::Error,
    model::{CommandRecord, Event, Keep, Rejection, Retained, Seq, ServiceTopic, Target, Timestamp},
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

/// What the writer knows without asking the database.
struct Memory {
    head: Seq,
    /// Ids of sources by their classes and names.
    sources: HashMap<i16, HashMap<String, i64>>,
    last_source: i64,
    /// The slots of time that the sources' runs are in: of those that spoke since the start. A start begins anew.
    slots: HashMap<i64, i64>,
    tally: Tally,
    /// Of the last row of the command log.
    hash: Hash,
}

impl Memory {
    async fn load(db: &DatabaseConnection) -> Result<Memory, DbErr> {
        use sources::Column;
        let known: Vec<(i64, i16, String)> = sources::Entity::find()
            .select_only()
            .columns([Column::Id, Column::Class, Column::Name])
            .into_tuple()
            .all(db)
            .await?;
        let last_source = known.iter().map(|(id, _, _)| *id).max().unwrap_or_default();
        let mut sources = HashMap::<i16, HashMap<String, i64>>::new();
        for (id, class, name) in known {
            sources.entry(class).or_default().insert(name, id);
        }
        let (head, tally) = (super::head(db).await?, Tally::load(db).await?);
        let hash = audit::last_hash(db).await?;
        Ok(Memory { head, sources, last_source, slots: HashMap::new(), tally, hash })
    }

    fn source(&self, class: i16, name: &str) -> Option<i64> {
        self.sources.get(&class)?.get(name).copied()
    }
}

/// The rows of one transaction.
#[derive(Default)]
struct Batch {
    /// Each draft's event in its place, if it is given one.
    placed: Vec<Option<Event>>,
    sources: Vec<sources::Model>,
    topics: Vec<topics::Model>,
    runs: Vec<runs::Model>,
    journal: Vec<journal::Model>,
    commands: Vec<commands::Model>,
    states: Vec<command_states::Model>,
    /// The newest states of commands that stood in the log before this entry.
    moved: HashMap<i64, i16>,
    rejections: Vec<rejections::Model>,
    counts: HashMap<(String, i16), rejection_counts::Model>,
    kept: Vec<retained::Model>,
    unkept: Vec<String>,
    sessions: kept::Rows,
}

impl Batch {
    fn of(drafts: &[Draft], memory: &mut Memory) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        let mut retained = HashMap::new();
        for draft in drafts {
            let placed = match &draft.event {
                Some(event) => batch.add(event.clone(), memory)?,
                None => None,
            };
            batch.placed.push(placed);
            if let Some(message) = &draft.retained {
                // Of several on one topic the last stays.
                retained.insert(&message.topic, message);
            }
        }
        for message in retained.into_values() {
            batch.retain(message);
        }
        batch.sessions = kept::Rows::of(drafts.iter().flat_map(|draft| &draft.keeps));
        Ok(batch)
    }

    /// The event in its place, if it is given one.
    fn add(&mut self, mut event: Event, memory: &mut Memory) -> Result<Option<Event>, Error> {
        let seq = memory.head.next();
        // First of all: the place completes what some events say.
        event.place(seq);
        let at = event.at();
        let mut replay_of = None;
        let (kind, source, body) = match &event {
            Event::Reading(reading) => {
                let source = self.source(class::DEVICE, &reading.device, at, memory);
                replay_of = reading.replay_of.map(|rejection| rejection.0);
                (kind::READING, Some(source), Some(reading.payload.to_vec()))
            }
            Event::Presence(change) => {
                let source = self.source(class::DEVICE, &change.device, at, memory);
                let body = serde_json::to_vec(&PresenceBody::of(change));
                (kind::PRESENCE, Some(source), Some(body.map_err(Error::internal)?))
            }
            Event::Session(change) => {
                let body = serde_json::to_vec(&SessionBody::of(change));
                (kind::SESSION, None, Some(body.map_err(Error::internal)?))
            }
            Event::Command(record) => {
                let source = match &record.target {
                    Target::Device { device, .. } => self.source(class::DEVICE, device, at, memory),
                    Target::Service(topic) => self.topic(topic, at, memory),
                };
                self.command(record, source, &mut memory.hash).map_err(Error::internal)?;
                (kind::COMMAND, Some(source), None)
            }
            Event::Rejection(rejection) => {
                let (counter, sample) = memory.tally.count(rejection);
                self.counts.insert((counter.topic.clone(), counter.reason), counter);
                let Some(size) = sample else {
                    return Ok(None);
                };
                self.rejection(rejection, size);
                (kind::REJECTION, None, None)
            }
            Event::ServiceReading(reading) => {
                let source = self.topic(&reading.topic, at, memory);
                replay_of = reading.replay_of.map(|rejection| rejection.0);
                (kind::SERVICE_READING, Some(source), Some(reading.payload.to_vec()))
            }
            Event::Service(change) => {
                let source = self.source(class::SERVICE, change.service.as_str(), at, memory);
                let body = serde_json::to_vec(&ServiceBody::of(change));
                (kind::SERVICE, Some(source), Some(body.map_err(Error::internal)?))
            }
        };
        memory.head = seq;
        if let Some(source) = source {
            let slot = at.0 / SLOT;
            if memory.slots.insert(source, slot) != Some(slot) {
                self.runs.push(runs::Model { source, slot, first: seq.0 });
            }
        }
        self.journal.push(journal::Model { seq: seq.0, at: at.0, kind, source, body, replay_of });
        Ok(Some(event))
    }

    /// The id of a source, a new one if it has never been heard of.
    fn source(&mut self, class: i16, name: &str, at: Timestamp, memory: &mut Memory) -> i64 {
        if let Some(id) = memory.source(class, name) {
            return id;
        }
        memory.last_source += 1;
        let id = memory.last_source;
        memory.sources.entry(class).or_default().insert(name.to_owned(), id);
        self.sources.push(sources::Model { id, class, name: name.to_owned(), first_at: at.0 });
        id
    }

    /// The id of a topic of a service, a new one and perhaps a new service if it has never been heard of.
    fn topic(&mut self, topic: &ServiceTopic, at: Timestamp, memory: &mut Memory) -> i64 {
        if let Some(id) = memory.source(class::TOPIC, topic.as_str()) {
            return id;
        }
        let service = self.source(class::SERVICE, topic.service(), at, memory);
        let source = self.source(class::TOPIC, topic.as_str(), at, memory);
        self.topics.push(topics::Model { source, service, suffix: topic.suffix().to_owned() });
        source
    }

    /// Puts the row after that with the hash `last`, which is its own afterwards.
    fn command(
        &mut self,
        record: &CommandRecord,
        source: i64,
        last: &mut Hash,
    ) -> Result<(), serde_json::Error> {
        let mut state = state_row(record)?;
        let command = (record.id == record.seq).then(|| command_row(record, source));
        let begun = command.as_ref().map(|command| (command, record.target.name()));
        *last = Link { state: &state, at: record.at.0, begun }.hash(last);
        state.hash = Some(last.to_vec());
        self.states.push(state);
        match command {
            Some(command) => self.commands.push(command),
            None => {
                self.moved.insert(record.id.0, record.state.number());
            }
        }
        Ok(())
    }

    fn rejection(&mut self, rejection: &Rejection, size: i64) {
        self.rejections.push(rejections::Model {
            seq: rejection.seq.0,
            topic: rejection.topic.clone(),
            payload: rejection.payload.to_vec(),
            qos: rejection.qos.into(),
            retain: rejection.retain,
            client_id: rejection.client_id.clone(),
            reason: rejection.reason.number(),
            pointer: rejection.pointer.clone(),
            detail: rejection.detail.clone(),
            size,
        });
    }

    fn retain(&mut self, message: &Retained) {
        if message.payload.is_empty() {
            self.unkept.push(message.topic.clone());
            return;
        }
        self.kept.push(retained::Model {
            topic: message.topic.clone(),
            payload: message.payload.to_vec(),
            qos: message.qos.into(),
            at: message.at.0,
            properties: kept::some(&message.properties),
            expires_at: message.expires_at.map(|at| at.0),
        });
    }

    /// Commits the rows; gives the drafts' events in their places.
    async fn write(self, db: &DatabaseConnection) -> Result<Vec<Option<Event>>, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = db.begin_with_options(options).await?;
        insert(&transaction, self.sources, None).await?;
        insert(&transaction, self.topics, None).await?;
        insert(&transaction, self.runs, None).await?;
        insert(&transaction, self.journal, None).await?;
        insert(&transaction, self.commands, None).await?;
        insert(&transaction, self.states, None).await?;
        for (id, state) in self.moved {
            commands::Entity::update_many()
                .col_expr(commands::Column::State, state.into())
                .filter(commands::Column::Id.eq(id))
                .exec(&transaction)
                .await?;
        }
        insert(&transaction, self.rejections, None).await?;
        insert(&transaction, self.counts.into_values(), Some(newest_count())).await?;
        insert(&transaction, self.kept, Some(newest_retained())).await?;
        delete(&transaction, retained::Entity, [retained::Column::Topic], self.unkept).await?;
        self.sessions.write(&transaction).await?;
        transaction.commit().await?;
        Ok(self.placed)
    }
}

fn newest_count() -> OnConflict {
    use rejection_counts::Column;
    OnConflict::columns([Column::Topic, Column::Reason])
        .update_columns([Column::Count, Column::LastAt])
        .to_owned()
}

fn newest_retained() -> OnConflict {
    use retained::Column;
    OnConflict::column(Column::Topic)
        .update_columns([Column::Payload, Column::Qos, Column::At, Column::Properties, Column::ExpiresAt])
        .to_owned()
}

#[cfg(test)]
mod tests {
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
