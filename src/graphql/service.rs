//! A service, and what it says and is told, typed by its kind.

use std::sync::Arc;

use async_graphql::{ComplexObject, Context, InputObject, Json, Object};

use super::{
    app,
    kind::KindNode,
    limits::{TOPICS, count},
    loader::{self, Kept, ServiceCommands, ServiceReadings},
    paging::{self, Connection, Window},
    problem::Problem,
};
use crate::{
    catalog::Payload,
    error::Error,
    model::{CommandRecord, Evidence, Seq, ServiceChange, ServiceReading, ServiceState, Timestamp},
    registry::{Registry, Service, ServiceFilter, Typed},
};

/// A service as it was when it was asked for.
pub struct ServiceNode(pub Arc<Service>);

/// A service of a firmware.
#[Object(name = "Service")]
impl ServiceNode {
    /// The first level of its topics.
    async fn firmware(&self) -> &str {
        self.0.name.firmware()
    }

    /// The second level of its topics.
    async fn name(&self) -> &str {
        self.0.name.name()
    }

    /// How well its kind is known.
    async fn state(&self) -> ServiceState {
        self.0.state
    }

    /// Its kind: the one that it was pinned to, or the one that is left by what it said. Null while it may be several.
    async fn kind(&self) -> Option<KindNode> {
        self.0.kind.map(KindNode)
    }

    /// The kinds, by name, that it may be by what it said, the most likely first. All of them when it said nothing.
    async fn candidates(&self) -> Vec<&str> {
        self.0.likely.iter().map(|kind| kind.name).collect()
    }

    /// The readings that left fewer kinds each, oldest first.
    async fn evidence(&self) -> &[Evidence] {
        &self.0.evidence
    }

    /// The place in the journal of what was last learnt of its kind.
    async fn seq(&self) -> Seq {
        self.0.seq
    }

    /// When that was.
    async fn at(&self) -> Timestamp {
        self.0.at
    }

    /// When it was first heard of.
    async fn first_at(&self) -> Timestamp {
        self.0.first_at
    }

    /// When it last spoke. Null when it never did.
    async fn last_message_at(&self) -> Option<Timestamp> {
        self.0.last_message_at()
    }

    /// The last reading of each of its topics, by suffix. Those of many services are read together.
    #[graphql(complexity = "TOPICS * child_complexity")]
    async fn latest(&self, context: &Context<'_>) -> Result<Vec<ServiceReading>, Problem> {
        let seqs = self.0.latest();
        count(context, seqs.len())?;
        loader::readings_at(context, &seqs).await
    }

    /// Its readings, newest first: the next page is older. With `from` or `to` the order is that of time, else
    /// that of the journal. Those of many services are read together.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    #[allow(clippy::too_many_arguments, reason = "GraphQL has no type for the arguments of a field")]
    async fn readings(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only of the topic that ends like this: empty, or beginning with a slash.")]
        suffix: Option<String>,
        #[graphql(desc = "Only what came at this moment or later.")] from: Option<Timestamp>,
        #[graphql(desc = "Only what came before this moment.")] to: Option<Timestamp>,
        #[graphql(desc = "How many, 1 to 1000; 100 when neither `first` nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what is older than this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, from the oldest end or nearest to `before`.")] last: Option<i32>,
        #[graphql(desc = "Only what is newer than this cursor.")] before: Option<String>,
    ) -> Result<Connection<ServiceReading>, Problem> {
        let window = Window::new(first, after, last, before)?.between(from, to)?;
        self.connection(context, ServiceReadings { suffix }, window).await
    }

    /// What was asked of it, each command in its newest state; the newest command first.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    async fn commands(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many, 1 to 1000; 100 when neither `first` nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what is older than this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, from the oldest end or nearest to `before`.")] last: Option<i32>,
        #[graphql(desc = "Only what is newer than this cursor.")] before: Option<String>,
    ) -> Result<Connection<CommandRecord>, Problem> {
        let window = Window::new(first, after, last, before)?;
        self.connection(context, ServiceCommands, window).await
    }
}

impl ServiceNode {
    async fn connection<K: Kept>(
        &self,
        context: &Context<'_>,
        kept: K,
        window: Window,
    ) -> Result<Connection<K::Item>, Problem> {
        count(context, window.entries())?;
        let page = loader::page(context, kept, self.0.name.as_str(), window.part).await?;
        Ok(window.connection(page, K::place))
    }
}

/// Which readings of services are meant: those that are all of what is given.
#[derive(Clone, Debug, Default, InputObject)]
pub struct ReadingFilter {
    /// Of this firmware.
    firmware: Option<String>,
    /// Of the service of this name, in whatever firmware.
    service: Option<String>,
    /// Of services of this kind, by name, as it is known when a reading is told.
    kind: Option<String>,
    /// Of topics that end like this: empty, or beginning with a slash.
    pub suffix: Option<String>,
}

impl ReadingFilter {
    /// The services whose readings are meant. Refuses the name of a kind that there is not.
    pub fn services(&self) -> Result<ServiceFilter, Error> {
        let filter = ServiceFilter {
            firmware: self.firmware.clone(),
            service: self.service.clone(),
            kind: self.kind.clone(),
            state: None,
        };
        filter.checked()
    }

    /// Whether a reading is one of those, by what is known of its service now.
    pub fn has(&self, reading: &ServiceReading, registry: &Registry) -> bool {
        let is = |wanted: &Option<String>, one: &str| wanted.as_ref().is_none_or(|wanted| wanted == one);
        let kind = || registry.kind(&reading.topic);
        is(&self.firmware, reading.topic.firmware())
            && is(&self.service, reading.topic.name())
            && is(&self.suffix, reading.topic.suffix())
            && self.kind.as_ref().is_none_or(|wanted| kind().is_some_and(|kind| kind.name == wanted))
    }
}

#[ComplexObject]
impl ServiceReading {
    /// The first level of its topic.
    async fn firmware(&self) -> &str {
        self.topic.firmware()
    }

    /// The second level of its topic.
    async fn service(&self) -> &str {
        self.topic.name()
    }

    /// What follows the service in its topic: empty, or beginning with a slash.
    async fn suffix(&self) -> &str {
        self.topic.suffix()
    }

    /// The kind of the service, by name. Null while it is not known.
    async fn kind(&self, context: &Context<'_>) -> Option<&str> {
        app(context).registry.kind(&self.topic).map(|kind| kind.name)
    }

    /// The name of the payload's type. Null when `payload` is null.
    #[graphql(name = "type")]
    async fn shape(&self, context: &Context<'_>) -> Option<String> {
        typed(self, context).map(|typed| typed.name())
    }

    /// The number in the suffix, such as 3 in `/ch3`. Null where there is none, and when `payload` is null.
    async fn index(&self, context: &Context<'_>) -> Option<u16> {
        typed(self, context)?.index
    }

    /// The payload as its type. Null while the kind of the service is not known, and for what does not fit a kind that
    /// the service was pinned to by force.
    async fn payload(&self, context: &Context<'_>) -> Option<Payload> {
        typed(self, context).map(|typed| typed.payload)
    }

    /// The payload as on the wire, with the fields that the type does not know.
    async fn raw(&self) -> Result<Json<serde_json::Value>, Problem> {
        Ok(Json(serde_json::from_slice(&self.payload).map_err(Error::internal)?))
    }
}

fn typed(reading: &ServiceReading, context: &Context<'_>) -> Option<Typed> {
    app(context).registry.typed(&reading.topic, &reading.payload)
}

#[ComplexObject]
impl ServiceChange {
    /// The first level of its topics.
    async fn firmware(&self) -> &str {
        self.service.firmware()
    }

    /// The second level of its topics.
    async fn service(&self) -> &str {
        self.service.name()
    }

    /// Its kind, by name. Null while it may be several.
    async fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }
}
