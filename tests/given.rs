//! An answer that was given a moment ago is given again without the whole path (W3, W7, W15, W16, W19): never when anything that it depends
//! on is another, and never without a line in the log. Over the wire; every question is asked until it is known before something changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{SMALL, TestServer, number, refused, rows, run, value};
use tokio_postgres::Client;

const WEEKS: &str = "SELECT function, count(*) AS n, avg(after_hours) FROM person JOIN person_week USING (person_id) GROUP BY function ORDER BY 1";

/// Statements that the policy has paid for.
async fn paid(analyst: &Client) -> f64 {
    number(analyst, "SELECT statements FROM privacy.budget WHERE principal IS NULL").await
}

/// Asks until the answer is one that is given again, and says how often it was paid.
async fn known(analyst: &Client, query: &str) -> f64 {
    let before = paid(analyst).await;
    let first = rows(analyst, query).await;
    for _ in 0..2 {
        assert_eq!(rows(analyst, query).await, first, "{query}");
    }
    paid(analyst).await - before
}

/// Gives the files of a table another identity: a copy takes their place.
fn replace(server: &TestServer, name: &str) {
    let file = server.folder().join(name);
    let copy = server.folder().join("copy");
    std::fs::copy(&file, &copy).unwrap();
    std::fs::rename(&copy, &file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rules_data_or_scopes_are_another_question() {
    let server = TestServer::with_company(SMALL).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    assert_eq!(known(&analyst, WEEKS).await, 1.0);
    let hours = "SELECT avg(after_hours) FROM person_week";
    assert_eq!(known(&analyst, hours).await, 1.0);
    for change in [
        "ALTER SYSTEM SET privacy.min_group_size = 12",
        "ALTER TABLE person_week ALTER COLUMN after_hours SET (lower = 0, upper = 12)",
        "CREATE POLICY no_germany ON person USING (country <> 'DE')",
        "CALL privacy.exclude_person('7')",
    ] {
        run(&admin, change).await;
        for query in [WEEKS, hours] {
            assert_eq!(known(&analyst, query).await, 1.0, "{change}: {query}");
        }
    }
    // Of one table; of the one whose rows say who is counted at all; in place, of the same length.
    replace(&server, "company/person_week.parquet");
    assert_eq!(known(&analyst, hours).await, 1.0, "another file");
    replace(&server, "company/person.parquet");
    assert_eq!(known(&analyst, hours).await, 1.0, "another file says who is in scope");
    let file = server.folder().join("company/person_week.parquet");
    let same = std::fs::read(&file).unwrap();
    std::fs::write(&file, same).unwrap();
    assert_eq!(known(&analyst, hours).await, 1.0, "a file that was written again");
    // A change that changes nothing for the question is free, and goes the whole path once.
    run(&admin, "CREATE ROLE somebody").await;
    assert_eq!(known(&analyst, hours).await, 0.0);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(refused(&analyst, hours).await.sqlstate, "58P01", "there is no data any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_ask_no_more_is_told_nothing_that_was_known() {
    let server = TestServer::with_company(SMALL).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    let other = server.another().await;
    run(&admin, "CREATE ROLE ana LOGIN PASSWORD 'ana'").await;
    let ana = server.login(("ana", "ana")).await;
    for (take, give) in [
        ("REVOKE insights_analyst FROM analyst_1", "GRANT insights_analyst TO analyst_1"),
        ("REVOKE SELECT ON person_week FROM insights_analyst", "GRANT SELECT ON person_week TO insights_analyst"),
        (
            "ALTER TABLE person_week ALTER COLUMN after_hours SET (class = 'hidden')",
            "ALTER TABLE person_week ALTER COLUMN after_hours SET (class = 'measure')",
        ),
        (
            "CALL privacy.require_training('insights_analyst', valid_for => '1 year')",
            "CALL privacy.waive_training('insights_analyst')",
        ),
    ] {
        known(&analyst, WEEKS).await;
        run(&admin, take).await;
        assert_eq!(refused(&analyst, WEEKS).await.sqlstate, "42501", "{take}");
        assert_eq!(refused(&ana, WEEKS).await.sqlstate, "42501", "it was never hers");
        run(&admin, give).await;
    }
    // What another server on the same state does counts from the next statement on.
    known(&analyst, WEEKS).await;
    run(&other.admin().await, "REVOKE insights_analyst FROM analyst_1").await;
    assert_eq!(refused(&analyst, WEEKS).await.sqlstate, "42501");
    run(&admin, "GRANT insights_analyst TO analyst_1").await;
    known(&analyst, WEEKS).await;
    run(&admin, "ALTER ROLE analyst_1 NOLOGIN").await;
    assert_eq!(refused(&analyst, WEEKS).await.sqlstate, "28000");
    run(&admin, "ALTER ROLE analyst_1 LOGIN").await;
    known(&analyst, WEEKS).await;
    run(&admin, "DROP ROLE analyst_1").await;
    run(&admin, "CREATE ROLE analyst_1 LOGIN PASSWORD 'analyst'").await;
    run(&admin, "GRANT insights_analyst TO analyst_1").await;
    assert_eq!(refused(&analyst, WEEKS).await.sqlstate, "28000", "another of the same name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_sets_and_declares_is_part_of_the_question() {
    let server = TestServer::with_company(SMALL).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    run(&analyst, "SET privacy.epsilon = 0.2").await;
    assert_eq!(known(&analyst, WEEKS).await, 1.0);
    run(&analyst, "SET privacy.epsilon = 0.4").await;
    assert_eq!(known(&analyst, WEEKS).await, 1.0, "a better answer was asked for");
    run(&analyst, "BEGIN; SET LOCAL privacy.epsilon = 0.6").await;
    assert_eq!(known(&analyst, WEEKS).await, 1.0, "a better one still");
    run(&analyst, "COMMIT").await;
    run(&analyst, "SET application_name = 'another'").await;
    assert_eq!(known(&analyst, WEEKS).await, 0.0);
    let log =
        "SELECT application FROM audit.query_log WHERE statement LIKE 'SELECT function%' ORDER BY id DESC LIMIT 1";
    let auditor = server.auditor().await;
    assert_eq!(value(&auditor, log).await, "another", "the log says what is so now");
    // A purpose that does not name the tables, one that does, and one that has ended.
    for (name, tables) in [("mails", "email"), ("load", "person', 'person_week")] {
        let purpose = "CALL privacy.create_purpose('NAME', ARRAY['TABLES'], NULL, NULL, '2100-01-01', 'works council')";
        run(&admin, &purpose.replace("NAME", name).replace("TABLES", tables)).await;
    }
    known(&analyst, WEEKS).await;
    run(&analyst, "SET privacy.purpose = 'mails'").await;
    assert_eq!(refused(&analyst, WEEKS).await.sqlstate, "42501");
    run(&analyst, "SET privacy.purpose = 'load'").await;
    known(&analyst, WEEKS).await;
    run(&admin, "CALL privacy.end_purpose('load')").await;
    assert_eq!(refused(&analyst, WEEKS).await.sqlstate, "42501");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_parameters_and_moments_are_what_they_are_now() {
    let server = TestServer::with_company(SMALL).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    run(&admin, "CREATE VIEW people AS SELECT person_id, country FROM person").await;
    run(&admin, "GRANT SELECT ON people TO insights_analyst").await;
    let query = "SELECT count(*) FROM people";
    known(&analyst, query).await;
    let all = number(&analyst, query).await;
    run(&admin, "CREATE OR REPLACE VIEW people AS SELECT person_id, country FROM person WHERE country = 'DE'").await;
    known(&analyst, query).await;
    assert!(number(&analyst, query).await < all * 0.8, "the view is another");
    let of = "SELECT count(*) FROM person WHERE country = $1";
    let mut counts = Vec::new();
    for _ in 0..2 {
        for country in ["DE", "FR", "nowhere"] {
            let row = analyst.query_one(of, &[&country]).await.unwrap();
            counts.push(row.get::<_, Option<i64>>(0));
        }
    }
    assert_eq!(counts[..3], counts[3..], "each is known by itself");
    assert!(counts[0] != counts[1] && counts[2].is_none(), "{counts:?}");
    // A comment hides nothing: time goes on.
    for moment in ["SELECT count(*), now/* */() FROM person", "SELECT count(*), current_timestamp FROM person"] {
        let cells = [rows(&analyst, moment).await, rows(&analyst, moment).await, rows(&analyst, moment).await];
        assert_eq!(cells[0][0][0], cells[2][0][0], "the count is stored");
        assert_ne!(cells[1][0][1], cells[2][0][1], "{moment}");
    }
}

/// Each is in the log before it is given, with what it read, and costs nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_that_is_given_again_has_its_line() {
    let server = TestServer::with_company(SMALL).await;
    let (analyst, auditor) = (server.analyst().await, server.auditor().await);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(server.analyst().await);
    }
    rows(&analyst, WEEKS).await;
    let asked = sessions.into_iter().map(|analyst| {
        tokio::spawn(async move {
            for _ in 0..25 {
                rows(&analyst, WEEKS).await;
            }
        })
    });
    for session in asked.collect::<Vec<_>>() {
        session.await.unwrap();
    }
    let lines = "SELECT count(*), count(*) FILTER (WHERE from_store), count(*) FILTER (WHERE rho > 0), \
                 count(DISTINCT tables || columns || protections || rows), count(elapsed_ms) \
                 FROM audit.query_log WHERE outcome = 'answered' AND statement LIKE 'SELECT function, count%'";
    let line: Vec<String> = rows(&auditor, lines).await[0].iter().map(|cell| cell.clone().unwrap()).collect();
    assert_eq!(line, ["101", "100", "1", "1", "101"]);
    assert_eq!(paid(&analyst).await, 1.0);
    let whole = rows(&auditor, "SELECT DISTINCT whole FROM audit.integrity").await;
    assert_eq!(whole, [[Some("t".to_owned())]], "the chain holds");
}

/// Statistics that another server found, and those of data that is there no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_are_those_of_the_moment() {
    let server = TestServer::with_company(SMALL).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    for change in [
        "ALTER TABLE person_week ALTER COLUMN chat_count RESET (lower, upper)",
        "ALTER SYSTEM SET privacy.analyze_epsilon = 4",
    ] {
        run(&admin, change).await;
    }
    let chats = "SELECT sum(chat_count) FROM person_week";
    let without = refused(&analyst, chats).await;
    let other = server.another().await;
    run(&other.admin().await, "ANALYZE person_week").await;
    assert_eq!(known(&analyst, chats).await, 1.0, "the other server knows the bounds");
    replace(&server, "company/person_week.parquet");
    assert_eq!(refused(&analyst, chats).await, without, "of the new data nothing is known");
    run(&admin, "ANALYZE person_week").await;
    assert_eq!(known(&analyst, chats).await, 1.0);
}
