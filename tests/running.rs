//! What runs, who sees it, who may end it, and how many may connect (issue 5: progress, connection hygiene).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use datafusion::parquet::arrow::ArrowWriter;
use support::{Refusal, TestServer, refused, rows, run, value};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Runs until somebody ends it, and is long enough to take turns.
const ENDLESS: &str = "SELECT sum(a.n * b.n + c.n) FROM line AS a CROSS JOIN line AS b CROSS JOIN long AS c";
/// The same over a file that says how long it is.
const ENDLESS_SCAN: &str = "SELECT sum(a.n * b.n) FROM long AS a CROSS JOIN long AS b";
const RUNNING: &str = "SELECT pid, role, application_name, stage, elapsed_ms >= 0, statement
    FROM privacy.running_queries WHERE application_name = 'slow'";

async fn served() -> TestServer {
    let server = TestServer::start().await.with_people().await;
    let lines: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    server.file("line.csv", &format!("n\n{lines}"));
    let column = Arc::new(Int64Array::from_iter_values(0..600_000));
    let batch = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
    let file = std::fs::File::create(server.folder().join("long.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE line STORED AS CSV LOCATION 'line.csv'",
        "CREATE EXTERNAL TABLE long STORED AS PARQUET LOCATION 'long.parquet'",
        "ALTER TABLE line SET (public = true)",
        "ALTER TABLE long SET (public = true)",
        "GRANT SELECT ON line, long TO insights_analyst",
        "CREATE ROLE analyst_2 LOGIN PASSWORD 'analyst' IN ROLE insights_analyst",
        "CREATE ROLE pat LOGIN PASSWORD 'pat' IN ROLE platform_admin",
    ] {
        run(&admin, statement).await;
    }
    server
}

/// A session of analyst_1 in which a statement runs.
async fn running(server: &TestServer, sql: &'static str) -> JoinHandle<Refusal> {
    let client = server.analyst().await;
    run(&client, "SET application_name = 'slow'").await;
    tokio::spawn(async move {
        match client.simple_query(sql).await {
            Err(error) => Refusal::of(error),
            Ok(_) => panic!("it was to run until it is ended"),
        }
    })
}

/// Asks until the rows are as wanted.
async fn until(
    client: &Client,
    sql: &str,
    wanted: impl Fn(&[Vec<Option<String>>]) -> bool,
) -> Vec<Vec<Option<String>>> {
    for _ in 0..1_000 {
        let found = rows(client, sql).await;
        if wanted(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to that: {sql}");
}

fn text(cell: &Option<String>) -> &str {
    cell.as_deref().unwrap_or("NULL")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_what_runs() {
    let server = served().await;
    let ended = running(&server, ENDLESS).await;
    let own = server.analyst().await;
    let seen = until(&own, RUNNING, |rows| rows.len() == 1 && text(&rows[0][3]) == "scan").await;
    let seen: Vec<&str> = seen[0].iter().map(text).collect();
    assert_eq!((seen[1], seen[2], seen[4], seen[5]), ("analyst_1", "slow", "t", ENDLESS));
    let pid = seen[0];
    let itself = rows(&own, "SELECT stage FROM privacy.running_queries WHERE pid = pg_backend_pid()").await;
    assert_eq!(itself, [[Some("compile".to_owned())]]);

    // An auditor and a platform administrator see that it runs, and not what; another analyst sees nothing.
    let (auditor, pat) = (server.auditor().await, server.login(("pat", "pat")).await);
    for other in [&auditor, &pat] {
        let seen = rows(other, RUNNING).await;
        assert_eq!((text(&seen[0][0]), text(&seen[0][1]), text(&seen[0][5])), (pid, "analyst_1", "NULL"));
    }
    let other = server.login(("analyst_2", "analyst")).await;
    assert_eq!(rows(&other, RUNNING).await.len(), 0);

    let activity = format!("SELECT usename, state, query, wait_event FROM pg_stat_activity WHERE pid = {pid}");
    let seen = rows(&own, &activity).await;
    assert_eq!(seen[0].iter().map(text).collect::<Vec<_>>(), ["analyst_1", "active", ENDLESS, "NULL"]);
    let seen = rows(&auditor, &activity).await;
    let expected = ["analyst_1", "NULL", "<insufficient privilege>", "NULL"];
    assert_eq!(seen[0].iter().map(text).collect::<Vec<_>>(), expected);
    assert_eq!(rows(&other, &activity).await.len(), 0);
    assert_eq!(value(&other, "SELECT count(*) FROM pg_stat_activity").await, "1");

    // Who may end it.
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        for other in [&other, &auditor] {
            assert_eq!(refused(other, &format!("SELECT {function}({pid})")).await.sqlstate, "42501");
        }
    }
    assert_eq!(value(&own, &format!("SELECT pg_cancel_backend({pid})")).await, "t");
    assert_eq!(ended.await.unwrap().sqlstate, "57014");
    until(&own, RUNNING, <[_]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_ended() {
    let server = served().await;
    let (own, pat) = (server.analyst().await, server.login(("pat", "pat")).await);
    run(&own, "SET application_name = 'own'").await;
    // Idle: it learns why at once.
    let idle = server.analyst().await;
    let pid = value(&idle, "SELECT pg_backend_pid()").await;
    assert_eq!(value(&own, &format!("SELECT pg_terminate_backend({pid})")).await, "t");
    let gone = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    until(&own, &gone, |rows| text(&rows[0][0]) == "0").await;
    assert!(idle.simple_query("SELECT 1").await.is_err());
    assert_eq!(value(&own, &format!("SELECT pg_terminate_backend({pid})")).await, "f");

    // Running, by a platform administrator; by way of the view, as they are wont to.
    let ended = running(&server, ENDLESS).await;
    until(&pat, RUNNING, |rows| rows.len() == 1).await;
    let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'analyst_1'
        AND application_name = 'slow'";
    assert_eq!(rows(&pat, all).await, [[Some("t".to_owned())]]);
    assert_eq!(ended.await.unwrap().sqlstate, "57014");
    until(&pat, RUNNING, <[_]>::is_empty).await;
    run(&own, "SELECT 1").await;

    // Of an administrator with CREATEROLE: their like only.
    let admin = server.admin().await;
    let pid = value(&admin, "SELECT pg_backend_pid()").await;
    assert_eq!(refused(&pat, &format!("SELECT pg_terminate_backend({pid})")).await.sqlstate, "42501");
    assert_eq!(refused(&pat, "SELECT pg_terminate_backend()").await.sqlstate, "42883");
}

/// A cancelled statement gives its turn to the next, and its memory back.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_given_on() {
    let server = served().await;
    let own = server.analyst().await;
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut ended = Vec::new();
    for _ in 0..=cores {
        ended.push(running(&server, ENDLESS).await);
    }
    let stages = "SELECT count(*) FILTER (WHERE stage = 'scan'), count(*) FILTER (WHERE stage = 'waiting')
        FROM privacy.running_queries WHERE application_name = 'slow'";
    let all = cores.to_string();
    let taken = |waiting: &'static str| {
        let all = all.clone();
        move |rows: &[Vec<Option<String>>]| text(&rows[0][0]) == all && text(&rows[0][1]) == waiting
    };
    until(&own, stages, taken("1")).await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'Admission'";
    assert_eq!(value(&own, waits).await, "1");
    let first = "SELECT pg_cancel_backend(min(pid)) FROM privacy.running_queries WHERE stage = 'scan'
        AND application_name = 'slow'";
    assert_eq!(value(&own, first).await, "t");
    until(&own, stages, taken("0")).await;
    rows(&own, "SELECT pg_cancel_backend(pid) FROM privacy.running_queries WHERE application_name = 'slow'").await;
    for ended in ended {
        assert_eq!(ended.await.unwrap().sqlstate, "57014");
    }
}

/// Tenths of files that are read from end to end; nothing where a filter may pass over a part of them.
#[tokio::test(flavor = "multi_thread")]
async fn how_much_is_read() {
    let server = served().await;
    let own = server.analyst().await;
    let fraction =
        "SELECT fraction_scanned FROM privacy.running_queries WHERE application_name = 'slow' AND stage = 'scan'";
    let ended = running(&server, ENDLESS_SCAN).await;
    let seen = until(&own, fraction, |rows| rows.len() == 1).await;
    let tenths: f64 = text(&seen[0][0]).parse::<f64>().unwrap() * 10.0;
    assert!((0.0..=10.0).contains(&tenths) && (tenths - tenths.round()).abs() < 1e-9, "{seen:?}");
    rows(&own, "SELECT pg_cancel_backend(pid) FROM privacy.running_queries WHERE application_name = 'slow'").await;
    ended.await.unwrap();

    const FILTERED: &str = "SELECT sum(a.n * b.n) FROM long AS a CROSS JOIN long AS b WHERE b.n > 1000";
    let ended = running(&server, FILTERED).await;
    assert_eq!(until(&own, fraction, |rows| rows.len() == 1).await, [[None]]);
    rows(&own, "SELECT pg_cancel_backend(pid) FROM privacy.running_queries WHERE application_name = 'slow'").await;
    ended.await.unwrap();
}

async fn refused_login(server: &TestServer, user: &str, password: &str) -> Refusal {
    match support::connect(server.address(), user, password).await {
        Err(error) => Refusal::of(error),
        Ok(_) => panic!("let in"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_connect_as_there_may_be() {
    let server = served().await;
    let admin = server.admin().await;
    run(&admin, "ALTER ROLE analyst_1 CONNECTION LIMIT 2").await;
    run(&admin, "CREATE USER guest PASSWORD 'guest' CONNECTION LIMIT 0").await;
    let limits = "SELECT rolname, rolconnlimit FROM pg_roles WHERE rolconnlimit >= 0 ORDER BY 1";
    let shown: Vec<String> = rows(&admin, limits).await.concat().iter().map(|cell| text(cell).to_owned()).collect();
    assert_eq!(shown, ["analyst_1", "2", "guest", "0"]);
    let (first, _second) = (server.analyst().await, server.analyst().await);
    let refusal = refused_login(&server, "analyst_1", "analyst").await;
    assert_eq!(refusal.sqlstate, "53300");
    assert_eq!(refusal.message, "too many connections for role \"analyst_1\"");
    assert_eq!(refused_login(&server, "guest", "guest").await.sqlstate, "53300");
    drop(first);
    let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'analyst_1'";
    until(&admin, count, |rows| text(&rows[0][0]) == "1").await;
    let _third = server.analyst().await;
    run(&admin, "ALTER ROLE analyst_1 CONNECTION LIMIT -1").await;
    let _fourth = server.analyst().await;

    // In all: two of five places are for those who manage roles.
    run(&admin, "ALTER SYSTEM SET max_connections = 5").await;
    run(&admin, "ALTER SYSTEM SET superuser_reserved_connections = 1").await;
    let refusal = refused_login(&server, "auditor_1", "auditor").await;
    assert_eq!(refusal.sqlstate, "53300");
    assert!(refusal.message.contains("reserved"), "{refusal}");
    let _pat = server.login(("pat", "pat")).await;
    let refusal = refused_login(&server, "pat", "pat").await;
    assert_eq!(refusal.message, "sorry, too many clients already");
    // A wrong password learns nothing of it.
    assert_eq!(refused_login(&server, "auditor_1", "wrong").await.sqlstate, "28P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_an_administrators() {
    let server = served().await;
    let (admin, pat, own) = (server.admin().await, server.login(("pat", "pat")).await, server.analyst().await);
    run(&pat, "ALTER ROLE analyst_2 CONNECTION LIMIT 7").await;
    for (client, sql, sqlstate) in [
        (&own, "ALTER ROLE analyst_2 CONNECTION LIMIT 1", "42501"),
        (&own, "ALTER ROLE analyst_1 CONNECTION LIMIT -1 PASSWORD 'x'", "42501"),
        (&pat, "ALTER ROLE pat CONNECTION LIMIT 5", "42501"),
        (&pat, "ALTER ROLE admin CONNECTION LIMIT 0", "42501"),
        (&admin, "ALTER ROLE analyst_2 CONNECTION LIMIT -2", "22023"),
        (&admin, "ALTER ROLE analyst_2 CONNECTION LIMIT 1.5", "22023"),
        (&admin, "ALTER ROLE analyst_2 CONNECTION LIMIT 1 CONNECTION LIMIT 2", "42601"),
        (&own, "SET max_connections = 1", "42501"),
        (&admin, "ALTER SYSTEM SET max_connections = 0", "22023"),
    ] {
        let refusal = refused(client, sql).await;
        assert_eq!(refusal.sqlstate, sqlstate, "{sql}: {refusal}");
    }
    // How many connect changes no answer: what is stored stays.
    let question = "SELECT n FROM line ORDER BY n LIMIT 1";
    run(&own, question).await;
    run(&admin, "ALTER SYSTEM SET max_connections = 50").await;
    assert_eq!(value(&own, "SHOW max_connections").await, "50");
}

/// Microseconds, and the same from the beginning of a transaction to its end, as in Postgres.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_has_one_now() {
    let server = served().await;
    let own = server.analyst().await;
    let moments = "SELECT now(), current_timestamp, transaction_timestamp(), statement_timestamp(), clock_timestamp()";
    run(&own, "BEGIN").await;
    let first = rows(&own, moments).await.remove(0);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = rows(&own, moments).await.remove(0);
    assert_eq!(first[..3], second[..3]);
    assert_eq!((&first[0], &first[0]), (&first[1], &first[2]));
    assert!(first[3] < second[3] && second[3] < second[4] && first[0] < first[3], "{first:?} {second:?}");
    // What is asked of tables has the same.
    let of_table = rows(&own, "SELECT now() FROM line LIMIT 1").await.remove(0);
    assert_eq!(of_table[0], first[0]);
    run(&own, "COMMIT").await;
    assert!(rows(&own, moments).await[0][0] > second[4]);
    let digits = text(&second[4]).split_once('.').map_or(0, |(_, rest)| rest.trim_end_matches("+00").len());
    assert!(digits <= 6, "{second:?}");

    // One string is one transaction.
    let messages = own.simple_query("SELECT now(); SELECT now()").await.unwrap();
    let seen: Vec<&str> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    assert_eq!((seen.len(), seen[0]), (2, seen[1]));
}
