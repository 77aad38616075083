//! The answer store: measured rows under a key of rows, data, rules and scope. What was released once may be shown again
//! for nothing; showing it again tells nothing new.
//!
//! In: bytes that a paid release made, and what they answer, in its own words. Out: the same, the oldest first, so that what was
//! shown first is shown again.

use rusqlite::{OptionalExtension, Row, Transaction};

use super::{Ledger, LogId, Reservation};
use crate::error::Result;
use crate::state::Writing;

/// One kept answer.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAnswer {
    id: i64,
    /// As whoever stored it wrote it.
    pub answers: String,
}

/// What is to be kept of a statement's answer.
#[derive(Debug)]
pub struct ToStore {
    log: LogId,
    rows: [u8; 32],
    answers: String,
    measured: Vec<u8>,
    release_epoch: u64,
}

impl ToStore {
    /// Only what was paid for can be stored.
    pub fn new(paid: &Reservation, rows: [u8; 32], answers: String, measured: Vec<u8>, release_epoch: u64) -> Self {
        Self { log: paid.log_id(), rows, answers, measured, release_epoch }
    }

    pub(super) fn insert(self, tx: &Transaction) -> Result<()> {
        let row = (self.rows, self.log.get(), self.release_epoch as i64, self.answers, self.measured);
        tx.prepare_cached(
            "INSERT INTO stored_answer (rows, log_id, release_epoch, answers, measured) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(row)?;
        Ok(())
    }
}

impl Ledger {
    /// What the answers that are kept about these rows answer.
    pub async fn stored(&self, rows: &[u8; 32]) -> Result<Vec<StoredAnswer>> {
        let (rows, about) = (*rows, self.about.clone());
        self.state
            .glance(move |connection| {
                let mut kept = connection
                    .prepare_cached("SELECT log_id, answers FROM stored_answer WHERE id = ?1 AND rows = ?2")?;
                let mut found = Vec::new();
                for id in about.ids(connection, &rows)? {
                    let answer = |row: &Row| Ok((row.get::<_, i64>(0)?, StoredAnswer { id, answers: row.get(1)? }));
                    found.extend(kept.query_row((id, rows), answer).optional()?);
                }
                found.sort_by_key(|(log, answer)| (*log, answer.id));
                Ok(found.into_iter().map(|(_, answer)| answer).collect())
            })
            .await
    }

    /// The bytes of one of them.
    pub async fn measured(&self, answer: &StoredAnswer) -> Result<Vec<u8>> {
        let id = answer.id;
        self.state
            .read(move |connection| {
                let mut kept = connection.prepare_cached("SELECT measured FROM stored_answer WHERE id = ?1")?;
                Ok(kept.query_row([id], |row| row.get(0))?)
            })
            .await
    }

    /// Drops the answers that were given under earlier policies.
    pub async fn forget_before_epoch(&self, release_epoch: u64) -> Result<()> {
        let delete = move |tx: &Writing| {
            tx.execute("DELETE FROM stored_answer WHERE release_epoch < ?1", [release_epoch as i64])?;
            Ok(())
        };
        self.state.write(delete).await?;
        self.about.forget();
        Ok(())
    }
}
