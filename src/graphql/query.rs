//! What can be asked.

use async_graphql::{Context, Object};

use super::{
    app,
    device::DeviceNode,
    kind::KindNode,
    limits::{DEVICES, SERVICES, count},
    paging::{self, Connection, Window},
    problem::Problem,
    service::{ReadingFilter, ServiceNode},
};
use crate::{
    catalog::{self, KINDS},
    model::{
        ClientSession, CommandRecord, RefusedClient, Rejection, RejectionCount, Seq, ServiceName,
        ServiceReading, Timestamp,
    },
    registry::ServiceFilter,
    store::{CommandFilter, RejectionFilter},
};

pub struct Query;

/// What can be asked. One operation asks for at most 64 lists, and in all of them for at most 20000 entries: what
/// `first` or `last` says, for each device or service of which it is asked. It asks for at most 50000 fields, each as often
/// as it may be in the answer; of a payload those of every type that it may be. The payloads of one list are 4 MiB at most.
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

    /// The catalog: every kind of service, by name.
    #[graphql(complexity = "KINDS.len() * child_complexity")]
    async fn kinds(&self, context: &Context<'_>) -> Result<Vec<KindNode>, Problem> {
        count(context, KINDS.len())?;
        Ok(KINDS.iter().map(KindNode).collect())
    }

    /// One kind of service. Null when there is none of this name.
    async fn kind(
        &self,
        #[graphql(desc = "Its name, such as `pwm` or `bme280`.")] name: String,
    ) -> Option<KindNode> {
        catalog::find(&name).map(KindNode)
    }

    /// Every service that was heard of; by name.
    #[graphql(complexity = "SERVICES * child_complexity")]
    async fn services(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only those that are all of this.")] filter: Option<ServiceFilter>,
    ) -> Result<Vec<ServiceNode>, Problem> {
        let services = app(context).registry.list(&filter.unwrap_or_default().checked()?);
        count(context, services.len())?;
        Ok(services.into_iter().map(ServiceNode).collect())
    }

    /// One service. Null when it was never heard of.
    async fn service(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The first level of its topics.")] firmware: String,
        #[graphql(desc = "The second level of its topics.")] name: String,
    ) -> Option<ServiceNode> {
        let name = ServiceName::new(&firmware, &name).ok()?;
        app(context).registry.get(&name).ok().map(ServiceNode)
    }

    /// What services measured or reported, newest first: the next page is older. With `from` or `to` the order is that
    /// of time, else that of the journal.
    #[graphql(complexity = "paging::complexity(first, last, child_complexity)")]
    #[allow(clippy::too_many_arguments, reason = "GraphQL has no type for the arguments of a field")]
    async fn readings(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only those that are all of this.")] filter: Option<ReadingFilter>,
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
        count(context, window.entries())?;
        let filter = filter.unwrap_or_default();
        let services = app(context).registry.list(&filter.services()?);
        let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        let store = &app(context).store;
        let page = store.service_readings(&names, filter.suffix.as_deref(), window.part).await?;
        Ok(window.connection(page, |reading| reading.seq.0))
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

    /// Who is refused for a while because it broke off too often; the latest first.
    #[graphql(complexity = "paging::complexity(first, None, child_complexity)")]
    async fn refused_clients(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many, 1 to 1000; 100 when it is not given.")] first: Option<i32>,
    ) -> Result<Vec<RefusedClient>, Problem> {
        let limit = paging::limit("first", first)?;
        count(context, limit as usize)?;
        let mut refused = app(context).broker.refused_clients();
        refused.truncate(limit as usize);
        Ok(refused)
    }
}
