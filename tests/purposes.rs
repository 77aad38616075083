//! Purposes, access just in time, classes and the reports of administrators, over the wire (W9, W16, W17, R1–R4).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{Refusal, SMALL, TestServer, refused, rows, run, value};
use tokio_postgres::Client;

const SECOND_ADMIN: (&str, &str) = ("insights_1", "insights");

/// The demo's company, and a member of insights_admin beside the bootstrap account.
async fn company() -> TestServer {
    let server = TestServer::with_company(SMALL).await;
    let admin = server.admin().await;
    run(&admin, "CREATE ROLE insights_1 LOGIN PASSWORD 'insights'").await;
    run(&admin, "GRANT insights_admin TO insights_1").await;
    server
}

/// Refused with this SQLSTATE, with a way out, in the log; and no procedure's state moved.
async fn refuses(server: &TestServer, client: &Client, sqlstate: &str, sql: &str) -> Refusal {
    let auditor = server.auditor().await;
    let state = "SELECT count(*) FROM privacy.grants";
    let logged = format!("SELECT count(*) FROM audit.query_log WHERE outcome = 'refused' AND sqlstate = '{sqlstate}'");
    let (held, before) = (value(&auditor, state).await, support::number(&auditor, &logged).await);
    let refusal = refused(client, sql).await;
    assert_eq!(refusal.sqlstate, sqlstate, "{sql}: {refusal}");
    assert!(refusal.hint.is_some(), "{sql}: no way out: {refusal}");
    assert_eq!(value(&auditor, state).await, held, "{sql} changed something");
    // Once by each protocol.
    assert_eq!(support::number(&auditor, &logged).await, before + 2.0, "{sql} is not in the log");
    refusal
}

const REQUEST: &str =
    "CALL privacy.request_access('person', ARRAY['function', 'level'], 'deidentified', '2 hours', 'why levels differ')";

/// R1, R2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_is_requested_approved_by_somebody_else_and_ends() {
    let server = company().await;
    let (analyst, admin) = (server.analyst().await, server.login(SECOND_ADMIN).await);
    let state = "SELECT state FROM privacy.grants WHERE id = 1";
    run(&analyst, REQUEST).await;
    assert_eq!(value(&analyst, state).await, "requested");
    refuses(&server, &analyst, "42710", REQUEST).await;
    refuses(&server, &analyst, "42501", "CALL privacy.approve_access(1)").await;
    run(&admin, "CALL privacy.approve_access(1)").await;
    assert_eq!(value(&analyst, state).await, "live");
    let lasts = "SELECT valid_until - valid_from = INTERVAL '2 hours' FROM privacy.grants WHERE id = 1";
    assert_eq!(value(&analyst, lasts).await, "t");
    assert_eq!(value(&admin, "SELECT decided_by FROM privacy.grants").await, "insights_1");
    refuses(&server, &admin, "55000", "CALL privacy.approve_access(1)").await;
    refuses(&server, &admin, "55000", "CALL privacy.deny_access(1, 'too late')").await;
    run(&admin, "CALL privacy.revoke_access(1)").await;
    assert_eq!(value(&analyst, state).await, "revoked");
    refuses(&server, &admin, "55000", "CALL privacy.revoke_access(1)").await;

    run(&analyst, &REQUEST.replace("2 hours", "1 second")).await;
    run(&admin, "CALL privacy.approve_access(id => 2)").await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(value(&analyst, "SELECT state FROM privacy.grants WHERE id = 2").await, "expired");
    run(&analyst, REQUEST).await;
    run(&admin, "CALL privacy.deny_access(3, 'not needed for it')").await;
    let said = rows(&analyst, "SELECT state, decision FROM privacy.grants WHERE id = 3").await;
    assert_eq!(said, [[Some("denied".to_owned()), Some("not needed for it".to_owned())]]);
    run(&analyst, REQUEST).await;
    // Who asked may take it back.
    run(&analyst, "CALL privacy.revoke_access(4)").await;

    run(&server.admin().await, "CREATE ROLE analyst_2 LOGIN PASSWORD 'two' IN ROLE insights_analyst").await;
    let other = server.login(("analyst_2", "two")).await;
    assert!(rows(&other, "SELECT * FROM privacy.grants").await.is_empty(), "requests of others are not shown");
}

/// R2, and the bad input of issue 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_that_must_not_be_is_refused() {
    let server = company().await;
    let (analyst, admin) = (server.analyst().await, server.login(SECOND_ADMIN).await);
    for (sqlstate, from, to) in [
        ("22023", "'2 hours'", "'-2 hours'"),
        ("22023", "'2 hours'", "INTERVAL '0 seconds'"),
        ("22023", "'2 hours'", "'9 hours'"),
        ("22023", "'2 hours'", "'NaN'"),
        ("22023", "'2 hours'", "'99999999999999999999 hours'"),
        ("22023", "'2 hours'", "NULL"),
        ("22023", "'why levels differ'", "NULL"),
        ("22023", "'why levels differ'", "'  '"),
        ("22023", "ARRAY['function', 'level']", "NULL"),
        ("22023", "ARRAY['function', 'level']", "ARRAY[]"),
        ("22023", "ARRAY['function', 'level']", "'{function'"),
        ("42703", "ARRAY['function', 'level']", "ARRAY['functions']"),
        ("42P01", "'person'", "'persons'"),
        ("22023", "'deidentified'", "'everything'"),
        ("22023", "'deidentified'", "'direct'"),
        ("42883", "'why levels differ'", "reasons => 'why'"),
        ("42601", "'why levels differ'", "'why', level => 'direct'"),
    ] {
        let sql = REQUEST.replacen(from, to, 1);
        assert_ne!(sql, REQUEST);
        refuses(&server, &analyst, sqlstate, &sql).await;
    }
    // Administrators prepare data and read none of it.
    refuses(&server, &admin, "42501", REQUEST).await;
    for id in ["1", "-1", "NULL", "'x'", "1e0"] {
        let sqlstate = if id == "1" { "42704" } else { "22023" };
        refuses(&server, &admin, sqlstate, &format!("CALL privacy.approve_access({id})")).await;
    }
    refuses(&server, &admin, "42883", "CALL privacy.approve_everything()").await;
    run(&server.admin().await, "ALTER SYSTEM SET privacy.max_access_interval = '1 hour'").await;
    refuses(&server, &analyst, "22023", REQUEST).await;
    run(&analyst, &REQUEST.replace("2 hours", "1 hour")).await;
    // Whoever loses the account loses the access with it.
    run(&server.admin().await, "DROP ROLE analyst_1").await;
    assert_eq!(value(&admin, "SELECT state FROM privacy.grants").await, "revoked");
}
