//! Rows that wait for the second pass, in as few bytes as they need.
//!
//! In: batches, and the number of each row's person. Out: the same batches again, or what is kept of them. Whole numbers wait as their
//! distance from the least of their batch, in what unit of a power of two all have, in a byte where that is enough; texts as their number among the texts of their column, as long
//! as these are few; a person key that is a whole number not at all, for the number of the person tells it. All else waits as it came.
//! Law: what comes out equals what came in. Must never: drop a row by itself.

mod texts;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array, make_array};
use arrow::array::{PrimitiveArray, UInt8Array, UInt16Array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::{FilterBuilder, FilterPredicate};
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, DataType, SchemaRef, UInt8Type, UInt16Type, UInt32Type};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{Result, internal_err};
use std::sync::Arc;

use texts::Texts;

/// How the rows of one partition are made narrow, and wide again.
pub(super) struct Narrow {
    schema: SchemaRef,
    /// The keys, where the person key is a column of whole numbers.
    keys: Option<Keys>,
    /// The texts of each column; nothing for columns of another type.
    texts: Vec<Option<Texts>>,
    /// Of columns that wait as they came. Batches are often parts of a larger one, and share its memory.
    shared: RecordBatchMemoryCounter,
}

/// The person's key by the person's number.
struct Keys {
    column: usize,
    keys: Vec<i64>,
    nobody: Option<u32>,
}

/// Rows that wait.
pub(super) struct Waiting {
    columns: Vec<Narrowed>,
    persons: Persons,
}

/// The number of each row's person.
enum Persons {
    /// In three bytes, the upper one apart.
    Three(Vec<u8>, Vec<u16>),
    Four(Vec<u32>),
}

enum Narrowed {
    /// The person key.
    Key,
    /// The distance from the least, wrapping, without the zeros at its end that all have.
    Distance {
        least: i64,
        zeros: u32,
        distance: ArrayRef,
    },
    /// The number of the text.
    Text(ArrayRef),
    Whole(ArrayRef),
}

impl Narrow {
    /// `person`: the column that is the person key, if it is one.
    pub(super) fn new(schema: SchemaRef, person: Option<usize>) -> Self {
        let text = |data_type: &DataType| (*data_type == DataType::Utf8View).then(Texts::default);
        let texts = schema.fields().iter().map(|field| text(field.data_type())).collect();
        let column = person.filter(|column| width(schema.field(*column).data_type()).is_some());
        let keys = column.map(|column| Keys { column, keys: Vec::new(), nobody: None });
        Self { schema, keys, texts, shared: RecordBatchMemoryCounter::new() }
    }

    /// The rows of a batch, and the bytes that they take. `count`: how many persons there are.
    pub(super) fn take_in(&mut self, batch: &RecordBatch, persons: Vec<u32>, count: usize) -> Result<(Waiting, usize)> {
        if let Some(keys) = &mut self.keys {
            keys.learn(batch.column(keys.column), &persons, count);
        }
        let persons = Persons::new(persons, count);
        let mut bytes = persons.size();
        let mut whole = Vec::new();
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (number, column) in batch.columns().iter().enumerate() {
            let is_key = self.keys.as_ref().is_some_and(|keys| keys.column == number);
            let narrowed = match &mut self.texts[number] {
                _ if is_key => Some(Narrowed::Key),
                Some(texts) => texts.numbers(column.as_string_view()).map(|(numbers, most)| {
                    Narrowed::Text(least_bytes(numbers.iter().map(|number| u64::from(*number)), most, column.nulls()))
                }),
                None => distances(column),
            };
            let narrowed = narrowed.unwrap_or_else(|| {
                whole.push(number);
                Narrowed::Whole(Arc::clone(column))
            });
            bytes += match &narrowed {
                Narrowed::Distance { distance: narrow, .. } | Narrowed::Text(narrow) => narrow.get_buffer_memory_size(),
                Narrowed::Key | Narrowed::Whole(_) => 0,
            };
            columns.push(narrowed);
        }
        if !whole.is_empty() {
            bytes += self.shared.count_batch(&batch.project(&whole)?);
        }
        Ok((Waiting { columns, persons }, bytes))
    }

    /// No rows wait any more: their texts need not be known.
    pub(super) fn forget(&mut self) {
        self.shared = RecordBatchMemoryCounter::new();
        self.texts.iter_mut().flatten().for_each(|texts| *texts = Texts::default());
    }

    /// The rows as they came, and their persons.
    pub(super) fn give(&self, waiting: Waiting) -> Result<(RecordBatch, UInt32Array)> {
        let persons = UInt32Array::from(waiting.persons());
        let batch = self.widen(&waiting, &persons, |column| Ok(Arc::clone(column)))?;
        Ok((batch, persons))
    }

    /// The rows that `kept` is true of.
    pub(super) fn give_some(&self, waiting: &Waiting, kept: &BooleanArray) -> Result<RecordBatch> {
        let kept: FilterPredicate = FilterBuilder::new(kept).optimize().build();
        let persons = kept.filter(&UInt32Array::from(waiting.persons()))?;
        self.widen(waiting, persons.as_primitive(), |column| Ok(kept.filter(column)?))
    }

    fn widen(
        &self,
        waiting: &Waiting,
        persons: &UInt32Array,
        some: impl Fn(&ArrayRef) -> Result<ArrayRef>,
    ) -> Result<RecordBatch> {
        let columns = waiting.columns.iter().zip(self.schema.fields()).zip(&self.texts);
        let columns = columns.map(|((narrowed, field), texts)| match (narrowed, &self.keys, texts) {
            (Narrowed::Whole(column), _, _) => some(column),
            (Narrowed::Key, Some(keys), _) => keys.of(persons, field.data_type()),
            (Narrowed::Distance { least, zeros, distance }, _, _) => {
                wide(*least, *zeros, &some(distance)?, field.data_type())
            }
            (Narrowed::Text(numbers), _, Some(texts)) => texts.of(&some(numbers)?),
            (Narrowed::Key, None, _) | (Narrowed::Text(_), _, None) => internal_err!("rows that cannot be widened"),
        });
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_>>()?)?)
    }

    /// In bytes, without the rows that wait.
    pub(super) fn size(&self) -> usize {
        let texts: usize = self.texts.iter().flatten().map(Texts::size).sum();
        texts + self.keys.as_ref().map_or(0, |keys| keys.keys.capacity() * size_of::<i64>())
    }
}

impl Waiting {
    /// Whose each row is.
    pub(super) fn persons(&self) -> Vec<u32> {
        match &self.persons {
            Persons::Three(upper, lower) => {
                let both = upper.iter().zip(lower);
                both.map(|(upper, lower)| u32::from(*upper) << 16 | u32::from(*lower)).collect()
            }
            Persons::Four(persons) => persons.clone(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.persons {
            Persons::Three(upper, _) => upper.len(),
            Persons::Four(persons) => persons.len(),
        }
    }
}

impl Persons {
    /// All numbers are below `count`.
    fn new(persons: Vec<u32>, count: usize) -> Self {
        if count > 1 << 24 {
            return Self::Four(persons);
        }
        let upper = persons.iter().map(|person| (person >> 16) as u8).collect();
        Self::Three(upper, persons.iter().map(|person| *person as u16).collect())
    }

    /// In bytes.
    fn size(&self) -> usize {
        match self {
            Self::Three(upper, lower) => upper.capacity() + lower.capacity() * size_of::<u16>(),
            Self::Four(persons) => persons.capacity() * size_of::<u32>(),
        }
    }
}

impl Keys {
    /// The keys of persons that are new.
    fn learn(&mut self, column: &ArrayRef, persons: &[u32], count: usize) {
        let before = self.keys.len();
        if count == before {
            return;
        }
        self.keys.resize(count, 0);
        let words = Words::of(column);
        for (row, person) in persons.iter().enumerate().filter(|(_, person)| **person as usize >= before) {
            match column.is_valid(row) {
                true => self.keys[*person as usize] = words.get(row),
                false => self.nobody = Some(*person),
            }
        }
    }

    fn of(&self, persons: &UInt32Array, data_type: &DataType) -> Result<ArrayRef> {
        let persons = persons.values();
        let nulls = self
            .nobody
            .filter(|nobody| persons.contains(nobody))
            .map(|nobody| NullBuffer::new(BooleanBuffer::collect_bool(persons.len(), |row| persons[row] != nobody)));
        primitive(persons.iter().map(|person| self.keys[*person as usize]), persons.len(), nulls, data_type)
    }
}

/// Bytes of a type whose values are whole numbers, or days or moments, of 32 or 64 bits.
fn width(data_type: &DataType) -> Option<usize> {
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
enum Words {
    Four(ScalarBuffer<i32>),
    Eight(ScalarBuffer<i64>),
}

impl Words {
    fn of(column: &ArrayRef) -> Self {
        let data = column.to_data();
        let buffer = data.buffers()[0].clone();
        match width(column.data_type()) {
            Some(4) => Self::Four(ScalarBuffer::new(buffer, data.offset(), data.len())),
            Some(_) | None => Self::Eight(ScalarBuffer::new(buffer, data.offset(), data.len())),
        }
    }

    fn get(&self, row: usize) -> i64 {
        match self {
            Self::Four(words) => i64::from(words[row]),
            Self::Eight(words) => words[row],
        }
    }
}

/// Nothing where less than half of the bytes would be spared.
fn distances(column: &ArrayRef) -> Option<Narrowed> {
    let width = width(column.data_type())?;
    match Words::of(column) {
        Words::Four(words) => near(words.iter().map(|word| i64::from(*word)), width, column.nulls()),
        Words::Eight(words) => near(words.iter().copied(), width, column.nulls()),
    }
}

fn near(words: impl Iterator<Item = i64> + Clone, width: usize, nulls: Option<&NullBuffer>) -> Option<Narrowed> {
    // What stands under a NULL counts, too: it is mostly 0, and at worst nothing is spared.
    let (least, most) =
        words.clone().fold((i64::MAX, i64::MIN), |(least, most), word| (least.min(word), most.max(word)));
    // Without a sign the distance is right even where it wraps.
    let distance = words.map(move |word| word.wrapping_sub(least) as u64);
    let bits = distance.clone().fold(0, |bits, distance| bits | distance);
    let (zeros, farthest) = match bits {
        0 => (0, 0),
        bits => (bits.trailing_zeros(), most.wrapping_sub(least) as u64 >> bits.trailing_zeros()),
    };
    let spares = if width == 4 { farthest <= u64::from(u16::MAX) } else { farthest <= u64::from(u32::MAX) };
    let distance = distance.map(|distance| distance >> zeros);
    spares.then(|| Narrowed::Distance { least, zeros, distance: least_bytes(distance, farthest, nulls) })
}

/// Numbers of which none is above `most`, which 32 bits hold.
fn least_bytes(numbers: impl Iterator<Item = u64>, most: u64, nulls: Option<&NullBuffer>) -> ArrayRef {
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0).map(alone);
    if most <= u64::from(u8::MAX) {
        Arc::new(UInt8Array::new(numbers.map(|number| number as u8).collect(), nulls))
    } else if most <= u64::from(u16::MAX) {
        Arc::new(UInt16Array::new(numbers.map(|number| number as u16).collect(), nulls))
    } else {
        Arc::new(UInt32Array::new(numbers.map(|number| number as u32).collect(), nulls))
    }
}

/// A copy that does not keep the bits of a larger batch.
fn alone(nulls: &NullBuffer) -> NullBuffer {
    NullBuffer::new(BooleanBuffer::collect_bool(nulls.len(), |row| nulls.is_valid(row)))
}

fn wide(least: i64, zeros: u32, distance: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    fn add<T: ArrowPrimitiveType>(
        least: i64,
        zeros: u32,
        distance: &PrimitiveArray<T>,
        data_type: &DataType,
    ) -> Result<ArrayRef>
    where
        T::Native: Into<u64>,
    {
        let words = distance.values().iter().map(|distance| {
            let distance: u64 = (*distance).into();
            least.wrapping_add((distance << zeros) as i64)
        });
        primitive(words, distance.len(), distance.nulls().cloned(), data_type)
    }
    if let Some(bytes) = distance.as_primitive_opt::<UInt8Type>() {
        add(least, zeros, bytes, data_type)
    } else if let Some(shorts) = distance.as_primitive_opt::<UInt16Type>() {
        add(least, zeros, shorts, data_type)
    } else {
        add(least, zeros, distance.as_primitive::<UInt32Type>(), data_type)
    }
}

/// An array of a type that has a [`width`], of the bits of its values.
fn primitive(
    words: impl Iterator<Item = i64>,
    rows: usize,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    fn buffer<T: ArrowNativeType>(words: impl Iterator<Item = T>) -> Buffer {
        Buffer::from_vec(words.collect::<Vec<T>>())
    }
    let values = match width(data_type) {
        Some(4) => buffer(words.map(|word| word as i32)),
        Some(_) | None => buffer(words),
    };
    let data = ArrayData::builder(data_type.clone()).len(rows).add_buffer(values).nulls(nulls).build()?;
    Ok(make_array(data))
}

#[cfg(test)]
mod tests;
