//! Speaks to a broker as no client should, for a while, and looks whether it still serves the others.

#![allow(clippy::print_stdout, reason = "what it has seen goes there")]

use std::{
    io,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use clap::Parser;
use crosslink::broker::front::codec::{
    Packet, Properties, Publish, QoS, RetainHandling, Subscribe, Subscription, Version,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{interval, sleep, timeout},
};

#[path = "../fuzz/packets.rs"]
mod packets;

use self::packets::Dice;

/// Sends valid, damaged and random packets of MQTT 3.1.1 and 5 to a broker, cut anywhere and broken off anywhere
///
/// Every second somebody who was never there connects, subscribes, publishes to itself with QoS 1 and has to hear it. The first
/// one who does not ends the run with exit code 1.
#[derive(Parser)]
#[command(after_help = HINTS)]
struct Args {
    /// The broker; everything on it may be disturbed
    #[arg(value_name = "ADDRESS")]
    broker: SocketAddr,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same seed says the same; a new one is made and told when none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Sessions at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    connections: u64,
    /// Sessions a second, at most: each leaves traces in the journal
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
}

const HINTS: &str = "\
Examples:
  crosslink --mqtt 127.0.0.1:1883 --database sqlite:///tmp/fuzz.db --max-flaps off
  cargo run --release --example mqtt_fuzz -- 127.0.0.1:1883
  cargo run --release --example mqtt_fuzz -- 127.0.0.1:1883 --seconds 1800 --seed 7 --connections 32
";

/// Somebody who is not served by then is not served.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// A session that is not over by then is broken off.
const LONGEST: Duration = Duration::from_secs(2);

/// Before another connection is tried when one did not come about.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Figures {
    sessions: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
    unconnected: AtomicU64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| getrandom::u64().unwrap_or_default() >> 32);
    println!("{}: seed {seed}, {} sessions at a time, {} s", args.broker, args.connections, args.seconds);
    let figures = Arc::new(Figures::default());
    let pace = Duration::from_secs(args.connections) / u32::try_from(args.rate).unwrap_or(u32::MAX);
    let mut attackers = JoinSet::new();
    for number in 0..args.connections {
        attackers.spawn(attack(args.broker, seed, number, pace, figures.clone()));
    }
    let verdict = watch(args.broker, Duration::from_secs(args.seconds), &figures).await;
    attackers.shutdown().await;
    let told = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    println!(
        "{} sessions, {} packets, {} bytes; {} connections did not come about",
        told(&figures.sessions),
        told(&figures.packets),
        told(&figures.bytes),
        told(&figures.unconnected),
    );
    match verdict {
        Ok(slowest) => {
            println!("always served, at the slowest in {} ms", slowest.as_millis());
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("NOT SERVED: {why}; again with --seed {seed}");
            ExitCode::FAILURE
        }
    }
}

/// Looks until the time is over; tells how long the slowest look took.
async fn watch(broker: SocketAddr, how_long: Duration, figures: &Figures) -> Result<Duration, String> {
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for look in 0.. {
        let asked = Instant::now();
        let name = format!("mqtt-fuzz-look-{}-{look}", std::process::id());
        match timeout(PATIENCE, is_served(broker, &name)).await {
            Ok(Ok(())) => slowest = slowest.max(asked.elapsed()),
            Ok(Err(why)) => return Err(format!("{name}: {why}")),
            Err(_) => return Err(format!("{name} waited for {} s", PATIENCE.as_secs())),
        }
        if begun.elapsed() >= how_long {
            break;
        }
        if look % 60 == 59 {
            let sessions = figures.sessions.load(Ordering::Relaxed);
            println!("{} s: {sessions} sessions", begun.elapsed().as_secs());
        }
        sleep(LOOK.saturating_sub(asked.elapsed())).await;
    }
    Ok(slowest)
}

/// Connects, subscribes, publishes to itself, and hears it.
async fn is_served(broker: SocketAddr, name: &str) -> io::Result<()> {
    let subscription = Subscription {
        filter: name.to_owned(),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: name.to_owned(),
        packet_id: 2,
        properties: Properties::none(),
        payload: "still here".into(),
    };
    let mut socket = TcpStream::connect(broker).await?;
    let mut input = BytesMut::new();
    say(&mut socket, &packets::plain_connect(Version::V4, name)).await?;
    expect(&mut socket, &mut input, &[0x20, 2, 0, 0]).await?;
    let filters = vec![subscription];
    say(&mut socket, &Packet::Subscribe(Subscribe { packet_id: 1, properties: Properties::none(), filters }))
        .await?;
    expect(&mut socket, &mut input, &[0x90, 3, 0, 1, 1]).await?;
    let mut heard = BytesMut::new();
    packets::write(&Packet::Publish(Publish { packet_id: 1, ..publish.clone() }), Version::V4, &mut heard);
    say(&mut socket, &Packet::Publish(publish)).await?;
    // The message and its acknowledgement come in either order.
    let puback: &[u8] = &[0x40, 2, 0, 2];
    let first =
        if next(&mut socket, &mut input).await? == 0x40 { [puback, &heard] } else { [&heard, puback] };
    for expected in first {
        expect(&mut socket, &mut input, expected).await?;
    }
    socket.write_all(&[0x40, 2, 0, 1, 0xE0, 0]).await
}

async fn say(socket: &mut TcpStream, packet: &Packet) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    packets::write(packet, Version::V4, &mut bytes);
    socket.write_all(&bytes).await
}

/// The first byte of what comes next.
async fn next(socket: &mut TcpStream, input: &mut BytesMut) -> io::Result<u8> {
    while input.is_empty() {
        if socket.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(input[0])
}

async fn expect(socket: &mut TcpStream, input: &mut BytesMut, expected: &[u8]) -> io::Result<()> {
    while input.len() < expected.len() {
        if socket.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if input.starts_with(expected) {
        input.advance(expected.len());
        return Ok(());
    }
    Err(io::Error::other(format!("expected {expected:02x?}, got {:02x?}", &input[..])))
}

/// One session after the other, for ever. `number` tells it from the other attackers.
async fn attack(broker: SocketAddr, seed: u64, number: u64, pace: Duration, figures: Arc<Figures>) {
    let mut turn = interval(pace.max(Duration::from_micros(1)));
    let mut sessions = packets::seeded(seed.wrapping_mul(1_000_003).wrapping_add(number));
    for session in 0_u64.. {
        turn.tick().await;
        // Dice of its own: how soon a session ends must not change what the next one says.
        let mut dice = packets::seeded(sessions(usize::MAX) as u64);
        // Most have a name of their own; the others take over from each other.
        let name = match dice(8) {
            0 => format!("fuzz-{}", dice(4)),
            1 => String::new(),
            _ => format!("fuzz-{seed}-{number}-{session}"),
        };
        let (bytes, packets) = packets::session(&mut dice, name, true);
        figures.sessions.fetch_add(1, Ordering::Relaxed);
        figures.packets.fetch_add(packets as u64, Ordering::Relaxed);
        figures.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match timeout(PATIENCE, TcpStream::connect(broker)).await {
            Ok(Ok(socket)) => {
                let _ = timeout(LONGEST, write(socket, &bytes, &mut dice)).await;
            }
            Ok(Err(_)) | Err(_) => {
                figures.unconnected.fetch_add(1, Ordering::Relaxed);
                sleep(AGAIN).await;
            }
        }
    }
}

/// Writes this in pieces, and ends in one way or another. An error is the broker's right.
async fn write(mut socket: TcpStream, bytes: &[u8], dice: Dice<'_>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let listens = dice(8) != 0;
    let (mut reads, mut writes) = socket.split();
    let mut nowhere = tokio::io::sink();
    let said = async {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match dice(4) {
                0 => 1 + dice(10),
                1 => 1 + dice(200),
                _ => rest.len(),
            };
            let (piece, after) = rest.split_at(length.min(rest.len()));
            writes.write_all(piece).await?;
            rest = after;
            match dice(16) {
                0 => sleep(Duration::from_millis(dice(10) as u64)).await,
                1..=4 => tokio::task::yield_now().await,
                _ => {}
            }
        }
        Ok::<_, io::Error>(dice(4))
    };
    let ending = if listens {
        tokio::select! {
            ending = said => ending?,
            closed = tokio::io::copy(&mut reads, &mut nowhere) => return closed.map(|_| ()),
        }
    } else {
        said.await?
    };
    match ending {
        // With a word, as the standard has it; the others without one.
        0 => writes.write_all(&[0xE0, 0]).await,
        1 => {
            writes.shutdown().await?;
            tokio::io::copy(&mut reads, &mut nowhere).await.map(|_| ())
        }
        2 => SockRef::from(&socket).set_linger(Some(Duration::ZERO)),
        _ => Ok(()),
    }
}
