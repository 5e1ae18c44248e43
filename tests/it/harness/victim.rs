//! A gateway as a process of its own, under attack: what it says on stderr tells whether a thread of it panicked.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use crosslink::broker::front::codec::QoS::AtLeastOnce;
use tempfile::TempDir;

use super::Newcomer;
use crate::durability::Process;

/// Lines that a failed test shows of what the gateway said.
const TOLD: usize = 30;

pub struct Victim {
    process: Process,
    fresh: AtomicUsize,
    _folder: TempDir,
}

impl Victim {
    pub fn start() -> Victim {
        Victim::under(&[])
    }

    /// `wrapper` is a command that runs the words that follow it.
    pub fn under(wrapper: &[&str]) -> Victim {
        let folder = tempfile::tempdir().unwrap();
        // Whoever attacks is not refused for it, or the attack would be over soon.
        let flags = ["--mqtt-ws", "127.0.0.1:0", "--durability", "normal", "--max-flaps", "off"];
        let process = Process::with(folder.path(), wrapper, &flags);
        Victim { process, fresh: AtomicUsize::new(0), _folder: folder }
    }

    pub fn mqtt(&self) -> SocketAddr {
        self.process.mqtt
    }

    pub fn mqtt_ws(&self) -> SocketAddr {
        let log = self.process.log();
        let said = log.iter().find_map(|line| line.split_once("ws://")).expect("it says where it listens");
        said.1.parse().unwrap()
    }

    /// A client that is about to connect.
    pub fn client(&self, id: &str) -> Newcomer {
        Newcomer::new(self.mqtt(), id)
    }

    /// Somebody who was never here connects, subscribes, and hears what it says.
    pub async fn serves(&self) {
        let name = format!("fresh-{}", self.fresh.fetch_add(1, Ordering::Relaxed));
        let mut fresh = self.client(&name).connect_v5().await;
        fresh.subscribe(&name, AtLeastOnce).await;
        fresh.say(&name, "still here").await;
        assert_eq!(fresh.hears().await, (name, "still here".to_owned()));
        fresh.disconnect().await;
    }

    /// It serves, it stops when it is asked to, and no thread of it has panicked.
    pub async fn survives(mut self) {
        self.serves().await;
        for line in self.process.last_words() {
            assert!(!line.contains("panicked") && !line.contains("building a new one"), "{line}");
        }
    }

    /// Whether it has said something with these words.
    pub fn said(&self, words: &str) -> bool {
        self.process.log().iter().any(|line| line.contains(words))
    }

    /// The memory that it takes, in MiB.
    pub fn resident(&self) -> u64 {
        self.process.memory("VmRSS:")
    }

    /// The most that it ever took, in MiB.
    pub fn peak(&self) -> u64 {
        self.process.memory("VmHWM:")
    }

    /// What it has computed so far, in hundredths of a second.
    pub fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The name of the program, in parentheses, may hold spaces.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Victim {
    /// A test that fails shows what the gateway has said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.process.log();
            eprintln!("{}", log[log.len().saturating_sub(TOLD)..].join("\n"));
        }
    }
}
