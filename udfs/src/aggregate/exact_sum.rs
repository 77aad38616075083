//! `sum` and `avg` of Float64 whose results do not depend on the order of their rows.
//!
//! Sums of floats do: 1e308 − 1e308 + 1 is 1 or 0 by the order, and the order in which one person's rows arrive may depend on other
//! persons' rows. Here values are added as whole multiples of 2⁻⁸⁰ in 192 bits, or of 2⁻²⁰ in 64 where they are such, which is exact,
//! so any order gives one sum; it is rounded once, at the end. What is no such multiple, or larger than 2²⁷, is kept aside and added
//! last, sorted.
//! In: numbers. Out: an exact Float64, NULL without rows. Law: neither order nor partitioning changes the result. It is **not**
//! private: it serves one person's metrics, below a release. Source: fixed-point accumulation after Kulisch 2013, "Computer
//! Arithmetic and Validity", section 8.2.

mod sums;
mod units;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Float64Builder};
use arrow::array::{ListBuilder, UInt64Builder};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use std::sync::Arc;
use sums::{Sum, Sums};
use units::{STATE_BYTES, Units};

pub(crate) use sums::Coarse;

/// What is made of sum and number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Gives {
    Sum,
    Mean,
}

/// `sum` or `avg` over Float64, free of the order of its rows; nothing for other names.
pub fn exact(name: &str) -> Option<Arc<AggregateUDF>> {
    match name {
        "sum" => Some(of(Gives::Sum)),
        "avg" | "mean" => Some(of(Gives::Mean)),
        _ => None,
    }
}

fn of(gives: Gives) -> Arc<AggregateUDF> {
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(ExactSum { signature, gives }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactSum {
    signature: Signature,
    gives: Gives,
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        match self.gives {
            Gives::Sum => "sum",
            Gives::Mean => "avg",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |part, data_type| Arc::new(Field::new(format_state_name(args.name, part), data_type, true));
        Ok(vec![
            field("units", DataType::FixedSizeBinary(STATE_BYTES as i32)),
            field("rows", DataType::UInt64),
            field("aside", DataType::new_list(DataType::Float64, true)),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("{} takes no DISTINCT", self.name());
        }
        Ok(Box::new(One(ExactSums::new(self.gives))))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(ExactSums::new(self.gives)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The sums or means of all groups.
#[derive(Debug)]
pub(crate) struct ExactSums {
    gives: Gives,
    sums: Sums,
}

impl ExactSums {
    fn new(gives: Gives) -> Self {
        Self { gives, sums: Sums::default() }
    }

    /// Of a call of one of these functions; nothing for other calls.
    pub(crate) fn of(call: &AggregateFunctionExpr) -> Option<Self> {
        let function = call.fun().inner().downcast_ref::<ExactSum>()?;
        (!call.is_distinct() && call.order_bys().is_empty()).then(|| Self::new(function.gives))
    }

    /// Adds rows of a group that somebody else has summed, in [`Coarse`] units.
    pub(crate) fn add_coarse(&mut self, group: usize, coarse: i64, rows: u64) {
        self.sums.merge(&[Units::of_coarse(coarse)], &[rows], &[group]);
    }

    /// There are at least so many groups.
    pub(crate) fn grow(&mut self, groups: usize) {
        self.sums.grow(groups);
    }

    /// NULL without rows.
    fn result(&self, sum: Sum) -> Option<f64> {
        let rows = sum.rows;
        (rows > 0).then(|| match self.gives {
            Gives::Sum => sum.value(),
            Gives::Mean => sum.value() / rows as f64,
        })
    }

    fn take(&mut self, emit: EmitTo) -> impl ExactSizeIterator<Item = Sum> + use<> {
        let count = match emit {
            EmitTo::All => self.sums.len(),
            EmitTo::First(count) => count.min(self.sums.len()),
        };
        self.sums.take(count).each()
    }
}

impl GroupsAccumulator for ExactSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sums.grow(total_num_groups);
        let numbers = values[0].as_primitive::<Float64Type>();
        if numbers.null_count() == 0 && opt_filter.is_none() {
            self.sums.add(numbers.values(), group_indices);
            return Ok(());
        }
        let fits = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let rows = (0..numbers.len()).filter(|row| numbers.is_valid(*row) && fits(*row));
        let (numbers, groups): (Vec<_>, Vec<_>) = rows.map(|row| (numbers.value(row), group_indices[row])).unzip();
        self.sums.add(&numbers, &groups);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.take(emit_to);
        Ok(Arc::new(sums.map(|sum| self.result(sum)).collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = self.take(emit_to);
        let mut units = FixedSizeBinaryBuilder::with_capacity(sums.len(), STATE_BYTES as i32);
        let mut rows = UInt64Builder::with_capacity(sums.len());
        let mut aside = ListBuilder::with_capacity(Float64Builder::new(), sums.len());
        for sum in sums {
            units.append_value(sum.units.bytes())?;
            rows.append_value(sum.rows);
            aside.values().append_slice(&sum.aside);
            aside.append(true);
        }
        Ok(vec![Arc::new(units.finish()), Arc::new(rows.finish()), Arc::new(aside.finish())])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.sums.grow(total_num_groups);
        let (units, rows) = (values[0].as_fixed_size_binary(), values[1].as_primitive::<UInt64Type>());
        let Some(sums) = (0..units.len()).map(|row| Units::read(units.value(row))).collect::<Option<Vec<_>>>() else {
            return exec_err!("sum: a state of another size");
        };
        self.sums.merge(&sums, rows.values(), group_indices);
        let aside = values[2].as_list::<i32>();
        if aside.values().is_empty() {
            return Ok(());
        }
        for (row, group) in group_indices.iter().enumerate().filter(|(row, _)| aside.value_length(*row) > 0) {
            self.sums.put_aside(*group, aside.value(row).as_primitive::<Float64Type>().values());
        }
        Ok(())
    }

    /// Each row as a group of its own, where grouping first would not pay.
    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut each = Self::new(self.gives);
        each.update_batch(values, &(0..rows).collect::<Vec<_>>(), opt_filter, rows)?;
        GroupsAccumulator::state(&mut each, EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sums.size()
    }
}

/// All rows are one group.
#[derive(Debug)]
struct One(ExactSums);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.sums.grow(1);
        ScalarValue::try_from_array(&self.0.evaluate(EmitTo::All)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.sums.grow(1);
        let state = GroupsAccumulator::state(&mut self.0, EmitTo::All)?;
        state.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn summed(parts: &[Vec<f64>]) -> Option<f64> {
        let mut whole = ExactSums::new(Gives::Sum);
        whole.sums.grow(1);
        for part in parts {
            let mut groups = ExactSums::new(Gives::Sum);
            groups.update_batch(&[Arc::new(Float64Array::from(part.clone()))], &vec![0; part.len()], None, 1).unwrap();
            let state = GroupsAccumulator::state(&mut groups, EmitTo::All).unwrap();
            whole.merge_batch(&state, &[0], 1).unwrap();
        }
        let sum = whole.evaluate(EmitTo::All).unwrap();
        sum.is_valid(0).then(|| sum.as_primitive::<Float64Type>().value(0))
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => -1e3..1e3_f64,
            1 => prop_oneof![Just(1e308), Just(-1e308), Just(0.1), Just(-0.0), Just(5e-324), Just(1e-20), Just(134217728.5)],
        ]
    }

    proptest! {
        #[test]
        fn every_order_and_partitioning_gives_one_sum(
            mut values in prop::collection::vec(number(), 1..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let first = summed(&[values.clone()]).unwrap();
            values.reverse();
            let (a, b) = values.split_at(cut.index(values.len()));
            prop_assert_eq!(summed(&[a.to_vec(), Vec::new(), b.to_vec()]).unwrap().to_bits(), first.to_bits());
        }

        /// As near to the true sum as one rounding is.
        #[test]
        fn sums_of_quarters_are_exact(quarters in prop::collection::vec(-4_000_000..4_000_000_i64, 1..200)) {
            let values: Vec<f64> = quarters.iter().map(|q| *q as f64 / 4.0).collect();
            prop_assert_eq!(summed(&[values]).unwrap(), quarters.iter().sum::<i64>() as f64 / 4.0);
        }
    }

    #[test]
    fn nothing_is_null() {
        assert_eq!(summed(&[]), None);
        assert_eq!(summed(&[vec![]]), None);
        assert_eq!(summed(&[vec![], vec![-0.0]]), Some(0.0));
    }

    #[test]
    fn rows_that_are_null_or_filtered_add_nothing() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), None, Some(0.1), Some(4.0)]));
        let filter = BooleanArray::from(vec![Some(true), Some(true), Some(false), None]);
        let mut groups = ExactSums::new(Gives::Mean);
        groups.update_batch(std::slice::from_ref(&values), &[0, 0, 0, 1], Some(&filter), 2).unwrap();
        groups.update_batch(&[values], &[0, 0, 0, 0], None, 2).unwrap();
        let means = groups.evaluate(EmitTo::All).unwrap();
        let means: Vec<_> = means.as_primitive::<Float64Type>().iter().collect();
        assert_eq!(means, [Some(1.275), None]);
    }

    #[test]
    fn groups_that_are_given_out_take_what_is_aside_with_them() {
        let mut sums = ExactSums::new(Gives::Mean);
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1e300, 2.0, 4.0, f64::INFINITY]));
        sums.update_batch(&[values], &[0, 1, 1, 2], None, 3).unwrap();
        let first = sums.evaluate(EmitTo::First(1)).unwrap();
        assert_eq!(first.as_primitive::<Float64Type>().value(0), 1e300);
        let rest = sums.evaluate(EmitTo::All).unwrap();
        assert_eq!(rest.as_primitive::<Float64Type>().values(), &[3.0, f64::INFINITY]);
    }
}
