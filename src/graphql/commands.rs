//! Commands: what is asked, how far a caller waits, and what became of it, typed by the kind of the service.

use std::time::Duration;

use async_graphql::{ComplexObject, Context, Enum, Json};

use super::{app, mutation::Peer, problem::Problem};
use crate::{
    address,
    catalog::{CommandInput, Payload},
    desk::{Ask, Origin, USUAL_TIMEOUT, Wait},
    error::Error,
    model::{Action, Answer, CommandRecord, CommandState, ServiceTopic, Surface},
};

/// How far a command is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub enum CommandWait {
    /// Until its message is out. What becomes of it, the subscription `commands` tells.
    Published,
    /// Until its state is final. One that is not answered in time fails as `CONFIRMATION_TIMEOUT`, with the id `command`
    /// and the record beside the code; one that nobody answers is waited for until a subscriber has acknowledged it, but no
    /// longer than a second.
    Final,
}

impl From<CommandWait> for Wait {
    fn from(wait: CommandWait) -> Wait {
        match wait {
            CommandWait::Published => Wait::Recorded,
            CommandWait::Final => Wait::Final,
        }
    }
}

impl CommandWait {
    /// The record that was waited for. One that timed out is a fault to whoever waited for its end.
    pub fn answered(self, record: CommandRecord) -> Result<CommandRecord, Problem> {
        if self == CommandWait::Final && record.state == CommandState::TimedOut {
            return Err(Error::ConfirmationTimeout(Box::new(record)).into());
        }
        Ok(record)
    }
}

/// What a service is told.
pub fn ask(
    context: &Context<'_>,
    [firmware, service]: [&str; 2],
    command: &CommandInput,
    timeout_ms: Option<i32>,
    offline: bool,
) -> Result<Ask, Problem> {
    let (kind, payload) = command.of();
    // A kind that takes commands takes them on one topic.
    let suffix = kind.commands().next().map_or("", |topic| topic.suffix);
    let topic = address::service(firmware, service, &app(context).config.pair)?.topic(suffix);
    let timeout = timeout_ms.map(timeout).transpose()?.unwrap_or(USUAL_TIMEOUT);
    Ok(Ask { timeout, offline, kind: Some(kind), ..Ask::tell(topic, payload) })
}

/// The desk knows which are too short or too long.
fn timeout(ms: i32) -> Result<Duration, Problem> {
    let ms = u64::try_from(ms).map_err(|_| Problem::invalid(format!("`timeoutMs` is no time: {ms}")))?;
    Ok(Duration::from_millis(ms))
}

/// Who asks, as the desk wants to know it.
pub fn origin(context: &Context<'_>, idempotency_key: Option<String>) -> Origin {
    let Peer(address) = context.data_opt().cloned().unwrap_or_default();
    Origin { surface: Surface::GraphQl, address, idempotency_key }
}

#[ComplexObject]
impl CommandRecord {
    /// The device that it is for. Null when it is for a service.
    async fn device(&self) -> Option<&str> {
        self.target.device()
    }

    /// What the device makes of the payload. Null when it is for a service.
    async fn action(&self) -> Option<Action> {
        self.target.action()
    }

    /// The firmware of the service that it is for. Null when it is for a device.
    async fn firmware(&self) -> Option<&str> {
        self.target.service().map(ServiceTopic::firmware)
    }

    /// The service that it is for. Null when it is for a device.
    async fn service(&self) -> Option<&str> {
        self.target.service().map(ServiceTopic::name)
    }

    /// What follows the service in its topic. Null when it is for a device.
    async fn suffix(&self) -> Option<&str> {
        self.target.service().map(ServiceTopic::suffix)
    }

    /// The kind of the service that it is for, by name. Null while that is not known, and when it is for a device.
    async fn kind(&self, context: &Context<'_>) -> Option<&str> {
        app(context).registry.kind(self.target.service()?).map(|kind| kind.name)
    }

    /// The payload as its type, when it is for a service whose kind is known.
    async fn typed(&self, context: &Context<'_>) -> Option<Payload> {
        let topic = self.target.service()?;
        app(context).registry.typed(topic, self.payload.as_bytes()).map(|typed| typed.payload)
    }
}

#[ComplexObject]
impl Answer {
    /// The payload as its type. Null while the kind of the service is not known, and when it is now one that does not
    /// say this.
    async fn typed(&self, context: &Context<'_>) -> Option<Payload> {
        let topic = self.topic.parse().ok()?;
        app(context).registry.typed(&topic, self.payload.as_bytes()).map(|typed| typed.payload)
    }

    /// The payload as JSON, with the fields that the type does not know.
    async fn raw(&self) -> Result<Json<serde_json::Value>, Problem> {
        Ok(Json(serde_json::from_str(&self.payload).map_err(Error::internal)?))
    }
}
