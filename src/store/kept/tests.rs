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
        taken: Taken::default(),
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
async fn a_message_that_is_taken_before_it_is_written_is_not_written() {
    let mut house = House::new().await;
    house.append(&mut [kept(1, [connected("one")])]).await;
    let message = numbered(1);
    message.taken.set();
    house.append(&mut [kept(1, [taken(1)])]).await;
    house.append(&mut [kept(1, [KeptChange::Queued(message.clone())])]).await;
    house.append(&mut [kept(1, [taken(1), KeptChange::Queued(message)])]).await;
    assert_eq!(house.sessions().await, [session_of(1, "one", [])]);
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
async fn what_came_too_late_for_a_session_is_gone_at_the_next_start() {
    let mut house = House::new().await;
    house.append(&mut [full(1, "one"), full(2, "two")]).await;
    let left = house.rows().await;
    house.append(&mut [kept(1, [KeptChange::Forgotten])]).await;
    let late = [queued(9), subscribed("late", 1, None), KeptChange::Received { packet_id: 3 }];
    house.append(&mut [kept(1, late)]).await;
    let house = house.restarted().await;
    assert_eq!(house.rows().await, left.map(|rows| rows / 2));
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
async fn a_retained_message_keeps_its_properties() {
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
    let mut drafts = [lasting("a", never), lasting("b", LATER), lasting("c", never), retained("d", b"1")];
    house.append(&mut drafts).await;
    house.append(&mut [retained("c", b"2"), lasting("d", never)]).await;
    let mut found = house.restarted().await.store.retained().await.unwrap();
    found.sort_by(|one, other| one.topic.cmp(&other.topic));
    let wanted = [lasting("a", never), lasting("b", LATER), retained("c", b"2"), lasting("d", never)];
    assert_eq!(found, wanted.map(|draft| draft.retained.unwrap()));
}
