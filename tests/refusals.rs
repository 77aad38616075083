//! Refusals: the same through both protocols, with a rule and a way out, in the log, and the server goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Refusal, SMALL, TestServer, number, refused, rows, run, value};
use tokio_postgres::Client;

/// Statements that would let a person's data out, or reach what is not for analysts.
const WOULD_LEAK: [&str; 7] = [
    "SELECT * FROM person",
    "SELECT email FROM person",
    "SELECT max(after_hours) OVER () FROM person_week",
    "SELECT count(*) FROM person WHERE email = 'x'",
    "COPY person TO STDOUT",
    "DECLARE c CURSOR FOR SELECT * FROM person",
    "SELECT * FROM '/etc/passwd'",
];

fn says_what_to_do(sql: &str, refusal: &Refusal) {
    assert!(refusal.detail.is_some() || refusal.hint.is_some(), "{sql}: {refusal}");
    let first = refusal.message.chars().next().unwrap();
    assert!(
        !first.is_uppercase() || refusal.message.starts_with("COPY") || refusal.message.starts_with("DECLARE"),
        "{sql}: {refusal}"
    );
    assert!(!refusal.message.ends_with('.'), "{sql}: {refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_leak_is_refused_alike_and_logged() {
    let server = TestServer::with_company(SMALL).await;
    let analyst = server.analyst().await;
    let auditor = server.auditor().await;
    for sql in WOULD_LEAK {
        // A cursor needs a transaction to be refused for what it reads.
        let in_transaction = sql.starts_with("DECLARE");
        let refusal =
            if in_transaction { refused_in_transaction(&analyst, sql).await } else { refused(&analyst, sql).await };
        if !sql.contains("passwd") {
            assert_eq!(refusal.sqlstate, "42501", "{sql}: {refusal}");
            says_what_to_do(sql, &refusal);
        }
        // What does not parse is kept without its literals: one of them may be a password.
        let logged = format!(
            "SELECT count(*) FROM audit.query_log WHERE principal = 'analyst_1' AND outcome = 'refused' \
             AND sqlstate = '{}' AND statement LIKE '{}%'",
            refusal.sqlstate,
            sql.split('\'').next().unwrap()
        );
        assert!(number(&auditor, &logged).await >= 2.0, "not logged through both protocols: {sql}");
    }
    let free = "SELECT coalesce(sum(rho), 0) FROM audit.query_log WHERE principal = 'analyst_1'";
    assert_eq!(number(&auditor, free).await, 0.0, "a refusal costs nothing");
}

async fn refused_in_transaction(client: &Client, sql: &str) -> Refusal {
    run(client, "BEGIN").await;
    let simple = Refusal::of(client.simple_query(sql).await.unwrap_err());
    run(client, "ROLLBACK").await;
    run(client, "BEGIN").await;
    let extended = Refusal::of(client.query(sql, &[]).await.unwrap_err());
    run(client, "ROLLBACK").await;
    assert_eq!(simple, extended, "{sql}");
    simple
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_input_gets_advice_and_the_server_stays_up() {
    let server = TestServer::start().await.with_people().await;
    let mut points = "person_id,team,points\n".to_owned();
    (1..=200).for_each(|id| points.push_str(&format!("{id},team {},{}\n", id % 2, id % 10)));
    server.file("points.csv", &points);
    server.file("bad.csv", "person_id,points\n1,2\n2,SECRET\n");
    let admin = server.admin().await;

    let missing = refused(&admin, "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'no/such.parquet'").await;
    assert_eq!(missing.sqlstate, "58P01", "{missing}");
    let bad = "CREATE EXTERNAL TABLE t (person_id BIGINT, points BIGINT) STORED AS CSV LOCATION 'bad.csv'";
    let bad = refused(&admin, bad).await;
    assert_eq!(bad.sqlstate, "22P02", "{bad}");
    assert!(!bad.to_string().contains("SECRET"), "a refusal quotes the data: {bad}");
    assert!(bad.to_string().contains('3') || bad.to_string().contains('2'), "no row number: {bad}");

    run(&admin, "CREATE EXTERNAL TABLE points STORED AS CSV LOCATION 'points.csv'").await;
    run(&admin, "GRANT SELECT ON points TO insights_analyst").await;
    let analyst = server.analyst().await;
    let unclassified = refused(&analyst, "SELECT count(*) FROM points").await;
    says_what_to_do("unclassified", &unclassified);

    run(&admin, "ALTER TABLE points ADD PRIMARY KEY (person_id)").await;
    run(&admin, "ALTER TABLE points SET (person_key = 'person_id')").await;
    run(&admin, "ALTER TABLE points ALTER COLUMN points SET (class = 'measure')").await;
    let hundred = value(&analyst, "SELECT count(*) BETWEEN 150 AND 250 FROM points").await;
    assert_eq!(hundred, "t");
    let unbounded = refused(&analyst, "SELECT sum(points) FROM points").await;
    says_what_to_do("unbounded", &unbounded);
    let clamped = "SELECT sum(clamp(points, 0, 9)) BETWEEN 600 AND 1200 FROM points";
    assert_eq!(value(&analyst, clamped).await, "t");
    let unclassed = refused(&analyst, "SELECT team, count(*) FROM points GROUP BY team").await;
    says_what_to_do("a column without a class", &unclassed);

    let unknown = refused(&analyst, "SELECT avg(shoe_size) FROM points").await;
    assert_eq!(unknown.sqlstate, "42703", "{unknown}");
    assert!(unknown.position.is_some(), "{unknown}");
    assert_eq!(rows(&analyst, "SELECT 1").await, [[Some("1".to_owned())]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raised_floor_holds_at_once() {
    let server = TestServer::with_company(SMALL).await;
    let analyst = server.analyst().await;
    let levels = "SELECT level, count(*) FROM person GROUP BY level";
    // 45 managers: seen at a floor of ten, gone at a hundred, in the same session and in place of the stored answer.
    assert_eq!(rows(&analyst, levels).await.len(), 3);
    run(&server.admin().await, "ALTER SYSTEM SET privacy.min_group_size = 100").await;
    assert_eq!(rows(&analyst, levels).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_budget_refuses_and_keeps_what_was_answered() {
    let server = TestServer::with_company(SMALL).await;
    run(&server.admin().await, "ALTER SYSTEM SET privacy.principal_budget_epsilon = 6").await;
    let analyst = server.analyst().await;
    let question = |n: usize| format!("SELECT count(*) FROM person WHERE country <> 'X{n}'");
    let first = rows(&analyst, &question(0)).await;
    let mut refusal = None;
    for n in 1..20 {
        if let Err(error) = analyst.simple_query(&question(n)).await {
            refusal = Some(Refusal::of(error));
            break;
        }
    }
    let refusal = refusal.expect("twenty answers at epsilon 1 for a budget of 6");
    assert_eq!(refusal.sqlstate, "53400", "{refusal}");
    says_what_to_do("budget", &refusal);
    assert_eq!(rows(&analyst, &question(0)).await, first, "what was paid for stays");
}

/// New data is a new question: the stored answer of the old data is not given, and is paid for anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_data_is_never_answered_from_the_store() {
    let server = TestServer::start().await.with_people().await;
    let crowd = |persons: usize| -> String {
        std::iter::once("person\n".to_owned()).chain((0..persons).map(|person| format!("{person}\n"))).collect()
    };
    server.file("crowd.csv", &crowd(500));
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE crowd STORED AS CSV LOCATION 'crowd.csv'",
        "ALTER TABLE crowd ADD PRIMARY KEY (person)",
        "ALTER TABLE crowd SET (person_key = 'person')",
        "GRANT SELECT ON crowd TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    let analyst = server.analyst().await;
    let count = "SELECT count(*) FROM crowd";
    let first: f64 = rows(&analyst, count).await[0][0].as_ref().unwrap().parse().unwrap();
    server.file("crowd.csv", &crowd(5000));
    let second: f64 = rows(&analyst, count).await[0][0].as_ref().unwrap().parse().unwrap();
    // Standard deviation 1: further off than 20 with probability below 1e-80.
    assert!((first - 500.0).abs() < 20.0 && (second - 5000.0).abs() < 20.0, "{first}, {second}");
}
