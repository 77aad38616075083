//! The choice of rows, person by person.
//!
//! By selection sampling (Knuth, TAOCP 2, algorithm 3.4.2S): a row is kept with probability (still needed)/(still to come), which
//! makes every M-subset equally likely whatever the order of arrival; the same choice as the M smallest of random priorities.

use crate::noise::NoiseStream;
use arrow::array::BooleanArray;
use arrow::buffer::BooleanBuffer;

pub(super) struct Choice {
    max_groups: u64,
    /// Rows of each person that have not been looked at.
    to_come: Vec<u64>,
    /// Rows of each person that are still to be kept.
    needed: Vec<u64>,
    nobody_exceeds: bool,
}

impl Choice {
    /// `rows`: of each person. Bytes a person: [`super::counted::PERSON_BYTES`].
    pub(super) fn new(rows: Vec<u64>, max_groups: u64) -> Self {
        let nobody_exceeds = rows.iter().all(|&rows| rows <= max_groups);
        #[cfg(feature = "mutants")]
        let nobody_exceeds = nobody_exceeds || crate::mutants::Mutant::UnboundedGroups.lives();
        let needed = rows.iter().map(|&rows| rows.min(max_groups)).collect();
        Self { max_groups, to_come: rows, needed, nobody_exceeds }
    }

    /// Which of the rows that come next are kept; nothing where all are. `persons`: whose each is.
    pub(super) fn kept(&mut self, persons: &[u32], stream: &mut NoiseStream) -> Option<BooleanArray> {
        if self.nobody_exceeds {
            return None;
        }
        let kept = BooleanBuffer::collect_bool(persons.len(), |row| self.keeps(persons[row] as usize, stream));
        Some(BooleanArray::new(kept, None))
    }

    fn keeps(&mut self, person: usize, stream: &mut NoiseStream) -> bool {
        let (to_come, needed) = (self.to_come[person], self.needed[person]);
        let keep = needed == to_come || stream.below(to_come) < needed;
        self.to_come[person] -= 1;
        self.needed[person] -= u64::from(keep);
        debug_assert!(self.needed[person] <= self.max_groups);
        keep
    }
}
