//! What protection costs: the same question asked of Paravent over the wire and of plain DataFusion, in one process, over the
//! same files. Prints a ratio for each question; criterion keeps the two series.
//!
//! `cargo bench --bench overhead`. Every protected question is a new one (it differs in a condition that everybody meets), so
//! that no answer comes from the store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use criterion::Criterion;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use paravent::demo::Size;
use support::{TestServer, run};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

/// Name and question. `{n}` makes a question a new one.
const QUESTIONS: [(&str, &str); 4] = [
    ("persons by function", "SELECT function, count(*) FROM person WHERE country <> 'X{n}' GROUP BY function"),
    (
        "after hours by function and country",
        "SELECT function, country, avg(after_hours) FROM person JOIN person_week USING (person_id) \
         WHERE country <> 'X{n}' GROUP BY function, country",
    ),
    (
        "email hours by country and week",
        "SELECT country, week, sum(email_hours) FROM person JOIN person_week USING (person_id) \
         WHERE country <> 'X{n}' GROUP BY country, week",
    ),
    (
        "mails by function",
        "SELECT function, count(*) FROM person JOIN email ON person_id = sender_id \
         WHERE country <> 'X{n}' GROUP BY function",
    ),
];

const ROUNDS: usize = 15;

struct Bench {
    runtime: Runtime,
    _server: TestServer,
    analyst: Client,
    plain: SessionContext,
    asked: usize,
}

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let (analyst, plain, server) = runtime.block_on(async {
            let server = TestServer::with_company(Size::DEMO).await;
            // Thousands of questions: neither budget may end. What a question spends does not change what it does.
            let admin = server.admin().await;
            run(&admin, "ALTER SYSTEM SET privacy.epsilon = 0.1").await;
            run(&admin, "ALTER SYSTEM SET privacy.delta = 1e-12").await;
            // What is measured is the work, not the waiting for a whole multiple of 10 ms.
            run(&admin, "ALTER SYSTEM SET privacy.response_quantum = 0").await;
            let plain = SessionContext::new();
            for table in ["person", "person_week", "email"] {
                let file = server.folder().join(format!("company/{table}.parquet"));
                let file = file.to_str().unwrap();
                plain.register_parquet(table, file, ParquetReadOptions::default()).await.unwrap();
            }
            (server.analyst().await, plain, server)
        });
        Self { runtime, _server: server, analyst, plain, asked: 0 }
    }

    fn next(&mut self, question: &str) -> String {
        self.asked += 1;
        question.replace("{n}", &self.asked.to_string())
    }

    fn protected(&mut self, question: &str) -> Duration {
        let sql = self.next(question);
        let start = Instant::now();
        let answer = self.runtime.block_on(self.analyst.simple_query(&sql));
        assert!(answer.unwrap_or_else(|error| panic!("{}", support::Refusal::of(error))).len() > 2);
        start.elapsed()
    }

    fn plain(&mut self, question: &str) -> Duration {
        let sql = self.next(question);
        let start = Instant::now();
        let rows = self.runtime.block_on(async { self.plain.sql(&sql).await?.collect().await });
        assert!(!rows.unwrap().is_empty());
        start.elapsed()
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let mut bench = Bench::new();
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    for (name, question) in QUESTIONS {
        criterion.bench_function(&format!("{name}/protected"), |b| {
            b.iter_custom(|times| (0..times).map(|_| bench.protected(question)).sum());
        });
        criterion.bench_function(&format!("{name}/plain"), |b| {
            b.iter_custom(|times| (0..times).map(|_| bench.plain(question)).sum());
        });
    }
    criterion.final_summary();
    println!("\n{:40} {:>12} {:>12} {:>8}", "question", "protected", "plain", "ratio");
    for (name, question) in QUESTIONS {
        // In turns, so that both see the same machine.
        let (with, without): (Vec<_>, Vec<_>) =
            (0..ROUNDS).map(|_| (bench.protected(question), bench.plain(question))).unzip();
        let (with, without) = (median(with), median(without));
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("{name:40} {with:>12.2?} {without:>12.2?} {ratio:>8.2}");
    }
}
