//! What the binary says when it cannot start: at once, with what to do, and leaving everything as it was.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database};
use tempfile::TempDir;

use crate::harness::{House, until};

/// A start that fails does so without waiting for anything.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A folder to start the binary in, and its flags.
struct Start {
    folder: TempDir,
    flags: Vec<String>,
}

impl Start {
    /// With flags that would work.
    fn new() -> Start {
        let flags = ["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--mqtt-ws", "127.0.0.1:0"];
        Start { folder: tempfile::tempdir().unwrap(), flags: flags.map(str::to_owned).to_vec() }
    }

    /// The last of two equal flags would be refused, so that the first is taken back.
    fn with(mut self, flag: &str, value: &str) -> Start {
        if let Some(at) = self.flags.iter().position(|said| said == flag) {
            self.flags.drain(at..at + 2);
        }
        self.flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    fn on(self, database: &Path) -> Start {
        self.with("--database", &format!("sqlite://{}", database.display()))
    }

    /// Starts and waits for the end, which comes at once.
    fn fails(&self, code: i32) -> String {
        let begun = Instant::now();
        let Output { status, stdout, stderr } = self.command().output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned());
        assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
        assert_eq!(status.code(), Some(code), "{stdout}{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }

    /// Starts and waits until it listens everywhere; with what it said until then.
    async fn listens(&self) -> (Running, String) {
        let path = self.folder.path().join("said");
        let running = Running(self.command().stderr(fs::File::create(&path).unwrap()).spawn().unwrap());
        let doors = [
            "MQTT on 127.0.0.1:",
            "MQTT over WebSocket on ws://127.0.0.1:",
            "dashboard on http://127.0.0.1:",
        ];
        let said = until("it says where it listens", async || {
            let said = fs::read_to_string(&path).unwrap();
            if doors.iter().all(|door| said.contains(door)) { Ok(said) } else { Err(said.into()) }
        });
        (running, said.await)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crosslink"));
        command.args(&self.flags).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command
    }
}

/// Every file of a folder with its bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default()))
        .collect();
    files.sort();
    files
}

/// A database that a gateway has written, in a folder with nothing else.
async fn written() -> TempDir {
    let house = House::start().await;
    house.somebody("publisher").await.keep("kept", "x").await;
    let folder = house.stop().await;
    let _ = fs::remove_file(folder.path().join("crosslink.db.lock"));
    folder
}

fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
}

#[test]
fn a_taken_port_is_named_with_the_flag_that_changes_it() {
    for flag in ["--http", "--mqtt", "--mqtt-ws"] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = taken.local_addr().unwrap();
        let message = Start::new().with(flag, &address.to_string()).fails(1);
        says(&message, &[&address.to_string(), "is taken", &format!("with {flag}")]);
    }
}

#[test]
fn a_file_that_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("diary.txt");
    fs::write(&path, "dear diary, ".repeat(100)).unwrap();
    let before = files(folder.path());
    let message = Start::new().on(&path).fails(1);
    says(&message, &["diary.txt", "is not a Crosslink database", "name another database"]);
    assert_eq!(files(folder.path()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_read_only_is_left_alone() {
    let folder = written().await;
    let path = folder.path().join("crosslink.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let before = files(folder.path());
    let message = Start::new().on(&path).fails(1);
    says(&message, &["crosslink.db", "read-only", "make it writable"]);
    assert_eq!(fs::read(&path).unwrap(), before[0].1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_of_a_newer_crosslink_is_left_alone() {
    let folder = written().await;
    let path = folder.path().join("crosslink.db");
    let db = Database::connect(format!("sqlite://{}", path.display())).await.unwrap();
    db.execute_unprepared("INSERT INTO seaql_migrations VALUES ('m30000101_000001_future', 0)")
        .await
        .unwrap();
    db.close().await.unwrap();
    let bytes = fs::read(&path).unwrap();
    let message = Start::new().on(&path).fails(1);
    says(&message, &["crosslink.db", "newer Crosslink", "m30000101_000001_future", "name another database"]);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let start = Start::new();
    let path = start.folder.path().join("nowhere/crosslink.db");
    let message = start.on(&path).fails(1);
    says(&message, &["nowhere", "does not exist", "create it"]);
}

#[test]
fn a_folder_that_may_not_be_written_is_named() {
    // Whoever runs as the super-user may write everywhere but here.
    let message = Start::new().on(Path::new("/proc/crosslink.db")).fails(1);
    says(&message, &["/proc/crosslink.db"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_use_is_left_to_who_uses_it() {
    let house = House::start().await;
    let message = Start::new().on(&house.database()).fails(1);
    says(&message, &["another Crosslink uses", "stop it"]);
    house.somebody("client").await.keep("kept", "x").await;
}

#[test]
fn a_wrong_value_is_named_with_its_fix() {
    for (flag, value, fix) in [
        ("--mqtt", "1883", "127.0.0.1:1883"),
        ("--durability", "maybe", "full"),
        ("--pair", "raspberry", "raspberry,esp32"),
        ("--mqtt", "0.0.0.0:1883", "--open"),
        ("--database", "mysql://x", "sqlite://"),
    ] {
        let message = Start::new().with(flag, value).fails(2);
        says(&message, &[flag, fix]);
    }
    assert!(Start::new().with("--mqttt", "x").fails(2).contains("--mqtt"));
}

#[test]
fn a_wrong_file_or_variable_is_named() {
    let mut start = Start::new();
    fs::write(start.folder.path().join("crosslink.toml"), "mqqt = \"off\"\n").unwrap();
    start = start.with("--config", "crosslink.toml");
    says(&start.fails(2), &["crosslink.toml", "mqqt", "mqtt"]);

    let output = Start::new().command().env("CROSSLINK_DURABILITY", "maybe").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    says(&String::from_utf8_lossy(&output.stderr), &["CROSSLINK_DURABILITY", "full"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_where_it_listens_and_a_signal_ends_it_well() {
    let start = Start::new();
    let (mut running, said) = start.listens().await;
    assert!(!said.contains("earlier version"), "{said}");

    Command::new("kill").arg(running.0.id().to_string()).status().unwrap();

    let status = until("it ends", async || running.0.try_wait().unwrap().ok_or("it runs".into())).await;
    assert_eq!(status.code(), Some(0));
    assert!(start.folder.path().join("crosslink.db").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_of_an_earlier_crosslink_is_adapted_and_that_is_said() {
    let start = Start::new();
    let path = start.folder.path().join("crosslink.db");
    let db = Database::connect(format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
    Migrator::up(&db, Some(1)).await.unwrap();
    db.execute_unprepared("PRAGMA application_id = 0x584C4E4B").await.unwrap();
    db.close().await.unwrap();

    let (_running, said) = start.listens().await;
    let (adapted, listens) = (said.find("crosslink.db comes from an earlier version"), said.find("MQTT on"));
    assert!(adapted.is_some() && adapted < listens, "{said}");
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
