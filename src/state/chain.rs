//! The seal of what is only added to (the log, the record of changes): each row's `chain` is HMAC-SHA-256 of the row and of the seal before it, under a key of this state file.
//!
//! In: a row about to be added. Out: its seal. [`Chain::verify`] finds a row that was changed, removed or put in between, and
//! an end that was cut off, because the head (how many rows, the last seal) is sealed too. Whoever holds the state file *and*
//! its key can forge a whole log, and an old copy of the whole file verifies: against those, the head must be kept elsewhere.

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::Serialize;
use sha2::Sha256;

use super::secret;
use crate::error::{Error, Result};

type Seal = [u8; 32];

/// Where the log stops being what was written. Budget lines have no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    pub table: &'static str,
    pub id: i64,
}

#[derive(Clone)]
pub struct Chain {
    key: Seal,
}

/// The next link of one table's chain: ids have no gaps, so the id is the number of rows.
pub struct Link {
    table: &'static str,
    pub id: i64,
    previous: Seal,
}

/// Where a state file keeps the key.
pub(super) const KEY: &str = "log chain";

impl Chain {
    pub fn new(key: Seal) -> Self {
        Self { key }
    }

    /// Of the file that the transaction is of.
    pub(super) fn of(tx: &Transaction) -> Result<Self> {
        secret(tx, KEY).map(Self::new)
    }

    pub fn next(&self, tx: &Transaction, table: &'static str) -> Result<Link> {
        let (rows, previous) = head(tx, table)?.map_or((0, [0; 32]), |head| (head.0, head.1));
        Ok(Link { table, id: rows + 1, previous })
    }

    /// Moves the head on; the caller writes the row with this seal in the same transaction.
    pub fn seal(&self, tx: &Transaction, link: &Link, row: &impl Serialize) -> Result<Seal> {
        let seal = self.link(&link.previous, link.id, row)?;
        let of_head = self.seal_of_head(link.table, link.id, &seal)?;
        tx.prepare_cached("INSERT OR REPLACE INTO chain_head VALUES (?1, ?2, ?3, ?4)")?
            .execute((link.table, link.id, seal, of_head))?;
        Ok(seal)
    }

    /// Walks one table from the start. `rows` gives id, content and seal of each row in the order of ids.
    pub fn verify_table<R: Serialize>(
        &self,
        connection: &Connection,
        table: &'static str,
        rows: impl Iterator<Item = Result<(i64, R, Seal)>>,
    ) -> Result<Option<Broken>> {
        let mut last: (i64, Seal) = (0, [0; 32]);
        for row in rows {
            let (id, row, seal) = row?;
            let next = last.0 + 1;
            if id != next || self.link(&last.1, id, &row)? != seal {
                return Ok(Some(Broken { table, id: next }));
            }
            last = (id, seal);
        }
        let whole = match head(connection, table)? {
            None => last.0 == 0,
            Some((rows, seal, of_head)) => (rows, seal) == last && of_head == self.seal_of_head(table, rows, &seal)?,
        };
        Ok((!whole).then_some(Broken { table, id: last.0 + 1 }))
    }

    fn link(&self, previous: &Seal, id: i64, row: &impl Serialize) -> Result<Seal> {
        let row = serde_json::to_vec(row).map_err(|_| Error::internal())?;
        self.hmac(&[b"row", previous, &id.to_be_bytes(), &row])
    }

    fn seal_of_head(&self, table: &str, rows: i64, seal: &Seal) -> Result<Seal> {
        self.hmac(&[b"head", &rows.to_be_bytes(), seal, table.as_bytes()])
    }

    fn hmac(&self, parts: &[&[u8]]) -> Result<Seal> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).map_err(|_| Error::internal())?;
        for part in parts {
            mac.update(part);
        }
        Ok(mac.finalize().into_bytes().into())
    }
}

fn head(connection: &Connection, table: &str) -> Result<Option<(i64, Seal, Seal)>> {
    Ok(connection
        .prepare_cached("SELECT rows, chain, seal FROM chain_head WHERE name = ?1")?
        .query_row([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?)
}
