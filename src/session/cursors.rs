//! Cursors: released rows that a client fetches in parts.
//!
//! In: the rows of an answer, released, paid for and logged when the cursor was declared. Out: the next of them, forwards.
//! Fetching never runs anything.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::transaction::Transaction;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::FetchCount;

/// How many a session may hold open.
const OPEN: usize = 100;

#[derive(Debug, Default)]
pub struct Cursors {
    open: BTreeMap<String, Cursor>,
}

#[derive(Debug)]
struct Cursor {
    schema: SchemaRef,
    /// What has not been fetched, in reverse: the next batch is the last.
    rest: Vec<RecordBatch>,
    hold: bool,
    /// Savepoints there were in the block that declared it; `None`: that block has committed, or there was none.
    declared_under: Option<usize>,
}

impl Cursors {
    /// May a cursor of this name be declared now? To be asked before anything is run and paid for.
    pub fn check(&self, name: &str, hold: bool, transaction: &Transaction) -> Result<()> {
        if !hold {
            transaction.require_block("DECLARE CURSOR")?;
        }
        if self.open.contains_key(name) {
            return Err(Error::new(SqlState::DuplicateCursor, format!("cursor \"{name}\" already exists")));
        }
        if self.open.len() >= OPEN {
            return Err(Error::new(SqlState::ConfigurationLimitExceeded, "too many open cursors")
                .hint("CLOSE those that are read to the end"));
        }
        Ok(())
    }

    pub fn declare(
        &mut self,
        name: &str,
        schema: SchemaRef,
        mut batches: Vec<RecordBatch>,
        hold: bool,
        transaction: &Transaction,
    ) -> Result<()> {
        self.check(name, hold, transaction)?;
        batches.reverse();
        let cursor =
            Cursor { schema, rest: batches, hold, declared_under: transaction.in_block().then(|| transaction.depth()) };
        self.open.insert(name.to_owned(), cursor);
        Ok(())
    }

    /// What its rows look like.
    pub fn schema(&self, name: &str) -> Result<SchemaRef> {
        let cursor = self.open.get(name).ok_or_else(|| missing(name))?;
        Ok(cursor.schema.clone())
    }

    /// The next rows; none are left behind when fewer come than were asked for.
    pub fn fetch(&mut self, name: &str, count: FetchCount) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let cursor = self.open.get_mut(name).ok_or_else(|| missing(name))?;
        let mut wanted = match count {
            FetchCount::All => usize::MAX,
            FetchCount::Rows(rows) => usize::try_from(rows).unwrap_or(usize::MAX),
        };
        let mut fetched = vec![];
        while wanted > 0
            && let Some(batch) = cursor.rest.pop()
        {
            if batch.num_rows() > wanted {
                cursor.rest.push(batch.slice(wanted, batch.num_rows() - wanted));
                fetched.push(batch.slice(0, wanted));
                break;
            }
            wanted -= batch.num_rows();
            fetched.push(batch);
        }
        Ok((cursor.schema.clone(), fetched))
    }

    pub fn close(&mut self, name: &str) -> Result<()> {
        self.open.remove(name).map(|_| ()).ok_or_else(|| missing(name))
    }

    pub fn close_all(&mut self) {
        self.open.clear();
    }

    /// Cursors end with their transaction; those `WITH HOLD` outlive one that commits.
    pub fn end_of_transaction(&mut self, committed: bool) {
        self.open.retain(|_, cursor| cursor.declared_under.is_none() || (committed && cursor.hold));
        for cursor in self.open.values_mut() {
            cursor.declared_under = None;
        }
    }

    /// Cursors declared after a savepoint end with it; `before`: the savepoints before that one.
    pub fn rollback_to(&mut self, before: usize) {
        self.open.retain(|_, cursor| cursor.declared_under.is_none_or(|under| under <= before));
    }

    /// A savepoint is forgotten: what was declared after it belongs to what was before.
    pub fn release(&mut self, before: usize) {
        for cursor in self.open.values_mut() {
            cursor.declared_under = cursor.declared_under.map(|under| under.min(before));
        }
    }
}

fn missing(name: &str) -> Error {
    Error::new(SqlState::InvalidCursorName, format!("cursor \"{name}\" does not exist"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn rows(batches: &[&[i64]]) -> (SchemaRef, Vec<RecordBatch>) {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let batches = batches
            .iter()
            .map(|batch| {
                let column = Arc::new(Int64Array::from(batch.to_vec()));
                RecordBatch::try_new(schema.clone(), vec![column]).unwrap()
            })
            .collect();
        (schema, batches)
    }

    fn fetched(cursors: &mut Cursors, name: &str, count: FetchCount) -> Vec<i64> {
        let (_, batches) = cursors.fetch(name, count).unwrap();
        let columns = batches.iter().map(|batch| batch.column(0).clone());
        columns
            .flat_map(|column| {
                let column = column.as_any().downcast_ref::<Int64Array>().cloned();
                column.unwrap().values().to_vec()
            })
            .collect()
    }

    fn declare(cursors: &mut Cursors, name: &str, hold: bool, block: &Transaction) -> Result<()> {
        let (schema, batches) = rows(&[&[1, 2, 3], &[], &[4], &[5, 6]]);
        cursors.declare(name, schema, batches, hold, block)
    }

    #[test]
    fn rows_come_once_and_in_order() {
        let mut cursors = Cursors::default();
        let mut block = Transaction::default();
        block.begin();
        declare(&mut cursors, "c", false, &block).unwrap();
        assert_eq!(fetched(&mut cursors, "c", FetchCount::Rows(2)), [1, 2]);
        assert_eq!(fetched(&mut cursors, "c", FetchCount::Rows(3)), [3, 4, 5]);
        assert_eq!(fetched(&mut cursors, "c", FetchCount::All), [6]);
        assert!(fetched(&mut cursors, "c", FetchCount::All).is_empty());
        assert_eq!(cursors.schema("c").unwrap().fields().len(), 1);
        cursors.close("c").unwrap();
        let error = cursors.fetch("c", FetchCount::All).unwrap_err();
        assert_eq!(error.sqlstate, SqlState::InvalidCursorName);
    }

    #[test]
    fn declared_in_a_block_or_with_hold() {
        let mut cursors = Cursors::default();
        let block = Transaction::default();
        let error = declare(&mut cursors, "c", false, &block).unwrap_err();
        assert_eq!(error.sqlstate, SqlState::NoActiveSqlTransaction);
        declare(&mut cursors, "c", true, &block).unwrap();
        let error = declare(&mut cursors, "c", true, &block).unwrap_err();
        assert_eq!(error.sqlstate, SqlState::DuplicateCursor);
    }

    #[test]
    fn ends_with_what_declared_it() {
        let mut cursors = Cursors::default();
        let mut block = Transaction::default();
        declare(&mut cursors, "before", true, &block).unwrap();
        block.begin();
        declare(&mut cursors, "a", false, &block).unwrap();
        block.savepoint("s").unwrap();
        declare(&mut cursors, "b", false, &block).unwrap();
        declare(&mut cursors, "h", true, &block).unwrap();
        let mut rolled_back = Cursors::default();
        std::mem::swap(&mut rolled_back, &mut cursors);
        rolled_back.rollback_to(block.rollback_to("s").unwrap());
        let left: Vec<_> = rolled_back.open.keys().cloned().collect();
        assert_eq!(left, ["a", "before"]);
        declare(&mut rolled_back, "h", true, &block).unwrap();
        rolled_back.end_of_transaction(true);
        let left: Vec<_> = rolled_back.open.keys().cloned().collect();
        assert_eq!(left, ["before", "h"]);
        declare(&mut cursors, "h", true, &block).unwrap();
        cursors.end_of_transaction(false);
        assert!(cursors.open.is_empty());
    }
}
