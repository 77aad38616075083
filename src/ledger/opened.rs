//! Rows that were shown under grants of access: how many different ones, over a grant's life.
//!
//! In: the names of an answer's rows, before it leaves. Out: nothing, or a refusal that keeps nothing of them. A name says nothing
//! without the grant's key. When a grant is over its names go, and how many there were stays.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use super::Ledger;
use crate::error::{Error, Result, SqlState};

impl Ledger {
    /// Errors: 42501 where the grant was over already, 53400 where it would have shown more than `cap` rows.
    pub async fn open_rows(&self, access: u64, rows: BTreeSet<[u8; 16]>, cap: u64) -> Result<()> {
        let access = i64::try_from(access).map_err(|_| Error::internal())?;
        self.state
            .write(move |tx| {
                if is_swept(tx, access)? {
                    return Err(refuse_ended(access));
                }
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

    /// Those of `done` whose names are still there, or may be.
    pub async fn unswept_access(&self, done: BTreeSet<u64>) -> Result<BTreeSet<u64>> {
        self.state
            .read(move |connection| {
                let mut statement = connection.prepare_cached("SELECT access_grant FROM access_swept")?;
                let swept = statement.query_map([], |row| row.get::<_, i64>(0))?;
                let swept = swept.collect::<std::result::Result<BTreeSet<i64>, _>>()?;
                Ok(done.into_iter().filter(|id| i64::try_from(*id).is_ok_and(|id| !swept.contains(&id))).collect())
            })
            .await
    }

    /// These grants are over: the names of the rows that they showed go, their number stays.
    pub async fn sweep_access(&self, done: BTreeSet<u64>) -> Result<()> {
        self.state
            .write(move |tx| {
                for access in done {
                    let access = i64::try_from(access).map_err(|_| Error::internal())?;
                    tx.prepare_cached(
                        "INSERT OR IGNORE INTO access_swept SELECT ?1, count(*) FROM opened_row WHERE access_grant = ?1",
                    )?
                    .execute([access])?;
                    tx.prepare_cached("DELETE FROM opened_row WHERE access_grant = ?1")?.execute([access])?;
                }
                Ok(())
            })
            .await
    }

    /// How many different rows each grant of access has shown.
    pub async fn access_rows(&self) -> Result<BTreeMap<u64, u64>> {
        self.state
            .read(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT access_grant, count(*) FROM opened_row GROUP BY access_grant
                     UNION ALL SELECT access_grant, rows FROM access_swept",
                )?;
                let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
                let number = |number: i64| u64::try_from(number).unwrap_or_default();
                let mut shown = BTreeMap::new();
                for row in rows {
                    let (id, rows) = row?;
                    *shown.entry(number(id)).or_default() += number(rows);
                }
                Ok(shown)
            })
            .await
    }
}

fn is_swept(tx: &Transaction, access: i64) -> Result<bool> {
    let mut swept = tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM access_swept WHERE access_grant = ?1)")?;
    Ok(swept.query_row([access], |row| row.get(0))?)
}

fn refuse_ended(access: i64) -> Error {
    Error::new(SqlState::InsufficientPrivilege, format!("access {access} is over"))
        .detail("it ended while the rows were read")
        .hint("CALL privacy.request_access(…) asks for another")
}

fn refuse_more(access: i64, cap: u64) -> Error {
    Error::new(SqlState::ConfigurationLimitExceeded, format!("access {access} has no more rows to show"))
        .detail(format!(
            "one grant shows {cap} different rows at most (privacy.access_row_cap); rows that it showed before stay"
        ))
        .hint("ask for fewer rows, for an aggregate, or for another grant")
}
