//! Who may do what (W7, R1): every kind of statement as every role, against a table of allowed cells.
//!
//! A line of the table is a statement and ten cells, one a role: `ok`, or the SQLSTATE of the refusal. `{who}` is the login that
//! asks. Lines run from top to bottom, roles from left to right, in one session a role, and what a line makes a later one may
//! use. For every refused cell the epoch of the policies stands still and the log has the refusal.
//!
//! To add a line: write it where what it needs is there. A wrong cell is reported with the whole line as it should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "governance_matrix/bad_input.rs"]
mod bad_input;
#[path = "governance_matrix/changes.rs"]
mod changes;
mod support;
#[path = "governance_matrix/training.rs"]
mod training;

use support::{Refusal, TestServer, number, rows, run};
use tokio_postgres::Client;

/// Logins and the role that each is a member of.
pub const STAFF: [(&str, &str); 9] = [
    ("pat", "platform_admin"),
    ("carol", "insights_admin"),
    ("ana", "insights_analyst"),
    ("lea", "business_leader"),
    ("max", "group_manager"),
    ("otto", "auditor"),
    ("cara", "carrier"),
    ("colin", "collector"),
    ("nemo", ""),
];

/// The columns of the table.
const WHO: [&str; 10] = ["pat", "carol", "ana", "lea", "max", "otto", "cara", "colin", "admin", "nemo"];

const MATRIX: &str = "
                                                         | pat   carol ana   lea   max   otto  cara  colin admin nemo
# Questions about people.
SELECT count(*) FROM person                              | 42501 42501 ok    ok    ok    42501 42501 42501 42501 42501
SELECT grp, count(*) FROM person GROUP BY grp            | 42501 42501 ok    ok    ok    42501 42501 42501 42501 42501
SELECT count(*) FROM place                               | 42501 42501 ok    ok    ok    42501 42501 42501 42501 42501
SELECT * FROM person                                     | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
EXPLAIN (PRIVACY) SELECT count(*) FROM person            | 42501 42501 ok    ok    ok    42501 42501 42501 42501 42501
EXPLAIN SELECT count(*) FROM person                      | 42501 42501 ok    ok    ok    42501 42501 42501 42501 42501
COPY (SELECT count(*) FROM person) TO STDOUT             | 42501 42501 ok    ok    ok    42501 42501 42501 42501 42501
COPY person TO STDOUT                                    | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
DECLARE c CURSOR WITH HOLD FOR SELECT count(*) FROM person | 42501 42501 ok    ok    ok    42501 42501 42501 42501 42501
FETCH ALL FROM c                                         | 34000 34000 ok    ok    ok    34000 34000 34000 34000 34000
CLOSE c                                                  | 34000 34000 ok    ok    ok    34000 34000 34000 34000 34000
ANALYZE person                                           | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501

# What everybody has: a session, and views of oneself.
SELECT 1                                                 | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SELECT count(*) FROM pg_class                            | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SELECT count(*) FROM privacy.budget                      | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SELECT count(*) FROM privacy.settings                    | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SELECT count(*) FROM privacy.memberships                 | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SELECT count(*) FROM privacy.grants                      | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SELECT count(*) FROM privacy.running_queries             | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SELECT count(*) FROM pg_stat_activity                    | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SELECT pg_terminate_backend(0)                           | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SHOW privacy.min_group_size                              | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SET privacy.epsilon = 0.5                                | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
RESET privacy.epsilon                                    | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
BEGIN                                                    | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
SAVEPOINT s                                              | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
ROLLBACK TO s                                            | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
COMMIT                                                   | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
LISTEN anything                                          | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
DEALLOCATE ALL                                           | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
DISCARD ALL                                              | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok
ALTER ROLE {who} PASSWORD '{who}'                        | ok    ok    ok    ok    ok    ok    ok    ok    ok    ok

# Who takes part.
CREATE POLICY p_{who} ON person USING (grp <> 'z')       | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER POLICY p_{who} ON person USING (grp <> 'y')        | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER POLICY p_{who} ON person SET (min_group_size = 11) | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER POLICY p_{who} ON person SET (min_group_size = 9)  | 42501 22023 42501 42501 42501 42501 42501 42501 22023 42501
DROP POLICY p_{who} ON person                            | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
CALL privacy.exclude_person('1{who}', 'objects')         | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
CALL privacy.include_person('1{who}')                    | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
SET privacy.person = '1'                                 | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
ALTER ROLE nemo SET privacy.person = '1'                 | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER ROLE nemo RESET privacy.person                     | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
SELECT count(*) FROM privacy.row_policies                | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
SELECT count(*) FROM privacy.warnings                    | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501

# The logs.
SELECT count(*) FROM audit.query_log                     | 42501 42501 42501 42501 42501 ok    42501 42501 42501 42501
SELECT count(*) FROM audit.changes                       | 42501 42501 42501 42501 42501 ok    42501 42501 42501 42501
SELECT count(*) FROM audit.integrity                     | 42501 42501 42501 42501 42501 ok    42501 42501 42501 42501

# Data and privacy settings.
CREATE EXTERNAL TABLE t_{who} STORED AS CSV LOCATION 'place.csv' | 42501 ok 42501 42501 42501 42501 42501 42501 ok 42501
ALTER TABLE t_{who} ADD PRIMARY KEY (grp)                | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER TABLE t_{who} SET (public = true)                  | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER TABLE t_{who} ALTER COLUMN grp SET (class = 'public') | 42501 ok 42501 42501 42501 42501 42501 42501 ok    42501
ALTER TABLE t_{who} ADD FOREIGN KEY (grp) REFERENCES place (grp) | 42501 ok 42501 42501 42501 42501 42501 42501 ok 42501
CREATE VIEW v_{who} AS SELECT grp, count(*) AS n FROM person GROUP BY grp | 42501 ok 42501 42501 42501 42501 42501 42501 ok 42501
GRANT SELECT ON t_{who}, v_{who} TO nemo                 | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
SELECT count(*) FROM v_carol                             | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
GRANT SELECT ON v_carol TO {who}                         | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
GRANT SELECT ON person TO insights_admin                 | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
GRANT SELECT ON person TO auditor                        | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
GRANT SELECT ON person TO platform_admin                 | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
REVOKE SELECT ON t_{who}, v_{who} FROM nemo              | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
DROP VIEW v_{who}                                        | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
DROP TABLE t_{who}                                       | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER SYSTEM SET privacy.min_group_size = 10             | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER SYSTEM SET privacy.min_group_size = 9              | 42501 22023 42501 42501 42501 42501 42501 42501 22023 42501
ALTER SYSTEM SET max_connections = 90                    | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER SYSTEM RESET privacy.min_group_size                | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER ROLE nemo SET privacy.epsilon = 0.5                | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
ALTER ROLE nemo RESET privacy.epsilon                    | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
CALL privacy.require_training('carrier', '1 year')       | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501
CALL privacy.waive_training('carrier')                   | 42501 ok    42501 42501 42501 42501 42501 42501 ok    42501

# Accounts and memberships.
CREATE ROLE new_{who} LOGIN PASSWORD 'x'                 | ok    42501 42501 42501 42501 42501 42501 42501 ok    42501
CREATE ROLE boss_{who} LOGIN PASSWORD 'x' CREATEROLE     | 42501 42501 42501 42501 42501 42501 42501 42501 ok    42501
ALTER ROLE new_{who} VALID UNTIL '2099-01-01'            | ok    42501 42501 42501 42501 42501 42501 42501 ok    42501
ALTER ROLE new_{who} CONNECTION LIMIT 3                  | ok    42501 42501 42501 42501 42501 42501 42501 ok    42501
GRANT insights_analyst TO new_{who}                      | ok    42501 42501 42501 42501 42501 42501 42501 ok    42501
GRANT insights_admin TO new_{who}                        | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
REVOKE insights_analyst FROM new_{who}                   | ok    42501 42501 42501 42501 42501 42501 42501 ok    42501
CALL privacy.record_training('new_{who}', DATE '2026-01-05') | ok 42501 42501 42501 42501 42501 42501 42501 ok   42501
DROP ROLE new_{who}                                      | ok    42501 42501 42501 42501 42501 42501 42501 ok    42501

# Nobody helps themselves, nor becomes somebody else.
GRANT insights_analyst TO {who}                          | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
GRANT insights_admin TO {who}                            | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
GRANT admin TO {who}                                     | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
ALTER ROLE {who} CREATEROLE VALID UNTIL 'infinity'       | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
CALL privacy.record_training('{who}', DATE '2026-01-05') | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
GRANT insights_analyst TO nemo WITH ADMIN OPTION         | 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000
SET ROLE admin                                           | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
SET SESSION AUTHORIZATION admin                          | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
SET \"role\" = 'admin'                                   | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
SET privacy.min_group_size = 9                           | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
DROP ROLE insights_admin                                 | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501

# Access to rows: asked for by an analyst, decided by somebody else.
CALL privacy.request_access('person', ARRAY['grp'], 'deidentified', INTERVAL '1 hour', 'why') | 42501 42501 ok 42501 42501 42501 42501 42501 42501 42501
CALL privacy.approve_access(1)                           | 42501 ok    42501 42501 42501 42501 42501 42501 55000 42501
CALL privacy.deny_access(1, 'no')                        | 42501 55000 42501 42501 42501 42501 42501 42501 55000 42501
CALL privacy.revoke_access(1)                            | 42501 ok    55000 42501 42501 42501 42501 42501 55000 42501
CALL privacy.request_access('person', ARRAY['grp'], 'direct', '1 hour', 'why', 'request 1', '1') | 42501 42501 ok 42501 42501 42501 42501 42501 42501 42501
CALL privacy.approve_access(2)                           | 42501 22023 42501 42501 42501 42501 42501 42501 22023 42501
CALL privacy.approve_access(2, person => '2')            | 42501 22023 42501 42501 42501 42501 42501 42501 22023 42501
CALL privacy.approve_access(2, person => '1')            | 42501 ok    42501 42501 42501 42501 42501 42501 55000 42501
SELECT grp FROM person                                   | 42501 42501 ok    42501 42501 42501 42501 42501 42501 42501
CALL privacy.revoke_access(2)                            | 42501 ok    55000 42501 42501 42501 42501 42501 55000 42501

# What nobody can do.
INSERT INTO person VALUES (1, 'a')                       | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
UPDATE person SET grp = 'a'                              | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
DELETE FROM audit.query_log                              | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
TRUNCATE person                                          | 42501 42501 42501 42501 42501 42501 42501 42501 42501 42501
CREATE TABLE mine AS SELECT 1                            | 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000
CREATE FUNCTION f() RETURNS int AS 'SELECT 1'            | 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000
DO 'BEGIN END'                                           | 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000
VACUUM                                                   | 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000
PREPARE q AS SELECT 1                                    | 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000 0A000
CALL privacy.no_such_procedure()                         | 42883 42883 42883 42883 42883 42883 42883 42883 42883 42883
";

/// A server with the staff, 600 persons in three groups who report to the first of them (max), and a public table.
pub async fn staffed() -> TestServer {
    let server = TestServer::start().await;
    let line =
        |person: usize| format!("{person},{},{}\n", ["a", "b", "c"][person % 3], if person == 0 { "" } else { "0" });
    let people: String = (0..600).map(line).collect();
    server.file("person.csv", &format!("person,grp,manager\n{people}"));
    server.file("place.csv", "grp,city\na,Aachen\nb,Berlin\nc,Celle\n");
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE person STORED AS CSV LOCATION 'person.csv'",
        "ALTER TABLE person ADD PRIMARY KEY (person)",
        "ALTER TABLE person SET (person_key = 'person', manager_key = 'manager')",
        "ALTER TABLE person ALTER COLUMN person SET (class = 'identifier')",
        "ALTER TABLE person ALTER COLUMN grp SET (class = 'attribute')",
        "CREATE EXTERNAL TABLE place STORED AS CSV LOCATION 'place.csv'",
        "ALTER TABLE place ADD PRIMARY KEY (grp)",
        "ALTER TABLE place SET (public = true)",
        "GRANT SELECT ON person, place TO insights_analyst, business_leader, group_manager",
        "CREATE ROLE reader LOGIN PASSWORD 'reader' IN ROLE auditor",
    ] {
        run(&admin, statement).await;
    }
    for (login, role) in STAFF {
        run(&admin, &format!("CREATE ROLE {login} LOGIN PASSWORD '{login}'")).await;
        if !role.is_empty() {
            run(&admin, &format!("GRANT {role} TO {login}")).await;
        }
    }
    run(&admin, "ALTER ROLE max SET privacy.person = '0'").await;
    server.large_budget().await;
    server
}

pub async fn login(server: &TestServer, who: &str) -> Client {
    match who {
        "admin" => server.admin().await,
        who => server.login((who, who)).await,
    }
}

/// The epoch of the policies: rises with every change.
pub async fn epoch(reader: &Client) -> f64 {
    number(reader, "SELECT max(epoch) FROM audit.changes").await
}

/// `None`: it was answered.
pub async fn refusal(client: &Client, sql: &str) -> Option<Refusal> {
    if sql.starts_with("COPY") {
        return client.copy_out(sql).await.err().map(Refusal::of);
    }
    client.simple_query(sql).await.err().map(Refusal::of)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_as_every_role() {
    let server = staffed().await;
    let reader = server.login(("reader", "reader")).await;
    let mut sessions = Vec::new();
    for who in WHO {
        sessions.push(login(&server, who).await);
    }
    let mut wrong = Vec::new();
    let lines = MATRIX.lines().skip(2).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (statement, cells) = line.rsplit_once('|').expect("a statement and its cells");
        let expected: Vec<&str> = cells.split_whitespace().collect();
        assert_eq!(expected.len(), WHO.len(), "{line}");
        let statement = statement.trim();
        let logged = number(&reader, "SELECT max(id) FROM audit.query_log").await;
        let mut before = epoch(&reader).await;
        let mut found = Vec::new();
        for (who, session) in WHO.iter().zip(&sessions) {
            // The bootstrap account's password is not its name, and must stay.
            let password = if *who == "admin" { support::ADMIN_PASSWORD } else { who };
            let sql = statement.replace("'{who}'", &format!("'{password}'")).replace("{who}", who);
            let sql = if sql.starts_with("CALL") { statement.replace("{who}", who) } else { sql };
            let refusal = refusal(session, &sql).await;
            let after = epoch(&reader).await;
            if let Some(refusal) = &refusal {
                assert_eq!(before, after, "{who} changed something although refused: {sql}");
                assert!(
                    refusal.detail.is_some() || refusal.hint.is_some() || refusal.sqlstate != "42501",
                    "{sql}: {refusal}"
                );
            }
            before = after;
            found.push(refusal.map_or("ok".to_owned(), |refusal| refusal.sqlstate));
        }
        if found != expected {
            wrong.push(format!("{statement} | {}", found.join(" ")));
        }
        let kept = format!(
            "SELECT principal, sqlstate FROM audit.query_log WHERE id > {logged} AND outcome = 'refused' ORDER BY id"
        );
        let kept: Vec<(String, String)> = rows(&reader, &kept)
            .await
            .into_iter()
            .map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap()))
            .collect();
        let refused = WHO.iter().zip(&found).filter(|(_, cell)| *cell != "ok");
        let refused: Vec<(String, String)> = refused.map(|(who, cell)| ((*who).to_owned(), cell.clone())).collect();
        assert_eq!(kept, refused, "the log of {statement}");
    }
    assert!(wrong.is_empty(), "cells that differ; as found:\n{}", wrong.join("\n"));
}

/// What the catalog says of rights agrees with what the server does: `\du`, `has_table_privilege`, `pg_has_role`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_tells_the_same() {
    let server = staffed().await;
    for (who, role) in STAFF {
        let session = login(&server, who).await;
        let asks = refusal(&session, "SELECT count(*) FROM person").await.is_none();
        let says = "SELECT has_table_privilege('person', 'SELECT')";
        let says = rows(&session, says).await[0][0].clone();
        assert_eq!(says.as_deref() == Some("t"), asks, "{who}");
        if !role.is_empty() {
            let member = format!(
                "SELECT count(*) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member \
                 WHERE r.rolname = '{who}' AND g.rolname = '{role}'"
            );
            assert_eq!(number(&session, &member).await, 1.0, "{who}");
            let has = format!("SELECT pg_has_role('{role}', 'USAGE') AND NOT pg_has_role('admin', 'USAGE')");
            assert_eq!(rows(&session, &has).await[0][0].as_deref(), Some("t"), "{who}");
        }
    }
}
