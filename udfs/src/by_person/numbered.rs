//! Numbers persons by their keys, in the order in which they come: pairs of persons who all have one group.

use super::pairs::Pairs;
use super::persons::Persons;
use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

pub(crate) struct Numbered {
    persons: Persons,
    pairs: Pairs,
    slots: Vec<u32>,
    groups: Vec<u32>,
    numbers: Vec<usize>,
}

impl Numbered {
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        Persons::new(data_type).map(Self::of)
    }

    /// Takes no more memory than its keys need, however far they are from one another.
    pub(crate) fn hashed(data_type: &DataType) -> Result<Self> {
        Persons::hashed(data_type).map(Self::of)
    }

    fn of(persons: Persons) -> Self {
        Self { persons, pairs: Pairs::default(), slots: Vec::new(), groups: Vec::new(), numbers: Vec::new() }
    }

    /// How many persons there are.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The number of each row's person.
    pub(crate) fn number(&mut self, keys: &ArrayRef, numbers: &mut Vec<u32>) -> Result<()> {
        self.persons.find(keys, &mut self.pairs, &mut self.slots)?;
        self.pairs.guess(&self.slots, &mut self.groups, &mut self.numbers);
        // New persons have no number yet; what was fetched for the others is near.
        if self.groups.iter().any(|group| *group != 0) {
            self.groups.fill(0);
            self.pairs.number(&self.slots, &self.groups, &mut self.numbers)?;
        }
        numbers.clear();
        numbers.extend(self.numbers.iter().map(|number| *number as u32));
        Ok(())
    }

    /// In bytes.
    pub(crate) fn size(&self) -> usize {
        self.persons.size() + self.pairs.size()
    }
}
