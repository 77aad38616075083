//! `dp_lattice(x, mid, lower, upper, step) -> Int64`: a value as a whole number of steps from the
//! middle of its bounds.
//!
//! In: any number. Out: round((clamp(x, lower, upper) − mid) / step), ties to even; NULL for NULL
//! and NaN. Total: no input is an error. Must never: leave [(lower−mid)/step, (upper−mid)/step],
//! rounded; the sensitivity of every sum rests on that.
//!
//! **Sensitivity** of a sum of one row: the larger end of that interval. **Noise, Cost** none.
//! **Source** rounding to a lattice before exact integer noise: Mironov 2012, "On Significance of
//! the Least Significant Bits for Differential Privacy".

use crate::safe_cast::{are_narrow, float_of_decimal, float_of_narrow_decimal, safe_cast};
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Int64Type};
use datafusion::common::cast::{as_float64_array, as_int64_array};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

pub fn dp_lattice_udf() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Lattice { signature }))
}

pub fn dp_lattice(x: Expr, mid: Expr, lower: Expr, upper: Expr, step: Expr) -> Expr {
    dp_lattice_udf().call(vec![x, mid, lower, upper, step])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Lattice {
    signature: Signature,
}

impl ScalarUDFImpl for Lattice {
    fn name(&self) -> &str {
        "dp_lattice"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [x, _, _, _, _] if x.is_numeric() || x.is_null() => {
                let mut types = vec![x.clone()];
                types.resize(5, DataType::Float64);
                Ok(types)
            }
            _ => plan_err!("dp_lattice takes a number and four bounds"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bounds = [bound(&args, 1)?, bound(&args, 2)?, bound(&args, 3)?, bound(&args, 4)?];
        #[cfg(feature = "mutants")]
        let bounds = match bounds {
            [mid, _, _, step] if crate::mutants::Mutant::NoClamp.lives() => [mid, -1e300, 1e300, step],
            _ => bounds,
        };
        let scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let x = args.args[0].to_array(if scalar { 1 } else { args.number_rows })?;
        let lattice = on_lattice(&x, bounds)?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&lattice, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(lattice)))
    }
}

/// A bound of the lattice; they are literals.
fn bound(args: &ScalarFunctionArgs, index: usize) -> Result<f64> {
    match args.args.get(index) {
        Some(ColumnarValue::Scalar(ScalarValue::Float64(Some(value)))) if value.is_finite() => Ok(*value),
        Some(_) | None => {
            plan_err!("dp_lattice: mid, lower, upper and step must be finite literals")
        }
    }
}

fn on_lattice(x: &ArrayRef, [mid, lower, upper, step]: [f64; 4]) -> Result<Int64Array> {
    if step <= 0.0 || lower > upper {
        return plan_err!("dp_lattice: step must be above zero and lower at most upper");
    }
    if let (DataType::Int32 | DataType::Int64, Some((lower, upper))) = (x.data_type(), whole(mid, lower, upper, step)) {
        let x = safe_cast(x, &DataType::Int64)?;
        return Ok(as_int64_array(&x)?.unary::<_, Int64Type>(|x| x.clamp(lower, upper)));
    }
    let bounds = [mid, lower, upper, step];
    if let Some(x) = x.as_primitive_opt::<Float32Type>() {
        return Ok(of_numbers(x, f64::from, bounds));
    }
    if let (DataType::Decimal128(_, scale), Some(x)) = (x.data_type(), x.as_primitive_opt::<Decimal128Type>()) {
        return Ok(match are_narrow(x.values()) {
            true => of_numbers(x, float_of_narrow_decimal(*scale), bounds),
            false => of_numbers(x, float_of_decimal(*scale), bounds),
        });
    }
    let x = safe_cast(x, &DataType::Float64)?;
    Ok(of_numbers(as_float64_array(&x)?, f64::from, bounds))
}

/// Division by a power of two is multiplication by its inverse, which is as exact and faster.
fn of_numbers<T: ArrowPrimitiveType>(
    x: &PrimitiveArray<T>,
    float: impl Fn(T::Native) -> f64,
    bounds: [f64; 4],
) -> Int64Array {
    let [mid, lower, upper, step] = bounds;
    let inverse = 1.0 / step;
    let power_of_two = |x: f64| x.is_normal() && x.to_bits() << 12 == 0;
    match power_of_two(step) && power_of_two(inverse) {
        true => rounded(x, float, move |x| (x.clamp(lower, upper) - mid) * inverse, bounds),
        false => rounded(x, float, move |x| (x.clamp(lower, upper) - mid) / step, bounds),
    }
}

/// `steps` rounded; NULL of NaN.
fn rounded<T: ArrowPrimitiveType>(
    x: &PrimitiveArray<T>,
    float: impl Fn(T::Native) -> f64,
    steps: impl Fn(f64) -> f64,
    [mid, lower, upper, step]: [f64; 4],
) -> Int64Array {
    let few = [lower, upper].iter().all(|bound| ((bound - mid) / step).abs() < FEW_STEPS);
    match few {
        true => each(x, float, |x| nearest_of_few(steps(x))),
        false => each(x, float, |x| steps(x).round_ties_even() as i64),
    }
}

/// A whole number for each number; NULL for NULL and NaN.
pub(crate) fn each<T: ArrowPrimitiveType>(
    x: &PrimitiveArray<T>,
    float: impl Fn(T::Native) -> f64,
    whole: impl Fn(f64) -> i64,
) -> Int64Array {
    let numbers: ScalarBuffer<i64> = x.values().iter().map(|x| whole(float(*x))).collect();
    let is_nan = |x: &T::Native| -> bool { float(*x).is_nan() };
    // A pass for itself: both are made of several values at once so.
    let nan = T::DATA_TYPE.is_floating() && x.values().iter().fold(false, |nan, x| nan | is_nan(x));
    let present = nan.then(|| NullBuffer::from_iter(x.values().iter().map(|x| !is_nan(x))));
    Int64Array::new(numbers, NullBuffer::union(x.nulls(), present.as_ref()))
}

/// 2⁵¹.
const FEW_STEPS: f64 = 2_251_799_813_685_248.0;

/// The nearest integer, ties to even, of what is below [`FEW_STEPS`]: with 1.5·2⁵² added no fraction is left, and the bits of the sum
/// count in ones.
#[inline]
fn nearest_of_few(x: f64) -> i64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    (x + SHIFT).to_bits() as i64 - SHIFT.to_bits() as i64
}

/// The bounds as integers, where the lattice is that of the integers: steps of 1 from 0. Beyond 2⁵³
/// a Float64 literal is not the integer that was written, so that the float path's rounding is no
/// worse.
fn whole(mid: f64, lower: f64, upper: f64, step: f64) -> Option<(i64, i64)> {
    let exact = |bound: f64| bound.fract() == 0.0 && bound.abs() <= 9_007_199_254_740_992.0;
    (mid == 0.0 && step == 1.0 && exact(lower) && exact(upper)).then_some((lower as i64, upper as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float32Array, Float64Array};

    /// Decimals are the floats that they are cast to.
    #[test]
    fn decimals_fall_where_their_floats_do() {
        let numbers = (-3000..9000_i128)
            .map(|number| (number % 7 != 0).then_some(number * 13 - (number % 3) * i128::from(i64::MAX)));
        let decimals = numbers.collect::<arrow::array::Decimal128Array>().with_precision_and_scale(38, 2).unwrap();
        let decimals: ArrayRef = Arc::new(decimals);
        let floats = safe_cast(&decimals, &DataType::Float64).unwrap();
        for bounds in [[25.0, 0.0, 50.0, 0.125], [0.0, -1e6, 1e6, 0.3], [0.0, -1e30, 1e30, 1.0]] {
            let lattice = on_lattice(&decimals, bounds).unwrap();
            assert_eq!(lattice, on_lattice(&floats, bounds).unwrap());
            assert!(lattice.iter().flatten().collect::<std::collections::BTreeSet<_>>().len() > 100);
        }
    }

    #[test]
    fn clamps_rounds_to_even_and_is_total() {
        let inputs =
            [Some(f64::NAN), None, Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(41.25), Some(40.75), Some(1e300)];
        let x: ArrayRef = Arc::new(Float64Array::from(inputs.to_vec()));
        let lattice = on_lattice(&x, [40.0, 0.0, 80.0, 0.5]).unwrap();
        let expected = [None, None, Some(80), Some(-80), Some(2), Some(2), Some(80)];
        assert_eq!(lattice, Int64Array::from(expected.to_vec()));
    }

    #[test]
    fn the_short_way_of_rounding_is_the_long_one() {
        let edges = [0.0, -0.0, 0.5, 1.5, -0.5, -2.5, 0.49999999999999994, FEW_STEPS - 0.5, 0.5 - FEW_STEPS];
        let spread = (0..200_000).map(|i| f64::from(i - 100_000) * 0.003_906_25 * 1.7);
        for x in edges.into_iter().chain(spread) {
            assert_eq!(nearest_of_few(x), x.round_ties_even() as i64, "{x}");
        }
    }

    /// Steps of which the inverse is exact, those of which it is not, and bounds beyond the short way.
    #[test]
    fn every_way_gives_the_same_places() {
        let values: Vec<f32> = (-4_000..4_000).map(|i| i as f32 * 0.37).chain([f32::NAN, f32::INFINITY]).collect();
        for (lower, upper, step) in
            [(-900.0, 900.0, 0.125), (-900.0, 900.0, 0.3), (-1e30, 1e30, 0.3), (-1e30, 1e30, 0.5)]
        {
            let wide: ArrayRef = Arc::new(values.iter().map(|x| Some(f64::from(*x))).collect::<Float64Array>());
            let narrow: ArrayRef = Arc::new(values.iter().map(|x| Some(*x)).collect::<Float32Array>());
            let place = |x: f32| (f64::from(x).clamp(lower, upper) / step).round_ties_even() as i64;
            let expected: Int64Array = values.iter().map(|x| (!x.is_nan()).then(|| place(*x))).collect();
            assert_eq!(on_lattice(&wide, [0.0, lower, upper, step]).unwrap(), expected, "{upper} {step}");
            assert_eq!(on_lattice(&narrow, [0.0, lower, upper, step]).unwrap(), expected, "{upper} {step}");
        }
    }

    #[test]
    fn integers_stay_exact() {
        let big = 9_007_199_254_740_991;
        let x: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(big), None, Some(3)]));
        let lattice = on_lattice(&x, [0.0, -5.0, 9_007_199_254_740_992.0, 1.0]).unwrap();
        assert_eq!(lattice, Int64Array::from(vec![Some(-5), Some(big), None, Some(3)]));
    }
}
