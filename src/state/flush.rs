//! The flush of the disk behind each commit, and who is answered after it.
//!
//! In: groups of jobs whose commit is in the write-ahead log, in the order of their commits. Out: their answers. Law: nobody is
//! answered with `Ok` before a flush that began after the commit has succeeded. A commit is whole after a crash when the log's bytes
//! up to it are on the disk, so one flush serves all groups before it. When a flush fails nobody knows what the disk holds, and a
//! later flush that succeeds says nothing of what the failed one left (Rebello et al. 2020, "Can Applications Recover from fsync
//! Failures?"): from then on nothing is written and nothing answered with `Ok`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::writing::Job;
use crate::error::{Error, Result};

pub(super) type Group = Vec<Box<dyn Job>>;

/// Flushes what was written to the log of the state file.
pub(super) type Flush = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// How often who waits for the thread looks.
const LOOKING: Duration = Duration::from_micros(50);

/// Flushes on a thread of its own, so that the next group is written meanwhile, or at once.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    groups: mpsc::Sender<Group>,
}

struct Shared {
    flush: Flush,
    failed: AtomicBool,
    /// Groups that were handed over and are not answered. While there are any, only the thread flushes: of two who flush one file at
    /// once only one is told of an error.
    handed_over: AtomicUsize,
    /// Of the last flush, in nanoseconds.
    took: AtomicU64,
    in_flight: Arc<AtomicUsize>,
}

impl Flusher {
    /// `in_flight` counts the jobs that wait for an answer. The thread ends, after the groups that it was handed, when this is dropped.
    pub(super) fn start(name: &str, flush: Flush, in_flight: Arc<AtomicUsize>) -> Result<Self> {
        let shared = Shared {
            flush,
            failed: AtomicBool::new(false),
            handed_over: AtomicUsize::new(0),
            took: AtomicU64::new(0),
            in_flight,
        };
        let shared = Arc::new(shared);
        let (groups, queue) = mpsc::channel::<Group>();
        let of_thread = shared.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Ok(mut jobs) = queue.recv() {
                    let mut groups = 1;
                    for group in queue.try_iter() {
                        jobs.extend(group);
                        groups += 1;
                    }
                    let durable = of_thread.flush();
                    of_thread.handed_over.fetch_sub(groups, Ordering::AcqRel);
                    of_thread.answer(jobs, durable);
                }
            })
            .map_err(|_| Error::internal())?;
        Ok(Self { shared, groups })
    }

    /// Until every group that was handed over is answered.
    pub(super) fn wait(&self) {
        while !self.is_idle() {
            std::thread::sleep(LOOKING);
        }
    }

    fn is_idle(&self) -> bool {
        self.shared.handed_over.load(Ordering::Acquire) == 0
    }

    pub(super) fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// From now on nothing is answered with `Ok`: nobody knows what the disk holds.
    pub(super) fn fail(&self) {
        self.shared.fail();
    }

    /// How long the last flush took.
    pub(super) fn took(&self) -> Duration {
        Duration::from_nanos(self.shared.took.load(Ordering::Relaxed))
    }

    /// Flushes here and now, unless the thread has something to flush: then as [`Self::hand_over`].
    pub(super) fn flush(&self, group: Group) {
        if self.is_idle() {
            let durable = self.shared.flush();
            self.shared.answer(group, durable);
        } else {
            self.hand_over(group);
        }
    }

    pub(super) fn hand_over(&self, group: Group) {
        self.shared.handed_over.fetch_add(1, Ordering::AcqRel);
        if let Err(mpsc::SendError(group)) = self.groups.send(group) {
            self.shared.handed_over.fetch_sub(1, Ordering::AcqRel);
            self.refuse(group);
        }
    }

    /// Answers those whose commit failed.
    pub(super) fn refuse(&self, group: Group) {
        self.shared.answer(group, false);
    }
}

impl Shared {
    fn flush(&self) -> bool {
        let start = Instant::now();
        let flush = || catch_unwind(AssertUnwindSafe(|| (self.flush)())).is_ok_and(|flushed| flushed.is_ok());
        let flushed = !self.failed.load(Ordering::Acquire) && flush();
        self.took.store(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if !flushed {
            self.fail();
        }
        flushed
    }

    fn fail(&self) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(
                "the state file could not be flushed: nothing more is written until the server is started again"
            );
        }
    }

    fn answer(&self, group: Group, durable: bool) {
        self.in_flight.fetch_sub(group.len(), Ordering::AcqRel);
        group.into_iter().for_each(|job| job.answer(durable));
    }
}
