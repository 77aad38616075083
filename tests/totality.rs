//! Totality: whatever a person's rows hold, no statement fails for it, and none has other rows or columns for it.
//!
//! Two servers with zero noise, one of which holds one person more, with hostile rows: 0, NULL, NaN, ±∞, the ends of every type,
//! dates that are none, patterns that cannot be compiled, long texts. Random statements over all allowed functions and operators
//! must be answered, or refused, by both alike. `PARAVENT_SEED` tries other statements than the usual ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "totality/expressions.rs"]
mod expressions;
mod support;
#[path = "totality/world.rs"]
mod world;

use std::collections::BTreeMap;

use expressions::{Dice, statement, sweep};
use support::{Refusal, TestServer, run};
use tokio_postgres::{Client, SimpleQueryMessage};

const STATEMENTS: u64 = 700;

/// What a client can see without looking at values.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered { rows: usize, columns: Vec<String> },
    Refused { sqlstate: String },
}

async fn outcome(client: &Client, sql: &str) -> Outcome {
    match client.simple_query(sql).await {
        Err(error) => Outcome::Refused { sqlstate: Refusal::of(error).sqlstate },
        Ok(messages) => {
            let rows = messages.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count();
            let columns = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    Some(columns.iter().map(|c| c.name().to_owned()).collect())
                }
                _ => None,
            });
            Outcome::Answered { rows, columns: columns.unwrap_or_default() }
        }
    }
}

async fn analyst(hostile: bool) -> (TestServer, Client) {
    let server = TestServer::start_silent().await.with_people().await;
    world::write(server.folder(), hostile);
    world::register(&server.admin().await).await;
    let analyst = server.analyst().await;
    run(&analyst, "SET privacy.epsilon = 0.1").await;
    (server, analyst)
}

/// What is wrong with a statement; nothing where both servers do alike, and neither fails.
async fn fault(with: &Client, without: &Client, sql: &str) -> (bool, Option<String>) {
    let (here, there) = (outcome(with, sql).await, outcome(without, sql).await);
    let answered = matches!(here, Outcome::Answered { .. });
    let failed = here == Outcome::Refused { sqlstate: "XX000".to_owned() };
    ((answered), (failed || here != there).then(|| format!("{sql}\n    with: {here:?}\n    without: {there:?}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_for_a_persons_rows() {
    let (_with, with) = analyst(true).await;
    let (_without, without) = analyst(false).await;
    let seed = std::env::var("PARAVENT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let random = (0..STATEMENTS).map(|n| statement(&mut Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(n))));
    let (mut answered, mut asked, mut faults) = (0, 0, Vec::new());
    for sql in sweep().into_iter().chain(random) {
        let (was_answered, fault) = fault(&with, &without, &sql).await;
        asked += 1;
        answered += usize::from(was_answered);
        faults.extend(fault);
    }
    println!("{answered} of {asked} answered");
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    assert!(answered * 2 > asked, "most statements were refused: {answered} of {asked} answered");
}

/// The comparison is not idle: a server that shows rows for a person differs.
#[test]
fn outcomes_differ_by_rows_columns_and_errors() {
    let answered = |rows, name: &str| Outcome::Answered { rows, columns: vec![name.to_owned()] };
    let seen =
        [answered(1, "a"), answered(2, "a"), answered(1, "b"), Outcome::Refused { sqlstate: "22012".to_owned() }];
    let mut kinds = BTreeMap::new();
    for outcome in &seen {
        *kinds.entry(format!("{outcome:?}")).or_insert(0) += 1;
    }
    assert_eq!(kinds.len(), 4);
}
