//! ANALYZE over the wire: what it costs, when it is of use, and how good the bounds are that follow from it.
//!
//! The bounds are held against every fixed bound of a fine grid, on the demo's company: the root-mean-square error over the groups,
//! of the noise that the server announces and of what the bound cuts off the exact sums, must come within 1.5 times the best.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use paravent::demo::Size;
use support::{TestServer, number, refused, rows, run, value};
use tokio_postgres::Client;

const MEASURES: [&str; 7] =
    ["email_hours", "meeting_hours", "after_hours", "focus_hours", "call_hours", "email_count", "chat_count"];

/// As many persons and weeks as in the demo.
const COMPANY: Size = Size { persons: 20_000, weeks: 52, emails: 200_000 };

/// Bounds, noise and what is cut off must come within this of the best, in the geometric mean over the questions. In nine runs it was
/// 1.05 to 1.08, and its logarithm is a mean of thirty: 1.2 is more than ten of its standard deviations away.
const MEAN: f64 = 1.2;
/// One question alone may have bad luck: 1.16 to 1.76 was the worst of thirty.
const WORST: f64 = 4.0;

/// The demo's tables again, without any bound.
async fn undeclared(admin: &Client) {
    run(admin, "CREATE EXTERNAL TABLE raw_week STORED AS PARQUET LOCATION 'company/person_week.parquet'").await;
    run(admin, "ALTER TABLE raw_week ADD PRIMARY KEY (person_id, week)").await;
    run(admin, "ALTER TABLE raw_week SET (privacy_policy = 'people', person_key = 'person_id')").await;
    run(admin, "ALTER TABLE raw_week ALTER COLUMN person_id SET (class = 'identifier')").await;
    for column in ["week", "week_start"] {
        run(admin, &format!("ALTER TABLE raw_week ALTER COLUMN {column} SET (class = 'attribute')")).await;
    }
    for column in MEASURES {
        run(admin, &format!("ALTER TABLE raw_week ALTER COLUMN {column} SET (class = 'measure')")).await;
    }
    run(admin, "CREATE EXTERNAL TABLE raw_mail STORED AS PARQUET LOCATION 'company/email.parquet'").await;
    run(admin, "ALTER TABLE raw_mail SET (privacy_policy = 'people', person_key = 'sender_id')").await;
    run(admin, "ALTER TABLE raw_mail ALTER COLUMN sender_id SET (class = 'identifier')").await;
    run(admin, "GRANT SELECT ON raw_week, raw_mail TO insights_analyst").await;
}

async fn spent(admin: &Client) -> f64 {
    number(admin, "SELECT epsilon_spent FROM privacy.budget WHERE principal IS NULL").await
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_of_one_snapshot_and_are_paid_once() {
    let server = TestServer::with_company(support::SMALL).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    undeclared(&admin).await;
    let sum = "SELECT sum(after_hours) FROM raw_week";
    let before = refused(&analyst, sum).await;
    assert_eq!(before.sqlstate, "22023");
    assert_eq!(refused(&analyst, "ANALYZE raw_week").await.sqlstate, "42501");
    assert_eq!(refused(&admin, "ANALYZE nothing").await.sqlstate, "42P01");

    let at_first = spent(&admin).await;
    run(&admin, "ANALYZE raw_week").await;
    let once = spent(&admin).await;
    assert!(once > at_first, "{once}");
    run(&admin, "ANALYZE raw_week, raw_week").await;
    assert_eq!(spent(&admin).await, once);
    run(&analyst, sum).await;
    let lines = rows(&analyst, &format!("EXPLAIN (PRIVACY) {sum}")).await;
    let text: Vec<&str> = lines.iter().filter_map(|line| line[0].as_deref()).collect();
    assert!(
        text.iter().any(|line| line.contains("note: values of raw_week.after_hours are counted from 0 to")),
        "{text:?}"
    );
    assert!(text.iter().any(|line| line.contains("persons: about")), "{text:?}");

    // The same rows in another file are other data.
    let file = server.folder().join("company/person_week.parquet");
    let copy = server.folder().join("copy.parquet");
    std::fs::copy(&file, &copy).unwrap();
    std::fs::rename(&copy, &file).unwrap();
    assert_eq!(refused(&analyst, sum).await.sqlstate, "22023");
    run(&admin, "ANALYZE raw_week").await;
    run(&analyst, sum).await;
}

/// What makes them keeps the system's mechanism: a policy all of whose answers have an epsilon adds those up still.
#[tokio::test(flavor = "multi_thread")]
async fn statistics_by_laplace_noise_cost_their_epsilon() {
    let server = TestServer::with_company(support::SMALL).await;
    let admin = server.admin().await;
    undeclared(&admin).await;
    run(&admin, "ALTER SYSTEM SET privacy.mechanism = 'laplace'").await;
    run(&admin, "ANALYZE raw_week").await;
    let (spent, analyze) = (spent(&admin).await, number(&admin, "SHOW privacy.analyze_epsilon").await);
    // So many small parts come to less in zCDP.
    assert!(spent > 0.0 && spent < analyze, "{spent} of {analyze}");
    run(&server.analyst().await, "SELECT count(*) FROM person").await;
    assert!(
        (number(&admin, "SELECT epsilon_spent FROM privacy.budget WHERE principal IS NULL").await - 1.5).abs() < 1e-9
    );
}

/// A weight moves noise from one value to the other, at the same price.
#[tokio::test(flavor = "multi_thread")]
async fn weights_move_noise() {
    let server = TestServer::with_company(support::SMALL).await;
    let analyst = server.analyst().await;
    let error = async |label: &str| -> f64 {
        let sql = "EXPLAIN (PRIVACY) SELECT sum(email_hours) AS mail, sum(call_hours) AS calls FROM person_week";
        let lines = rows(&analyst, sql).await;
        let line = lines.iter().filter_map(|line| line[0].as_deref()).find(|line| line.contains(label)).unwrap();
        line.split("standard error ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
    };
    let (mail, calls) = (error("email_hours").await, error("call_hours").await);
    run(&analyst, "SET privacy.weights = 'mail=16'").await;
    assert!(error("email_hours").await < 0.8 * mail);
    assert!(error("call_hours").await > 1.2 * calls);
    run(&analyst, "SET privacy.weights = 'sum(call_hours)=16'").await;
    assert!(error("call_hours").await < 0.8 * calls);
    assert_eq!(value(&analyst, "SHOW privacy.weights").await, "sum(call_hours)=16");
    assert_eq!(refused(&analyst, "SET privacy.weights = 'much'").await.sqlstate, "22023");
}

struct Exact(SessionContext);

impl Exact {
    async fn numbers(&self, sql: &str) -> Vec<f64> {
        let batches = self.0.sql(sql).await.unwrap().collect().await.unwrap();
        let mut numbers = Vec::new();
        for batch in &batches {
            let column = cast(batch.column(batch.num_columns() - 1), &DataType::Float64).unwrap();
            numbers.extend(column.as_primitive::<Float64Type>().values().iter().copied());
        }
        numbers
    }
}

/// The bound and the standard error that the server announces of the question's only value, and the rows per person.
async fn announced(analyst: &Client, sql: &str) -> (f64, f64, f64) {
    let lines = rows(analyst, &format!("EXPLAIN (PRIVACY) {sql}")).await;
    let after = |label: &str| -> f64 {
        let found = lines.iter().find_map(|line| line[0].as_deref()?.split(label).nth(1));
        let text = found.unwrap_or("NaN").trim().trim_end_matches(',');
        text.split([',', ']', ' ']).next().unwrap().parse().unwrap()
    };
    (after("bounds [0, "), after("expected standard error "), after("rows per person and group: "))
}

fn rms(noise: f64, cut: &[f64]) -> f64 {
    (noise * noise + cut.iter().map(|cut| cut * cut).sum::<f64>() / cut.len() as f64).sqrt()
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_come_close_to_the_best_fixed_ones() {
    let server = TestServer::with_company(COMPANY).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    undeclared(&admin).await;
    run(&admin, "ANALYZE raw_week, raw_mail").await;
    let exact = Exact(SessionContext::new());
    for (table, file) in [("raw_week", "person_week"), ("person", "person"), ("raw_mail", "email")] {
        let file = server.folder().join(format!("company/{file}.parquet"));
        exact.0.register_parquet(table, file.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
    }
    let (mut ratios, mut ratios_of_largest) = (Vec::new(), Vec::new());
    for keys in ["", "function", "function, country", "week"] {
        let (first, grouped) = if keys.is_empty() {
            (String::new(), String::new())
        } else {
            (format!("{keys}, "), format!("GROUP BY {keys}"))
        };
        for measure in MEASURES {
            let from = format!("FROM person JOIN raw_week USING (person_id) {grouped}");
            let (bound, noise, _) = announced(&analyst, &format!("SELECT {first}sum({measure}) {from}")).await;
            let error = async |bound_here: f64| {
                let cut = exact
                    .numbers(&format!("SELECT {first}sum(greatest({measure} - {bound_here:?}, 0.0)) {from}"))
                    .await;
                rms(noise * bound_here / bound, &cut)
            };
            let ours = error(bound).await;
            let mut best = f64::INFINITY;
            let largest = exact.numbers(&format!("SELECT max({measure}) FROM raw_week")).await[0];
            for step in 0..20 {
                best = best.min(error(largest * 0.82_f64.powi(step)).await);
            }
            println!("{measure} by ({keys}): bound {bound}, {:.2} times the best error", ours / best);
            ratios.push(ours / best);
            ratios_of_largest.push(error(largest).await / best);
        }
    }
    for keys in ["", "function"] {
        let (first, grouped) = if keys.is_empty() { ("", "") } else { ("function, ", "GROUP BY function") };
        let question = format!("SELECT {first}count(*) FROM person JOIN raw_mail ON person_id = sender_id {grouped}");
        let (_, noise, cap) = announced(&analyst, &question).await;
        let error = async |cap_here: f64| {
            let each =
                format!("SELECT {first}sender_id, count(*) AS n FROM person JOIN raw_mail ON person_id = sender_id");
            let by = if keys.is_empty() { "sender_id" } else { "function, sender_id" };
            let cut = format!(
                "SELECT {first}sum(greatest(n - {cap_here:?}, 0.0)) FROM ({each} GROUP BY {by}) AS s {grouped}"
            );
            rms(noise * cap_here / cap, &exact.numbers(&cut).await)
        };
        let ours = error(cap).await;
        let mut best = f64::INFINITY;
        for cap_here in (1..100).map(|step| 4 * step) {
            best = best.min(error(f64::from(cap_here)).await);
        }
        println!("mails by ({keys}): {cap} rows a person, {:.2} times the best error", ours / best);
        ratios.push(ours / best);
    }
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    assert!(mean(&ratios) <= MEAN && worst <= WORST, "{} {worst}", mean(&ratios));
    // The largest value as a bound, which cuts nothing off, would be seen.
    assert!(mean(&ratios_of_largest) > MEAN, "{}", mean(&ratios_of_largest));
}

/// The geometric one.
fn mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

/// What nobody reads without a purpose, or outside of a metric, has no statistics; it is said, and declared bounds serve.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sensitive_and_hidden_columns_are_not_analyzed_and_it_is_said() {
    let server = TestServer::with_company(support::SMALL).await;
    let admin = server.admin().await;
    undeclared(&admin).await;
    run(&admin, "ALTER TABLE raw_week ALTER COLUMN after_hours SET (class = 'sensitive')").await;
    run(&admin, "ALTER TABLE raw_week ALTER COLUMN chat_count SET (class = 'hidden')").await;
    let said = || String::from_utf8(server.psql(support::ADMIN, "ANALYZE raw_week;").stderr).unwrap();
    for _ in 0..2 {
        let said = said();
        assert!(said.contains("no statistics of after_hours, chat_count of table raw_week"), "{said}");
        assert!(said.contains("ALTER TABLE raw_week ALTER COLUMN after_hours SET (lower"), "{said}");
    }
    let kept = rusqlite::Connection::open(server.folder().join("paravent.db")).unwrap();
    let kept: String = kept.query_row("SELECT statistics FROM table_statistics", [], |row| row.get(0)).unwrap();
    assert!(kept.contains("email_hours") && !kept.contains("after_hours") && !kept.contains("chat_count"), "{kept}");
    for column in ["after_hours", "chat_count"] {
        run(&admin, &format!("ALTER TABLE raw_week ALTER COLUMN {column} SET (lower = 0, upper = 40)")).await;
    }
    assert!(!said().contains("no statistics of"));
}
