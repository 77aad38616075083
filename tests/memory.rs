//! Queries under a limit of memory: what does not fit is spilled, what cannot be done says so, and others go on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use paravent::catalog::files::Memory;
use paravent_udfs::Noise;
use support::{Refusal, SMALL, TestServer, refused, rows, run};

/// Groups of one person's weeks each, and persons in many groups: the heaviest that the company allows.
const HEAVY: &str = "SELECT function, country, week, count(*), avg(after_hours) FROM person JOIN person_week USING (person_id) \
                     WHERE country <> 'X{n}' GROUP BY function, country, week";
const LIGHT: &str = "SELECT count(*) FROM person WHERE country <> 'X{n}'";

async fn server(limit: usize) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory { limit: Some(limit), spill_dir: None };
    TestServer::limited_company(folder, Noise::from_os(), memory, SMALL).await
}

/// Eight at once; the SQLSTATE of each that was not answered.
async fn all_at_once(server: &TestServer) -> Vec<String> {
    let mut asked = Vec::new();
    for n in 0..8 {
        let client = server.analyst().await;
        let sql = HEAVY.replace("{n}", &n.to_string());
        asked.push(tokio::spawn(async move { client.simple_query(&sql).await.map_err(Refusal::of) }));
    }
    let mut refusals = Vec::new();
    for answer in asked {
        if let Err(refusal) = answer.await.unwrap() {
            refusals.push(refusal.sqlstate);
        }
    }
    refusals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_little_memory_a_question_is_answered_or_told_so_and_others_go_on() {
    let server = server(2 << 20).await;
    let refusals = all_at_once(&server).await;
    assert!(refusals.iter().all(|sqlstate| sqlstate == "53200"), "{refusals:?}");
    assert!(!refusals.is_empty(), "two megabytes were enough: the test shows nothing");
    let analyst = server.analyst().await;
    analyst.simple_query(&LIGHT.replace("{n}", "a")).await.unwrap();
    assert_eq!(left_behind(&server), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_enough_memory_every_question_is_answered() {
    let server = server(256 << 20).await;
    assert_eq!(all_at_once(&server).await, Vec::<String>::new());
    assert_eq!(left_behind(&server), 0);
}

/// Rows that are shown are made ready in that memory, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_shown_take_of_the_same_memory() {
    const ROWS: &str = "SELECT person_id, week, after_hours FROM person_week";
    for (limit, enough) in [(2 << 20, false), (256 << 20, true)] {
        let server = server(limit).await;
        let (admin, analyst) = (server.admin().await, server.analyst().await);
        let request =
            "CALL privacy.request_access('person_week', '{person_id,week,after_hours}', 'deidentified', '1 hour', 'x')";
        run(&analyst, request).await;
        run(&admin, "CALL privacy.approve_access(1)").await;
        run(&admin, "ALTER SYSTEM SET privacy.access_row_cap = 1000000").await;
        if enough {
            let all = rows(&analyst, ROWS).await;
            assert!(all.len() > 10_000, "{}", all.len());
        } else {
            let refusal = refused(&analyst, ROWS).await;
            assert!(refusal.sqlstate == "53200" && refusal.hint.is_some(), "{refusal}");
        }
        // What they took is given back.
        for n in 0..3 {
            run(&analyst, &LIGHT.replace("{n}", &n.to_string())).await;
        }
        assert_eq!(left_behind(&server), 0);
    }
}

/// Files of rows in the folder to spill to, once nobody asks any more.
fn left_behind(server: &TestServer) -> usize {
    fn files(folder: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
    }
    files(&server.folder().join("spill"))
}
