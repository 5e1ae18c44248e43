//! How fast messages are interpreted: each example of the catalog in turn, against reading the same bytes as untyped JSON.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on has failed, and it prints"
)]

use std::{
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

/// Rounds in which each way is timed once: what slows the machine down for a while slows all of them.
const ROUNDS: usize = 301;
/// Times that all examples are read in a round.
const REPEATS: u32 = 20;

/// A way to read a message, and its name.
type Way<'a> = (&'static str, &'a dyn Fn(&Said));

fn payloads(criterion: &mut Criterion) {
    let (book, examples) = examples();
    let value = |said: &Said| {
        black_box(serde_json::from_slice::<Value>(&said.message.payload).unwrap());
    };
    let check = |said: &Said| {
        black_box(said.topic.check(&said.message.payload).unwrap());
    };
    let interpreted = |said: &Said| {
        black_box(interpret(&book, &said.message).unwrap());
    };
    let ways: [Way; 3] = [("value", &value), ("check", &check), ("interpret", &interpreted)];
    let mut group = criterion.benchmark_group("payloads");
    group.throughput(Throughput::Elements(examples.len() as u64));
    for (name, way) in ways {
        group.bench_function(name, |bencher| {
            bencher.iter(|| examples.iter().for_each(|said| way(black_box(said))))
        });
    }
    group.finish();
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, way), times) in ways.iter().zip(&mut times) {
            let start = Instant::now();
            (0..REPEATS).for_each(|_| examples.iter().for_each(|said| way(black_box(said))));
            times.push(start.elapsed());
        }
    }
    let number = f64::from(REPEATS) * examples.len() as f64;
    for ((name, _), each) in ways.iter().zip(&times).skip(1) {
        let speed = number / median(each.iter().map(Duration::as_secs_f64));
        let ratio =
            median(times[0].iter().zip(each).map(|(value, time)| value.as_secs_f64() / time.as_secs_f64()));
        println!("{name}: {speed:.0} a second, {ratio:.2} times as fast as untyped JSON in the same round");
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
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
