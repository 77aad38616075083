//! Parameters in text, and in binary as postgres-types writes them, which is what clients use.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Field, TimeUnit};
use bytes::BytesMut;
use chrono::{NaiveDate, NaiveTime};
use tokio_postgres::types::ToSql;

use super::*;

fn parameter(wanted: &DataType) -> Parameter {
    Parameter::new(0, wanted).unwrap()
}

fn text(text: &str, wanted: &DataType) -> Option<ScalarValue> {
    parameter(wanted).decode(Some(text.as_bytes()), FieldFormat::Text, 1).ok()
}

fn binary(value: impl ToSql, declared: &Type, wanted: &DataType) -> Option<ScalarValue> {
    let mut out = BytesMut::new();
    value.to_sql_checked(declared, &mut out).unwrap();
    Parameter::new(declared.oid(), wanted).unwrap().decode(Some(&out), FieldFormat::Binary, 1).ok()
}

fn list_of(element: DataType) -> DataType {
    DataType::List(Field::new_list_field(element, true).into())
}

#[test]
fn texts() {
    assert_eq!(text("t", &DataType::Boolean), Some(ScalarValue::Boolean(Some(true))));
    assert_eq!(text("off", &DataType::Boolean), Some(ScalarValue::Boolean(Some(false))));
    assert_eq!(text("maybe", &DataType::Boolean), None);
    assert_eq!(text(" 42 ", &DataType::Int64), Some(ScalarValue::Int64(Some(42))));
    assert_eq!(text("4x", &DataType::Int64), None);
    assert_eq!(text("300", &DataType::Int8), None);
    let infinite = Some(ScalarValue::Float64(Some(f64::INFINITY)));
    assert_eq!(text("Infinity", &DataType::Float64), infinite);
    let decimal = ScalarValue::Decimal128(Some(1250), 10, 2);
    assert_eq!(text("12.50", &DataType::Decimal128(10, 2)), Some(decimal));
    assert_eq!(text(" a ", &DataType::Utf8), Some(ScalarValue::from(" a ")));
    let bytes = Some(ScalarValue::Binary(Some(vec![0, 255])));
    assert_eq!(text("\\x00fF", &DataType::Binary), bytes);
    assert_eq!(text("\\000\\377", &DataType::Binary), bytes);
    assert_eq!(text("\\x0", &DataType::Binary), None);
    assert_eq!(text("2024-01-01", &DataType::Date32), Some(ScalarValue::Date32(Some(19_723))));
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let moment = ScalarValue::TimestampMicrosecond(Some(1_704_060_000_000_000), Some("+00:00".into()));
    assert_eq!(text("2024-01-01 00:00:00+02", &micros), Some(moment));
}

#[test]
fn arrays_in_text() {
    let Some(ScalarValue::List(list)) = text(r#"{a, "b, c" ,NULL,"NULL","\""}"#, &list_of(DataType::Utf8)) else {
        panic!("refused");
    };
    let values = list.value(0);
    let values: Vec<_> = values.as_string::<i32>().iter().collect();
    assert_eq!(values, [Some("a"), Some("b, c"), None, Some("NULL"), Some("\"")]);
    assert!(text("{}", &list_of(DataType::Int32)).is_some());
    for malformed in ["", "{", "{1", "{1,}", "{{1}}", "{\"1}"] {
        assert_eq!(text(malformed, &list_of(DataType::Int32)), None, "{malformed}");
    }
}

#[test]
fn binaries() {
    assert_eq!(binary(true, &Type::BOOL, &DataType::Boolean), Some(ScalarValue::Boolean(Some(true))));
    assert_eq!(binary(-5_i16, &Type::INT2, &DataType::Int64), Some(ScalarValue::Int64(Some(-5))));
    assert_eq!(binary(-5_i64, &Type::INT8, &DataType::Int64), Some(ScalarValue::Int64(Some(-5))));
    assert_eq!(binary(i64::MAX, &Type::INT8, &DataType::Int32), None);
    assert_eq!(binary(0.5_f32, &Type::FLOAT4, &DataType::Float64), Some(ScalarValue::Float64(Some(0.5))));
    assert_eq!(binary("ä", &Type::VARCHAR, &DataType::Utf8View), Some(ScalarValue::Utf8View(Some("ä".into()))));
    let date = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
    assert_eq!(binary(date, &Type::DATE, &DataType::Date32), Some(ScalarValue::Date32(Some(19_723))));
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let moment = ScalarValue::TimestampNanosecond(Some(1_704_067_200_000_000_000), None);
    assert_eq!(binary(date.and_time(NaiveTime::MIN), &Type::TIMESTAMP, &nanos), Some(moment));

    let wanted = list_of(DataType::Int64);
    let list = binary(vec![Some(1_i32), None], &Type::INT4_ARRAY, &wanted);
    let expected =
        ScalarValue::new_list_nullable(&[ScalarValue::Int64(Some(1)), ScalarValue::Int64(None)], &DataType::Int64);
    assert_eq!(list, Some(ScalarValue::List(Arc::clone(&expected))));
}

#[test]
fn decimals_in_binary() {
    let mut out = BytesMut::new();
    numeric::write("-12.5", &mut out);
    let read = |wanted: &DataType| {
        let parameter = Parameter::new(Type::NUMERIC.oid(), wanted).unwrap();
        parameter.decode(Some(&out), FieldFormat::Binary, 1).ok()
    };
    let decimal = ScalarValue::Decimal128(Some(-1250), 10, 2);
    assert_eq!(read(&DataType::Decimal128(10, 2)), Some(decimal));
    assert_eq!(read(&DataType::Float64), Some(ScalarValue::Float64(Some(-12.5))));
}

#[test]
fn nulls_and_short_values() {
    let integer = parameter(&DataType::Int32);
    let null = integer.decode(None, FieldFormat::Binary, 1).unwrap();
    assert_eq!(null, ScalarValue::Int32(None));
    assert!(integer.decode(Some(&[0, 0]), FieldFormat::Binary, 1).is_err());
    let list = parameter(&list_of(DataType::Int32));
    for length in 0..20 {
        let zeros = vec![0; length];
        assert!(list.decode(Some(&zeros), FieldFormat::Binary, 1).is_err());
    }
}

#[test]
fn a_value_is_not_repeated_in_its_refusal() {
    let refused = parameter(&DataType::Int32).decode(Some(b"secret"), FieldFormat::Text, 2);
    let Err(Failure::Statement(error)) = refused else {
        panic!("accepted");
    };
    assert_eq!(error.message, "invalid input for parameter $2 of type int4");
    assert_eq!(error.sqlstate.code(), "22P02");
}
