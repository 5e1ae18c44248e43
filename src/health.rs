//! Whether the gateway can serve, and if not, why and since when.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::Timestamp;

/// What can be wrong, by its stable code.
///
/// * `JOURNAL_FAILING`: the journal cannot write: QoS 1 and 2 wait, QoS 0 goes unrecorded, commands are refused.
/// * `JOURNAL_BEHIND`: messages wait for the disk.
/// * `DATABASE_UNREADABLE`: the database cannot be read, or not in time.
/// * `ROUTER_STALLED`: the router does not answer, or is being built anew: MQTT clients do not hear each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Trouble {
    JournalFailing,
    JournalBehind,
    DatabaseUnreadable,
    RouterStalled,
}

impl Trouble {
    fn prevents_service(self) -> bool {
        match self {
            Trouble::JournalFailing | Trouble::DatabaseUnreadable => true,
            Trouble::JournalBehind | Trouble::RouterStalled => false,
        }
    }
}

/// How well the gateway can serve.
///
/// * `ready`: as it should.
/// * `degraded`: it serves, but something is wrong.
/// * `unready`: it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    Ready,
    Degraded,
    Unready,
}

/// Why the gateway cannot serve, or not well.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reason {
    /// What is wrong.
    pub code: Trouble,
    /// When it began.
    pub since: Timestamp,
    /// What is wrong, for a person to read.
    pub detail: String,
}

/// Whether the gateway can serve.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Report {
    /// How well it can.
    pub status: Readiness,
    /// Why not, or not well.
    pub reasons: Vec<Reason>,
}

/// What is wrong at the moment. A cheap handle.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<Trouble, (Timestamp, String)>>>);

impl Health {
    /// True when the trouble is new.
    pub fn begins(&self, trouble: Trouble, detail: String) -> bool {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = troubles.get(&trouble).map(|(since, _)| *since);
        troubles.insert(trouble, (since.unwrap_or_else(Timestamp::now), detail));
        since.is_none()
    }

    /// True when there was such trouble.
    pub fn ends(&self, trouble: Trouble) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&trouble).is_some()
    }

    pub fn report(&self) -> Report {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reasons: Vec<Reason> = troubles
            .iter()
            .map(|(code, (since, detail))| Reason { code: *code, since: *since, detail: detail.clone() })
            .collect();
        let status = match reasons.as_slice() {
            [] => Readiness::Ready,
            reasons if reasons.iter().any(|reason| reason.code.prevents_service()) => Readiness::Unready,
            _ => Readiness::Degraded,
        };
        Report { status, reasons }
    }
}
