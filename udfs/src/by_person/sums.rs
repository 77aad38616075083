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
    kinds: Vec<Kind>,
    /// Of each pair: its whole rows, in which no call reads a NULL and which every count counts; a bit for each sum that has had a
    /// value in another row; one word a call, without what whole rows count.
    words: Vec<i64>,
}

/// Where a pair's words stand.
const WHOLE: usize = 0;
const SEEN: usize = 1;
const CALLS: usize = 2;

impl Sums {
    /// The place of a new call; nothing where there is none left. All come before the first row.
    pub(super) fn place(&mut self, kind: Kind) -> Option<usize> {
        self.kinds.push(kind);
        (self.kinds.len() <= MOST_CALLS).then(|| self.kinds.len() - 1)
    }

    fn stride(&self) -> usize {
        self.kinds.len() + CALLS
    }

    /// Adds one batch: `values` of each call by place, `rows` the pair of each row, `pairs` how many there are.
    pub(super) fn add(&mut self, values: &[Values], rows: &[usize], pairs: usize) {
        if values.is_empty() {
            return;
        }
        self.words.resize(pairs * self.stride(), 0);
        for (chunk, rows) in rows.chunks(ROWS_AT_ONCE).enumerate() {
            let start = chunk * ROWS_AT_ONCE;
            let part: Vec<Part> = values.iter().map(|values| values.part(start, rows.len())).collect();
            let is_whole = |(part, kind): (&Part, &Kind)| match part {
                // A state of a count is no count of one.
                Part::Add(_, nulls) => nulls.is_none() && *kind == Kind::Sum,
                Part::One(nulls) => nulls.is_none(),
            };
            if part.iter().zip(&self.kinds).all(is_whole) {
                self.add_whole(&part, rows);
                continue;
            }
            for (place, part) in part.iter().enumerate() {
                match part {
                    Part::Add(numbers, nulls) => self.sum(place, numbers, nulls.as_ref(), rows),
                    Part::One(nulls) => self.count(place, nulls.as_ref(), rows),
                }
            }
        }
    }

    fn add_whole(&mut self, parts: &[Part], rows: &[usize]) {
        let stride = self.stride();
        let mut sums = parts.iter().enumerate().filter_map(|(place, part)| match part {
            Part::Add(numbers, _) => Some((CALLS + place, *numbers)),
            Part::One(_) => None,
        });
        match sums.next() {
            Some((at, numbers)) => {
                for (pair, number) in rows.iter().zip(numbers) {
                    let words = &mut self.words[pair * stride..(pair + 1) * stride];
                    words[WHOLE] += 1;
                    words[at] = words[at].wrapping_add(*number);
                }
            }
            None => rows.iter().for_each(|pair| self.words[pair * stride + WHOLE] += 1),
        }
        for (at, numbers) in sums {
            for (pair, number) in rows.iter().zip(numbers) {
                let word = &mut self.words[pair * stride + at];
                *word = word.wrapping_add(*number);
            }
        }
    }

    fn sum(&mut self, place: usize, numbers: &[i64], nulls: Option<&NullBuffer>, rows: &[usize]) {
        let (stride, bit) = (self.stride(), 1_i64 << place);
        let mut add = |pair: usize, number: i64| {
            let words = &mut self.words[pair * stride..(pair + 1) * stride];
            words[SEEN] |= bit;
            words[CALLS + place] = words[CALLS + place].wrapping_add(number);
        };
        match nulls {
            None => rows.iter().zip(numbers).for_each(|(pair, number)| add(*pair, *number)),
            Some(nulls) => nulls.valid_indices().for_each(|row| add(rows[row], numbers[row])),
        }
    }

    fn count(&mut self, place: usize, nulls: Option<&NullBuffer>, rows: &[usize]) {
        let stride = self.stride();
        let mut add = |pair: usize| self.words[pair * stride + CALLS + place] += 1;
        match nulls {
            None => rows.iter().for_each(|pair| add(*pair)),
            Some(nulls) => nulls.valid_indices().for_each(|row| add(rows[row])),
        }
    }

    /// The sums or counts of each pair: a state and a result are the same.
    pub(super) fn column(&self, place: usize) -> ArrayRef {
        let bit = 1_i64 << place;
        let pairs = self.words.chunks_exact(self.stride());
        Arc::new(match self.kinds[place] {
            Kind::Count => Int64Array::from_iter_values(pairs.map(|words| words[CALLS + place] + words[WHOLE])),
            Kind::Sum => {
                let seen: BooleanBuffer =
                    pairs.clone().map(|words| words[WHOLE] > 0 || words[SEEN] & bit != 0).collect();
                let numbers = pairs.map(|words| words[CALLS + place]).collect();
                Int64Array::new(numbers, Some(NullBuffer::new(seen)).filter(|nulls| nulls.null_count() > 0))
            }
        })
    }

    /// No pair is left.
    pub(super) fn clear(&mut self) {
        self.words = Vec::new();
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.words.capacity() * size_of::<i64>()
    }
}

/// What a call of `kind` reads: values at first, states of its kind (`merges`) at last. Nothing for values of another type.
pub(super) fn values(kind: Kind, merges: bool, array: &ArrayRef) -> Option<Values<'_>> {
    match (kind, merges) {
        (Kind::Sum, _) | (Kind::Count, true) => array.as_primitive_opt::<Int64Type>().map(Values::Add),
        (Kind::Count, false) => Some(Values::One(array)),
    }
}
