//! Persistent sessions: what a batch changes of them, and what the last run left.

use std::collections::BTreeMap;

use anyhow::anyhow;
use bytes::Bytes;
use entity::{kept_messages, kept_received, kept_sessions, kept_subscriptions};
use sea_orm::{DatabaseTransaction, DbErr, QueryOrder, entity::prelude::*, sea_query::OnConflict};

use super::{
    Store,
    rows::{delete, insert},
};
use crate::{
    error::Error,
    model::{Keep, KeptChange, KeptId, KeptMessage, KeptSession, KeptSubscription, QoS, Timestamp},
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
mod tests {
    use super::*;
    use crate::{
        model::Seq,
        store::{
            Draft,
            samples::{House, kept, reading, retained, statements},
        },
    };
    use metrics_exporter_prometheus::PrometheusBuilder;

    const LATER: Timestamp = Timestamp(1_795_300_009_000_001);

    fn connected(client_id: &str) -> KeptChange {
        KeptChange::Connected { client_id: client_id.into(), expiry: u32::MAX }
    }

    fn subscribed(filter: &str, options: u8, id: Option<u32>) -> KeptChange {
        KeptChange::Subscribed(KeptSubscription { filter: filter.into(), options, id })
    }

    fn queued(number: i64) -> KeptChange {
        KeptChange::Queued(numbered(number))
    }

    fn taken(number: i64) -> KeptChange {
        KeptChange::Taken { number }
    }

    /// A message with all that can be said of one where the number is even, and as little as that can be where not.
    fn numbered(number: i64) -> KeptMessage {
        let even = number % 2 == 0;
        KeptMessage {
            number,
            topic: format!("t/{number}"),
            payload: Bytes::copy_from_slice(&[0, 0xff, number as u8][..if even { 3 } else { 0 }]),
            qos: if even { QoS::ExactlyOnce } else { QoS::AtLeastOnce },
            retain: even,
            properties: Bytes::from_static(if even { b"\x01\x01" } else { b"" }),
            expires_at: even.then_some(LATER),
        }
    }

    fn session_of(id: i64, client_id: &str, messages: impl IntoIterator<Item = i64>) -> KeptSession {
        KeptSession {
            id: KeptId(id),
            client_id: client_id.into(),
            expiry: u32::MAX,
            left_at: None,
            sent: 0,
            subscriptions: Vec::new(),
            messages: messages.into_iter().map(numbered).collect(),
            received: Vec::new(),
        }
    }

    impl House {
        async fn sessions(&self) -> Vec<KeptSession> {
            self.store.kept_sessions().await.unwrap()
        }

        /// How many rows there are of sessions, subscriptions, messages and what was received.
        async fn rows(&self) -> [u64; 4] {
            let db = self.store.db();
            [
                kept_sessions::Entity::find().count(db).await.unwrap(),
                kept_subscriptions::Entity::find().count(db).await.unwrap(),
                kept_messages::Entity::find().count(db).await.unwrap(),
                kept_received::Entity::find().count(db).await.unwrap(),
            ]
        }
    }

    /// A session with something of everything.
    fn full(session: i64, client_id: &str) -> Draft {
        let received = KeptChange::Received { packet_id: u16::MAX };
        kept(session, [connected(client_id), subscribed("a/#", 1, None), queued(1), queued(2), received])
    }

    #[tokio::test]
    async fn a_restart_gives_back_what_was_kept() {
        let mut house = House::new().await;
        let left = KeptChange::Left { expiry: 7, at: LATER, sent: 2 };
        let mut first = [
            kept(1, [connected("one"), subscribed("b", 0x2e, Some(268_435_455)), subscribed("a/#", 1, None)]),
            kept(2, [connected("two"), queued(1), KeptChange::Received { packet_id: 9 }]),
        ];
        house.append(&mut first).await;
        let received = [u16::MAX, 1].map(|packet_id| KeptChange::Received { packet_id });
        let more = kept(1, [queued(10), queued(2), queued(1), left].into_iter().chain(received));
        house.append(&mut [more]).await;

        let one = KeptSession {
            expiry: 7,
            left_at: Some(LATER),
            sent: 2,
            subscriptions: vec![
                KeptSubscription { filter: "a/#".into(), options: 1, id: None },
                KeptSubscription { filter: "b".into(), options: 0x2e, id: Some(268_435_455) },
            ],
            received: vec![1, u16::MAX],
            ..session_of(1, "one", [1, 2, 10])
        };
        let two = KeptSession { received: vec![9], ..session_of(2, "two", [1]) };
        assert_eq!(house.restarted().await.sessions().await, [one, two]);
    }

    #[tokio::test]
    async fn what_is_written_last_of_a_row_stays() {
        let mut house = House::new().await;
        let left = |sent| KeptChange::Left { expiry: 7, at: LATER, sent };
        house.append(&mut [full(1, "one"), kept(1, [left(1)])]).await;
        house.append(&mut [kept(1, [connected("one"), left(2)])]).await;
        let mut one = KeptSession {
            expiry: 7,
            left_at: Some(LATER),
            sent: 2,
            subscriptions: vec![KeptSubscription { filter: "a/#".into(), options: 1, id: None }],
            received: vec![u16::MAX],
            ..session_of(1, "one", [1, 2])
        };
        assert_eq!(house.sessions().await, [one.clone()]);

        let unsubscribed = |filter: &str| KeptChange::Unsubscribed { filter: filter.into() };
        let changes = [
            left(3),
            connected("one"),
            unsubscribed("a/#"),
            subscribed("a/#", 2, Some(1)),
            subscribed("b", 0, None),
            unsubscribed("b"),
            KeptChange::Released { packet_id: u16::MAX },
            KeptChange::Received { packet_id: 3 },
            taken(1),
        ];
        house.append(&mut [kept(1, changes)]).await;
        one.expiry = u32::MAX;
        one.left_at = None;
        one.subscriptions = vec![KeptSubscription { filter: "a/#".into(), options: 2, id: Some(1) }];
        one.received = vec![3];
        one.messages.remove(0);
        assert_eq!(house.sessions().await, [one]);

        house.append(&mut [kept(1, [unsubscribed("a/#"), KeptChange::Released { packet_id: 3 }])]).await;
        assert_eq!(house.rows().await, [1, 0, 1, 0]);
    }

    #[test]
    fn a_message_that_is_taken_in_the_batch_that_queued_it_is_not_written() {
        let drafts = [kept(1, [queued(1), queued(2)]), kept(2, [queued(1)]), kept(1, [taken(2), taken(1)])];
        let rows = Rows::of(drafts.iter().flat_map(|draft| &draft.keeps));
        assert_eq!(rows, Rows::of(&kept(2, [queued(1)]).keeps));
    }

    #[tokio::test]
    async fn a_forgotten_session_leaves_nothing() {
        let mut house = House::new().await;
        house.append(&mut [full(1, "one"), full(2, "two"), full(3, "three")]).await;
        assert_eq!(house.rows().await, [3, 3, 6, 3]);
        let more = kept(1, [queued(3), subscribed("b", 0, None), KeptChange::Forgotten]);
        house.append(&mut [more, kept(3, [KeptChange::Forgotten])]).await;
        assert_eq!(house.rows().await, [1, 1, 2, 1]);
        house.append(&mut [full(4, "four"), kept(4, [KeptChange::Forgotten])]).await;
        assert_eq!(house.rows().await, [1, 1, 2, 1]);
    }

    #[tokio::test]
    async fn a_client_may_begin_anew_in_the_batch_that_forgets_its_session() {
        let mut house = House::new().await;
        house.append(&mut [full(1, "one")]).await;
        let anew = kept(2, [connected("one"), queued(1)]);
        house.append(&mut [kept(1, [KeptChange::Forgotten]), anew]).await;
        assert_eq!(house.sessions().await, [session_of(2, "one", [1])]);
    }

    #[tokio::test]
    async fn many_messages_of_many_sessions_take_few_statements() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _counting = metrics::set_default_local_recorder(&recorder);
        let statements = || statements(&recorder);
        let mut house = House::new().await;
        let ids = 1..=200_i64;
        let mut drafts: Vec<_> = ids.clone().map(|id| kept(id, [connected(&id.to_string())])).collect();
        // Ten of each, one after the other in turns.
        drafts.extend((1..=10).flat_map(|number| ids.clone().map(move |id| kept(id, [queued(number)]))));
        let before = statements();
        house.append(&mut drafts).await;
        assert_eq!(statements() - before, 1 + 4);
        let wanted: Vec<_> = ids.clone().map(|id| session_of(id, &id.to_string(), 1..=10)).collect();
        let before = statements();
        assert_eq!(house.sessions().await, wanted);
        assert_eq!(statements() - before, 4);

        let mut drafts: Vec<_> = ids.clone().map(|id| kept(id, (1..=id % 10).map(taken))).collect();
        let before = statements();
        house.append(&mut drafts).await;
        assert_eq!(statements() - before, 2);
        let wanted: Vec<_> = ids.map(|id| session_of(id, &id.to_string(), id % 10 + 1..=10)).collect();
        assert_eq!(house.sessions().await, wanted);
    }

    #[tokio::test]
    async fn what_is_kept_is_written_with_the_event_that_brought_it_or_not_at_all() {
        let mut house = House::new().await;
        let mut drafts = [Draft { keeps: full(1, "one").keeps, ..reading("a", 20.0) }, full(2, "two")];
        let before = drafts.clone();
        house.journal.execute("PRAGMA query_only = ON").await;
        assert!(house.journal.append(&mut drafts).await.is_err());
        assert_eq!(drafts, before);
        house.journal.execute("PRAGMA query_only = OFF").await;
        assert_eq!(house.rows().await, [0, 0, 0, 0]);

        house.append(&mut drafts).await;
        assert_eq!(house.rows().await, [2, 2, 4, 2]);
        assert_eq!(house.journal.head(), Seq(1));
        // Once more, as after a commit that was told as failed and was none.
        house.append(&mut drafts[1..]).await;
        assert_eq!(house.rows().await, [2, 2, 4, 2]);
    }

    #[tokio::test]
    async fn a_retained_message_keeps_its_properties_until_it_expires() {
        let mut house = House::new().await;
        let lasting = |topic: &str, expires_at| {
            let mut draft = retained(topic, b"1");
            if let Some(message) = &mut draft.retained {
                message.properties = Bytes::from_static(b"\x01\x01");
                message.expires_at = Some(expires_at);
            }
            draft
        };
        let never = Timestamp(i64::MAX);
        let mut drafts =
            [lasting("a", never), lasting("b", Timestamp(1)), lasting("c", never), retained("d", b"1")];
        house.append(&mut drafts).await;
        house.append(&mut [retained("c", b"2"), lasting("d", never)]).await;
        let mut found = house.restarted().await.store.retained().await.unwrap();
        found.sort_by(|one, other| one.topic.cmp(&other.topic));
        let wanted = [lasting("a", never), retained("c", b"2"), lasting("d", never)];
        assert_eq!(found, wanted.map(|draft| draft.retained.unwrap()));
    }
}
