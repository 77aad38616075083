//! What a grant of access needs while it is live and nobody needs after: its key, and the names of the rows that it showed.
//!
//! In: the policies of now. Out: keys and names of grants that are over are gone; the grants themselves, their uses in the log and how many
//! rows they showed stay, as evidence. When: as the server starts, whenever somebody connects, and after every administrator's statement.

use std::collections::BTreeSet;

use super::Server;
use crate::error::{Error, Result};

impl Server {
    /// The key goes first: without it the names are of no use to anybody. A failure is tried again the next time.
    pub(super) async fn sweep_access(&self) {
        if let Err(error) = self.try_sweep().await {
            tracing::warn!(sqlstate = error.sqlstate.code(), "what grants of access needed could not be removed");
        }
    }

    async fn try_sweep(&self) -> Result<()> {
        let now = chrono::Utc::now().timestamp();
        let policies = self.catalog.policies();
        let done: BTreeSet<u64> = policies.access.values().filter(|g| g.is_done(now)).map(|grant| grant.id).collect();
        if done.is_empty() {
            return Ok(());
        }
        let due = self.ledger.unswept_access(done).await?;
        if due.is_empty() {
            return Ok(());
        }
        let (keys, over) = (self.keys.clone(), due.clone());
        tokio::task::spawn_blocking(move || keys.forget(&over)).await.map_err(|_| Error::internal())??;
        self.ledger.sweep_access(due).await
    }
}
