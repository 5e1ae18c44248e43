//! The journal as it is told: every kind of event, in order.

use bytes::Bytes;
use entity::{journal, sources};
use futures_util::TryStreamExt;
use sea_orm::{
    FromQueryResult, JoinType, Order,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Func, FunctionCall, IntoColumnRef, Query, SelectStatement},
};

use super::{
    Store, unreadable,
    words::{PresenceBody, ServiceBody, SessionBody, kind},
};
use crate::{
    error::Error,
    json,
    model::{
        Event, PresenceChange, Reading, SensorPayload, Seq, ServiceChange, ServiceReading, ServiceTopic,
        SessionChange, Timestamp,
    },
};

/// What entries that are told one after the other may weigh, in bytes: a payload may be large, the machine small,
/// and those who are caught up many.
const MAX_AT_A_TIME: usize = 1024 * 1024;

impl Store {
    /// What follows `after`, in order: at least one event if there is any. At most three statements, however many
    /// events.
    pub async fn events(&self, mut after: Seq, limit: usize) -> Result<Vec<Event>, Error> {
        loop {
            let (events, last) = self.events_up_to(after, limit).await?;
            match last {
                // All of them were removed between two of the statements.
                Some(last) if events.is_empty() => after = last,
                _ => return Ok(events),
            }
        }
    }

    /// The same, and the last entry that was looked at.
    async fn events_up_to(&self, after: Seq, limit: usize) -> Result<(Vec<Event>, Option<Seq>), Error> {
        let mut query = Entry::select();
        query
            .and_where(journal::Column::Seq.gt(after.0))
            .order_by_expr(Expr::col(journal::Column::Seq.as_column_ref()), Order::Asc)
            .limit(u64::try_from(limit).unwrap_or(u64::MAX));
        let mut room = MAX_AT_A_TIME;
        let (entries, _) = self.entries(&query, &mut room).await?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok((Vec::new(), None));
        };
        let (first, last) = (Seq(first.seq), Seq(last.seq));

        // Entries of these kinds have their details elsewhere, in the same order.
        let (commands, all_commands) = if entries.iter().any(|entry| entry.kind == kind::COMMAND) {
            self.commands_between(first, last, &mut room).await?
        } else {
            (Vec::new(), true)
        };
        let rejections = if entries.iter().any(|entry| entry.kind == kind::REJECTION) {
            self.rejections_between(first, last).await?
        } else {
            Vec::new()
        };
        let (mut commands, mut rejections) = (commands.into_iter().peekable(), rejections.into_iter());
        let mut events = Vec::with_capacity(entries.len());
        for entry in entries {
            let seq = Seq(entry.seq);
            let event = match entry.kind {
                kind::READING => Event::Reading(entry.reading()?),
                kind::PRESENCE => Event::Presence(entry.presence()?),
                kind::SESSION => Event::Session(entry.session()?),
                kind::COMMAND => match commands.next_if(|record| record.seq == seq) {
                    Some(record) => Event::Command(record),
                    // There is no room for it: it is told next time.
                    None if !all_commands && commands.peek().is_none() => break,
                    None if seq <= self.commands_removed().await? => continue,
                    None => return Err(lost(seq)),
                },
                kind::REJECTION => Event::Rejection(rejections.next().ok_or_else(|| lost(seq))?),
                kind::SERVICE => Event::Service(entry.service()?),
                kind::SERVICE_READING => Event::ServiceReading(entry.service_reading()?),
                unknown => return Err(unreadable(seq.0, anyhow::anyhow!("{unknown} is no kind"))),
            };
            if event.seq() != seq {
                return Err(lost(seq));
            }
            events.push(event);
        }
        Ok((events, Some(last)))
    }

    /// The entries that a query finds, the first of them at least, and on for as long as there is room for what
    /// they say, in bytes. Tells whether these are all.
    pub(super) async fn entries(
        &self,
        query: &SelectStatement,
        room: &mut usize,
    ) -> Result<(Vec<Entry>, bool), Error> {
        self.weighed(query, room, |entry: &Entry| entry.body.as_ref().map_or(0, Vec::len)).await
    }

    /// The rows that a query finds, the first of them at least, and on for as long as there is room for what they
    /// weigh, in bytes. Tells whether these are all.
    pub(super) async fn weighed<Row: FromQueryResult + Send>(
        &self,
        query: &SelectStatement,
        room: &mut usize,
        weight: impl Fn(&Row) -> usize,
    ) -> Result<(Vec<Row>, bool), Error> {
        let statement = self.db().get_database_backend().build(query);
        let mut rows = Row::find_by_statement(statement).stream(self.db()).await?;
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await? {
            let weight = weight(&row);
            if weight > *room && !found.is_empty() {
                return Ok((found, false));
            }
            *room = room.saturating_sub(weight);
            found.push(row);
        }
        Ok((found, true))
    }

    /// The rows that a query finds.
    pub(super) async fn rows<Row: FromQueryResult>(
        &self,
        query: &SelectStatement,
    ) -> Result<Vec<Row>, Error> {
        let statement = self.db().get_database_backend().build(query);
        Ok(Row::find_by_statement(statement).all(self.db()).await?)
    }
}

/// An entry of the journal whose details are missing.
fn lost(seq: Seq) -> Error {
    unreadable(seq.0, anyhow::anyhow!("its details are missing"))
}

/// What no service has as its name.
pub(super) fn nameless(seq: i64, name: &str) -> Error {
    unreadable(seq, anyhow::anyhow!("{name:?} is no service, nor a topic of one"))
}

/// The last entry of one kind about a source, up to `seq`, inclusive: one look into the index. What was replayed is the
/// last only where there is nothing else.
pub(super) fn last(kind: i16, source: impl IntoColumnRef, seq: Seq) -> FunctionCall {
    let other = |column| Expr::col(("other", column));
    let any = Query::select()
        .expr(other(journal::Column::Seq).max())
        .from_as(journal::Entity, "other")
        .and_where(other(journal::Column::Source).eq(Expr::col(source)))
        .and_where(other(journal::Column::Kind).eq(kind))
        .and_where(other(journal::Column::Seq).lte(seq.0))
        .take();
    let heard = any.clone().and_where(other(journal::Column::ReplayOf).is_null()).take();
    Func::coalesce([Expr::SubQuery(None, Box::new(heard.into())), Expr::SubQuery(None, Box::new(any.into()))])
}

/// An entry of the journal and the name of what it is about.
#[derive(FromQueryResult)]
pub(super) struct Entry {
    pub(super) seq: i64,
    at: i64,
    kind: i16,
    body: Option<Vec<u8>>,
    replay_of: Option<i64>,
    pub(super) source: Option<String>,
}

impl Entry {
    pub(super) fn select() -> SelectStatement {
        Query::select()
            .columns([
                journal::Column::Seq.as_column_ref(),
                journal::Column::At.as_column_ref(),
                journal::Column::Kind.as_column_ref(),
                journal::Column::Body.as_column_ref(),
                journal::Column::ReplayOf.as_column_ref(),
            ])
            .expr_as(Expr::col(sources::Column::Name.as_column_ref()), "source")
            .from(journal::Entity)
            .join(
                JoinType::LeftJoin,
                sources::Entity,
                Expr::col(sources::Column::Id.as_column_ref())
                    .eq(Expr::col(journal::Column::Source.as_column_ref())),
            )
            .take()
    }

    pub(super) fn reading(self) -> Result<Reading, Error> {
        let payload = Bytes::from(self.body.unwrap_or_default());
        let (said, _) = json::read::<SensorPayload>(&payload)
            .map_err(|flaw| unreadable(self.seq, anyhow::anyhow!("{flaw}")))?;
        let reading = said.typed(Seq(self.seq), Timestamp(self.at), self.source.unwrap_or_default(), payload);
        Ok(Reading { replay_of: self.replay_of.map(Seq), ..reading })
    }

    pub(super) fn presence(self) -> Result<PresenceChange, Error> {
        let body: PresenceBody = serde_json::from_slice(&self.body.unwrap_or_default())
            .map_err(|why| unreadable(self.seq, why))?;
        Ok(body.typed(Seq(self.seq), Timestamp(self.at), self.source.unwrap_or_default()))
    }

    fn session(self) -> Result<SessionChange, Error> {
        let body: SessionBody = serde_json::from_slice(&self.body.unwrap_or_default())
            .map_err(|why| unreadable(self.seq, why))?;
        Ok(body.typed(Seq(self.seq), Timestamp(self.at)))
    }

    pub(super) fn service(self) -> Result<ServiceChange, Error> {
        let body: ServiceBody = serde_json::from_slice(&self.body.unwrap_or_default())
            .map_err(|why| unreadable(self.seq, why))?;
        let name = self.source.unwrap_or_default();
        let service = name.parse().map_err(|_| nameless(self.seq, &name))?;
        Ok(body.typed(Seq(self.seq), Timestamp(self.at), service))
    }

    pub(super) fn service_reading(self) -> Result<ServiceReading, Error> {
        let name = self.source.unwrap_or_default();
        let topic: ServiceTopic = name.parse().map_err(|_| nameless(self.seq, &name))?;
        Ok(ServiceReading {
            seq: Seq(self.seq),
            at: Timestamp(self.at),
            topic,
            replay_of: self.replay_of.map(Seq),
            payload: Bytes::from(self.body.unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::{
        House, command, large, large_command, presence, reading, rejected, service, service_command,
        service_reading, session,
    };

    #[tokio::test]
    async fn large_events_come_a_few_at_a_time() {
        let mut house = House::new().await;
        for _ in 0..9 {
            house.append(&mut [large("a")]).await;
        }
        assert_eq!(parts(&house).await, [4, 4, 1]);
    }

    #[tokio::test]
    async fn large_commands_come_a_few_at_a_time() {
        let mut house = House::new().await;
        for _ in 0..3 {
            house.append(&mut [session(), large_command("rig/a/config"), large("a"), session()]).await;
        }
        assert_eq!(parts(&house).await, [5, 7]);
    }

    /// How many events come at a time.
    async fn parts(house: &House) -> Vec<i64> {
        let mut last = Seq::ZERO;
        let mut parts = Vec::new();
        while let Some(event) = house.store.events(last, 100).await.unwrap().last() {
            parts.push(event.seq().0 - last.0);
            last = event.seq();
        }
        parts
    }

    #[tokio::test]
    async fn pages_of_every_kind_join_without_hole_or_duplicate() {
        let mut house = House::new().await;
        let mut written = Vec::new();
        for n in 0..6 {
            let mut drafts = [
                command("a"),
                rejected("sensors/x", b"x"),
                session(),
                presence("b"),
                reading("a", n.into()),
                service_command("rig/a/1"),
                service_reading("rig/a", b"true"),
                service("rig/a"),
            ];
            drafts.rotate_left(n as usize % 8);
            house.append(&mut drafts).await;
            written.extend(drafts.into_iter().filter_map(|draft| draft.event));
        }
        for limit in [1, 2, 7, 48, 49] {
            let (mut told, mut after) = (Vec::new(), Seq::ZERO);
            loop {
                let page = house.store.events(after, limit).await.unwrap();
                let Some(last) = page.last() else { break };
                assert!(page.len() <= limit);
                after = last.seq();
                told.extend(page);
            }
            assert_eq!(told, written, "pages of {limit}");
        }
    }

    #[tokio::test]
    async fn a_reading_comes_back_byte_for_byte() {
        let mut house = House::new().await;
        let payload = br#" {"humidity":40 , "temperature":25e0,"threshold":25,"unit":"C","extra":[1,2]}"#;
        let mut drafts = [crate::store::samples::reading_of("a", payload)];
        house.append(&mut drafts).await;
        let Event::Reading(reading) = house.store.events(Seq::ZERO, 1).await.unwrap().remove(0) else {
            panic!("not a reading");
        };
        assert_eq!(&reading.payload[..], payload);
        assert!(reading.over_threshold, "the temperature has reached the threshold");
        assert_eq!(Some(Event::Reading(reading)), drafts[0].event);
    }

    #[tokio::test]
    async fn a_reading_of_a_service_comes_back_byte_for_byte() {
        let mut house = House::new().await;
        let payloads: [&[u8]; 4] = [b"true", br#" {"unit":"V" ,"value":1e0,"more":[1]}"#, b"[ 1.50,2 ]", b""];
        for payload in payloads {
            let mut drafts = [service_reading("rig 1/\u{e9}/a/b", payload)];
            house.append(&mut drafts).await;
            let last = Seq(house.journal.head().0 - 1);
            let Event::ServiceReading(reading) = house.store.events(last, 1).await.unwrap().remove(0) else {
                panic!("not a reading of a service");
            };
            assert_eq!(&reading.payload[..], payload);
            assert_eq!(Some(Event::ServiceReading(reading)), drafts[0].event);
        }
    }

    #[tokio::test]
    async fn what_is_known_of_a_service_names_the_reading_before_it() {
        let mut house = House::new().await;
        house.append(&mut [session(), service_reading("rig/a/tare", b"true"), service("rig/a")]).await;
        let Event::Service(change) = house.store.events(Seq(2), 1).await.unwrap().remove(0) else {
            panic!("not a service");
        };
        assert_eq!(change.evidence.map(|evidence| evidence.seq), Some(Seq(2)));
    }
}
