//! Rows cut by person into pieces on disk, each to be bounded by itself.
//!
//! In: batches. Out: as many pieces as are not empty. Law: all rows of a person, also of the nobody (NULL), are in one piece; each cut
//! looks at other bits of a person's hash, so that a piece which is still too large comes apart. Must never: hold more than memory is
//! given for (but for the batch at hand).

use super::disk::{Disk, File, others_may_run};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use datafusion::common::hash_utils::{QualityRandomState, create_hashes};
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

const PIECES_BITS: u64 = 4;
/// Pieces of one cut.
pub(super) const PIECES: usize = 1 << PIECES_BITS;
/// Cuts of a piece of a piece: 16⁴ pieces of a partition.
pub(super) const MOST_CUTS: u64 = 4;
/// Another hash than the one by which the engine cut the rows into partitions. All of its bits are good.
const SEED: QualityRandomState = QualityRandomState::with_seed(0x5041_5241_5645_4e54);

pub(super) struct Cut {
    person: Arc<dyn PhysicalExpr>,
    cuts: u64,
    pieces: Vec<Piece>,
    disk: Arc<Disk>,
    /// Of what waits to be written.
    memory: MemoryReservation,
}

#[derive(Default)]
struct Piece {
    file: Option<File>,
    /// To be written together.
    waiting: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Cut {
    /// `cuts`: how often these rows were cut before.
    pub(super) fn new(person: Arc<dyn PhysicalExpr>, cuts: u64, disk: Arc<Disk>, memory: MemoryReservation) -> Self {
        Self { person, cuts, pieces: (0..PIECES).map(|_| Piece::default()).collect(), disk, memory }
    }

    pub(super) async fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let key = self.person.evaluate(batch)?.into_array(batch.num_rows())?;
        let mut hashes = vec![0; batch.num_rows()];
        create_hashes([key], &SEED, &mut hashes)?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); PIECES];
        for (row, hash) in hashes.iter().enumerate() {
            // Each cut looks at other bits.
            rows[(hash >> (self.cuts * PIECES_BITS)) as usize % PIECES].push(row as u32);
        }
        for (number, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let part = take_record_batch(batch, &UInt32Array::from(rows))?;
            let piece = &mut self.pieces[number];
            piece.rows += part.num_rows();
            piece.bytes += get_record_batch_memory_size(&part);
            piece.waiting.push(part);
            if piece.rows >= self.disk.batch_size() {
                piece.write(&self.disk)?;
                others_may_run().await;
            }
        }
        let waiting = self.pieces.iter().map(|piece| piece.bytes).sum();
        match self.memory.try_resize(waiting) {
            Ok(()) => Ok(()),
            Err(DataFusionError::ResourcesExhausted(_)) => self.write().await,
            Err(error) => Err(error),
        }
    }

    async fn write(&mut self) -> Result<()> {
        for piece in &mut self.pieces {
            piece.write(&self.disk)?;
            others_may_run().await;
        }
        self.memory.free();
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Vec<SendableRecordBatchStream>> {
        self.write().await?;
        Ok(self.pieces.into_iter().filter_map(|piece| piece.file).map(File::read).collect())
    }
}

impl Piece {
    fn write(&mut self, disk: &Disk) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = concat_batches(disk.schema(), &self.waiting)?;
        self.file.get_or_insert_with(|| disk.rows()).write(rows.columns().to_vec())?;
        (self.waiting, self.rows, self.bytes) = (Vec::new(), 0, 0);
        Ok(())
    }
}
