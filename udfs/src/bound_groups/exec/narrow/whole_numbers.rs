//! Whole numbers of a batch as their distance from the least of them, in what unit of a power of two all have.
//!
//! In: a column. Out: the same column, or some of its rows. Days and moments are whole numbers, too.

use super::packed::Packed;
use super::{Places, nulls_size, some_nulls};
use arrow::array::{Array, ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::common::Result;

pub(super) struct Distances {
    least: i64,
    /// At the end of all distances, which are without them.
    zeros: u32,
    /// Wrapping.
    distances: Packed,
    nulls: Option<NullBuffer>,
}

impl Distances {
    /// Nothing where less than a quarter of the bits would be spared.
    pub(super) fn of(column: &ArrayRef) -> Option<Self> {
        let width = width(column.data_type())?;
        match Words::of(column) {
            Words::Four(words) => Self::near(words.iter().map(|word| i64::from(*word)), width, column.nulls()),
            Words::Eight(words) => Self::near(words.iter().copied(), width, column.nulls()),
        }
    }

    fn near(
        words: impl ExactSizeIterator<Item = i64> + Clone,
        width: usize,
        nulls: Option<&NullBuffer>,
    ) -> Option<Self> {
        // What stands under a NULL counts, too: it is mostly 0, and at worst nothing is spared.
        let (least, most) =
            words.clone().fold((i64::MAX, i64::MIN), |(least, most), word| (least.min(word), most.max(word)));
        // Without a sign the distance is right even where it wraps.
        let distances = words.map(move |word| word.wrapping_sub(least) as u64);
        let bits = distances.clone().fold(0, |bits, distance| bits | distance);
        let (zeros, farthest) = match bits {
            0 => (0, 0),
            bits => (bits.trailing_zeros(), most.wrapping_sub(least) as u64 >> bits.trailing_zeros()),
        };
        let spares = (u64::BITS - farthest.leading_zeros()) as usize <= 6 * width;
        spares.then(|| {
            let distances = Packed::new(distances.map(|distance| distance >> zeros), farthest);
            Self { least, zeros, distances, nulls: some_nulls(nulls) }
        })
    }

    pub(super) fn give(&self, places: Places, data_type: &DataType) -> Result<ArrayRef> {
        let word = |distance: u64| self.least.wrapping_add((distance << self.zeros) as i64);
        let nulls = places.nulls(self.nulls.as_ref());
        match places {
            Places::All => whole_numbers(self.distances.all().map(word), nulls, data_type),
            Places::Some(places) => whole_numbers(self.distances.at(places).map(word), nulls, data_type),
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.distances.size() + nulls_size(self.nulls.as_ref())
    }
}

/// Bytes of a type whose values are whole numbers, or days or moments, of 32 or 64 bits.
pub(super) fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Int32 | DataType::UInt32 | DataType::Date32 | DataType::Time32(_) => Some(4),
        DataType::Int64
        | DataType::UInt64
        | DataType::Date64
        | DataType::Time64(_)
        | DataType::Timestamp(_, _)
        | DataType::Duration(_) => Some(8),
        // Small already, or hardly ever near one another.
        _ => None,
    }
}

/// A column of a type that has a [`width`], by the bits of its values.
pub(super) enum Words {
    Four(ScalarBuffer<i32>),
    Eight(ScalarBuffer<i64>),
}

impl Words {
    pub(super) fn of(column: &ArrayRef) -> Self {
        let data = column.to_data();
        let buffer = data.buffers()[0].clone();
        match width(column.data_type()) {
            Some(4) => Self::Four(ScalarBuffer::new(buffer, data.offset(), data.len())),
            Some(_) | None => Self::Eight(ScalarBuffer::new(buffer, data.offset(), data.len())),
        }
    }

    pub(super) fn get(&self, row: usize) -> i64 {
        match self {
            Self::Four(words) => i64::from(words[row]),
            Self::Eight(words) => words[row],
        }
    }
}

/// An array of a type that has a [`width`], of the bits of its values.
pub(super) fn whole_numbers(
    words: impl ExactSizeIterator<Item = i64>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    fn buffer<T: ArrowNativeType>(words: impl Iterator<Item = T>) -> Buffer {
        Buffer::from_vec(words.collect::<Vec<T>>())
    }
    let rows = words.len();
    let values = match width(data_type) {
        Some(4) => buffer(words.map(|word| word as i32)),
        Some(_) | None => buffer(words),
    };
    let data = ArrayData::builder(data_type.clone()).len(rows).add_buffer(values).nulls(nulls).build()?;
    Ok(make_array(data))
}
