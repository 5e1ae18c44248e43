//! What is known of services, and which topics they have.

use entity::{journal, sources, topics};
use sea_orm::{
    FromQueryResult, Order,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait, Func, Query, SelectStatement},
};

use super::{
    Store,
    events::{Entry, last, nameless},
    words::{class, kind},
};
use crate::{
    error::Error,
    model::{Seq, ServiceChange, ServiceTopic, Timestamp},
};

/// The latest reading on a topic of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicFacts {
    pub topic: ServiceTopic,
    pub seq: Seq,
    pub at: Timestamp,
    /// It was made of a rejection: the topic has no other.
    pub replayed: bool,
}

impl Store {
    /// All that became known of services, in order. One statement, however many services.
    pub async fn service_changes(&self) -> Result<Vec<ServiceChange>, Error> {
        self.rows::<Entry>(&changes()).await?.into_iter().map(Entry::service).collect()
    }

    /// The latest reading of each topic of a service, by topic. Topics on which it was only spoken to are absent. One
    /// statement, however many topics.
    pub async fn service_topics(&self) -> Result<Vec<TopicFacts>, Error> {
        self.rows::<TopicRow>(&latest_of_each_topic()).await?.into_iter().map(TopicRow::facts).collect()
    }
}

/// Topics of services, joined to their services: those of all that is given.
pub(super) fn topics_where(
    firmware: Option<&str>,
    service: Option<&str>,
    suffix: Option<&str>,
) -> SelectStatement {
    let name = || Expr::col(sources::Column::Name.as_column_ref());
    let mut query = Query::select()
        .from(topics::Entity)
        .inner_join(
            sources::Entity,
            Expr::col(sources::Column::Id.as_column_ref())
                .eq(Expr::col(topics::Column::Service.as_column_ref())),
        )
        .and_where(sources::Column::Class.eq(class::SERVICE))
        .take();
    // A part of a name has no index: services are few, and none of what they say is looked at here.
    match (firmware, service) {
        (Some(firmware), Some(service)) => query.and_where(name().eq(format!("{firmware}/{service}"))),
        (Some(firmware), None) => {
            let beginning = format!("{firmware}/");
            let part = [name(), Expr::val(1), Expr::val(length(&beginning))];
            query.and_where(Func::cust("substr").args(part).eq(beginning))
        }
        (None, Some(service)) => {
            let end = format!("/{service}");
            let from = Expr::expr(Func::char_length(name())).sub(length(&end) - 1);
            query.and_where(Func::cust("substr").args([name(), from]).eq(end))
        }
        (None, None) => &mut query,
    };
    if let Some(suffix) = suffix {
        query.and_where(topics::Column::Suffix.eq(suffix));
    }
    query
}

/// In characters, as SQL counts.
fn length(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

fn changes() -> SelectStatement {
    let mut query = Entry::select();
    query
        .and_where(sources::Column::Class.eq(class::SERVICE))
        .and_where(journal::Column::Kind.eq(kind::SERVICE))
        .order_by_expr(Expr::col(journal::Column::Seq.as_column_ref()), Order::Asc);
    query
}

fn latest_of_each_topic() -> SelectStatement {
    let name = || Expr::col(sources::Column::Name.as_column_ref());
    let latest = last(kind::SERVICE_READING, sources::Column::Id.as_column_ref(), Seq(i64::MAX));
    Query::select()
        .expr_as(name(), "topic")
        .columns([
            journal::Column::Seq.as_column_ref(),
            journal::Column::At.as_column_ref(),
            journal::Column::ReplayOf.as_column_ref(),
        ])
        .from(sources::Entity)
        .inner_join(journal::Entity, Expr::col(journal::Column::Seq.as_column_ref()).eq(latest))
        .and_where(sources::Column::Class.eq(class::TOPIC))
        .order_by_expr(name(), Order::Asc)
        .take()
}

#[derive(FromQueryResult)]
struct TopicRow {
    topic: String,
    seq: i64,
    at: i64,
    replay_of: Option<i64>,
}

impl TopicRow {
    fn facts(self) -> Result<TopicFacts, Error> {
        Ok(TopicFacts {
            topic: self.topic.parse().map_err(|_| nameless(self.seq, &self.topic))?,
            seq: Seq(self.seq),
            at: Timestamp(self.at),
            replayed: self.replay_of.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Event,
        store::{
            Draft,
            samples::{House, service, service_command, service_reading},
        },
    };

    fn replayed(topic: &str, rejection: i64) -> Draft {
        let mut draft = service_reading(topic, b"1");
        if let Some(Event::ServiceReading(reading)) = &mut draft.event {
            reading.replay_of = Some(Seq(rejection));
        }
        draft
    }

    #[tokio::test]
    async fn a_replayed_reading_is_the_latest_only_where_there_is_no_other() {
        let mut house = House::new().await;
        let mut drafts = [
            service_reading("rig/b/heard", b"1"),
            service_reading("rig/b/heard", b"2"),
            replayed("rig/b/heard", 101),
            replayed("rig/b/replayed", 102),
            replayed("rig/b/replayed", 103),
            service_command("rig/b/commanded"),
            service_reading("rig/a", b"1"),
        ];
        house.append(&mut drafts).await;
        let topics = house.store.service_topics().await.unwrap();
        let told: Vec<_> =
            topics.iter().map(|facts| (facts.topic.as_str(), facts.seq.0, facts.replayed)).collect();
        assert_eq!(told, [("rig/a", 7, false), ("rig/b/heard", 2, false), ("rig/b/replayed", 5, true)]);
        assert_eq!(topics[0].at, drafts[6].event.as_ref().unwrap().at());
    }

    #[tokio::test]
    async fn services_and_their_topics_survive_a_restart() {
        let mut house = House::new().await;
        let mut first = [service_reading("rig/a", b"1"), service("rig/a"), service_command("rig/b/1")];
        house.append(&mut first).await;
        let mut house = house.restarted().await;
        let mut second = [service_reading("rig/b/1", b"1"), service("rig/b"), service_reading("rig/a", b"1")];
        house.append(&mut second).await;

        let events = house.store.events(Seq::ZERO, 10).await.unwrap();
        let written: Vec<_> = first.into_iter().chain(second).filter_map(|draft| draft.event).collect();
        assert_eq!(events, written);
        let changes = house.store.service_changes().await.unwrap();
        assert_eq!([&written[1], &written[4]], [0, 1].map(|n| Event::Service(changes[n].clone())).each_ref());
        let names = sources::Entity::find().all(house.store.db()).await.unwrap();
        let names: Vec<_> = names.iter().map(|source| (source.class, source.name.as_str())).collect();
        assert_eq!(
            names,
            [
                (class::SERVICE, "rig/a"),
                (class::TOPIC, "rig/a"),
                (class::SERVICE, "rig/b"),
                (class::TOPIC, "rig/b/1")
            ]
        );
        let topics = topics::Entity::find().all(house.store.db()).await.unwrap();
        let topics: Vec<_> =
            topics.iter().map(|topic| (topic.source, topic.service, topic.suffix.as_str())).collect();
        assert_eq!(topics, [(2, 1, ""), (4, 3, "/1")]);
    }

    #[tokio::test]
    async fn what_is_known_of_services_is_found_by_an_index() {
        let house = House::new().await;
        for query in [changes(), latest_of_each_topic()] {
            let plan = house.plan(&query).await;
            assert!(plan.iter().any(|step| step.contains("journal_source_kind_seq")), "{plan:?}");
            assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{plan:?}");
        }
    }
}
