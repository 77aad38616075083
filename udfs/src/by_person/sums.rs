//! Sums and counts of one pair side by side.
//!
//! The engine keeps an array for each aggregate call. There are as many pairs as persons, and the rows of a batch reach them in any
//! order, so each call would fetch a line of memory of its own; here all whole-number sums and counts of a pair lie in one.
//!
//! In: a batch's values and the pair of each row. Out: states and results as the engine's `sum` of Int64 (which wraps) and `count`
//! give them. Law: the engine's own, held by the tests of the node.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use std::sync::Arc;

/// Rows whose lines are in the nearest cache when the next call comes to them.
const ROWS_AT_ONCE: usize = 512;
/// Calls that have a bit for whether their sum has had a value.
const MOST_CALLS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// NULL until there is a value.
    Sum,
    Count,
}

impl Kind {
    /// Nothing for calls that are the engine's to make.
    pub(super) fn of(call: &AggregateFunctionExpr) -> Option<Self> {
        let arguments = call.expressions();
        let plain = !call.is_distinct() && call.order_bys().is_empty() && arguments.len() == 1;
        let whole = call.field().data_type() == &DataType::Int64;
        match call.fun().name() {
            "sum" if plain && whole => Some(Self::Sum),
            "count" if plain && whole => Some(Self::Count),
            _ => None,
        }
    }
}

/// What one call reads of a batch.
pub(super) enum Values<'a> {
    /// Each is added.
    Add(&'a Int64Array),
    /// Each that is not NULL counts one.
    One(&'a ArrayRef),
}

/// Of some rows; NULLs where there are any.
enum Part<'a> {
    Add(&'a [i64], Option<NullBuffer>),
    One(Option<NullBuffer>),
}

impl Values<'_> {
    fn part(&self, start: usize, rows: usize) -> Part<'_> {
        let some = |nulls: NullBuffer| Some(nulls.slice(start, rows)).filter(|nulls| nulls.null_count() > 0);
        match self {
            Self::Add(numbers) => {
                let nulls = numbers.nulls().filter(|nulls| nulls.null_count() > 0);
                Part::Add(&numbers.values()[start..start + rows], nulls.cloned().and_then(some))
            }
            Self::One(values) => Part::One(values.logical_nulls().and_then(some)),
        }
    }

    /// What each row adds, nothing for one that only counts; nothing at all where a value is NULL, or a count's state.
    fn whole(&self, kind: Kind) -> Option<Option<&[i64]>> {
        let valid = |nulls: Option<&NullBuffer>| nulls.is_none_or(|nulls| nulls.null_count() == 0);
        match (self, kind) {
            (Self::Add(numbers), Kind::Sum) => valid(numbers.nulls()).then(|| Some(numbers.values().as_ref())),
            (Self::Add(_), Kind::Count) => None,
            (Self::One(values), Kind::Sum | Kind::Count) => valid(values.logical_nulls().as_ref()).then_some(None),
        }
    }

    /// The state of each row as a pair of its own.
    pub(super) fn each(&self) -> ArrayRef {
        match self {
            Self::Add(numbers) => Arc::new((*numbers).clone()),
            Self::One(values) => {
                let nulls = values.logical_nulls();
                let one = |row: usize| i64::from(nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)));
                Arc::new(Int64Array::from_iter_values((0..values.len()).map(one)))
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Sums {
    /// What each call is, and its place among those of its kind.
    calls: Vec<(Kind, usize)>,
    sums: usize,
    counts: usize,
    /// Of each pair: its whole rows, in which no call reads a NULL and which every count counts; then a word a sum.
    words: Vec<i64>,
    /// What other rows add. Of each pair: a bit for each sum that has had a value, then a word a count. Mostly there are none, and as
    /// long as there are none this is empty.
    others: Vec<i64>,
}

/// Where the words of sums and counts begin.
const FIRST: usize = 1;

impl Sums {
    /// The place of a new call; nothing where there is none left. All come before the first row.
    pub(super) fn place(&mut self, kind: Kind) -> Option<usize> {
        if self.calls.len() == MOST_CALLS {
            return None;
        }
        let among = match kind {
            Kind::Sum => &mut self.sums,
            Kind::Count => &mut self.counts,
        };
        self.calls.push((kind, *among));
        *among += 1;
        Some(self.calls.len() - 1)
    }

    /// Words of a pair, and other words.
    fn strides(&self) -> (usize, usize) {
        (FIRST + self.sums, FIRST + self.counts)
    }

    /// How many calls are sums.
    pub(super) fn count(&self) -> usize {
        self.sums
    }

    /// What each sum adds, where all rows of a batch are whole: no call reads a NULL.
    pub(super) fn whole<'a>(&self, values: &'a [Values]) -> Option<Vec<&'a [i64]>> {
        let parts: Option<Vec<_>> =
            values.iter().zip(&self.calls).map(|(values, (kind, _))| values.whole(*kind)).collect();
        Some(parts?.into_iter().flatten().collect())
    }

    /// There are so many pairs.
    pub(super) fn reach(&mut self, pairs: usize) {
        self.words.resize(pairs * self.strides().0, 0);
    }

    /// Adds whole rows of one pair, and what they add to each sum.
    pub(super) fn add_rows(&mut self, pair: usize, rows: u32, sums: &[u64]) {
        let (stride, _) = self.strides();
        let words = &mut self.words[pair * stride..(pair + 1) * stride];
        words[0] += i64::from(rows);
        for (word, sum) in words[FIRST..].iter_mut().zip(sums) {
            *word = word.wrapping_add(*sum as i64);
        }
    }

    /// Adds one batch: `values` of each call by place, `rows` the pair of each row, `pairs` how many there are.
    pub(super) fn add(&mut self, values: &[Values], rows: &[usize], pairs: usize) {
        if values.is_empty() {
            return;
        }
        let (_, other_stride) = self.strides();
        self.reach(pairs);
        for (chunk, rows) in rows.chunks(ROWS_AT_ONCE).enumerate() {
            let start = chunk * ROWS_AT_ONCE;
            let parts: Vec<Part> = values.iter().map(|values| values.part(start, rows.len())).collect();
            let is_whole = |(part, (kind, _)): (&Part, &(Kind, usize))| match part {
                // A state of a count is no count of one.
                Part::Add(_, nulls) => nulls.is_none() && *kind == Kind::Sum,
                Part::One(nulls) => nulls.is_none(),
            };
            if parts.iter().zip(&self.calls).all(is_whole) {
                self.add_whole(&parts, rows);
                continue;
            }
            self.others.resize(pairs * other_stride, 0);
            for (part, call) in parts.iter().zip(self.calls.clone()) {
                match (part, call) {
                    (Part::Add(numbers, nulls), (Kind::Sum, sum)) => self.sum(sum, numbers, nulls.as_ref(), rows),
                    (Part::Add(numbers, nulls), (Kind::Count, count)) => {
                        self.counted(count, |row| numbers[row], nulls.as_ref(), rows);
                    }
                    (Part::One(nulls), (_, count)) => self.counted(count, |_| 1, nulls.as_ref(), rows),
                }
            }
        }
    }

    fn add_whole(&mut self, parts: &[Part], rows: &[usize]) {
        let (stride, _) = self.strides();
        let mut sums = parts.iter().filter_map(|part| match part {
            Part::Add(numbers, _) => Some(*numbers),
            Part::One(_) => None,
        });
        match sums.next() {
            Some(numbers) => {
                for (pair, number) in rows.iter().zip(numbers) {
                    let words = &mut self.words[pair * stride..(pair + 1) * stride];
                    words[0] += 1;
                    words[FIRST] = words[FIRST].wrapping_add(*number);
                }
            }
            None => rows.iter().for_each(|pair| self.words[pair * stride] += 1),
        }
        for (numbers, at) in sums.zip(FIRST + 1..) {
            for (pair, number) in rows.iter().zip(numbers) {
                let word = &mut self.words[pair * stride + at];
                *word = word.wrapping_add(*number);
            }
        }
    }

    fn sum(&mut self, sum: usize, numbers: &[i64], nulls: Option<&NullBuffer>, rows: &[usize]) {
        let ((stride, other_stride), bit) = (self.strides(), 1_i64 << sum);
        each(rows, nulls, |row, pair| {
            self.others[pair * other_stride] |= bit;
            let word = &mut self.words[pair * stride + FIRST + sum];
            *word = word.wrapping_add(numbers[row]);
        });
    }

    fn counted(&mut self, count: usize, of: impl Fn(usize) -> i64, nulls: Option<&NullBuffer>, rows: &[usize]) {
        let (_, stride) = self.strides();
        each(rows, nulls, |row, pair| self.others[pair * stride + FIRST + count] += of(row));
    }

    /// The sums or counts of each pair: a state and a result are the same.
    pub(super) fn column(&self, place: usize) -> ArrayRef {
        let ((stride, other_stride), (kind, at)) = (self.strides(), self.calls[place]);
        let other = |pair: usize, word: usize| self.others.get(pair * other_stride + word).copied().unwrap_or_default();
        let pairs = self.words.chunks_exact(stride);
        Arc::new(match kind {
            Kind::Count => {
                Int64Array::from_iter_values(pairs.enumerate().map(|(pair, words)| words[0] + other(pair, FIRST + at)))
            }
            Kind::Sum => {
                let seen = |(pair, words): (usize, &[i64])| words[0] > 0 || other(pair, 0) & 1 << at != 0;
                let seen: BooleanBuffer = pairs.clone().enumerate().map(seen).collect();
                let numbers = pairs.map(|words| words[FIRST + at]).collect();
                Int64Array::new(numbers, Some(NullBuffer::new(seen)).filter(|nulls| nulls.null_count() > 0))
            }
        })
    }

    /// No pair is left.
    pub(super) fn clear(&mut self) {
        (self.words, self.others) = (Vec::new(), Vec::new());
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        (self.words.capacity() + self.others.capacity()) * size_of::<i64>()
    }
}

/// Calls `add` with each row that is not NULL and its pair.
fn each(rows: &[usize], nulls: Option<&NullBuffer>, mut add: impl FnMut(usize, usize)) {
    match nulls {
        None => rows.iter().enumerate().for_each(|(row, pair)| add(row, *pair)),
        Some(nulls) => nulls.valid_indices().for_each(|row| add(row, rows[row])),
    }
}

/// What a call of `kind` reads: values at first, states of its kind (`merges`) at last. Nothing for values of another type.
pub(super) fn values(kind: Kind, merges: bool, array: &ArrayRef) -> Option<Values<'_>> {
    match (kind, merges) {
        (Kind::Sum, _) | (Kind::Count, true) => array.as_primitive_opt::<Int64Type>().map(Values::Add),
        (Kind::Count, false) => Some(Values::One(array)),
    }
}
