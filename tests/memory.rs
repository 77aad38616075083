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
    let server = server(384 << 10).await;
    let refusals = all_at_once(&server).await;
    assert!(refusals.iter().all(|sqlstate| sqlstate == "53200"), "{refusals:?}");
    assert!(!refusals.is_empty(), "so little was enough: the test shows nothing");
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

/// Persons of [`visits`], and the places where each of them was.
const VISITORS: usize = 6_000;
const PLACES: usize = 20;

/// A server with four megabytes and 120,000 visits, of which a person counts in at most five places. Without noise: choices are random
/// all the same.
#[cfg(debug_assertions)]
async fn visits() -> TestServer {
    let memory = Memory { limit: Some(4 << 20), spill_dir: None };
    let server =
        TestServer::start_limited(tempfile::tempdir().unwrap(), Noise::zero(), memory).await.with_people().await;
    let visit = |n: usize| format!("{},{},{n}\n", n % VISITORS * 977, n / VISITORS);
    let visits: String = (0..VISITORS * PLACES).map(visit).collect();
    server.file("visit.csv", &format!("person,place,ticket\n{visits}"));
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE visit STORED AS CSV LOCATION 'visit.csv'",
        "ALTER TABLE visit ADD PRIMARY KEY (person, place)",
        "ALTER TABLE visit SET (person_key = 'person', max_rows_per_person = 20, max_groups_per_person = 5)",
        "ALTER TABLE visit ALTER COLUMN place SET (class = 'attribute')",
        "ALTER TABLE visit ALTER COLUMN ticket SET (class = 'attribute')",
        "GRANT SELECT ON visit TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    server
}

/// Rows wait on disk until each person's are counted. Five places of each person count, none for two and none for nothing.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_more_persons_than_memory_holds_are_bounded() {
    let server = visits().await;
    let answer = rows(&server.analyst().await, "SELECT place, count(*) FROM visit GROUP BY place").await;
    assert_eq!(answer.len(), PLACES);
    let counted = |row: &Vec<Option<String>>| row[1].as_deref().unwrap().parse::<usize>().unwrap();
    assert_eq!(answer.iter().map(counted).sum::<usize>(), 5 * VISITORS);
    assert_eq!(left_behind(&server), 0);
}

/// The groups of a release cannot be spilled: 120,000 of them do not fit.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_cannot_be_answered_says_so_while_others_are() {
    let server = visits().await;
    let (large, other) = (server.analyst().await, server.analyst().await);
    let asked = tokio::spawn(async move {
        let mut refusals = Vec::new();
        for n in 0..3 {
            let sql = format!("SELECT ticket, count(*) FROM visit WHERE place <> {} GROUP BY ticket", 100 + n);
            refusals.push(large.simple_query(&sql).await.map_err(Refusal::of));
        }
        refusals
    });
    let mut meanwhile = 0;
    while !asked.is_finished() || meanwhile < 3 {
        let sql = format!("SELECT place, count(*) FROM visit WHERE place <> {} GROUP BY place", 200 + meanwhile);
        assert_eq!(rows(&other, &sql).await.len(), PLACES);
        meanwhile += 1;
    }
    for refusal in asked.await.unwrap() {
        let refusal = refusal.unwrap_err();
        assert!(refusal.sqlstate == "53200" && refusal.detail.is_some() && refusal.hint.is_some(), "{refusal}");
    }
    assert_eq!(left_behind(&server), 0);
}

/// Files of rows in the folder to spill to, once nobody asks any more.
fn left_behind(server: &TestServer) -> usize {
    fn files(folder: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
    }
    files(&server.folder().join("spill"))
}
