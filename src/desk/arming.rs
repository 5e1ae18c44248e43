//! The two steps of a command that can hurt: it is armed, then executed.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_graphql::SimpleObject;
use serde::Serialize;
use tokio::time::{Duration, Instant};
use utoipa::ToSchema;

use super::Ask;
use crate::{error::Error, model::Timestamp};

/// How long an armed command waits to be executed.
const ARMED_FOR: Duration = Duration::from_secs(10);
/// How long one that was executed under an idempotency key is found by it: longer than any answer is waited for.
const EXECUTED_FOR: Duration = Duration::from_secs(120);
/// Commands that wait armed at a time: a team of five steers by hand.
const MAX_ARMED: usize = 256;
/// As many bytes of chance are not guessed within ten seconds, or a lifetime.
const TOKEN_BYTES: usize = 16;

/// A command that is armed: executing its token sends it.
#[derive(Clone, Debug, Serialize, SimpleObject, ToSchema)]
pub struct Armed {
    /// Executes it, once.
    pub token: String,
    /// By then it has to be executed.
    pub expires_at: Timestamp,
    /// Where its message will go.
    pub topic: String,
    /// As it will be on the wire.
    pub payload: String,
}

/// By token.
#[derive(Default)]
pub(super) struct Armoury(Mutex<HashMap<String, Loaded>>);

struct Loaded {
    ask: Ask,
    until: Instant,
    /// The idempotency key under which it was executed, if it was.
    key: Option<String>,
}

impl Armoury {
    pub(super) fn arm(&self, ask: Ask) -> Result<Armed, Error> {
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random)
            .map_err(|why| Error::Internal(anyhow::anyhow!("no randomness: {why}")))?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut armed = self.lock();
        armed.retain(|_, one| one.until > Instant::now());
        if armed.len() >= MAX_ARMED {
            return Err(Error::Unavailable("room for another armed command"));
        }
        let told = Armed {
            token: token.clone(),
            expires_at: Timestamp::now().after(ARMED_FOR),
            topic: ask.topic(),
            payload: ask.payload.clone(),
        };
        armed.insert(token, Loaded { ask, until: Instant::now() + ARMED_FOR, key: None });
        Ok(told)
    }

    /// What was armed under a token, once; and again to whoever says the same idempotency key.
    pub(super) fn take(&self, token: &str, key: Option<&str>) -> Result<Ask, Error> {
        let mut armed = self.lock();
        let fresh = |one: &&mut Loaded| {
            one.until > Instant::now() && (one.key.is_none() || one.key.as_deref() == key)
        };
        let Some(one) = armed.get_mut(token).filter(fresh) else {
            let refused = "nothing is armed under this token: it was executed, or its ten seconds are over; arm it anew";
            return Err(Error::ArmingRequired(refused.to_owned()));
        };
        let ask = one.ask.clone();
        match key {
            Some(key) if one.key.is_none() => {
                one.key = Some(key.to_owned());
                one.until = Instant::now() + EXECUTED_FOR;
            }
            Some(_) => {}
            None => drop(armed.remove(token)),
        }
        Ok(ask)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Loaded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
