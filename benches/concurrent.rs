//! Many at once: answers from the store, and new questions that share their commits.
//!
//! `cargo bench --bench concurrent`. Over the wire, on this machine, with the demo's company in small: what is measured is the server's
//! path, not the scan. Prints the median latency of a stored answer, how many a second 32 connections get, and how many new questions
//! a second one analyst and 32 analysts get answered; each of those is debited and logged, durably, before its answer leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::{SMALL, TestServer, run};
use tokio_postgres::Client;

const CONNECTIONS: usize = 32;
const SECONDS: u64 = 5;
const STORED: &str =
    "SELECT function, count(*), avg(after_hours) FROM person JOIN person_week USING (person_id) GROUP BY function";

async fn ask(client: &Client, sql: &str) {
    client.simple_query(sql).await.unwrap_or_else(|error| panic!("{}: {sql}", support::Refusal::of(error)));
}

/// Answers a second that `clients` get, each asking again as soon as it is answered.
async fn rate(clients: &[Arc<Client>], question: impl Fn(u64) -> String + Clone + Send + Sync + 'static) -> f64 {
    let (asked, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let end = start + Duration::from_secs(SECONDS);
    let each = clients.iter().map(|client| {
        let (client, asked, answered) = (client.clone(), asked.clone(), answered.clone());
        let question = question.clone();
        tokio::spawn(async move {
            while Instant::now() < end {
                ask(&client, &question(asked.fetch_add(1, Ordering::Relaxed))).await;
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for client in each.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    answered.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let server = TestServer::with_company(SMALL).await;
    let admin = server.admin().await;
    // Tens of thousands of questions must be paid for.
    run(&admin, "ALTER SYSTEM SET privacy.epsilon = 0.01").await;
    run(&admin, "ALTER SYSTEM SET privacy.delta = 1e-15").await;
    // What is measured is the work, not the waiting for a whole multiple of 10 ms.
    run(&admin, "ALTER SYSTEM SET privacy.response_quantum = 0").await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Arc::new(server.analyst().await));
    }

    ask(&clients[0], STORED).await;
    let mut times = Vec::new();
    for _ in 0..1_000 {
        let start = Instant::now();
        ask(&clients[0], STORED).await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("stored answer, one connection: median {:.2?}, 95 % {:.2?} (wanted: 1 ms)", times[500], times[950]);
    let stored = rate(&clients, |_| STORED.to_owned()).await;
    println!("stored answers, {CONNECTIONS} connections: {stored:.0} a second (wanted: 5,000)");

    let new = |from: u64| move |n: u64| format!("SELECT count(*) FROM person WHERE country <> 'X{}'", from + n);
    let alone = rate(&clients[..1], new(0)).await;
    let together = rate(&clients, new(1_000_000)).await;
    println!(
        "new questions: {alone:.0} a second from one analyst, {together:.0} from {CONNECTIONS}: {:.1} times",
        together / alone
    );
}
