//! One partition, from its rows to those that are kept: in one round where memory has room for a counter a person, else in a round for
//! each piece. Where persons were counted apart rows pass; else they wait until they are counted.

use super::choice::Choice;
use super::counted::{Again, Counted, PERSON_BYTES, Taken};
use super::cut::{Cut, MOST_CUTS};
use super::disk::{Disk, next, others_may_run};
use crate::bound_groups::apart::Apart;
use crate::by_person::Numbered;
use crate::noise::NoiseStream;
use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::common::cast::as_int64_array;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

pub(super) struct Rounds {
    pub(super) person: Arc<dyn PhysicalExpr>,
    pub(super) key_type: DataType,
    pub(super) max_groups: u64,
    pub(super) memory: MemoryReservation,
    pub(super) disk: Arc<Disk>,
    pub(super) stream: NoiseStream,
    /// Still to be read.
    pub(super) parts: Vec<Part>,
    /// Who has how many rows, if that is counted apart.
    pub(super) counts: Option<Arc<Apart>>,
    pub(super) context: Arc<TaskContext>,
    /// What is being given.
    pub(super) given: Option<Box<Given>>,
}

/// Rows that hold all rows of their persons, and how often they were cut.
pub(super) struct Part {
    pub(super) rows: SendableRecordBatchStream,
    pub(super) cuts: u64,
}

/// Rows that are chosen from.
pub(super) struct Given {
    choice: Choice,
    rows: Rows,
}

enum Rows {
    /// That were held, or spilled.
    Again(Again),
    /// That come for the first time here, of persons that were counted apart.
    Passing { rows: SendableRecordBatchStream, persons: Box<Numbered>, numbers: Vec<u32>, _memory: MemoryReservation },
}

impl Given {
    async fn next(&mut self, person: &Arc<dyn PhysicalExpr>, stream: &mut NoiseStream) -> Result<Option<RecordBatch>> {
        match &mut self.rows {
            Rows::Again(again) => match again.next().await? {
                Some((batch, persons)) => self.choice.keep(batch, persons.values(), stream).map(Some),
                None => Ok(None),
            },
            Rows::Passing { rows, persons, numbers, .. } => {
                let Some(batch) = next(rows).await.transpose()? else { return Ok(None) };
                if !self.choice.keeps_all() {
                    let key = person.evaluate(&batch)?.into_array(batch.num_rows())?;
                    persons.number(&key, numbers)?;
                }
                self.choice.keep(batch, numbers, stream).map(Some)
            }
        }
    }
}

impl Rounds {
    /// Rows that are kept; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(given) = &mut self.given
                && let Some(batch) = given.next(&self.person, &mut self.stream).await?
            {
                return Ok(Some(batch));
            }
            self.given = None;
            if let Some(counts) = self.counts.take()
                && self.pass(&counts).await?
            {
                continue;
            }
            let Some(part) = self.parts.pop() else { return Ok(None) };
            if let Some(counted) = self.read(part).await? {
                let (rows, again) = counted.finish()?;
                let choice = Choice::new(rows, self.max_groups);
                self.given = Some(Box::new(Given { choice, rows: Rows::Again(again) }));
            }
        }
    }

    /// Whether rows can be chosen from as they come: there is room for a counter a person.
    async fn pass(&mut self, counts: &Apart) -> Result<bool> {
        let Some(counted) = counts.rows(&self.context).await? else { return Ok(false) };
        let mut persons = Numbered::new(&self.key_type)?;
        let (mut numbers, mut rows) = (Vec::new(), Vec::new());
        for batch in counted {
            persons.number(batch.column(0), &mut numbers)?;
            rows.resize(persons.len(), 0);
            for (&person, &count) in numbers.iter().zip(as_int64_array(batch.column(1))?.values()) {
                rows[person as usize] += count.unsigned_abs();
            }
            others_may_run().await;
        }
        let memory = self.memory.new_empty();
        match memory.try_resize(persons.size() + rows.capacity() * PERSON_BYTES) {
            Ok(()) => {}
            Err(DataFusionError::ResourcesExhausted(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        let Some(part) = self.parts.pop() else { return Ok(false) };
        let choice = Choice::new(rows, self.max_groups);
        let rows = Rows::Passing { rows: part.rows, persons: Box::new(persons), numbers, _memory: memory };
        self.given = Some(Box::new(Given { choice, rows }));
        Ok(true)
    }

    /// A part to its end; nothing where it had to be cut: its pieces are to be read then.
    async fn read(&mut self, mut part: Part) -> Result<Option<Counted>> {
        // Keys of a piece are far from one another.
        let persons = if part.cuts == 0 { Numbered::new(&self.key_type)? } else { Numbered::hashed(&self.key_type)? };
        let (person, disk) = (Arc::clone(&self.person), Arc::clone(&self.disk));
        let mut counted = Counted::new(person, persons, disk, self.memory.new_empty(), part.cuts < MOST_CUTS);
        while let Some(batch) = next(&mut part.rows).await {
            match counted.take_in(batch?).await? {
                Taken::In => {}
                Taken::TooManyPersons => return self.cut(counted, part).await.map(|()| None),
            }
        }
        Ok(Some(counted))
    }

    async fn cut(&mut self, counted: Counted, mut part: Part) -> Result<()> {
        let (person, disk) = (Arc::clone(&self.person), Arc::clone(&self.disk));
        let mut again: Again = counted.give_up();
        let mut cut = Cut::new(person, part.cuts, disk, self.memory.new_empty());
        while let Some((batch, _)) = again.next().await? {
            cut.add(&batch).await?;
        }
        while let Some(batch) = next(&mut part.rows).await {
            cut.add(&batch?).await?;
        }
        let pieces = cut.finish().await?.into_iter();
        self.parts.extend(pieces.map(|rows| Part { rows, cuts: part.cuts + 1 }));
        Ok(())
    }
}
