//! One partition, from its rows to those that are kept: in one round where memory has room for a counter a person, else in a round for
//! each piece.

use super::choice::Choice;
use super::counted::{Again, Counted, Taken};
use super::cut::{Cut, MOST_CUTS};
use super::disk::{Disk, next};
use crate::by_person::Numbered;
use crate::noise::NoiseStream;
use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
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
    /// The part that was read last.
    pub(super) given: Option<(Choice, Again)>,
}

/// Rows that hold all rows of their persons, and how often they were cut.
pub(super) struct Part {
    pub(super) rows: SendableRecordBatchStream,
    pub(super) cuts: u64,
}

impl Rounds {
    /// Rows that are kept; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some((choice, again)) = &mut self.given
                && let Some(rows) = again.next().await?
            {
                return match choice.kept(&rows.persons(), &mut self.stream) {
                    Some(kept) => again.some(rows, &kept).map(Some),
                    None => again.all(rows).map(Some),
                };
            }
            self.given = None;
            let Some(part) = self.parts.pop() else { return Ok(None) };
            if let Some(counted) = self.read(part).await? {
                let (rows, again) = counted.finish()?;
                self.given = Some((Choice::new(rows, self.max_groups), again));
            }
        }
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
        while let Some(rows) = again.next().await? {
            cut.add(&again.all(rows)?).await?;
        }
        while let Some(batch) = next(&mut part.rows).await {
            cut.add(&batch?).await?;
        }
        let pieces = cut.finish().await?.into_iter();
        self.parts.extend(pieces.map(|rows| Part { rows, cuts: part.cuts + 1 }));
        Ok(())
    }
}
