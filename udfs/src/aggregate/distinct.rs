//! `dp_distinct(values, cap)`: words \[D(1), D(4), D(16), D(64), m\], how many distinct values a group shows when each person may show
//! at most ℓ of them, none of the ℓ above `cap`; m is the number of persons that have a value.
//!
//! `values` is the hash of a person's only value, or all of them as `person_values` gathers them. Between partitions the state is
//! the lists themselves, since matchings do not add up.
//!
//! **Sensitivity** min(ℓ, cap) on word D(ℓ); times √M over the M groups that a person reaches; see `matching`. **Noise** the
//! release's, on each word that it measures. **Cost** nothing here. **Source** Knop, Steinke 2023.

use super::bounds::literal;
use super::matching::{BOUNDS, shown};
use crate::unreleased::{array_of_words, unreleased_field, unreleased_type};
use arrow::array::{Array, ArrayRef, BooleanArray, LargeBinaryArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::{as_binary_array, as_int64_array, as_large_binary_array};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, TypeSignature, Volatility,
};
use std::sync::Arc;

const NAME: &str = "dp_distinct";
const WORDS: usize = BOUNDS.len() + 1;

pub(super) fn udaf() -> Arc<AggregateUDF> {
    let with = |first| TypeSignature::Exact(vec![first, DataType::Int64]);
    let signature = Signature::one_of(vec![with(DataType::Int64), with(DataType::Binary)], Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(Distinct { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Distinct {
    signature: Signature,
}

impl AggregateUDFImpl for Distinct {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(unreleased_type(WORDS))
    }

    fn return_field(&self, _arg_fields: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(unreleased_field(NAME, WORDS)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "lists"), DataType::LargeBinary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One(Lists::bind(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Lists::bind(&args)?))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Every person's list in every group: a count of values and the values, eight bytes each, one list after another.
#[derive(Debug)]
struct Lists {
    bounds: [usize; 4],
    groups: Vec<Vec<u8>>,
    bytes: usize,
}

impl Lists {
    fn bind(args: &AccumulatorArgs) -> Result<Self> {
        if args.is_distinct {
            return plan_err!("{NAME} takes no DISTINCT");
        }
        let cap = usize::try_from(literal(args, 1, "cap")?).unwrap_or(usize::MAX);
        Ok(Self { bounds: BOUNDS.map(|bound| bound.min(cap)), groups: Vec::new(), bytes: 0 })
    }

    fn push(&mut self, group: usize, values: &[u8]) {
        let list = &mut self.groups[group];
        list.extend_from_slice(&((values.len() / 8) as u64).to_be_bytes());
        list.extend_from_slice(values);
        self.bytes += 8 + values.len();
    }

    fn words_of(&self, group: &[u8]) -> [i128; WORDS] {
        let mut numbers = group.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok().map(u64::from_be_bytes));
        let mut lists = Vec::new();
        while let Some(length) = numbers.next() {
            lists.push(numbers.by_ref().take(length as usize).collect::<Vec<u64>>());
        }
        let persons = lists.len() as i128;
        let [a, b, c, d] = shown(lists, self.bounds).map(i128::from);
        [a, b, c, d, persons]
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Vec<u8>> {
        let taken = emit_to.take_needed(&mut self.groups);
        self.bytes -= taken.iter().map(Vec::len).sum::<usize>();
        taken
    }
}

impl GroupsAccumulator for Lists {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, Vec::new);
        let passes = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        if values[0].data_type() == &DataType::Int64 {
            for (row, value) in as_int64_array(&values[0])?.iter().enumerate() {
                if let Some(value) = value.filter(|_| passes(row)) {
                    self.push(group_indices[row], &value.to_be_bytes());
                }
            }
            return Ok(());
        }
        for (row, list) in as_binary_array(&values[0])?.iter().enumerate() {
            if let Some(list) = list.filter(|list| !list.is_empty() && passes(row)) {
                self.push(group_indices[row], list);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.take(emit_to);
        let words: Vec<i128> = groups.iter().flat_map(|group| self.words_of(group)).collect();
        array_of_words(WORDS, &words)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let lists: LargeBinaryArray = self.take(emit_to).into_iter().map(Some).collect();
        Ok(vec![Arc::new(lists)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups.resize_with(total_num_groups, Vec::new);
        for (row, lists) in as_large_binary_array(&values[0])?.iter().enumerate() {
            if let Some(lists) = lists {
                self.groups[group_indices[row]].extend_from_slice(lists);
                self.bytes += lists.len();
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut each = Self { bounds: self.bounds, groups: Vec::new(), bytes: 0 };
        let rows: Vec<usize> = (0..values[0].len()).collect();
        each.update_batch(values, &rows, opt_filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.groups.capacity() * size_of::<Vec<u8>>() + self.bytes
    }
}

/// The same for a query without groups.
#[derive(Debug)]
struct One(Lists);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.groups.resize_with(1, Vec::new);
        ScalarValue::try_from_array(&array_of_words(WORDS, &self.0.words_of(&self.0.groups[0]))?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.groups.resize_with(1, Vec::new);
        Ok(vec![ScalarValue::LargeBinary(Some(self.0.groups[0].clone()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
