//! A device, and what the journal says about it.

use std::sync::Arc;

use async_graphql::{Context, Object};

use super::{
    app,
    limits::count_page,
    paging::{self, Connection, Window},
    problem::Problem,
};
use crate::{
    crosslink::{self, CrossLink},
    devices::{Device, Mode},
    model::{Part, Presence, PresenceChange, Reading},
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

    /// Its readings, newest first: the next page is older. One operation reads at most 64 pages, whatever they
    /// are of, so that of many devices `latest` is the better question.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    async fn readings(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many, 1 to 1000; 100 when neither `first` nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what is older than this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, from the oldest end or nearest to `before`.")] last: Option<i32>,
        #[graphql(desc = "Only what is newer than this cursor.")] before: Option<String>,
    ) -> Result<Connection<Reading>, Problem> {
        let window = Window::new(first, after, last, before)?;
        count_page(context)?;
        let store = &app(context).store;
        let page = store.readings(&self.0.name, Part::of(window.from, window.limit)).await?;
        Ok(window.connection(page, |reading| reading.seq))
    }

    /// How its presence went, newest first; pages as in `readings`.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    async fn presence_history(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many, 1 to 1000; 100 when neither `first` nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what is older than this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, from the oldest end or nearest to `before`.")] last: Option<i32>,
        #[graphql(desc = "Only what is newer than this cursor.")] before: Option<String>,
    ) -> Result<Connection<PresenceChange>, Problem> {
        let window = Window::new(first, after, last, before)?;
        count_page(context)?;
        let store = &app(context).store;
        let page = store.presence(&self.0.name, Part::of(window.from, window.limit)).await?;
        Ok(window.connection(page, |change| change.seq))
    }
}
