//! The numbers and the JSON that stand in the database for the gateway's words.
//!
//! A number, once given, keeps its meaning forever; a new word gets a new number.

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    model::{
        Action, CommandState, Delivery, Evidence, Presence, PresenceChange, PresenceReason, RejectionReason,
        Seq, ServiceChange, ServiceName, ServiceState, SessionChange, SessionEnd, SessionId, Status, Surface,
        Timestamp,
    },
};

/// What an entry of the journal is.
pub(super) mod kind {
    pub(crate) const READING: i16 = 1;
    pub(crate) const PRESENCE: i16 = 2;
    pub(crate) const SESSION: i16 = 3;
    pub(crate) const COMMAND: i16 = 4;
    pub(crate) const REJECTION: i16 = 5;
    pub(crate) const SERVICE: i16 = 6;
    pub(crate) const SERVICE_READING: i16 = 7;
}

/// What a source is.
pub(super) mod class {
    pub(crate) const DEVICE: i16 = 1;
    pub(crate) const SERVICE: i16 = 2;
    pub(crate) const TOPIC: i16 = 3;
}

/// What stands for the action of a command that is for a service.
pub(super) const NO_ACTION: i16 = 0;

/// A word with a number in the database.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Every word.
    const ALL: &[Self];

    fn number(self) -> i16;

    /// The word of a number that `seq` is told with.
    fn of(number: i16, seq: i64) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|word| word.number() == number).ok_or_else(|| {
            super::unreadable(seq, anyhow::anyhow!("{number} is no {}", std::any::type_name::<Self>()))
        })
    }
}

impl Word for Action {
    const ALL: &[Action] = &[Action::Play, Action::Stop, Action::Resume];

    fn number(self) -> i16 {
        match self {
            Action::Play => 1,
            Action::Stop => 2,
            Action::Resume => 3,
        }
    }
}

impl Word for Surface {
    const ALL: &[Surface] = &[Surface::Rest, Surface::GraphQl, Surface::Mqtt];

    fn number(self) -> i16 {
        match self {
            Surface::Rest => 1,
            Surface::GraphQl => 2,
            Surface::Mqtt => 3,
        }
    }
}

impl Word for CommandState {
    const ALL: &[CommandState] = &[
        CommandState::Accepted,
        CommandState::Published,
        CommandState::Unconfirmable,
        CommandState::Expired,
        CommandState::Confirmed,
        CommandState::Refused,
        CommandState::Mismatch,
        CommandState::TimedOut,
        CommandState::Denied,
    ];

    fn number(self) -> i16 {
        match self {
            CommandState::Accepted => 1,
            CommandState::Published => 2,
            CommandState::Unconfirmable => 3,
            CommandState::Expired => 4,
            CommandState::Confirmed => 5,
            CommandState::Refused => 6,
            CommandState::Mismatch => 7,
            CommandState::TimedOut => 8,
            CommandState::Denied => 9,
        }
    }
}

impl Word for Delivery {
    const ALL: &[Delivery] = &[Delivery::NoSubscriber, Delivery::Sent, Delivery::Acknowledged];

    fn number(self) -> i16 {
        match self {
            Delivery::NoSubscriber => 1,
            Delivery::Sent => 2,
            Delivery::Acknowledged => 3,
        }
    }
}

impl Word for RejectionReason {
    const ALL: &[RejectionReason] = &[
        RejectionReason::UnknownTopic,
        RejectionReason::NotUtf8,
        RejectionReason::NotJson,
        RejectionReason::MissingField,
        RejectionReason::TypeMismatch,
        RejectionReason::OutOfRange,
        RejectionReason::NonFinite,
        RejectionReason::KindConflict,
        RejectionReason::RetainedCommand,
        RejectionReason::TooLarge,
        RejectionReason::Denied,
    ];

    fn number(self) -> i16 {
        match self {
            RejectionReason::UnknownTopic => 1,
            RejectionReason::NotUtf8 => 2,
            RejectionReason::NotJson => 3,
            RejectionReason::MissingField => 4,
            RejectionReason::TypeMismatch => 5,
            RejectionReason::OutOfRange => 6,
            RejectionReason::NonFinite => 7,
            RejectionReason::KindConflict => 8,
            RejectionReason::RetainedCommand => 9,
            RejectionReason::TooLarge => 10,
            RejectionReason::Denied => 11,
        }
    }
}

/// A presence in the body of its entry. Moments keep their microseconds.
#[derive(Serialize, Deserialize)]
pub(super) struct PresenceBody {
    status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<PresenceReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_message_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    flapping: bool,
}

impl PresenceBody {
    pub(super) fn of(PresenceChange { presence, flapping, .. }: &PresenceChange) -> PresenceBody {
        PresenceBody {
            status: presence.status,
            since: presence.since.map(|at| at.0),
            reason: presence.reason,
            last_message_at: presence.last_message_at.map(|at| at.0),
            client_id: presence.client_id.clone(),
            session: presence.session,
            flapping: *flapping,
        }
    }

    pub(super) fn typed(self, seq: Seq, at: Timestamp, device: String) -> PresenceChange {
        let presence = Presence {
            status: self.status,
            since: self.since.map(Timestamp),
            reason: self.reason,
            last_message_at: self.last_message_at.map(Timestamp),
            client_id: self.client_id,
            session: self.session,
        };
        PresenceChange { seq, at, device, flapping: self.flapping, presence }
    }
}

/// A session's beginning or end in the body of its entry.
#[derive(Serialize, Deserialize)]
pub(super) struct SessionBody {
    session: SessionId,
    client_id: String,
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<SessionEnd>,
}

impl SessionBody {
    pub(super) fn of(change: &SessionChange) -> SessionBody {
        SessionBody {
            session: change.session,
            client_id: change.client_id.clone(),
            address: change.address.clone(),
            ended: change.ended,
        }
    }

    pub(super) fn typed(self, seq: Seq, at: Timestamp) -> SessionChange {
        SessionChange {
            seq,
            at,
            session: self.session,
            client_id: self.client_id,
            address: self.address,
            ended: self.ended,
        }
    }
}

/// What became known of a service in the body of its entry.
#[derive(Serialize, Deserialize)]
pub(super) struct ServiceBody {
    state: ServiceState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    candidates: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
}

impl ServiceBody {
    pub(super) fn of(change: &ServiceChange) -> ServiceBody {
        ServiceBody {
            state: change.state,
            kind: change.kind.clone(),
            candidates: change.candidates.clone(),
            evidence: change.evidence.clone(),
        }
    }

    pub(super) fn typed(self, seq: Seq, at: Timestamp, service: ServiceName) -> ServiceChange {
        ServiceChange {
            seq,
            at,
            service,
            state: self.state,
            kind: self.kind,
            candidates: self.candidates,
            evidence: self.evidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<W: Word>() -> Vec<i16> {
        W::ALL.iter().map(|word| word.number()).collect()
    }

    #[test]
    fn every_number_is_listed() {
        assert_eq!(numbers::<Action>(), [1, 2, 3]);
        assert_eq!(numbers::<Surface>(), [1, 2, 3]);
        assert_eq!(numbers::<CommandState>(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(numbers::<Delivery>(), [1, 2, 3]);
        assert_eq!(numbers::<RejectionReason>(), (1..=11).collect::<Vec<_>>());
        assert!(Action::of(9, 1).is_err());
    }
}
