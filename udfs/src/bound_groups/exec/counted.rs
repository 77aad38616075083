//! Rows in the order in which they came, each with the number of its person, and how many each person has.
//!
//! In: batches. Out: the same batches once more, and the counters. Batches are held as long as memory lasts, narrowed ([`Narrow`]), and
//! written to one file when it is short. Must never: give a row to another person the second time, lose one, or hold memory that it did not ask for (but
//! for the batch at hand).

use super::disk::{Disk, File, next, others_may_run};
use super::narrow::{Narrow, Waiting};
use crate::by_person::Numbered;
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt32Type;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use std::sync::Arc;

/// What the choice keeps of a person: rows to come, rows needed.
pub(super) const PERSON_BYTES: usize = 2 * size_of::<u64>();

pub(super) struct Counted {
    person: Arc<dyn PhysicalExpr>,
    persons: Numbered,
    /// Of the last batch, to be used again.
    numbers: Vec<u32>,
    /// Rows of each person.
    rows: Vec<u64>,
    /// Batches that came after those in the file.
    held: Vec<Waiting>,
    /// Bytes of `held`.
    held_bytes: usize,
    narrow: Narrow,
    file: Option<File>,
    disk: Arc<Disk>,
    memory: MemoryReservation,
    may_be_cut: bool,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    In,
    /// There are more persons than memory has room for. All rows so far are in the file.
    TooManyPersons,
}

impl Counted {
    pub(super) fn new(
        person: Arc<dyn PhysicalExpr>,
        persons: Numbered,
        disk: Arc<Disk>,
        memory: MemoryReservation,
        may_be_cut: bool,
    ) -> Self {
        let column = person.downcast_ref::<Column>().map(Column::index);
        let narrow = Narrow::new(Arc::clone(disk.schema()), column);
        Self {
            person,
            persons,
            numbers: Vec::new(),
            rows: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            narrow,
            file: None,
            disk,
            memory,
            may_be_cut,
        }
    }

    /// Errors: of the memory pool where nothing can be spilled, or where cutting would not help.
    pub(super) async fn take_in(&mut self, batch: RecordBatch) -> Result<Taken> {
        let key = self.person.evaluate(&batch)?.into_array(batch.num_rows())?;
        self.persons.number(&key, &mut self.numbers)?;
        self.rows.resize(self.persons.len(), 0);
        for &person in &self.numbers {
            self.rows[person as usize] += 1;
        }
        let (waiting, bytes) = self.narrow.take_in(&batch, &self.numbers, self.persons.len())?;
        self.held_bytes += bytes;
        self.held.push(waiting);
        match self.memory.try_resize(self.counters() + self.held_bytes) {
            Ok(()) => return Ok(Taken::In),
            Err(DataFusionError::ResourcesExhausted(_)) if self.disk.is_there() => self.spill().await?,
            Err(error) => return Err(error),
        }
        match self.memory.try_resize(self.counters()) {
            Ok(()) => Ok(Taken::In),
            Err(DataFusionError::ResourcesExhausted(_)) if self.may_be_cut && self.persons.len() > 1 => {
                Ok(Taken::TooManyPersons)
            }
            Err(error) => Err(error),
        }
    }

    /// Bytes that cannot be spilled.
    fn counters(&self) -> usize {
        self.persons.size() + self.narrow.size() + self.rows.capacity() * PERSON_BYTES
    }

    async fn spill(&mut self) -> Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.disk.numbered(),
        };
        for waiting in std::mem::take(&mut self.held) {
            let (batch, numbers) = self.narrow.give(waiting)?;
            let mut columns = batch.columns().to_vec();
            columns.push(Arc::new(numbers) as ArrayRef);
            file.write(columns)?;
            others_may_run().await;
        }
        self.held_bytes = 0;
        self.narrow.forget();
        self.file = Some(file);
        Ok(())
    }

    /// Rows of each person, and all rows once more. The memory of the counters stays taken until those are given.
    pub(super) fn finish(self) -> Result<(Vec<u64>, Again)> {
        let Self { persons, rows, held, held_bytes, narrow, file, disk, memory, .. } = self;
        drop(persons);
        memory.try_resize(rows.capacity() * PERSON_BYTES + narrow.size() + held_bytes)?;
        let to_come = rows.iter().sum();
        let file = file.map(File::read);
        Ok((rows, Again { file, held: held.into_iter(), narrow, to_come, disk, memory }))
    }

    /// All rows once more after [`Taken::TooManyPersons`].
    pub(super) fn give_up(self) -> Again {
        let Self { rows, held, narrow, file, disk, memory, .. } = self;
        memory.free();
        let to_come = rows.iter().sum();
        Again { file: file.map(File::read), held: held.into_iter(), narrow, to_come, disk, memory }
    }
}

/// The second pass.
pub(super) struct Again {
    file: Option<SendableRecordBatchStream>,
    held: std::vec::IntoIter<Waiting>,
    narrow: Narrow,
    /// Rows.
    to_come: u64,
    disk: Arc<Disk>,
    /// Of the held batches and of the choice.
    memory: MemoryReservation,
}

/// Rows of the second pass.
pub(super) enum Rows {
    OfFile(RecordBatch, UInt32Array),
    Held(Waiting),
}

impl Rows {
    /// Whose each row is.
    pub(super) fn persons(&self) -> Vec<u32> {
        match self {
            Self::OfFile(_, persons) => persons.values().to_vec(),
            Self::Held(waiting) => waiting.persons(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::OfFile(_, persons) => persons.len(),
            Self::Held(waiting) => waiting.len(),
        }
    }
}

impl Again {
    pub(super) async fn next(&mut self) -> Result<Option<Rows>> {
        let found = match self.of_file().await? {
            Some((batch, persons)) => Some(Rows::OfFile(batch, persons)),
            None => self.held.next().map(Rows::Held),
        };
        match &found {
            Some(rows) => self.to_come = self.to_come.saturating_sub(rows.len() as u64),
            None if self.to_come > 0 => return internal_err!("rows that were spilled did not come back"),
            None => drop(self.memory.free()),
        }
        Ok(found)
    }

    /// Rows as they came.
    pub(super) fn all(&self, rows: Rows) -> Result<RecordBatch> {
        match rows {
            Rows::OfFile(batch, _) => Ok(batch),
            Rows::Held(waiting) => Ok(self.narrow.give(waiting)?.0),
        }
    }

    /// The rows that `kept` is true of.
    pub(super) fn some(&self, rows: Rows, kept: &BooleanArray) -> Result<RecordBatch> {
        match rows {
            Rows::OfFile(batch, _) => Ok(filter_record_batch(&batch, kept)?),
            Rows::Held(waiting) => self.narrow.give_some(&waiting, kept),
        }
    }

    async fn of_file(&mut self) -> Result<Option<(RecordBatch, UInt32Array)>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let Some(batch) = next(file).await else {
            self.file = None;
            return Ok(None);
        };
        let mut columns = batch?.columns().to_vec();
        match columns.pop() {
            Some(numbers) => Ok(Some((self.disk.batch(columns)?, numbers.as_primitive::<UInt32Type>().clone()))),
            None => internal_err!("a spilled row without a person"),
        }
    }
}
