//! `sum` and `avg` of Float64 whose results do not depend on the order of their rows.
//!
//! Sums of floats do: 1e308 − 1e308 + 1 is 1 or 0 by the order, and the order in which one person's rows arrive may depend on other
//! persons' rows. Here values are added as whole multiples of 2⁻⁸⁰ in 192 bits, which is exact, so any order gives one sum; it is
//! rounded once, at the end. What is no such multiple, or larger than 2²⁷, is kept aside and added last, sorted.
//! In: numbers. Out: an exact Float64, NULL without rows. Law: neither order nor partitioning changes the result. It is **not**
//! private: it serves one person's metrics, below a release. Source: fixed-point accumulation after Kulisch 2013, "Computer
//! Arithmetic and Validity", section 8.2.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float64Array, ListBuilder};
use arrow::array::{Float64Builder, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// 2⁸⁰: the units of one.
const UNITS: f64 = (1_u128 << 80) as f64;
/// Bits of a mantissa, and how far it is shifted at most: below 2¹⁰⁷ units an i128 takes 2²⁰ values before it carries.
const MANTISSA_BITS: u32 = 52;
const LARGEST_SHIFT: i32 = 54;
const STATE_BYTES: usize = 24;

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
        Ok(Box::new(One(Sums::new(self.gives))))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Sums::new(self.gives)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// `low + high · 2¹²⁸` units.
#[derive(Debug, Clone, Copy, Default)]
struct Units {
    low: i128,
    high: i64,
}

impl Units {
    fn add(&mut self, low: i128, high: i64) {
        let (sum, carried) = self.low.overflowing_add(low);
        // Both have one sign where it carries.
        let carry = if carried { if low < 0 { -1 } else { 1 } } else { 0 };
        (self.low, self.high) = (sum, self.high.wrapping_add(high).wrapping_add(carry));
    }

    fn value(self) -> f64 {
        (self.low as f64 + self.high as f64 * 2_f64.powi(128)) / UNITS
    }

    fn bytes(self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        bytes[..16].copy_from_slice(&self.low.to_le_bytes());
        bytes[16..].copy_from_slice(&self.high.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (low, high) = bytes.split_at_checked(16)?;
        Some(Self { low: i128::from_le_bytes(low.try_into().ok()?), high: i64::from_le_bytes(high.try_into().ok()?) })
    }
}

/// A number as whole units, by its bits: mantissa · 2^(exponent − 1075), and 2⁸⁰ units are one. Nothing for what is no whole number of
/// units, too large, infinite or not a number.
fn units_of(value: f64) -> Option<i128> {
    let bits = value.to_bits();
    let exponent = (bits >> MANTISSA_BITS & 0x7ff) as i32;
    let fraction = bits & ((1 << MANTISSA_BITS) - 1);
    if exponent == 0 {
        return (fraction == 0).then_some(0);
    }
    let mantissa = fraction | 1 << MANTISSA_BITS;
    let shift = exponent - 1075 + 80;
    let units = match shift {
        0..=LARGEST_SHIFT => i128::from(mantissa) << shift,
        _ if shift < 0 && mantissa.trailing_zeros() >= shift.unsigned_abs() => i128::from(mantissa >> -shift),
        _ => return None,
    };
    Some(if value.is_sign_negative() { -units } else { units })
}

/// The sums of all groups.
#[derive(Debug)]
struct Sums {
    gives: Gives,
    units: Vec<Units>,
    rows: Vec<u64>,
    /// Values that are no units, by group; hardly ever any.
    aside: BTreeMap<usize, Vec<f64>>,
}

impl Sums {
    fn new(gives: Gives) -> Self {
        Self { gives, units: Vec::new(), rows: Vec::new(), aside: BTreeMap::new() }
    }

    fn grow(&mut self, groups: usize) {
        self.units.resize(groups.max(self.units.len()), Units::default());
        self.rows.resize(groups.max(self.rows.len()), 0);
    }

    fn add(&mut self, group: usize, value: f64) {
        self.rows[group] += 1;
        match units_of(value) {
            Some(units) => self.units[group].add(units, 0),
            None => self.aside.entry(group).or_default().push(value),
        }
    }

    fn result(&mut self, group: usize) -> Option<f64> {
        let rows = self.rows[group];
        let mut aside = self.aside.remove(&group).unwrap_or_default();
        aside.sort_by(f64::total_cmp);
        let sum = aside.into_iter().fold(self.units[group].value(), |sum, value| sum + value);
        (rows > 0).then(|| match self.gives {
            Gives::Sum => sum,
            Gives::Mean => sum / rows as f64,
        })
    }

    /// The first groups are gone; the others move up.
    fn dropped(&mut self, emit: EmitTo) -> usize {
        let count = match emit {
            EmitTo::All => self.rows.len(),
            EmitTo::First(count) => count,
        };
        if count == self.rows.len() {
            (self.units, self.rows) = (Vec::new(), Vec::new());
        } else {
            self.units.drain(..count);
            self.rows.drain(..count);
        }
        let rest = self.aside.split_off(&count);
        self.aside = rest.into_iter().map(|(group, values)| (group - count, values)).collect();
        count
    }

    fn count(&self, emit: EmitTo) -> usize {
        match emit {
            EmitTo::All => self.rows.len(),
            EmitTo::First(count) => count.min(self.rows.len()),
        }
    }
}

impl GroupsAccumulator for Sums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let numbers = values[0].as_primitive::<Float64Type>();
        let fits = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        if numbers.null_count() == 0 && opt_filter.is_none() {
            numbers.values().iter().zip(group_indices).for_each(|(value, group)| self.add(*group, *value));
        } else {
            for (row, group) in group_indices.iter().enumerate() {
                if numbers.is_valid(row) && fits(row) {
                    self.add(*group, numbers.value(row));
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let results: Float64Array = (0..self.count(emit_to)).map(|group| self.result(group)).collect();
        self.dropped(emit_to);
        Ok(Arc::new(results))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = self.count(emit_to);
        let units = FixedSizeBinaryArray::try_from_iter(self.units[..count].iter().map(|units| units.bytes()));
        let units = match count {
            0 => arrow::array::new_empty_array(&DataType::FixedSizeBinary(STATE_BYTES as i32)),
            _ => Arc::new(units?),
        };
        let mut aside = ListBuilder::new(Float64Builder::new());
        for group in 0..count {
            aside.values().append_slice(self.aside.get(&group).map_or(&[], Vec::as_slice));
            aside.append(true);
        }
        let rows = UInt64Array::from_iter_values(self.rows[..count].iter().copied());
        self.dropped(emit_to);
        Ok(vec![units, Arc::new(rows), Arc::new(aside.finish())])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.grow(total_num_groups);
        let (units, rows) = (values[0].as_fixed_size_binary(), values[1].as_primitive::<UInt64Type>());
        let aside = values[2].as_list::<i32>();
        for (row, &group) in group_indices.iter().enumerate() {
            let Some(sum) = Units::read(units.value(row)) else {
                return exec_err!("sum: a state of another size");
            };
            self.units[group].add(sum.low, sum.high);
            self.rows[group] += rows.value(row);
            if aside.value_length(row) > 0 {
                let values = aside.value(row);
                self.aside.entry(group).or_default().extend(values.as_primitive::<Float64Type>().values());
            }
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
        let aside: usize = self.aside.values().map(|values| 64 + values.capacity() * size_of::<f64>()).sum();
        size_of::<Self>() + self.units.capacity() * size_of::<Units>() + self.rows.capacity() * size_of::<u64>() + aside
    }
}

/// All rows are one group.
#[derive(Debug)]
struct One(Sums);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.grow(1);
        ScalarValue::try_from_array(&self.0.evaluate(EmitTo::All)?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.grow(1);
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
        let mut whole = Sums::new(Gives::Sum);
        for part in parts {
            let mut sums = Sums::new(Gives::Sum);
            sums.update_batch(&[Arc::new(Float64Array::from(part.clone()))], &vec![0; part.len()], None, 1).unwrap();
            let state = GroupsAccumulator::state(&mut sums, EmitTo::All).unwrap();
            whole.merge_batch(&state, &[0], 1).unwrap();
        }
        whole.grow(1);
        whole.result(0)
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
    fn units_are_exact_or_nothing() {
        for value in
            [0.0, -0.0, 1.0, -0.1, 0.3, 134_217_727.999, -134_217_727.5, 2_f64.powi(-80), 3.0 * 2_f64.powi(-80)]
        {
            let units = units_of(value).unwrap();
            assert_eq!(units as f64 / UNITS, value);
        }
        for value in [2_f64.powi(27), -1e300, 2_f64.powi(-81), 5e-324, f64::NAN, f64::INFINITY, 1.5 * 2_f64.powi(-80)] {
            assert_eq!(units_of(value), None, "{value}");
        }
    }

    #[test]
    fn nothing_is_null_and_carries_are_kept() {
        assert_eq!(summed(&[vec![]]), None);
        let mut units = Units::default();
        for _ in 0..1000 {
            units.add(i128::MAX, 0);
        }
        for _ in 0..1000 {
            units.add(-i128::MAX, 0);
        }
        assert_eq!((units.low, units.high), (0, 0));
        units.add(i128::MAX, 0);
        units.add(i128::MAX, 0);
        assert!((units.value() / (2_f64.powi(128) / UNITS) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn groups_that_are_given_out_take_what_is_aside_with_them() {
        let mut sums = Sums::new(Gives::Mean);
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1e300, 2.0, 4.0, f64::INFINITY]));
        sums.update_batch(&[values], &[0, 1, 1, 2], None, 3).unwrap();
        let first = sums.evaluate(EmitTo::First(1)).unwrap();
        assert_eq!(first.as_primitive::<Float64Type>().value(0), 1e300);
        let rest = sums.evaluate(EmitTo::All).unwrap();
        assert_eq!(rest.as_primitive::<Float64Type>().values(), &[3.0, f64::INFINITY]);
    }
}
