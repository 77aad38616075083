//! Group commit: what waits together is made durable together.
//!
//! In: jobs, each a closure over a transaction. Out: their results, once what they wrote is on disk. Law: every job that was answered
//! with `Ok` is durable and whole, and ran as if alone, after those before it. The jobs that wait while a commit is under way share
//! the next one: each in a savepoint of its own, so that one that fails takes nothing of the others with it. One flush of the disk
//! then serves them all (Gray, Reuter 1992, "Transaction Processing", section 9.4.6).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// How many jobs share a commit at most: a bound for how long the first of them waits for the last.
const MOST: usize = 128;

/// Who shared the last commit was answered just now and may have more to write. Where fewer than these wait, the others are given this
/// time to come, so that not every other commit is of one half of them. Nobody who is alone waits (Helland et al. 1987, "Group Commit
/// Timers and High Volume Transaction Systems").
const GATHERING: Duration = Duration::from_micros(50);

/// One closure, its result, and who waits for it.
pub(super) trait Job: Send {
    /// Did it do what it was to do?
    fn run(&mut self, transaction: &Transaction) -> bool;
    /// `durable`: what it wrote is on disk.
    fn answer(self: Box<Self>, durable: bool);
}

struct Pending<T, F> {
    job: Option<F>,
    result: Result<T>,
    waiting: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for Pending<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Transaction) -> Result<T> + Send + 'static,
{
    fn run(&mut self, transaction: &Transaction) -> bool {
        if let Some(job) = self.job.take() {
            self.result =
                catch_unwind(AssertUnwindSafe(|| job(transaction))).unwrap_or_else(|_| Err(Error::internal()));
        }
        self.result.is_ok()
    }

    fn answer(self: Box<Self>, durable: bool) {
        let result = if durable || self.result.is_err() { self.result } else { Err(Error::internal()) };
        // Nobody waits any more: what was done stays done.
        let _ = self.waiting.send(result);
    }
}

/// The thread that writes. It ends when this is dropped and the jobs already handed over are done.
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

impl Writer {
    pub(super) fn start(name: &str, mut connection: Connection) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Box<dyn Job>>();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut last = 0;
                while let Ok(first) = queue.recv() {
                    let mut together = vec![first];
                    together.extend(queue.try_iter().take(MOST - 1));
                    if together.len() < last {
                        std::thread::sleep(GATHERING);
                        together.extend(queue.try_iter().take(MOST - together.len()));
                    }
                    last = together.len();
                    let durable = commit(&mut connection, &mut together).is_ok();
                    together.into_iter().for_each(|job| job.answer(durable));
                }
            })
            .map_err(|_| Error::internal())?;
        Ok(Self { jobs })
    }

    pub(super) async fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction) -> Result<T> + Send + 'static,
    {
        let (waiting, answer) = oneshot::channel();
        let pending = Pending { job: Some(job), result: Err(Error::internal()), waiting };
        self.jobs.send(Box::new(pending)).map_err(|_| Error::internal())?;
        answer.await.map_err(|_| Error::internal())?
    }
}

/// All jobs in one transaction; what a failed one wrote is taken back before the next begins.
fn commit(connection: &mut Connection, jobs: &mut [Box<dyn Job>]) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in jobs {
        transaction.prepare_cached("SAVEPOINT job")?.execute([])?;
        if !job.run(&transaction) {
            transaction.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        transaction.prepare_cached("RELEASE job")?.execute([])?;
    }
    transaction.commit()?;
    Ok(())
}
