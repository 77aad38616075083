//! Rows that wait for the second pass, in as few bits as they need.
//!
//! In: batches, and the number of each row's person. Out: the same batches again, or what is kept of them. Whole numbers wait as their
//! distance from the least of their batch ([`Distances`]), texts as their number among the texts of their column, as long as these are
//! few ([`Texts`]), each in as many bits as the batch's largest needs ([`Packed`]), and so does the number of the person. What all rows
//! of a person have in common does not wait with them ([`Keys`], [`OwnTexts`]). All else waits as it came.
//! Law: what comes out equals what came in. Must never: drop a row by itself.

mod of_person;
mod packed;
mod texts;
mod whole_numbers;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::filter;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{Result, internal_err};
use std::sync::Arc;

use of_person::{Keys, OwnTexts};
use packed::Packed;
use texts::{NULL, Texts};
use whole_numbers::{Distances, width};

/// How the rows of one partition are made narrow, and wide again.
pub(super) struct Narrow {
    schema: SchemaRef,
    /// The keys, where the person key is a column of whole numbers.
    keys: Option<Keys>,
    /// The texts of each column; nothing for columns of another type.
    texts: Vec<Option<(Texts, OwnTexts)>>,
    /// Of columns that wait as they came. Batches are often parts of a larger one, and share its memory.
    shared: RecordBatchMemoryCounter,
}

/// Rows that wait.
pub(super) struct Waiting {
    columns: Vec<Narrowed>,
    /// The number of each row's person.
    persons: Packed,
}

enum Narrowed {
    /// The person key.
    Key,
    /// The text that all rows of the person have.
    OwnText,
    /// The number of the text.
    Text {
        numbers: Packed,
        nulls: Option<NullBuffer>,
    },
    WholeNumbers(Distances),
    Whole(ArrayRef),
}

/// Rows of a batch.
#[derive(Clone, Copy)]
enum Places<'a> {
    All,
    Some(&'a [u32]),
}

impl Narrow {
    /// `person`: the column that is the person key, if it is one.
    pub(super) fn new(schema: SchemaRef, person: Option<usize>) -> Self {
        let text = |data_type: &DataType| (*data_type == DataType::Utf8View).then(<(Texts, OwnTexts)>::default);
        let texts = schema.fields().iter().map(|field| text(field.data_type())).collect();
        let column = person.filter(|column| width(schema.field(*column).data_type()).is_some());
        Self { schema, keys: column.map(Keys::new), texts, shared: RecordBatchMemoryCounter::new() }
    }

    /// The rows of a batch, and the bytes that they take. `count`: how many persons there are; the numbers of all are below it.
    pub(super) fn take_in(&mut self, batch: &RecordBatch, persons: &[u32], count: usize) -> Result<(Waiting, usize)> {
        if let Some(keys) = &mut self.keys {
            keys.learn(batch.column(keys.column), persons, count);
        }
        let mut whole = Vec::new();
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (number, column) in batch.columns().iter().enumerate() {
            let is_key = self.keys.as_ref().is_some_and(|keys| keys.column == number);
            let narrowed = match &mut self.texts[number] {
                _ if is_key => Some(Narrowed::Key),
                Some((texts, own)) => texts.numbers(column.as_string_view()).map(|(numbers, most)| {
                    match own.learn(&numbers, persons, count) {
                        true => Narrowed::OwnText,
                        false => Narrowed::text(&numbers, most, column.nulls()),
                    }
                }),
                None => Distances::of(column).map(Narrowed::WholeNumbers),
            };
            columns.push(narrowed.unwrap_or_else(|| {
                whole.push(number);
                Narrowed::Whole(Arc::clone(column))
            }));
        }
        let persons = Packed::new(persons.iter().map(|person| u64::from(*person)), count.saturating_sub(1) as u64);
        let mut bytes = persons.size() + columns.iter().map(Narrowed::size).sum::<usize>();
        if !whole.is_empty() {
            bytes += self.shared.count_batch(&batch.project(&whole)?);
        }
        Ok((Waiting { columns, persons }, bytes))
    }

    /// No rows wait any more, for memory is short: their texts need not be known, and what there is of it is for counters.
    pub(super) fn forget(&mut self) {
        self.shared = RecordBatchMemoryCounter::new();
        for (texts, own) in self.texts.iter_mut().flatten() {
            *texts = Texts::default();
            own.give_up();
        }
    }

    /// The rows as they came, and their persons.
    pub(super) fn give(&self, waiting: Waiting) -> Result<(RecordBatch, UInt32Array)> {
        let persons = waiting.persons();
        let batch = self.widen(&waiting, &persons, Places::All, |column| Ok(Arc::clone(column)))?;
        Ok((batch, persons.into()))
    }

    /// The rows that `kept` is true of.
    pub(super) fn give_some(&self, waiting: &Waiting, kept: &BooleanArray) -> Result<RecordBatch> {
        let places: Vec<u32> = kept.values().set_indices_u32().collect();
        let persons: Vec<u32> = waiting.persons.at(&places).map(|person| person as u32).collect();
        self.widen(waiting, &persons, Places::Some(&places), |column| Ok(filter(column, kept)?))
    }

    /// `persons`: of the rows at `places`.
    fn widen(
        &self,
        waiting: &Waiting,
        persons: &[u32],
        places: Places,
        some: impl Fn(&ArrayRef) -> Result<ArrayRef>,
    ) -> Result<RecordBatch> {
        let columns = waiting.columns.iter().zip(self.schema.fields()).zip(&self.texts);
        let columns = columns.map(|((narrowed, field), texts)| match (narrowed, &self.keys, texts) {
            (Narrowed::Whole(column), _, _) => some(column),
            (Narrowed::WholeNumbers(distances), _, _) => distances.give(places, field.data_type()),
            (Narrowed::Key, Some(keys), _) => keys.of(persons, field.data_type()),
            (Narrowed::OwnText, _, Some((texts, own))) => texts.of(&own.of(persons)),
            (Narrowed::Text { numbers, nulls }, _, Some((texts, _))) => {
                texts.of(&UInt32Array::new(places.numbers(numbers).into(), places.nulls(nulls.as_ref())))
            }
            (Narrowed::Key, None, _) | (Narrowed::OwnText | Narrowed::Text { .. }, _, None) => {
                internal_err!("rows that cannot be widened")
            }
        });
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_>>()?)?)
    }

    /// In bytes, without the rows that wait.
    pub(super) fn size(&self) -> usize {
        let texts: usize = self.texts.iter().flatten().map(|(texts, own)| texts.size() + own.size()).sum();
        texts + self.keys.as_ref().map_or(0, Keys::size)
    }
}

impl Narrowed {
    /// None of `numbers` is above `most`, but for that of no text.
    fn text(numbers: &[u32], most: u64, nulls: Option<&NullBuffer>) -> Self {
        let numbers = numbers.iter().map(|number| if *number == NULL { 0 } else { u64::from(*number) });
        Self::Text { numbers: Packed::new(numbers, most), nulls: some_nulls(nulls) }
    }

    /// In bytes, without what waits as it came: that may be shared.
    fn size(&self) -> usize {
        match self {
            Self::Key | Self::OwnText | Self::Whole(_) => 0,
            Self::Text { numbers, nulls } => numbers.size() + nulls_size(nulls.as_ref()),
            Self::WholeNumbers(distances) => distances.size(),
        }
    }
}

impl Waiting {
    /// Whose each row is.
    pub(super) fn persons(&self) -> Vec<u32> {
        self.persons.all().map(|person| person as u32).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.persons.len()
    }
}

impl Places<'_> {
    fn numbers(self, numbers: &Packed) -> Vec<u32> {
        match self {
            Self::All => numbers.all().map(|number| number as u32).collect(),
            Self::Some(places) => numbers.at(places).map(|number| number as u32).collect(),
        }
    }

    fn nulls(self, nulls: Option<&NullBuffer>) -> Option<NullBuffer> {
        match self {
            Self::All => nulls.cloned(),
            Self::Some(places) => nulls.map(|nulls| {
                NullBuffer::new(BooleanBuffer::collect_bool(places.len(), |at| nulls.is_valid(places[at] as usize)))
            }),
        }
    }
}

/// A copy that does not keep the bits of a larger batch; nothing where none is NULL.
fn some_nulls(nulls: Option<&NullBuffer>) -> Option<NullBuffer> {
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0)?;
    Some(NullBuffer::new(BooleanBuffer::collect_bool(nulls.len(), |row| nulls.is_valid(row))))
}

fn nulls_size(nulls: Option<&NullBuffer>) -> usize {
    nulls.map_or(0, |nulls| nulls.buffer().capacity())
}

#[cfg(test)]
mod tests;
