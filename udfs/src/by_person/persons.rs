//! A slot for each person, found by the key.
//!
//! Keys that are whole numbers near one another, as those of most tables are, need no hash: their slot is their distance from the
//! smallest. All others are numbered by the engine's table. NULL is a person too, the nobody.
//!
//! In: keys. Out: slots, and keys of slots. Slots change where keys come that are too far from those before; then the pairs are told.

use super::pairs::Pairs;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{cast, max, min, take};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use std::sync::Arc;

/// Slots that are taken without being asked for: 8 MiB of pairs.
const FEW_SLOTS: i64 = 1 << 20;
/// Beyond this a table is too sparse, however many persons there are.
const MOST_SLOTS: i64 = 1 << 26;
/// Slots a person.
const SLOTS_A_PERSON: i64 = 8;
/// The nobody's, where keys are near one another.
const NOBODY: u32 = 0;

pub(super) struct Persons {
    data_type: DataType,
    table: Table,
    scratch: Vec<usize>,
}

enum Table {
    Near(Near),
    Any(Box<dyn GroupValues>),
}

impl Persons {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        Ok(Self { data_type: data_type.clone(), table: Table::new(data_type)?, scratch: Vec::new() })
    }

    /// Takes no more memory than its keys need, however far they are from one another.
    pub(super) fn hashed(data_type: &DataType) -> Result<Self> {
        Ok(Self { data_type: data_type.clone(), table: Table::Any(hashed(data_type)?), scratch: Vec::new() })
    }

    /// All slots are below this.
    fn slots(&self) -> usize {
        match &self.table {
            Table::Near(near) => near.places as usize + 1,
            Table::Any(any) => any.len(),
        }
    }

    /// The slot of each row's person; `pairs` has room for them.
    pub(super) fn find(&mut self, keys: &ArrayRef, pairs: &mut Pairs, slots: &mut Vec<u32>) -> Result<()> {
        if let Table::Near(near) = &mut self.table {
            let wide = cast(keys, &DataType::Int64)?;
            let wide = wide.as_primitive();
            if near.find(wide, slots) || (near.reaches(wide, pairs) && near.find(wide, slots)) {
                pairs.reach(self.slots());
                return Ok(());
            }
            let mut any = hashed(&self.data_type)?;
            let known = cast(&near.keys(pairs.slots()), &self.data_type)?;
            any.intern(&[known], &mut self.scratch)?;
            pairs.moved(self.scratch.iter().map(|number| *number as u32).collect(), any.len());
            self.table = Table::Any(any);
        }
        if let Table::Any(any) = &mut self.table {
            any.intern(std::slice::from_ref(keys), &mut self.scratch)?;
            if any.len() >= u32::MAX as usize {
                return exec_err!("too many persons");
            }
            slots.clear();
            slots.extend(self.scratch.iter().map(|number| *number as u32));
        }
        pairs.reach(self.slots());
        Ok(())
    }

    /// The keys of slots; no person is left.
    pub(super) fn emit(&mut self, slots: &[u32]) -> Result<ArrayRef> {
        let keys = match &mut self.table {
            Table::Near(near) => cast(&near.keys(slots), &self.data_type)?,
            Table::Any(any) => match any.emit(EmitTo::All)?.pop() {
                Some(keys) => take(&keys, &UInt32Array::from_iter_values(slots.iter().copied()), None)?,
                None => return exec_err!("persons without a key"),
            },
        };
        self.table = Table::new(&self.data_type)?;
        Ok(keys)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        match &self.table {
            Table::Near(_) => 0,
            Table::Any(any) => any.size(),
        }
    }
}

impl Table {
    fn new(data_type: &DataType) -> Result<Self> {
        let whole = matches!(
            data_type,
            DataType::Int64 | DataType::Int32 | DataType::Int16 | DataType::UInt32 | DataType::UInt16
        );
        if whole { Ok(Self::Near(Near::default())) } else { hashed(data_type).map(Self::Any) }
    }
}

fn hashed(data_type: &DataType) -> Result<Box<dyn GroupValues>> {
    let key = Field::new("person", data_type.clone(), true);
    new_group_values(Arc::new(Schema::new(vec![key])), &GroupOrdering::None)
}

/// Keys near one another: those from `least` on have the slots from 1 on.
#[derive(Default)]
struct Near {
    least: i64,
    places: i64,
}

impl Near {
    /// False where some are beyond the places that there are.
    fn find(&self, keys: &Int64Array, slots: &mut Vec<u32>) -> bool {
        let places = self.places as u64;
        // Without a sign, a key below the least is above all places.
        let place = |key: i64| key.wrapping_sub(self.least) as u64;
        let mut beyond = false;
        let mut slot = |key: i64| {
            beyond |= place(key) >= places;
            (place(key) as u32).wrapping_add(1)
        };
        slots.clear();
        match keys.null_count() {
            0 => slots.extend(keys.values().iter().map(|key| slot(*key))),
            _ => slots.extend(keys.iter().map(|key| key.map_or(NOBODY, &mut slot))),
        }
        !beyond
    }

    fn keys(&self, slots: &[u32]) -> ArrayRef {
        let key = |slot: u32| (slot != NOBODY).then(|| self.least + (i64::from(slot) - 1));
        Arc::new(slots.iter().map(|slot| key(*slot)).collect::<Int64Array>())
    }

    /// Makes room for the keys. False, and nothing has changed, where they are too far from one another.
    fn reaches(&mut self, keys: &Int64Array, pairs: &mut Pairs) -> bool {
        let end = self.least.saturating_add(self.places);
        let (Some(least), Some(most)) = (min(keys), max(keys)) else { return true };
        let (least, most) = if self.places == 0 { (least, most) } else { (least.min(self.least), most.max(end - 1)) };
        let Some(places) = most.checked_sub(least).and_then(|span| span.checked_add(1)) else { return false };
        if places > (pairs.persons() as i64 * SLOTS_A_PERSON).clamp(FEW_SLOTS, MOST_SLOTS) {
            return false;
        }
        // Room to grow, so that the table is not made anew for each batch: on both sides at first, then where it was wanted.
        let more = |wanted: bool| if self.places == 0 { places / 8 } else { i64::from(wanted) * places / 2 };
        let (below, above) = (more(least < self.least), more(most >= end));
        let (least, most) = (least.saturating_sub(below), most.saturating_add(above));
        let up = self.least.saturating_sub(least);
        let before = std::mem::replace(self, Self { least, places: most - least + 1 });
        let moved = |slot: &u32| if *slot == NOBODY { NOBODY } else { (i64::from(*slot) + up) as u32 };
        if before.places > 0 {
            pairs.moved(pairs.slots().iter().map(moved).collect(), self.places as usize + 1);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Option<i64>> {
        prop_oneof![
            8 => (1_000..9_000_i64).prop_map(Some),
            1 => any::<i64>().prop_map(Some),
            1 => Just(None),
            1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0)].prop_map(Some),
        ]
    }

    proptest! {
        /// Equal keys have one slot, others another, whatever moved in between; what is given out by slot is the key.
        #[test]
        fn a_slot_is_a_person(batches in prop::collection::vec(prop::collection::vec(key(), 0..40), 0..12)) {
            let (mut persons, mut pairs) = (Persons::new(&DataType::Int64).unwrap(), Pairs::default());
            let (mut slots, mut guesses, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
            let mut seen: Vec<(Option<i64>, usize)> = Vec::new();
            for batch in &batches {
                let keys: ArrayRef = Arc::new(Int64Array::from(batch.clone()));
                persons.find(&keys, &mut pairs, &mut slots).unwrap();
                pairs.guess(&slots, &mut guesses, &mut numbers);
                pairs.number(&slots, &vec![0; batch.len()], &mut numbers).unwrap();
                seen.extend(batch.iter().copied().zip(numbers.iter().copied()));
            }
            let (slots, _) = pairs.take();
            let keys = persons.emit(&slots).unwrap();
            let keys: Vec<Option<i64>> = keys.as_primitive::<Int64Type>().iter().collect();
            for (key, pair) in &seen {
                prop_assert_eq!(keys[*pair], *key);
            }
            let distinct: std::collections::BTreeSet<_> = seen.iter().map(|(key, _)| *key).collect();
            prop_assert_eq!(keys.len(), distinct.len());
        }
    }
}
