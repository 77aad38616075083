//! How far a statement has come, for those who may watch it while it runs.
//!
//! In: the stages that a statement goes through, and the scans of the plan that runs. Out: the stage, and the fraction of the files'
//! rows that were read. Must never: tell more about the data than the statement's duration does.
//!
//! **What the fraction may tell.** It is about files that are read from end to end: where a filter, a join or a limit may pass over a
//! part of a file there is none, since how much was passed over is a fact about the values in it. It is rounded down to tenths, and
//! given for long scans only, in which a tenth is many batches: so it goes through 0, 0.1, … 1 whatever the data holds, and
//! only when it does so depends on the data, as the time of the answer does.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;

use super::admission::{SHORT, rows_of};

/// In the order in which a query goes through them; a statement that is no query stays in the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// Resolved, checked, rewritten, proved, priced, paid for and logged.
    #[default]
    Compile,
    /// Others that are long run before it.
    Waiting,
    /// The files are read.
    Scan,
    /// What was released is stored, shaped and logged.
    Release,
    /// The client takes the rows.
    Sending,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Waiting => "waiting",
            Self::Scan => "scan",
            Self::Release => "release",
            Self::Sending => "sending",
        }
    }
}

/// Of one session; shared between the session and those who look on.
#[derive(Default)]
pub struct Progress {
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    stage: Stage,
    /// Scans whose rows are all read, and how many there are in all.
    scans: Vec<Arc<dyn ExecutionPlan>>,
    rows: usize,
}

/// While this lives, the scans of a plan count.
pub(super) struct Scanning<'a> {
    progress: &'a Progress,
}

impl Progress {
    pub fn enter(&self, stage: Stage) {
        *self.lock() = Now { stage, ..Now::default() };
    }

    pub fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// Of the rows of the files that are read now: 0, 0.1, … 1; `None` where that is not known or would tell of the data.
    pub fn fraction_scanned(&self) -> Option<f64> {
        let now = self.lock();
        if now.scans.is_empty() || now.rows <= SHORT {
            return None;
        }
        let read = |scan: &Arc<dyn ExecutionPlan>| scan.metrics().and_then(|metrics| metrics.output_rows());
        let read: usize = now.scans.iter().filter_map(read).sum();
        Some(((10.0 * read as f64 / now.rows as f64).floor() / 10.0).min(1.0))
    }

    /// Plans begin to run, together.
    pub(super) fn scan(&self, plans: &[Arc<dyn ExecutionPlan>]) -> Scanning<'_> {
        let mut scans = Vec::new();
        let whole = plans.iter().all(|plan| whole_files(plan, &mut scans));
        let rows = if whole { scans.iter().map(rows_of).sum::<Option<usize>>() } else { None };
        *self.lock() = match rows {
            Some(rows) => Now { stage: Stage::Scan, scans, rows },
            None => Now { stage: Stage::Scan, ..Now::default() },
        };
        Scanning { progress: self }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scanning<'_> {
    fn drop(&mut self) {
        self.progress.enter(Stage::Release);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("stage", &self.stage()).finish_non_exhaustive()
    }
}

/// Gathers the plan's scans of files; `false` where one of them may pass over rows. Filters that a join or a sort finds while it
/// runs stand in the scan's filter as well.
fn whole_files(plan: &Arc<dyn ExecutionPlan>, scans: &mut Vec<Arc<dyn ExecutionPlan>>) -> bool {
    let inputs = plan.children();
    if inputs.is_empty() {
        let source = plan.downcast_ref::<DataSourceExec>().map(DataSourceExec::data_source);
        let Some(files) = source.and_then(|source| source.downcast_ref::<FileScanConfig>()) else {
            // Rows that are in memory were released before.
            return true;
        };
        scans.push(plan.clone());
        return files.file_source().filter().is_none() && files.limit.is_none();
    }
    inputs.into_iter().all(|input| whole_files(input, scans))
}
