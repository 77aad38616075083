//! Histograms and distinct values over whole plans: several rows a person, several partitions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use arrow::array::{ArrayRef, AsArray, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int32Type};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use paravent_udfs::{Noise, is_unreleased, width_bucket};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Person u has u % 7 rows (one a group at least) whose values are u % 5, u % 5 + 1, …; every tenth value is NULL.
fn rows(persons: impl Iterator<Item = i64>) -> Vec<(i64, &'static str, Option<f64>)> {
    let of = |u: i64| {
        let value = move |i: i64| ((u + i) % 10 != 0).then_some((u % 5 + i) as f64);
        (0..=u % 7).map(move |i| (u, if u % 3 == 0 { "a" } else { "b" }, value(i)))
    };
    persons.flat_map(of).collect()
}

fn context(rows: &[(i64, &'static str, Option<f64>)], partitions: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(50);
    let ctx = SessionContext::new_with_config(config);
    paravent_udfs::register(&ctx, Noise::from_os());
    for function in paravent_udfs::ordered_set_udafs() {
        ctx.register_udaf(function.as_ref().clone());
    }
    let batch = |rows: &[(i64, &'static str, Option<f64>)]| {
        let u: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
        let g: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>());
        let x: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>());
        RecordBatch::try_from_iter_with_nullable([("u", u, true), ("g", g, true), ("x", x, true)]).unwrap()
    };
    let parts: Vec<_> = rows.chunks(rows.len().div_ceil(partitions)).map(|rows| vec![batch(rows)]).collect();
    ctx.register_table("t", Arc::new(MemTable::try_new(parts[0][0].schema(), parts).unwrap())).unwrap();
    ctx
}

async fn run(ctx: &SessionContext, sql: &str) -> RecordBatch {
    let batches = ctx.sql(sql).await.unwrap().collect().await.unwrap();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// By group: the words of every state column.
async fn states(ctx: &SessionContext, sql: &str) -> BTreeMap<String, Vec<Vec<i128>>> {
    let batch = run(ctx, sql).await;
    assert!(batch.schema().fields()[1..].iter().all(|field| is_unreleased(field)));
    let words = |column: &ArrayRef, row: usize| -> Vec<i128> {
        let array = column.as_any().downcast_ref::<FixedSizeBinaryArray>().unwrap();
        array.value(row).chunks(16).map(|word| i128::from_le_bytes(word.try_into().unwrap())).collect()
    };
    let names = batch.column(0).as_string::<i32>();
    (0..batch.num_rows())
        .map(|row| (names.value(row).to_owned(), batch.columns()[1..].iter().map(|c| words(c, row)).collect()))
        .collect()
}

const STATES: &str = "SELECT g, dp_histogram_16(b, 3), dp_distinct(v, 5) FROM \
    (SELECT u, g, person_bins(dp_bin(x, 0, 1, 16)) AS b, person_values(dp_hash(x)) AS v FROM t GROUP BY u, g) AS p \
    GROUP BY g";

#[tokio::test]
async fn partitions_change_nothing_and_nobody_counts_for_more_than_the_cap() {
    let rows = rows(0..500);
    let whole = states(&context(&rows, 1), STATES).await;
    assert_eq!(whole, states(&context(&rows, 4), STATES).await);
    let persons = |group: &str| {
        let mut persons: Vec<i64> =
            rows.iter().filter(|row| row.1 == group && row.2.is_some()).map(|row| row.0).collect();
        persons.dedup();
        persons
    };
    for (group, words) in &whole {
        let capped: i128 = persons(group)
            .iter()
            .map(|u| rows.iter().filter(|row| row.0 == *u && row.2.is_some()).count().min(3) as i128)
            .sum();
        let [histogram, distinct] = words.as_slice() else { panic!("two states") };
        assert_eq!((histogram[..16].iter().sum::<i128>(), histogram[16]), (capped, persons(group).len() as i128));
        // Values 0 to 10 are there, and many persons for each.
        assert_eq!(*distinct, [11, 11, 11, 11, persons(group).len() as i128]);
    }
}

#[tokio::test]
async fn one_person_less_moves_them_by_no_more_than_their_bounds() {
    let everybody = rows(0..9);
    let whole = states(&context(&everybody, 2), STATES).await;
    let mut moved = false;
    for without in 0..9 {
        let fewer = states(&context(&rows((0..9).filter(|u| *u != without)), 2), STATES).await;
        for (group, words) in &whole {
            let zero = vec![vec![0; 17], vec![0; 5]];
            let fewer = fewer.get(group).unwrap_or(&zero);
            let histogram: i128 = words[0][..16].iter().zip(&fewer[0]).map(|(a, b)| (a - b).abs()).sum();
            assert!(histogram <= 3, "{without} {histogram}");
            for (word, bound) in [1, 4, 5, 5, 1].into_iter().enumerate() {
                assert!((words[1][word] - fewer[1][word]).abs() <= bound, "{without} {words:?} {fewer:?}");
                moved |= words[1][word] != fewer[1][word];
            }
        }
    }
    assert!(moved);
}

#[tokio::test]
async fn the_only_row_of_a_person_needs_no_gathering() {
    let rows = rows((0..200).map(|u| u * 7));
    let ctx = context(&rows, 4);
    let one = "SELECT g, dp_histogram_16(dp_bin(x, 0, 1, 16), 3), dp_distinct(dp_hash(x), 5) FROM t GROUP BY g";
    assert_eq!(states(&ctx, one).await, states(&ctx, STATES).await);
    let all = "SELECT 'all' AS g, h, d FROM (SELECT dp_histogram_4(dp_bin(x, 0, 2, 4), 1) AS h, dp_distinct(dp_hash(x), 1) AS d FROM t)";
    let all = &states(&ctx, all).await["all"];
    assert_eq!((all[0].iter().sum::<i128>(), all[1][4]), (2 * all[0][4], all[0][4]));
}

/// The names that queries are written with compute what Postgres computes.
#[tokio::test]
async fn ordered_set_aggregates_are_exact_over_public_rows() {
    let ctx = context(&rows(0..100), 3);
    ctx.register_udf(width_bucket().as_ref().clone());
    let row = run(
        &ctx,
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) AS a, percentile_disc(0.5) WITHIN GROUP (ORDER BY x) AS b, \
         percentile_cont(ARRAY[0, 0.25, 1]) WITHIN GROUP (ORDER BY x DESC) AS c, mode() WITHIN GROUP (ORDER BY x) AS d, \
         quantile_cont(0.9) WITHIN GROUP (ORDER BY x) AS e, max(width_bucket(x, 0, 10, 5)) AS f, \
         min(width_bucket(x, ARRAY[1, 2, 3])) AS g FROM (VALUES (1.0), (2.0), (2.0), (4.0), (9.0), (10.0), (NULL)) AS v (x)",
    )
    .await;
    let float = |column: usize| row.column(column).as_primitive::<Float64Type>().value(0);
    assert_eq!((float(0), float(1), float(3), float(4)), (3.0, 2.0, 2.0, 9.5));
    let list = row.column(2).as_list::<i32>().value(0);
    assert_eq!(list.as_primitive::<Float64Type>().values(), &[10.0, 7.75, 1.0]);
    let integer = |column: usize| row.column(column).as_primitive::<Int32Type>().value(0);
    assert_eq!((integer(5), integer(6)), (6, 1));
}
