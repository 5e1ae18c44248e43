//! `crosslink audit verify`, as a person runs it beside a gateway, after it, and on a file that somebody else has changed.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use crosslink::broker::QoS;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{House, reading, until};

const CONFIG: &str = r#"{"enable":true,"duty":0.5,"frequency":800}"#;

/// How an audit ended, and what it said.
struct Told {
    code: Option<i32>,
    said: String,
    complained: String,
}

impl Told {
    fn head(&self) -> &str {
        self.said.lines().find_map(|line| line.strip_prefix("head ")).expect("a head")
    }
}

fn audit(database: &Path, more: &[&str]) -> Told {
    ran(auditing(&["--database", &url(database)]).args(more))
}

fn auditing(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crosslink"));
    command.args(["audit", "verify"]).args(flags).env_clear().stdin(Stdio::null());
    command
}

fn ran(command: &mut Command) -> Told {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [said, complained] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    Told { code: status.code(), said, complained }
}

fn url(database: &Path) -> String {
    format!("sqlite://{}", database.display())
}

async fn opened(database: &Path) -> DatabaseConnection {
    Database::connect(url(database)).await.unwrap()
}

/// A gateway with the commands of REST and of other MQTT clients, for devices and for a service.
async fn busy() -> House {
    let house = House::start().await;
    let mut pump = house.somebody("pump").await;
    pump.say("sensors/pump", reading(20.0)).await;
    pump.subscribe("commands/pump/play", QoS::AtLeastOnce).await;
    let sending = house.post("/api/v1/devices/pump/commands", json!({ "action": "play" }));
    tokio::join!(sending, pump.hears());
    house.post("/api/v1/devices/esp32/commands", json!({ "action": "resume" })).await;
    let mut person = house.somebody("person").await;
    person.say("commands/pump/play", "false").await;
    person.say("rig/fan/config", CONFIG).await;
    person.say("rig/fan/config", CONFIG).await;
    house
}

/// How many commands the gateway knows.
async fn commands(house: &House) -> usize {
    house.get("/api/v1/commands").await["items"].as_array().map_or(0, Vec::len)
}

fn copy(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_changed_is_as_it_was_written() {
    let house = busy().await;
    assert_eq!(commands(&house).await, 5);

    let beside = audit(&house.database(), &[]);
    assert_eq!(beside.code, Some(0), "{}{}", beside.said, beside.complained);
    assert!(beside.said.starts_with("the command log is as it was written\n"), "{}", beside.said);
    assert!(beside.said.contains(" rows, of 5 commands\n"), "{}", beside.said);
    let killed = copy(house.database().parent().unwrap());
    assert!(names(killed.path()).contains(&"crosslink.db-wal".to_owned()));
    assert_eq!(audit(&killed.path().join("crosslink.db"), &[]).said, beside.said);

    let folder = house.stop().await;
    let database = folder.path().join("crosslink.db");
    let (bytes, files) = (fs::read(&database).unwrap(), names(folder.path()));
    assert_eq!(audit(&database, &[]).said, beside.said);
    assert!(fs::read(&database).unwrap() == bytes);
    assert_eq!(names(folder.path()), files, "nothing is left beside it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_was_noted_is_still_there_when_the_log_has_grown() {
    let house = busy().await;
    let noted = audit(&house.database(), &[]).head().to_owned();

    let house = house.restart().await;
    house.somebody("person").await.say("commands/pump/play", "true").await;
    let later = audit(&house.database(), &["--head", &noted]);
    assert_eq!(later.code, Some(0), "{}", later.said);
    assert!(later.said.contains("of 6 commands"), "{}", later.said);
    assert_ne!(later.head(), noted);

    let other = noted.replace(':', ":00");
    let other = &other[..noted.len()];
    let missed = audit(&house.database(), &["--head", other]);
    assert_eq!(missed.code, Some(1));
    assert!(missed.said.contains("it is not the head that was noted"), "{}", missed.said);
    assert_eq!(audit(&house.database(), &["--head", "4711"]).code, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_row_that_somebody_changed_is_named() {
    let house = busy().await;
    let log = house.get("/api/v1/commands?after=0").await["items"].take();
    let [play, resume, stop, config, again] = &log.as_array().unwrap()[..] else { panic!("{log}") };
    let (first, newest) = (|record: &Value| record["id"].clone(), |record: &Value| record["seq"].clone());
    assert_ne!(first(play), newest(play), "it has several rows");
    let folder = house.stop().await;
    for (sql, seq, command, topic, says) in [
        // One byte of what was asked.
        (
            format!("UPDATE commands SET payload = CAST('frue' AS BLOB) WHERE id = {}", first(play)),
            first(play),
            play,
            "commands/pump/play",
            "its hash is not that",
        ),
        (
            format!(
                "UPDATE commands SET payload = CAST(replace(payload, '0.5', '0.6') AS BLOB) WHERE id = {}",
                first(config)
            ),
            first(config),
            config,
            "rig/fan/config",
            "its hash is not that",
        ),
        // How far it came, and what was answered.
        (
            format!(
                "UPDATE command_states SET state = 5 WHERE seq = {0}; UPDATE commands SET state = 5 WHERE id = {1}",
                newest(play),
                first(play)
            ),
            newest(play),
            play,
            "commands/pump/play",
            "its hash is not that",
        ),
        (
            format!("UPDATE command_states SET answer = x'7b7d' WHERE seq = {}", first(stop)),
            first(stop),
            stop,
            "commands/pump/play",
            "its hash is not that",
        ),
        // A row removed, with all that is known of it and without.
        (
            format!("DELETE FROM command_states WHERE seq = {}", first(stop)),
            first(stop),
            stop,
            "commands/pump/play",
            "it is missing",
        ),
        (
            format!(
                "DELETE FROM command_states WHERE seq = {0}; DELETE FROM commands WHERE id = {0};
                 DELETE FROM journal WHERE seq = {0}",
                first(stop)
            ),
            first(config),
            config,
            "rig/fan/config",
            "or a row before it removed",
        ),
        (
            format!("DELETE FROM commands WHERE id = {}", first(stop)),
            first(stop),
            stop,
            "",
            "the row of its command",
        ),
        (
            format!("DELETE FROM journal WHERE seq = {}", first(resume)),
            first(resume),
            resume,
            "commands/esp32/play",
            "its entry in the journal is missing",
        ),
        // Two commands that differ in nothing but their places.
        (
            format!(
                "UPDATE command_states SET hash = (SELECT hash FROM command_states WHERE seq = {1}) WHERE seq = {0}",
                first(config),
                first(again)
            ),
            first(config),
            config,
            "rig/fan/config",
            "its hash is not that",
        ),
        (
            format!(
                "UPDATE command_states SET seq = -seq WHERE seq IN ({0}, {1});
                 UPDATE command_states SET seq = {0} + {1} + seq WHERE seq < 0",
                first(stop),
                first(again)
            ),
            first(stop),
            again,
            "rig/fan/config",
            "its entry in the journal is missing",
        ),
    ] {
        let changed = copy(folder.path());
        let database = changed.path().join("crosslink.db");
        let db = opened(&database).await;
        db.execute_unprepared(&sql).await.unwrap();
        db.close().await.unwrap();

        let told = audit(&database, &[]);
        assert_eq!(told.code, Some(1), "{sql}: {}{}", told.said, told.complained);
        let on = if topic.is_empty() { String::new() } else { format!(" on {topic}") };
        let wanted = format!("the command log was changed: row {seq} of command {}{on}: ", first(command));
        assert!(told.said.starts_with(&wanted), "{sql}: expected {wanted} in {}", told.said);
        assert!(told.said.contains(says) && !told.said.contains("head"), "{sql}: {}", told.said);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_when_it_was_old_leaves_an_anchor_and_the_override() {
    let house = busy().await;
    // The last entry of a journal stays, whatever it is.
    house.somebody("esp32").await.say("sensors/esp32", reading(20.0)).await;
    let mode = async |house: &House| house.device("pump").await["mode"].take();
    assert_eq!(mode(&house).await, "FORCED_OFF");

    let house = house.restart_with(|config| config.keep_commands = Some(Duration::from_millis(1))).await;
    let told = until("the old commands are removed", async || match commands(&house).await {
        0 => Ok(audit(&house.database(), &[])),
        some => Err(some.into()),
    })
    .await;
    assert_eq!(told.code, Some(0), "{}{}", told.said, told.complained);
    assert!(told.said.contains("\n0 rows, of 0 commands\n"), "{}", told.said);
    let head = told.head();
    let removed = format!(" rows were removed when they were old, the last of them {head}\n");
    assert!(told.said.contains(&removed), "{}", told.said);

    // Killed, and started where nothing is removed.
    let killed = copy(house.database().parent().unwrap());
    let again = House::with(|config| config.database = killed.path().join("crosslink.db")).await;
    for house in [&house, &again] {
        assert_eq!(mode(house).await, "FORCED_OFF");
        house.somebody("person").await.say("commands/pump/play", "true").await;
        assert_eq!(mode(house).await, "FORCED_ON");
        let told = audit(&house.database(), &["--head", head]);
        assert_eq!(told.code, Some(0), "{}", told.said);
        assert!(told.said.contains("\n1 rows, of 1 commands\n"), "{}", told.said);
    }
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_log_of_this_version_is_refused_and_left_alone() {
    let folder = House::start().await.stop().await;
    let database = folder.path().join("crosslink.db");
    let other = tempfile::tempdir().unwrap();
    let at = |name: &str| other.path().join(name);
    fs::write(at("diary.txt"), "dear diary, ".repeat(100)).unwrap();
    fs::write(at("empty.db"), "").unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::copy(&database, at("newer.db")).unwrap();
    let newer = opened(&at("newer.db")).await;
    newer
        .execute_unprepared("INSERT INTO seaql_migrations VALUES ('m30000101_000001_future', 0)")
        .await
        .unwrap();
    newer.close().await.unwrap();
    fs::write(at("older.db"), "").unwrap();
    let older = opened(&at("older.db")).await;
    Migrator::up(&older, Some(3)).await.unwrap();
    older.execute_unprepared("PRAGMA application_id = 0x584C4E4B").await.unwrap();
    older.close().await.unwrap();
    let files = names(other.path());

    for (name, says) in [
        ("nowhere.db", "there is no database"),
        ("nowhere/at.db", "does not exist"),
        ("empty.db", "there is no database"),
        ("folder", "is not a file"),
        ("diary.txt", "is not a Crosslink database"),
        ("newer.db", "newer Crosslink"),
        ("older.db", "comes from an earlier version"),
    ] {
        let told = audit(&other.path().join(name), &[]);
        assert_eq!((told.code, told.said.as_str()), (Some(2), ""), "{name}: {}", told.complained);
        assert!(told.complained.contains(says), "{name}: {}", told.complained);
    }
    assert_eq!(names(other.path()), files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_named_as_it_is_to_the_gateway() {
    let folder = House::start().await.stop().await;
    let (home, nowhere) = (url(&folder.path().join("crosslink.db")), "sqlite://nowhere.db");
    let code = |command: &mut Command| ran(command.current_dir("/")).code;
    assert_eq!(code(&mut auditing(&[])), Some(2));
    assert_eq!(ran(auditing(&[]).current_dir(folder.path())).code, Some(0));
    assert_eq!(code(auditing(&[]).env("CROSSLINK_DATABASE", &home)), Some(0));
    assert_eq!(code(auditing(&["--database", &home]).env("CROSSLINK_DATABASE", nowhere)), Some(0));
    // What only a gateway has to know may be anything.
    assert_eq!(code(auditing(&["--database", &home]).env("CROSSLINK_MQTT", "0.0.0.0:1883")), Some(0));

    let file = folder.path().join("crosslink.toml");
    fs::write(&file, format!("database = {home:?}")).unwrap();
    assert_eq!(code(&mut auditing(&["--config", file.to_str().unwrap()])), Some(0));
    for wrong in ["crosslink.db", "mysql://x", "sqlite://"] {
        let told = ran(&mut auditing(&["--database", wrong]));
        assert_eq!(told.code, Some(2));
        assert!(told.complained.starts_with("crosslink: --database: "), "{}", told.complained);
    }
}
