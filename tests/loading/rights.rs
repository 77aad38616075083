//! Who may load (R6, C3): administrators of data, and carriers and collectors what is granted to them. Nobody who asks about people.

use crate::client::{Loader, sqlstate, told};
use crate::public_table;
use crate::support::{TestServer, number, refused, rows, run};

const DEVICE: (&str, &str) = ("device_1", "device");

async fn server() -> TestServer {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id integer").await;
    public_table(&server, "other", "id integer").await;
    let admin = server.admin().await;
    for statement in [
        "CREATE ROLE device_1 LOGIN PASSWORD 'device' IN ROLE collector",
        "CREATE ROLE device_2 LOGIN PASSWORD 'device'",
        "CREATE ROLE carol LOGIN PASSWORD 'carol' IN ROLE insights_admin",
        "GRANT INSERT ON t TO device_1, device_2",
    ] {
        run(&admin, statement).await;
    }
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_only_appends_to_its_tables() {
    let server = server().await;
    let mut device = Loader::login(&server, DEVICE).await;
    assert_eq!(device.copy("COPY t FROM STDIN", "1\n").await, Ok("COPY 1".to_owned()));
    // What it may not see is not there, whether it is or not.
    assert_eq!(sqlstate(device.copy("COPY other FROM STDIN", "1\n").await), "42P01");
    assert_eq!(sqlstate(device.copy("COPY missing FROM STDIN", "1\n").await), "42P01");
    let reader = server.login(DEVICE).await;
    for (statement, expected) in [
        ("SELECT count(*) FROM t", "42501"),
        ("COPY t TO STDOUT", "42501"),
        ("ANALYZE t", "42501"),
        ("DROP TABLE t", "42501"),
        ("CREATE TABLE mine (id integer)", "42501"),
        ("GRANT INSERT ON t TO device_1", "42501"),
    ] {
        let found = reader.simple_query(statement).await.err().map(crate::support::Refusal::of);
        assert_eq!(found.expect(statement).sqlstate, expected, "{statement}");
    }
    let said = "SELECT has_table_privilege('t', 'INSERT'), has_table_privilege('t', 'SELECT')";
    assert_eq!(rows(&reader, said).await, vec![vec![Some("t".to_owned()), Some("f".to_owned())]]);
    // A grant alone is not enough, nor is a role alone.
    let mut other = Loader::login(&server, ("device_2", "device")).await;
    assert_eq!(sqlstate(other.copy("COPY t FROM STDIN", "1\n").await), "42501");
    let mut analyst = Loader::login(&server, crate::support::ANALYST).await;
    assert_eq!(sqlstate(analyst.copy("COPY t FROM STDIN", "1\n").await), "42501");
    let mut carol = Loader::login(&server, ("carol", "carol")).await;
    assert_eq!(carol.copy("COPY other FROM STDIN", "1\n").await, Ok("COPY 1".to_owned()));
    assert_eq!(number(&server.analyst().await, "SELECT count(*) FROM t").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_taken_back_is_gone_at_once() {
    let server = server().await;
    let admin = server.admin().await;
    let mut device = Loader::login(&server, DEVICE).await;
    // Between the first row and the last.
    assert!(device.begin("COPY t FROM STDIN").await.is_none());
    device.data(b"1\n").await;
    run(&admin, "REVOKE INSERT ON t FROM device_1").await;
    assert_eq!(sqlstate(told(&device.done().await)), "42P01");
    assert_eq!(sqlstate(device.copy("COPY t FROM STDIN", "1\n").await), "42P01");
    run(&admin, "GRANT INSERT ON t TO collector").await;
    assert_eq!(device.copy("COPY t FROM STDIN", "1\n").await, Ok("COPY 1".to_owned()));
    // Between a load and its commit.
    assert!(device.run("BEGIN").await.is_ok());
    assert!(device.copy("COPY t FROM STDIN", "2\n").await.is_ok());
    run(&admin, "DROP TABLE t").await;
    run(&admin, "CREATE TABLE t (id integer)").await;
    run(&admin, "GRANT INSERT ON t TO collector").await;
    assert_eq!(sqlstate(device.run("COMMIT").await), "55000");
    assert_eq!(device.run("SELECT 1").await, Ok("SELECT 1".to_owned()), "the block is over");
    // The table's grants went with it; the role's go with the role.
    run(&admin, "GRANT INSERT ON t TO device_2").await;
    run(&admin, "DROP ROLE device_2").await;
    run(&admin, "CREATE ROLE device_2 LOGIN PASSWORD 'device' IN ROLE carrier").await;
    let mut again = Loader::login(&server, ("device_2", "device")).await;
    assert_eq!(sqlstate(again.copy("COPY t FROM STDIN", "1\n").await), "42P01");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_asks_adds_rows() {
    let server = server().await;
    let admin = server.admin().await;
    for statement in [
        "GRANT INSERT ON t TO insights_analyst",
        "GRANT INSERT ON t TO analyst_1",
        "GRANT INSERT ON t TO auditor",
        "GRANT insights_analyst TO device_2",
        "GRANT collector TO analyst_1",
    ] {
        let refusal = refused(&admin, statement).await;
        assert_eq!(refusal.sqlstate, "42501", "{statement}");
        assert!(refusal.detail.is_some() && refusal.hint.is_some());
    }
}

/// As in Postgres: rows that come would have to be held against the policy, one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_row_policy_only_administrators_load() {
    let server = server().await;
    let admin = server.admin().await;
    run(&admin, "CREATE TABLE p (id text PRIMARY KEY, country text) WITH (person_key = id)").await;
    run(&admin, "ALTER TABLE p ALTER COLUMN id SET (class = 'identifier')").await;
    run(&admin, "ALTER TABLE p ALTER COLUMN country SET (class = 'attribute')").await;
    run(&admin, "GRANT INSERT ON p TO collector").await;
    let mut device = Loader::login(&server, DEVICE).await;
    assert_eq!(device.copy("COPY p FROM STDIN CSV", "a,DE\n").await, Ok("COPY 1".to_owned()));
    run(&admin, "CREATE POLICY here ON p TO insights_analyst USING (country = 'DE')").await;
    assert_eq!(device.copy("COPY p FROM STDIN CSV", "b,DE\n").await, Ok("COPY 1".to_owned()));
    run(&admin, "ALTER POLICY here ON p TO public").await;
    assert_eq!(sqlstate(device.copy("COPY p FROM STDIN CSV", "c,FR\n").await), "0A000");
    let mut carol = Loader::login(&server, ("carol", "carol")).await;
    assert_eq!(carol.copy("COPY p FROM STDIN CSV", "d,FR\n").await, Ok("COPY 1".to_owned()));
}
