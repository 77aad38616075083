//! Many at once: answers from the store, and new questions that share their commits.
//!
//! `cargo bench --bench concurrent`. Over the wire, on this machine, with the demo's company in small: what is measured is the server's
//! path, not the scan. Prints the median latency of a stored answer, how many a second 32 connections get, how many new questions
//! a second one analyst and 32 analysts get answered, and the processor time that one takes, the client's included; each of those is
//! debited and logged, durably, before its answer leaves. Then the durable part alone: what the ledger writes for a new question (debit and
//! log row, then outcome and stored answer), by one task that waits for each commit and by 32 that share them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use paravent::ledger::{Charge, Entry, Ledger, Limits, Outcome, Price, ToStore};
use paravent::policy::{Delta, Rho, Settings};
use paravent::state::State;
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

/// What this process, server and clients, has used of its processors.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may hold spaces: user and system time are the 12th and 13th, in hundredths of a second.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// What the path writes for a new question whose answer is one number.
async fn pay_and_log(ledger: &Ledger, number: u64) {
    let entry = Entry {
        who: "analyst_1".to_owned(),
        roles: vec!["insights_analyst".to_owned()],
        database: "paravent".to_owned(),
        application_name: "paravent tests".to_owned(),
        statement: format!("SELECT count(*) FROM person WHERE country <> 'X{number}'"),
        protocol: "simple".to_owned(),
        kind: "SELECT".to_owned(),
        tables: vec!["person".to_owned()],
        columns: vec!["person.country".to_owned(), "person.person_id".to_owned()],
        protections: "floor 10, threshold 4252, groups per person 1".to_owned(),
        ..Entry::default()
    };
    let price = Price { rho: Rho::new(1e-9).unwrap(), delta: Delta::new(1e-15).unwrap(), epsilon: None };
    let limits = Limits::new(&Settings::default()).unwrap();
    let paid = ledger.reserve(entry, vec![Charge { policy: "people".to_owned(), price }], &limits).await.unwrap();
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    let answers = "x".repeat(200);
    let store = vec![ToStore::new(&paid, key, answers, vec![0; 700], 1)];
    let outcome = Outcome::Answered { rows: 1, from_store: false, persons: Some(2_000) };
    ledger.finish(paid.log_id(), outcome, Duration::from_millis(2), store).await.unwrap();
}

/// Questions a second that are paid for and logged for `tasks` at once.
async fn rate_of_ledger(tasks: usize) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(State::open(folder.path().join("state")).unwrap()).await.unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + Duration::from_secs(SECONDS);
    let each = (0..tasks).map(|_| {
        let (ledger, asked) = (ledger.clone(), asked.clone());
        tokio::spawn(async move {
            while Instant::now() < end {
                pay_and_log(&ledger, asked.fetch_add(1, Ordering::Relaxed)).await;
            }
        })
    });
    for task in each.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    asked.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
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
    for (analysts, clients) in [(1, &clients[..1]), (CONNECTIONS, &clients[..])] {
        let before = processor_time();
        let start = Instant::now();
        let rate = rate(clients, new(1_000_000 * analysts as u64)).await;
        let each = (processor_time() - before).as_secs_f64() * 1e3 / (rate * start.elapsed().as_secs_f64());
        println!("new questions, {analysts} analysts: {rate:.0} a second, {each:.2} ms of processor time each");
    }

    let alone = rate_of_ledger(1).await;
    let together = rate_of_ledger(CONNECTIONS).await;
    println!(
        "paid and logged: {alone:.0} questions a second with a commit each, {together:.0} from {CONNECTIONS} tasks that share them: {:.1} times (wanted: 8)",
        together / alone
    );
}
