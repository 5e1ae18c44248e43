//! A device, and what the journal says about it.

use std::sync::Arc;

use async_graphql::{Context, Object};

use super::{
    app,
    limits::count,
    loader::{self, Commands, Kept, PresenceHistory, Readings},
    paging::{self, Connection, Window},
    problem::Problem,
};
use crate::{
    crosslink::{self, CrossLink},
    devices::{Device, Mode},
    model::{CommandRecord, Presence, PresenceChange, Reading, Timestamp},
};

/// A device as it was when it was asked for.
pub struct DeviceNode(pub Arc<Device>);

/// A device.
#[Object(name = "Device")]
impl DeviceNode {
    /// Its name, as in its topics.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is there, and how the gateway knows.
    async fn presence(&self) -> &Presence {
        &self.0.presence
    }

    /// Its last reading. Null when it never sent one.
    async fn latest(&self) -> Option<&Reading> {
        self.0.latest.as_ref()
    }

    /// Whether it follows its peer, or a command overrides it.
    async fn mode(&self) -> Mode {
        self.0.control.mode
    }

    /// How it stands to its peer. Null for a device that has none.
    async fn cross_link(&self, context: &Context<'_>) -> Option<CrossLink> {
        crosslink::now(&app(context).devices, &self.0.name)
    }

    /// Its readings, newest first: the next page is older. With `from` or `to` the order is that of time, else
    /// that of the journal. Those of many devices are read together.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    #[allow(clippy::too_many_arguments, reason = "GraphQL has no type for the arguments of a field")]
    async fn readings(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only what came at this moment or later.")] from: Option<Timestamp>,
        #[graphql(desc = "Only what came before this moment.")] to: Option<Timestamp>,
        #[graphql(desc = "How many, 1 to 1000; 100 when neither `first` nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what is older than this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, from the oldest end or nearest to `before`.")] last: Option<i32>,
        #[graphql(desc = "Only what is newer than this cursor.")] before: Option<String>,
    ) -> Result<Connection<Reading>, Problem> {
        let window = Window::new(first, after, last, before)?.between(from, to)?;
        self.connection(context, Readings, window).await
    }

    /// How its presence went, newest first; pages as in `readings`.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    #[allow(clippy::too_many_arguments, reason = "GraphQL has no type for the arguments of a field")]
    async fn presence_history(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only what happened at this moment or later.")] from: Option<Timestamp>,
        #[graphql(desc = "Only what happened before this moment.")] to: Option<Timestamp>,
        #[graphql(desc = "How many, 1 to 1000; 100 when neither `first` nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what is older than this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, from the oldest end or nearest to `before`.")] last: Option<i32>,
        #[graphql(desc = "Only what is newer than this cursor.")] before: Option<String>,
    ) -> Result<Connection<PresenceChange>, Problem> {
        let window = Window::new(first, after, last, before)?.between(from, to)?;
        self.connection(context, PresenceHistory, window).await
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
        self.connection(context, Commands, window).await
    }
}

impl DeviceNode {
    async fn connection<K: Kept>(
        &self,
        context: &Context<'_>,
        kept: K,
        window: Window,
    ) -> Result<Connection<K::Item>, Problem> {
        count(context, window.entries())?;
        let page = loader::page(context, kept, &self.0.name, window.part).await?;
        Ok(window.connection(page, K::place))
    }
}
