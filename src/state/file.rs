//! Opening the file: who may read it, how durable it is, which version its tables have.
//!
//! In: a path. Out: connections that are set up. Errors name the state file's problem, never its contents.

use std::fs::{File, OpenOptions, Permissions, set_permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::checkpoint::Checkpoints;
use super::flush::Flush;
use super::migrations::{MIGRATIONS, SEALED_CHANGES};
use super::record::seal_changes;
use super::writing::Writing;
use crate::error::{Error, Result, SqlState};

/// How long another server's write may hold the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pages that the writer keeps at hand, in KiB: the rows that a grant of access has shown lie by names that look drawn by chance, so each
/// new one belongs to another page.
const CACHED_KIB: i32 = 16_384;

/// What writes, and what makes durable what it wrote: COMMIT itself does not.
pub(super) struct Writable {
    pub connection: Connection,
    pub flush: Flush,
    pub checkpoints: Checkpoints,
}

pub(super) fn open_for_writing(path: &Path) -> Result<Writable> {
    create_private(path)?;
    let mut connection = open_to_write(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHED_KIB)?;
    migrate(&mut connection)?;
    let flush = flush_of(path)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let copier = open_to_write(path)?;
    copier.pragma_update(None, "synchronous", "NORMAL")?;
    let checkpoints = Checkpoints::start("state-checkpoint", &mut connection, copier, PATIENCE)?;
    Ok(Writable { connection, flush, checkpoints })
}

fn open_to_write(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(path, flags)?)
}

/// Flushes the write-ahead log, which is there as long as a connection is open. It is the call that SQLite makes, on a handle of its own: an
/// error of writing that happens from now on is told to this handle once.
fn flush_of(path: &Path) -> Result<Flush> {
    let unusable = |_| Error::internal();
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = File::open(log).map_err(unusable)?;
    // The names of both files are to be on disk as well.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable)?;
    Ok(Box::new(move || log.sync_all()))
}

pub(super) fn open_for_reading(path: &Path) -> Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Does not wait for the file: who looks has other work to do meanwhile.
pub(super) fn open_for_glancing(path: &Path) -> Result<Connection> {
    let connection = open_for_reading(path)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

/// The file holds verifiers and what was asked about people: its owner's alone. SQLite gives its side files the same mode.
fn create_private(path: &Path) -> Result<()> {
    let unusable = |_| {
        Error::new(SqlState::UndefinedFile, "the state file cannot be opened")
            .hint("check that its folder exists and can be written to")
    };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        // Not opened here: to close a file takes the locks away that SQLite holds on it for another server in this process.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => set_permissions(path, Permissions::from_mode(0o600)),
        Err(error) => Err(error),
    }
    .map_err(unusable)
}

/// Each step runs once, in a transaction of its own; the file's `user_version` counts them.
fn migrate(connection: &mut Connection) -> Result<()> {
    let transaction = Writing::new(connection.transaction_with_behavior(TransactionBehavior::Immediate)?);
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = version as usize;
    if version > MIGRATIONS.len() {
        return Err(Error::new(
            SqlState::ObjectNotInPrerequisiteState,
            "the state file was written by a newer version of this server",
        ));
    }
    for step in &MIGRATIONS[version..] {
        transaction.execute_batch(step)?;
        if *step == SEALED_CHANGES {
            seal_changes(&transaction)?;
        }
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| Error::internal())?;
    Ok(bytes)
}
