//! Numbers the pairs of person and group in the order in which they come.
//!
//! A person's first pair, which most have no other than, stands in a line of its own by the person's slot. Where whole numbers, or
//! floats that are whole numbers of a small unit, are all that is summed, what is summed of the first pair lies in the same line: a row
//! whose group its person was of before fetches that one line, and its pair's number is not asked for.

use super::groups::UNKNOWN;
use super::others::Others;
use datafusion::common::{Result, exec_err};

/// The head of a line without a pair.
const NONE: u64 = u64::MAX;
/// Rows whose lines are in the nearest cache when the next sum comes to them.
const ROWS_AT_ONCE: usize = 512;
/// One row, in the upper half of a head.
const ONE_ROW: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Pairs {
    /// By the person's slot, `stride` words each. The lower half of the head is the first pair's group, the upper half its number, or
    /// where sums are here its rows. Then come the sums.
    lines: Vec<u64>,
    stride: usize,
    /// Where sums are here: the number of the first pair, by the person's slot.
    firsts: Option<Vec<u32>>,
    /// Rows of the lines, at most.
    rows: usize,
    /// Slots that have a pair.
    persons: usize,
    /// Pairs of persons that have several groups.
    others: Others,
    /// Of each pair.
    slots: Vec<u32>,
    groups: Vec<u32>,
}

impl Default for Pairs {
    fn default() -> Self {
        Self::new(None)
    }
}

fn group_of(head: u64) -> u32 {
    head as u32
}

impl Pairs {
    /// `sums`: how many a line has room for; nothing where none are kept here.
    pub(super) fn new(sums: Option<usize>) -> Self {
        Self {
            lines: Vec::new(),
            stride: 1 + sums.unwrap_or_default(),
            firsts: sums.map(|_| Vec::new()),
            rows: 0,
            persons: 0,
            others: Others::default(),
            slots: Vec::new(),
            groups: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many persons there are.
    pub(super) fn persons(&self) -> usize {
        self.persons
    }

    /// The person's slot of each pair.
    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// There are so many slots.
    pub(super) fn reach(&mut self, slots: usize) {
        let before = self.lines.len();
        if slots * self.stride <= before {
            return;
        }
        self.lines.resize(slots * self.stride, 0);
        self.lines[before..].iter_mut().step_by(self.stride).for_each(|head| *head = NONE);
        if let Some(firsts) = &mut self.firsts {
            firsts.resize(slots, u32::MAX);
        }
    }

    /// The pairs' persons have other slots now, and there are `count` slots.
    pub(super) fn moved(&mut self, slots: Vec<u32>, count: usize) {
        let lines = std::mem::take(&mut self.lines);
        let before = std::mem::replace(&mut self.slots, slots);
        self.firsts.iter_mut().for_each(Vec::clear);
        self.reach(count);
        self.others.clear();
        for (pair, (before, (slot, group))) in (0..).zip(before.iter().zip(self.slots.iter().zip(&self.groups))) {
            let (line, old) = (*slot as usize * self.stride, *before as usize * self.stride);
            // A person's first pair comes before the others.
            if self.lines[line] == NONE {
                self.lines[line..line + self.stride].copy_from_slice(&lines[old..old + self.stride]);
                if let Some(firsts) = &mut self.firsts {
                    firsts[*slot as usize] = pair;
                }
            } else {
                self.others.number(*slot, *group, pair, count);
            }
        }
    }

    /// The group that each row's person was of first, and, where no sums are here, the number of that pair.
    pub(super) fn guess(&self, slots: &[u32], groups: &mut Vec<u32>, pairs: &mut Vec<usize>) {
        groups.clear();
        pairs.clear();
        let head = |slot: &u32| self.lines[*slot as usize * self.stride];
        if self.firsts.is_some() {
            groups.extend(slots.iter().map(|slot| group_of(head(slot))));
            return;
        }
        // Both at once: a line that is fetched again later may have to be fetched from afar.
        groups.resize(slots.len(), 0);
        pairs.resize(slots.len(), 0);
        for ((slot, group), pair) in slots.iter().zip(groups).zip(pairs) {
            let head = head(slot);
            (*group, *pair) = (group_of(head), (head >> 32) as usize);
        }
    }

    /// Adds rows to their persons' first pairs, of whose groups they all are: a row each, and what `sums` have of it, as many as there is
    /// room for. They wrap. False, and nothing is added, where there may be too many rows then.
    pub(super) fn add_to_firsts(&mut self, slots: &[u32], sums: &[&[i64]]) -> bool {
        if self.rows + slots.len() > u32::MAX as usize {
            return false;
        }
        self.rows += slots.len();
        let stride = self.stride;
        for (chunk, slots) in slots.chunks(ROWS_AT_ONCE).enumerate() {
            let start = chunk * ROWS_AT_ONCE;
            let Some((first, others)) = sums.split_first() else {
                slots.iter().for_each(|slot| self.lines[*slot as usize * stride] += ONE_ROW);
                continue;
            };
            for (slot, number) in slots.iter().zip(&first[start..]) {
                let line = &mut self.lines[*slot as usize * stride..][..2];
                line[0] += ONE_ROW;
                line[1] = line[1].wrapping_add(*number as u64);
            }
            for (numbers, at) in others.iter().zip(2..) {
                for (slot, number) in slots.iter().zip(&numbers[start..]) {
                    let word = &mut self.lines[*slot as usize * stride + at];
                    *word = word.wrapping_add(*number as u64);
                }
            }
        }
        true
    }

    /// Gives `take` what was added to first pairs: the pair, its rows, its sums. Nothing is left of it here.
    pub(super) fn settle(&mut self, mut take: impl FnMut(usize, u32, &[u64])) {
        let Some(firsts) = &self.firsts else { return };
        if self.rows == 0 {
            return;
        }
        for (line, pair) in self.lines.chunks_exact_mut(self.stride).zip(firsts) {
            let rows = (line[0] >> 32) as u32;
            if line[0] != NONE && rows > 0 {
                take(*pair as usize, rows, &line[1..]);
                line[0] = u64::from(group_of(line[0]));
                line[1..].fill(0);
            }
        }
        self.rows = 0;
    }

    /// The pair of each row.
    pub(super) fn number(&mut self, slots: &[u32], groups: &[u32], pairs: &mut Vec<usize>) -> Result<()> {
        if self.len().saturating_add(slots.len()) >= u32::MAX as usize {
            return exec_err!("too many persons and groups");
        }
        pairs.clear();
        pairs.reserve(slots.len());
        // Rows of one pair often come one after the other.
        let mut last = (UNKNOWN, UNKNOWN, 0);
        for (slot, group) in slots.iter().zip(groups) {
            let head = self.lines[*slot as usize * self.stride];
            let pair = if group_of(head) == *group {
                self.firsts.as_ref().map_or((head >> 32) as u32, |firsts| firsts[*slot as usize])
            } else if (last.0, last.1) == (*slot, *group) {
                last.2
            } else {
                last = (*slot, *group, self.other(*slot, *group));
                last.2
            };
            pairs.push(pair as usize);
        }
        Ok(())
    }

    /// The pair of a person that was not of this group at first; a new person's first.
    fn other(&mut self, slot: u32, group: u32) -> u32 {
        let (next, slots) = (self.slots.len() as u32, self.lines.len() / self.stride);
        let head = &mut self.lines[slot as usize * self.stride];
        if *head == NONE {
            let upper = match &mut self.firsts {
                None => next,
                Some(firsts) => {
                    firsts[slot as usize] = next;
                    0
                }
            };
            *head = u64::from(upper) << 32 | u64::from(group);
            self.persons += 1;
        } else {
            let pair = self.others.number(slot, group, next, slots);
            if pair != next {
                return pair;
            }
        }
        self.slots.push(slot);
        self.groups.push(group);
        next
    }

    /// Slot and group of each pair; none is left. What was added to first pairs was settled before.
    pub(super) fn take(&mut self) -> (Vec<u32>, Vec<u32>) {
        let sums = self.firsts.as_ref().map(|_| self.stride - 1);
        let all = std::mem::replace(self, Self::new(sums));
        (all.slots, all.groups)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        let numbers = self.firsts.as_ref().map_or(0, Vec::capacity) + self.slots.capacity() + self.groups.capacity();
        self.lines.capacity() * size_of::<u64>() + self.others.size() + numbers * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A person, whose slot is so many above it, and a group.
    type Row = (u32, u32);
    /// Pairs of few persons, most of whom have one group; how far slots move before them.
    type Batch = (Vec<Row>, u32);

    fn batch() -> impl Strategy<Value = Batch> {
        let row =
            (0..6_u32, prop::bool::weighted(0.1)).prop_map(|(person, other)| (person, person % 3 + u32::from(other)));
        (prop::collection::vec(row, 0..12), prop_oneof![4 => Just(0), 1 => 1..9_u32])
    }

    /// Rows and sums of each person and group, and in how many batches all rows were of their persons' first groups.
    fn summed(batches: &[Batch], sums: Option<usize>) -> (BTreeMap<Row, (u64, Vec<i64>)>, usize) {
        let (mut pairs, mut above, mut together) = (Pairs::new(sums), 0, 0);
        let (mut groups, mut numbers) = (Vec::new(), Vec::new());
        let mut found: BTreeMap<usize, (u64, Vec<i64>)> = BTreeMap::new();
        let none = || (0, vec![0_i64; sums.unwrap_or(2)]);
        let values = |row: &Row| i64::from(row.0 * 10 + row.1);
        for (rows, more) in batches {
            if *more > 0 {
                above += more;
                pairs.moved(pairs.slots().iter().map(|slot| slot + more).collect(), above as usize + 9);
            }
            pairs.reach(above as usize + 9);
            let slots: Vec<u32> = rows.iter().map(|row| row.0 + above).collect();
            let of_rows: Vec<u32> = rows.iter().map(|row| row.1).collect();
            let (first, second): (Vec<i64>, Vec<i64>) = rows.iter().map(|row| (values(row), -1)).unzip();
            let numbers_of = [&first[..], &second[..]];
            pairs.guess(&slots, &mut groups, &mut numbers);
            if let Some(sums) = sums
                && groups == of_rows
                && pairs.add_to_firsts(&slots, &numbers_of[..sums])
            {
                together += 1;
                continue;
            }
            let guessed = (sums.is_none() && groups == of_rows).then(|| numbers.clone());
            pairs.number(&slots, &of_rows, &mut numbers).unwrap();
            guessed.iter().for_each(|guessed| assert_eq!(guessed, &numbers));
            for (pair, row) in numbers.iter().zip(rows) {
                let (count, sums) = found.entry(*pair).or_insert_with(none);
                *count += 1;
                for (sum, value) in sums.iter_mut().zip([values(row), -1]) {
                    *sum += value;
                }
            }
        }
        for _ in 0..2 {
            // What was settled is not settled again.
            pairs.settle(|pair, rows, values| {
                let (count, sums) = found.entry(pair).or_insert_with(none);
                *count += u64::from(rows);
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += *value as i64);
            });
        }
        let (slots, groups) = pairs.take();
        let rows: Vec<Row> = slots.iter().map(|slot| slot - above).zip(groups).collect();
        assert_eq!(pairs.len(), 0);
        let found: BTreeMap<Row, _> = found.into_iter().map(|(pair, sums)| (rows[pair], sums)).collect();
        assert_eq!(found.len(), rows.len());
        (found, together)
    }

    proptest! {
        /// What is kept with first pairs is what each pair would have, whatever moves in between.
        #[test]
        fn sums_with_first_pairs_are_the_pairs(batches in prop::collection::vec(batch(), 0..30), sums in 0..3_usize) {
            let (found, _) = summed(&batches, Some(sums));
            let (expected, together) = summed(&batches, None);
            prop_assert_eq!(together, 0);
            prop_assert_eq!(found.len(), expected.len());
            for (row, (count, values)) in &expected {
                prop_assert_eq!(&found[row], &(*count, values[..sums].to_vec()));
            }
        }
    }

    /// The law says nothing if no batch is ever added to first pairs.
    #[test]
    fn rows_of_first_pairs_are_added_there() {
        let rows: Vec<Row> = (0..6).map(|person| (person, person % 3)).collect();
        let (found, together) = summed(&[(rows.clone(), 0), (rows.clone(), 0), (rows, 3)], Some(2));
        assert_eq!((found[&(5, 2)].clone(), together), ((3, vec![156, -3]), 2));
    }
}
