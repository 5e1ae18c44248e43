//! Who is connected, and how one connection of a client gives way to the next.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::vitals::Vitals;
use crate::model::{ClientSession, Cursor, Page, Part, Seq, SessionId};

/// The connected clients by client id: one connection each.
#[derive(Default)]
pub struct Clients(Mutex<HashMap<Arc<str>, Seat>>);

/// What a newcomer needs of the one who sits there.
struct Seat {
    session: SessionId,
    /// Set to the newcomer's session: leave.
    successor: watch::Sender<Option<SessionId>>,
    /// Closed when the place is free.
    left: watch::Receiver<()>,
    vitals: Arc<Vitals>,
}

/// A client's place. Dropping it frees the client id.
pub struct Place {
    clients: Arc<Clients>,
    client_id: Arc<str>,
    session: SessionId,
    successor: watch::Receiver<Option<SessionId>>,
    _left: watch::Sender<()>,
}

/// The same client has connected again since.
pub struct Late {
    pub newer: SessionId,
}

impl Clients {
    /// Takes the place of `client_id`. Who sits there is asked to leave, and waited for: its
    /// end must come before this one's beginning. But who has connected later than this one stays.
    pub async fn enter(
        self: &Arc<Clients>,
        client_id: &Arc<str>,
        session: SessionId,
        vitals: &Arc<Vitals>,
    ) -> Result<Place, Late> {
        loop {
            let mut left = {
                let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                match seats.get(client_id) {
                    Some(seat) if seat.session > session => return Err(Late { newer: seat.session }),
                    Some(seat) => {
                        seat.successor.send_replace(Some(session));
                        seat.left.clone()
                    }
                    None => {
                        let (successor, asked) = watch::channel(None);
                        let (leaving, left) = watch::channel(());
                        let vitals = vitals.clone();
                        seats.insert(client_id.clone(), Seat { session, successor, left, vitals });
                        return Ok(Place {
                            clients: self.clone(),
                            client_id: client_id.clone(),
                            session,
                            successor: asked,
                            _left: leaving,
                        });
                    }
                }
            };
            // An error says that the other end is gone, which is what is waited for.
            let _ = left.changed().await;
        }
    }

    /// Who is connected, the newest connection first; on from a cursor, which is a session.
    pub fn list(&self, part: Part) -> Page<ClientSession> {
        let mut vitals: Vec<(SessionId, Arc<Vitals>)> = {
            let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seats.values().map(|seat| (seat.session, seat.vitals.clone())).collect()
        };
        let onward = match part.cursor {
            Some(Cursor::After(after)) => {
                vitals.retain(|(session, _)| session.0 > after.0);
                true
            }
            Some(Cursor::Before(before)) => {
                vitals.retain(|(session, _)| session.0 < before.0);
                false
            }
            None => false,
        };
        vitals.sort_unstable_by_key(|(session, _)| *session);
        if !onward {
            vitals.reverse();
        }
        let limit = usize::try_from(part.limit).unwrap_or(usize::MAX);
        let more = vitals.len() > limit;
        vitals.truncate(limit);
        let cursor = if onward { Cursor::After } else { Cursor::Before };
        let next = vitals.last().filter(|_| more).map(|(session, _)| cursor(Seq(session.0)));
        Page { items: vitals.iter().map(|(_, vitals)| vitals.told()).collect(), next }
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Place {
    /// Waits until another connection of the same client takes over.
    pub async fn taken(&mut self) -> SessionId {
        loop {
            if let Some(successor) = *self.successor.borrow_and_update() {
                return successor;
            }
            if self.successor.changed().await.is_err() {
                // Nobody can ask any more.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seats = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.get(&self.client_id).is_some_and(|seat| seat.session == self.session) {
            seats.remove(&self.client_id);
        }
    }
}
