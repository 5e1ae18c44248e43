//! Persistent sessions: what a batch changes of them, and what the last run left.

use std::collections::BTreeMap;

use anyhow::anyhow;
use bytes::Bytes;
use entity::{kept_messages, kept_received, kept_sessions, kept_subscriptions};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, QueryOrder,
    entity::prelude::*,
    sea_query::{OnConflict, Query},
};

use super::{
    Store,
    rows::{delete, insert},
};
use crate::{
    error::Error,
    model::{Keep, KeptChange, KeptId, KeptMessage, KeptSession, KeptSubscription, QoS, Taken, Timestamp},
};

impl Store {
    /// All persistent sessions, by id. Four statements, however many there are.
    pub async fn kept_sessions(&self) -> Result<Vec<KeptSession>, Error> {
        let mut sessions = BTreeMap::new();
        for row in kept_sessions::Entity::find().all(self.db()).await? {
            sessions.insert(row.id, session(row)?);
        }
        let subscriptions = kept_subscriptions::Entity::find()
            .order_by_asc(kept_subscriptions::Column::Session)
            .order_by_asc(kept_subscriptions::Column::Filter);
        for row in subscriptions.all(self.db()).await? {
            if let Some(session) = sessions.get_mut(&row.session) {
                session.subscriptions.push(subscription(row)?);
            }
        }
        let messages = kept_messages::Entity::find()
            .order_by_asc(kept_messages::Column::Session)
            .order_by_asc(kept_messages::Column::Number);
        for row in messages.all(self.db()).await? {
            if let Some(session) = sessions.get_mut(&row.session) {
                session.messages.push(message(row)?);
            }
        }
        let received = kept_received::Entity::find()
            .order_by_asc(kept_received::Column::Session)
            .order_by_asc(kept_received::Column::PacketId);
        for row in received.all(self.db()).await? {
            if let Some(session) = sessions.get_mut(&row.session) {
                session.received.push(narrow(row.session, row.packet_id)?);
            }
        }
        Ok(sessions.into_values().collect())
    }
}

/// Removes what belongs to no session: a message can be on its way to one while that is forgotten, and the number of the
/// session will be that of another.
pub(super) async fn tidy(db: &DatabaseConnection) -> Result<(), DbErr> {
    let sessions = || Query::select().column(kept_sessions::Column::Id).from(kept_sessions::Entity).take();
    kept_subscriptions::Entity::delete_many()
        .filter(kept_subscriptions::Column::Session.not_in_subquery(sessions()))
        .exec(db)
        .await?;
    kept_messages::Entity::delete_many()
        .filter(kept_messages::Column::Session.not_in_subquery(sessions()))
        .exec(db)
        .await?;
    kept_received::Entity::delete_many()
        .filter(kept_received::Column::Session.not_in_subquery(sessions()))
        .exec(db)
        .await?;
    Ok(())
}

/// The rows that a batch changes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rows {
    forgotten: Vec<i64>,
    connected: Vec<kept_sessions::Model>,
    left: Vec<(i64, Left)>,
    subscribed: Vec<kept_subscriptions::Model>,
    unsubscribed: Vec<(i64, String)>,
    queued: Vec<kept_messages::Model>,
    taken: Vec<(i64, i64)>,
    received: Vec<kept_received::Model>,
    released: Vec<(i64, i32)>,
}

impl Rows {
    pub(super) fn of<'a>(keeps: impl IntoIterator<Item = &'a Keep>) -> Rows {
        let mut sessions = BTreeMap::<KeptId, Changes>::new();
        for keep in keeps {
            sessions.entry(keep.session).or_default().apply(&keep.change);
        }
        let mut rows = Rows::default();
        for (id, changes) in sessions {
            rows.add(id.0, changes);
        }
        rows
    }

    fn add(&mut self, session: i64, changes: Changes) {
        if changes.forgotten {
            self.forgotten.push(session);
        }
        self.connected.extend(changes.connected.map(|(client_id, expiry)| kept_sessions::Model {
            id: session,
            client_id: client_id.to_owned(),
            expiry: expiry.into(),
            left_at: None,
            sent: 0,
        }));
        self.left.extend(changes.left.map(|left| (session, left)));
        for (filter, subscription) in changes.subscriptions {
            match subscription {
                Some(subscription) => self.subscribed.push(kept_subscriptions::Model {
                    session,
                    filter: filter.to_owned(),
                    options: subscription.options.into(),
                    identifier: subscription.id.map(i64::from),
                }),
                None => self.unsubscribed.push((session, filter.to_owned())),
            }
        }
        for (number, message) in changes.messages {
            match message {
                Some(message) => self.queued.push(kept_messages::Model {
                    session,
                    number,
                    topic: message.topic.clone(),
                    payload: message.payload.to_vec(),
                    qos: message.qos.as_u8().into(),
                    retain: message.retain,
                    properties: some(&message.properties),
                    expires_at: message.expires_at.map(|at| at.0),
                }),
                None => self.taken.push((session, number)),
            }
        }
        for (packet_id, held) in changes.received {
            let packet_id = packet_id.into();
            if held {
                self.received.push(kept_received::Model { session, packet_id });
            } else {
                self.released.push((session, packet_id));
            }
        }
    }

    pub(super) async fn write(self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        use kept_messages::{Column as Message, Entity as Messages};
        use kept_received::{Column as Received, Entity as AllReceived};
        use kept_sessions::{Column as Session, Entity as Sessions};
        use kept_subscriptions::{Column as Subscription, Entity as Subscriptions};
        // First of all: a client's new session may follow the old one in the same batch.
        let forgotten = || self.forgotten.iter().copied();
        delete(transaction, Sessions, [Session::Id], forgotten()).await?;
        delete(transaction, Subscriptions, [Subscription::Session], forgotten()).await?;
        delete(transaction, Messages, [Message::Session], forgotten()).await?;
        delete(transaction, AllReceived, [Received::Session], forgotten()).await?;

        let again =
            OnConflict::column(Session::Id).update_columns([Session::Expiry, Session::LeftAt]).to_owned();
        insert(transaction, self.connected, Some(again)).await?;
        for (id, left) in self.left {
            Sessions::update_many()
                .col_expr(Session::Expiry, i64::from(left.expiry).into())
                .col_expr(Session::LeftAt, left.at.0.into())
                .col_expr(Session::Sent, left.sent.into())
                .filter(Session::Id.eq(id))
                .exec(transaction)
                .await?;
        }

        // What failed may have been written all the same, and is then written once more.
        let key = [Subscription::Session, Subscription::Filter];
        let newest = [Subscription::Options, Subscription::Identifier];
        let again = OnConflict::columns(key).update_columns(newest).to_owned();
        insert(transaction, self.subscribed, Some(again)).await?;
        delete(transaction, Subscriptions, key, self.unsubscribed).await?;

        let key = [Message::Session, Message::Number];
        insert(transaction, self.queued, Some(OnConflict::columns(key).do_nothing().to_owned())).await?;
        delete(transaction, Messages, key, self.taken).await?;

        let key = [Received::Session, Received::PacketId];
        insert(transaction, self.received, Some(OnConflict::columns(key).do_nothing().to_owned())).await?;
        delete(transaction, AllReceived, key, self.released).await
    }
}

/// What a batch changes of one session: of several changes of one row the last.
#[derive(Default)]
struct Changes<'a> {
    /// Before all that follows.
    forgotten: bool,
    connected: Option<(&'a str, u32)>,
    left: Option<Left>,
    /// None where it is gone.
    subscriptions: BTreeMap<&'a str, Option<&'a KeptSubscription>>,
    /// None where it is gone.
    messages: BTreeMap<i64, Option<&'a KeptMessage>>,
    received: BTreeMap<u16, bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Left {
    expiry: u32,
    at: Timestamp,
    sent: i64,
}

impl<'a> Changes<'a> {
    fn apply(&mut self, change: &'a KeptChange) {
        match change {
            KeptChange::Connected { client_id, expiry } => {
                self.connected = Some((client_id, *expiry));
                self.left = None;
            }
            KeptChange::Left { expiry, at, sent } => {
                self.left = Some(Left { expiry: *expiry, at: *at, sent: *sent });
            }
            KeptChange::Forgotten => *self = Changes { forgotten: true, ..Changes::default() },
            KeptChange::Subscribed(subscription) => {
                self.subscriptions.insert(&subscription.filter, Some(subscription));
            }
            KeptChange::Unsubscribed { filter } => {
                self.subscriptions.insert(filter, None);
            }
            // What is taken before it is written is not written at all, whichever of the two comes first.
            KeptChange::Queued(message) if message.taken.is_set() => {
                self.messages.remove(&message.number);
            }
            KeptChange::Queued(message) => {
                self.messages.insert(message.number, Some(message));
            }
            KeptChange::Taken { number } => {
                // A number is used once: what this batch queued is not in the database.
                if let Some(Some(_)) = self.messages.insert(*number, None) {
                    self.messages.remove(number);
                }
            }
            KeptChange::Received { packet_id } => {
                self.received.insert(*packet_id, true);
            }
            KeptChange::Released { packet_id } => {
                self.received.insert(*packet_id, false);
            }
        }
    }
}

/// Properties as they stand in a row.
pub(super) fn some(properties: &Bytes) -> Option<Vec<u8>> {
    (!properties.is_empty()).then(|| properties.to_vec())
}

fn session(row: kept_sessions::Model) -> Result<KeptSession, Error> {
    Ok(KeptSession {
        id: KeptId(row.id),
        client_id: row.client_id,
        expiry: narrow(row.id, row.expiry)?,
        left_at: row.left_at.map(Timestamp),
        sent: row.sent,
        subscriptions: Vec::new(),
        messages: Vec::new(),
        received: Vec::new(),
    })
}

fn subscription(row: kept_subscriptions::Model) -> Result<KeptSubscription, Error> {
    Ok(KeptSubscription {
        filter: row.filter,
        options: narrow(row.session, row.options)?,
        id: row.identifier.map(|id| narrow(row.session, id)).transpose()?,
    })
}

fn message(row: kept_messages::Model) -> Result<KeptMessage, Error> {
    let qos = QoS::from_u8(narrow(row.session, row.qos)?);
    Ok(KeptMessage {
        number: row.number,
        topic: row.topic,
        payload: Bytes::from(row.payload),
        qos: qos.ok_or_else(|| unreadable(row.session, row.qos.into()))?,
        retain: row.retain,
        properties: Bytes::from(row.properties.unwrap_or_default()),
        expires_at: row.expires_at.map(Timestamp),
        taken: Taken::default(),
    })
}

/// A number of a session's row, as small as it was written.
fn narrow<Small: TryFrom<i64>>(session: i64, number: impl Into<i64>) -> Result<Small, Error> {
    let number = number.into();
    Small::try_from(number).map_err(|_| unreadable(session, number))
}

/// A row that no Crosslink has written.
fn unreadable(session: i64, number: i64) -> Error {
    Error::internal(
        anyhow!("{number} has no meaning where it stands")
            .context(format!("the persistent session {session} cannot be read")),
    )
}

#[cfg(test)]
mod tests;
