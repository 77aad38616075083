//! The protocol of an authenticated session, message by message, and with psql.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/raw.rs"]
mod raw;

use std::process::{Command, Output};

use certificate::Certificate;
use paravent::wire::ListenerOptions;
use raw::*;

fn kinds(messages: &[Message]) -> String {
    messages.iter().map(|message| message.kind).collect()
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message('P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    let names = format!("{portal}\0{statement}\0");
    message('B', &[names.as_bytes(), &[0; 6]].concat())
}

fn describe(kind: char, name: &str) -> Vec<u8> {
    message('D', format!("{kind}{name}\0").as_bytes())
}

fn execute(portal: &str, most: u32) -> Vec<u8> {
    let name = format!("{portal}\0");
    message('E', &[name.as_bytes(), &most.to_be_bytes()].concat())
}

fn sync() -> Vec<u8> {
    message('S', b"")
}

const FIVE_ROWS: &str = "SELECT * FROM (VALUES (1), (2), (3), (4), (5)) AS t (n)";

/// pgwire by default tells every client that it is a superuser.
#[tokio::test]
async fn a_login_is_told_what_the_session_reports() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    let messages = client.login().await;
    assert_eq!(kinds(&messages[..2]), "RR");
    let parameters = messages.iter().filter(|message| message.kind == 'S');
    let parameters: Vec<_> = parameters.map(|message| String::from_utf8(message.body.clone()).unwrap()).collect();
    assert!(parameters.iter().any(|text| text.starts_with("server_version\0")));
    assert!(!parameters.contains(&"is_superuser\0on\0".to_owned()));
    let key = messages.iter().find(|message| message.kind == 'K').unwrap();
    assert_eq!(key.body.len(), 8);
    assert_eq!(messages.last().unwrap().body, b"I");
}

#[tokio::test]
async fn a_query_string_ends_at_its_first_error() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    client.send(&query("SELECT 1; SELECT no_such; SELECT 2")).await;
    assert_eq!(kinds(&client.until_ready().await), "TDCEZ");
    client.send(&query("")).await;
    assert_eq!(kinds(&client.until_ready().await), "IZ");
}

#[tokio::test]
async fn a_portal_is_fetched_in_parts() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    let batch = [
        parse("", FIVE_ROWS),
        bind("", ""),
        describe('P', ""),
        execute("", 2),
        execute("", 2),
        execute("", 2),
        execute("", 2),
        sync(),
    ];
    client.send(&batch.concat()).await;
    assert_eq!(kinds(&client.until_ready().await), "12TDDsDDsDCCZ");
    // Its transaction is over.
    client.send(&[execute("", 0), sync()].concat()).await;
    let messages = client.until_ready().await;
    messages[0].expect_error("ERROR", "34000");
}

#[tokio::test]
async fn after_an_error_everything_is_skipped_until_sync() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    let batch = [
        parse("", "SELECT no_such"),
        bind("", ""),
        execute("", 0),
        query("SELECT 1"),
        sync(),
        parse("", "SELECT 1"),
        describe('S', ""),
        sync(),
    ];
    client.send(&batch.concat()).await;
    assert_eq!(kinds(&client.until_ready().await), "EZ");
    assert_eq!(kinds(&client.until_ready().await), "1tTZ");

    client.send(&[parse("", "SELECT 1; SELECT 2"), sync()].concat()).await;
    client.until_ready().await[0].expect_error("ERROR", "42601");
    client.send(&[bind("", "unknown"), sync()].concat()).await;
    client.until_ready().await[0].expect_error("ERROR", "26000");
    let empty = [parse("", ""), bind("", ""), describe('P', ""), execute("", 0), sync()];
    client.send(&empty.concat()).await;
    assert_eq!(kinds(&client.until_ready().await), "12nIZ");
}

#[tokio::test]
async fn a_message_that_lies_ends_only_its_connection() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    client.send(&message('B', b"\0\0\x01\x00")).await;
    let rest = client.rest().await;
    assert_eq!(rest.len(), 1);
    rest[0].expect_error("FATAL", "08P01");
    running.connect().await.login().await;
}

/// A million rows that nobody reads: pgwire looks at a cancellation only until the first row is there.
#[tokio::test]
async fn a_cancellation_reaches_the_sending_of_rows() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    let messages = client.login().await;
    let key = messages.iter().find(|message| message.kind == 'K').unwrap();
    let ten = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))";
    let sql = format!(
        "SELECT repeat('x', 50) || CAST(a.n AS text) FROM {ten} AS a (n) CROSS JOIN {ten} AS b (n)
         CROSS JOIN {ten} AS c (n) CROSS JOIN {ten} AS d (n) CROSS JOIN {ten} AS e (n) CROSS JOIN {ten} AS f (n)"
    );
    client.send(&query(&sql)).await;
    // The first row is on its way: the statement has been answered.
    assert_eq!(client.next().await.unwrap().kind, 'T');
    assert_eq!(client.next().await.unwrap().kind, 'D');

    let mut wrong = key.body.clone();
    wrong[7] ^= 1;
    for secret in [&wrong, &key.body] {
        let mut other = running.connect().await;
        other.send(&packet(CANCEL_REQUEST, secret)).await;
        assert_eq!(other.rest().await, []);
    }
    let messages = client.until_ready().await;
    let rows = messages.iter().filter(|message| message.kind == 'D').count();
    assert!(rows < 999_999, "{rows}");
    messages[rows].expect_error("ERROR", "57014");
    assert_eq!(messages.len(), rows + 2);
    client.send(&query("SELECT 1")).await;
    assert_eq!(kinds(&client.until_ready().await), "TDCZ");
}

#[tokio::test]
async fn a_stopped_server_says_goodbye() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    let stopped = tokio::spawn(running.stop());
    let rest = client.rest().await;
    assert_eq!(rest.len(), 1);
    rest[0].expect_error("FATAL", "57P01");
    drop(client);
    stopped.await.unwrap();
}

async fn psql(port: u16, settings: &str, sql: &str) -> Output {
    let target = format!("host=localhost port={port} user={LOGIN} dbname=paravent {settings}");
    let sql = sql.to_owned();
    let run = tokio::task::spawn_blocking(move || {
        Command::new("psql")
            .env("PGPASSWORD", PASSWORD)
            .env("PGCONNECT_TIMEOUT", "10")
            .args(["-X", "-A", "-t", "-d", &target, "-c", &sql])
            .output()
    });
    run.await.unwrap().unwrap()
}

fn shown(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn psql_reads_and_copies() {
    let running = start(ListenerOptions::default()).await;
    let port = running.port;
    let output = psql(port, "", FIVE_ROWS).await;
    assert_eq!(shown(&output), "1\n2\n3\n4\n5\n");
    let sql = "COPY (SELECT 1 AS a, 'x,y' AS b, NULL AS c) TO STDOUT WITH (FORMAT CSV, HEADER)";
    assert_eq!(shown(&psql(port, "", sql).await), "a,b,c\n1,\"x,y\",\n");
    let output = psql(port, "", "SELECT no_such").await;
    assert!(!output.status.success());
}

/// Certificate, encryption and password are checked by libpq, which takes no login without a channel binding here.
#[tokio::test]
async fn psql_binds_the_login_to_the_channel() {
    let certificate = Certificate::new();
    let options = ListenerOptions { tls: Some(certificate.files.clone()), ..ListenerOptions::default() };
    let running = start(options).await;
    let root = certificate.files.certificate.display();
    let settings = format!("sslmode=verify-full channel_binding=require sslrootcert={root}");
    let output = psql(running.port, &settings, "SELECT 1").await;
    assert_eq!(shown(&output), "1\n");
    let output = psql(running.port, "sslmode=disable", "SELECT 1").await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("connection requires TLS"), "{errors}");
}

/// asyncpg moves a portal of the protocol by SQL; psycopg describes a cursor of SQL as a portal.
#[tokio::test]
async fn cursors_and_portals_are_one() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    client.send(&query("BEGIN")).await;
    client.until_ready().await;
    let open = [parse("", FIVE_ROWS), bind("p", ""), execute("p", 1), sync()];
    client.send(&open.concat()).await;
    assert_eq!(kinds(&client.until_ready().await), "12DsZ");
    client.send(&query("MOVE FORWARD 2 p")).await;
    assert_eq!(client.until_ready().await[0].body, b"MOVE 2\0");
    client.send(&query("FETCH 1 FROM p")).await;
    let messages = client.until_ready().await;
    assert_eq!(kinds(&messages), "TDCZ");
    assert_eq!(messages[1].body, b"\0\x01\0\0\0\x014");
    client.send(&[execute("p", 0), sync()].concat()).await;
    assert_eq!(kinds(&client.until_ready().await), "DCZ");
    client.send(&query("FETCH BACKWARD 1 FROM p")).await;
    client.until_ready().await[0].expect_error("ERROR", "55000");

    client.send(&query(&format!("ROLLBACK; BEGIN; DECLARE c SCROLL CURSOR FOR {FIVE_ROWS}; MOVE LAST c"))).await;
    client.until_ready().await;
    client.send(&[describe('P', "c"), sync()].concat()).await;
    assert_eq!(kinds(&client.until_ready().await), "TZ");
    client.send(&query("FETCH BACKWARD 2 FROM c; SELECT is_scrollable FROM pg_cursors WHERE name = 'c'")).await;
    let messages = client.until_ready().await;
    assert_eq!(kinds(&messages), "TDDCTDCZ");
    assert_eq!((&messages[1].body[..], &messages[2].body[..]), (&b"\0\x01\0\0\0\x014"[..], &b"\0\x01\0\0\0\x013"[..]));
    assert_eq!(messages[5].body, b"\0\x01\0\0\0\x01t");
}

#[tokio::test]
async fn rows_are_copied_in_binary() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    client.send(&query("COPY (SELECT 7 AS n) TO STDOUT (FORMAT binary)")).await;
    let messages = client.until_ready().await;
    assert_eq!(kinds(&messages), "HddcCZ");
    assert_eq!(messages[0].body, b"\x01\0\x01\0\x01");
    // The header goes with the first row.
    assert_eq!(messages[1].body, b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\x07");
    assert_eq!(messages[2].body, b"\xff\xff");
}

/// They were dropped once: a client that asked for less epsilon got the whole.
#[tokio::test]
async fn settings_of_the_first_message_hold() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    let with = "user\0admin\0database\0paravent\0options\0-c privacy.epsilon=0.5\0TimeZone\0Europe/Berlin\0";
    let with = format!("{with}client_encoding\0'utf-8'\0statement_timeout\x009s\0\0");
    let messages = client.login_as(&packet(PROTOCOL_3_0, with.as_bytes())).await;
    assert!(messages.iter().any(|message| message.kind == 'N'), "a notice says that times are UTC");
    assert!(messages.iter().any(|message| message.body == b"TimeZone\0UTC\0"));
    client.send(&query("SHOW privacy.epsilon; SHOW statement_timeout; RESET ALL; SHOW statement_timeout")).await;
    let messages = client.until_ready().await;
    let rows: Vec<_> = messages.iter().filter(|message| message.kind == 'D').map(|m| m.body.clone()).collect();
    assert_eq!(rows, [b"\0\x01\0\0\0\x030.5".to_vec(), b"\0\x01\0\0\0\x029s".to_vec(), b"\0\x01\0\0\0\x029s".to_vec()]);

    let mut client = running.connect().await;
    let unknown = "user\0admin\0database\0paravent\0driver_habit\x001\0options\0-c no_such_setting=1\0\0";
    let messages = client.login_as(&packet(PROTOCOL_3_0, unknown.as_bytes())).await;
    messages.last().unwrap().expect_error("FATAL", "42704");
}

#[tokio::test]
async fn set_config_sets() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    client.send(&query("SELECT set_config('app.user', 'me', false); SHOW app.user")).await;
    let messages = client.until_ready().await;
    assert_eq!(kinds(&messages), "TDCTDCZ");
    assert_eq!(messages[4].body, b"\0\x01\0\0\0\x02me");
    client.send(&query("SELECT set_config('privacy.min_group_size', '3', false)")).await;
    assert_eq!(client.until_ready().await[0].kind, 'E');
}

#[tokio::test]
async fn an_idle_transaction_ends_its_session() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    // Outside a block it waits as long as it likes, and a failed block is one.
    client.send(&query("SET idle_in_transaction_session_timeout = '50ms'")).await;
    client.until_ready().await;
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    client.send(&query("BEGIN; SELECT no_such")).await;
    let messages = client.rest().await;
    messages.last().unwrap().expect_error("FATAL", "25P03");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_ends() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    let endless = "SELECT count(*) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b";
    client.send(&query(&format!("SET statement_timeout = '50ms'; {endless}"))).await;
    let messages = client.until_ready().await;
    messages[1].expect_error("ERROR", "57014");
    assert_eq!(messages[1].field('M').unwrap(), "canceling statement due to statement timeout");
    client.send(&[parse("", endless), bind("", ""), execute("", 0), sync()].concat()).await;
    let messages = client.until_ready().await;
    assert_eq!(kinds(&messages), "12EZ");
    messages[2].expect_error("ERROR", "57014");
    // It is over: the next one has its own time.
    client.send(&query("SELECT 1")).await;
    assert_eq!(kinds(&client.until_ready().await), "TDCZ");
}

/// A client takes nothing, and the session is ended by another: the place is free again, and the rest is never sent.
#[tokio::test]
async fn a_session_ends_although_its_client_takes_nothing() {
    let running = start(ListenerOptions::default()).await;
    let mut deaf = running.connect().await;
    deaf.login().await;
    deaf.send(&query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)")).await;
    assert_eq!(deaf.next().await.unwrap().kind, 'T');
    let mut other = running.connect().await;
    other.login().await;
    let others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
    other.send(&query(&format!("SELECT pg_terminate_backend(pid) {others}"))).await;
    assert_eq!(other.until_ready().await[1].body, b"\0\x01\0\0\0\x01t");
    loop {
        other.send(&query(&format!("SELECT count(*) {others}"))).await;
        if other.until_ready().await[1].body == b"\0\x01\0\0\0\x010" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_answer_about_the_system_has_its_bounds() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    client.send(&query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")).await;
    client.until_ready().await[0].expect_error("ERROR", "54000");
    client.send(&query("SELECT a.* FROM generate_series(1, 100000000) AS a ORDER BY 1 DESC")).await;
    client.until_ready().await[0].expect_error("ERROR", "53200");
}

#[tokio::test]
async fn an_idle_session_ends() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.login().await;
    client.send(&query("SET idle_session_timeout = '50ms'")).await;
    let messages = client.rest().await;
    messages.last().unwrap().expect_error("FATAL", "57P05");
}
