//! TPC-H with the customer as the person: all 22 questions, asked over the wire, beside the unprotected engine's answers.
//!
//! Every released number must lie within `BOUND` standard errors of the exact one: a right server fails once in a million runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "tpch/compare.rs"]
mod compare;
#[path = "tpch/data.rs"]
mod data;
#[path = "tpch/questions.rs"]
mod questions;
mod support;

use compare::Comparison;
use datafusion::prelude::SessionContext;
use questions::{Fate, QUESTIONS, Question, official_text, words};
use support::{TestServer, refused, run};
use tokio_postgres::Client;

/// 15,000 customers, 150,000 orders, 600,000 line items.
const SCALE: f64 = 0.1;

/// In standard errors. A normal number is farther away once in 500 million; some hundred are compared.
const BOUND: f64 = 6.0;

const ANSWERED_AT_LEAST: usize = 16;

/// What is said to be official is so, word by word.
#[test]
fn the_questions_are_the_official_ones() {
    for question in &QUESTIONS {
        let same = words(question.text) == words(&official_text(question.number));
        assert_eq!(same, question.changed.is_none(), "Q{}", question.number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn most_questions_are_answered_and_no_answer_is_farther_off_than_it_says() {
    let server = data::server(SCALE).await;
    let admin = server.admin().await;
    run(&admin, "ALTER SYSTEM SET privacy.epsilon = 2").await;
    let asked = Asked { plain: data::plain(&server).await, analyst: server.analyst().await, admin, _server: server };
    let mut faults = Vec::new();
    let mut answered = 0;
    for question in &QUESTIONS {
        match asked.check(question).await {
            Ok(is_answered) => answered += usize::from(is_answered),
            Err(fault) => faults.push(format!("Q{}: {fault}", question.number)),
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    assert!(answered >= ANSWERED_AT_LEAST, "only {answered} are answered");
}

struct Asked {
    _server: TestServer,
    admin: Client,
    analyst: Client,
    plain: SessionContext,
}

impl Asked {
    /// Is there an answer, with something in it?
    async fn check(&self, question: &Question) -> Result<bool, String> {
        if let Fate::Refused(sqlstate) = question.fate {
            let refusal = refused(&self.analyst, question.text).await;
            return if refusal.sqlstate == sqlstate { Ok(false) } else { Err(refusal.to_string()) };
        }
        let comparison = compare::ask(&self.admin, &self.analyst, &self.plain, question).await;
        match &comparison {
            Ok(comparison) => println!("Q{:<2} {comparison}", question.number),
            Err(refusal) => println!("Q{:<2} {refusal}", question.number),
        }
        match (question.fate, comparison) {
            (Fate::Awaited(sqlstate, _), Err(refusal)) if refusal.starts_with(sqlstate) => Ok(false),
            (Fate::Awaited(_, then), Ok(comparison)) => judge(*then, &comparison),
            (fate, Ok(comparison)) => judge(fate, &comparison),
            (_, Err(refusal)) => Err(refusal),
        }
    }
}

fn judge(fate: Fate, comparison: &Comparison) -> Result<bool, String> {
    match fate {
        Fate::Public if comparison.same => Ok(true),
        Fate::Public => Err(format!("a public answer is not exact: {comparison}")),
        Fate::Hidden => Ok(false),
        Fate::Released(_) if comparison.values.is_empty() => Err("nothing is shown".to_owned()),
        Fate::Released(_) => match comparison.values.iter().find(|value| value.errors() > BOUND) {
            None => Ok(true),
            Some(value) => Err(value.to_string()),
        },
        Fate::Refused(_) | Fate::Awaited(..) => Err("neither refused nor answered".to_owned()),
    }
}
