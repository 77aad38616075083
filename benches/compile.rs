//! From text to proof: how long each stage takes, for the workload's questions and TPC-H's, without a server and without a wire.
//!
//! `cargo bench --bench compile`. Median microseconds of `PARAVENT_COMPILE_ROUNDS` (100) rounds over all of them; names as arguments
//! (`Q2j q1`) ask only those.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "compile/surroundings.rs"]
mod surroundings;

use std::time::{Duration, Instant};

use paravent::query::statement::Statement;
use paravent::query::{self, parse};
use surroundings::{Asked, questions};

const STAGES: [&str; 6] = ["parse", "resolve", "check", "rewrite", "verify", "explain"];

fn main() {
    let rounds = std::env::var("PARAVENT_COMPILE_ROUNDS").map_or(100, |rounds| rounds.parse().unwrap());
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let asked = questions();
    let mut asked: Vec<_> = asked
        .iter()
        .filter(|asked| only.is_empty() || only.contains(&asked.name))
        .map(|asked| (asked, Ok(vec![Vec::new(); STAGES.len() + 1])))
        .collect();
    // One after the other, so that each finds the processor's caches as others have left them.
    for round in 0..rounds {
        for (asked, times) in &mut asked {
            match (compile(asked, &asked.text.replace("{n}", &round.to_string())), &mut *times) {
                (Ok(stages), Ok(times)) => {
                    let all = stages.iter().sum();
                    times.iter_mut().zip(stages.into_iter().chain([all])).for_each(|(times, took)| times.push(took));
                }
                (Err(error), _) => *times = Err(error),
                (Ok(_), Err(_)) => {}
            }
        }
    }
    println!("{:5}{}", "", STAGES.iter().chain(&["all"]).map(|stage| format!(" {stage:>8}")).collect::<String>());
    for (asked, times) in asked {
        match times {
            Ok(times) => println!("{:5}{}", asked.name, times.into_iter().map(in_words).collect::<String>()),
            Err(error) => println!("{:5} {error}", asked.name),
        }
    }
}

/// In microseconds.
fn in_words(times: Vec<Duration>) -> String {
    format!(" {:>8.0}", median(times).as_secs_f64() * 1e6)
}

fn compile(asked: &Asked, text: &str) -> Result<Vec<Duration>, paravent::error::Error> {
    let context = asked.context(text);
    let mut last = Instant::now();
    let mut stages = Vec::new();
    let mut stage = || {
        let now = Instant::now();
        stages.push(now - last);
        last = now;
    };
    let queries: Vec<_> = parse::parse(text)?.into_iter().map(|parsed| parsed.statement).collect();
    let query = queries.iter().find_map(|statement| match statement {
        Statement::Query(query) => Some(query),
        _ => None,
    });
    let query = query.expect("a question");
    stage();
    let resolved = query::resolve(&context, query, &[])?;
    stage();
    let checked = query::with_declared_values(&context, query::check(&context, resolved)?);
    stage();
    let private = query::rewrite(&context, checked)?;
    stage();
    let verified = query::verify(&context, private)?;
    query::refuse_outside_purpose(&context, &verified)?;
    stage();
    let sources = vec!["new"; verified.releases().len()];
    assert!(!query::privacy_lines(&verified, &sources).is_empty());
    stage();
    Ok(stages)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
