//! The answer store: released rows under a key of plan, data snapshot and scope. What was released once may be shown again
//! for nothing; showing it again tells nothing new.
//!
//! In: bytes that a paid release made. Out: the same bytes. The first answer under a key stays.

use rusqlite::OptionalExtension;

use super::{Ledger, Reservation};
use crate::error::Result;

impl Ledger {
    pub async fn stored(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>> {
        let key = *key;
        self.state
            .read(move |connection| {
                Ok(connection
                    .prepare_cached("SELECT released FROM stored_answer WHERE key = ?1")?
                    .query_row([key], |row| row.get(0))
                    .optional()?)
            })
            .await
    }

    /// Only what was paid for can be stored. When the key is there already, what it holds stays.
    pub async fn store(&self, paid: &Reservation, key: &[u8; 32], released: Vec<u8>, release_epoch: u64) -> Result<()> {
        let row = (*key, paid.log_id().get(), release_epoch as i64, released);
        self.state
            .write(move |tx| {
                tx.prepare_cached("INSERT OR IGNORE INTO stored_answer VALUES (?1, ?2, ?3, ?4)")?.execute(row)?;
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
