//! Numbers the pairs of person and group in the order in which they come.

use super::groups::UNKNOWN;
use datafusion::common::hash_map::Entry;
use datafusion::common::{HashMap, Result, exec_err};

/// A person's first pair; most have no other.
#[derive(Debug, Clone, Copy)]
struct First {
    group: u32,
    pair: u32,
}

/// No pair yet.
const NONE: First = First { group: UNKNOWN, pair: u32::MAX };

#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// By the person's slot.
    first: Vec<First>,
    /// Slots that have a pair.
    persons: usize,
    /// Pairs of persons that have several groups.
    others: HashMap<(u32, u32), u32>,
    /// Of each pair.
    slots: Vec<u32>,
    groups: Vec<u32>,
    /// The first pairs of the persons of the last batch, as they were before it.
    guesses: Vec<First>,
}

impl Pairs {
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
        self.first.resize(slots.max(self.first.len()), NONE);
    }

    /// The pairs' persons have other slots now, and there are `count` slots.
    pub(super) fn moved(&mut self, slots: Vec<u32>, count: usize) {
        self.first.clear();
        self.first.resize(count, NONE);
        self.others.clear();
        self.slots = slots;
        for (pair, (&slot, &group)) in (0..).zip(self.slots.iter().zip(&self.groups)) {
            let first = &mut self.first[slot as usize];
            if first.group == UNKNOWN {
                *first = First { group, pair };
            } else {
                self.others.insert((slot, group), pair);
            }
        }
    }

    /// The group that each row's person was of first.
    pub(super) fn guess(&mut self, slots: &[u32], groups: &mut Vec<u32>) {
        let first = &self.first;
        self.guesses.clear();
        self.guesses.extend(slots.iter().map(|slot| first[*slot as usize]));
        groups.clear();
        groups.extend(self.guesses.iter().map(|guess| guess.group));
    }

    /// The pair of each row; [`Self::guess`] saw the same slots just before.
    pub(super) fn number(&mut self, slots: &[u32], groups: &[u32], pairs: &mut Vec<usize>) -> Result<()> {
        if self.len().saturating_add(slots.len()) >= u32::MAX as usize {
            return exec_err!("too many persons and groups");
        }
        pairs.clear();
        pairs.reserve(slots.len());
        let guesses = std::mem::take(&mut self.guesses);
        // Rows of one pair often come one after the other.
        let mut last = (UNKNOWN, UNKNOWN, 0);
        for ((guess, slot), group) in guesses.iter().zip(slots).zip(groups) {
            let pair = if guess.group == *group {
                guess.pair
            } else if (last.0, last.1) == (*slot, *group) {
                last.2
            } else {
                self.other(*slot, *group)
            };
            last = (*slot, *group, pair);
            pairs.push(pair as usize);
        }
        self.guesses = guesses;
        Ok(())
    }

    fn other(&mut self, slot: u32, group: u32) -> u32 {
        let next = self.slots.len() as u32;
        let first = &mut self.first[slot as usize];
        if first.group == group {
            return first.pair;
        }
        if first.group == UNKNOWN {
            *first = First { group, pair: next };
            self.persons += 1;
        } else {
            match self.others.entry((slot, group)) {
                Entry::Occupied(known) => return *known.get(),
                Entry::Vacant(new) => {
                    new.insert(next);
                }
            }
        }
        self.slots.push(slot);
        self.groups.push(group);
        next
    }

    /// Slot and group of each pair; none is left.
    pub(super) fn take(&mut self) -> (Vec<u32>, Vec<u32>) {
        let all = std::mem::take(self);
        (all.slots, all.groups)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        // The table of the others keeps a byte an entry beside it, and is at most 7/8 full.
        (self.first.capacity() + self.guesses.capacity()) * size_of::<First>()
            + self.others.capacity() * (size_of::<((u32, u32), u32)>() + 2)
            + (self.slots.capacity() + self.groups.capacity()) * size_of::<u32>()
    }
}
