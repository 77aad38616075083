//! The leaves of all persons' rows, as `person_bins` keeps them while it reads: one log in the order of the rows, sorted by person
//! when it is long and when it is given out. A list a person would be one allocation a person and a jump in memory a row.

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use datafusion::common::cast::{as_binary_array, as_int64_array};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use std::sync::Arc;

/// Rows after which the log is sorted away; more where there are many persons.
const LONG: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct BinLog {
    /// Of each row that counts, in the order in which they came.
    groups: Vec<u32>,
    bins: Vec<u8>,
    sorted: Vec<Sorted>,
}

/// Leaves by person.
#[derive(Debug)]
struct Sorted {
    /// Where each person's end; they begin where those of the person before end.
    ends: Vec<u32>,
    bins: Vec<u8>,
}

impl Sorted {
    fn of(&self, group: usize) -> &[u8] {
        let Some(&end) = self.ends.get(group) else { return &[] };
        let start = group.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        &self.bins[start as usize..end as usize]
    }
}

impl BinLog {
    fn push(&mut self, group: usize, bin: u8) {
        self.groups.push(group as u32);
        self.bins.push(bin);
    }

    fn tidy(&mut self, groups: usize) {
        if self.groups.len() >= LONG.max(4 * groups) {
            self.sort();
        }
    }

    /// Empties the log. A counting sort, which keeps the order of each person's rows.
    fn sort(&mut self) {
        let most = self.groups.iter().max().map_or(0, |group| *group as usize + 1);
        let mut ends = vec![0_u32; most];
        for &group in &self.groups {
            ends[group as usize] += 1;
        }
        let mut end = 0;
        for count in &mut ends {
            (*count, end) = (end, end + *count);
        }
        // Each entry moves from its person's start to its end while the leaves are put in their places.
        let mut bins = vec![0; self.bins.len()];
        for (&group, &bin) in self.groups.iter().zip(&self.bins) {
            let place = &mut ends[group as usize];
            bins[*place as usize] = bin;
            *place += 1;
        }
        self.groups.clear();
        self.bins.clear();
        self.sorted.push(Sorted { ends, bins });
    }

    fn emit(&mut self, emit_to: EmitTo, groups: usize) -> Result<ArrayRef> {
        self.sort();
        // Whoever gives states out for want of memory must have it afterwards.
        (self.groups, self.bins) = (Vec::new(), Vec::new());
        let count = match emit_to {
            EmitTo::All => groups,
            EmitTo::First(count) => count.min(groups),
        };
        let lengths: Vec<usize> =
            (0..count).map(|group| self.sorted.iter().map(|sorted| sorted.of(group).len()).sum()).collect();
        let total: usize = lengths.iter().sum();
        if i32::try_from(total).is_err() {
            return exec_err!("person_bins: too many rows at once");
        }
        let mut bins = Vec::with_capacity(total);
        for group in 0..count {
            for sorted in &self.sorted {
                bins.extend_from_slice(sorted.of(group));
            }
        }
        self.forget(count);
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(BinaryArray::try_new(offsets, Buffer::from_vec(bins), None)?))
    }

    /// The first groups are gone; the others move up.
    fn forget(&mut self, count: usize) {
        for sorted in &mut self.sorted {
            let gone = count.min(sorted.ends.len());
            let from = gone.checked_sub(1).map_or(0, |last| sorted.ends[last]);
            sorted.ends.drain(..gone);
            sorted.ends.iter_mut().for_each(|end| *end -= from);
            sorted.bins.drain(..from as usize);
        }
        self.sorted.retain(|sorted| !sorted.bins.is_empty());
    }
}

/// With the number of groups, which a log alone does not know.
#[derive(Debug, Default)]
pub(super) struct Bins {
    log: BinLog,
    groups: usize,
}

impl Bins {
    fn give(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let given = self.log.emit(emit_to, self.groups)?;
        self.groups -= given.len();
        Ok(given)
    }

    fn grow(&mut self, groups: usize) -> Result<()> {
        if groups > u32::MAX as usize {
            return exec_err!("person_bins: too many groups");
        }
        self.groups = self.groups.max(groups);
        Ok(())
    }
}

impl GroupsAccumulator for Bins {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups)?;
        let values = as_int64_array(&values[0])?;
        let passes = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, &group) in group_indices.iter().enumerate() {
            if values.is_valid(row)
                && passes(row)
                && let Ok(bin) = u8::try_from(values.value(row))
            {
                self.log.push(group, bin);
            }
        }
        self.log.tidy(total_num_groups);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.give(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.give(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.grow(total_num_groups)?;
        let states = as_binary_array(&values[0])?;
        for (row, &group) in group_indices.iter().enumerate().filter(|(row, _)| states.is_valid(*row)) {
            let bins = states.value(row);
            self.log.groups.extend(std::iter::repeat_n(group as u32, bins.len()));
            self.log.bins.extend_from_slice(bins);
        }
        self.log.tidy(total_num_groups);
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows: Vec<usize> = (0..values[0].len()).collect();
        let mut each = Self::default();
        each.update_batch(values, &rows, opt_filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        let sorted = self.log.sorted.iter();
        let sorted: usize = sorted.map(|part| part.ends.capacity() * size_of::<u32>() + part.bins.capacity()).sum();
        size_of::<Self>() + self.log.groups.capacity() * size_of::<u32>() + self.log.bins.capacity() + sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Whatever is sorted when, and given out in parts: each group has its own rows, in their order.
        #[test]
        fn each_group_has_its_rows(
            batches in prop::collection::vec(prop::collection::vec((0..9_usize, -1..300_i64), 0..30), 0..6),
            first in 0..10_usize,
            sorts in any::<[bool; 6]>(),
        ) {
            let mut wanted: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
            let mut bins = Bins::default();
            for (batch, sorts) in batches.iter().zip(sorts) {
                let (groups, values): (Vec<usize>, Vec<i64>) = batch.iter().copied().unzip();
                bins.update_batch(&[Arc::new(Int64Array::from(values))], &groups, None, 9).unwrap();
                if sorts {
                    bins.log.sort();
                }
                for (group, value) in batch {
                    wanted.entry(*group).or_default().extend(u8::try_from(*value));
                }
            }
            bins.grow(9).unwrap();
            let mut merged = Bins::default();
            for emit in [EmitTo::First(first), EmitTo::All] {
                let before = 9 - bins.groups;
                let state = bins.state(emit).unwrap();
                let numbers: Vec<usize> = (before..before + state[0].len()).collect();
                merged.merge_batch(&state, &numbers, 9).unwrap();
            }
            let all = merged.evaluate(EmitTo::All).unwrap();
            let all = as_binary_array(&all).unwrap();
            for group in 0..9 {
                prop_assert_eq!(all.value(group), wanted.get(&group).map_or(&[][..], Vec::as_slice));
            }
        }
    }
}
