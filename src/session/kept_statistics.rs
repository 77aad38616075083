//! What ANALYZE released, remembered: every question asks for it, and it changes when ANALYZE says so.
//!
//! In: a table and the identity of its data. Out: its statistics, as the state file has them. Must never: give those of other data, or
//! of before an epoch of the statistics that a statement has seen; both are compared each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Server;
use crate::error::Result;
use crate::query::statistics::Statistics;

/// By table.
#[derive(Default)]
pub(super) struct KeptStatistics(Mutex<HashMap<String, Kept>>);

#[derive(Clone)]
struct Kept {
    epoch: u64,
    snapshot: String,
    statistics: Option<Arc<Statistics>>,
}

/// Tables come and go.
const MOST: usize = 4096;

impl Server {
    pub(super) async fn statistics_kept(&self, table: &str, snapshot: &str) -> Result<Option<Arc<Statistics>>> {
        // As it was before they are read: those that are read may be newer, and are read once more then.
        let epoch = self.catalog.statistics_epoch();
        if let Some(known) = self.kept_statistics.find(table, snapshot, epoch) {
            return Ok(known);
        }
        let text = self.ledger.statistics(table, snapshot).await?;
        let statistics = text.and_then(|text| Statistics::from_text(&text)).map(Arc::new);
        let kept = Kept { epoch, snapshot: snapshot.to_owned(), statistics: statistics.clone() };
        self.kept_statistics.keep(table, kept);
        Ok(statistics)
    }
}

impl KeptStatistics {
    fn find(&self, table: &str, snapshot: &str, epoch: u64) -> Option<Option<Arc<Statistics>>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.get(table).filter(|known| known.epoch == epoch && known.snapshot == snapshot)?;
        Some(known.statistics.clone())
    }

    fn keep(&self, table: &str, kept: Kept) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(table.to_owned(), kept);
    }
}
