//! `paravent demo` as a new user runs it, and what the README says of an answer that is asked twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{SMALL, TestServer, number, rows};

/// Starts the demo, waits for its last line, stops it with Ctrl-C. Gives what it printed.
fn demo(folder: &Path) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_paravent"))
        .args(["demo", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder)
        .env_remove("PARAVENT_ADMIN_PASSWORD")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        printed.push_str(&line);
        printed.push('\n');
        if line.contains("Ctrl-C") {
            break;
        }
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    for _ in 0..200 {
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{printed}");
            return printed;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    panic!("Ctrl-C does not stop the demo\n{printed}");
}

#[test]
fn the_demo_answers_and_uses_its_folder_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = demo(folder.path());
    let made = || std::fs::metadata(folder.path().join("company/email.parquet")).unwrap().modified().unwrap();
    let first_made = made();
    for word in ["Engineering", "Legal", "±", "psql \"postgresql://analyst_1:", "auditor_1"] {
        assert!(first.contains(word), "no {word} in\n{first}");
    }
    let functions = first.lines().filter(|line| line.contains(" | ")).count();
    assert_eq!(functions, 1 + 8, "{first}");

    let second = demo(folder.path());
    assert_eq!(made(), first_made, "the company is made once");
    let table =
        |text: &str| -> Vec<String> { text.lines().filter(|line| line.contains(" | ")).map(str::to_owned).collect() };
    assert_eq!(table(&first), table(&second), "the same question has the same answer");
}

#[test]
fn the_demo_does_not_leave_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_paravent"))
        .args(["demo", "--listen", "0.0.0.0:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_twice_it_is_paid_once() {
    let server = TestServer::with_company(SMALL).await;
    let analyst = server.analyst().await;
    let left = "SELECT epsilon_left FROM privacy.budget WHERE policy = 'people' AND principal = 'analyst_1'";
    let question = "SELECT function, count(*), avg(after_hours) FROM person JOIN person_week USING (person_id) \
                    GROUP BY function ORDER BY 2 DESC LIMIT 5";
    let first = rows(&analyst, question).await;
    let after_one = number(&analyst, left).await;
    assert_eq!(first.len(), 5);
    assert_eq!(rows(&analyst, question).await, first);
    assert_eq!(number(&analyst, left).await, after_one);
    let by_extended = analyst.query(question, &[]).await.unwrap();
    assert_eq!(by_extended.len(), 5);
    assert_eq!(number(&analyst, left).await, after_one, "the other protocol asks the same question");
    rows(&analyst, "SELECT count(*) FROM person").await;
    assert!(number(&analyst, left).await < after_one);
}
