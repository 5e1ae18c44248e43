//! What can be asked.

use async_graphql::{Context, Object};

use super::{
    app,
    device::DeviceNode,
    limits::{DEVICES, count},
    paging::{self, Connection, Window},
    problem::Problem,
};
use crate::{
    model::{ClientSession, CommandRecord, Rejection, RejectionCount, Seq},
    store::{CommandFilter, RejectionFilter},
};

pub struct Query;

/// What can be asked. One operation asks for at most 64 lists, and in all of them for at most 20000 entries: what
/// `first` or `last` says, for each device of which it is asked. The payloads of one list are 4 MiB at most.
#[Object]
impl Query {
    /// Every device that ever spoke, and the pair; by name.
    #[graphql(complexity = "DEVICES * child_complexity")]
    async fn devices(&self, context: &Context<'_>) -> Result<Vec<DeviceNode>, Problem> {
        let devices = app(context).devices.list();
        count(context, devices.len())?;
        Ok(devices.into_iter().map(DeviceNode).collect())
    }

    /// One device. Null when it never spoke.
    async fn device(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its name, as in its topics.")] name: String,
    ) -> Option<DeviceNode> {
        app(context).devices.get(&name).ok().map(DeviceNode)
    }

    /// The command log: each command in its newest state, the newest command first.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    async fn commands(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only those that are all of this.")] filter: Option<CommandFilter>,
        #[graphql(desc = "How many, 1 to 1000; 100 when neither `first` nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what is older than this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, from the oldest end or nearest to `before`.")] last: Option<i32>,
        #[graphql(desc = "Only what is newer than this cursor.")] before: Option<String>,
    ) -> Result<Connection<CommandRecord>, Problem> {
        let window = Window::new(first, after, last, before)?;
        count(context, window.entries())?;
        let page = app(context).store.commands(&filter.unwrap_or_default(), window.part).await?;
        Ok(window.connection(page, |record| record.id.0))
    }

    /// A command in its newest state. Null when there is none of this id.
    async fn command(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The `id` of its record.")] id: Seq,
    ) -> Result<Option<CommandRecord>, Problem> {
        count(context, 1)?;
        Ok(app(context).store.command(id).await?)
    }

    /// Messages that could not be understood, newest first: the first 20 of a reason on a topic, as long as all
    /// of them are no more than 16 MiB.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    async fn rejections(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only those that are all of this.")] filter: Option<RejectionFilter>,
        #[graphql(desc = "How many, 1 to 1000; 100 when neither `first` nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what is older than this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, from the oldest end or nearest to `before`.")] last: Option<i32>,
        #[graphql(desc = "Only what is newer than this cursor.")] before: Option<String>,
    ) -> Result<Connection<Rejection>, Problem> {
        let window = Window::new(first, after, last, before)?;
        count(context, window.entries())?;
        let page = app(context).store.rejections(&filter.unwrap_or_default(), window.part).await?;
        Ok(window.connection(page, |rejection| rejection.seq.0))
    }

    /// How often messages could not be understood, by topic and reason; those that came last first.
    #[graphql(complexity = "paging::complexity(first, None, child_complexity)")]
    async fn rejection_counts(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many, 1 to 1000; 100 when it is not given.")] first: Option<i32>,
    ) -> Result<Vec<RejectionCount>, Problem> {
        let limit = paging::limit("first", first)?;
        count(context, limit as usize)?;
        Ok(app(context).store.rejection_counts(limit).await?)
    }

    /// Who is connected to the broker at this moment; the newest connection first.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    async fn clients(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many, 1 to 1000; 100 when neither `first` nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what is older than this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, from the oldest end or nearest to `before`.")] last: Option<i32>,
        #[graphql(desc = "Only what is newer than this cursor.")] before: Option<String>,
    ) -> Result<Connection<ClientSession>, Problem> {
        let window = Window::new(first, after, last, before)?;
        count(context, window.entries())?;
        let page = app(context).broker.clients(window.part);
        Ok(window.connection(page, |client| client.session.0))
    }
}
