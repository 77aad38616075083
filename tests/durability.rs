//! A server that is killed loses no debit of an answer that a client has received.
//!
//! The real binary is killed with SIGKILL while four clients ask a hundred different questions. After the restart the log has
//! every received answer as answered and paid, the budget has fallen by at least as much, and asking again gives the same rows
//! for nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{ADMIN_PASSWORD, ANALYST, AUDITOR, SMALL, connect, number, rows, run, statements};

const QUESTIONS: usize = 100;
/// Answers received before the kill.
const ENOUGH: usize = 30;

type Rows = Vec<Vec<Option<String>>>;

/// The binary, killed when dropped.
struct Process(Child);

impl Process {
    /// SIGKILL: nothing of the server runs after it.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(folder: &Path) -> (Process, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_paravent"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder)
        .env("PARAVENT_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let process = Process(child);
    for line in lines.map(Result::unwrap) {
        assert!(!line.contains("password"), "a password that was set is printed");
        if let Some(address) = line.strip_prefix("listening on ") {
            return (process, address.parse().unwrap());
        }
    }
    panic!("the server ended before it listened");
}

/// Different persons may be meant by each, so each has its own price.
fn question(n: usize) -> String {
    format!("SELECT function, count(*) FROM person WHERE country <> 'X{n}' GROUP BY function ORDER BY function")
}

async fn ask(address: SocketAddr, first: usize, received: Arc<Mutex<BTreeMap<usize, Rows>>>) {
    let Ok(client) = connect(address, ANALYST.0, ANALYST.1).await else {
        return;
    };
    for n in (first..QUESTIONS).step_by(4) {
        match client.simple_query(&question(n)).await {
            Ok(messages) => received.lock().unwrap().insert(n, support::texts(&messages)),
            Err(error) if error.as_db_error().is_none() => return,
            Err(error) => panic!("{}", support::Refusal::of(error)),
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_every_debit() {
    let folder = tempfile::tempdir().unwrap();
    paravent::demo::ensure_company(folder.path(), SMALL, &indicatif::ProgressBar::hidden()).unwrap();
    let (mut server, address) = serve(folder.path());
    let admin = connect(address, "admin", ADMIN_PASSWORD).await.unwrap();
    for statement in statements(include_str!("../sql/demo.sql")) {
        run(&admin, statement).await;
    }
    run(&admin, "ALTER SYSTEM SET privacy.budget_delta = 1e-3").await;
    let received = Arc::new(Mutex::new(BTreeMap::new()));
    let askers: Vec<_> = (0..4).map(|n| tokio::spawn(ask(address, n, received.clone()))).collect();
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while received.lock().unwrap().len() < ENOUGH {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("answers came too slowly");
    server.kill();
    for asker in askers {
        asker.await.unwrap();
    }
    let received = received.lock().unwrap().clone();
    assert!(received.len() < QUESTIONS, "the kill came too late to prove anything");

    let (_server, address) = serve(folder.path());
    let auditor = connect(address, AUDITOR.0, AUDITOR.1).await.unwrap();
    every_answer_is_in_the_log(&auditor, &received).await;
    let spent = "SELECT epsilon_spent FROM privacy.budget WHERE principal = 'analyst_1'";
    let before = number(&auditor, spent).await;
    let analyst = connect(address, ANALYST.0, ANALYST.1).await.unwrap();
    for (n, answer) in &received {
        assert_eq!(&rows(&analyst, &question(*n)).await, answer, "question {n} asked again");
    }
    assert_eq!(number(&auditor, spent).await, before, "a repeated answer costs nothing");
}

async fn every_answer_is_in_the_log(auditor: &tokio_postgres::Client, received: &BTreeMap<usize, Rows>) {
    for n in received.keys() {
        let logged = format!(
            "SELECT count(*) FROM audit.query_log WHERE principal = 'analyst_1' AND statement LIKE '%''X{n}''%' \
             AND outcome = 'answered' AND rho > 0"
        );
        assert_eq!(number(auditor, &logged).await, 1.0, "answer {n} was received and is not in the log");
    }
    let paid = "SELECT sum(rho) FROM audit.query_log WHERE principal = 'analyst_1'";
    let statements = "SELECT statements FROM privacy.budget WHERE principal = 'analyst_1'";
    assert!(number(auditor, statements).await >= received.len() as f64);
    // Epsilon 1 buys rho = 1/2.
    assert!(number(auditor, paid).await >= 0.5 * received.len() as f64 - 1e-9);
}
