//! The record of changes: what administrators decided, each row sealed together with all before it.
//!
//! In: a change that is being made, in the transaction that makes it. Out: its row, at the end of the chain. Rows are never changed and
//! never removed. Rows from before they were sealed are sealed once, by the step that adds the seals; from then on a row without one is
//! one that somebody put there.

use rusqlite::{Connection, Row};
use serde::Serialize;

use super::chain::{Broken, Chain, ToSeal};
use super::writing::Writing;
use crate::error::Result;

const TABLE: &str = "catalog_change";

/// What the seal of a change covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeRow {
    /// Of the policies, from this change on.
    pub epoch: i64,
    /// Microseconds since 1970.
    pub at: i64,
    pub actor: String,
    /// The statement, without what is secret.
    pub change: String,
    /// JSON: a list of what differs.
    pub differences: String,
}

impl ChangeRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            epoch: row.get("epoch")?,
            at: row.get("at")?,
            actor: row.get("actor")?,
            change: row.get("change")?,
            differences: row.get("differences")?,
        })
    }
}

pub fn record_change(tx: &Writing, row: &ChangeRow) -> Result<()> {
    let chain = Chain::of(tx)?;
    let link = chain.next(tx, TABLE)?;
    let seal = chain.seal(tx, &link, &ToSeal::of(row)?)?;
    tx.prepare_cached(
        "INSERT INTO catalog_change (epoch, at, actor, change, differences, id, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((row.epoch, row.at, &row.actor, &row.change, &row.differences, link.id, seal))?;
    Ok(())
}

/// The first row that is not what was written; an end that was cut off; or changes of which there is no record.
pub fn verify_changes(chain: &Chain, connection: &Connection) -> Result<Option<Broken>> {
    let unsealed = "SELECT count(*) FROM catalog_change WHERE id IS NULL OR chain IS NULL";
    let unsealed: i64 = connection.query_row(unsealed, [], |row| row.get(0))?;
    if unsealed > 0 {
        return Ok(Some(Broken { table: TABLE, id: 0 }));
    }
    let mut changes = connection.prepare("SELECT * FROM catalog_change ORDER BY id")?;
    let rows = changes.query_and_then([], |row| Ok((row.get("id")?, ChangeRow::read(row)?, row.get("chain")?)))?;
    if let Some(broken) = chain.verify_table(connection, TABLE, rows)? {
        return Ok(Some(broken));
    }
    let unrecorded = "SELECT (SELECT max(epoch) FROM catalog_epoch) IS NOT (SELECT max(epoch) FROM catalog_change)";
    let unrecorded: bool = connection.query_row(unrecorded, [], |row| row.get(0))?;
    let last = "SELECT coalesce(max(id), 0) FROM catalog_change";
    let last: i64 = connection.query_row(last, [], |row| row.get(0))?;
    Ok(unrecorded.then_some(Broken { table: TABLE, id: last + 1 }))
}

/// The step that adds the seals: rows that are there get theirs, in the order of their epochs.
pub(super) fn seal_changes(tx: &Writing) -> Result<()> {
    let rows: Vec<ChangeRow> = tx
        .prepare("SELECT * FROM catalog_change ORDER BY epoch")?
        .query_and_then([], ChangeRow::read)?
        .collect::<Result<_>>()?;
    if rows.is_empty() {
        return Ok(());
    }
    let chain = Chain::of(tx)?;
    for row in rows {
        let link = chain.next(tx, TABLE)?;
        let seal = chain.seal(tx, &link, &ToSeal::of(&row)?)?;
        tx.execute("UPDATE catalog_change SET id = ?1, chain = ?2 WHERE epoch = ?3", (link.id, seal, row.epoch))?;
    }
    Ok(())
}
