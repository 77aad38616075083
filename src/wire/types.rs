//! Arrow types and Postgres types, one way and the other.
//!
//! In: fields of a schema, or type numbers that a client declared. Out: the counterpart, or 0A000. A list of what may pass:
//! what is not named here is refused, and so is an unreleased value, whatever its storage.

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;
use pgwire::messages::data::{FieldDescription, RowDescription};

use super::errors::{Failure, Flow, refuse};
use crate::error::{Error, SqlState};
use crate::policy::TextForm;

const EXTENSION_NAME: &str = "ARROW:extension:name";
const UNRELEASED: &str = "paravent.unreleased";

/// The Postgres type a column is shown as.
pub(super) fn column_type(field: &Field) -> Flow<Type> {
    refuse_unreleased(field)?;
    let data_type = canonical(field.data_type())?;
    let form = field.metadata().get(TextForm::KEY).and_then(|name| TextForm::by_name(name));
    Ok(match (pg_type(&data_type)?, form) {
        (Type::TEXT, Some(TextForm::Uuid)) => Type::UUID,
        (Type::TEXT, Some(TextForm::Json)) => Type::JSON,
        (Type::TEXT, Some(TextForm::Jsonb)) => Type::JSONB,
        (other, _) => other,
    })
}

/// The form of texts that stand for such a type.
pub(super) fn form_of(of: &Type) -> Option<TextForm> {
    match *of {
        Type::UUID => Some(TextForm::Uuid),
        Type::JSON => Some(TextForm::Json),
        Type::JSONB => Some(TextForm::Jsonb),
        _ => None,
    }
}

/// The last of several checks: a value that was not released never gets here.
fn refuse_unreleased(field: &Field) -> Flow {
    if field.metadata().get(EXTENSION_NAME).map(String::as_str) == Some(UNRELEASED) {
        return Err(Failure::Statement(Error::internal()));
    }
    match field.data_type() {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _)
        | DataType::Map(element, _) => refuse_unreleased(element),
        DataType::Struct(fields) => fields.iter().try_for_each(|field| refuse_unreleased(field)),
        DataType::Union(fields, _) => fields.iter().try_for_each(|(_, field)| refuse_unreleased(field)),
        DataType::RunEndEncoded(_, values) => refuse_unreleased(values),
        _ => Ok(()),
    }
}

/// The few Arrow types that the encoder knows; the others are cast to one of them, which loses nothing that Postgres could show.
pub(super) fn canonical(data_type: &DataType) -> Flow<DataType> {
    use DataType as D;
    Ok(match data_type {
        D::Null | D::Utf8 => D::Utf8,
        D::LargeUtf8 => D::LargeUtf8,
        D::Utf8View => D::Utf8View,
        D::Boolean => D::Boolean,
        D::Int8 | D::Int16 | D::UInt8 => D::Int16,
        D::Int32 | D::UInt16 => D::Int32,
        D::Int64 | D::UInt32 => D::Int64,
        D::UInt64 => D::Decimal128(20, 0),
        D::Float16 | D::Float32 => D::Float32,
        D::Float64 => D::Float64,
        D::Decimal32(precision, scale) | D::Decimal64(precision, scale) | D::Decimal128(precision, scale) => {
            D::Decimal128(*precision, *scale)
        }
        D::Decimal256(precision, scale) => D::Decimal256(*precision, *scale),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => D::LargeBinary,
        D::Date32 | D::Date64 => D::Date32,
        D::Time32(_) | D::Time64(_) => D::Time64(TimeUnit::Microsecond),
        D::Timestamp(_, zone) => D::Timestamp(TimeUnit::Microsecond, zone.clone()),
        D::Duration(_) => D::Duration(TimeUnit::Microsecond),
        D::Interval(_) => D::Interval(IntervalUnit::MonthDayNano),
        D::Dictionary(_, values) => canonical(values)?,
        D::List(element) | D::LargeList(element) | D::FixedSizeList(element, _) => {
            if let D::List(_) = canonical(element.data_type())? {
                return Err(unsupported("a list of lists"));
            }
            let element = canonical(element.data_type())?;
            D::List(Field::new_list_field(element, true).into())
        }
        D::ListView(_) | D::LargeListView(_) => return Err(unsupported("a list view")),
        D::Struct(_) => return Err(unsupported("a record")),
        D::Union(..) => return Err(unsupported("a union")),
        D::Map(..) => return Err(unsupported("a map")),
        D::RunEndEncoded(..) => return Err(unsupported("a run-end encoded column")),
    })
}

fn unsupported(what: &str) -> Failure {
    refuse(SqlState::FeatureNotSupported, format!("{what} has no Postgres type"))
}

/// Of a canonical type.
pub(super) fn pg_type(data_type: &DataType) -> Flow<Type> {
    use DataType as D;
    Ok(match data_type {
        D::Boolean => Type::BOOL,
        D::Int16 => Type::INT2,
        D::Int32 => Type::INT4,
        D::Int64 => Type::INT8,
        D::Float32 => Type::FLOAT4,
        D::Float64 => Type::FLOAT8,
        D::Decimal128(..) | D::Decimal256(..) => Type::NUMERIC,
        D::Utf8 | D::LargeUtf8 | D::Utf8View => Type::TEXT,
        D::LargeBinary => Type::BYTEA,
        D::Date32 => Type::DATE,
        D::Time64(_) => Type::TIME,
        D::Timestamp(_, None) => Type::TIMESTAMP,
        D::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        D::Interval(_) | D::Duration(_) => Type::INTERVAL,
        D::List(element) => array_of(&pg_type(element.data_type())?)?,
        _ => return Err(unsupported("this column")),
    })
}

fn array_of(element: &Type) -> Flow<Type> {
    let arrays = [
        (Type::BOOL, Type::BOOL_ARRAY),
        (Type::INT2, Type::INT2_ARRAY),
        (Type::INT4, Type::INT4_ARRAY),
        (Type::INT8, Type::INT8_ARRAY),
        (Type::FLOAT4, Type::FLOAT4_ARRAY),
        (Type::FLOAT8, Type::FLOAT8_ARRAY),
        (Type::NUMERIC, Type::NUMERIC_ARRAY),
        (Type::TEXT, Type::TEXT_ARRAY),
        (Type::BYTEA, Type::BYTEA_ARRAY),
        (Type::DATE, Type::DATE_ARRAY),
        (Type::TIME, Type::TIME_ARRAY),
        (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
        (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
        (Type::INTERVAL, Type::INTERVAL_ARRAY),
    ];
    let found = arrays.into_iter().find(|(of, _)| of == element);
    found.map(|(_, array)| array).ok_or_else(|| unsupported("this list"))
}

/// The type that a client declared for a parameter; `None` where it left that to the server.
pub(super) fn declared_type(oid: u32) -> Flow<Option<DataType>> {
    if oid == 0 || oid == Type::UNKNOWN.oid() {
        return Ok(None);
    }
    let known = Type::from_oid(oid).and_then(|declared| data_type(&declared));
    known
        .map(Some)
        .ok_or_else(|| refuse(SqlState::FeatureNotSupported, format!("a parameter of type {oid} is not supported")))
}

/// `numeric` has no scale of its own; this one leaves room on both sides.
const NUMERIC: DataType = DataType::Decimal128(38, 10);

fn data_type(declared: &Type) -> Option<DataType> {
    if let tokio_postgres::types::Kind::Array(element) = declared.kind() {
        let element = data_type(element)?;
        return Some(DataType::List(Field::new_list_field(element, true).into()));
    }
    Some(match *declared {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 | Type::OID => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => NUMERIC,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR => DataType::Utf8,
        Type::UUID | Type::JSON | Type::JSONB => DataType::Utf8,
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return None,
    })
}

/// `typlen` of `pg_type`.
fn type_bytes(of: &Type) -> i16 {
    match *of {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL | Type::UUID => 16,
        _ => -1,
    }
}

/// What a client asked for, per column: nothing, one format for all, or one each.
pub(super) fn formats(codes: &[i16], columns: usize) -> Flow<Vec<FieldFormat>> {
    let format = |code: &i16| match code {
        0 => Ok(FieldFormat::Text),
        1 => Ok(FieldFormat::Binary),
        _ => Err(refuse(SqlState::ProtocolViolation, format!("unsupported format code: {code}"))),
    };
    match codes {
        [] => Ok(vec![FieldFormat::Text; columns]),
        [all] => Ok(vec![format(all)?; columns]),
        each if each.len() == columns => each.iter().map(format).collect(),
        each => Err(refuse(
            SqlState::ProtocolViolation,
            format!("bind message has {} formats but there are {columns} values", each.len()),
        )),
    }
}

pub(super) fn row_description(schema: &Schema, formats: &[FieldFormat]) -> Flow<RowDescription> {
    let fields = schema.fields().iter().zip(formats);
    let fields = fields.map(|(field, format)| {
        let column = column_type(field)?;
        let bytes = type_bytes(&column);
        let name = field.name().clone();
        Ok(FieldDescription::new(name, 0, 0, column.oid(), bytes, -1, format.value()))
    });
    Ok(RowDescription::new(fields.collect::<Flow<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn sqlstate(field: Field) -> Option<SqlState> {
        match column_type(&field) {
            Err(Failure::Statement(error)) => Some(error.sqlstate),
            _ => None,
        }
    }

    #[test]
    fn an_unreleased_value_is_refused_wherever_it_hides() {
        let mark = HashMap::from([(EXTENSION_NAME.to_owned(), UNRELEASED.to_owned())]);
        let exact = Field::new("n", DataType::Int64, true).with_metadata(mark);
        assert_eq!(sqlstate(exact.clone()), Some(SqlState::InternalError));
        let list = Field::new("ns", DataType::List(exact.clone().into()), true);
        assert_eq!(sqlstate(list), Some(SqlState::InternalError));
        let record = Field::new("r", DataType::Struct(vec![exact].into()), true);
        assert_eq!(sqlstate(record), Some(SqlState::InternalError));
    }

    #[test]
    fn what_has_no_postgres_type_is_refused() {
        let element = Field::new_list_field(DataType::Int64, true);
        let list = Field::new_list_field(DataType::List(element.clone().into()), true);
        let lists = Field::new("a", DataType::List(list.into()), true);
        assert_eq!(sqlstate(lists), Some(SqlState::FeatureNotSupported));
        let record = Field::new("a", DataType::Struct(vec![element].into()), true);
        assert_eq!(sqlstate(record), Some(SqlState::FeatureNotSupported));
    }

    #[test]
    fn a_type_that_is_shown_can_be_declared() {
        let shown = [
            DataType::Boolean,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::Float32,
            DataType::Float64,
            DataType::Utf8,
            DataType::Date32,
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Interval(IntervalUnit::MonthDayNano),
        ];
        for data_type in shown {
            let oid = pg_type(&data_type).unwrap().oid();
            assert_eq!(declared_type(oid).unwrap(), Some(data_type.clone()));
            let list = DataType::List(Field::new_list_field(data_type, true).into());
            let oid = pg_type(&list).unwrap().oid();
            assert_eq!(declared_type(oid).unwrap(), Some(list));
        }
        assert_eq!(declared_type(0).unwrap(), None);
        assert!(declared_type(600).is_err());
    }
}
