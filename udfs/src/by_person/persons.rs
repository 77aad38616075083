//! Numbers persons by their keys, in the order in which they come.
//!
//! Keys that are whole numbers near one another, as those of most tables are, need no hash: their place is their distance from the
//! smallest. All others go through the engine's table. NULL is a person too, the nobody.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use std::sync::Arc;

/// Places that are taken at once without being asked for: 4 MiB.
const FEW_PLACES: i64 = 1 << 20;
/// Beyond this a table of places is too sparse, however many persons there are: 256 MiB.
const MOST_PLACES: i64 = 1 << 26;
/// Places a person.
const PLACES_A_PERSON: i64 = 32;

pub(crate) struct Persons {
    data_type: DataType,
    table: Table,
    scratch: Vec<usize>,
}

enum Table {
    Near(Near),
    Any(Box<dyn GroupValues>),
}

impl Persons {
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        Ok(Self { data_type: data_type.clone(), table: Table::new(data_type)?, scratch: Vec::new() })
    }

    /// Takes no more memory than its keys need, however far they are from one another.
    pub(crate) fn hashed(data_type: &DataType) -> Result<Self> {
        Ok(Self { data_type: data_type.clone(), table: Table::Any(hashed(data_type)?), scratch: Vec::new() })
    }

    pub(crate) fn len(&self) -> usize {
        match &self.table {
            Table::Near(near) => near.keys.len(),
            Table::Any(any) => any.len(),
        }
    }

    /// The number of each row's person.
    pub(crate) fn number(&mut self, keys: &ArrayRef, numbers: &mut Vec<u32>) -> Result<()> {
        numbers.clear();
        if let Table::Near(near) = &mut self.table {
            let wide = cast(keys, &DataType::Int64)?;
            if near.number(wide.as_primitive(), numbers) {
                return Ok(());
            }
            let mut any = hashed(&self.data_type)?;
            any.intern(&[cast(&near.emit(), &self.data_type)?], &mut self.scratch)?;
            self.table = Table::Any(any);
        }
        if let Table::Any(any) = &mut self.table {
            any.intern(std::slice::from_ref(keys), &mut self.scratch)?;
            if any.len() >= u32::MAX as usize {
                return exec_err!("too many persons");
            }
            numbers.extend(self.scratch.iter().map(|number| *number as u32));
        }
        Ok(())
    }

    /// The key of each person by number; none is left.
    pub(super) fn emit(&mut self) -> Result<ArrayRef> {
        let keys = match &mut self.table {
            Table::Near(near) => cast(&near.emit(), &self.data_type)?,
            Table::Any(any) => match any.emit(EmitTo::All)?.pop() {
                Some(keys) => keys,
                None => return exec_err!("persons without a key"),
            },
        };
        self.table = Table::new(&self.data_type)?;
        Ok(keys)
    }

    /// In bytes.
    pub(crate) fn size(&self) -> usize {
        match &self.table {
            Table::Near(near) => {
                near.places.capacity() * size_of::<u32>() + near.keys.capacity() * size_of::<Option<i64>>()
            }
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

/// Keys near one another.
#[derive(Default)]
struct Near {
    /// The key of the first place.
    least: i64,
    /// One more than the person's number; 0: nobody yet.
    places: Vec<u32>,
    /// Of each person; NULL of the nobody.
    keys: Vec<Option<i64>>,
    nobody: Option<u32>,
}

impl Near {
    /// False, and nothing has changed, where the keys are too far from one another.
    fn number(&mut self, keys: &Int64Array, numbers: &mut Vec<u32>) -> bool {
        if let (Some(least), Some(most)) = (min(keys), max(keys))
            && !self.reaches(least, most)
        {
            return false;
        }
        numbers.reserve(keys.len());
        if keys.null_count() == 0 {
            for &key in keys.values() {
                let number = self.person(key);
                numbers.push(number);
            }
        } else {
            for key in keys {
                let number = match key {
                    Some(key) => self.person(key),
                    None => self.nobody(),
                };
                numbers.push(number);
            }
        }
        true
    }

    fn person(&mut self, key: i64) -> u32 {
        let place = &mut self.places[(key - self.least) as usize];
        if *place == 0 {
            self.keys.push(Some(key));
            *place = self.keys.len() as u32;
        }
        *place - 1
    }

    fn nobody(&mut self) -> u32 {
        *self.nobody.get_or_insert_with(|| {
            self.keys.push(None);
            self.keys.len() as u32 - 1
        })
    }

    /// Makes room for keys from `least` to `most`, if that is not too much.
    fn reaches(&mut self, least: i64, most: i64) -> bool {
        let end = self.least.saturating_add(self.places.len() as i64);
        if least >= self.least && most < end {
            return true;
        }
        let (least, most) =
            if self.places.is_empty() { (least, most) } else { (least.min(self.least), most.max(end - 1)) };
        let Some(places) = most.checked_sub(least).and_then(|span| span.checked_add(1)) else { return false };
        let allowed = (self.keys.len() as i64 * PLACES_A_PERSON).clamp(FEW_PLACES, MOST_PLACES);
        if places > allowed {
            return false;
        }
        // Room to grow on both sides, so that a table is not made anew for each batch.
        let slack = places / 2;
        let (least, most) = (least.saturating_sub(slack), most.saturating_add(slack));
        let mut grown = vec![0; (most - least + 1) as usize];
        if !self.places.is_empty() {
            let before = (self.least - least) as usize;
            grown[before..before + self.places.len()].copy_from_slice(&self.places);
        }
        (self.least, self.places) = (least, grown);
        true
    }

    fn emit(&mut self) -> ArrayRef {
        let all = std::mem::take(self);
        Arc::new(all.keys.into_iter().collect::<Int64Array>())
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
        /// Equal keys have one number, others another; what is given out by number is the key.
        #[test]
        fn a_number_is_a_person(batches in prop::collection::vec(prop::collection::vec(key(), 0..40), 0..12)) {
            let mut persons = Persons::new(&DataType::Int64).unwrap();
            let mut seen: Vec<(Option<i64>, u32)> = Vec::new();
            for batch in &batches {
                let keys: ArrayRef = Arc::new(Int64Array::from(batch.clone()));
                let mut numbers = Vec::new();
                persons.number(&keys, &mut numbers).unwrap();
                seen.extend(batch.iter().copied().zip(numbers));
            }
            let keys = persons.emit().unwrap();
            let keys: Vec<Option<i64>> = keys.as_primitive::<Int64Type>().iter().collect();
            for (key, number) in &seen {
                prop_assert_eq!(keys[*number as usize], *key);
            }
            let distinct: std::collections::BTreeSet<_> = seen.iter().map(|(key, _)| *key).collect();
            prop_assert_eq!(keys.len(), distinct.len());
            prop_assert_eq!(persons.len(), 0);
        }
    }
}
