//! The rows of one transaction of the writer, made of what is to be written.

use std::collections::HashMap;

use entity::{
    command_states, commands, journal, rejection_counts, rejections, retained, runs, sources, topics,
};
use sea_orm::{DatabaseConnection, DbErr, QuerySelect, entity::prelude::*, sea_query::OnConflict};

use super::{
    audit::{self, Hash, Link},
    command_rows::{command_row, state_row},
    journal::{Draft, begin},
    kept,
    paging::SLOT,
    rejections::Tally,
    rows::{delete, insert},
    words::{PresenceBody, ServiceBody, SessionBody, Word, class, kind},
};
use crate::{
    error::Error,
    model::{CommandRecord, Event, Rejection, Retained, Seq, ServiceTopic, Target, Timestamp},
};

/// What the writer knows without asking the database.
pub(super) struct Memory {
    pub(super) head: Seq,
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
    pub(super) async fn load(db: &DatabaseConnection) -> Result<Memory, DbErr> {
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
pub(super) struct Batch {
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
    pub(super) fn of(drafts: &[Draft], memory: &mut Memory) -> Result<Batch, Error> {
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
    pub(super) async fn write(self, db: &DatabaseConnection) -> Result<Vec<Option<Event>>, DbErr> {
        let transaction = begin(db).await?;
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
