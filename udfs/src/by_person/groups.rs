//! Numbers the groups of rows, by a guess where one is at hand.
//!
//! A row is mostly of the group that its person was of before. Whether it is takes one comparison a column with the values of that
//! group, which are few and stay in the cache. Where persons have several groups, the guess is the group that a row of the same mark
//! was of last, a mark being a few bits that equal rows share. Only the other rows are hashed. In: columns, and a guess a row. Out: each
//! row's number, the engine's own ([`new_group_values`]). Law: equal rows have one number, others another, whatever was guessed.

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::{ArrowNativeType, DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use std::sync::Arc;

/// No guess.
pub(super) const UNKNOWN: u32 = u32::MAX;
/// Batches with more wrong guesses than right ones, one after another, after which no more are made.
const PATIENCE: usize = 16;
/// Bits of a mark: groups are few, and what is known by mark stays in the nearest cache.
const MARK_BITS: u32 = 10;
/// A text of at most so many bytes is its view.
const INLINE_BYTES: u32 = 12;

pub(super) struct Groups {
    /// Nothing where there is no group column.
    values: Option<Box<dyn GroupValues>>,
    schema: SchemaRef,
    /// Of each column, by group. Empty where a column cannot be compared so, or no guess is of use.
    known: Vec<Known>,
    /// Batches that were mostly guessed wrong, by persons and by marks.
    wrong: Wrong,
    /// The group that a row of each mark was of last.
    recent: Vec<u32>,
    marks: Vec<u64>,
    numbers: Vec<usize>,
    missed: Vec<u32>,
}

/// Batches with more wrong guesses than right ones, one after another.
#[derive(Default)]
struct Wrong {
    by_person: usize,
    by_mark: usize,
}

/// Of guesses of `guesses` rows `right` were right.
fn judge(wrong: &mut usize, guesses: usize, right: usize) {
    match 2 * right >= guesses {
        true => *wrong = 0,
        false => *wrong += 1,
    }
}

fn held(groups: &[u32]) -> usize {
    groups.iter().filter(|group| **group != UNKNOWN).count()
}

impl Groups {
    pub(super) fn new(schema: SchemaRef) -> Result<Self> {
        let values = new_values(&schema)?;
        let known: Option<Vec<Known>> = schema.fields().iter().map(|field| Known::new(field.data_type())).collect();
        Ok(Self {
            values,
            schema,
            known: known.unwrap_or_default(),
            wrong: Wrong::default(),
            recent: Vec::new(),
            marks: Vec::new(),
            numbers: Vec::new(),
            missed: Vec::new(),
        })
    }

    /// Is it of use to guess by persons?
    pub(super) fn asks_persons(&self) -> bool {
        self.values.is_none() || (!self.known.is_empty() && self.wrong.by_person < PATIENCE)
    }

    /// `groups`: guesses by person, [`UNKNOWN`] where there is none; then the numbers. True where every guess was right.
    pub(super) fn number(&mut self, columns: &[ArrayRef], groups: &mut [u32]) -> Result<bool> {
        self.marks.clear();
        self.missed.clear();
        if self.values.is_none() {
            let right = groups.iter().all(|group| *group == 0);
            groups.fill(0);
            return Ok(right);
        }
        if self.wrong.by_person >= PATIENCE && self.wrong.by_mark >= PATIENCE {
            // Nothing more is guessed.
            self.known.clear();
        }
        if self.known.is_empty() {
            groups.fill(UNKNOWN);
        } else {
            let guesses = held(groups);
            if guesses > 0 {
                let right = self.check(columns, groups);
                judge(&mut self.wrong.by_person, guesses, right);
                if right == groups.len() {
                    return Ok(true);
                }
            }
            if 2 * held(groups) < groups.len() && self.wrong.by_mark < PATIENCE {
                self.guess_by_mark(columns, groups);
            }
        }
        self.number_missed(columns, groups)?;
        Ok(false)
    }

    /// Takes back the guesses that do not hold. How many do.
    fn check(&self, columns: &[ArrayRef], groups: &mut [u32]) -> usize {
        for (known, column) in self.known.iter().zip(columns) {
            known.check(column, groups);
        }
        held(groups)
    }

    /// Of rows that have no number yet.
    fn guess_by_mark(&mut self, columns: &[ArrayRef], groups: &mut [u32]) {
        self.recent.resize(1 << MARK_BITS, UNKNOWN);
        self.marks.clear();
        self.marks.resize(groups.len(), 0);
        for (known, column) in self.known.iter().zip(columns) {
            known.mark(column, &mut self.marks);
        }
        for (group, mark) in groups.iter_mut().zip(&self.marks) {
            *group = if *group == UNKNOWN { self.recent[(mark >> (64 - MARK_BITS)) as usize] } else { *group };
        }
        let right = self.check(columns, groups);
        judge(&mut self.wrong.by_mark, groups.len(), right);
    }

    /// Rows without a number get the engine's.
    fn number_missed(&mut self, columns: &[ArrayRef], groups: &mut [u32]) -> Result<()> {
        self.missed.extend((0..).zip(groups.iter()).filter(|(_, group)| **group == UNKNOWN).map(|(row, _)| row));
        let Some(values) = self.values.as_mut().filter(|_| !self.missed.is_empty()) else { return Ok(()) };
        let first = values.len();
        let rows = if self.missed.len() == groups.len() {
            columns.to_vec()
        } else {
            let missed = UInt32Array::from(self.missed.clone());
            columns.iter().map(|column| take(column, &missed, None)).collect::<std::result::Result<_, _>>()?
        };
        values.intern(&rows, &mut self.numbers)?;
        let new = values.len() - first;
        for (row, number) in self.missed.iter().zip(&self.numbers) {
            groups[*row as usize] = *number as u32;
            if let Some(mark) = self.marks.get(*row as usize) {
                self.recent[(mark >> (64 - MARK_BITS)) as usize] = *number as u32;
            }
        }
        if !self.known.is_empty() && new > 0 {
            self.learn(&rows, first, new);
        }
        Ok(())
    }

    /// The values of the `new` groups from `first` on, by the rows of `self.numbers`.
    fn learn(&mut self, columns: &[ArrayRef], first: usize, new: usize) {
        let mut rows = vec![0; new];
        for (row, number) in self.numbers.iter().enumerate() {
            if let Some(group) = number.checked_sub(first) {
                rows[group] = row;
            }
        }
        for (known, column) in self.known.iter_mut().zip(columns) {
            rows.iter().for_each(|row| known.push(column, *row));
        }
    }

    /// The values of each group by number; none is left.
    pub(super) fn emit(&mut self) -> Result<Vec<ArrayRef>> {
        let columns = match &mut self.values {
            Some(values) => values.emit(EmitTo::All)?,
            None => Vec::new(),
        };
        *self = Self::new(Arc::clone(&self.schema))?;
        Ok(columns)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        let known: usize = self.known.iter().map(Known::size).sum();
        let recent = self.recent.capacity() * size_of::<u32>() + self.marks.capacity() * size_of::<u64>();
        known + recent + self.values.as_ref().map_or(0, |values| values.size())
    }
}

fn new_values(schema: &SchemaRef) -> Result<Option<Box<dyn GroupValues>>> {
    match schema.fields().is_empty() {
        true => Ok(None),
        false => new_group_values(Arc::clone(schema), &GroupOrdering::None).map(Some),
    }
}

/// One column's values by group, NULL apart.
enum Known {
    /// Numbers of four bytes, of which equal ones have equal bytes.
    Four(Vec<Option<u32>>),
    Eight(Vec<Option<u64>>),
    Text(Texts),
}

/// A text's view, and its bytes where the view is too short for them.
#[derive(Default)]
struct Texts {
    views: Vec<u128>,
    long: Vec<Box<[u8]>>,
    /// Whether there is a text that is more than its view.
    some_long: bool,
}

/// The view of NULL, which no text has: it would be too long.
const NULL: u128 = u128::MAX;

impl Known {
    fn new(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Int32 | DataType::UInt32 | DataType::Date32 | DataType::Time32(_) => Some(Self::Four(Vec::new())),
            DataType::Int64
            | DataType::UInt64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(_, _)
            | DataType::Duration(_) => Some(Self::Eight(Vec::new())),
            DataType::Utf8View => Some(Self::Text(Texts::default())),
            // Equal floats may have different bytes; the others are rare.
            _ => None,
        }
    }

    /// Takes back the guesses that do not hold.
    fn check(&self, column: &ArrayRef, groups: &mut [u32]) {
        match self {
            Self::Four(known) => check(known, &words::<u32>(column), column, groups),
            Self::Eight(known) => check(known, &words::<u64>(column), column, groups),
            Self::Text(texts) => texts.check(column.as_string_view(), groups),
        }
    }

    /// Mixes each row's value into its mark. Of NULL anything.
    fn mark(&self, column: &ArrayRef, marks: &mut [u64]) {
        match self {
            Self::Four(_) => mark(words::<u32>(column).iter().map(|word| u64::from(*word)), marks),
            Self::Eight(_) => mark(words::<u64>(column).iter().copied(), marks),
            // Of a long text its length and its first bytes: the rest of its view says where it is.
            Self::Text(_) => mark(
                column.as_string_view().views().iter().map(|view| {
                    let rest = if *view as u32 > INLINE_BYTES { 0 } else { (*view >> 64) as u64 };
                    *view as u64 ^ rest.wrapping_mul(ODD)
                }),
                marks,
            ),
        }
    }

    fn push(&mut self, column: &ArrayRef, row: usize) {
        let valid = column.is_valid(row);
        match self {
            Self::Four(known) => known.push(valid.then(|| words::<u32>(column)[row])),
            Self::Eight(known) => known.push(valid.then(|| words::<u64>(column)[row])),
            Self::Text(texts) => texts.push(column.as_string_view(), row),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Four(known) => known.capacity() * size_of::<Option<u32>>(),
            Self::Eight(known) => known.capacity() * size_of::<Option<u64>>(),
            Self::Text(texts) => {
                let long: usize = texts.long.iter().map(|text| text.len()).sum();
                long + texts.views.capacity() * size_of::<u128>() + texts.long.capacity() * size_of::<Box<[u8]>>()
            }
        }
    }
}

/// 2⁶⁴ over the golden ratio, whose multiples' upper bits are spread evenly (Knuth, "The Art of Computer Programming" 3, 6.4).
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

fn mark(values: impl Iterator<Item = u64>, marks: &mut [u64]) {
    for (mark, value) in marks.iter_mut().zip(values) {
        *mark = (*mark ^ value).wrapping_mul(ODD);
        *mark ^= *mark >> 32;
    }
}

/// A column of whole numbers by their bytes. No copy.
fn words<T: ArrowNativeType>(column: &ArrayRef) -> ScalarBuffer<T> {
    let data = column.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

fn check<T: Copy + PartialEq>(known: &[Option<T>], words: &[T], column: &ArrayRef, groups: &mut [u32]) {
    let of = |group: u32| known.get(group as usize).copied();
    match column.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => {
            for (group, word) in groups.iter_mut().zip(words) {
                if of(*group) != Some(Some(*word)) {
                    *group = UNKNOWN;
                }
            }
        }
        Some(nulls) => {
            for ((group, word), valid) in groups.iter_mut().zip(words).zip(nulls) {
                if of(*group) != Some(valid.then_some(*word)) {
                    *group = UNKNOWN;
                }
            }
        }
    }
}

impl Texts {
    fn check(&self, column: &StringViewArray, groups: &mut [u32]) {
        let views = column.views();
        if column.null_count() == 0 && !self.some_long {
            // What is known is its view, or NULL; no longer text has the view of either.
            for (group, view) in groups.iter_mut().zip(views) {
                let known = self.views.get(*group as usize).copied().unwrap_or(NULL);
                *group = if known == *view { *group } else { UNKNOWN };
            }
            return;
        }
        for (row, group) in groups.iter_mut().enumerate() {
            let same = self.views.get(*group as usize).is_some_and(|known| {
                if column.is_null(row) || *known == NULL || views[row] as u32 <= INLINE_BYTES {
                    *known == if column.is_null(row) { NULL } else { views[row] }
                } else {
                    *known as u32 == views[row] as u32 && *self.long[*group as usize] == *column.value(row).as_bytes()
                }
            });
            *group = if same { *group } else { UNKNOWN };
        }
    }

    fn push(&mut self, column: &StringViewArray, row: usize) {
        let view = if column.is_null(row) { NULL } else { column.views()[row] };
        let long = column.is_valid(row) && view as u32 > INLINE_BYTES;
        self.some_long |= long;
        self.views.push(view);
        self.long.push(if long { column.value(row).as_bytes().into() } else { Box::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Float64Array, Int64Array};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// text, day, number, float; and a guess.
    type Row = (Option<u8>, Option<i32>, Option<i64>, Option<i8>, Option<u32>);

    fn columns(rows: &[Row], floats: bool) -> Vec<ArrayRef> {
        let texts =
            ["", "Sales", "twelve bytes", "thirteen byte", "thirteen bite", "a text that is longer than a view"];
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.0.map(|text| texts[text as usize])).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Date32Array>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
        ];
        if floats {
            columns.push(Arc::new(rows.iter().map(|row| row.3.map(f64::from)).collect::<Float64Array>()));
        }
        columns
    }

    fn row() -> impl Strategy<Value = Row> {
        let few = prop::option::weighted(0.8, 0..2_i32);
        let some = prop::option::weighted(0.8, 0..6_u8);
        (some, few, prop::option::weighted(0.9, -1..1_i64), prop::option::of(0..2_i8), prop::option::of(0..9_u32))
    }

    proptest! {
        #[test]
        fn a_guess_changes_nothing(
            batches in prop::collection::vec(prop::collection::vec(row(), 0..40), 1..8),
            floats in any::<bool>(),
        ) {
            let fields: Vec<Field> = columns(&[], floats)
                .iter()
                .map(|column| Field::new("k", column.data_type().clone(), true))
                .collect();
            let mut groups = Groups::new(Arc::new(Schema::new(fields))).unwrap();
            prop_assert_eq!(groups.known.is_empty(), floats);
            let mut numbers = BTreeMap::new();
            for batch in &batches {
                let mut numbered: Vec<u32> = batch.iter().map(|row| row.4.unwrap_or(UNKNOWN)).collect();
                groups.number(&columns(batch, floats), &mut numbered).unwrap();
                for (row, number) in batch.iter().zip(numbered) {
                    let key = (row.0, row.1, row.2, if floats { row.3 } else { None });
                    prop_assert_eq!(*numbers.entry(key).or_insert(number), number);
                }
            }
            let distinct: std::collections::BTreeSet<u32> = numbers.values().copied().collect();
            prop_assert_eq!(distinct.len(), numbers.len());
            prop_assert_eq!(groups.emit().unwrap()[0].len(), numbers.len());
        }
    }

    /// A law over guesses says nothing if none is ever taken.
    #[test]
    fn right_guesses_are_not_hashed() {
        let rows = |guess| vec![(Some(3), Some(1), Some(1), None, Some(guess)); 10];
        let columns = columns(&rows(0), false);
        let fields: Vec<Field> = columns.iter().map(|c| Field::new("k", c.data_type().clone(), true)).collect();
        let mut groups = Groups::new(Arc::new(Schema::new(fields))).unwrap();
        groups.number(&columns, &mut [UNKNOWN; 10]).unwrap();
        let mut right = [0; 10];
        groups.number(&columns, &mut right).unwrap();
        assert_eq!((right, groups.missed.len()), ([0; 10], 0));
        let mut wrong = [1; 10];
        groups.number(&columns, &mut wrong).unwrap();
        // Their mark was seen before.
        assert_eq!((wrong, groups.missed.len()), ([0; 10], 0));
    }

    #[test]
    fn rows_of_known_marks_are_not_hashed() {
        let rows: Vec<Row> = (0..60).map(|row| (Some(row % 6), Some(1), Some(1), None, None)).collect();
        let columns = columns(&rows, false);
        let fields: Vec<Field> = columns.iter().map(|c| Field::new("k", c.data_type().clone(), true)).collect();
        let mut groups = Groups::new(Arc::new(Schema::new(fields))).unwrap();
        let mut first = [UNKNOWN; 60];
        groups.number(&columns, &mut first).unwrap();
        assert_eq!((held(&first), groups.missed.len()), (60, 60));
        let mut again = [UNKNOWN; 60];
        groups.number(&columns, &mut again).unwrap();
        assert_eq!(again, first);
        // Of the two texts of one length and beginning, which share a mark, one was not seen last.
        assert_eq!(groups.missed.len(), 10);
    }
}
