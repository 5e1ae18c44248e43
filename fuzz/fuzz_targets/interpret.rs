//! What a client may publish, message after message, on the topics of a few services.
//!
//! A message is two bytes for its service and its suffix, one for the length of its payload, and the payload. What is
//! known of the services grows with what they say.

#![no_main]

use std::{fs, path::Path};

use bytes::Bytes;
use crosslink::{
    broker::Inbound,
    catalog::{KINDS, Topic},
    ingest::interpret::{Meaning, interpret},
    model::{Pair, Target, Timestamp},
    registry::Book,
};
use libfuzzer_sys::fuzz_target;

const SERVICES: u8 = 4;

fuzz_target!(
    init: lay_seeds(),
    |input: &[u8]| {
        let mut book = Book::default();
        let mut rest = input;
        while let [service, suffix, length, after @ ..] = rest {
            let (payload, next) = after.split_at(usize::from(*length).min(after.len()));
            rest = next;
            let topic = topics().nth(usize::from(*suffix) % topics().count()).expect("there are some");
            let index = topic.index.as_ref().map(|range| range.start);
            let name = format!("rig/{}{}", service % SERVICES, topic.suffix_at(index));
            hear(&mut book, name, payload);
        }
    }
);

/// What is learnt leaves every service a kind that it can be.
fn hear(book: &mut Book, topic: String, payload: &[u8]) {
    let inbound = Inbound::new(topic, Bytes::copy_from_slice(payload), Timestamp(1), &Pair::default());
    match interpret(book, &inbound).map(|it| it.meaning) {
        Ok(Meaning::ServiceReading { reading, fits, hinted }) => {
            assert!(!fits.is_empty());
            book.observe(&reading, fits, hinted);
            let known = book.get(reading.topic.service()).expect("it has spoken");
            assert!(!known.candidates.is_empty());
            let again = interpret(book, &inbound).expect("what was right stays right");
            assert!(matches!(again.meaning, Meaning::ServiceReading { .. }));
        }
        Ok(Meaning::Command { record, hinted }) => {
            if let Target::Service(topic) = &record.target {
                book.commanded(topic, hinted, Timestamp(1));
            }
        }
        Ok(_) => {}
        Err(rejection) => {
            assert_eq!(&rejection.payload[..], payload);
            assert!(rejection.pointer.len() <= 256 && rejection.detail.len() <= 1024);
        }
    }
}

fn topics() -> impl Iterator<Item = &'static Topic> {
    KINDS.iter().flat_map(|kind| kind.topics)
}

/// Writes each example, as the one message of a service, to where libFuzzer reads its corpus.
fn lay_seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/interpret");
    fs::create_dir_all(&corpus).expect("the corpus has a folder");
    for (index, topic) in topics().enumerate() {
        for (count, example) in topic.examples.iter().enumerate() {
            let suffix = u8::try_from(index).expect("a byte picks the topic");
            let length = u8::try_from(example.len()).unwrap_or(u8::MAX);
            let seed = [&[0, suffix, length], example.as_bytes()].concat();
            fs::write(corpus.join(format!("example-{index}-{count}")), seed).expect("a seed can be written");
        }
    }
}
