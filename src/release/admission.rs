//! Which queries run at once: long ones take turns, short ones do not wait for them.
//!
//! In: a physical plan. Out: leave to run it, now or when one of the long ones before it is done, in the order in which they came. As
//! many long ones run as there are cores: more of them would only share the cores and the memory, and all end later. How long a
//! query is, is known from how many rows its files say they hold; where they do not say, it counts as long.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Error, Result};

/// Rows that a core reads in a few hundredths of a second.
pub(super) const SHORT: usize = 500_000;

pub(super) struct Admission {
    long: Semaphore,
}

impl Admission {
    pub fn new(cores: usize) -> Self {
        Self { long: Semaphore::new(cores) }
    }

    /// Whoever waits and is cancelled leaves the queue.
    pub async fn admit(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<SemaphorePermit<'_>>> {
        if rows_read(plan).is_some_and(|rows| rows <= SHORT) {
            return Ok(None);
        }
        self.long.acquire().await.map(Some).map_err(|_| Error::internal())
    }
}

/// Of all files; nothing where one does not say.
fn rows_read(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let inputs = plan.children();
    if inputs.is_empty() {
        return rows_of(plan);
    }
    inputs.into_iter().map(rows_read).try_fold(0_usize, |sum, rows| Some(sum.saturating_add(rows?)))
}

/// What the files of one scan say they hold.
pub(super) fn rows_of(scan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    let statistics = StatisticsContext::new().compute(scan.as_ref(), &StatisticsArgs::new()).ok()?;
    match statistics.num_rows {
        Precision::Exact(rows) | Precision::Inexact(rows) => Some(rows),
        Precision::Absent => None,
    }
}
