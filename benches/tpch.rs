//! What protection costs TPC-H: each question at epsilon 1, its relative error beside the exact answer, and its time beside plain
//! DataFusion's, in one process over the same files, medians of five.
//!
//! `cargo bench --bench tpch`. The scale factor is `PARAVENT_TPCH_SCALE`, 1 unless set: 150,000 customers, 6 million line items.
//! Names of questions as arguments (`q1 q6`) ask only those.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/tpch/compare.rs"]
mod compare;
#[path = "../tests/tpch/data.rs"]
mod data;
#[path = "../tests/tpch/questions.rs"]
mod questions;
#[path = "../tests/support/mod.rs"]
mod support;

use compare::{Comparison, Times};
use questions::{Fate, QUESTIONS};
use tokio::runtime::Runtime;

fn main() {
    let scale = std::env::var("PARAVENT_TPCH_SCALE").map_or(1.0, |scale| scale.parse().unwrap());
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| argument.starts_with('q')).collect();
    Runtime::new().unwrap().block_on(table(scale, &only));
}

async fn table(scale: f64, only: &[String]) {
    let server = data::server(scale).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    let plain = data::plain(&server).await;
    // What is measured is the work, not the waiting for a whole multiple of 10 ms.
    support::run(&admin, "ALTER SYSTEM SET privacy.response_quantum = 0").await;
    let mut ratios = Vec::new();
    println!("TPC-H at scale factor {scale}, epsilon 1 a question, the customer as the person\n");
    println!(
        "{:4} {:>13} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10} {:>7}  example",
        "", "rows", "values", "error", "expected", "worst", "protected", "plain", "ratio"
    );
    for question in QUESTIONS.iter().filter(|q| only.is_empty() || only.contains(&format!("q{}", q.number))) {
        if let Fate::Refused(sqlstate) = question.fate {
            println!("Q{:<3} refused, {sqlstate}", question.number);
            continue;
        }
        let compared = compare::ask(&admin, &analyst, &plain, question).await;
        let timed = compare::time(&admin, &analyst, &plain, question).await;
        match compared.and_then(|comparison| Ok((comparison, timed?))) {
            Ok((comparison, times)) => {
                ratios.push(times.ratio());
                println!("Q{:<3} {}", question.number, line(&comparison, &times));
            }
            Err(fault) => println!("Q{:<3} {fault}", question.number),
        }
    }
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64).exp();
    println!("\n{} answered, protected : plain {mean:.2} (geometric mean)", ratios.len());
    println!(
        "\nrows: shown of those that the exact answer has. error: median of |released - exact| / |exact|. expected: median of the\n\
         standard error that the answer itself gives, beside |exact|. worst: the largest error."
    );
}

fn line(comparison: &Comparison, times: &Times) -> String {
    let rows = format!("{} of {}", comparison.rows, comparison.exact_rows);
    let share = |value: Option<f64>| value.map_or(String::new(), |value| format!("{:.2}%", 100.0 * value));
    let error = if comparison.same { "exact".to_owned() } else { share(comparison.median(compare::Value::relative)) };
    let expected = share(comparison.median(compare::Value::expected));
    let worst = share(comparison.largest(compare::Value::relative));
    let ratio = times.ratio();
    let values = comparison.values.len();
    let example = comparison.values.first().map(ToString::to_string).unwrap_or_default();
    let (protected, plain) = (times.protected, times.plain);
    format!(
        "{rows:>13} {values:>8} {error:>10} {expected:>10} {worst:>10} {protected:>10.2?} {plain:>10.2?} {ratio:>7.2}  {example}"
    )
}
