//! Cursors: released rows that a client fetches in parts.
//!
//! In: the rows of an answer, released, paid for and logged when the cursor was declared. Out: those that a `FETCH` asks for,
//! in its order. Fetching never runs anything, and a row that is read again is the same row.

use std::collections::BTreeMap;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;

use super::transaction::Transaction;
use crate::catalog::system::CursorRow;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::{CursorOptions, Direction};

/// How many a session may hold open.
const OPEN: usize = 100;

#[derive(Debug, Default)]
pub struct Cursors {
    open: BTreeMap<String, Cursor>,
}

#[derive(Debug)]
struct Cursor {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    rows: u64,
    /// The row it stands on, from 1; 0 before the first, `rows + 1` after the last.
    position: u64,
    options: CursorOptions,
    /// As `pg_cursors` shows it.
    statement: String,
    /// The grant of access that its rows are shown under.
    access: Option<u64>,
    /// Microseconds since 1970.
    declared_at: i64,
    /// Savepoints there were in the block that declared it; `None`: that block has committed, or there was none.
    declared_under: Option<usize>,
}

/// What a `FETCH` gives.
#[derive(Debug)]
pub struct Fetched {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub binary: bool,
}

impl Cursors {
    /// May a cursor of this name be declared now? To be asked before anything is run and paid for.
    pub fn check(&self, name: &str, options: CursorOptions, transaction: &Transaction) -> Result<()> {
        if !options.hold {
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
        (schema, batches): (SchemaRef, Vec<RecordBatch>),
        options: CursorOptions,
        (statement, access): (&str, Option<u64>),
        transaction: &Transaction,
    ) -> Result<()> {
        self.check(name, options, transaction)?;
        let cursor = Cursor {
            schema,
            rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
            batches,
            position: 0,
            options,
            statement: statement.to_owned(),
            access,
            declared_at: chrono::Utc::now().timestamp_micros(),
            declared_under: transaction.in_block().then(|| transaction.depth()),
        };
        self.open.insert(name.to_owned(), cursor);
        Ok(())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.open.contains_key(name)
    }

    /// What its rows look like.
    pub fn schema(&self, name: &str) -> Result<SchemaRef> {
        let cursor = self.open.get(name).ok_or_else(|| missing(name))?;
        Ok(cursor.schema.clone())
    }

    /// Goes there, and gives the rows on the way. Errors: 34000; 55000 backwards with `NO SCROLL`.
    pub fn fetch(&mut self, name: &str, direction: Direction) -> Result<Fetched> {
        let cursor = self.open.get_mut(name).ok_or_else(|| missing(name))?;
        let batches = cursor.go(direction)?;
        Ok(Fetched { schema: cursor.schema.clone(), batches, binary: cursor.options.binary })
    }

    /// Rows that are shown under a grant go when it is over. Gives whether the cursor is one of those.
    pub fn end_access(&mut self, name: &str, live: impl Fn(u64) -> bool) -> bool {
        let Some(cursor) = self.open.get_mut(name) else { return false };
        let over = cursor.access.is_some_and(|grant| !live(grant));
        if over {
            cursor.batches.clear();
        }
        over
    }

    pub fn close(&mut self, name: &str) -> Result<()> {
        self.open.remove(name).map(|_| ()).ok_or_else(|| missing(name))
    }

    pub fn close_all(&mut self) {
        self.open.clear();
    }

    /// Cursors end with their transaction; those `WITH HOLD` outlive one that commits.
    pub fn end_of_transaction(&mut self, committed: bool) {
        self.open.retain(|_, cursor| cursor.declared_under.is_none() || (committed && cursor.options.hold));
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

    /// For pg_cursors.
    pub fn rows(&self) -> Vec<CursorRow> {
        let row = |(name, cursor): (&String, &Cursor)| CursorRow {
            name: name.clone(),
            statement: cursor.statement.clone(),
            holdable: cursor.options.hold,
            binary: cursor.options.binary,
            scrollable: !cursor.options.no_scroll,
            declared_at: cursor.declared_at,
        };
        self.open.iter().map(row).collect()
    }
}

impl Cursor {
    fn go(&mut self, direction: Direction) -> Result<Vec<RecordBatch>> {
        let end = self.rows + 1;
        let from_here = |by: i64| self.position.saturating_add_signed(by).min(end);
        match direction {
            Direction::Forward(rows) => {
                let first = (self.position + 1).min(end);
                let after = first.saturating_add(rows).min(end);
                self.position = if after - first < rows { end } else { after - 1 };
                Ok(self.slice(first, after))
            }
            Direction::Backward(rows) => {
                self.refuse_backwards()?;
                let before = self.position.max(1);
                let first = before.saturating_sub(rows).max(1);
                self.position = if before - first < rows { 0 } else { first };
                self.slice(first, before).into_iter().rev().map(|batch| reversed(&batch)).collect()
            }
            Direction::Absolute(row) if row >= 0 => self.stand_on(row.unsigned_abs().min(end)),
            Direction::Absolute(row) => self.stand_on(end.saturating_sub(row.unsigned_abs())),
            Direction::Relative(rows) => self.stand_on(from_here(rows)),
        }
    }

    fn stand_on(&mut self, row: u64) -> Result<Vec<RecordBatch>> {
        if row < self.position {
            self.refuse_backwards()?;
        }
        self.position = row;
        let there = (1..=self.rows).contains(&row);
        Ok(if there { self.slice(row, row + 1) } else { vec![] })
    }

    fn refuse_backwards(&self) -> Result<()> {
        if !self.options.no_scroll {
            return Ok(());
        }
        Err(Error::new(SqlState::ObjectNotInPrerequisiteState, "cursor can only scan forward")
            .hint("declare it with SCROLL"))
    }

    /// Rows from `first` to before `after`, by their numbers.
    fn slice(&self, first: u64, after: u64) -> Vec<RecordBatch> {
        let mut slices = Vec::new();
        let mut number = 1;
        for batch in &self.batches {
            let next = number + batch.num_rows() as u64;
            let (from, to) = (first.max(number), after.min(next));
            if from < to {
                // Both lie within the batch, whose size is a usize.
                slices.push(batch.slice((from - number) as usize, (to - from) as usize));
            }
            number = next;
        }
        slices
    }
}

fn reversed(batch: &RecordBatch) -> Result<RecordBatch> {
    let order: UInt64Array = (0..batch.num_rows() as u64).rev().collect();
    take_record_batch(batch, &order).map_err(|_| Error::internal())
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

    const ALL: u64 = u64::MAX;
    const HOLD: CursorOptions = CursorOptions { hold: true, no_scroll: false, scroll: false, binary: false };

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

    fn fetched(cursors: &mut Cursors, name: &str, direction: Direction) -> Vec<i64> {
        let batches = cursors.fetch(name, direction).unwrap().batches;
        let columns = batches.iter().map(|batch| batch.column(0).clone());
        columns
            .flat_map(|column| {
                let column = column.as_any().downcast_ref::<Int64Array>().cloned();
                column.unwrap().values().to_vec()
            })
            .collect()
    }

    fn declare(cursors: &mut Cursors, name: &str, options: CursorOptions, block: &Transaction) -> Result<()> {
        let rows = rows(&[&[1, 2, 3], &[], &[4], &[5, 6]]);
        cursors.declare(name, rows, options, ("DECLARE …", None), block)
    }

    #[test]
    fn forwards_in_order() {
        let mut cursors = Cursors::default();
        let mut block = Transaction::default();
        block.begin();
        declare(&mut cursors, "c", CursorOptions::default(), &block).unwrap();
        assert_eq!(fetched(&mut cursors, "c", Direction::Forward(2)), [1, 2]);
        assert_eq!(fetched(&mut cursors, "c", Direction::Forward(3)), [3, 4, 5]);
        assert_eq!(fetched(&mut cursors, "c", Direction::Forward(ALL)), [6]);
        assert!(fetched(&mut cursors, "c", Direction::Forward(ALL)).is_empty());
        assert_eq!(cursors.schema("c").unwrap().fields().len(), 1);
        cursors.close("c").unwrap();
        let error = cursors.fetch("c", Direction::Forward(1)).unwrap_err();
        assert_eq!(error.sqlstate, SqlState::InvalidCursorName);
    }

    /// The answers are PostgreSQL 16's.
    #[test]
    fn every_direction_as_postgres_has_it() {
        let mut cursors = Cursors::default();
        declare(&mut cursors, "c", HOLD, &Transaction::default()).unwrap();
        let steps: [(Direction, &[i64]); 20] = [
            (Direction::Relative(0), &[]),
            (Direction::Backward(1), &[]),
            (Direction::Forward(2), &[1, 2]),
            (Direction::Relative(0), &[2]),
            (Direction::Backward(1), &[1]),
            (Direction::Backward(1), &[]),
            (Direction::Forward(1), &[1]),
            (Direction::Absolute(5), &[5]),
            (Direction::Backward(3), &[4, 3, 2]),
            (Direction::Relative(2), &[4]),
            (Direction::Relative(-3), &[1]),
            (Direction::Absolute(-1), &[6]),
            (Direction::Forward(1), &[]),
            (Direction::Backward(2), &[6, 5]),
            (Direction::Absolute(7), &[]),
            (Direction::Backward(ALL), &[6, 5, 4, 3, 2, 1]),
            (Direction::Forward(6), &[1, 2, 3, 4, 5, 6]),
            (Direction::Relative(0), &[6]),
            (Direction::Absolute(-9), &[]),
            (Direction::Forward(1), &[1]),
        ];
        for (at, (direction, expected)) in steps.into_iter().enumerate() {
            assert_eq!(fetched(&mut cursors, "c", direction), expected, "step {at}: {direction:?}");
        }
    }

    #[test]
    fn no_scroll_goes_forwards_only() {
        let mut cursors = Cursors::default();
        let options = CursorOptions { no_scroll: true, ..HOLD };
        declare(&mut cursors, "c", options, &Transaction::default()).unwrap();
        assert_eq!(fetched(&mut cursors, "c", Direction::Absolute(2)), [2]);
        for direction in [Direction::Backward(1), Direction::Absolute(1), Direction::Relative(-1)] {
            let error = cursors.fetch("c", direction).unwrap_err();
            assert_eq!(error.sqlstate, SqlState::ObjectNotInPrerequisiteState);
        }
        assert_eq!(fetched(&mut cursors, "c", Direction::Forward(1)), [3]);
    }

    #[test]
    fn declared_in_a_block_or_with_hold() {
        let mut cursors = Cursors::default();
        let block = Transaction::default();
        let error = declare(&mut cursors, "c", CursorOptions::default(), &block).unwrap_err();
        assert_eq!(error.sqlstate, SqlState::NoActiveSqlTransaction);
        declare(&mut cursors, "c", HOLD, &block).unwrap();
        let error = declare(&mut cursors, "c", HOLD, &block).unwrap_err();
        assert_eq!(error.sqlstate, SqlState::DuplicateCursor);
    }

    #[test]
    fn ends_with_what_declared_it() {
        let plain = CursorOptions::default();
        let mut cursors = Cursors::default();
        let mut block = Transaction::default();
        declare(&mut cursors, "before", HOLD, &block).unwrap();
        block.begin();
        declare(&mut cursors, "a", plain, &block).unwrap();
        block.savepoint("s").unwrap();
        declare(&mut cursors, "b", plain, &block).unwrap();
        declare(&mut cursors, "h", HOLD, &block).unwrap();
        let mut rolled_back = Cursors::default();
        std::mem::swap(&mut rolled_back, &mut cursors);
        rolled_back.rollback_to(block.rollback_to("s").unwrap());
        let left: Vec<_> = rolled_back.open.keys().cloned().collect();
        assert_eq!(left, ["a", "before"]);
        declare(&mut rolled_back, "h", HOLD, &block).unwrap();
        rolled_back.end_of_transaction(true);
        let left: Vec<_> = rolled_back.open.keys().cloned().collect();
        assert_eq!(left, ["before", "h"]);
        declare(&mut cursors, "h", HOLD, &block).unwrap();
        cursors.end_of_transaction(false);
        assert!(cursors.open.is_empty());
    }
}
