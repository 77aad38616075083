//! Which queries run at once, and where: long ones take turns on threads of their own, short ones do not wait for them.
//!
//! In: a physical plan. Out: its [`Turn`], now or when one of the long ones before it is done, in the order in which they came. As
//! many long ones run as there are cores: more of them would only share the cores and the memory, and all end later. How long a
//! query is, is known from how many rows its files say they hold, else from how large they are.
//!
//! A long query holds a thread for as long as a batch takes it. On the threads that serve, every other session would wait for that:
//! short questions, cancellations and the ends of sessions. On threads of its own the system shares the cores between both.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, Result};

/// Rows that a core reads in a few hundredths of a second.
pub(super) const SHORT: usize = 500_000;
/// Of a file that does not say how many rows it has: about what a row of text takes.
const ROW_BYTES: u64 = 16;

pub(super) struct Admission {
    long: Semaphore,
    threads: Option<Runtime>,
}

/// Leave to run.
pub(super) enum Turn<'a> {
    Short,
    /// While the permit is held nobody else has this turn.
    Long(&'a Runtime, #[allow(dead_code, reason = "held until it is dropped")] SemaphorePermit<'a>),
}

impl Admission {
    /// Where there can be no threads, long ones run where short ones do.
    pub fn new(cores: usize) -> Self {
        let threads =
            Builder::new_multi_thread().worker_threads(cores).thread_name("long-queries").enable_all().build();
        Self { long: Semaphore::new(cores), threads: threads.ok() }
    }

    /// One turn for plans that run together. Whoever waits and is cancelled leaves the queue.
    pub async fn admit(&self, plans: &[Arc<dyn ExecutionPlan>]) -> Result<Turn<'_>> {
        if rows_read(plans).is_some_and(|rows| rows <= SHORT) {
            return Ok(Turn::Short);
        }
        self.long_turn().await
    }

    pub async fn long_turn(&self) -> Result<Turn<'_>> {
        let Some(threads) = &self.threads else {
            return Ok(Turn::Short);
        };
        let permit = self.long.acquire().await.map_err(|_| Error::internal())?;
        Ok(Turn::Long(threads, permit))
    }
}

impl Drop for Admission {
    /// Threads are not waited for: that is not possible on a thread that serves.
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl Turn<'_> {
    /// Runs to the end, or until this future is dropped: then the work ends where it next could wait.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        match self {
            Self::Short => Ok(work.await),
            Self::Long(threads, _) => AbortOnDropHandle::new(threads.spawn(work)).await.map_err(|_| Error::internal()),
        }
    }
}

/// Of all files; nothing where that is not known.
fn rows_read<'a>(plans: impl IntoIterator<Item = &'a Arc<dyn ExecutionPlan>>) -> Option<usize> {
    let mut rows = plans.into_iter().map(|plan| {
        let inputs = plan.children();
        if inputs.is_empty() { rows_of(plan).or_else(|| rows_for_size(plan)) } else { rows_read(inputs) }
    });
    rows.try_fold(0_usize, |sum, rows| Some(sum.saturating_add(rows?)))
}

/// What the files of one scan say they hold.
pub(super) fn rows_of(scan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let statistics = StatisticsContext::new().compute(scan.as_ref(), &StatisticsArgs::new()).ok()?;
    match statistics.num_rows {
        Precision::Exact(rows) | Precision::Inexact(rows) => Some(rows),
        Precision::Absent => None,
    }
}

fn rows_for_size(scan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let source = scan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()?;
    // A large file is cut into ranges, each of which names the whole file.
    let sizes = source.file_groups.iter().flat_map(|group| group.files()).map(|file| match &file.range {
        Some(range) => u64::try_from(range.end.saturating_sub(range.start)).unwrap_or(u64::MAX),
        None => file.object_meta.size,
    });
    usize::try_from(sizes.fold(0, u64::saturating_add) / ROW_BYTES).ok()
}
