//! The engine's cast that gives NULL for what does not fit, and the same faster from decimals to floats.
//!
//! In: an array and a type. Out: what `cast_with_options` with `safe` gives, bit for bit.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use datafusion::common::Result;
use std::sync::Arc;

/// Errors: no cast from one type to the other.
pub(crate) fn safe_cast(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if let (DataType::Decimal128(_, scale), DataType::Float64) = (array.data_type(), data_type) {
        let decimals = array.as_primitive::<Decimal128Type>();
        return Ok(Arc::new(match are_narrow(decimals.values()) {
            true => decimals.unary::<_, Float64Type>(float_of_narrow_decimal(*scale)),
            false => decimals.unary::<_, Float64Type>(float_of_decimal(*scale)),
        }));
    }
    Ok(cast_with_options(array, data_type, &CastOptions { safe: true, ..Default::default() })?)
}

/// Do all fit into 64 bits? A pass for itself: asked of each number beside its conversion, the compiler sees that both conversions say
/// the same and leaves only the slow one.
pub(crate) fn are_narrow(numbers: &[i128]) -> bool {
    numbers.iter().fold(0, |rest, number| rest | (number ^ i128::from(*number as i64))) == 0
}

/// The float that a decimal of `scale` is cast to.
pub(crate) fn float_of_decimal(scale: i8) -> impl Fn(i128) -> f64 {
    let one = 10_f64.powi(i32::from(scale));
    move |number: i128| number as f64 / one
}

/// The same for those that [`are_narrow`]: both are rounded to the nearest, and the processor has an instruction for the narrow ones.
pub(crate) fn float_of_narrow_decimal(scale: i8) -> impl Fn(i128) -> f64 {
    let one = 10_f64.powi(i32::from(scale));
    move |number: i128| number as i64 as f64 / one
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Decimal128Array;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decimals_become_the_floats_that_the_engine_makes_of_them(
            numbers in prop::collection::vec(
                prop_oneof![
                    any::<i128>(),
                    any::<i64>().prop_map(i128::from),
                    (-1000..1000_i128).prop_map(|near| i128::from(i64::MAX) + near),
                    (-1000..1000_i128).prop_map(|near| i128::from(i64::MIN) + near),
                ],
                0..50,
            ),
            scale in -20..38_i8,
            null in any::<bool>(),
            narrow in any::<bool>(),
        ) {
            let numbers = numbers.into_iter().filter(|number| !narrow || i64::try_from(*number).is_ok());
            let numbers = numbers.map(Some).chain(null.then_some(None));
            let numbers = numbers.collect::<Decimal128Array>().with_precision_and_scale(38, scale).unwrap();
            let numbers: ArrayRef = Arc::new(numbers);
            let ours = safe_cast(&numbers, &DataType::Float64).unwrap();
            let own = arrow::compute::cast(&numbers, &DataType::Float64).unwrap();
            let bits = |array: &ArrayRef| -> Vec<Option<u64>> {
                array.as_primitive::<Float64Type>().iter().map(|float| float.map(f64::to_bits)).collect()
            };
            prop_assert_eq!(bits(&ours), bits(&own));
        }
    }
}
