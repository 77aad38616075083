//! How much the time of an answer tells of one person: the same question of two tables that differ by one person, in turns.
//!
//! `cargo bench --bench timing`. A thousand answers of each, in pairs of random order, every one released anew; the rank test of
//! Mann and Whitney (1947) says how sure somebody with a clock can be of which is which. Once with `privacy.response_quantum` as it
//! comes, once without; and once for a person with 50,000 rows and without the quantum, to show that the test sees what there is to
//! see. With no difference, |z| above 4.9 comes once in a million runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use datafusion::parquet::arrow::ArrowWriter;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{TestServer, run};
use tokio_postgres::Client;

const PAIRS: usize = 1_000;
const PERSONS: i64 = 20_000;

/// Four rows a person, and of the person in question `rows`.
fn write(path: &Path, rows: usize) {
    let one = std::iter::repeat_n(PERSONS / 2, rows);
    let persons: Vec<i64> = (0..4 * PERSONS).map(|row| row / 4).filter(|u| *u != PERSONS / 2).chain(one).collect();
    let hours = persons.iter().map(|person| (person % 40) as f64).collect::<Float64Array>();
    let columns = [("person_id", Arc::new(Int64Array::from(persons)) as ArrayRef), ("hours", Arc::new(hours))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

async fn time(client: &Client, table: &str, number: usize) -> Duration {
    let sql = format!("SELECT count(*), avg(hours) FROM {table} WHERE hours > -{number}.5");
    let start = Instant::now();
    client.simple_query(&sql).await.unwrap_or_else(|error| panic!("{}", support::Refusal::of(error)));
    start.elapsed()
}

/// The standardised rank sum of `with` among both; normal where there is no difference. Ties have their mean rank.
fn rank_test(with: &[Duration], without: &[Duration]) -> f64 {
    let mut all: Vec<(Duration, bool)> =
        with.iter().map(|t| (*t, true)).chain(without.iter().map(|t| (*t, false))).collect();
    all.sort_unstable();
    let (mut sum, mut first, mut ties) = (0.0, 0, 0.0);
    for equal in all.chunk_by(|a, b| a.0 == b.0) {
        let size = equal.len() as f64;
        let rank = first as f64 + (size + 1.0) / 2.0;
        sum += rank * equal.iter().filter(|(_, is_with)| *is_with).count() as f64;
        ties += size * size * size - size;
        first += equal.len();
    }
    let (m, n) = (with.len() as f64, without.len() as f64);
    let whole = m + n;
    let variance = m * n / 12.0 * (whole + 1.0 - ties / (whole * (whole - 1.0)));
    (sum - m * (whole + 1.0) / 2.0) / variance.sqrt()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let server = TestServer::start().await.with_people().await;
    let admin = server.admin().await;
    for setting in ["epsilon = 0.001", "delta = 1e-15", "budget_epsilon = 100", "principal_budget_epsilon = 100"] {
        run(&admin, &format!("ALTER SYSTEM SET privacy.{setting}")).await;
    }
    for (table, rows) in [("without", 0), ("with_one", 4), ("with_many", 50_000)] {
        write(&server.folder().join(format!("{table}.parquet")), rows);
        for statement in [
            format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{table}.parquet'"),
            format!(
                "ALTER TABLE {table} SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 4)"
            ),
            format!("ALTER TABLE {table} ALTER COLUMN person_id SET (class = 'identifier')"),
            format!("ALTER TABLE {table} ALTER COLUMN hours SET (class = 'measure', lower = 0, upper = 40)"),
            format!("GRANT SELECT ON {table} TO insights_analyst"),
        ] {
            run(&admin, &statement).await;
        }
    }
    let analyst = server.analyst().await;
    let mut random = StdRng::seed_from_u64(11);
    let mut number = 0;
    println!("{:44} {:>11} {:>11} {:>8}", format!("{PAIRS} pairs of answers"), "with", "without", "z");
    for (name, table, quantum) in [
        ("one person of four rows, quantum 10 ms", "with_one", "10ms"),
        ("one person of four rows, no quantum", "with_one", "0"),
        ("one person of 50,000 rows, no quantum", "with_many", "0"),
    ] {
        run(&admin, &format!("ALTER SYSTEM SET privacy.response_quantum = '{quantum}'")).await;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let first = random.random::<bool>();
            for is_with in [first, !first] {
                number += 1;
                let took = time(&analyst, if is_with { table } else { "without" }, number).await;
                if is_with { with.push(took) } else { without.push(took) }
            }
        }
        let z = rank_test(&with, &without);
        let (with, without) = (median(&mut with), median(&mut without));
        println!("{name:44} {with:>11.2?} {without:>11.2?} {z:>8.2}");
    }
}
