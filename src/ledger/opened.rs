//! Rows that were shown under grants of access: how many different ones, over a grant's life.
//!
//! In: the names of an answer's rows, before it leaves. Out: nothing, or a refusal that keeps nothing of them. A name says nothing
//! without the grant's key.

use std::collections::BTreeSet;

use super::Ledger;
use crate::error::{Error, Result, SqlState};

impl Ledger {
    /// Errors: 53400 where the grant would have shown more than `cap` rows.
    pub async fn open_rows(&self, access: u64, rows: BTreeSet<[u8; 16]>, cap: u64) -> Result<()> {
        let access = i64::try_from(access).map_err(|_| Error::internal())?;
        self.state
            .write(move |tx| {
                {
                    let mut add = tx.prepare_cached("INSERT OR IGNORE INTO opened_row VALUES (?1, ?2)")?;
                    for row in &rows {
                        add.execute((access, row))?;
                    }
                }
                let mut count = tx.prepare_cached("SELECT count(*) FROM opened_row WHERE access_grant = ?1")?;
                let shown: i64 = count.query_row([access], |row| row.get(0))?;
                if u64::try_from(shown).unwrap_or(u64::MAX) > cap {
                    return Err(refuse_more(access, cap));
                }
                Ok(())
            })
            .await
    }
}

fn refuse_more(access: i64, cap: u64) -> Error {
    Error::new(SqlState::ConfigurationLimitExceeded, format!("access {access} has no more rows to show"))
        .detail(format!(
            "one grant shows {cap} different rows at most (privacy.access_row_cap); rows that it showed before stay"
        ))
        .hint("ask for fewer rows, for an aggregate, or for another grant")
}
