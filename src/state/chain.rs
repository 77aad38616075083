//! The seal of what is only added to (the log, the record of changes): each row's `chain` is HMAC-SHA-256 of the row and of the seal before it, under a key of this state file.
//!
//! In: a row about to be added. Out: its seal. [`Chain::verify_table`] finds a row that was changed, removed or put in between, and
//! an end that was cut off, because the head (how many rows, the last seal) is sealed too. Whoever holds the state file *and*
//! its key can forge a whole log, and an old copy of the whole file verifies: against those, the head must be kept elsewhere.
//! The head moves with each row and is sealed and written once a commit: what others see, and what a crash leaves, are commits.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::Serialize;
use sha2::Sha256;

use super::kept::{Kept, Rows};
use super::secret;
use super::writing::Writing;
use crate::error::{Error, Result};

type Seal = [u8; 32];

/// Where the log stops being what was written. Budget lines have no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    pub table: &'static str,
    pub id: i64,
}

/// Clones share the key's schedule.
#[derive(Clone)]
pub struct Chain {
    keyed: Arc<Hmac<Sha256>>,
}

/// The next link of one table's chain: ids have no gaps, so the id is the number of rows.
pub struct Link {
    table: &'static str,
    pub id: i64,
    previous: Seal,
}

/// The words of a row that its seal covers. They can be made before it is the row's turn.
pub struct ToSeal(Vec<u8>);

impl ToSeal {
    pub fn of(row: &impl Serialize) -> Result<Self> {
        serde_json::to_vec(row).map(Self).map_err(|_| Error::internal())
    }
}

/// The ends of the chains that a group of jobs has come to: at its commit they are what writing them after every row would have left.
#[derive(Default)]
struct Heads(Rows<&'static str, Head>);

struct Head {
    rows: i64,
    last: Seal,
    /// What seals it, where rows were added.
    moved: Option<Chain>,
}

impl Kept for Heads {
    fn keep(&mut self) {
        self.0.keep();
    }

    fn forget(&mut self) {
        self.0.forget();
    }

    fn write(&self, tx: &Transaction) -> Result<()> {
        for (table, head) in self.0.iter() {
            if let Some(chain) = &head.moved {
                let of_head = chain.seal_of_head(table, head.rows, &head.last);
                tx.prepare_cached("INSERT OR REPLACE INTO chain_head VALUES (?1, ?2, ?3, ?4)")?
                    .execute((table, head.rows, head.last, of_head))?;
            }
        }
        Ok(())
    }
}

/// Where a state file keeps the key.
pub(super) const KEY: &str = "log chain";

impl Chain {
    pub fn new(key: Seal) -> Self {
        // RFC 2104 fills a key up to the block with zeros; done here, there is no wrong length to handle.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&key);
        Self { keyed: Arc::new(Hmac::new(&block.into())) }
    }

    /// Of the file that the transaction is of.
    pub(super) fn of(tx: &Transaction) -> Result<Self> {
        secret(tx, KEY).map(Self::new)
    }

    pub fn next(&self, writing: &Writing, table: &'static str) -> Result<Link> {
        writing.kept(|heads: &mut Heads| {
            if let Some(head) = heads.0.get(&table) {
                return Ok(Link { table, id: head.rows + 1, previous: head.last });
            }
            let (rows, last) = head(writing, table)?.map_or((0, [0; 32]), |head| (head.0, head.1));
            heads.0.put(table, Head { rows, last, moved: None });
            Ok(Link { table, id: rows + 1, previous: last })
        })
    }

    /// Moves the head on; the caller writes the row with this seal in the same job.
    pub fn seal(&self, writing: &Writing, link: &Link, row: &ToSeal) -> Result<Seal> {
        let last = self.link(&link.previous, link.id, row);
        let head = Head { rows: link.id, last, moved: Some(self.clone()) };
        writing.kept(|heads: &mut Heads| {
            heads.0.put(link.table, head);
            Ok(last)
        })
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
            if id != next || self.link(&last.1, id, &ToSeal::of(&row)?) != seal {
                return Ok(Some(Broken { table, id: next }));
            }
            last = (id, seal);
        }
        let whole = match head(connection, table)? {
            None => last.0 == 0,
            Some((rows, seal, of_head)) => (rows, seal) == last && of_head == self.seal_of_head(table, rows, &seal),
        };
        Ok((!whole).then_some(Broken { table, id: last.0 + 1 }))
    }

    fn link(&self, previous: &Seal, id: i64, row: &ToSeal) -> Seal {
        self.hmac(&[b"row", previous, &id.to_be_bytes(), &row.0])
    }

    fn seal_of_head(&self, table: &str, rows: i64, seal: &Seal) -> Seal {
        self.hmac(&[b"head", &rows.to_be_bytes(), seal, table.as_bytes()])
    }

    fn hmac(&self, parts: &[&[u8]]) -> Seal {
        let mut mac = self.keyed.as_ref().clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

fn head(connection: &Connection, table: &str) -> Result<Option<(i64, Seal, Seal)>> {
    Ok(connection
        .prepare_cached("SELECT rows, chain, seal FROM chain_head WHERE name = ?1")?
        .query_row([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?)
}
