//! How fast messages are interpreted: each example of the catalog in turn, against reading the same bytes as untyped JSON.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on has failed, and it prints"
)]

use std::{
    cell::Cell,
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crosslink::{
    broker::Inbound,
    catalog::{KINDS, Topic, find},
    ingest::interpret::{Meaning, interpret},
    model::{Pair, ServiceName, Timestamp},
    registry::Book,
};
use serde_json::Value;

/// A row of the catalog and a message on it.
struct Said {
    topic: &'static Topic,
    message: Inbound,
}

/// Each example on the topic of a service of its kind, and a book that knows these services by what they said.
fn examples() -> (Book, Vec<Said>) {
    let (mut book, mut all) = (Book::default(), Vec::new());
    for kind in KINDS {
        let service = ServiceName::new("rig", kind.name).unwrap();
        book.pin(&service, kind, false, Timestamp(0)).unwrap();
        for topic in kind.topics {
            let suffix = topic.suffix_at(topic.index.as_ref().map(|range| range.start));
            for example in topic.examples {
                let (name, payload) =
                    (service.topic(&suffix).to_string(), Bytes::from_static(example.as_bytes()));
                let message = Inbound::new(name, payload, Timestamp(0), &Pair::default());
                let meaning = interpret(&book, &message).unwrap().meaning;
                if let Meaning::ServiceReading { reading, fits, hinted } = meaning {
                    book.observe(&reading, fits, hinted);
                }
                all.push(Said { topic, message });
            }
        }
    }
    (book, all)
}

fn payloads(criterion: &mut Criterion) {
    let (book, examples) = examples();
    let mut group = criterion.benchmark_group("payloads");
    group.throughput(Throughput::Elements(examples.len() as u64));
    let mut measure = |name: &str, each: &dyn Fn(&Said)| {
        let (spent, rounds) = (Cell::new(Duration::ZERO), Cell::new(0));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let start = Instant::now();
                for _ in 0..iterations {
                    examples.iter().for_each(|said| each(black_box(said)));
                }
                let elapsed = start.elapsed();
                spent.set(spent.get() + elapsed);
                rounds.set(rounds.get() + iterations);
                elapsed
            });
        });
        spent.get().as_secs_f64() / (rounds.get() * examples.len() as u64) as f64
    };
    let value = measure("value", &|said| {
        black_box(serde_json::from_slice::<Value>(&said.message.payload).unwrap());
    });
    let check = measure("check", &|said| {
        black_box(said.topic.check(&said.message.payload).unwrap());
    });
    let interpreted = measure("interpret", &|said| {
        black_box(interpret(&book, &said.message).unwrap());
    });
    group.finish();
    for (name, time) in [("check", check), ("interpret", interpreted)] {
        println!("{name}: {:.0} a second, {:.2} times as fast as untyped JSON", 1.0 / time, value / time);
    }
}

/// What a payload of 256 KiB can cost at worst.
fn worst(criterion: &mut Criterion) {
    let kind = find("pwm").unwrap();
    let topic = kind.resolve("/config").unwrap().topic;
    let many = |field: &str, count: usize| format!("{{{}\"x\":NaN}}", field.repeat(count));
    let mut group = criterion.benchmark_group("worst");
    group.sample_size(20);
    for (name, payload) in [
        ("fields that are not known", many("\"a\":1,", 43_000).replace("NaN", "1")),
        ("one field again and again", many("\"duty\":1,", 28_000).replace("NaN", "1")),
        ("a number at the end that is none", many("\"a\":1,", 43_000)),
        ("names of escapes", many("\"\\u0001\":1,", 21_000)),
        ("lists in a list", format!("{{\"a\":[{}1]}}", "[],".repeat(87_000))),
        ("one name", format!("{{\"{}\":NaN}}", "~/".repeat(131_000))),
        ("line ends", format!("{}NaN", "\n".repeat(262_000))),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| black_box(topic.check(payload.as_bytes()))));
    }
    group.finish();
}

criterion_group!(benches, payloads, worst);
criterion_main!(benches);
