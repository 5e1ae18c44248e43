use super::*;
use crate::model::SessionId;

fn message(qos: QoS, topic: String) -> Outbound {
    let header = Header {
        number: 0,
        origin: SessionId(1),
        command: None,
        life: Duration::ZERO,
        qos,
        retain: false,
        place: 0,
        expires: None,
        properties: Bytes::new(),
    };
    Outbound { header, topic, payload: Bytes::from_static(b"x"), filters: 1 }
}

#[tokio::test]
async fn publishers_wait_while_too_much_waits_for_the_router() {
    let (router, keeper) = Router::start(Limits::default()).expect("it starts");
    let mut many = (0..10_000).map(|_| message(QoS::AtMostOnce, "a".into())).collect();
    router.publish(&mut many);
    let crowd = router.crowd();
    assert!(crowd.is_there);
    let keeper = tokio::spawn(keeper.run());
    router.eased(crowd.eased).await;
    assert!(!router.crowd().is_there);
    keeper.abort();
    router.publish(&mut (0..10_000).map(|_| message(QoS::AtMostOnce, "a".into())).collect());
    assert!(router.crowd().is_there);
    router.eased(crowd.eased).await;
}

#[tokio::test]
async fn links_share_filters_and_give_their_names_back() {
    // None of them is one too many for the router, which is not replaced.
    let limits = Limits { filters: 3, live_filters: 1, reserve: 0, ..Limits::default() };
    let (router, keeper) = Router::start(limits).expect("it starts");
    let keeper = tokio::spawn(keeper.run());
    let has_room_for = |filter| router.claims().claim(filter, 1);
    let filter = ["a/+".to_owned()];
    for _ in 0..2 {
        let mut links = [router.link().await.expect("a link"), router.link().await.expect("a link")];
        for link in &mut links {
            assert!(has_room_for("a/+"));
            link.subscribe(&filter, &mut Vec::new()).await.expect("it is subscribed");
        }
        assert!(!has_room_for("b"));
        router.publish(&mut vec![message(QoS::AtLeastOnce, "a/é".into())]);
        for link in &mut links {
            let routed = loop {
                if let Some(routed) = link.next().await.expect("it lives") {
                    break routed;
                }
            };
            assert_eq!((&routed.topic[..], &routed.payload[..]), ("a/é".as_bytes(), &b"x"[..]));
        }
        drop(links);
        assert!(has_room_for("b"));
    }
    keeper.abort();
}

#[tokio::test]
async fn what_need_not_stands_in_the_tail_only_while_links_move() {
    let (router, keeper) = Router::start(Limits::default()).expect("it starts");
    let both = || vec![message(QoS::AtMostOnce, "a".into()), message(QoS::AtLeastOnce, "b".into())];
    router.publish(&mut both());
    let mut link = router.link().await.expect("a link");
    let keeper = tokio::spawn(keeper.run());
    router.kill();
    assert!(matches!(link.subscribe(&["#".to_owned()], &mut Vec::new()).await, Err(Gone::Moved)));
    router.publish(&mut both());
    let missed = router.missed();
    let numbers: Vec<u64> = missed.entries(0).map(|entry| entry.number).collect();
    assert_eq!((numbers, missed.first, missed.last), (vec![2, 3, 4], 3, 4));
    let mut link = router.link().await.expect("another link");
    keeper.abort();
    assert!(matches!(link.subscribe(&["#".to_owned()], &mut Vec::new()).await, Ok(_) | Err(Gone::Stopped)));
    assert!(matches!(link.next().await, Err(Gone::Stopped)));
}

#[tokio::test]
async fn publishers_wait_before_what_is_certain_could_be_lost_between_two_routers() {
    let (router, _keeper) = Router::start(Limits::default()).expect("it starts");
    router.lock().replace(None);
    let lasting = || router.publish(&mut vec![message(QoS::AtLeastOnce, "a".into())]);
    (1..tail::SAFE).for_each(|_| lasting());
    assert!(!router.crowd().is_there);
    lasting();
    assert!(router.crowd().is_there);
    let missed = router.missed();
    assert_eq!(missed.entries(0).count(), tail::SAFE, "all of it is there");
}
