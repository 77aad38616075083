//! Exact sums of a group: the state that every aggregate here shares.
//!
//! In: rows of contributions. Out: one array of words. Laws: merging equals one pass; order and
//! partitioning change nothing; reading the result any number of times changes nothing. Must never:
//! hold a float or draw noise.

use crate::unreleased::{Words, array_of_words};
use arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use std::fmt::Debug;

/// What one row adds to its group.
pub(super) trait Contribution: Debug + Send + Sync + 'static {
    const WORDS: usize;

    /// Where a row adds to each word at most once, and never more than this; nothing where it may.
    fn largest(&self) -> Option<i64> {
        None
    }

    /// Calls `add` with the row number, a word below `WORDS` and what the row adds to it; each word of a
    /// row as often as it likes.
    fn each(&self, values: &[ArrayRef], add: impl FnMut(usize, usize, i128)) -> Result<()>;
}

#[derive(Debug)]
pub(super) struct GroupSums<C: Contribution> {
    contribution: C,
    /// Group after group, `WORDS` each. Each word is at most 2⁶² a row, so 2⁶⁴ rows cannot overflow
    /// it.
    sums: Vec<i128>,
    /// What is not yet in `sums`, in words of half the size, which are half the work.
    recent: Vec<i64>,
    /// The rows that `recent` has.
    rows: i64,
}

/// No sum of so much overflows 64 bits.
const ROOM: i64 = 1 << 62;

impl<C: Contribution> GroupSums<C> {
    pub(super) fn new(contribution: C) -> Self {
        Self { contribution, sums: Vec::new(), recent: Vec::new(), rows: 0 }
    }

    /// Adds small contributions of rows that all count.
    fn add_recent(&mut self, largest: i64, values: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let rows = groups.len() as i64;
        if self.rows.saturating_add(rows).saturating_mul(largest) > ROOM {
            self.settle();
        }
        self.rows += rows;
        self.recent.resize(self.sums.len(), 0);
        let recent = &mut self.recent;
        self.contribution.each(values, |row, word, value| recent[groups[row] * C::WORDS + word] += value as i64)
    }

    /// All is in `sums`.
    fn settle(&mut self) {
        for (sum, recent) in self.sums.iter_mut().zip(&mut self.recent) {
            *sum += i128::from(std::mem::take(recent));
        }
        self.rows = 0;
    }

    fn emit(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.settle();
        self.recent = Vec::new();
        let emitted = match emit_to {
            EmitTo::All => std::mem::take(&mut self.sums),
            EmitTo::First(groups) => {
                let rest = self.sums.split_off(groups * C::WORDS);
                std::mem::replace(&mut self.sums, rest)
            }
        };
        array_of_words(C::WORDS, &emitted)
    }

    fn merge(&mut self, values: &[ArrayRef], group_of: impl Fn(usize) -> usize) -> Result<()> {
        let words = Words::new(&values[0], C::WORDS)?;
        for row in 0..words.len() {
            let group = group_of(row) * C::WORDS;
            for word in 0..C::WORDS {
                self.sums[group + word] += words.get(row, word);
            }
        }
        Ok(())
    }
}

fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

impl<C: Contribution> GroupsAccumulator for GroupSums<C> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sums.resize(total_num_groups * C::WORDS, 0);
        let sums = &mut self.sums;
        match (opt_filter, self.contribution.largest()) {
            (None, Some(largest)) => self.add_recent(largest, values, group_indices),
            (None, None) => {
                self.contribution.each(values, |row, word, value| sums[group_indices[row] * C::WORDS + word] += value)
            }
            (Some(filter), _) => self.contribution.each(values, |row, word, value| {
                if passes(Some(filter), row) {
                    sums[group_indices[row] * C::WORDS + word] += value;
                }
            }),
        }
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.emit(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.emit(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.sums.resize(total_num_groups * C::WORDS, 0);
        self.merge(values, |row| group_indices[row])
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut states = vec![0; values[0].len() * C::WORDS];
        self.contribution.each(values, |row, word, value| {
            if passes(opt_filter, row) {
                states[row * C::WORDS + word] += value;
            }
        })?;
        Ok(vec![array_of_words(C::WORDS, &states)?])
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sums.capacity() * size_of::<i128>() + self.recent.capacity() * size_of::<i64>()
    }
}

/// The same sums for a query without groups.
#[derive(Debug)]
pub(super) struct OneSum<C: Contribution>(GroupSums<C>);

impl<C: Contribution> OneSum<C> {
    pub(super) fn new(contribution: C) -> Self {
        let mut sums = GroupSums::new(contribution);
        sums.sums.resize(C::WORDS, 0);
        Self(sums)
    }
}

impl<C: Contribution> Accumulator for OneSum<C> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let sums = &mut self.0.sums;
        self.0.contribution.each(values, |_, word, value| sums[word] += value)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&array_of_words(C::WORDS, &self.0.sums)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge(states, |_| 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
