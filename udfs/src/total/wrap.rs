//! `total(f)`: a scalar function that gives NULL where `f` fails.
//!
//! Same name, signature and return type as `f`. A batch that does not fail is computed once. Must
//! never: pass on `f`'s own `simplify`, which could put the failing original back into the plan. So
//! a function that *must* be simplified away (`coalesce`, `nvl`, `now`) is not to be wrapped: it
//! would give NULL throughout.

use super::rows::{caught, rows_that_work};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

/// The total version of a function.
pub fn total(inner: Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::new_from_impl(Total { inner })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Total {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Total {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    /// As the original's, but nullable: any row may come out as NULL.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let data_type = args.return_field.data_type().clone();
        let all_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        if all_scalar {
            let value = caught(|| self.inner.invoke_with_args(args)).and_then(|value| first(&value));
            return Ok(ColumnarValue::Scalar(match value {
                Ok(value) if value.data_type() == data_type => value,
                Ok(_) | Err(_) => ScalarValue::try_from(&data_type)?,
            }));
        }
        let compute = |offset, length| self.invoke_rows(&args, offset, length);
        Ok(ColumnarValue::Array(rows_that_work(args.number_rows, &data_type, &compute)?))
    }
}

impl Total {
    fn invoke_rows(&self, args: &ScalarFunctionArgs, offset: usize, length: usize) -> Result<ArrayRef> {
        let mut part = args.clone();
        part.number_rows = length;
        for arg in &mut part.args {
            if let ColumnarValue::Array(array) = arg {
                *array = array.slice(offset, length);
            }
        }
        self.inner.invoke_with_args(part)?.into_array(length)
    }
}

fn first(value: &ColumnarValue) -> Result<ScalarValue> {
    match value {
        ColumnarValue::Scalar(value) => Ok(value.clone()),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(array, 0),
    }
}
