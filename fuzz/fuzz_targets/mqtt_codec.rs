//! What anybody may write where a packet is expected.
//!
//! The first byte says what was agreed on before: nothing, so that CONNECT is to come, 3.1.1 or MQTT 5.

#![no_main]

use std::{fs, path::Path};

use bytes::BytesMut;
use crosslink::broker::front::codec::{Malformed, Packet, Version, decode};
use libfuzzer_sys::fuzz_target;

#[path = "../packets.rs"]
mod packets;

/// In bytes.
const MAX_PACKET: usize = 64 * 1024;

fuzz_target!(
    init: lay_seeds(),
    |input: &[u8]| {
        let Some((first, bytes)) = input.split_first() else { return };
        let version = [None, Some(Version::V4), Some(Version::V5)][usize::from(first % 3)];
        let whole = read([bytes].into_iter(), version);
        assert_eq!(read(bytes.chunks(1 + usize::from(first / 3)), version), whole, "chunks make a difference");
        for (packet, version, expected) in &whole.0 {
            let mut written = BytesMut::new();
            packets::write(packet, *version, &mut written);
            assert_eq!(decode(&mut written, *expected, 2 * MAX_PACKET), Ok(Some(packet.clone())));
            assert!(written.is_empty());
        }
    }
);

/// Each packet with the version that it was written in and the one that was agreed on before.
type Read = (Vec<(Packet, Version, Option<Version>)>, Option<Malformed>);

fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>, mut version: Option<Version>) -> Read {
    let (mut bytes, mut packets) = (BytesMut::new(), Vec::new());
    for chunk in chunks {
        bytes.extend_from_slice(chunk);
        loop {
            let before = version;
            match decode(&mut bytes, version, MAX_PACKET) {
                Ok(Some(packet)) => {
                    if let Packet::Connect(connect) = &packet {
                        version = Some(connect.version);
                    }
                    packets.push((packet, version.expect("CONNECT comes first"), before));
                }
                Ok(None) => break,
                Err(malformed) => return (packets, Some(malformed)),
            }
        }
    }
    (packets, None)
}

/// Writes sessions that dice make to where libFuzzer reads its corpus.
fn lay_seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/mqtt_codec");
    fs::create_dir_all(&corpus).expect("the corpus has a folder");
    for seed in 0..64_u64 {
        let (bytes, _) = packets::session(&mut packets::seeded(seed), "fuzz".to_owned(), true);
        fs::write(corpus.join(format!("session-{seed}")), [&[0], &bytes[..]].concat())
            .expect("a seed can be written");
    }
}
