//! What a device may send on any topic of the catalog, and what a user may send to one.
//!
//! The first byte picks the topic, the rest is the payload. The corpus begins with the examples of the catalog.

#![no_main]

use std::{fs, path::Path};

use crosslink::{
    catalog::{KINDS, Topic},
    json::Fit,
};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(
    init: lay_seeds(),
    |input: &[u8]| -> Corpus {
        let Some((first, payload)) = input.split_first() else { return Corpus::Reject };
        let Some(topic) = topics().nth((*first).into()) else { return Corpus::Reject };
        agree(topic, payload);
        Corpus::Keep
    }
);

/// All ways of reading say the same of a payload.
fn agree(topic: &Topic, payload: &[u8]) {
    let (check, read, exactly) = (topic.check(payload), topic.read(payload), topic.read_exactly(payload));
    assert_eq!(check.as_ref().err(), read.as_ref().err());
    assert_eq!(exactly.is_ok(), check == Ok(Fit::Exact));
    if let Ok(exactly) = exactly {
        assert_eq!(Ok(exactly), read);
    }
}

fn topics() -> impl Iterator<Item = &'static Topic> {
    KINDS.iter().flat_map(|kind| kind.topics)
}

/// Writes each example to where libFuzzer reads its corpus.
fn lay_seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/payload");
    fs::create_dir_all(&corpus).expect("the corpus has a folder");
    for (index, topic) in topics().enumerate() {
        for (count, example) in topic.examples.iter().enumerate() {
            let first = u8::try_from(index).expect("a byte picks the topic");
            let seed = [&[first], example.as_bytes()].concat();
            fs::write(corpus.join(format!("example-{index}-{count}")), seed).expect("a seed can be written");
        }
    }
}
