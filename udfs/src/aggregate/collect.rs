//! `person_bins(bin)` and `person_values(hash)`: what one person's rows in one group hold, gathered into one value.
//!
//! In: Int64, NULL where a row does not count. Out: Binary: of bins one byte a row, of hashes eight bytes each, ascending and each
//! once. Below a release they stand where `sum` and `count` stand for the other aggregates; `dp_histogram` and `dp_distinct` read
//! them. Must never: mix the rows of two persons, which is the plan's to see to (its groups hold the person key).

use super::bin_log::Bins;
use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::{as_binary_array, as_int64_array};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use std::hash::Hash;
use std::sync::Arc;

/// From this many bytes on, a list of hashes is tidied whenever it has doubled.
const TIDY_FROM: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Bins,
    Values,
}

pub(super) fn udaf(kind: Kind) -> Arc<AggregateUDF> {
    let signature = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(Collect { kind, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Collect {
    kind: Kind,
    signature: Signature,
}

impl AggregateUDFImpl for Collect {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Bins => "person_bins",
            Kind::Values => "person_values",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "gathered"), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One(self.gathered(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let gathered = self.gathered(&args)?;
        Ok(match self.kind {
            Kind::Bins => Box::new(Bins::default()),
            Kind::Values => Box::new(gathered),
        })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

impl Collect {
    fn gathered(&self, args: &AccumulatorArgs) -> Result<Gathered> {
        if args.is_distinct {
            return plan_err!("{} takes no DISTINCT", self.name());
        }
        Ok(Gathered { kind: self.kind, groups: Vec::new(), bytes: 0 })
    }
}

#[derive(Debug, Default, Clone)]
struct List {
    bytes: Vec<u8>,
    /// Tidy again from this length on.
    tidy_at: usize,
}

#[derive(Debug)]
struct Gathered {
    kind: Kind,
    groups: Vec<List>,
    bytes: usize,
}

impl Gathered {
    fn push(&mut self, group: usize, value: i64) {
        match self.kind {
            Kind::Bins => {
                if let Ok(bin) = u8::try_from(value) {
                    self.groups[group].bytes.push(bin);
                    self.bytes += 1;
                }
            }
            Kind::Values => self.extend(group, &value.to_be_bytes()),
        }
    }

    fn extend(&mut self, group: usize, bytes: &[u8]) {
        let list = &mut self.groups[group];
        list.bytes.extend_from_slice(bytes);
        self.bytes += bytes.len();
        if self.kind == Kind::Values && list.bytes.len() >= list.tidy_at.max(TIDY_FROM) {
            let before = list.bytes.len();
            list.bytes = tidied(&list.bytes);
            self.bytes -= before - list.bytes.len();
            list.tidy_at = 2 * list.bytes.len();
        }
    }

    fn emit(&mut self, emit_to: EmitTo) -> ArrayRef {
        let emitted = emit_to.take_needed(&mut self.groups);
        self.bytes -= emitted.iter().map(|list| list.bytes.len()).sum::<usize>();
        let finished = emitted.into_iter().map(|list| match self.kind {
            Kind::Bins => list.bytes,
            Kind::Values => tidied(&list.bytes),
        });
        let array: BinaryArray = finished.map(Some).collect();
        Arc::new(array)
    }

    fn merge(&mut self, states: &ArrayRef, group_of: impl Fn(usize) -> usize) -> Result<()> {
        let states = as_binary_array(states)?;
        for row in (0..states.len()).filter(|row| states.is_valid(*row)) {
            self.extend(group_of(row), states.value(row));
        }
        Ok(())
    }
}

/// Each value once, ascending.
fn tidied(bytes: &[u8]) -> Vec<u8> {
    let mut values: Vec<&[u8]> = bytes.chunks_exact(8).collect();
    values.sort_unstable();
    values.dedup();
    values.concat()
}

impl GroupsAccumulator for Gathered {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, List::default);
        let passes = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, value) in as_int64_array(&values[0])?.iter().enumerate() {
            if let Some(value) = value.filter(|_| passes(row)) {
                self.push(group_indices[row], value);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(self.emit(emit_to))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.emit(emit_to)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups.resize_with(total_num_groups, List::default);
        self.merge(&values[0], |row| group_indices[row])
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut each = Self { kind: self.kind, groups: Vec::new(), bytes: 0 };
        let rows: Vec<usize> = (0..values[0].len()).collect();
        each.update_batch(values, &rows, opt_filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.groups.capacity() * size_of::<List>() + self.bytes
    }
}

/// The same for a query without groups.
#[derive(Debug)]
struct One(Gathered);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.groups.resize_with(1, List::default);
        let bytes = self.0.groups[0].bytes.clone();
        Ok(ScalarValue::Binary(Some(if self.0.kind == Kind::Values { tidied(&bytes) } else { bytes })))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.groups.resize_with(1, List::default);
        self.0.merge(&states[0], |_| 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
