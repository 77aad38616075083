//! Arrow columns → values as Postgres sends them, in text or in binary.
//!
//! In: one column of a released batch and the field it is described by. Out: bytes of one value at a time.
//! A column is matched to its type once; per value there is no more than one branch on it. What has no counterpart is refused,
//! never printed by its Debug form.

use std::fmt::Write;

use arrow::array::timezone::Tz;
use arrow::array::types::{
    Date32Type, Decimal128Type, Decimal256Type, DecimalType, DurationMicrosecondType, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, LargeBinaryArray, LargeStringArray, ListArray, PrimitiveArray, RecordBatch,
    StringArray, StringViewArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema};
use bytes::{BufMut, BytesMut};
use pgwire::api::results::FieldFormat;

use super::errors::{Failure, Flow, refuse};
use super::types::{canonical, column_type, form_of, pg_type};
use super::{numeric, text};
use crate::error::{Error, SqlState};
use crate::policy::{TextForm, uuid};

/// Postgres counts from 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

pub(super) struct Column {
    array: ArrayRef,
    values: Values,
    /// Of texts that stand for another type.
    of: Option<TextForm>,
}

enum Values {
    Bool(BooleanArray),
    Int2(PrimitiveArray<Int16Type>),
    Int4(PrimitiveArray<Int32Type>),
    Int8(PrimitiveArray<Int64Type>),
    Float4(PrimitiveArray<Float32Type>),
    Float8(PrimitiveArray<Float64Type>),
    Numeric(PrimitiveArray<Decimal128Type>, u8, i8),
    LongNumeric(PrimitiveArray<Decimal256Type>, u8, i8),
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
    Bytea(LargeBinaryArray),
    Date(PrimitiveArray<Date32Type>),
    Time(PrimitiveArray<Time64MicrosecondType>),
    Timestamp(PrimitiveArray<TimestampMicrosecondType>),
    Timestamptz(PrimitiveArray<TimestampMicrosecondType>, Tz),
    Duration(PrimitiveArray<DurationMicrosecondType>),
    Interval(PrimitiveArray<IntervalMonthDayNanoType>),
    List(ListArray, Box<Column>, u32),
}

/// The columns of a batch, which must be what `described` told the client.
pub(super) fn columns(described: &Schema, batch: &RecordBatch) -> Flow<Vec<Column>> {
    if described.fields().len() != batch.num_columns() {
        return Err(Failure::Statement(Error::internal()));
    }
    let fields = described.fields().iter().zip(batch.schema_ref().fields().iter());
    fields
        .zip(batch.columns())
        .map(|((described, field), array)| {
            let of = column_type(described)?;
            if of != column_type(field)? {
                return Err(Failure::Statement(Error::internal()));
            }
            Ok(Column { of: form_of(&of), ..Column::new(array)? })
        })
        .collect()
}

impl Column {
    fn new(array: &ArrayRef) -> Flow<Self> {
        let data_type = canonical(array.data_type())?;
        let array = if array.data_type() == &data_type {
            array.clone()
        } else {
            let strict = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, &data_type, &strict).map_err(|_| out_of_range())?
        };
        let values = Values::new(&array, &data_type)?;
        Ok(Self { array, values, of: None })
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// A value with its length before it, as in DataRow.
    pub fn put(&self, row: usize, format: FieldFormat, out: &mut BytesMut) -> Flow {
        if self.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        let start = out.len();
        out.put_i32(0);
        match format {
            FieldFormat::Text => self.text(row, out)?,
            FieldFormat::Binary => self.binary(row, out)?,
        }
        let length = i32::try_from(out.len() - start - 4).map_err(|_| too_long())?;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Of a value that is not null.
    pub fn text(&self, row: usize, out: &mut BytesMut) -> Flow {
        match &self.values {
            Values::Bool(values) => out.put_u8(if values.value(row) { b't' } else { b'f' }),
            Values::Int2(values) => print(out, values.value(row)),
            Values::Int4(values) => print(out, values.value(row)),
            Values::Int8(values) => print(out, values.value(row)),
            Values::Float4(values) => text::float4(values.value(row), out),
            Values::Float8(values) => text::float(values.value(row), out),
            Values::Numeric(values, precision, scale) => {
                out.put_slice(Decimal128Type::format_decimal(values.value(row), *precision, *scale).as_bytes())
            }
            Values::LongNumeric(values, precision, scale) => {
                out.put_slice(Decimal256Type::format_decimal(values.value(row), *precision, *scale).as_bytes())
            }
            Values::Text(values) => out.put_slice(values.value(row).as_bytes()),
            Values::LargeText(values) => out.put_slice(values.value(row).as_bytes()),
            Values::TextView(values) => out.put_slice(values.value(row).as_bytes()),
            Values::Bytea(values) => text::bytea(values.value(row), out),
            Values::Date(values) => {
                text::date(values.value(row), out).ok_or_else(out_of_range)?;
            }
            Values::Time(values) => text::time(values.value(row), out),
            Values::Timestamp(values) => {
                text::timestamp(values.value(row), out).ok_or_else(out_of_range)?;
            }
            Values::Timestamptz(values, zone) => {
                text::timestamptz(values.value(row), *zone, out).ok_or_else(out_of_range)?;
            }
            Values::Duration(values) => text::interval(0, 0, values.value(row), out),
            Values::Interval(values) => {
                let value = values.value(row);
                text::interval(value.months, value.days, value.nanoseconds / 1000, out);
            }
            Values::List(list, elements, _) => list_text(list, elements, row, out)?,
        }
        Ok(())
    }

    fn binary(&self, row: usize, out: &mut BytesMut) -> Flow {
        match &self.values {
            Values::Bool(values) => out.put_u8(u8::from(values.value(row))),
            Values::Int2(values) => out.put_i16(values.value(row)),
            Values::Int4(values) => out.put_i32(values.value(row)),
            Values::Int8(values) => out.put_i64(values.value(row)),
            Values::Float4(values) => out.put_f32(values.value(row)),
            Values::Float8(values) => out.put_f64(values.value(row)),
            Values::Numeric(values, precision, scale) => {
                numeric::write(&Decimal128Type::format_decimal(values.value(row), *precision, *scale), out)
            }
            Values::LongNumeric(values, precision, scale) => {
                numeric::write(&Decimal256Type::format_decimal(values.value(row), *precision, *scale), out)
            }
            Values::Text(_) | Values::LargeText(_) | Values::TextView(_) => self.form(row, out)?,
            Values::Bytea(values) => out.put_slice(values.value(row)),
            Values::Date(values) => {
                let days = values.value(row).checked_sub(EPOCH_DAYS);
                out.put_i32(days.ok_or_else(out_of_range)?);
            }
            Values::Time(values) => out.put_i64(values.value(row)),
            Values::Timestamp(values) | Values::Timestamptz(values, _) => {
                let micros = values.value(row).checked_sub(EPOCH_MICROS);
                out.put_i64(micros.ok_or_else(out_of_range)?);
            }
            Values::Duration(values) => put_interval(values.value(row), 0, 0, out),
            Values::Interval(values) => {
                let value = values.value(row);
                put_interval(value.nanoseconds / 1000, value.days, value.months, out);
            }
            Values::List(list, elements, oid) => list_binary(list, elements, *oid, row, out)?,
        }
        Ok(())
    }
}

impl Column {
    /// A text in binary, as what it stands for.
    fn form(&self, row: usize, out: &mut BytesMut) -> Flow {
        /// As in `jsonb_send`.
        const JSONB_VERSION: u8 = 1;
        match self.of {
            None | Some(TextForm::Json) => self.text(row, out),
            Some(TextForm::Jsonb) => {
                out.put_u8(JSONB_VERSION);
                self.text(row, out)
            }
            Some(TextForm::Uuid) => {
                let mut text = BytesMut::new();
                self.text(row, &mut text)?;
                let bytes = std::str::from_utf8(&text).ok().and_then(uuid);
                out.put_slice(&bytes.ok_or_else(out_of_range)?);
                Ok(())
            }
        }
    }
}

impl Values {
    /// `array` has the canonical type `data_type`, so none of these conversions can fail.
    fn new(array: &ArrayRef, data_type: &DataType) -> Flow<Self> {
        use DataType as D;
        Ok(match data_type {
            D::Boolean => Self::Bool(array.as_boolean().clone()),
            D::Int16 => Self::Int2(array.as_primitive().clone()),
            D::Int32 => Self::Int4(array.as_primitive().clone()),
            D::Int64 => Self::Int8(array.as_primitive().clone()),
            D::Float32 => Self::Float4(array.as_primitive().clone()),
            D::Float64 => Self::Float8(array.as_primitive().clone()),
            D::Decimal128(precision, scale) => Self::Numeric(array.as_primitive().clone(), *precision, *scale),
            D::Decimal256(precision, scale) => Self::LongNumeric(array.as_primitive().clone(), *precision, *scale),
            D::Utf8 => Self::Text(array.as_string().clone()),
            D::LargeUtf8 => Self::LargeText(array.as_string().clone()),
            D::Utf8View => Self::TextView(array.as_string_view().clone()),
            D::LargeBinary => Self::Bytea(array.as_binary().clone()),
            D::Date32 => Self::Date(array.as_primitive().clone()),
            D::Time64(_) => Self::Time(array.as_primitive().clone()),
            D::Timestamp(_, None) => Self::Timestamp(array.as_primitive().clone()),
            D::Timestamp(_, Some(zone)) => {
                let zone = zone.parse().map_err(|_| out_of_range())?;
                Self::Timestamptz(array.as_primitive().clone(), zone)
            }
            D::Duration(_) => Self::Duration(array.as_primitive().clone()),
            D::Interval(_) => Self::Interval(array.as_primitive().clone()),
            D::List(element) => {
                let list: ListArray = array.as_list().clone();
                let elements = Column::new(list.values())?;
                let oid = pg_type(element.data_type())?.oid();
                Self::List(list, Box::new(elements), oid)
            }
            _ => return Err(Failure::Statement(Error::internal())),
        })
    }
}

/// Writing to memory does not fail.
fn print(out: &mut BytesMut, value: impl std::fmt::Display) {
    let _ = write!(out, "{value}");
}

fn put_interval(micros: i64, days: i32, months: i32, out: &mut BytesMut) {
    out.put_i64(micros);
    out.put_i32(days);
    out.put_i32(months);
}

fn element_rows(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    // Offsets of a list are never negative.
    let at = |index: usize| usize::try_from(offsets[index]).unwrap_or(0);
    at(row)..at(row + 1)
}

fn list_text(list: &ListArray, elements: &Column, row: usize, out: &mut BytesMut) -> Flow {
    let mut scratch = BytesMut::new();
    out.put_u8(b'{');
    for (position, element) in element_rows(list, row).enumerate() {
        if position > 0 {
            out.put_u8(b',');
        }
        if elements.is_null(element) {
            out.put_slice(b"NULL");
        } else {
            scratch.clear();
            elements.text(element, &mut scratch)?;
            text::element(&scratch, out);
        }
    }
    out.put_u8(b'}');
    Ok(())
}

/// As `array_send`: dimensions, whether there are nulls, the element's type, then length and lower bound, then the elements.
fn list_binary(list: &ListArray, elements: &Column, oid: u32, row: usize, out: &mut BytesMut) -> Flow {
    let rows = element_rows(list, row);
    let nulls = rows.clone().any(|element| elements.is_null(element));
    out.put_i32(i32::from(!rows.is_empty()));
    out.put_i32(i32::from(nulls));
    out.put_u32(oid);
    if !rows.is_empty() {
        out.put_i32(i32::try_from(rows.len()).map_err(|_| too_long())?);
        out.put_i32(1);
    }
    for element in rows {
        elements.put(element, FieldFormat::Binary, out)?;
    }
    Ok(())
}

fn out_of_range() -> Failure {
    refuse(SqlState::DataException, "value out of range of its type")
}

fn too_long() -> Failure {
    refuse(SqlState::ProgramLimitExceeded, "a value is too long for the protocol")
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
