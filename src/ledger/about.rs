//! Which stored answers are about which rows.
//!
//! In: the keys of stored answers, in the order in which they were committed. Out: the ids of those with one key. Keys look drawn by
//! chance: an index of them in the file gives every answer a page of its own to write, to flush and to copy, which was more than half of
//! what a paid statement wrote. So the file keeps keys in the order of their writing, and this keeps them sorted, in memory: 16 bytes
//! an answer, and what the tree needs. Law: what is looked for in a state of the file is found if it is there, whichever server wrote it,
//! because each look begins with what is new; ids are never used twice. Ids of answers that another server dropped stay here until a start.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::error::Result;

#[derive(Default)]
pub(super) struct About(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// A key's first bytes, and an answer's id: several keys may begin with the same.
    answers: BTreeSet<(u64, i64)>,
    /// Every answer up to this one is known.
    until: i64,
}

impl About {
    /// What is there when a server starts, so that nobody's question waits for it.
    pub(super) fn read_on(&self, connection: &Connection) -> Result<()> {
        self.known().read_on(connection)
    }

    /// Ids of the answers whose key begins as `rows` does, those of answers that are gone among them.
    pub(super) fn ids(&self, connection: &Connection, rows: &[u8; 32]) -> Result<Vec<i64>> {
        let mut known = self.known();
        known.read_on(connection)?;
        let first = first_bytes(rows);
        Ok(known.answers.range((first, i64::MIN)..=(first, i64::MAX)).map(|(_, id)| *id).collect())
    }

    /// To be called when many answers are gone: those that are left are read again.
    pub(super) fn forget(&self) {
        *self.known() = Known::default();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn read_on(&mut self, connection: &Connection) -> Result<()> {
        let mut newer = connection.prepare_cached(
            "SELECT id, rows FROM stored_answer INDEXED BY stored_answer_in_order WHERE id > ?1 ORDER BY id",
        )?;
        let mut newer = newer.query([self.until])?;
        while let Some(row) = newer.next()? {
            let (id, rows): (i64, [u8; 32]) = (row.get(0)?, row.get(1)?);
            self.answers.insert((first_bytes(&rows), id));
            self.until = id;
        }
        Ok(())
    }
}

fn first_bytes(rows: &[u8; 32]) -> u64 {
    rows.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}
