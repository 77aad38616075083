//! Is a key unique? Its hashes say so in a fraction of the memory that a table of the keys would take.
//!
//! Equal keys have equal hashes: where no hash comes twice, no key does. Where one comes twice, the rows that have it are looked at
//! themselves, so that a collision is never taken for a duplicate, nor the other way round. Where there is no room for all hashes, those
//! of a part of their range are held, and the rest takes further passes over the files.
//!
//! In: columns of types whose equal values have equal hashes. Out: yes or no; never a row. Law: what grouping by the columns says.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::hash_utils::{QualityRandomState, create_hashes};
use datafusion::datasource::MemTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::{column, comes_twice, read, unread};
use crate::error::{Error, Result};

/// Hashes that are held at most, 64 MiB, unless that takes more passes than this. A pass takes less time than the sorting.
const MOST_HASHES: usize = 8 << 20;
const MOST_PASSES: u64 = 16;
const FIRST_HASHES: usize = 1 << 13;
/// Rows that are looked at themselves at most; hardly ever is there one.
const MOST_ROWS: usize = 1 << 16;

type Hash = fn(&[ArrayRef], &mut [u64]) -> datafusion::error::Result<()>;

pub(super) struct Key<'a> {
    pub context: &'a SessionContext,
    pub provider: &'a Arc<dyn TableProvider>,
    pub columns: &'a [String],
}

impl Key<'_> {
    /// Is it unique and never null? `None` where hashes cannot tell.
    pub async fn holds(&self) -> Result<Option<bool>> {
        self.holds_by(hash, MOST_HASHES).await
    }

    async fn holds_by(&self, hash: Hash, most: usize) -> Result<Option<bool>> {
        let schema = self.provider.schema();
        let told = |name: &String| schema.field_with_name(name).is_ok_and(|field| has_hash(field.data_type()));
        if self.columns.is_empty() || !self.columns.iter().all(told) {
            return Ok(None);
        }
        let memory = MemoryConsumer::new("Unique").with_can_spill(true);
        let memory = memory.register(&self.context.runtime_env().memory_pool);
        let mut held = Held { hashes: Vec::new(), most, memory };
        let (mut range, mut hashes) = (0..=u64::MAX, Vec::new());
        loop {
            let mut rows = self.rows().await?;
            while let Some(batch) = rows.next().await {
                let batch = batch.map_err(|error| unread(&error))?;
                if batch.columns().iter().any(|column| column.logical_null_count() > 0) {
                    return Ok(Some(false));
                }
                hash_rows(hash, &batch, &mut hashes)?;
                let mut done = 0;
                loop {
                    done += held.take(&range, &hashes[done..])?;
                    if done == hashes.len() {
                        break;
                    }
                    if let Some(told) = self.told_by_rows(hash, &held.twice().await?).await? {
                        return Ok(told);
                    }
                    match held.end() {
                        Some(last) if last - range.start() >= u64::MAX / MOST_PASSES => {
                            held.hashes.retain(|hash| *hash <= last);
                            range = *range.start()..=last;
                        }
                        // Where memory is that short, grouping spills, and takes less time than so many passes.
                        Some(_) if !held.widen()? => return Ok(None),
                        Some(_) | None => (),
                    }
                }
            }
            if let Some(told) = self.told_by_rows(hash, &held.twice().await?).await? {
                return Ok(told);
            }
            held.hashes.clear();
            range = match range.end().checked_add(1) {
                Some(next) => next..=u64::MAX,
                None => return Ok(Some(true)),
            };
        }
    }

    async fn rows(&self) -> Result<SendableRecordBatchStream> {
        let keys = self.columns.iter().map(|name| column(name)).collect::<Vec<_>>();
        let rows = read(self.context, self.provider.clone())?.select(keys).map_err(|_| Error::internal())?;
        rows.execute_stream().await.map_err(|error| unread(&error))
    }

    /// What the rows that have these hashes, in order, say of the key; nothing where they say nothing against it.
    async fn told_by_rows(&self, hash: Hash, twice: &[u64]) -> Result<Option<Option<bool>>> {
        if twice.is_empty() {
            return Ok(None);
        }
        let (mut rows, mut hashes, mut suspects, mut count) = (self.rows().await?, Vec::new(), Vec::new(), 0);
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| unread(&error))?;
            hash_rows(hash, &batch, &mut hashes)?;
            let has: BooleanArray = hashes.iter().map(|hash| Some(twice.binary_search(hash).is_ok())).collect();
            if has.true_count() > 0 {
                suspects.push(filter_record_batch(&batch, &has).map_err(|_| Error::internal())?);
                count += has.true_count();
            }
            if count >= MOST_ROWS {
                break;
            }
        }
        let suspects = MemTable::try_new(rows.schema(), vec![suspects]).map_err(|_| Error::internal())?;
        if comes_twice(read(self.context, Arc::new(suspects))?, self.columns).await? {
            return Ok(Some(Some(false)));
        }
        // So many collisions are nobody's accident: hashes do not tell.
        Ok((count >= MOST_ROWS).then_some(None))
    }
}

/// The hashes of one range.
struct Held {
    hashes: Vec<u64>,
    most: usize,
    memory: MemoryReservation,
}

impl Held {
    /// Takes those in the range until there is no room; gives how many of `hashes` are done with.
    fn take(&mut self, range: &RangeInclusive<u64>, hashes: &[u64]) -> Result<usize> {
        for (done, hash) in hashes.iter().enumerate().filter(|(_, hash)| range.contains(hash)) {
            if self.hashes.len() == self.hashes.capacity() && !self.grow()? {
                return Ok(done);
            }
            self.hashes.push(*hash);
        }
        Ok(hashes.len())
    }

    /// False where there is no more room. Errors: 53200 where there is none at all.
    fn grow(&mut self) -> Result<bool> {
        let (length, room) = (self.hashes.len(), self.hashes.capacity());
        let wanted = (2 * room).max(FIRST_HASHES).min(self.most);
        if wanted <= room {
            return Ok(false);
        }
        match self.memory.try_grow((wanted - room) * size_of::<u64>()) {
            Ok(()) => {
                self.hashes.reserve_exact(wanted - length);
                Ok(true)
            }
            Err(_) if room > 0 => Ok(false),
            Err(error) => Err(unread(&error)),
        }
    }

    /// Sorts the hashes, and gives those that were there several times; each is there once then.
    async fn twice(&mut self) -> Result<Vec<u64>> {
        let mut hashes = std::mem::take(&mut self.hashes);
        // Long enough to keep others of this thread waiting.
        let sorted = tokio::task::spawn_blocking(move || {
            hashes.sort_unstable();
            let mut twice: Vec<u64> =
                hashes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).take(MOST_ROWS).collect();
            twice.dedup();
            hashes.dedup();
            (hashes, twice)
        });
        let (hashes, twice) = sorted.await.map_err(|_| Error::internal())?;
        self.hashes = hashes;
        Ok(twice)
    }

    /// Where the range has to end for the hashes, in order and each there once, to take at most half the room; nothing where they do.
    fn end(&self) -> Option<u64> {
        self.hashes.get(self.hashes.capacity() / 2).map(|middle| middle - 1)
    }

    /// More room than was meant to be taken. False where there is none.
    fn widen(&mut self) -> Result<bool> {
        self.most = self.most.saturating_mul(2);
        self.grow()
    }
}

fn hash_rows(hash: Hash, batch: &RecordBatch, hashes: &mut Vec<u64>) -> Result<()> {
    hashes.clear();
    hashes.resize(batch.num_rows(), 0);
    hash(batch.columns(), hashes).map_err(|_| Error::internal())
}

fn hash(columns: &[ArrayRef], hashes: &mut [u64]) -> datafusion::error::Result<()> {
    create_hashes(columns, &QualityRandomState::with_seed(0), hashes).map(|_| ())
}

/// Types whose values are equal exactly where their bytes are; of the others, floats among them, equality is the engine's to say.
fn has_hash(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(_, _)
                | DataType::Decimal128(_, _)
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
        )
}

#[cfg(test)]
mod tests;
