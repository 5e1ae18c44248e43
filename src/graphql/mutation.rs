//! Commands.

use async_graphql::{Context, Object};

use super::{app, limits::COMMAND, problem::Problem};
use crate::{
    desk::{Origin, Wait},
    model::{Action, CommandRecord, Surface},
};

/// From where an operation comes, when that is known.
#[derive(Clone, Default)]
pub struct Peer(pub Option<String>);

pub struct Mutation;

/// What can be commanded. A command goes out once, is kept for nobody, and is never sent again.
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
}

async fn send(
    context: &Context<'_>,
    action: Action,
    device: String,
    idempotency_key: Option<String>,
) -> Result<CommandRecord, Problem> {
    let Peer(address) = context.data_opt().cloned().unwrap_or_default();
    let origin = Origin { surface: Surface::GraphQl, address, idempotency_key };
    Ok(app(context).desk.send(&device, action, origin, Wait::Acknowledged).await?)
}
