//! Floods from everywhere. After each the gateway serves, has not panicked, and has given back the memory that it took.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::BytesMut;
use crosslink::broker::front::codec::{
    Packet, Properties,
    QoS::{AtLeastOnce, AtMostOnce},
    Subscribe, Unsubscribe, Version, encode,
};
use futures_util::future::join_all;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{Duration, Instant, sleep, timeout},
};

use crate::harness::{Client, DEADLINE, Newcomer, Victim, client::subscription, packets, until};

/// What a flood may leave behind in the memory of the gateway, in MiB.
const LEFT: u64 = 32;
/// And so many by a million topics or a hundred thousand filters: the router remembers the latest ones.
const LEFT_BY_NAMES: u64 = 128;
/// No flood may take more, even while it lasts, in MiB: a small Raspberry Pi has twice as many.
const MOST: u64 = 512;
/// Somebody who was never there is served within this time, also right after a flood.
pub const SERVED: Duration = Duration::from_secs(1);
/// What was taken is given back within this time: the router's tail alone lasts for 20 s.
const SOON: Duration = Duration::from_secs(60);
/// Rounds of a hundred messages that fill what the router keeps of a filter, 16 MiB.
const FILLING: usize = 200;
/// Who takes nothing for so long is cut.
const WRITES_WITHIN: Duration = Duration::from_secs(30);
/// The connections that attack at a time.
const ATTACKERS: usize = 50;
/// Files that the tests and the gateway have open beside the connections.
const OTHER_FILES: usize = 200;

/// A gateway that is about to be flooded.
pub struct Flood {
    pub victim: Victim,
    before: u64,
}

impl Flood {
    /// Warm: what is set aside once is there.
    pub async fn begin() -> Flood {
        Flood::at(4_096).await
    }

    /// A gateway for so many clients.
    async fn at(limit: usize) -> Flood {
        let script = format!("ulimit -n $(ulimit -Hn); CROSSLINK_MAX_CONNECTIONS={limit} exec \"$@\"");
        let victim = Victim::under(&["sh", "-c", &script, "sh"]);
        for _ in 0..20 {
            victim.serves().await;
        }
        let before = victim.resident();
        Flood { victim, before }
    }

    /// The gateway serves at once, and soon needs no more memory than before, but for so many MiB.
    pub async fn ends(self, left: u64, in_time: bool) {
        let asked = Instant::now();
        self.victim.serves().await;
        let served = asked.elapsed();
        assert!(!in_time || served < SERVED, "the next one was served in {served:?}");
        let most = self.before + left;
        let highest = self.victim.resident();
        let (mut now, patience) = (highest, Instant::now() + SOON);
        while now > most && Instant::now() < patience {
            sleep(Duration::from_millis(500)).await;
            now = self.victim.resident();
        }
        let (before, peak) = (self.before, self.victim.peak());
        eprintln!(
            "{before} MiB before, {peak} at most, {highest} at the end, {now} soon after; served in {served:?}"
        );
        assert!(now <= most, "{now} MiB are taken, {before} before");
        assert!(peak <= MOST, "{peak} MiB were taken");
        self.victim.survives().await;
    }
}

/// As many of these connections as one process may have, and a word when that is not all.
fn reachable(wanted: usize) -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let files = files.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX);
    let reachable = wanted.min(files.saturating_sub(OTHER_FILES));
    if reachable < wanted {
        eprintln!("only {reachable} of {wanted} connections: raise the limit of open files");
    }
    reachable
}

/// Does this for each number below `count`, a few at a time.
async fn attack<F: Future<Output = ()> + Send>(
    count: usize,
    act: impl Fn(usize) -> F + Clone + Send + 'static,
) {
    let next = Arc::new(AtomicUsize::new(0));
    let attackers = (0..ATTACKERS).map(|_| {
        let (next, act) = (next.clone(), act.clone());
        async move {
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    number if number < count => act(number).await,
                    _ => return,
                }
            }
        }
    });
    join_all(attackers).await;
}

async fn malformed_sessions(sessions: usize) -> Flood {
    let flood = Flood::begin().await;
    let mqtt = flood.victim.mqtt();
    attack(sessions, move |number| async move {
        let name = format!("malformed-{number}");
        let (bytes, _) = packets::session(&mut packets::seeded(number as u64), name, false);
        // The last packet is none.
        speak(mqtt, &[&bytes[..], &[0x00, 0x00]].concat()).await;
    })
    .await;
    flood
}

/// Writes this and waits until the gateway closes, which is its right at any moment.
async fn speak(mqtt: SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(mqtt).await.unwrap();
    let all = async {
        let (mut reads, mut writes) = socket.split();
        let _ = writes.write_all(bytes).await;
        let _ = writes.shutdown().await;
        let _ = tokio::io::copy(&mut reads, &mut tokio::io::sink()).await;
    };
    timeout(DEADLINE, all).await.expect("the gateway closes");
}

async fn connects_and_resets(connections: usize) -> Flood {
    let flood = Flood::begin().await;
    let mqtt = flood.victim.mqtt();
    attack(connections, move |number| async move {
        let mut hasty = Client::dial(mqtt, Version::V4).await;
        let connect = Newcomer::new(mqtt, &format!("hasty-{}", number % 5)).connect;
        hasty.send(&Packet::Connect(Box::new(connect))).await;
        hasty.abort();
    })
    .await;
    flood
}

async fn silent_connections(connections: usize) -> Flood {
    let flood = Flood::begin().await;
    let mut silent = Vec::new();
    for _ in 0..reachable(connections) {
        silent.push(TcpStream::connect(flood.victim.mqtt()).await.unwrap());
    }
    flood.victim.serves().await;
    for mut socket in silent {
        let closed =
            timeout(DEADLINE, socket.read(&mut [0; 1])).await.expect("nobody may be silent for long");
        assert!(matches!(closed, Ok(0) | Err(_)));
    }
    flood
}

/// More clients than may be connected at a time, each of which tries twice.
async fn clients_over_the_limit(limit: usize, more: usize) -> Flood {
    let flood = Flood::at(limit).await;
    let all = reachable(limit + more);
    assert!(all > limit, "{limit} connections are to be exceeded");
    let (mut inside, mut refused) = (Vec::new(), 0);
    for number in 0..all {
        for _ in 0..2 {
            match comes_in(flood.victim.mqtt(), &format!("one-of-many-{number}")).await {
                Some(client) => {
                    inside.push(client);
                    break;
                }
                None => refused += 1,
            }
        }
    }
    assert_eq!((inside.len(), refused), (limit, 2 * (all - limit)));
    drop(inside.pop());
    until("the place of one who has left is free", async || {
        let name = format!("one-more-{refused}");
        comes_in(flood.victim.mqtt(), &name).await.map(drop).ok_or_else(|| "everybody is refused".into())
    })
    .await;
    for client in inside {
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    }
    until("all have left", async || {
        let client = comes_in(flood.victim.mqtt(), "after all").await;
        client.map(drop).ok_or_else(|| "everybody is refused".into())
    })
    .await;
    flood
}

/// A client that is let in, if it is.
async fn comes_in(mqtt: SocketAddr, id: &str) -> Option<TcpStream> {
    let mut bytes = BytesMut::new();
    encode(&packets::plain_connect(Version::V4, id), Version::V4, &mut bytes);
    let mut socket = TcpStream::connect(mqtt).await.unwrap();
    let mut connack = [0; 4];
    socket.write_all(&bytes).await.ok()?;
    timeout(DEADLINE, socket.read_exact(&mut connack)).await.expect("an answer, or an end").ok()?;
    (connack == [0x20, 2, 0, 0]).then_some(socket)
}

/// Each topic is another; somebody hears them all.
async fn distinct_topics(topics: usize) -> Flood {
    const AT_A_TIME: usize = 500;
    let flood = Flood::begin().await;
    let mut subscriber = flood.victim.client("subscriber").keep_alive(0).connect_v4().await;
    subscriber.subscribe("#", AtMostOnce).await;
    let mut publisher = flood.victim.client("publisher").connect_v4().await;
    let mut heard = 0;
    for first in (0..topics).step_by(AT_A_TIME) {
        let mut bytes = BytesMut::new();
        for number in first..topics.min(first + AT_A_TIME) {
            // Outside the gateway's namespaces, and as long as topics are.
            let publish =
                publisher.message(&format!("a/distinct/topic/number/{number}"), "x", AtMostOnce, false);
            encode(&Packet::Publish(publish), Version::V4, &mut bytes);
        }
        publisher.send_bytes(&bytes).await;
        while heard < topics.min(first + AT_A_TIME) {
            subscriber.next_publish().await;
            heard += 1;
        }
    }
    flood
}

/// Somebody who is refused asks again, at once, for so long at most: the router has had too many and is being replaced.
const PERSISTENCE: Duration = Duration::from_secs(300);

/// Clients that subscribe to as many filters as they may, unsubscribe, and begin anew with others, until each was granted so many
/// times so many.
async fn distinct_filters(clients: usize, rounds: usize, filters: usize) -> Flood {
    let flood = Flood::begin().await;
    let (mqtt, begun) = (flood.victim.mqtt(), Instant::now());
    let all = (0..clients).map(|number| {
        tokio::spawn(async move {
            let mut client = Newcomer::new(mqtt, &format!("curious-{number}")).connect_v5().await;
            let mut granted = 0;
            for round in 0.. {
                if granted >= rounds * filters {
                    break;
                }
                assert!(begun.elapsed() < PERSISTENCE, "{granted} filters were granted in {round} rounds");
                let name = |n| format!("a/distinct/filter/{number}/{round}/{n}/+");
                let properties = Properties::none();
                let wanted = (0..filters).map(|n| subscription(&name(n), AtMostOnce)).collect();
                client
                    .send(&Packet::Subscribe(Subscribe { packet_id: 1, properties, filters: wanted }))
                    .await;
                let Some(Packet::SubAck(suback)) = client.next().await else { panic!("expected SUBACK") };
                granted += suback.codes.iter().filter(|code| !code.is_failure()).count();
                let (properties, filters) = (Properties::none(), (0..filters).map(name).collect());
                client.send(&Packet::Unsubscribe(Unsubscribe { packet_id: 2, properties, filters })).await;
                let Some(Packet::UnsubAck(_)) = client.next().await else { panic!("expected UNSUBACK") };
            }
            client.disconnect().await;
        })
    });
    for client in all.collect::<Vec<JoinHandle<()>>>() {
        client.await.unwrap();
    }
    flood
}

/// Subscribers that stop reading while others go on, for so many rounds and so long at least.
async fn stalled_subscribers(subscribers: usize, rounds: usize, lasting: Duration) -> Flood {
    let mut flood = Flood::begin().await;
    let mut listener = flood.victim.client("listener").keep_alive(0).connect_v4().await;
    listener.subscribe("flood/#", AtMostOnce).await;
    let mut publisher = flood.victim.client("publisher").connect_v4().await;
    // The router keeps the last messages of a filter: they are no part of the flood.
    for _ in 0..FILLING {
        round(&mut publisher, &mut listener).await;
    }
    flood.before = flood.victim.resident();
    let mut stalled = Vec::new();
    for number in 0..subscribers {
        let mut client = flood.victim.client(&format!("stalled-{number}")).keep_alive(0).connect_v4().await;
        client.subscribe("flood/#", if number % 2 == 0 { AtMostOnce } else { AtLeastOnce }).await;
        stalled.push(client);
    }
    let (begun, mut done) = (Instant::now(), 0);
    while done < rounds || begun.elapsed() < lasting {
        round(&mut publisher, &mut listener).await;
        done += 1;
    }
    flood.victim.serves().await;
    for client in stalled {
        if lasting > WRITES_WITHIN {
            // They were cut long ago: nothing comes behind what was on its way.
            client.cut().await;
        } else {
            client.abort();
        }
    }
    flood
}

/// A hundred messages of 1 000 bytes from one to the other.
async fn round(publisher: &mut Client, listener: &mut Client) {
    for n in 0..50 {
        publisher.publish(&format!("flood/{n}"), [b'x'; 1_000], AtMostOnce, false).await;
        publisher.say(&format!("flood/{n}"), [b'x'; 1_000]).await;
    }
    for _ in 0..100 {
        listener.next_publish().await;
    }
}

/// Clients that come, subscribe, and go.
async fn comings_and_goings(clients: usize) -> Flood {
    let flood = Flood::begin().await;
    let mqtt = flood.victim.mqtt();
    attack(clients, move |number| async move {
        let mut client = Newcomer::new(mqtt, &format!("passing-{number}")).connect_v4().await;
        client.subscribe("passing/#", AtLeastOnce).await;
        client.disconnect().await;
    })
    .await;
    flood
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_sessions_leave_nothing() {
    malformed_sessions(300).await.ends(LEFT, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn ten_thousand_malformed_sessions_leave_nothing() {
    malformed_sessions(10_000).await.ends(LEFT, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_leave_nothing() {
    connects_and_resets(150).await.ends(LEFT, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn three_thousand_connections_that_are_reset_leave_nothing() {
    connects_and_resets(3_000).await.ends(LEFT, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_nobody_out() {
    silent_connections(100).await.ends(LEFT, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn two_thousand_silent_connections_keep_nobody_out() {
    silent_connections(2_000).await.ends(LEFT, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_too_many_keep_nobody_out_for_long() {
    clients_over_the_limit(50, 30).await.ends(LEFT, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn fifteen_hundred_clients_too_many_keep_nobody_out_for_long() {
    clients_over_the_limit(4_096, 1_500).await.ends(LEFT, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_without_end_need_a_bounded_memory() {
    distinct_topics(5_000).await.ends(LEFT_BY_NAMES, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn a_million_topics_need_a_bounded_memory() {
    distinct_topics(1_000_000).await.ends(LEFT_BY_NAMES, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_without_end_need_a_bounded_memory() {
    distinct_filters(2, 2, 200).await.ends(LEFT_BY_NAMES, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn a_hundred_thousand_filters_need_a_bounded_memory() {
    distinct_filters(10, 10, 1_000).await.ends(LEFT_BY_NAMES, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_subscribers_delay_nobody() {
    stalled_subscribers(3, 200, Duration::ZERO).await.ends(LEFT, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn twenty_stalled_subscribers_delay_nobody() {
    stalled_subscribers(20, 1_500, 2 * WRITES_WITHIN).await.ends(LEFT, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_go_leave_nothing() {
    comings_and_goings(300).await.ends(LEFT, false).await;
}

/// More than the router has places for links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: part of the gate"]
async fn ten_thousand_clients_that_come_and_go_leave_nothing() {
    comings_and_goings(10_000).await.ends(LEFT, true).await;
}
