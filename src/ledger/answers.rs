//! The answer store: measured rows under a key of rows, data, rules and scope. What was released once may be shown again
//! for nothing; showing it again tells nothing new.
//!
//! In: bytes that a paid release made. Out: the same bytes, the oldest first, so that what was shown first is shown again.

use super::{Ledger, Reservation};
use crate::error::Result;

impl Ledger {
    /// Everything that is kept about these rows.
    pub async fn stored(&self, rows: &[u8; 32]) -> Result<Vec<Vec<u8>>> {
        let rows = *rows;
        self.state
            .read(move |connection| {
                let mut kept = connection
                    .prepare_cached("SELECT measured FROM stored_answer WHERE rows = ?1 ORDER BY log_id, id")?;
                Ok(kept.query_map([rows], |row| row.get(0))?.collect::<std::result::Result<_, _>>()?)
            })
            .await
    }

    /// Only what was paid for can be stored.
    pub async fn store(
        &self,
        paid: &Reservation,
        rows: &[u8; 32],
        measured: Vec<u8>,
        release_epoch: u64,
    ) -> Result<()> {
        let row = (*rows, paid.log_id().get(), release_epoch as i64, measured);
        self.state
            .write(move |tx| {
                tx.prepare_cached(
                    "INSERT INTO stored_answer (rows, log_id, release_epoch, measured) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(row)?;
                Ok(())
            })
            .await
    }

    /// Drops the answers that were given under earlier policies.
    pub async fn forget_before_epoch(&self, release_epoch: u64) -> Result<()> {
        self.state
            .write(move |tx| {
                tx.execute("DELETE FROM stored_answer WHERE release_epoch < ?1", [release_epoch as i64])?;
                Ok(())
            })
            .await
    }
}
