//! A thread that owns one connection and does what it is handed, in order.
//!
//! In: closures. Out: their results, through a channel of their own. A closure that panics fails alone; the thread goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{Error, Result};

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread ends when this is dropped and the jobs already handed over are done.
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    pub(super) fn start(name: &str, mut connection: Connection) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                for job in queue {
                    job(&mut connection);
                }
            })
            .map_err(|_| Error::internal())?;
        Ok(Self { jobs })
    }

    pub(super) async fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // An open transaction is rolled back while the panic unwinds, so the connection is whole again.
            let result = catch_unwind(AssertUnwindSafe(|| job(connection))).unwrap_or_else(|_| Err(Error::internal()));
            // Nobody waits any more: what was done stays done.
            let _ = reply.send(result);
        });
        self.jobs.send(job).map_err(|_| Error::internal())?;
        answer.await.map_err(|_| Error::internal())?
    }
}
