//! `dp_bin(x, lower, width, leaves) -> Int64`: the leaf of a value, of `leaves` that are `width` wide and begin at `lower`.
//!
//! In: any number. Out: ⌊(x − lower) / width⌋ held within 0..leaves; NULL for NULL and NaN. Total: no input is an error. Must never:
//! name a leaf that is not there. **Sensitivity, Noise, Cost** none; what a leaf may add up to is bounded by `dp_histogram`.
//!
//! `dp_hash(x) -> Int64`: a number that stands for a value of any type, so that equal values have equal numbers; NULL for NULL. Must
//! never: leave the rows below a release; it has no key and hides nothing.

use crate::lattice::each;
use crate::safe_cast::safe_cast;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Float32Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::cast::as_float64_array;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

pub fn dp_bin_udf() -> Arc<ScalarUDF> {
    udf(Numbered::Bin)
}

pub fn dp_bin(x: Expr, lower: Expr, width: Expr, leaves: Expr) -> Expr {
    dp_bin_udf().call(vec![x, lower, width, leaves])
}

pub fn dp_hash_udf() -> Arc<ScalarUDF> {
    udf(Numbered::Hash)
}

pub fn dp_hash(x: Expr) -> Expr {
    dp_hash_udf().call(vec![x])
}

fn udf(numbered: Numbered) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Number { numbered, signature }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Numbered {
    Bin,
    Hash,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Number {
    numbered: Numbered,
    signature: Signature,
}

impl ScalarUDFImpl for Number {
    fn name(&self) -> &str {
        match self.numbered {
            Numbered::Bin => "dp_bin",
            Numbered::Hash => "dp_hash",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.numbered, arg_types) {
            (Numbered::Bin, [x, _, _, _]) if x.is_numeric() || x.is_null() => {
                Ok(vec![x.clone(), DataType::Float64, DataType::Float64, DataType::Int64])
            }
            (Numbered::Hash, [x]) => Ok(vec![x.clone()]),
            (Numbered::Bin, _) => plan_err!("dp_bin takes a number and three literals"),
            (Numbered::Hash, _) => plan_err!("dp_hash takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let x = args.args[0].to_array(if scalar { 1 } else { args.number_rows })?;
        let numbers = match self.numbered {
            Numbered::Bin => bins(&x, Leaves::read(&args)?)?,
            Numbered::Hash => hashes(&x)?,
        };
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&numbers, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(numbers)))
    }
}

struct Leaves {
    lower: f64,
    width: f64,
    count: i64,
}

impl Leaves {
    fn read(args: &ScalarFunctionArgs) -> Result<Self> {
        match args.args.get(1..) {
            Some(
                [
                    ColumnarValue::Scalar(ScalarValue::Float64(Some(lower))),
                    ColumnarValue::Scalar(ScalarValue::Float64(Some(width))),
                    ColumnarValue::Scalar(ScalarValue::Int64(Some(count))),
                ],
            ) if lower.is_finite() && width.is_finite() && *width > 0.0 && *count > 0 => {
                Ok(Self { lower: *lower, width: *width, count: *count })
            }
            Some(_) | None => {
                plan_err!("dp_bin: lower, width and leaves must be literals, and the last two above zero")
            }
        }
    }
}

fn floats(x: &ArrayRef) -> Result<ArrayRef> {
    safe_cast(x, &DataType::Float64)
}

fn bins(x: &ArrayRef, leaves: Leaves) -> Result<Int64Array> {
    // Above zero to leave the fraction out is to round down; all below is the first leaf.
    let leaf = |x: f64| (((x - leaves.lower) / leaves.width) as i64).clamp(0, leaves.count - 1);
    if let Some(x) = x.as_primitive_opt::<Float32Type>() {
        return Ok(each(x, f64::from, leaf));
    }
    let x = floats(x)?;
    Ok(each(as_float64_array(&x)?, f64::from, leaf))
}

/// Zero has one number whatever its sign, and so has NaN.
fn hashes(x: &ArrayRef) -> Result<Int64Array> {
    let x = if x.data_type().is_floating() {
        let x = floats(x)?;
        let one = as_float64_array(&x)?.iter().map(|x| x.map(|x| if x.is_nan() { f64::NAN } else { x + 0.0 }));
        Arc::new(one.collect::<Float64Array>()) as ArrayRef
    } else {
        Arc::clone(x)
    };
    let rows = RowConverter::new(vec![SortField::new(x.data_type().clone())])?.convert_columns(&[Arc::clone(&x)])?;
    let nulls = x.logical_nulls();
    let number = |(row, value): (usize, arrow::row::Row)| {
        let mut hasher = DefaultHasher::new();
        hasher.write(value.as_ref());
        nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then(|| hasher.finish() as i64)
    };
    Ok(rows.iter().enumerate().map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float32Array, StringArray};
    use std::collections::HashSet;

    #[test]
    fn a_bin_is_always_there() {
        let x =
            [Some(f64::NAN), None, Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(-1e308), Some(3.0), Some(2.99)];
        let x: ArrayRef = Arc::new(Float64Array::from(x.to_vec()));
        let found = bins(&x, Leaves { lower: 1.0, width: 0.5, count: 8 }).unwrap();
        let expected = [None, None, Some(7), Some(0), Some(0), Some(4), Some(3)];
        assert_eq!(found, Int64Array::from(expected.to_vec()));
    }

    #[test]
    fn equal_values_have_equal_numbers() {
        let of = |x: ArrayRef| hashes(&x).unwrap();
        let x = of(Arc::new(Float64Array::from(vec![Some(0.0), Some(-0.0), Some(f64::NAN), Some(-f64::NAN), None])));
        assert!(x.value(0) == x.value(1) && x.value(2) == x.value(3) && x.value(0) != x.value(2) && x.is_null(4));
        assert_eq!(of(Arc::new(Float32Array::from(vec![1.5]))), of(Arc::new(Float64Array::from(vec![1.5]))));
        let words: Vec<String> = (0..10_000).map(|i| i.to_string()).collect();
        let numbers = of(Arc::new(StringArray::from(words)));
        assert_eq!(numbers.values().iter().collect::<HashSet<_>>().len(), 10_000);
    }
}
