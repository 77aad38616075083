//! The sum of each group, and how many rows it has.
//!
//! Groups are as many as persons, and rows reach them in any order, so a row costs what it fetches of memory. A group has a slot of its
//! own, sum and rows side by side, and as long as every value is a whole number of coarse units, a quarter of a cache line. The first
//! batch with another value makes the slots wider. In: values and the group of each. Out: sums. Law: which kind of slot there is changes
//! no sum.

use super::units::{Units, coarse_of, most_coarse, units_of};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Float64Type;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Sums {
    /// By group, as long as there is a reach.
    narrow: Vec<Narrow>,
    /// Of narrow sums. Nothing where slots are wide.
    reach: Option<Reach>,
    /// By group, when there is none.
    wide: Vec<Wide>,
    /// Values that are no units, by group; hardly ever any.
    aside: BTreeMap<usize, Vec<f64>>,
}

/// A slot does not stand on two cache lines.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(16))]
struct Narrow {
    coarse: i64,
    rows: u64,
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct Wide {
    low: i128,
    high: i64,
    rows: u64,
}

impl Wide {
    fn units(self) -> Units {
        Units { low: self.low, high: self.high }
    }

    fn add(&mut self, other: Units) {
        let mut units = self.units();
        units.add(other);
        (self.low, self.high) = (units.low, units.high);
    }
}

impl From<Narrow> for Wide {
    fn from(narrow: Narrow) -> Self {
        let Units { low, high } = Units::of_coarse(narrow.coarse);
        Self { low, high, rows: narrow.rows }
    }
}

/// No sum is above it, in coarse units and without its sign.
#[derive(Debug, Clone, Copy, Default)]
struct Reach(u64);

impl Reach {
    /// When `count` numbers more are added, of which none is above `most`. Nothing where a sum might not be an i64 then.
    fn with(self, count: usize, most: u64) -> Option<Self> {
        let reach = self.0.checked_add(most.checked_mul(count as u64)?)?;
        (reach <= i64::MAX as u64).then_some(Self(reach))
    }
}

/// Values in coarse units, for sums in 64 bits that somebody else keeps.
#[derive(Debug, Default)]
pub(crate) struct Coarse {
    reach: Reach,
    numbers: Vec<i64>,
}

impl Coarse {
    /// One number a value. Nothing where one of them is none, or all those that were read so far might have a sum that is no i64.
    pub(crate) fn read(&mut self, values: &ArrayRef) -> Option<&[i64]> {
        let values = values.as_primitive_opt::<Float64Type>().filter(|values| values.null_count() == 0)?.values();
        self.reach = self.reach.with(values.len(), most_coarse(values)?)?;
        self.numbers.clear();
        self.numbers.extend(values.iter().map(|value| coarse_of(*value)));
        Some(&self.numbers)
    }

    /// In bytes.
    pub(crate) fn size(&self) -> usize {
        self.numbers.capacity() * size_of::<i64>()
    }
}

/// What a group's rows are together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) units: Units,
    pub(super) rows: u64,
    /// In no order.
    pub(super) aside: Vec<f64>,
}

impl Sum {
    /// Rounded once; what is aside comes last, sorted.
    pub(super) fn value(mut self) -> f64 {
        self.aside.sort_by(f64::total_cmp);
        self.aside.into_iter().fold(self.units.value(), |sum, value| sum + value)
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self { narrow: Vec::new(), reach: Some(Reach::default()), wide: Vec::new(), aside: BTreeMap::new() }
    }
}

impl Sums {
    pub(super) fn len(&self) -> usize {
        self.narrow.len().max(self.wide.len())
    }

    /// There are at least so many groups.
    pub(super) fn grow(&mut self, groups: usize) {
        let groups = groups.max(self.len());
        match self.reach {
            Some(_) => self.narrow.resize(groups, Narrow::default()),
            None => self.wide.resize(groups, Wide::default()),
        }
    }

    /// Adds one row a value; of all groups there is one.
    pub(super) fn add(&mut self, values: &[f64], groups: &[usize]) {
        if let Some(slots) = self.narrow(values.len(), most_coarse(values)) {
            for (value, group) in values.iter().zip(groups) {
                let slot = &mut slots[*group];
                slot.coarse += coarse_of(*value);
                slot.rows += 1;
            }
            return;
        }
        let (slots, aside) = self.wide();
        for (value, group) in values.iter().zip(groups) {
            let slot = &mut slots[*group];
            slot.rows += 1;
            match units_of(*value) {
                Some(low) => slot.add(Units { low, high: 0 }),
                None => aside.entry(*group).or_default().push(*value),
            }
        }
    }

    /// Adds what other tables have; of all groups there is one.
    pub(super) fn merge(&mut self, sums: &[Units], rows: &[u64], groups: &[usize]) {
        let most = sums.iter().try_fold(0, |most, sum| Some(sum.coarse()?.unsigned_abs().max(most)));
        let narrow = self.narrow(sums.len(), most);
        let each = sums.iter().zip(rows).zip(groups);
        match narrow {
            Some(slots) => each.for_each(|((sum, rows), group)| {
                slots[*group].coarse += sum.coarse().unwrap_or_default();
                slots[*group].rows += rows;
            }),
            None => {
                let (slots, _) = self.wide();
                each.for_each(|((sum, rows), group)| {
                    slots[*group].add(*sum);
                    slots[*group].rows += rows;
                });
            }
        }
    }

    /// Values that are no units, of a group whose rows are counted already.
    pub(super) fn put_aside(&mut self, group: usize, values: &[f64]) {
        self.aside.entry(group).or_default().extend(values);
    }

    /// The narrow slots, where `count` sums can be added to them of which none is above `most`.
    fn narrow(&mut self, count: usize, most: Option<u64>) -> Option<&mut Vec<Narrow>> {
        self.reach = Some(self.reach?.with(count, most?)?);
        Some(&mut self.narrow)
    }

    /// The wide slots, which all sums are in from here on, and what is aside.
    fn wide(&mut self) -> (&mut Vec<Wide>, &mut BTreeMap<usize, Vec<f64>>) {
        if self.reach.take().is_some() {
            self.wide = std::mem::take(&mut self.narrow).into_iter().map(Wide::from).collect();
        }
        (&mut self.wide, &mut self.aside)
    }

    /// Takes the first groups out; the others move up.
    pub(super) fn take(&mut self, count: usize) -> Self {
        if count == self.len() {
            return std::mem::take(self);
        }
        let rest = self.aside.split_off(&count);
        let rest = rest.into_iter().map(|(group, values)| (group - count, values)).collect();
        Self {
            narrow: self.narrow.drain(..count.min(self.narrow.len())).collect(),
            reach: self.reach,
            wide: self.wide.drain(..count.min(self.wide.len())).collect(),
            aside: std::mem::replace(&mut self.aside, rest),
        }
    }

    /// Each group's sum.
    pub(super) fn each(mut self) -> impl ExactSizeIterator<Item = Sum> {
        (0..self.len()).map(move |group| {
            let wide = match self.reach {
                Some(_) => self.narrow[group].into(),
                None => self.wide[group],
            };
            let aside = self.aside.remove(&group).unwrap_or_default();
            Sum { units: wide.units(), rows: wide.rows, aside }
        })
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        let aside: usize = self.aside.values().map(|values| 64 + values.capacity() * size_of::<f64>()).sum();
        let slots = self.narrow.capacity() * size_of::<Narrow>() + self.wide.capacity() * size_of::<Wide>();
        size_of::<Self>() + slots + aside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values of groups, some of them coarse ones only, so that slots are widened at any point.
    fn batch() -> impl Strategy<Value = Vec<(usize, f64)>> {
        let coarse = (-200_000_000_i64..200_000_000).prop_map(|quarters| quarters as f64 / 4.0);
        let coarse = prop_oneof![4 => coarse, 1 => Just(-0.0)];
        let other = prop_oneof![-1e3..1e3_f64, Just(1e300), Just(134_217_728.0), Just(5e-324), Just(0.1)];
        let any = prop_oneof![9 => coarse.clone(), 1 => other];
        prop_oneof![
            4 => prop::collection::vec((0..6_usize, coarse), 0..20),
            1 => prop::collection::vec((0..6_usize, any), 0..20),
        ]
    }

    fn sorted(sums: Sums) -> Vec<Sum> {
        let sort = |mut sum: Sum| {
            sum.aside.sort_by(f64::total_cmp);
            sum
        };
        sums.each().map(sort).collect()
    }

    fn add(sums: &mut Sums, rows: &[(usize, f64)]) {
        let (groups, values): (Vec<usize>, Vec<f64>) = rows.iter().copied().unzip();
        sums.grow(6);
        sums.add(&values, &groups);
    }

    fn merge(sums: &mut Sums, part: Sums, first: usize) {
        let part: Vec<Sum> = part.each().collect();
        let units: Vec<Units> = part.iter().map(|sum| sum.units).collect();
        let rows: Vec<u64> = part.iter().map(|sum| sum.rows).collect();
        let groups: Vec<usize> = (first..first + part.len()).collect();
        sums.grow(6);
        sums.merge(&units, &rows, &groups);
        part.iter().zip(groups).for_each(|(sum, group)| sums.put_aside(group, &sum.aside));
    }

    proptest! {
        /// Wide from the start, narrow as long as can be, added row by row, or merged in two parts: one sum.
        #[test]
        fn the_kind_of_slot_changes_no_sum(batches in prop::collection::vec(batch(), 0..8), cut in 0..=6_usize) {
            let (mut wide, mut narrow, mut merged) = (Sums::default(), Sums::default(), Sums::default());
            wide.wide();
            for batch in &batches {
                add(&mut wide, batch);
                add(&mut narrow, batch);
                let mut part = Sums::default();
                add(&mut part, batch);
                let first = part.take(cut);
                prop_assert_eq!((first.len(), part.len()), (cut, 6 - cut));
                merge(&mut merged, first, 0);
                merge(&mut merged, part, cut);
            }
            prop_assert!(wide.reach.is_none());
            let expected = sorted(wide);
            prop_assert_eq!(&sorted(narrow), &expected);
            prop_assert_eq!(&sorted(merged), &expected);
        }
    }

    /// The law says nothing about narrow slots if there never are any.
    #[test]
    fn coarse_values_stay_in_narrow_slots() {
        let mut sums = Sums::default();
        add(&mut sums, &[(0, 0.25), (5, -40.0)]);
        let mut whole = Sums::default();
        merge(&mut whole, sums, 0);
        assert!(whole.reach.is_some());
        add(&mut whole, &[(0, 0.1)]);
        assert!(whole.reach.is_none());
    }

    #[test]
    fn slots_are_widened_before_a_sum_can_wrap() {
        let rows = vec![(0, 134_217_727.75); 1 << 12];
        let (mut sums, mut batches) = (Sums::default(), 0);
        while sums.reach.is_some() {
            add(&mut sums, &rows);
            batches += 1;
        }
        assert_eq!(batches, 17);
        let sum = sums.take(1).each().next().unwrap();
        assert_eq!((sum.rows, sum.clone().value()), (17 << 12, 134_217_727.75 * f64::from(17 << 12)));
    }
}
