//! Values as a client sends them, as parameters or in rows, in text or in binary → values of the engine.
//!
//! In: bytes, their format, the Postgres type they are in and the Arrow type that the statement wants. Out: that value, or
//! 22P02 for a text, 22P03 for bytes. A value is never repeated in an error.

use std::sync::Arc;

use arrow::array::types::IntervalMonthDayNano;
use arrow::datatypes::DataType;
use bytes::Buf;
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;
use tokio_postgres::types::Kind;

use super::errors::{Failure, Flow, refuse};
use super::numeric;
use super::types::{canonical, form_of, pg_type};
use crate::error::{Error, SqlState};
use crate::policy::{TextForm, print_uuid};

const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// What a statement knows of one of its parameters.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub wire: Type,
    pub wanted: DataType,
}

/// An unsigned integer that is wanted is an OID: drivers that ask for types send those, and lists of them.
fn parameter_type(wanted: &DataType) -> Flow<Type> {
    match wanted {
        DataType::UInt32 => Ok(Type::OID),
        DataType::List(item) if item.data_type() == &DataType::UInt32 => Ok(Type::OID_ARRAY),
        _ => pg_type(&canonical(wanted)?),
    }
}

impl Parameter {
    /// `oid`: as the client declared it, or 0.
    pub fn new(oid: u32, wanted: &DataType) -> Flow<Self> {
        let declared = Type::from_oid(oid).filter(|declared| *declared != Type::UNKNOWN);
        Ok(Self {
            wire: match declared {
                Some(declared) => declared,
                None => parameter_type(wanted)?,
            },
            wanted: wanted.clone(),
        })
    }

    /// `position`: from 1, as in `$1`.
    pub fn decode(&self, bytes: Option<&[u8]>, format: FieldFormat, position: usize) -> Flow<ScalarValue> {
        let Some(bytes) = bytes else {
            return ScalarValue::try_new_null(&self.wanted).map_err(|_| Failure::Statement(Error::internal()));
        };
        let value = match format {
            FieldFormat::Text => std::str::from_utf8(bytes).ok().and_then(|text| match form_of(&self.wire) {
                Some(form) => from_text(&form.read(text)?, &self.wanted),
                None => from_text(text, &self.wanted),
            }),
            FieldFormat::Binary => from_binary(bytes, &self.wire).and_then(|value| value.cast_to(&self.wanted).ok()),
        };
        value.ok_or_else(|| {
            let name = self.wire.name();
            let sqlstate = match format {
                FieldFormat::Text => SqlState::InvalidTextRepresentation,
                FieldFormat::Binary => SqlState::InvalidBinaryRepresentation,
            };
            refuse(sqlstate, format!("invalid input for parameter ${position} of type {name}"))
        })
    }
}

pub(super) fn from_text(text: &str, wanted: &DataType) -> Option<ScalarValue> {
    let value = match canonical(wanted).ok()? {
        DataType::Boolean => ScalarValue::Boolean(Some(boolean(text)?)),
        DataType::LargeBinary => ScalarValue::Binary(Some(bytea(text)?)),
        DataType::List(element) => {
            let elements: Option<Vec<_>> = array_elements(text)?
                .iter()
                .map(|text| match text {
                    Some(text) => from_text(text, element.data_type()),
                    None => ScalarValue::try_new_null(element.data_type()).ok(),
                })
                .collect();
            list(&elements?, element.data_type())
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ScalarValue::from(text),
        _ => ScalarValue::from(text.trim()),
    };
    value.cast_to(wanted).ok()
}

fn list(elements: &[ScalarValue], of: &DataType) -> ScalarValue {
    ScalarValue::List(ScalarValue::new_list_nullable(elements, of))
}

/// As `boolin`: a prefix of a word, or one of its short forms.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Some(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// As `byteain`: `\x` and hexadecimal digits, or text with octal escapes.
pub(super) fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .map(|byte| char::from(byte).to_digit(16).map(|digit| digit as u8))
            .collect::<Option<_>>()?;
        let pairs = digits.chunks(2);
        return pairs.map(|pair| (pair.len() == 2).then(|| pair[0] << 4 | pair[1])).collect();
    }
    let mut bytes = text.bytes();
    let mut value = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        match bytes.next()? {
            b'\\' => value.push(b'\\'),
            first => {
                let octal = [first, bytes.next()?, bytes.next()?];
                let octal = std::str::from_utf8(&octal).ok()?;
                value.push(u8::from_str_radix(octal, 8).ok()?);
            }
        }
    }
    Some(value)
}

/// `{a,"b c",NULL}` → its elements. One dimension.
fn array_elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    if inner.trim().is_empty() {
        return Some(elements);
    }
    let mut chars = inner.chars().peekable();
    loop {
        while chars.next_if(|char| char.is_whitespace()).is_some() {}
        let mut element = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => element.push(chars.next()?),
                    char => element.push(char),
                }
            }
            while chars.next_if(|char| char.is_whitespace()).is_some() {}
            elements.push(Some(element));
        } else {
            while let Some(char) = chars.next_if(|char| *char != ',') {
                match char {
                    '{' | '}' | '"' => return None,
                    '\\' => element.push(chars.next()?),
                    char => element.push(char),
                }
            }
            let element = element.trim_end();
            if element.is_empty() {
                return None;
            }
            let null = element.eq_ignore_ascii_case("null");
            elements.push((!null).then(|| element.to_owned()));
        }
        match chars.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

pub(super) fn from_binary(bytes: &[u8], wire: &Type) -> Option<ScalarValue> {
    if let Kind::Array(element) = wire.kind() {
        return array(bytes, element);
    }
    Some(match *wire {
        Type::BOOL => ScalarValue::Boolean(Some(fixed::<1>(bytes)? != [0])),
        Type::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(fixed(bytes)?))),
        Type::INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(fixed(bytes)?))),
        Type::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(fixed(bytes)?))),
        Type::OID => ScalarValue::Int64(Some(u32::from_be_bytes(fixed(bytes)?).into())),
        Type::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(fixed(bytes)?))),
        Type::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(fixed(bytes)?))),
        // The cast that follows gives it the scale that is wanted.
        Type::NUMERIC => ScalarValue::Utf8(Some(numeric::read(bytes)?)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR => {
            ScalarValue::from(std::str::from_utf8(bytes).ok()?)
        }
        Type::JSON => ScalarValue::Utf8(Some(TextForm::Json.read(std::str::from_utf8(bytes).ok()?)?)),
        // A version stands before it.
        Type::JSONB => {
            let text = std::str::from_utf8(bytes.strip_prefix(&[1])?).ok()?;
            ScalarValue::Utf8(Some(TextForm::Jsonb.read(text)?))
        }
        Type::UUID => ScalarValue::Utf8(Some(print_uuid(fixed(bytes)?))),
        Type::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::DATE => {
            let days = i32::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_DAYS)?;
            ScalarValue::Date32(Some(days))
        }
        Type::TIME => ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(fixed(bytes)?))),
        Type::TIMESTAMP => ScalarValue::TimestampMicrosecond(Some(moment(bytes)?), None),
        Type::TIMESTAMPTZ => ScalarValue::TimestampMicrosecond(Some(moment(bytes)?), Some("+00:00".into())),
        Type::INTERVAL => {
            let mut bytes: &[u8] = &fixed::<16>(bytes)?;
            let nanoseconds = bytes.get_i64().checked_mul(1000)?;
            let (days, months) = (bytes.get_i32(), bytes.get_i32());
            let interval = IntervalMonthDayNano::new(months, days, nanoseconds);
            ScalarValue::IntervalMonthDayNano(Some(interval))
        }
        _ => return None,
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn moment(bytes: &[u8]) -> Option<i64> {
    i64::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_MICROS)
}

/// As `array_recv`, of one dimension.
fn array(mut bytes: &[u8], element: &Type) -> Option<ScalarValue> {
    const HEADER_BYTES: usize = 12;
    const DIMENSION_BYTES: usize = 8;
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    let (dimensions, _nulls, oid) = (bytes.get_i32(), bytes.get_i32(), bytes.get_u32());
    let of = super::types::declared_type(oid).ok()??;
    if oid != element.oid() || !(0..=1).contains(&dimensions) {
        return None;
    }
    let mut values = Vec::new();
    if dimensions == 1 {
        if bytes.len() < DIMENSION_BYTES {
            return None;
        }
        let (length, _lower_bound) = (bytes.get_i32(), bytes.get_i32());
        for _ in 0..length {
            let length = bytes.try_get_i32().ok()?;
            values.push(match usize::try_from(length) {
                Ok(length) => {
                    let (value, rest) = bytes.split_at_checked(length)?;
                    bytes = rest;
                    from_binary(value, element)?.cast_to(&of).ok()?
                }
                Err(_) => ScalarValue::try_new_null(&of).ok()?,
            });
        }
    }
    let array = ScalarValue::new_list_nullable(&values, &of);
    bytes.is_empty().then(|| ScalarValue::List(Arc::clone(&array)))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
