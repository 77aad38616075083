//! Numbers the pairs of person and group in the order in which they come.

use datafusion::common::hash_map::Entry;
use datafusion::common::{HashMap, Result, exec_err};

/// A person's first pair; most have no other.
#[derive(Debug, Clone, Copy)]
struct First {
    group: u32,
    pair: u32,
}

/// No pair yet.
const NONE: First = First { group: u32::MAX, pair: u32::MAX };

#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// By person.
    first: Vec<First>,
    /// Pairs of persons that have several groups.
    others: HashMap<(u32, u32), u32>,
    /// Of each pair.
    persons: Vec<u32>,
    groups: Vec<u32>,
}

impl Pairs {
    pub(super) fn len(&self) -> usize {
        self.persons.len()
    }

    /// The pair of each row. `number_of_persons`: above all of `persons`.
    pub(super) fn number(
        &mut self,
        persons: &[u32],
        groups: &[usize],
        number_of_persons: usize,
        pairs: &mut Vec<usize>,
    ) -> Result<()> {
        pairs.clear();
        pairs.reserve(persons.len());
        self.first.resize(number_of_persons, NONE);
        if self.len().saturating_add(persons.len()) >= u32::MAX as usize {
            return exec_err!("too many persons and groups");
        }
        for (&person, &group) in persons.iter().zip(groups) {
            let first = self.first[person as usize];
            if first.group as usize == group {
                pairs.push(first.pair as usize);
            } else {
                pairs.push(self.other(person, group as u32) as usize);
            }
        }
        Ok(())
    }

    fn other(&mut self, person: u32, group: u32) -> u32 {
        let next = self.persons.len() as u32;
        let first = &mut self.first[person as usize];
        if first.group == NONE.group {
            *first = First { group, pair: next };
        } else {
            match self.others.entry((person, group)) {
                Entry::Occupied(known) => return *known.get(),
                Entry::Vacant(new) => {
                    new.insert(next);
                }
            }
        }
        self.persons.push(person);
        self.groups.push(group);
        next
    }

    /// Person and group of each pair; none is left.
    pub(super) fn take(&mut self) -> (Vec<u32>, Vec<u32>) {
        let all = std::mem::take(self);
        (all.persons, all.groups)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        // The table of the others keeps a byte an entry beside it, and is at most 7/8 full.
        self.first.capacity() * size_of::<First>()
            + self.others.capacity() * (size_of::<((u32, u32), u32)>() + 2)
            + (self.persons.capacity() + self.groups.capacity()) * size_of::<u32>()
    }
}
