//! The database file before SQLite opens it for writing: whose it is, and that nobody else uses it.
//!
//! Whatever is refused here is refused with the file untouched, and the message says what to do.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use sea_orm::{ConnectionTrait, DbErr, sqlx::sqlite::SqliteConnectOptions};

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
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(why) => return Err(setup(path, "cannot be read", why)),
    };
    if !kind.is_file() {
        return Err(foreign(path, "it is not a file"));
    }
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
    let unknown = unknown.await.map_err(|why| setup(path, "cannot be read; restore a backup of it", why))?;
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
