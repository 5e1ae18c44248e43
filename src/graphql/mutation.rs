//! Commands, rejections that are looked at anew, and services whose kind a person says.

use async_graphql::{Context, Object, SimpleObject};

use super::{
    app,
    commands::{self, CommandWait},
    limits::{COMMAND, count},
    paging,
    problem::Problem,
    service::ServiceNode,
};
use crate::{
    address,
    catalog::CommandInput,
    desk::{Armed, Ask, Wait},
    model::{Action, CommandRecord, Cursor, Page, Replay, Seq, ServiceName},
    store::RejectionFilter,
};

/// From where an operation comes, when that is known.
#[derive(Clone, Default)]
pub struct Peer(pub Option<String>);

pub struct Mutation;

/// What can be done. A command goes out once, is kept for nobody, and is never sent again.
#[Object]
impl Mutation {
    /// Tells a device to play, whatever its peer measures.
    ///
    /// Waits up to a second for the device's acknowledgement, and returns the record as far as it has come.
    #[graphql(complexity = "COMMAND + child_complexity")]
    async fn play(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The device's name.")] device: String,
        #[graphql(desc = "The same key again returns the same record, and sends nothing.")]
        idempotency_key: Option<String>,
    ) -> Result<CommandRecord, Problem> {
        send(context, Action::Play, device, idempotency_key).await
    }

    /// Tells a device to be silent, whatever its peer measures; answers as `play` does.
    #[graphql(complexity = "COMMAND + child_complexity")]
    async fn stop(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The device's name.")] device: String,
        #[graphql(desc = "The same key again returns the same record, and sends nothing.")]
        idempotency_key: Option<String>,
    ) -> Result<CommandRecord, Problem> {
        send(context, Action::Stop, device, idempotency_key).await
    }

    /// Tells a device to follow its peer again; answers as `play` does.
    #[graphql(complexity = "COMMAND + child_complexity")]
    async fn resume(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The device's name.")] device: String,
        #[graphql(desc = "The same key again returns the same record, and sends nothing.")]
        idempotency_key: Option<String>,
    ) -> Result<CommandRecord, Problem> {
        send(context, Action::Resume, device, idempotency_key).await
    }

    /// Tells a service something, in the words of its kind, and waits for what becomes of it.
    ///
    /// Refused as `PAYLOAD_INVALID` when the service is of another kind, `KIND_AMBIGUOUS` while its kind is not known,
    /// `COMMAND_IN_FLIGHT` while another command on the topic is under way, `DEVICE_OFFLINE` when its firmware's client is
    /// gone, and `ARMING_REQUIRED` when the gateway wants what can hurt in two steps: `arm`, then `execute`.
    #[graphql(complexity = "COMMAND + child_complexity")]
    #[allow(clippy::too_many_arguments, reason = "GraphQL has no type for the arguments of a field")]
    async fn send_command(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The first level of its topics.")] firmware: String,
        #[graphql(desc = "The second level of its topics.")] service: String,
        #[graphql(desc = "What it is told.")] command: CommandInput,
        #[graphql(
            desc = "How long its answer is waited for, in milliseconds: 100 to 60000; 5000 when it is not given."
        )]
        timeout_ms: Option<i32>,
        #[graphql(default = false, desc = "Even if its firmware's client is known to be gone.")]
        offline: bool,
        #[graphql(desc = "The same key again returns the same record, and sends nothing.")]
        idempotency_key: Option<String>,
        #[graphql(default_with = "CommandWait::Final", desc = "How far it is waited for.")] wait: CommandWait,
    ) -> Result<CommandRecord, Problem> {
        let ask = commands::ask(context, [&firmware, &service], &command, timeout_ms, offline)?;
        let origin = commands::origin(context, idempotency_key);
        wait.answered(app(context).desk.send(ask, origin, wait.into()).await?)
    }

    /// Prepares a command to a service, which `execute` sends within ten seconds. Nothing is sent, nothing is logged.
    #[graphql(complexity = "COMMAND + child_complexity")]
    async fn arm(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The first level of its topics.")] firmware: String,
        #[graphql(desc = "The second level of its topics.")] service: String,
        #[graphql(desc = "What it is to be told.")] command: CommandInput,
        #[graphql(desc = "As in `sendCommand`.")] timeout_ms: Option<i32>,
        #[graphql(default = false, desc = "Even if its firmware's client is known to be gone.")]
        offline: bool,
    ) -> Result<Armed, Problem> {
        let ask = commands::ask(context, [&firmware, &service], &command, timeout_ms, offline)?;
        Ok(app(context).desk.arm(ask)?)
    }

    /// Sends what was armed, once; answers as `sendCommand` does.
    ///
    /// `ARMING_REQUIRED` when nothing is armed under the token: it was executed, or its ten seconds are over.
    #[graphql(complexity = "COMMAND + child_complexity")]
    async fn execute(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "As `arm` gave it.")] token: String,
        #[graphql(
            desc = "The same key again, while it would be armed, returns the same record, and sends nothing."
        )]
        idempotency_key: Option<String>,
        #[graphql(default_with = "CommandWait::Final", desc = "How far it is waited for.")] wait: CommandWait,
    ) -> Result<CommandRecord, Problem> {
        let origin = commands::origin(context, idempotency_key);
        wait.answered(app(context).desk.execute(&token, origin, wait.into()).await?)
    }

    /// Looks at rejections anew, after the gateway has learnt what they mean: these, or those that match a filter.
    ///
    /// What is understood becomes a reading at the end of the journal, with the time at which it came; each is
    /// recorded once, however often it is replayed. Nobody hears it on MQTT again.
    #[graphql(complexity = "COMMAND + paging::complexity(first, None, child_complexity)")]
    async fn replay_rejections(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The seqs of these, at most 1000.")] rejections: Option<Vec<Seq>>,
        #[graphql(desc = "Those that are all of this; `{}` is all of them.")] filter: Option<RejectionFilter>,
        #[graphql(desc = "Goes with `filter`: how many, 1 to 1000; 100 when it is not given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Goes with `filter`: only what came after this place in the journal.")]
        after: Option<Seq>,
    ) -> Result<ReplayPage, Problem> {
        let replays = &app(context).replays;
        match (rejections, filter) {
            (Some(rejections), None) if first.is_none() && after.is_none() => {
                count(context, rejections.len())?;
                Ok(ReplayPage { items: replays.of(&rejections).await?, next: None })
            }
            (None, Some(filter)) => {
                let limit = paging::limit("first", first)?;
                count(context, limit as usize)?;
                let Page { items, next } =
                    replays.matching(&filter, after.unwrap_or_default(), limit).await?;
                Ok(ReplayPage { items, next: next.map(Cursor::seq) })
            }
            _ => Err(Problem::invalid("either `rejections`, or `filter` with `first` and `after`")),
        }
    }

    /// Says of what kind a service is, also ahead of its first message. What it said before becomes typed.
    ///
    /// Refused as `KIND_CONTRADICTED` when what it said is not of that kind; `seqs` beside the code are the readings.
    #[graphql(complexity = "COMMAND + child_complexity")]
    async fn pin_service(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The first level of its topics.")] firmware: String,
        #[graphql(desc = "The second level of its topics.")] service: String,
        #[graphql(desc = "The kind, by name.")] kind: String,
        #[graphql(default = false, desc = "Even so: what it said before counts no more.")] force: bool,
    ) -> Result<ServiceNode, Problem> {
        let name = named(context, &firmware, &service)?;
        Ok(ServiceNode(app(context).registry.pin(&name, &kind, force).await?))
    }

    /// Forgets that a service was pinned: its kind is again what it says.
    #[graphql(complexity = "COMMAND + child_complexity")]
    async fn unpin_service(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The first level of its topics.")] firmware: String,
        #[graphql(desc = "The second level of its topics.")] service: String,
    ) -> Result<ServiceNode, Problem> {
        let name = named(context, &firmware, &service)?;
        Ok(ServiceNode(app(context).registry.unpin(&name).await?))
    }
}

/// What became of rejections that were replayed.
#[derive(SimpleObject)]
pub struct ReplayPage {
    /// In the order of the journal.
    items: Vec<Replay>,
    /// The `after` that goes on. Null when there are no more.
    next: Option<Seq>,
}

async fn send(
    context: &Context<'_>,
    action: Action,
    device: String,
    idempotency_key: Option<String>,
) -> Result<CommandRecord, Problem> {
    let origin = commands::origin(context, idempotency_key);
    Ok(app(context).desk.send(Ask::play(&device, action), origin, Wait::Final).await?)
}

fn named(context: &Context<'_>, firmware: &str, service: &str) -> Result<ServiceName, Problem> {
    Ok(address::service(firmware, service, &app(context).config.pair)?)
}
