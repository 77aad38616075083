//! Every type in text and in binary. Expected texts: PostgreSQL 16 with default settings; binary values are read back by
//! postgres-types, which is what clients use.

use std::sync::Arc;

use arrow::array::types::{Int32Type, IntervalMonthDayNano};
use arrow::array::*;
use arrow::datatypes::{Field, i256};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use pgwire::api::Type;
use tokio_postgres::types::FromSql;

use super::*;

fn column(array: ArrayRef) -> (Type, Column) {
    let field = Field::new("c", array.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap();
    let column = columns(&schema, &batch).unwrap().remove(0);
    (column_type(&field).unwrap(), column)
}

/// `None`: null.
fn value(column: &Column, row: usize, format: FieldFormat) -> Option<Vec<u8>> {
    let mut out = BytesMut::new();
    column.put(row, format, &mut out).unwrap();
    let length = i32::from_be_bytes(out[..4].try_into().unwrap());
    assert!(length == -1 || out.len() == 4 + length as usize);
    (length != -1).then(|| out[4..].to_vec())
}

fn texts(array: impl Array + 'static) -> Vec<Option<String>> {
    let array: ArrayRef = Arc::new(array);
    let rows = array.len();
    let (_, column) = column(array);
    let text = |row| value(&column, row, FieldFormat::Text);
    (0..rows).map(|row| text(row).map(|bytes| String::from_utf8(bytes).unwrap())).collect()
}

#[track_caller]
fn check_text(array: impl Array + 'static, expected: &[&str]) {
    let shown: Vec<_> = texts(array).into_iter().map(|text| text.unwrap_or_else(|| "(null)".to_owned())).collect();
    assert_eq!(shown, expected);
}

/// The binary form, as a client reads it.
fn read<T: for<'a> FromSql<'a>>(array: impl Array + 'static) -> Vec<Option<T>> {
    let array: ArrayRef = Arc::new(array);
    let rows = array.len();
    let (of, column) = column(array);
    assert!(T::accepts(&of), "{of}");
    let bytes = |row| value(&column, row, FieldFormat::Binary);
    (0..rows).map(|row| bytes(row).map(|bytes| T::from_sql(&of, &bytes).unwrap())).collect()
}

#[test]
fn numbers() {
    check_text(BooleanArray::from(vec![Some(true), Some(false), None]), &["t", "f", "(null)"]);
    check_text(Int64Array::from(vec![Some(i64::MIN), None]), &["-9223372036854775808", "(null)"]);
    check_text(UInt64Array::from(vec![u64::MAX]), &["18446744073709551615"]);
    check_text(Float64Array::from(vec![0.1, f64::NAN, 1e15]), &["0.1", "NaN", "1e+15"]);
    check_text(Float32Array::from(vec![0.1]), &["0.1"]);

    assert_eq!(read::<bool>(BooleanArray::from(vec![true])), [Some(true)]);
    assert_eq!(read::<i16>(Int8Array::from(vec![-5])), [Some(-5)]);
    assert_eq!(read::<i16>(UInt8Array::from(vec![200])), [Some(200)]);
    assert_eq!(read::<i16>(Int16Array::from(vec![-5])), [Some(-5)]);
    assert_eq!(read::<i32>(UInt16Array::from(vec![65_000])), [Some(65_000)]);
    assert_eq!(read::<i32>(Int32Array::from(vec![Some(-5), None])), [Some(-5), None]);
    assert_eq!(read::<i64>(UInt32Array::from(vec![u32::MAX])), [Some(4_294_967_295)]);
    assert_eq!(read::<i64>(Int64Array::from(vec![i64::MIN])), [Some(i64::MIN)]);
    assert_eq!(read::<f32>(Float32Array::from(vec![0.5])), [Some(0.5)]);
    assert_eq!(read::<f64>(Float64Array::from(vec![0.1])), [Some(0.1)]);
}

#[test]
fn decimals() {
    let decimals =
        || Decimal128Array::from(vec![Some(-12_345), Some(5), Some(0), None]).with_precision_and_scale(10, 2).unwrap();
    check_text(decimals(), &["-123.45", "0.05", "0.00", "(null)"]);
    let long = Decimal256Array::from(vec![i256::from_i128(i128::MAX)]).with_precision_and_scale(76, 1).unwrap();
    check_text(long, &["17014118346046923173168730371588410572.7"]);

    let (of, column) = column(Arc::new(decimals()));
    assert_eq!(of, Type::NUMERIC);
    let digits = |row| value(&column, row, FieldFormat::Binary).map(|bytes| numeric::read(&bytes).unwrap());
    let digits: Vec<_> = (0..4).map(digits).collect();
    let expected = ["-123.45", "0.05", "0.00"].map(|text| Some(text.to_owned()));
    assert_eq!(digits[..3], expected);
    assert_eq!(digits[3], None);
}

#[test]
fn texts_and_bytes() {
    check_text(StringArray::from(vec![Some("a"), Some(""), None]), &["a", "", "(null)"]);
    check_text(LargeStringArray::from(vec!["ä"]), &["ä"]);
    check_text(StringViewArray::from(vec!["a longer text than fits inline"]), &["a longer text than fits inline"]);
    check_text(NullArray::new(1), &["(null)"]);
    check_text(BinaryArray::from(vec![&[0u8, 255][..]]), &["\\x00ff"]);
    let dictionary: DictionaryArray<Int32Type> = vec![Some("DE"), None, Some("DE")].into_iter().collect();
    check_text(dictionary.clone(), &["DE", "(null)", "DE"]);

    assert_eq!(read::<String>(dictionary)[2].as_deref(), Some("DE"));
    assert_eq!(read::<String>(StringViewArray::from(vec!["ä"]))[0].as_deref(), Some("ä"));
    assert_eq!(read::<Vec<u8>>(BinaryViewArray::from(vec![&[0u8, 255][..]])), [Some(vec![0, 255])]);
}

#[test]
fn moments() {
    const NEW_YEAR: i64 = 1_704_067_200;
    let date = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
    let midnight = NaiveDateTime::new(date, NaiveTime::MIN);
    check_text(Date32Array::from(vec![Some(19_723), None]), &["2024-01-01", "(null)"]);
    check_text(Time64MicrosecondArray::from(vec![45_296_500_000]), &["12:34:56.5"]);
    check_text(TimestampSecondArray::from(vec![NEW_YEAR]), &["2024-01-01 00:00:00"]);
    check_text(
        TimestampNanosecondArray::from(vec![NEW_YEAR * 1_000_000_000 + 1_500]).with_timezone("+02:00"),
        &["2024-01-01 02:00:00.000001+02"],
    );

    assert_eq!(read::<NaiveDate>(Date32Array::from(vec![19_723])), [Some(date)]);
    let time = NaiveTime::from_hms_opt(12, 34, 56).unwrap();
    assert_eq!(read::<NaiveTime>(Time32SecondArray::from(vec![45_296])), [Some(time)]);
    assert_eq!(read::<NaiveDateTime>(TimestampMillisecondArray::from(vec![NEW_YEAR * 1000])), [Some(midnight)]);
    let zoned = TimestampMicrosecondArray::from(vec![NEW_YEAR * 1_000_000]).with_timezone("UTC");
    assert_eq!(read::<chrono::DateTime<chrono::Utc>>(zoned), [Some(midnight.and_utc())]);
}

#[test]
fn intervals() {
    let value_of = IntervalMonthDayNano::new(14, 3, 1_500_000_000);
    let array = IntervalMonthDayNanoArray::from(vec![value_of]);
    check_text(array.clone(), &["1 year 2 mons 3 days 00:00:01.5"]);
    check_text(DurationSecondArray::from(vec![90_061]), &["25:01:01"]);
    let (_, column) = column(Arc::new(array));
    let mut expected = 1_500_000_i64.to_be_bytes().to_vec();
    expected.extend(3_i32.to_be_bytes());
    expected.extend(14_i32.to_be_bytes());
    assert_eq!(value(&column, 0, FieldFormat::Binary), Some(expected));
}

#[test]
fn lists() {
    let numbers =
        || ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(3)]), Some(vec![]), None]);
    check_text(numbers(), &["{1,NULL,3}", "{}", "(null)"]);
    check_text(numbers().slice(1, 2), &["{}", "(null)"]);
    let read = read::<Vec<Option<i32>>>(numbers());
    assert_eq!(read, [Some(vec![Some(1), None, Some(3)]), Some(vec![]), None]);

    let mut words = ListBuilder::new(StringBuilder::new());
    words.append_value([Some("a"), Some("b c"), Some("NULL"), None]);
    check_text(words.finish(), &[r#"{a,"b c","NULL",NULL}"#]);
}

#[test]
fn a_batch_of_another_shape_than_described_is_refused() {
    let described = Schema::new(vec![Field::new("c", DataType::Utf8, true)]);
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("c", numbers)]).unwrap();
    assert!(columns(&described, &batch).is_err());
    assert!(columns(&Schema::empty(), &batch).is_err());
}

#[test]
fn a_moment_that_postgres_has_not_is_refused() {
    let (_, column) = column(Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN])));
    let mut out = BytesMut::new();
    assert!(column.put(0, FieldFormat::Text, &mut out).is_err());
    assert!(column.put(0, FieldFormat::Binary, &mut out).is_err());
}
