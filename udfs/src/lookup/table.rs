//! The rows of a table by their key.
//!
//! In: batches, their key a whole number. Out: which row a key is of, and columns of rows. Rows without a key are nobody's.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat, max, min, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::hash_utils::RandomState;
use datafusion::common::{Result, exec_err};
use datafusion::execution::memory_pool::MemoryReservation;
use std::collections::HashMap;
use std::fmt;

/// Where there is no row.
const NONE: u32 = u32::MAX;
/// Places that are taken without being asked for: 4 MiB.
const FEW_PLACES: u64 = 1 << 20;
/// Beyond this keys are far from one another: a hash table is smaller.
const PLACES_A_ROW: u64 = 8;

pub(super) struct Table {
    finder: Finder,
    /// Of each row, another one of the same key; empty where no key comes twice, or no more than one is asked for.
    next: Vec<u32>,
    /// All but the key.
    columns: Vec<ArrayRef>,
    /// What both take.
    _memory: MemoryReservation,
}

enum Finder {
    /// By the distance from the least key.
    Near {
        least: i64,
        rows: Vec<u32>,
    },
    Far(HashMap<i64, u32, RandomState>),
}

/// Nothing of the rows.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Table")
    }
}

impl Table {
    /// `all`: every row of a key is asked for. Errors: the memory pool's.
    pub(super) fn new(
        schema: &SchemaRef,
        key: usize,
        all: bool,
        batches: &[RecordBatch],
        memory: MemoryReservation,
    ) -> Result<Self> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows >= NONE as usize {
            return exec_err!("too many rows to look up");
        }
        let keys = batches.iter().map(|batch| Ok(cast(batch.column(key), &DataType::Int64)?.as_primitive().clone()));
        let mut next = Repeated { rows, all, next: Vec::new(), memory: &memory };
        let finder = Finder::new(&keys.collect::<Result<Vec<Int64Array>>>()?, &mut next)?;
        let next = next.next;
        let mut columns = Vec::new();
        for at in (0..schema.fields().len()).filter(|at| *at != key) {
            let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(at).as_ref()).collect();
            for part in &parts {
                memory.try_grow(part.to_data().get_slice_memory_size()?)?;
            }
            columns.push(match parts.as_slice() {
                [] => arrow::array::new_empty_array(schema.field(at).data_type()),
                parts => concat(parts)?,
            });
        }
        Ok(Self { finder, next, columns, _memory: memory })
    }

    /// Is there a key of which every row is asked for, and there are several?
    pub(super) fn repeats(&self) -> bool {
        !self.next.is_empty()
    }

    /// Another row of the key of this one.
    pub(super) fn next(&self, row: u32) -> Option<u32> {
        self.next.get(row as usize).copied().filter(|next| *next != NONE)
    }

    /// A row of each key; NULL where there is none.
    pub(super) fn find(&self, keys: &ArrayRef) -> Result<UInt32Array> {
        let keys = cast(keys, &DataType::Int64)?;
        Ok(self.finder.find(keys.as_primitive()))
    }

    /// Columns of rows, without the key.
    pub(super) fn columns(&self, rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| Ok(take(column, rows, None)?)).collect()
    }
}

/// Rows whose key came before.
struct Repeated<'a> {
    rows: usize,
    all: bool,
    next: Vec<u32>,
    memory: &'a MemoryReservation,
}

impl Repeated<'_> {
    fn add(&mut self, row: u32, before: u32) -> Result<()> {
        if !self.all {
            return Ok(());
        }
        if self.next.is_empty() {
            self.memory.try_grow(self.rows * size_of::<u32>())?;
            self.next.resize(self.rows, NONE);
        }
        self.next[row as usize] = before;
        Ok(())
    }
}

impl Finder {
    fn new(keys: &[Int64Array], repeated: &mut Repeated) -> Result<Self> {
        let (rows, memory) = (repeated.rows, repeated.memory);
        let ends = keys.iter().filter_map(|keys| min(keys).zip(max(keys)));
        let ends = ends.reduce(|all, of| (all.0.min(of.0), all.1.max(of.1)));
        let Some((least, most)) = ends else { return Ok(Self::Near { least: 0, rows: Vec::new() }) };
        // Without a sign the distance always fits.
        let distance = most.wrapping_sub(least) as u64;
        let mut number = 0_u32;
        if distance < (rows as u64 * PLACES_A_ROW).max(FEW_PLACES) {
            memory.try_grow((distance as usize + 1) * size_of::<u32>())?;
            let mut places = vec![NONE; distance as usize + 1];
            for keys in keys {
                for key in keys {
                    if let Some(key) = key {
                        let place = &mut places[key.wrapping_sub(least) as u64 as usize];
                        let before = std::mem::replace(place, number);
                        if before != NONE {
                            repeated.add(number, before)?;
                        }
                    }
                    number += 1;
                }
            }
            return Ok(Self::Near { least, rows: places });
        }
        memory.try_grow(rows * 2 * size_of::<(i64, u32)>())?;
        let mut places = HashMap::with_capacity_and_hasher(rows, RandomState::default());
        for keys in keys {
            for key in keys {
                if let Some(key) = key
                    && let Some(before) = places.insert(key, number)
                {
                    repeated.add(number, before)?;
                }
                number += 1;
            }
        }
        Ok(Self::Far(places))
    }

    fn find(&self, keys: &Int64Array) -> UInt32Array {
        match self {
            Self::Near { least, rows } => {
                let row = |key: i64| rows.get(key.wrapping_sub(*least) as u64 as usize).copied().unwrap_or(NONE);
                found(keys, row)
            }
            Self::Far(places) => found(keys, |key| places.get(&key).copied().unwrap_or(NONE)),
        }
    }
}

fn found(keys: &Int64Array, row: impl Fn(i64) -> u32) -> UInt32Array {
    let numbers: Vec<u32> = match keys.null_count() {
        0 => keys.values().iter().map(|key| row(*key)).collect(),
        _ => keys.iter().map(|key| key.map_or(NONE, &row)).collect(),
    };
    if numbers.iter().fold(0, |most, number| most.max(*number)) == NONE {
        numbers.into_iter().map(|number| (number != NONE).then_some(number)).collect()
    } else {
        UInt32Array::from(numbers)
    }
}
