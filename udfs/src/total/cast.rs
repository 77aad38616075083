//! `total_cast`: a cast that gives NULL where the engine's TRY_CAST fails nevertheless.
//!
//! In: any value. Out: a value of one fixed type, NULL for each row that it cannot be cast for. TRY_CAST is total between numbers,
//! texts and truth values; between times and anything else it fails for moments far away (no date for a timestamp in the year
//! 290000, no text for it). Must never: fail for a value.

use super::rows::rows_that_work;
use crate::safe_cast::safe_cast;
use arrow::array::Array;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// The cast to one type.
pub fn total_cast(to: DataType) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(TotalCast { signature: Signature::any(1, Volatility::Immutable), to }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TotalCast {
    signature: Signature,
    to: DataType,
}

impl ScalarUDFImpl for TotalCast {
    fn name(&self) -> &str {
        "total_cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), self.to.clone(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return internal_err!("total_cast takes one argument");
        };
        let scalar = matches!(value, ColumnarValue::Scalar(_));
        let from = value.to_array(if scalar { 1 } else { args.number_rows })?;
        let cast =
            rows_that_work(from.len(), &self.to, &|offset, length| safe_cast(&from.slice(offset, length), &self.to))?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&cast, 0)?));
        }
        Ok(ColumnarValue::Array(cast))
    }
}
