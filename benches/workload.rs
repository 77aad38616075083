//! Protected questions beside plain DataFusion and beside SQL that bounds contributions by hand: one command, one table.
//!
//! `cargo bench --bench workload`. Everything in one process, over the same files, with two threads each, in turns; medians of seven.
//! `PARAVENT_WORKLOAD_PERSONS` (100,000) and `PARAVENT_WORKLOAD_EVENTS` (50,000,000) set the size; the files are made once.
//! `PARAVENT_WORKLOAD_ONLY=Q3` asks one question.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "workload/data.rs"]
mod data;
#[path = "workload/questions.rs"]
mod questions;
#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use data::Size;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use questions::{ATTRIBUTES, MEASURES, QUESTIONS, SCHEMA};
use support::{TestServer, run, statements};
use tokio_postgres::Client;

const ROUNDS: usize = 7;

struct Bench {
    _server: TestServer,
    analyst: Client,
    plain: SessionContext,
    asked: usize,
}

impl Bench {
    async fn new(files: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(files, folder.path().join("workload")).unwrap();
        let server = TestServer::start_in(folder).await.with_people().await;
        let admin = server.admin().await;
        for statement in statements(SCHEMA) {
            run(&admin, statement).await;
        }
        for table in ["people", "pw", "pwf", "pwf52", "pwf26", "events"] {
            let class =
                |column: &str, options: String| format!("ALTER TABLE {table} ALTER COLUMN {column} SET ({options})");
            run(&admin, &class("person_id", "class = 'identifier'".to_owned())).await;
            if table != "pw" && table != "events" {
                for column in ATTRIBUTES {
                    run(&admin, &class(column, "class = 'attribute'".to_owned())).await;
                }
            }
            if table.starts_with("pw") {
                run(&admin, &class("week", "class = 'attribute'".to_owned())).await;
                for (column, upper) in MEASURES {
                    run(&admin, &class(column, format!("class = 'measure', lower = 0, upper = {upper}"))).await;
                }
            }
            run(&admin, &format!("GRANT SELECT ON {table} TO insights_analyst")).await;
        }
        // Hundreds of questions: the budget must not end. What a question spends does not change what it does.
        run(&admin, "ALTER SYSTEM SET privacy.epsilon = 0.1").await;
        run(&admin, "ALTER SYSTEM SET privacy.delta = 1e-12").await;
        // What is measured is the work, not the waiting for a whole multiple of 10 ms.
        run(&admin, "ALTER SYSTEM SET privacy.response_quantum = 0").await;
        let plain = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        for table in ["people", "pw", "pwf", "events"] {
            let file = files.join(format!("{table}.parquet"));
            plain.register_parquet(table, file.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
        }
        Self { analyst: server.analyst().await, plain, _server: server, asked: 0 }
    }

    fn new_question(&mut self, question: &str) -> String {
        self.asked += 1;
        question.replace("{n}", &self.asked.to_string())
    }

    async fn protected(&mut self, question: &str) -> Duration {
        let sql = self.new_question(question);
        let start = Instant::now();
        let answer = self.analyst.simple_query(&sql).await;
        let took = start.elapsed();
        assert!(answer.unwrap_or_else(|error| panic!("{}: {sql}", support::Refusal::of(error))).len() > 2, "{sql}");
        took
    }

    async fn plain(&mut self, question: &str) -> Duration {
        let sql = self.new_question(question);
        let start = Instant::now();
        let rows = self.plain.sql(&sql).await.unwrap().collect().await.unwrap();
        assert!(!rows.is_empty());
        start.elapsed()
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let size = Size {
        persons: number("PARAVENT_WORKLOAD_PERSONS", 100_000),
        events: number("PARAVENT_WORKLOAD_EVENTS", 50_000_000),
    };
    let files = data::ensure(Path::new(env!("CARGO_TARGET_TMPDIR")), size);
    let mut bench = Bench::new(&files).await;
    println!(
        "{:5} {:52} {:>10} {:>10} {:>10} {:>7} {:>8} {:>7}",
        "", "protected : plain DataFusion", "protected", "plain", "by hand", "ratio", "by hand", "wanted"
    );
    let only = std::env::var("PARAVENT_WORKLOAD_ONLY").unwrap_or_default();
    for question in QUESTIONS.iter().filter(|question| only.is_empty() || only == question.name) {
        let (mut protected, mut plain, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let times = (
                bench.protected(question.protected).await,
                bench.plain(question.plain).await,
                bench.plain(question.by_hand).await,
            );
            // The first warms up.
            if round > 0 {
                protected.push(times.0);
                plain.push(times.1);
                by_hand.push(times.2);
            }
        }
        let (protected, plain, by_hand) = (median(protected), median(plain), median(by_hand));
        let ratio = |time: Duration| time.as_secs_f64() / plain.as_secs_f64();
        let wanted = question.wanted.map_or("–".to_owned(), |wanted| format!("{wanted:.2}"));
        println!(
            "{:5} {:52} {protected:>10.1?} {plain:>10.1?} {by_hand:>10.1?} {:>7.2} {:>8.2} {wanted:>7}",
            question.name,
            question.about,
            ratio(protected),
            ratio(by_hand)
        );
    }
}
