//! What clients may do to a broker, from CONNECT to the end of their connections.
//!
//! The first byte says who decides: with 0 and 1 a client in 3.1.1 or MQTT 5 comes in and writes the rest as it is, with
//! any other the rest are dice for the packets of up to three clients.

#![no_main]

use std::cell::OnceCell;

use bytes::BytesMut;
use crosslink::broker::front::codec::Version;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

#[path = "../packets.rs"]
mod packets;
#[path = "../sessions.rs"]
mod sessions;

use self::sessions::Sessions;

thread_local! {
    /// One broker for all inputs: it has to live with what the earlier ones left.
    static BROKER: OnceCell<(Runtime, Sessions)> = const { OnceCell::new() };
}

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let clients = match first {
        0 => vec![plain(Version::V4, rest)],
        1 => vec![plain(Version::V5, rest)],
        _ => {
            let mut dice = packets::loaded(rest);
            let names = ["a", "b", "a"].into_iter().take(1 + usize::from(first % 3));
            names.map(|id| packets::session(&mut dice, id.to_owned(), true).0).collect()
        }
    };
    BROKER.with(|broker| {
        let (runtime, sessions) = broker.get_or_init(|| {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let sessions = runtime.block_on(async { Sessions::open() });
            (runtime, sessions)
        });
        runtime.block_on(sessions.serve(clients));
    });
});

/// A client that comes in and then writes this.
fn plain(version: Version, rest: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    packets::write(&packets::plain_connect(version, "a"), version, &mut bytes);
    [&bytes[..], rest].concat()
}
