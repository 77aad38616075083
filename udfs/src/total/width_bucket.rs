//! `width_bucket(x, lo, hi, n)` and `width_bucket(x, thresholds)`: which of n equally wide buckets a value falls into, as in Postgres.
//!
//! In: numbers. Out: Int32, 0 below `lo` and n + 1 from `hi` on; counted downwards where `lo` is above `hi`. With an array: how
//! many of its thresholds are at most x. NULL where an argument is NULL or no number, where n is below 1, or lo equals hi: Postgres
//! raises an error for those. Must never: fail.

use crate::safe_cast::safe_cast;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array};
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// The function `width_bucket`.
pub fn width_bucket() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(WidthBucket { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WidthBucket {
    signature: Signature,
}

impl ScalarUDFImpl for WidthBucket {
    fn name(&self) -> &str {
        "width_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let number = |t: &DataType| t.is_numeric() || t.is_null();
        match arg_types {
            [x, lo, hi, n] if [x, lo, hi, n].into_iter().all(number) => Ok(vec![DataType::Float64; 4]),
            [x, DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _)]
                if number(x) && number(of.data_type()) =>
            {
                let thresholds = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
                Ok(vec![DataType::Float64, thresholds])
            }
            _ => {
                plan_err!("width_bucket takes a number, two bounds and a count, or a number and an array of thresholds")
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let buckets: Int32Array = match arrays.as_slice() {
            [x, lo, hi, n] => {
                let [x, lo, hi, n] = [floats(x)?, floats(lo)?, floats(hi)?, floats(n)?];
                (0..rows).map(|row| bucket(at(&x, row)?, at(&lo, row)?, at(&hi, row)?, at(&n, row)?)).collect()
            }
            [x, thresholds] => {
                let (x, thresholds) = (floats(x)?, thresholds.as_list::<i32>());
                let of = |row: usize| {
                    let x = at(&x, row).filter(|x| !x.is_nan())?;
                    let list = thresholds.is_valid(row).then(|| thresholds.value(row))?;
                    Some(list.as_primitive::<Float64Type>().iter().flatten().filter(|t| *t <= x).count() as i32)
                };
                (0..rows).map(of).collect()
            }
            _ => return plan_err!("width_bucket takes four arguments, or two"),
        };
        if all_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&buckets, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(buckets)))
    }
}

fn floats(array: &ArrayRef) -> Result<Float64Array> {
    Ok(safe_cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

fn at(array: &Float64Array, row: usize) -> Option<f64> {
    array.is_valid(row).then(|| array.value(row))
}

fn bucket(x: f64, lo: f64, hi: f64, n: f64) -> Option<i32> {
    let n = n.trunc();
    let sound = !x.is_nan() && lo.is_finite() && hi.is_finite() && lo != hi && n >= 1.0 && n < f64::from(i32::MAX);
    if !sound {
        return None;
    }
    let (x, lo, hi) = if lo < hi { (x, lo, hi) } else { (-x, -lo, -hi) };
    Some(if x < lo {
        0
    } else if x >= hi {
        n as i32 + 1
    } else {
        // Halved, so that the width of the widest range is a number.
        (((x / 2.0 - lo / 2.0) / (hi / 2.0 - lo / 2.0) * n).floor().min(n - 1.0)) as i32 + 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_postgres_has_it() {
        let cases = [
            (5.35, 0.024, 10.06, 5.0, Some(3)),
            (-1.0, 0.0, 10.0, 5.0, Some(0)),
            (10.0, 0.0, 10.0, 5.0, Some(6)),
            (0.0, 0.0, 10.0, 5.0, Some(1)),
            (0.0, 10.0, 0.0, 5.0, Some(6)),
            (10.0, 10.0, 0.0, 5.0, Some(1)),
            (3.0, 10.0, 0.0, 5.0, Some(4)),
            (f64::INFINITY, 0.0, 1.0, 2.0, Some(3)),
            (f64::NAN, 0.0, 1.0, 2.0, None),
            (0.5, 0.0, 0.0, 2.0, None),
            (0.5, 0.0, 1.0, 0.0, None),
            (0.5, 0.0, 1.0, 1e300, None),
            (0.5, f64::MIN, f64::MAX, 2.0, Some(2)),
        ];
        for (x, lo, hi, n, expected) in cases {
            assert_eq!(bucket(x, lo, hi, n), expected, "{x} {lo} {hi} {n}");
        }
    }
}
