//! Group commit: what waits together is made durable together.
//!
//! In: jobs, each a closure over a transaction. Out: their results, once what they wrote is on disk. Law: every job that was answered
//! with `Ok` is durable and whole, and ran as if alone, after those before it. The jobs that wait while a commit is under way share
//! the next one: each in a savepoint of its own, so that one that fails takes nothing of the others with it. One flush of the disk
//! then serves them all (Gray, Reuter 1992, "Transaction Processing", section 9.4.6).
//!
//! **Two stages.** A commit is appended to SQLite's write-ahead log here and flushed by [`Flusher`], which answers after it; where many
//! wait, the next group is written while the last one is flushed (DeWitt et al. 1984, "Implementation Techniques for Main Memory Database
//! Systems", section 5.2: pre-committed transactions). That is as strong as a flush inside COMMIT. After a crash SQLite takes the log up to its
//! first frame that is not whole, so a group that was flushed is there with all before it, and nobody is answered earlier. Readers, and the jobs after it, may see a
//! commit before it is on disk; whatever they let out is logged first, by a job whose commit lies behind it in the same log. How the log
//! comes into the file is [`Checkpoints`]' part.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::checkpoint::Checkpoints;
use super::file::Writable;
use super::flush::{Flusher, Group};
use super::writing::{Job, Writing};
use crate::error::{Error, Result};

/// How many jobs share a commit at most: a bound for how long the first of them waits for the last.
const MOST: usize = 128;

/// Who shared the last commit was answered just now and may have more to write. Where fewer than these wait, the others are given this
/// time to come, so that not every other commit is of one half of them. Nobody who is alone waits (Helland et al. 1987, "Group Commit
/// Timers and High Volume Transaction Systems").
const GATHERING: Duration = Duration::from_micros(50);

/// One closure, its result, and who waits for it.
struct Pending<T, F> {
    job: Option<F>,
    result: Result<T>,
    waiting: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for Pending<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Writing) -> Result<T> + Send + 'static,
{
    fn run(&mut self, writing: &Writing) -> bool {
        if let Some(job) = self.job.take() {
            self.result = catch_unwind(AssertUnwindSafe(|| job(writing))).unwrap_or_else(|_| Err(Error::internal()));
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
    in_flight: Arc<AtomicUsize>,
}

impl Writer {
    pub(super) fn start(name: &str, Writable { connection, flush, checkpoints }: Writable) -> Result<Self> {
        let in_flight = Arc::new(AtomicUsize::new(0));
        let flusher = Flusher::start(&format!("{name}-flush"), flush, in_flight.clone())?;
        let (jobs, queue) = mpsc::channel::<Box<dyn Job>>();
        let mut stage =
            Stage { connection, flusher, checkpoints, in_flight: in_flight.clone(), last: 0, work: Duration::ZERO };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Ok(first) = queue.recv() {
                    stage.write(first, &queue);
                }
            })
            .map_err(|_| Error::internal())?;
        Ok(Self { jobs, in_flight })
    }

    pub(super) async fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Writing) -> Result<T> + Send + 'static,
    {
        let (waiting, answer) = oneshot::channel();
        let pending = Pending { job: Some(job), result: Err(Error::internal()), waiting };
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.jobs.send(Box::new(pending)).map_err(|_| Error::internal())?;
        answer.await.map_err(|_| Error::internal())?
    }
}

struct Stage {
    connection: Connection,
    flusher: Flusher,
    checkpoints: Checkpoints,
    in_flight: Arc<AtomicUsize>,
    /// How many wrote lately: who shared the last commit, or two halves.
    last: usize,
    /// What one job of the last group took, its part of the commit included.
    work: Duration,
}

impl Stage {
    fn write(&mut self, first: Box<dyn Job>, queue: &mpsc::Receiver<Box<dyn Job>>) {
        // Those who were answered just now may not have come yet.
        let expected = self.in_flight.load(Ordering::Acquire).max(self.last);
        // One half is flushed while the other is written. Where flushing takes longer than writing all, fewer flushes win: then all share
        // each.
        let halves = expected > 3 && self.flusher.took() < self.work * expected as u32;
        if !halves {
            self.flusher.wait();
        }
        let (wanted, most) = if halves { (expected / 2, expected / 2) } else { (self.last, MOST) };
        let start = Instant::now();
        let mut coming = Coming { queue, pause: Some(GATHERING), wanted: wanted.min(MOST), most: most.min(MOST) };
        let mut group = vec![first];
        let written = !self.flusher.has_failed() && commit(&mut self.connection, &mut group, &mut coming).is_ok();
        self.last = if halves { self.in_flight.load(Ordering::Acquire) } else { group.len() };
        if !written {
            return self.flusher.refuse(group);
        }
        self.work = start.elapsed() / group.len() as u32;
        if halves {
            self.flusher.hand_over(group)
        } else {
            self.flusher.flush(group)
        }
        if self.checkpoints.after_commit(&self.connection).is_err() {
            self.flusher.fail();
        }
    }
}

/// Jobs that join a group while its first ones are written.
struct Coming<'q> {
    queue: &'q mpsc::Receiver<Box<dyn Job>>,
    pause: Option<Duration>,
    wanted: usize,
    most: usize,
}

impl Coming<'_> {
    /// The next of a group that has this many. Where that are fewer than wanted and nobody waits, they are given their time once.
    fn next(&mut self, group: usize) -> Option<Box<dyn Job>> {
        if group >= self.most {
            return None;
        }
        self.queue.try_recv().ok().or_else(|| {
            let pause = self.pause.take_if(|_| group < self.wanted)?;
            std::thread::sleep(pause);
            self.queue.try_recv().ok()
        })
    }
}

/// All jobs in one transaction, and those that come meanwhile; what a failed one wrote is taken back before the next begins.
fn commit(connection: &mut Connection, group: &mut Group, coming: &mut Coming) -> Result<()> {
    let writing = Writing::new(connection.transaction_with_behavior(TransactionBehavior::Immediate)?);
    let mut done = 0;
    while let Some(job) = group.get_mut(done) {
        writing.attempt(|writing| job.run(writing))?;
        done += 1;
        if done == group.len() {
            group.extend(coming.next(done));
        }
    }
    writing.commit()
}
