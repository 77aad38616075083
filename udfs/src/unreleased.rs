//! Unreleased values: the exact aggregate of a group, as an Arrow extension type of its own.
//!
//! In: exact integers (i128 words). Out: `FixedSizeBinary(16 · words)`, little-endian, whose field
//! carries the extension name `paravent.unreleased`. Must never: be read by anything but the
//! release. No function here turns a word into a SQL number.

use arrow::array::{Array, ArrayRef, FixedSizeBinaryArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field};
use datafusion::common::cast::as_fixed_size_binary_array;
use datafusion::common::{Result, exec_err};
use std::collections::HashMap;
use std::sync::Arc;

/// The Arrow extension name of an exact aggregate.
pub const UNRELEASED: &str = "paravent.unreleased";

const EXTENSION_NAME: &str = "ARROW:extension:name";
const WORD_BYTES: usize = 16;

/// Whether a column holds exact aggregates, so that only a release may read it.
pub fn is_unreleased(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == UNRELEASED)
}

/// A column of `words` exact integers a row.
pub fn unreleased_field(name: impl Into<String>, words: usize) -> Field {
    Field::new(name, unreleased_type(words), true)
        .with_metadata(HashMap::from([(EXTENSION_NAME.to_owned(), UNRELEASED.to_owned())]))
}

/// How many words an unreleased column has; nothing for any other column.
pub fn words_of(field: &Field) -> Option<usize> {
    match field.data_type() {
        DataType::FixedSizeBinary(bytes) if is_unreleased(field) => {
            usize::try_from(*bytes).ok().map(|bytes| bytes / WORD_BYTES)
        }
        _ => None,
    }
}

pub(crate) fn unreleased_type(words: usize) -> DataType {
    DataType::FixedSizeBinary((words * WORD_BYTES) as i32)
}

/// Words, group after group, as an array.
pub(crate) fn array_of_words(words: usize, values: &[i128]) -> Result<ArrayRef> {
    let mut bytes = Vec::with_capacity(values.len() * WORD_BYTES);
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    let array = FixedSizeBinaryArray::try_new((words * WORD_BYTES) as i32, Buffer::from_vec(bytes), None)?;
    Ok(Arc::new(array))
}

/// A view of an array's words. NULL reads as zeros: a group without a state has no persons.
pub(crate) struct Words<'a> {
    array: &'a FixedSizeBinaryArray,
}

impl<'a> Words<'a> {
    pub(crate) fn new(array: &'a ArrayRef, words: usize) -> Result<Self> {
        let array = as_fixed_size_binary_array(array)?;
        if array.value_length() as usize != words * WORD_BYTES {
            return exec_err!("an unreleased column has {words} words");
        }
        Ok(Self { array })
    }

    pub(crate) fn len(&self) -> usize {
        self.array.len()
    }

    pub(crate) fn get(&self, row: usize, word: usize) -> i128 {
        if self.array.is_null(row) {
            return 0;
        }
        let mut bytes = [0; WORD_BYTES];
        bytes.copy_from_slice(&self.array.value(row)[word * WORD_BYTES..][..WORD_BYTES]);
        i128::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_went_in() {
        let values = [0, -1, i128::MAX, i128::MIN, 7, 42];
        let array = array_of_words(2, &values).unwrap();
        let words = Words::new(&array, 2).unwrap();
        let back: Vec<i128> = (0..words.len()).flat_map(|row| [words.get(row, 0), words.get(row, 1)]).collect();
        assert_eq!(back, values);
        assert!(Words::new(&array, 3).is_err());
        let field = unreleased_field("x", 2);
        assert!(is_unreleased(&field) && words_of(&field) == Some(2));
        assert_eq!(words_of(&Field::new("x", unreleased_type(2), true)), None);
    }
}
