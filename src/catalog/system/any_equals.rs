//! `any_equals(array, x)`: what `x = ANY (array)` is planned as.
//!
//! In: an array or its text form, and a value. Out: is the value one of the elements; null where one of them is null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::functions::function;

/// `x = ANY (array)`, for arrays and for their text form `{a,b}`; elements are compared as text.
pub(super) fn any_equals() -> ScalarUDF {
    let body = |arrays: &[ArrayRef], rows| {
        let [array, wanted] = arrays else {
            return Err(DataFusionError::Internal("two arguments".to_owned()));
        };
        let wanted = cast(wanted, &DataType::Utf8)?;
        let wanted = wanted.as_string::<i32>();
        let found = (0..rows).map(|row| {
            if array.is_null(row) || wanted.is_null(row) {
                return Ok(None);
            }
            Ok(Some(elements(array, row)?.iter().any(|e| e == wanted.value(row))))
        });
        let found: BooleanArray = found.collect::<Result<_>>()?;
        Ok(Arc::new(found) as ArrayRef)
    };
    function("any_equals", DataType::Boolean, Arc::new(body))
}

fn elements(array: &ArrayRef, row: usize) -> Result<Vec<String>> {
    let values = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        _ => {
            let text = cast(array, &DataType::Utf8)?;
            let text = text.as_string::<i32>().value(row).trim();
            let inner = text.trim_start_matches('{').trim_end_matches('}');
            let parts = inner.split(',').map(|part| part.trim().trim_matches('"'));
            return Ok(parts.filter(|p| !p.is_empty()).map(str::to_owned).collect());
        }
    };
    let values = cast(&values, &DataType::Utf8)?;
    let values = values.as_string::<i32>();
    Ok(values.iter().flatten().map(str::to_owned).collect())
}
