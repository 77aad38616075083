//! Laws of the total functions: no input fails, and where the original works they agree with it.

use super::*;
use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt8Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ScalarUDF, lit};
use datafusion::prelude::{SessionContext, col};
use proptest::prelude::*;
use std::sync::Arc;

fn run(function: Arc<ScalarUDF>, columns: Vec<(&str, ArrayRef)>, extra: Vec<datafusion::prelude::Expr>) -> ArrayRef {
    let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let batch = arrow::array::RecordBatch::try_from_iter(columns).unwrap();
    let ctx = SessionContext::new();
    let args = names.iter().map(col).chain(extra).collect();
    let frame = ctx.read_batch(batch).unwrap().select(vec![function.call(args).alias("result")]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(frame.collect()).unwrap();
    Arc::clone(batches[0].column(0))
}

fn two(function: Arc<ScalarUDF>, l: impl Into<Vec<i64>>, r: impl Into<Vec<i64>>) -> Int64Array {
    let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    run(function, vec![("l", column(l.into())), ("r", column(r.into()))], vec![]).as_primitive::<Int64Type>().clone()
}

#[test]
fn integers_saturate_and_division_by_zero_is_null() {
    let ends = || [i64::MAX, i64::MIN, i64::MIN, 7, -7];
    assert_eq!(two(total_add(), ends(), [1, -1, 1, 2, 2]), vec![i64::MAX, i64::MIN, i64::MIN + 1, 9, -5].into());
    assert_eq!(two(total_sub(), ends(), [-1, 1, 0, 2, 2]), vec![i64::MAX, i64::MIN, i64::MIN, 5, -9].into());
    assert_eq!(two(total_mul(), ends(), [2, 2, -1, 2, 2]), vec![i64::MAX, i64::MIN, i64::MAX, 14, -14].into());
    let quotients = vec![None, Some(i64::MAX), Some(i64::MIN), Some(3), Some(-3)];
    assert_eq!(two(total_div(), ends(), [0, -1, 1, 2, 2]), quotients.into());
    let rests = vec![None, Some(0), Some(0), Some(1), Some(-1)];
    assert_eq!(two(total_mod(), ends(), [0, -1, 1, 2, 2]), rests.into());
    let unsigned: ArrayRef = Arc::new(UInt8Array::from(vec![1, 200]));
    let other: ArrayRef = Arc::new(UInt8Array::from(vec![2, 100]));
    let less = run(total_sub(), vec![("l", Arc::clone(&unsigned)), ("r", Arc::clone(&other))], vec![]);
    assert_eq!(*less.as_primitive::<UInt8Type>(), UInt8Array::from(vec![0, 100]));
    let more = run(total_add(), vec![("l", unsigned), ("r", other)], vec![]);
    assert_eq!(*more.as_primitive::<UInt8Type>(), UInt8Array::from(vec![3, 255]));
    let negated = run(total_neg(), vec![("x", Arc::new(Int64Array::from(vec![i64::MIN, 3])))], vec![]);
    assert_eq!(*negated.as_primitive::<Int64Type>(), Int64Array::from(vec![i64::MAX, -3]));
}

#[test]
fn floats_and_decimals() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, -1.0, 3.0]));
    let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, 2.0]));
    for (function, last) in [(total_div(), 1.5), (total_mod(), 1.0)] {
        let result = run(function, vec![("l", Arc::clone(&floats)), ("r", Arc::clone(&zeros))], vec![]);
        assert_eq!(*result.as_primitive::<Float64Type>(), Float64Array::from(vec![None, None, Some(last)]));
    }
    let decimals = Decimal128Array::from(vec![i128::pow(10, 37), 250]).with_precision_and_scale(38, 2).unwrap();
    let decimals: ArrayRef = Arc::new(decimals);
    let product = run(total_mul(), vec![("l", Arc::clone(&decimals)), ("r", decimals)], vec![]);
    let product = product.as_primitive::<Float64Type>();
    assert!((product.value(0) / 1e70 - 1.0).abs() < 1e-15);
    assert_eq!(product.value(1), 6.25);
}

/// Types and values as the operators of DataFusion, over a spread of type pairs.
#[tokio::test]
async fn operators_keep_datafusions_types() {
    let ctx = SessionContext::new();
    crate::register(&ctx, crate::Noise::from_os());
    for (total, plain) in [
        ("total_add(date '2026-01-31', interval '1 month')", "date '2026-01-31' + interval '1 month'"),
        ("total_sub(date '2026-01-31', date '2026-01-01')", "date '2026-01-31' - date '2026-01-01'"),
        (
            "total_add(timestamp '2026-01-31 10:00:00', interval '1 day')",
            "timestamp '2026-01-31 10:00:00' + interval '1 day'",
        ),
        (
            "total_sub(timestamp '2026-01-31 10:00:00', timestamp '2026-01-30 10:00:00')",
            "timestamp '2026-01-31 10:00:00' - timestamp '2026-01-30 10:00:00'",
        ),
        ("total_add(1, 2.5)", "1 + 2.5"),
        ("total_div(7, 2)", "7 / 2"),
        ("total_mod(-7, 2)", "-7 % 2"),
        ("total_add(1, NULL)", "1 + NULL"),
        ("total_mul(cast(3 as smallint), cast(4 as int))", "cast(3 as smallint) * cast(4 as int)"),
        ("total_neg(interval '1 day')", "-interval '1 day'"),
    ] {
        let batches = ctx.sql(&format!("SELECT {total}, {plain}")).await.unwrap().collect().await.unwrap();
        let value = |column| ScalarValue::try_from_array(batches[0].column(column), 0).unwrap();
        assert_eq!(value(0), value(1), "{total}");
    }
    let far = "SELECT total_add(date '2026-01-31', make_interval) FROM (SELECT interval '2147483647 months' AS make_interval)";
    assert!(ctx.sql(far).await.unwrap().collect().await.is_ok());
}

#[test]
fn a_wrapped_function_gives_null_only_where_it_fails() {
    let texts: ArrayRef =
        Arc::new(StringArray::from(vec![Some("2026-01-05"), Some("no date"), None, Some("2026-02-06")]));
    let parse = datafusion::functions::datetime::to_date();
    assert!({
        let batch = arrow::array::RecordBatch::try_from_iter([("t", Arc::clone(&texts))]).unwrap();
        let frame = SessionContext::new().read_batch(batch).unwrap().select(vec![parse.call(vec![col("t")])]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(frame.collect()).is_err()
    });
    let parsed = run(Arc::new(total(parse)), vec![("t", texts)], vec![]);
    assert_eq!(*parsed.data_type(), DataType::Date32);
    let nulls: Vec<bool> = (0..4).map(|row| parsed.is_null(row)).collect();
    assert_eq!(nulls, [false, true, true, false]);
}

#[test]
fn clamp_keeps_the_type_and_the_bounds() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(-1.0), Some(f64::NAN), None, Some(0.25), Some(9.0)]));
    let held = run(clamp(), vec![("x", floats)], vec![lit(0), lit(1.5)]);
    let expected = vec![Some(0.0), None, None, Some(0.25), Some(1.5)];
    assert_eq!(*held.as_primitive::<Float64Type>(), Float64Array::from(expected));
    let bytes = || Arc::new(UInt8Array::from(vec![0, 7, 255])) as ArrayRef;
    for (lo, hi, expected) in [
        (lit(0.5), lit(7.9), vec![Some(1), Some(7), Some(7)]),
        (lit(-5), lit(100_000), vec![Some(0), Some(7), Some(255)]),
        (lit(f64::NEG_INFINITY), lit(1e300), vec![Some(0), Some(7), Some(255)]),
        (lit(9), lit(3), vec![None, None, None]),
        (lit(0), lit(f64::NAN), vec![None, None, None]),
    ] {
        let held = run(clamp(), vec![("x", bytes())], vec![lo, hi]);
        assert_eq!(*held.as_primitive::<UInt8Type>(), UInt8Array::from(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_integers_fail(l: Vec<i64>, shift: i64) {
        let r: Vec<i64> = l.iter().rev().map(|x| x.wrapping_add(shift)).collect();
        for function in [total_add(), total_sub(), total_mul(), total_div(), total_mod()] {
            prop_assume!(!l.is_empty());
            prop_assert_eq!(two(function, l.clone(), r.clone()).len(), l.len());
        }
    }
}
