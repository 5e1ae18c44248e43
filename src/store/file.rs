//! The database file before SQLite opens it for writing: whose it is, and that nobody else uses it.
//!
//! Whatever is refused here is refused with the file untouched, and the message says what to do.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, sqlx::sqlite::SqliteConnectOptions};

use super::connect;
use crate::error::Error;

/// "XLNK", in the header of each of our databases.
const APPLICATION_ID: u32 = 0x584C_4E4B;

/// What each SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

const HEADER_LENGTH: usize = 100;

/// Where in the header the application id stands, big-endian.
const APPLICATION_ID_AT: usize = 68;

/// Where the database lies, what it holds.
enum Found {
    Nothing,
    Ours,
}

/// Takes hold of the database file, creating it if there is none. As long as the returned file is open, no
/// other Crosslink can.
pub(super) async fn prepare(database: &Path) -> Result<(PathBuf, File), Error> {
    let path = resolve(database)?;
    let lock_path = beside(&path, ".lock");
    if !lock_path.exists() {
        // What is not ours is not littered with a lock either.
        inspect(&path)?;
    }
    let lock = lock(&path, &lock_path)?;
    // Only under the lock: closing a file that this process's SQLite has open would drop SQLite's locks.
    match inspect(&path)? {
        Found::Nothing => brand(&path).await?,
        Found::Ours => refuse_newer(&path).await?,
    }
    Ok((path, lock))
}

/// A database that is there, to be read and not to be written: the one path of it.
pub(super) fn ours(database: &Path) -> Result<PathBuf, Error> {
    let path = resolve(database)?;
    let missing =
        || Error::Setup(format!("there is no database {}; name the one that is meant", path.display()));
    file_at(&path)?.ok_or_else(missing)?;
    let file = File::open(&path).map_err(|why| setup(&path, "cannot be read", why))?;
    match whose(&path, file)? {
        Found::Nothing => Err(missing()),
        Found::Ours => Ok(path),
    }
}

/// Whether the one file is all there is of the database: nobody writes to it, and nobody was killed who did.
pub(super) fn is_closed(path: &Path) -> bool {
    !beside(path, "-wal").exists()
}

/// The one path of the file, so that two ways to it share a lock.
fn resolve(database: &Path) -> Result<PathBuf, Error> {
    if database.exists() {
        return database.canonicalize().map_err(|why| setup(database, "cannot be reached", why));
    }
    let directory = match database.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Some(name) = database.file_name() else {
        return Err(Error::Setup(format!("{} is not the name of a file", database.display())));
    };
    match directory.canonicalize() {
        Ok(directory) => Ok(directory.join(name)),
        Err(why) if why.kind() == ErrorKind::NotFound => Err(Error::Setup(format!(
            "the directory {} of the database does not exist; create it, or name another database",
            directory.display()
        ))),
        Err(why) => Err(setup(directory, "cannot be reached", why)),
    }
}

fn lock(path: &Path, lock_path: &Path) -> Result<File, Error> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(lock_path)
        .map_err(|why| setup(lock_path, "cannot be written, and the database needs it beside it", why))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Setup(format!(
            "another Crosslink uses {}; stop it, or give this one another database",
            path.display()
        ))),
        Err(TryLockError::Error(why)) => Err(setup(lock_path, "cannot be locked", why)),
    }
}

fn inspect(path: &Path) -> Result<Found, Error> {
    let Some(kind) = file_at(path)? else { return Ok(Found::Nothing) };
    // The super-user may write it all the same, but whoever made it read-only meant it.
    if kind.permissions().readonly() {
        return Err(Error::Setup(format!(
            "{} is read-only; make it writable, or name another database",
            path.display()
        )));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|why| setup(path, "cannot be opened for reading and writing", why))?;
    whose(path, file)
}

/// What is known of the file, if there is one.
fn file_at(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(_) => Err(foreign(path, "it is not a file")),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => Err(setup(path, "cannot be read", why)),
    }
}

/// What the file holds. Closing it drops the locks that this process's SQLite has on it.
fn whose(path: &Path, file: File) -> Result<Found, Error> {
    let mut header = Vec::with_capacity(HEADER_LENGTH);
    file.take(HEADER_LENGTH as u64)
        .read_to_end(&mut header)
        .map_err(|why| setup(path, "cannot be read", why))?;
    if header.is_empty() {
        return Ok(Found::Nothing);
    }
    if header.len() < HEADER_LENGTH || !header.starts_with(MAGIC) {
        return Err(foreign(path, "it is not a SQLite file"));
    }
    // Ours stands in the file itself since before there was a write-ahead log.
    if header[APPLICATION_ID_AT..][..4] != APPLICATION_ID.to_be_bytes() {
        return Err(foreign(path, "another program wrote it"));
    }
    Ok(Found::Ours)
}

/// Creates the file and writes our application id into it, before a write-ahead log can hide it.
async fn brand(path: &Path) -> Result<(), Error> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let marked = async {
        let db = connect(options, 1).await?;
        db.execute_unprepared(&format!("PRAGMA application_id = {APPLICATION_ID}")).await?;
        db.close().await
    };
    marked.await.map_err(|why: DbErr| setup(path, "cannot be created", why))
}

async fn refuse_newer(path: &Path) -> Result<(), Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let unknown = async {
        let db = connect(options, 1).await?;
        let unknown = migration::unknown_steps(&db).await;
        db.close().await?;
        unknown
    };
    refuse_unknown(path, unknown.await)
}

/// Refuses what only another version of Crosslink can read.
pub(super) async fn refuse_other_versions(db: &DatabaseConnection, path: &Path) -> Result<(), Error> {
    refuse_unknown(path, migration::unknown_steps(db).await)?;
    if migration::is_behind(db).await? {
        let path = path.display();
        return Err(Error::Setup(format!(
            "{path} comes from an earlier version; a start of this one with it adapts it"
        )));
    }
    Ok(())
}

fn refuse_unknown(path: &Path, steps: Result<Vec<String>, DbErr>) -> Result<(), Error> {
    let unknown = steps.map_err(|why| setup(path, "cannot be read; restore a backup of it", why))?;
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::Setup(format!(
        "{} was written by a newer Crosslink (it knows {}); use that one, or name another database",
        path.display(),
        unknown.join(", ")
    )))
}

/// `path` with `ending` appended to the name of the file.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

fn foreign(path: &Path, why: &str) -> Error {
    Error::Setup(format!("{} is not a Crosslink database: {why}; name another database", path.display()))
}

fn setup(path: &Path, what: &str, why: impl std::fmt::Display) -> Error {
    Error::Setup(format!("{} {what}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Durability,
        store::{open, samples::House},
    };

    /// What `open` says, after making sure that it left everything in the file's folder as it was.
    async fn refusal(path: &Path) -> String {
        let before = fs::read(path).ok();
        let Err(Error::Setup(message)) = open(path, Durability::Full).await.map(drop) else {
            panic!("{} was not refused", path.display());
        };
        assert_eq!(fs::read(path).ok(), before);
        message
    }

    /// Runs SQL on a file that need not be ours.
    async fn run(path: &Path, sql: &str) {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let db = connect(options, 1).await.unwrap();
        db.execute_unprepared(sql).await.unwrap();
        db.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_not_sqlite_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "not a database ".repeat(100)).unwrap();
        assert!(refusal(&path).await.contains("is not a Crosslink database"));
        fs::write(&path, "short").unwrap();
        assert!(refusal(&path).await.contains("is not a Crosslink database"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was left beside it");
    }

    #[tokio::test]
    async fn the_database_of_another_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, sql) in [
            ("plain.db", "CREATE TABLE t (x)"),
            ("wal.db", "PRAGMA journal_mode = WAL; CREATE TABLE t (x)"),
            ("marked.db", "PRAGMA application_id = 7"),
        ] {
            let path = folder.path().join(name);
            run(&path, sql).await;
            assert!(refusal(&path).await.contains("another program"), "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing was left beside them");
    }

    #[tokio::test]
    async fn the_database_of_a_newer_crosslink_is_refused() {
        let house = House::new().await;
        let path = house.path();
        house.journal.close().await.unwrap();
        drop(house.store);
        run(&path, "INSERT INTO seaql_migrations VALUES ('m30000101_000001_future', 0)").await;
        let message = refusal(&path).await;
        assert!(
            message.contains("newer Crosslink") && message.contains("m30000101_000001_future"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn the_unfinished_log_of_a_newer_crosslink_is_left_to_it() {
        let house = House::new().await;
        let future = "INSERT INTO seaql_migrations VALUES ('m30000101_000001_future', 0)";
        house.journal.execute(future).await;
        let killed = tempfile::tempdir().unwrap();
        for name in ["crosslink.db", "crosslink.db-wal"] {
            fs::copy(house.path().with_file_name(name), killed.path().join(name)).unwrap();
        }
        let log = fs::read(killed.path().join("crosslink.db-wal")).unwrap();
        assert!(refusal(&killed.path().join("crosslink.db")).await.contains("newer Crosslink"));
        assert_eq!(fs::read(killed.path().join("crosslink.db-wal")).unwrap(), log);
    }

    #[tokio::test]
    async fn a_second_crosslink_is_refused() {
        let house = House::new().await;
        let message = refusal(&house.path()).await;
        assert!(message.contains("another Crosslink uses"), "{message}");
        let link = house.path().with_file_name("link.db");
        std::os::unix::fs::symlink(house.path(), &link).unwrap();
        assert!(refusal(&link).await.contains("another Crosslink uses"));
        drop(house.restarted().await);
    }

    #[tokio::test]
    async fn a_read_only_file_is_refused() {
        let house = House::new().await;
        let path = house.path();
        house.journal.close().await.unwrap();
        drop(house.store);
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        assert!(refusal(&path).await.contains("read-only"));
    }

    #[tokio::test]
    async fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = refusal(&folder.path().join("nowhere/crosslink.db")).await;
        assert!(message.contains("nowhere") && message.contains("create it"), "{message}");
        assert!(refusal(folder.path()).await.contains("is not a file"));
    }

    #[tokio::test]
    async fn a_damaged_database_is_refused() {
        let house = House::new().await;
        let path = house.path();
        house.journal.close().await.unwrap();
        drop(house.store);
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER_LENGTH..].fill(0xa5);
        fs::write(&path, bytes).unwrap();
        assert!(refusal(&path).await.contains("restore a backup"));
    }

    #[tokio::test]
    async fn an_empty_file_becomes_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a strange?name#%20.db");
        fs::write(&path, "").unwrap();
        let (store, _journal) = open(&path, Durability::Normal).await.unwrap();
        store.probe().await.unwrap();
        assert_eq!(fs::read(&path).unwrap()[APPLICATION_ID_AT..][..4], *b"XLNK");
    }
}
