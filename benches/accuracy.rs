//! What a budget buys: a hundred different questions on the demo's company at epsilon 10 and delta 1e-6 in all, over the wire, beside
//! Laplace noise with epsilon split evenly over the questions, and in each over what it adds up (basic composition). Both get the
//! same bounds and the same limits of rows and groups per person; the baseline is spared the choice of groups, which it could not
//! make without more budget.
//!
//! `cargo bench --bench accuracy`. Printed per question and in all: the mean squared error over the groups, divided by the mean
//! square of the exact answers (clamped to the same bounds). Fails where the ratio of the means over all questions is below 4.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::HashMap;

use datafusion::arrow::array::Array;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use paravent::demo::Size;
use paravent_udfs::{Delta, Epsilon, rho_of};
use rand::RngExt;
use support::{TestServer, rows, run};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

const EPSILON: f64 = 10.0;
const DELTA: f64 = 1e-6;
const QUESTIONS: usize = 100;
const DELTA_EACH: f64 = 1e-9;
/// Of the baseline, so that its chance does not decide.
const REPEATS: usize = 100;
const LEAST_RATIO: f64 = 4.0;

/// Measures of `person_week` with their upper bounds (the lower is 0) in `sql/demo.sql`.
const MEASURES: [(&str, f64); 7] = [
    ("email_hours", 40.0),
    ("meeting_hours", 60.0),
    ("after_hours", 20.0),
    ("focus_hours", 40.0),
    ("call_hours", 20.0),
    ("email_count", 500.0),
    ("chat_count", 500.0),
];

/// How one value of an answer is made, for the baseline.
#[derive(Debug, Clone, Copy)]
enum Value {
    Count,
    /// Upper bound; the lower is 0.
    Sum(f64),
    /// Upper bound; the exact number of rows is in the exact answer's last column.
    Mean(f64),
}

/// A question to the server and the plain one with the same exact answer: keys, values, rows of the group.
struct Question {
    asked: String,
    plain: String,
    keys: usize,
    values: Vec<Value>,
}

/// The rows per person and the groups per person that the server says it reckons with.
struct Reach {
    cap: f64,
    groups: f64,
}

fn list(keys: &[&str]) -> (String, String) {
    let names = keys.join(", ");
    if keys.is_empty() { (String::new(), String::new()) } else { (format!("{names}, "), format!(" GROUP BY {names}")) }
}

fn persons(keys: &[&str], condition: &str) -> Question {
    let (first, grouped) = list(keys);
    let condition = if condition.is_empty() { String::new() } else { format!(" WHERE {condition}") };
    let asked = format!("SELECT {first}count(*) FROM person{condition}{grouped}");
    let plain = format!("SELECT {first}count(*), count(1) AS persons FROM person{condition}{grouped}");
    Question { asked, plain, keys: keys.len(), values: vec![Value::Count] }
}

/// `calls`: `avg` or `sum` of a measure.
fn weeks(keys: &[&str], calls: &[(&str, usize)], condition: &str) -> Question {
    let (first, grouped) = list(keys);
    let from = "FROM person JOIN person_week USING (person_id)";
    let condition = if condition.is_empty() { String::new() } else { format!(" WHERE {condition}") };
    let call = |clamped: bool| -> String {
        let one = |(call, measure): &(&str, usize)| {
            let (name, upper) = MEASURES[*measure];
            if clamped { format!("{call}(least({name}, {upper}))") } else { format!("{call}({name})") }
        };
        calls.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let value = |(call, measure): &(&str, usize)| {
        let upper = MEASURES[*measure].1;
        if *call == "avg" { Value::Mean(upper) } else { Value::Sum(upper) }
    };
    Question {
        asked: format!("SELECT {first}{} {from}{condition}{grouped}", call(false)),
        plain: format!("SELECT {first}{}, count(*) AS persons {from}{condition}{grouped}", call(true)),
        keys: keys.len(),
        values: calls.iter().map(value).collect(),
    }
}

/// The mean over persons of a person's own mean.
fn persons_weeks(keys: &[&str], measure: usize) -> Question {
    let (first, grouped) = list(keys);
    let (name, upper) = MEASURES[measure];
    let inner = |value: &str| {
        format!(
            "FROM (SELECT person_id, {first}avg({value}) AS own FROM person JOIN person_week USING (person_id) \
             GROUP BY {first}person_id) AS one{grouped}"
        )
    };
    Question {
        asked: format!("SELECT {first}avg(own) {}", inner(name)),
        plain: format!("SELECT {first}avg(least(own, {upper})), count(*) {}", inner(name)),
        keys: keys.len(),
        values: vec![Value::Mean(upper)],
    }
}

/// At most 500 mails a person count.
fn mails(keys: &[&str]) -> Question {
    let (first, grouped) = list(keys);
    let from = "FROM person JOIN email ON person_id = sender_id";
    let inner = format!("(SELECT {first}sender_id, least(count(*), 500) AS n {from} GROUP BY {first}sender_id) AS one");
    Question {
        asked: format!("SELECT {first}count(*) {from}{grouped}"),
        plain: format!("SELECT {first}sum(n), sum(n) AS mails FROM {inner}{grouped}"),
        keys: keys.len(),
        values: vec![Value::Count],
    }
}

fn questions() -> Vec<Question> {
    let mut all = Vec::new();
    let keys: [&[&str]; 4] = [&[], &["function"], &["level"], &["country"]];
    for keys in [&["function"][..], &["level"], &["country"], &["function", "level"], &["function", "country"]] {
        all.push(persons(keys, ""));
        all.push(persons(keys, "hired < DATE '2020-01-01'"));
        all.push(persons(keys, "country <> 'DE'"));
    }
    for keys in keys {
        all.extend((0..MEASURES.len()).map(|measure| weeks(keys, &[("avg", measure)], "")));
    }
    for keys in [&["function"][..], &["week"], &["country"]] {
        all.extend((0..MEASURES.len()).map(|measure| weeks(keys, &[("sum", measure)], "")));
    }
    for keys in [&["function"][..], &["level"]] {
        for measure in 0..5 {
            let calls = [("avg", measure), ("sum", (measure + 1) % 5), ("avg", (measure + 2) % 5)];
            all.push(weeks(keys, &calls, "week < 26"));
        }
    }
    for keys in [&["function"][..], &["country"], &["function", "level"]] {
        all.extend((0..5).map(|measure| persons_weeks(keys, measure)));
    }
    for keys in [&[][..], &["function"], &["level"], &["country"], &["city"]] {
        all.push(mails(keys));
    }
    for measure in 0..6 {
        all.push(weeks(&["function", "country"], &[("avg", measure)], "hired < DATE '2018-01-01'"));
    }
    assert_eq!(all.len(), QUESTIONS);
    all
}

/// The keys of a row, and its numbers.
type Answers = HashMap<Vec<String>, Vec<f64>>;

async fn exact(plain: &SessionContext, question: &Question) -> Answers {
    let batches = plain.sql(&question.plain).await.unwrap().collect().await.unwrap();
    let options = FormatOptions::default();
    let mut answers = Answers::new();
    for batch in &batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            assert!(batch.columns().iter().all(|column| !column.is_null(row)));
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            let numbers = cells[question.keys..].iter().map(|cell| cell.parse().unwrap()).collect();
            answers.insert(cells[..question.keys].to_vec(), numbers);
        }
    }
    answers
}

async fn ours(analyst: &Client, question: &Question) -> Answers {
    let split = |row: Vec<Option<String>>| {
        // A value that may not be shown leaves its group out.
        let cells: Vec<String> = row.into_iter().collect::<Option<_>>()?;
        let numbers = cells[question.keys..].iter().map(|cell| cell.parse().unwrap()).collect();
        Some((cells[..question.keys].to_vec(), numbers))
    };
    rows(analyst, &question.asked).await.into_iter().filter_map(split).collect()
}

async fn reach(analyst: &Client, question: &Question) -> Reach {
    let lines = rows(analyst, &format!("EXPLAIN (PRIVACY) {}", question.asked)).await;
    let number = |label: &str| -> f64 {
        let line = lines.iter().find_map(|line| line[0].as_deref()?.trim().strip_prefix(label)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    Reach { cap: number("rows per person and group:"), groups: number("groups per person (M):") }
}

fn laplace(scale: f64, rng: &mut impl RngExt) -> f64 {
    let uniform: f64 = rng.random_range(-0.5..0.5);
    -scale * uniform.signum() * (1.0 - 2.0 * uniform.abs()).max(f64::MIN_POSITIVE).ln()
}

/// What Laplace noise makes of one group's exact numbers.
fn baseline(question: &Question, reach: &Reach, exact: &[f64], rng: &mut impl RngExt) -> Vec<f64> {
    let sums: usize = question.values.iter().map(|value| if let Value::Mean(_) = value { 2 } else { 1 }).sum();
    let epsilon = EPSILON / QUESTIONS as f64 / sums as f64;
    let rows = exact[question.values.len()];
    let l1 = reach.cap * reach.groups / epsilon;
    let mut noised = Vec::new();
    for (value, exact) in question.values.iter().zip(exact) {
        noised.push(match value {
            Value::Count => (exact + laplace(l1, rng)).max(0.0),
            Value::Sum(upper) => exact + laplace(l1 * upper, rng),
            Value::Mean(upper) => {
                let mid = upper / 2.0;
                let sum = (exact - mid) * rows + laplace(l1 * mid, rng);
                let count = (rows + laplace(l1, rng)).max(1.0);
                (mid + sum / count).clamp(0.0, *upper)
            }
        });
    }
    noised
}

/// Mean squared errors over the groups that were released, each over the mean square of the exact values; mean over the values.
fn relative(question: &Question, exact: &[&Vec<f64>], noised: &[Vec<f64>]) -> f64 {
    let of_value = |i: usize| -> f64 {
        let errors: f64 = exact.iter().zip(noised).map(|(exact, noised)| (exact[i] - noised[i]).powi(2)).sum();
        errors / exact.iter().map(|exact| exact[i].powi(2)).sum::<f64>()
    };
    (0..question.values.len()).map(of_value).sum::<f64>() / question.values.len() as f64
}

async fn start() -> (TestServer, SessionContext) {
    let server = TestServer::with_company(Size::DEMO).await;
    let admin = server.admin().await;
    // The other half is for choosing groups.
    let half = Delta::new(DELTA / 2.0).unwrap();
    let rho = rho_of(Epsilon::new(EPSILON).unwrap(), half).unwrap().get() / QUESTIONS as f64;
    let each = ((2.0 * rho).sqrt() * 1e6).floor() / 1e6;
    println!("epsilon {EPSILON}, delta {DELTA} in all; privacy.epsilon = {each} for each of {QUESTIONS} questions");
    for (name, value) in [
        ("privacy.budget_epsilon", EPSILON),
        ("privacy.principal_budget_epsilon", EPSILON),
        ("privacy.budget_delta", DELTA),
        ("privacy.delta", DELTA_EACH),
        ("privacy.epsilon", each),
    ] {
        run(&admin, &format!("ALTER SYSTEM SET {name} = {value:e}")).await;
    }
    let plain = SessionContext::new();
    for table in ["person", "person_week", "email"] {
        let file = server.folder().join(format!("company/{table}.parquet"));
        plain.register_parquet(table, file.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
    }
    (server, plain)
}

async fn compare() {
    let (server, plain) = start().await;
    let analyst = server.analyst().await;
    let mut rng = rand::rng();
    let (mut sum_ours, mut sum_baseline, mut logs) = (0.0, 0.0, 0.0);
    println!("{:>12} {:>12} {:>8} {:>7}  question", "ours", "laplace", "ratio", "groups");
    for question in questions() {
        let exact = exact(&plain, &question).await;
        let reach = reach(&analyst, &question).await;
        let answers = ours(&analyst, &question).await;
        assert!(!answers.is_empty(), "nothing shown: {}", question.asked);
        let (shown, noised): (Vec<&Vec<f64>>, Vec<Vec<f64>>) =
            answers.into_iter().map(|(key, values)| (&exact[&key], values)).unzip();
        let ours = relative(&question, &shown, &noised);
        let mut theirs = 0.0;
        for _ in 0..REPEATS {
            let noised: Vec<_> = shown.iter().map(|exact| baseline(&question, &reach, exact, &mut rng)).collect();
            theirs += relative(&question, &shown, &noised) / REPEATS as f64;
        }
        println!("{ours:12.3e} {theirs:12.3e} {:8.1} {:>7}  {}", theirs / ours, shown.len(), question.asked);
        sum_ours += ours / QUESTIONS as f64;
        sum_baseline += theirs / QUESTIONS as f64;
        logs += (theirs / ours).ln() / QUESTIONS as f64;
    }
    let one_more = analyst.simple_query("SELECT city, count(*) FROM person GROUP BY city").await;
    assert_eq!(support::Refusal::of(one_more.unwrap_err()).sqlstate, "53400", "the budget was all there was");
    let ratio = sum_baseline / sum_ours;
    println!("\nmean relative squared error: ours {sum_ours:.3e}, Laplace {sum_baseline:.3e}, ratio {ratio:.1}");
    println!("mean ratio of one question (geometric): {:.1}", logs.exp());
    assert!(ratio >= LEAST_RATIO && logs.exp() >= LEAST_RATIO, "the ratio is below {LEAST_RATIO}");
}

fn main() {
    Runtime::new().unwrap().block_on(compare());
}
