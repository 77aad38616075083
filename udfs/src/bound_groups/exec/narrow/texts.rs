//! The texts of one column, numbered in the order in which they come.
//!
//! In: columns of texts. Out: a number a row, and texts by number. Where there are too many texts, or too many for the rows that came,
//! a column is not taken; what was taken before stays.

use arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::{HashMap, Result};
use std::sync::{Arc, OnceLock};

/// Texts, and bytes of texts, beyond which numbers spare too little.
const MOST_TEXTS: usize = 1 << 16;
const MOST_BYTES: usize = 1 << 22;
/// Rows for each text, where there are more than a few texts.
const ROWS_A_TEXT: usize = 8;
const FEW_TEXTS: usize = 64;
/// A text of at most so many bytes is its view.
const INLINE_BYTES: u32 = 12;
/// Texts that are found by their view alone.
const NEAR: usize = 256;
/// The view of no text: it would be too long.
const NONE: u128 = u128::MAX;
/// The number of no text.
pub(super) const NULL: u32 = u32::MAX - 1;

#[derive(Default)]
pub(super) struct Texts {
    /// Texts that are their view, and the others.
    short: HashMap<u128, u32>,
    long: HashMap<Box<[u8]>, u32>,
    long_bytes: usize,
    /// Short texts that came lately.
    near: Vec<(u128, u32)>,
    /// Rows that came, taken or not.
    rows: usize,
    texts: StringViewBuilder,
    /// All texts so far, when they are asked for.
    all: OnceLock<ArrayRef>,
}

impl Texts {
    /// The number of each row's text, [`NULL`] where it is NULL, and what the others are not above. Nothing where there are too many texts.
    pub(super) fn numbers(&mut self, column: &StringViewArray) -> Option<(Vec<u32>, u64)> {
        let most = FEW_TEXTS.max(self.rows / ROWS_A_TEXT).min(MOST_TEXTS);
        self.rows += column.len();
        if self.len() > most || self.long_bytes > MOST_BYTES {
            return None;
        }
        self.near.resize(NEAR, (NONE, 0));
        let mut numbers = Vec::with_capacity(column.len());
        for (row, view) in column.views().iter().enumerate() {
            // Multiplied by an odd number the upper bits depend on all of them.
            let near = (((view ^ (view >> 64)) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize;
            if self.near[near].0 == *view {
                numbers.push(self.near[near].1);
            } else if column.is_null(row) {
                numbers.push(NULL);
            } else if *view as u32 <= INLINE_BYTES {
                let number = self.short(*view, column.value(row));
                self.near[near] = (*view, number);
                numbers.push(number);
            } else {
                numbers.push(self.long(column.value(row)));
            }
        }
        // There may be anything under a NULL, also a text that came lately.
        if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
            nulls.iter().zip(&mut numbers).filter(|(valid, _)| !valid).for_each(|(_, number)| *number = NULL);
        }
        Some((numbers, self.len().saturating_sub(1) as u64))
    }

    fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    fn short(&mut self, view: u128, text: &str) -> u32 {
        if let Some(number) = self.short.get(&view) {
            return *number;
        }
        let number = self.learn(text);
        self.short.insert(view, number);
        number
    }

    fn long(&mut self, text: &str) -> u32 {
        if let Some(number) = self.long.get(text.as_bytes()) {
            return *number;
        }
        let number = self.learn(text);
        self.long_bytes += text.len();
        self.long.insert(text.as_bytes().into(), number);
        number
    }

    fn learn(&mut self, text: &str) -> u32 {
        let number = self.len() as u32;
        self.texts.append_value(text);
        self.all = OnceLock::new();
        number
    }

    /// The texts of numbers.
    pub(super) fn of(&self, numbers: &UInt32Array) -> Result<ArrayRef> {
        let all = self.all.get_or_init(|| Arc::new(self.texts.finish_cloned()));
        if all.is_empty() {
            // All are NULL.
            return Ok(arrow::array::new_null_array(&DataType::Utf8View, numbers.len()));
        }
        Ok(take(all, numbers, None)?)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        // The tables keep a byte an entry beside it; a text is in its table, among all, and among all that are asked for.
        self.short.capacity() * (size_of::<(u128, u32)>() + 1)
            + self.long.capacity() * (size_of::<(Box<[u8]>, u32)>() + 1)
            + 3 * (self.long_bytes + self.len() * size_of::<u128>())
            + self.near.capacity() * size_of::<(u128, u32)>()
    }
}
