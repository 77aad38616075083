//! What all rows of a person have in common, by the person's number: it need not wait with each of them.
//!
//! The person's key, and the texts of columns that depend on the person alone. Nobody says which these are: a column is taken for one
//! until a row comes that has another text than its person had before; the batches before it wait without that column, those from then
//! on with it.

use super::texts::NULL;
use super::whole_numbers::{Words, whole_numbers};
use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::DataType;
use datafusion::common::Result;

/// The keys of persons that are whole numbers.
pub(super) struct Keys {
    pub(super) column: usize,
    keys: Vec<i64>,
    nobody: Option<u32>,
}

impl Keys {
    pub(super) fn new(column: usize) -> Self {
        Self { column, keys: Vec::new(), nobody: None }
    }

    /// The keys of persons that are new.
    pub(super) fn learn(&mut self, column: &ArrayRef, persons: &[u32], count: usize) {
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

    pub(super) fn of(&self, persons: &[u32], data_type: &DataType) -> Result<ArrayRef> {
        let nulls = self
            .nobody
            .filter(|nobody| persons.contains(nobody))
            .map(|nobody| NullBuffer::new(BooleanBuffer::collect_bool(persons.len(), |row| persons[row] != nobody)));
        whole_numbers(persons.iter().map(|person| self.keys[*person as usize]), nulls, data_type)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.keys.capacity() * size_of::<i64>()
    }
}

/// No row of the person has come.
const UNKNOWN: u32 = u32::MAX;

/// The number of each person's text in one column, or that it is NULL.
#[derive(Default)]
pub(super) struct OwnTexts {
    texts: Vec<u32>,
    /// Some person has several, or there is no room to know.
    given_up: bool,
}

impl OwnTexts {
    /// Whether each of these rows has the text that its person's rows had before. `count`: how many persons there are.
    pub(super) fn learn(&mut self, texts: &[u32], persons: &[u32], count: usize) -> bool {
        if self.given_up {
            return false;
        }
        self.texts.resize(count, UNKNOWN);
        self.given_up = texts.iter().zip(persons).any(|(text, person)| {
            let known = &mut self.texts[*person as usize];
            if *known == UNKNOWN {
                *known = *text;
            }
            *known != *text
        });
        !self.given_up
    }

    /// No rows wait for these texts, and none will.
    pub(super) fn give_up(&mut self) {
        *self = Self { texts: Vec::new(), given_up: true };
    }

    pub(super) fn of(&self, persons: &[u32]) -> UInt32Array {
        let texts: Vec<u32> = persons.iter().map(|person| self.texts[*person as usize]).collect();
        let nulls = texts
            .contains(&NULL)
            .then(|| NullBuffer::new(BooleanBuffer::collect_bool(texts.len(), |row| texts[row] != NULL)));
        UInt32Array::new(texts.into(), nulls)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.texts.capacity() * size_of::<u32>()
    }
}
