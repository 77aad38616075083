//! The one SQLite file behind roles, policies, ledger and log.
//!
//! In: closures over a transaction. Out: what they return, once it is durable. This room knows no meaning: the rooms above
//! write the statements, this one sees that they happen whole, in one order, and are on disk before anyone is told.
//!
//! Invariants: one thread owns the writing connection, so no lock is held across an await; every write is whole, and on disk
//! before it is answered ([`commit`]); an error's text goes nowhere, because it may hold values.

mod chain;
mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
mod commit;
mod file;
mod flush;
mod kept;
mod migrations;
mod record;
#[cfg(test)]
mod tests;
mod thread;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::error::{Error, Result};
pub use chain::{Broken, Chain, ToSeal};
use commit::Writer;
pub use kept::{Kept, Rows};
pub use record::{ChangeRow, record_change, verify_changes};
use thread::Worker;
pub use writing::Writing;

/// A handle on the file; clones share it. The threads end, after what was already asked of them, when the last handle goes.
#[derive(Clone)]
pub struct State {
    workers: Arc<Workers>,
}

struct Workers {
    path: PathBuf,
    writer: Writer,
    reader: Worker,
    /// For what is looked up at every statement.
    glancing: Mutex<Connection>,
}

impl State {
    /// Opens the file, or makes it, and brings its tables up to date. Several servers may have one file open.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let writable = file::open_for_writing(path)?;
        let reader = file::open_for_reading(path)?;
        Ok(Self {
            workers: Arc::new(Workers {
                path: path.to_owned(),
                writer: Writer::start("state-writer", writable)?,
                reader: Worker::start("state-reader", reader)?,
                glancing: Mutex::new(file::open_for_glancing(path)?),
            }),
        })
    }

    /// Runs `job` as a transaction of its own; those that wait together share a commit. When this returns `Ok`, what it wrote is on disk; when `job` or the commit
    /// fails, nothing was written. When the disk cannot be flushed it may have been, and every later write fails. Dropping the future does not stop a job that was already handed over.
    pub async fn write<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Writing) -> Result<T> + Send + 'static,
    {
        self.workers.writer.run(job).await
    }

    /// Runs `job` on a read-only connection, in one snapshot that holds every write that has returned, and may hold
    /// some that are about to.
    pub async fn read<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.workers
            .reader
            .run(move |connection| {
                let snapshot = connection.transaction()?;
                job(&snapshot)
            })
            .await
    }

    /// One short SELECT of rows that an index finds, of a state that holds every write that has returned. It is done where it is asked
    /// for: handing it to a thread takes longer than the look. Whoever finds somebody else looking, or the file held, waits as
    /// [`Self::read`] does.
    pub async fn glance<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        let seen = self.workers.glancing.try_lock().ok().and_then(|connection| job(&connection).ok());
        match seen {
            Some(seen) => Ok(seen),
            None => self.read(job).await,
        }
    }

    /// As [`Self::read`], on a connection and a thread of its own, for what takes long: nobody waits for it.
    pub async fn read_apart<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let workers = self.workers.clone();
        let reading = move || {
            let mut connection = file::open_for_reading(&workers.path)?;
            let snapshot = connection.transaction()?;
            job(&snapshot)
        };
        tokio::task::spawn_blocking(reading).await.map_err(|_| Error::internal())?
    }

    /// What seals the rows that are only added.
    pub async fn chain(&self) -> Result<Chain> {
        self.secret(chain::KEY).await.map(Chain::new)
    }

    /// 32 bytes under `name`, drawn from the operating system the first time and the same ever after.
    pub async fn secret(&self, name: &'static str) -> Result<[u8; 32]> {
        self.write(move |transaction| secret(transaction, name)).await
    }
}

fn secret(transaction: &Transaction, name: &str) -> Result<[u8; 32]> {
    let held: Option<[u8; 32]> =
        transaction.query_row("SELECT value FROM secret WHERE name = ?1", [name], |row| row.get(0)).optional()?;
    if let Some(value) = held {
        return Ok(value);
    }
    let value = file::random_bytes::<32>()?;
    transaction.execute("INSERT INTO secret VALUES (?1, ?2)", (name, value))?;
    Ok(value)
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State(..)")
    }
}

impl From<rusqlite::Error> for Error {
    /// Only the kind of the failure is logged: its text may quote values.
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(code = ?error.sqlite_error_code(), "the state file failed");
        Self::internal()
    }
}
