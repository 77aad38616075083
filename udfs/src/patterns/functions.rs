//! The three functions as the engine calls them. With one argument `to_date` and `to_timestamp` are the engine's own: of a text in
//! ISO form, and of seconds since 1970.

use super::number::{Number, NumberTemplate};
use super::template::Part;
use super::{number, read, template, write};
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// `to_char(date | timestamp | number, template)`.
pub fn to_char() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(ToChar { signature: Signature::user_defined(Volatility::Immutable) }))
}

/// `to_date(text, template)`, `to_date(text)`.
pub fn to_date() -> Arc<ScalarUDF> {
    reads(datafusion::functions::datetime::to_date(), false)
}

/// `date(x)`: `x::date`.
pub fn date() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Date { signature }))
}

/// `to_timestamp(text, template)`, in UTC; `to_timestamp(seconds)`.
pub fn to_timestamp() -> Arc<ScalarUDF> {
    let config = datafusion::config::ConfigOptions::default();
    reads(datafusion::functions::datetime::to_timestamp(&config), true)
}

fn reads(plain: Arc<ScalarUDF>, with_time: bool) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Reads { plain, with_time, signature }))
}

const UTC: &str = "+00";

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
}

/// What was made of the last template: most often there is one for all rows.
struct Last<T>(Option<(String, T)>);

impl<T> Last<T> {
    fn of(&mut self, text: &str, make: impl Fn(&str) -> Result<T>) -> Result<&T> {
        if self.0.as_ref().is_none_or(|(of, _)| of != text) {
            self.0 = Some((text.to_owned(), make(text)?));
        }
        match &self.0 {
            Some((_, made)) => Ok(made),
            None => exec_err!("no template"),
        }
    }
}

/// The two arguments as arrays; were both of them single values?
fn two(args: &ScalarFunctionArgs) -> Result<(ArrayRef, StringArray, bool)> {
    let [value, template] = args.args.as_slice() else {
        return exec_err!("a value and a template are needed");
    };
    let scalar = matches!((value, template), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
    let rows = if scalar { 1 } else { args.number_rows };
    let template = cast(&template.to_array(rows)?, &DataType::Utf8)?;
    Ok((value.to_array(rows)?, template.as_string::<i32>().clone(), scalar))
}

fn given(array: ArrayRef, scalar: bool) -> Result<ColumnarValue> {
    Ok(if scalar {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
    } else {
        ColumnarValue::Array(array)
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    signature: Signature,
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        "to_char"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, template] = arg_types else {
            return plan_err!("to_char takes a value and a template");
        };
        if !is_text(template) {
            return plan_err!("the template of to_char is a text");
        }
        let value = match value {
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            DataType::UInt64 => DataType::Float64,
            of if of.is_integer() => DataType::Int64,
            of if of.is_numeric() || of.is_null() => DataType::Float64,
            _ => return plan_err!("to_char takes a date, a timestamp or a number"),
        };
        Ok(vec![value, DataType::Utf8])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (value, templates, scalar) = two(&args)?;
        let (mut moments, mut numbers) = (Last::<Vec<Part>>(None), Last::<NumberTemplate>(None));
        let texts = (0..value.len()).map(|row| {
            if value.is_null(row) || templates.is_null(row) {
                return Ok(None);
            }
            let text = templates.value(row);
            Ok(Some(match value.data_type() {
                DataType::Timestamp(..) => {
                    let value = value.as_primitive::<TimestampMicrosecondType>().value(row);
                    write::moment(moments.of(text, template::parts)?, value)
                }
                DataType::Int64 => {
                    let value = value.as_primitive::<Int64Type>().value(row);
                    number::number(numbers.of(text, number::template)?, Number::Whole(value))
                }
                _ => {
                    let value = value.as_primitive::<Float64Type>().value(row);
                    number::number(numbers.of(text, number::template)?, Number::Float(value))
                }
            }))
        });
        given(Arc::new(texts.collect::<Result<StringArray>>()?), scalar)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Reads {
    /// With one argument.
    plain: Arc<ScalarUDF>,
    with_time: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Reads {
    fn name(&self) -> &str {
        if self.with_time { "to_timestamp" } else { "to_date" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(if self.with_time { DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())) } else { DataType::Date32 })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let of = self.return_type(&[])?;
        Ok(Arc::new(arrow::datatypes::Field::new(
            self.name(),
            of,
            args.arg_fields.iter().any(|field| field.is_nullable()),
        )))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [one] if self.with_time && one.is_numeric() => Ok(vec![DataType::Float64]),
            [one] if is_text(one) => Ok(vec![DataType::Utf8]),
            [DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)] => Ok(arg_types.to_vec()),
            [text, template] if is_text(text) && is_text(template) => Ok(vec![DataType::Utf8, DataType::Utf8]),
            _ if self.with_time => plan_err!("to_timestamp takes a text and a template, or seconds since 1970"),
            _ => plan_err!("to_date takes a text and a template"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let of = self.return_type(&[])?;
        if args.args.len() == 1 {
            let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
            let field = args.return_field.as_ref().clone().with_data_type(self.plain.return_type(&types)?);
            let args = ScalarFunctionArgs { return_field: Arc::new(field), ..args };
            return match self.plain.invoke_with_args(args)? {
                ColumnarValue::Scalar(value) => Ok(ColumnarValue::Scalar(value.cast_to(&of)?)),
                ColumnarValue::Array(values) => Ok(ColumnarValue::Array(cast(&values, &of)?)),
            };
        }
        let (value, templates, scalar) = two(&args)?;
        let texts = value.as_string::<i32>();
        let mut known = Last::<Vec<Part>>(None);
        let moments = (0..texts.len()).map(|row| {
            if texts.is_null(row) || templates.is_null(row) {
                return Ok(None);
            }
            read::moment(known.of(templates.value(row), template::parts)?, texts.value(row)).map(Some)
        });
        let moments = moments.collect::<Result<Vec<_>>>()?;
        if !self.with_time {
            let days = moments.into_iter().map(|moment| match moment {
                None => Ok(None),
                Some((days, _)) => i32::try_from(days).map(Some).or_else(|_| exec_err!("a date is out of range")),
            });
            return given(Arc::new(days.collect::<Result<Date32Array>>()?), scalar);
        }
        let microseconds = moments.into_iter().map(|moment| match moment {
            None => Ok(None),
            Some((days, of_day)) => {
                match days.checked_mul(86_400_000_000).and_then(|whole| whole.checked_add(of_day)) {
                    Some(microseconds) => Ok(Some(microseconds)),
                    None => exec_err!("a timestamp is out of range"),
                }
            }
        });
        let array: ArrayRef = Arc::new(microseconds.collect::<Result<TimestampMicrosecondArray>>()?.with_timezone(UTC));
        given(cast(&array, &of)?, scalar)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Date {
    signature: Signature,
}

impl ScalarUDFImpl for Date {
    fn name(&self) -> &str {
        "date"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)] => Ok(arg_types.to_vec()),
            [one] if is_text(one) => Ok(vec![DataType::Utf8]),
            _ => plan_err!("date takes a date, a timestamp or a text"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [value] => value.cast_to(&DataType::Date32, None),
            _ => exec_err!("date takes one argument"),
        }
    }
}
