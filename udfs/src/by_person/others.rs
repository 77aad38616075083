//! The pairs of persons that have several groups: all but each person's first.
//!
//! A hash table, as long as few persons have another group. Where many do, and groups are few, a row of numbers a person: the pair of a
//! row is found by one look at memory, and no hash is made. In: a person's slot and a group. Out: the pair's number. Law: a map.

use datafusion::common::HashMap;
use datafusion::common::hash_map::Entry;

/// Where a row of numbers has no pair.
const NONE: u32 = u32::MAX;
/// Groups that have a place in a person's row; pairs of later groups stay in the hash table.
const MOST_PLACES: usize = 16;
/// Pairs in the hash table below which nothing is looked into.
const FEW_PAIRS: usize = 1 << 12;
/// Rows are made where so many slots have one pair in the hash table.
const SLOTS_A_PAIR: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Others {
    /// Groups below are in rows: a power of two, or none.
    places: usize,
    /// By slot, `places` each.
    rows: Vec<u32>,
    hashed: HashMap<(u32, u32), u32>,
}

impl Others {
    /// The pair of a person and group: `next` where there was none. There are `slots` slots.
    pub(super) fn number(&mut self, slot: u32, group: u32, next: u32, slots: usize) -> u32 {
        if (group as usize) < self.places {
            let at = slot as usize * self.places + group as usize;
            if at >= self.rows.len() {
                self.rows.resize(slots.max(slot as usize + 1) * self.places, NONE);
            }
            let pair = &mut self.rows[at];
            if *pair == NONE {
                *pair = next;
            }
            return *pair;
        }
        match self.hashed.entry((slot, group)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                new.insert(next);
                if (group as usize) < MOST_PLACES
                    && self.hashed.len() >= FEW_PAIRS.max(slots / SLOTS_A_PAIR)
                    && self.hashed.len().is_power_of_two()
                {
                    self.widen(slots);
                }
                next
            }
        }
    }

    /// Gives groups rows that many persons have, if they are among the first.
    fn widen(&mut self, slots: usize) {
        let low = self.hashed.keys().filter(|(_, group)| (*group as usize) < MOST_PLACES).count();
        let last = self.hashed.keys().map(|(_, group)| *group as usize).filter(|group| *group < MOST_PLACES).max();
        let Some(last) = last.filter(|_| low * SLOTS_A_PAIR >= slots) else { return };
        let (places, before) = ((last + 1).next_power_of_two(), self.places);
        let mut rows = vec![NONE; slots * places];
        if before > 0 {
            for (row, old) in rows.chunks_exact_mut(places).zip(self.rows.chunks_exact(before)) {
                row[..before].copy_from_slice(old);
            }
        }
        self.hashed.retain(|(slot, group), pair| {
            let inside = (*group as usize) < places;
            if inside {
                rows[*slot as usize * places + *group as usize] = *pair;
            }
            !inside
        });
        self.hashed.shrink_to_fit();
        (self.places, self.rows) = (places, rows);
    }

    /// None is left.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// In bytes. The hash table keeps a byte an entry beside it, and is at most 7/8 full.
    pub(super) fn size(&self) -> usize {
        self.rows.capacity() * size_of::<u32>() + self.hashed.capacity() * (size_of::<((u32, u32), u32)>() + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap as Map;

    const SLOTS: u32 = 4_096;

    fn numbered(pairs: impl IntoIterator<Item = (u32, u32)>) -> Others {
        let (mut others, mut known) = (Others::default(), Map::new());
        for (slot, group) in pairs {
            let next = known.len() as u32;
            let expected = *known.entry((slot, group)).or_insert(next);
            assert_eq!(others.number(slot, group, next, SLOTS as usize), expected);
        }
        for ((slot, group), pair) in known {
            assert_eq!(others.number(slot, group, NONE - 1, SLOTS as usize), pair);
        }
        others
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        /// Whatever has rows and whatever has none, and however that changes on the way.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((1..40_u32, 0..SLOTS), 1..8)) {
            let pairs = steps.iter().flat_map(|(groups, first)| {
                (0..SLOTS).flat_map(move |slot| (0..*groups).step_by(3).map(move |group| ((slot + first) % SLOTS, group)))
            });
            numbered(pairs);
        }
    }

    #[test]
    fn rows_are_made_where_many_persons_have_several_groups_and_there_only() {
        let of = |slots: u32, groups: u32| (0..slots).flat_map(move |slot| (0..groups).map(move |group| (slot, group)));
        assert_eq!(numbered(of(SLOTS, 4)).places, 4);
        assert_eq!(numbered(of(SLOTS, 4)).hashed.len(), 0);
        assert_eq!(numbered(of(SLOTS / 8, 4)).places, 0);
        let many = numbered(of(SLOTS, 60));
        assert_eq!((many.places, many.hashed.len()), (16, (SLOTS * 44) as usize));
    }
}
