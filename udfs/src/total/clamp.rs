//! `clamp(x, lo, hi)`: x held within bounds, in x's own type.
//!
//! In: three numbers. Out: x's type; NULL where any is NULL or NaN, or lo is above hi. For an
//! integer x the bounds are rounded inwards and held within its type. Must never: fail, or give a
//! value outside the bounds.

use crate::safe_cast::safe_cast;
use arrow::array::{Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array};
use arrow::compute::kernels::{cmp, zip::zip};
use arrow::compute::{nullif, or_kleene};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::cast::{as_decimal128_array, as_float64_array};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// The function `clamp`.
pub fn clamp() -> Arc<ScalarUDF> {
    let signature = Signature::any(3, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Clamp { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Clamp {
    signature: Signature,
}

/// Wide enough for every integer type.
const WIDE: DataType = DataType::Decimal128(38, 0);

impl ScalarUDFImpl for Clamp {
    fn name(&self) -> &str {
        "clamp"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let number = |data_type: &DataType| data_type.is_numeric() || data_type.is_null();
        match arg_types {
            [x, lo, hi] if number(x) && number(lo) && number(hi) => Ok(x.clone()),
            _ => plan_err!("clamp takes three numbers"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [x, lo, hi] = args.args.as_slice() else {
            return internal_err!("clamp takes three numbers");
        };
        let all_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let result = within(&x.to_array(rows)?, &lo.to_array(rows)?, &hi.to_array(rows)?)?;
        if all_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn within(x: &ArrayRef, lo: &ArrayRef, hi: &ArrayRef) -> Result<ArrayRef> {
    let data_type = x.data_type().clone();
    if data_type.is_null() {
        return Ok(Arc::clone(x));
    }
    let (x, lo, hi) = if data_type.is_integer() {
        (safe_cast(x, &WIDE)?, inwards(lo, f64::ceil)?, inwards(hi, f64::floor)?)
    } else {
        (Arc::clone(x), safe_cast(lo, &data_type)?, safe_cast(hi, &data_type)?)
    };
    let raised = zip(&filled(cmp::lt(&x, &lo)?), &lo, &x)?;
    let held = zip(&filled(cmp::gt(&raised, &hi)?), &hi, &raised)?;
    let mut nothing = filled(cmp::gt(&lo, &hi)?);
    for side in [&x, &lo, &hi] {
        nothing = or_kleene(&nothing, &no_number(side)?)?;
    }
    let held = nullif(&held, &nothing)?;
    if data_type.is_integer() { narrowed(&held, &data_type) } else { Ok(held) }
}

/// The value in x's integer type: one that was held by a bound beyond the type is the type's end.
fn narrowed(held: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let end = |value: Option<ScalarValue>| -> Result<i128> {
        let value = value.map(|value| safe_cast(&value.to_array()?, &WIDE)).transpose()?;
        match value {
            Some(value) => Ok(as_decimal128_array(&value)?.value(0)),
            None => internal_err!("an integer type has ends"),
        }
    };
    let (least, most) = (end(ScalarValue::min(data_type))?, end(ScalarValue::max(data_type))?);
    let held: Decimal128Array = as_decimal128_array(held)?.unary::<_, Decimal128Type>(|value| value.clamp(least, most));
    safe_cast(&(Arc::new(held.with_data_type(WIDE)) as ArrayRef), data_type)
}

/// A bound as a wide integer, rounded towards the inside; beyond 2¹²⁰ it is held there.
fn inwards(bound: &ArrayRef, round: fn(f64) -> f64) -> Result<ArrayRef> {
    if bound.data_type().is_integer() {
        return safe_cast(bound, &WIDE);
    }
    let bound = safe_cast(bound, &DataType::Float64)?;
    let bound: &Float64Array = as_float64_array(&bound)?;
    let limit = 2_f64.powi(120);
    let whole = bound.iter().map(|bound| {
        let bound = bound.filter(|bound| !bound.is_nan())?;
        Some(round(bound).clamp(-limit, limit) as i128)
    });
    Ok(Arc::new(whole.collect::<Decimal128Array>().with_data_type(WIDE)))
}

/// NULL or NaN.
fn no_number(array: &ArrayRef) -> Result<BooleanArray> {
    let null = arrow::compute::is_null(array)?;
    if !array.data_type().is_floating() {
        return Ok(null);
    }
    // Numeric casts keep NaN as NaN, whichever float it is.
    let float = safe_cast(array, &DataType::Float64)?;
    let nan = as_float64_array(&float)?.values().iter().map(|x| x.is_nan());
    Ok(or_kleene(&null, &BooleanArray::from(nan.collect::<Vec<_>>()))?)
}

/// NULL as false.
fn filled(mask: BooleanArray) -> BooleanArray {
    mask.iter().map(|value| Some(value.unwrap_or(false))).collect()
}
