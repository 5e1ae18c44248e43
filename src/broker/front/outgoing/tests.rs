use super::*;
use crate::broker::front::kept::Outbox;

fn delivery(qos: QoS) -> Delivery {
    Delivery {
        topic: "t".into(),
        payload: Bytes::from_static(b"x"),
        qos,
        retain: false,
        properties: Bytes::new(),
        ids: Vec::new(),
        expires: None,
        life: None,
        command: None,
    }
}

fn persistent() -> (Outgoing, Arc<AtomicUsize>) {
    let room = Arc::<AtomicUsize>::default();
    (Outgoing::kept(KeptId(1), room.clone(), 0, Vec::new()), room)
}

fn sent(outgoing: &mut Outgoing) -> Vec<(u16, bool)> {
    std::iter::from_fn(|| outgoing.next()).map(|publish| (publish.packet_id, publish.dup)).collect()
}

fn taken(outgoing: &mut Outgoing) -> Vec<i64> {
    let number = |keep: Keep| match keep.change {
        KeptChange::Taken { number } => number,
        other => panic!("{other:?}"),
    };
    outgoing.keeps().into_iter().map(number).collect()
}

#[test]
fn the_window_holds_until_something_is_acknowledged() {
    let mut outgoing = Outgoing::new(Some(2), Arc::default());
    for _ in 0..3 {
        outgoing.push(delivery(QoS::AtLeastOnce)).expect("room");
    }
    assert_eq!(sent(&mut outgoing), [(1, false), (2, false)]);
    outgoing.acknowledge(1);
    assert_eq!(sent(&mut outgoing), [(3, false)]);
}

#[test]
fn packet_ids_come_round_and_wait_for_the_oldest() {
    let mut outgoing = Outgoing::new(None, Arc::default());
    outgoing.last_number = IDS - 1;
    for _ in 0..3 {
        outgoing.push(delivery(QoS::AtLeastOnce)).expect("room");
    }
    assert_eq!(sent(&mut outgoing), [(u16::MAX, false), (1, false), (2, false)]);
    for id in [1, 2] {
        outgoing.acknowledge(id);
    }
    outgoing.last_number = 2 * IDS - 2;
    for _ in 0..2 {
        outgoing.push(delivery(QoS::AtLeastOnce)).expect("room");
    }
    assert_eq!(sent(&mut outgoing), [(u16::MAX - 1, false)], "65 535 is still in flight");
    outgoing.acknowledge(u16::MAX);
    assert_eq!(sent(&mut outgoing), [(u16::MAX, false)]);
}

#[test]
fn a_slow_client_loses_qos_0_and_is_cut_at_qos_1() {
    let mut outgoing = Outgoing::new(None, Arc::default());
    for _ in 0..=MAX_WAITING {
        outgoing.push(delivery(QoS::AtMostOnce)).expect("dropped, not refused");
    }
    assert_eq!(outgoing.waiting.len(), MAX_WAITING);
    outgoing.push(delivery(QoS::AtLeastOnce)).expect_err("cut");
}

#[test]
fn what_a_persistent_session_has_not_acknowledged_is_sent_again_in_order() {
    let (mut outgoing, room) = persistent();
    outgoing.arrive(Some(2));
    for _ in 0..3 {
        assert!(outgoing.push(delivery(QoS::AtLeastOnce)).expect("room").is_some());
    }
    outgoing.push(delivery(QoS::AtMostOnce)).expect("room");
    assert_eq!(sent(&mut outgoing), [(1, false), (2, false)]);
    outgoing.acknowledge(2);
    assert_eq!(taken(&mut outgoing), [2]);

    assert_eq!(outgoing.leave(), 2);
    assert!(outgoing.push(delivery(QoS::AtLeastOnce)).expect("room").is_some());
    assert!(outgoing.push(delivery(QoS::AtMostOnce)).expect("nothing is kept").is_none());
    outgoing.arrive(None);
    assert_eq!(sent(&mut outgoing), [(1, true), (3, false), (4, false)]);
    for id in [1, 3, 4] {
        outgoing.acknowledge(id);
    }
    assert_eq!(taken(&mut outgoing), [1, 3, 4]);
    assert_eq!((outgoing.bytes, room.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn a_command_is_neither_written_down_nor_sent_again() {
    let command = || Delivery { life: Some(COMMAND_LIFE), ..delivery(QoS::AtLeastOnce) };
    let (mut outgoing, room) = persistent();
    assert!(outgoing.push(command()).expect("nobody is there").is_none());
    outgoing.arrive(None);
    assert_eq!(sent(&mut outgoing), []);
    for _ in 0..2 {
        assert!(outgoing.push(command()).expect("room").is_none());
    }
    assert!(outgoing.next().is_some());
    outgoing.leave();
    outgoing.arrive(None);
    assert_eq!(sent(&mut outgoing), []);
    assert_eq!(room.load(Ordering::Relaxed), 0);
}

#[test]
fn a_message_that_has_expired_is_not_sent_and_forgotten() {
    let (mut outgoing, _) = persistent();
    let expires = Some(Instant::now());
    outgoing.push(Delivery { expires, ..delivery(QoS::AtLeastOnce) }).expect("room");
    outgoing.arrive(None);
    assert_eq!(sent(&mut outgoing), []);
    assert_eq!(taken(&mut outgoing), [1]);
}

#[test]
fn a_queue_of_the_last_run_goes_on_where_it_was() {
    let message = |number| delivery(QoS::AtLeastOnce).kept(number, Taken::default());
    let room = Arc::default();
    let mut outgoing = Outgoing::kept(KeptId(1), room, 7, vec![message(7), message(9)]);
    outgoing.push(delivery(QoS::AtLeastOnce)).expect("room");
    outgoing.arrive(None);
    assert_eq!(sent(&mut outgoing), [(7, true), (9, false), (10, false)]);
}

#[test]
fn what_expired_between_two_runs_is_not_taken_up() {
    let message = |number, expires_at| {
        let message = delivery(QoS::AtLeastOnce).kept(number, Taken::default());
        KeptMessage { expires_at, ..message }
    };
    let messages = vec![message(7, Some(Timestamp(1))), message(8, None), message(9, Some(Timestamp(1)))];
    let mut outgoing = Outgoing::kept(KeptId(1), Arc::default(), 0, messages);
    assert_eq!((taken(&mut outgoing), outgoing.waiting.len()), (vec![7, 9], 1));
    outgoing.push(delivery(QoS::AtLeastOnce)).expect("room");
    outgoing.arrive(None);
    assert_eq!(sent(&mut outgoing), [(8, false), (10, false)]);
}

#[test]
fn no_more_is_taken_up_than_there_may_have_been() {
    let most = MAX_WAITING + WINDOW;
    let messages =
        (1..most as u64 + 3).map(|number| delivery(QoS::AtLeastOnce).kept(number, Taken::default()));
    let mut outgoing = Outgoing::kept(KeptId(1), Arc::default(), 0, messages.collect());
    assert_eq!(outgoing.waiting.len(), most);
    assert_eq!(taken(&mut outgoing), [most as i64 + 1, most as i64 + 2]);
}

#[test]
fn what_has_expired_goes_with_what_takes_its_place() {
    let (outgoing, _) = persistent();
    let outbox = Outbox::away(outgoing);
    let fleeting = || Delivery { expires: Some(Instant::now()), ..delivery(QoS::AtLeastOnce) };
    for _ in 0..MAX_AWAY {
        assert_eq!(outbox.offer(fleeting()).len(), 1);
    }
    assert_eq!(outbox.offer(delivery(QoS::AtLeastOnce)).len(), MAX_AWAY + 1);
    assert!(outbox.lock().keeps().is_empty());
}

#[test]
fn a_client_that_is_away_finds_only_so_much() {
    let (mut outgoing, _) = persistent();
    for _ in 0..=MAX_AWAY {
        outgoing.push(delivery(QoS::AtLeastOnce)).expect("it is not cut");
    }
    assert_eq!(outgoing.waiting.len(), MAX_AWAY);
}

#[test]
fn what_has_expired_gives_its_place_to_what_comes() {
    let (mut outgoing, room) = persistent();
    for n in 0..MAX_AWAY {
        let expires = (n > 0).then(Instant::now);
        outgoing.push(Delivery { expires, ..delivery(QoS::AtLeastOnce) }).expect("room");
    }
    assert!(outgoing.push(delivery(QoS::AtLeastOnce)).expect("room").is_some());
    assert_eq!((outgoing.waiting.len(), outgoing.keeps().len()), (2, MAX_AWAY - 1));
    assert_eq!(room.load(Ordering::Relaxed), outgoing.bytes);
}

#[test]
fn each_persistent_session_has_some_room_of_its_own() {
    let (mut outgoing, room) = persistent();
    let size = size(&delivery(QoS::AtLeastOnce));
    for (bytes, own) in [(MAX_KEPT_AWAY_BYTES, OWN_AWAY_BYTES), (MAX_KEPT_BYTES, OWN_BYTES)] {
        room.store(bytes, Ordering::Relaxed);
        for _ in 0..OWN_BYTES {
            outgoing.push(delivery(QoS::AtLeastOnce)).expect("nobody is cut for what waits for others");
        }
        assert_eq!(outgoing.waiting.len(), own.div_ceil(size));
        outgoing.arrive(None);
    }
    let command = Delivery { life: Some(COMMAND_LIFE), ..delivery(QoS::AtLeastOnce) };
    outgoing.push(command).expect("a command takes nothing of it");
    assert_eq!(outgoing.waiting.len(), OWN_BYTES.div_ceil(size) + 1);
}

#[test]
fn who_is_there_gets_what_who_is_away_leaves() {
    let (mut outgoing, room) = persistent();
    outgoing.arrive(None);
    room.store(MAX_KEPT_AWAY_BYTES, Ordering::Relaxed);
    for _ in 0..MAX_WAITING {
        outgoing.push(delivery(QoS::AtLeastOnce)).expect("room");
    }
    assert_eq!(outgoing.waiting.len(), MAX_WAITING);
}

#[test]
fn who_was_cut_for_being_behind_can_catch_up() {
    let (mut outgoing, _) = persistent();
    outgoing.arrive(None);
    while outgoing.push(delivery(QoS::AtLeastOnce)).is_ok() {}
    outgoing.leave();
    outgoing.arrive(None);
    for _ in 0..2 * MAX_AWAY {
        outgoing.push(delivery(QoS::AtLeastOnce)).expect("it is not cut again");
        for (id, _) in sent(&mut outgoing) {
            outgoing.acknowledge(id);
        }
    }
    assert_eq!(outgoing.owed(), (0, 0));
    while outgoing.push(delivery(QoS::AtLeastOnce)).is_ok() {}
    assert!(outgoing.is_overrun(), "once it has caught up, it is cut like any other");
}

#[test]
fn expiry_is_counted_down_and_the_rest_travels() {
    let properties = Properties::from_iter([
        Property::ContentType("json".into()),
        Property::TopicAlias(1),
        Property::MessageExpiry(9),
        Property::UserProperty("a".into(), "b".into()),
    ]);
    let now = Instant::now();
    let sent = Delivery {
        properties: properties.travelling(),
        ids: vec![300],
        expires: Some(now + Duration::from_millis(4_001)),
        ..delivery(QoS::AtMostOnce)
    }
    .publish(0, false, now);
    assert_eq!(
        sent.properties,
        Properties::from_iter([
            Property::ContentType("json".into()),
            Property::UserProperty("a".into(), "b".into()),
            Property::MessageExpiry(5),
            Property::SubscriptionId(300),
        ])
    );
}

#[test]
fn each_other_session_has_some_room_of_its_own_too() {
    let room = Arc::<AtomicUsize>::default();
    let mut outgoing = Outgoing::new(None, room.clone());
    room.store(MAX_LINKED_BYTES, Ordering::Relaxed);
    while outgoing.bytes < OWN_BYTES {
        outgoing.push(delivery(QoS::AtLeastOnce)).expect("its own");
    }
    let (waiting, full) = (outgoing.waiting.len(), !outgoing.is_roomy());
    outgoing.push(delivery(QoS::AtMostOnce)).expect("it may miss that");
    assert!(full && outgoing.waiting.len() == waiting);
    room.store(outgoing.bytes, Ordering::Relaxed);
    outgoing.push(delivery(QoS::AtLeastOnce)).expect("others have taken theirs");
    room.store(MAX_LINKED_BYTES, Ordering::Relaxed);
    outgoing.push(delivery(QoS::AtLeastOnce)).expect_err("it would miss what is certain");
}
