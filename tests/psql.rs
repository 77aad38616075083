//! The real psql against the real server: the backslash commands, an answer, `\copy`, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Output;

use support::{ADMIN, ANALYST, AUDITOR, SMALL, TestServer};

fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "psql failed: {errors}");
    assert!(errors.is_empty(), "psql complained: {errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "psql succeeded: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word} in\n{text}");
    }
}

fn lacks(text: &str, words: &[&str]) {
    for word in words {
        assert!(!text.contains(word), "{word} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backslash_commands_show_what_the_role_may_see() {
    let server = TestServer::with_company(SMALL).await;
    server.file("points.csv", "id,points\n1,2\n");
    printed(&server.psql(ADMIN, "CREATE EXTERNAL TABLE points STORED AS CSV LOCATION 'points.csv';"));

    let tables = printed(&server.psql(ANALYST, "\\dt"));
    has(&tables, &["person", "person_week", "email", "public"]);
    lacks(&tables, &["points", "pg_class"]);
    has(&printed(&server.psql(ADMIN, "\\dt")), &["person", "points"]);
    has(&printed(&server.psql(ANALYST, "\\d")), &["person_week"]);

    let person = printed(&server.psql(ANALYST, "\\d person"));
    has(&person, &["person_id", "bigint", "not null", "manager_id", "hired", "date", "function", "text"]);
    let person_week = printed(&server.psql(ANALYST, "\\d person_week"));
    has(&person_week, &["after_hours", "double precision", "week", "integer"]);

    let roles = printed(&server.psql(ADMIN, "\\du"));
    has(&roles, &["admin", "analyst_1", "auditor_1", "insights_analyst"]);
    let roles = printed(&server.psql(ANALYST, "\\du"));
    has(&roles, &["analyst_1"]);
    lacks(&roles, &["auditor_1"]);
    has(&printed(&server.psql(ANALYST, "\\l")), &["paravent"]);
    has(&printed(&server.psql(AUDITOR, "\\conninfo")), &["auditor_1", "paravent"]);

    // Row policies, to those who may see them.
    for policy in [
        "CREATE POLICY everywhere ON person USING (country <> 'XX');",
        "CREATE POLICY analysts ON person TO insights_analyst, business_leader USING (level <> 'X' OR country = 'DE');",
        "CREATE POLICY larger ON person WITH (min_group_size = 12);",
    ] {
        printed(&server.psql(ADMIN, policy));
    }
    let person = printed(&server.psql(ADMIN, "\\d person"));
    has(&person, &["Policies (forced row security enabled):", "POLICY \"everywhere\" AS RESTRICTIVE FOR SELECT\n"]);
    has(&person, &["USING (country <> 'XX')", "USING (level <> 'X' OR country = 'DE')", "POLICY \"larger\""]);
    has(&person, &["TO business_leader,insights_analyst\n"]);
    lacks(&printed(&server.psql(ADMIN, "\\d person_week")), &["Policies"]);
    lacks(&printed(&server.psql(ANALYST, "\\d person")), &["Policies", "POLICY", "XX"]);
    let policies = "SELECT tablename, policyname, permissive, roles, cmd, qual FROM pg_policies ORDER BY policyname;";
    let seen = printed(&server.psql(ADMIN, &format!("\\pset format unaligned\n{policies}")));
    has(
        &seen,
        &["person|analysts|RESTRICTIVE|{business_leader,insights_analyst}|SELECT|level <> 'X' OR country = 'DE'"],
    );
    has(&seen, &["person|everywhere|RESTRICTIVE|{public}|SELECT|country <> 'XX'"]);
    let secured =
        "SELECT relname FROM pg_class WHERE relrowsecurity; SELECT tablename FROM pg_tables WHERE rowsecurity;";
    assert_eq!(printed(&server.psql(ADMIN, secured)).matches("person\n").count(), 2);
    has(&printed(&server.psql(ANALYST, secured)), &["(0 rows)"]);
    has(&printed(&server.psql(ANALYST, "SELECT count(*) FROM pg_policies, pg_policy;")), &["0"]);

    let nothing = server.psql(AUDITOR, "\\dt");
    has(&String::from_utf8_lossy(&nothing.stderr), &["Did not find any relations"]);
    assert!(nothing.stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_can_be_printed_and_copied() {
    let server = TestServer::with_company(SMALL).await;
    let question = "SELECT function, count(*), avg(after_hours) FROM person JOIN person_week USING (person_id) \
                    GROUP BY function ORDER BY 2 DESC LIMIT 5";
    let answer = printed(&server.psql(ANALYST, &format!("{question};")));
    has(&answer, &["function", "count", "avg", "(5 rows)"]);
    assert_eq!(printed(&server.psql(ANALYST, &format!("{question};"))), answer);

    let copied = format!("\\copy ({question}) TO 'answer.csv' CSV HEADER");
    has(&printed(&server.psql(ANALYST, &copied)), &["COPY 5"]);
    let file = std::fs::read_to_string(server.folder().join("answer.csv")).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    assert_eq!(lines.len(), 6);
    assert!(lines[0].starts_with("function,"));
    assert!(lines[1..].iter().all(|line| line.split(',').count() == 3));

    let explained = printed(&server.psql(ANALYST, &format!("EXPLAIN (PRIVACY) {question};")));
    has(&explained, &["person", "epsilon"]);
    has(&printed(&server.psql(ANALYST, "SELECT * FROM privacy.budget;")), &["people", "analyst_1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_what_to_write_instead() {
    let server = TestServer::with_company(SMALL).await;
    for statement in [
        "SELECT * FROM person;",
        "SELECT email FROM person;",
        "SELECT max(after_hours) OVER () FROM person_week;",
        "SELECT count(*) FROM person WHERE email = 'x';",
        "COPY person TO STDOUT;",
        "\\copy person TO 'person.csv'",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM person;",
    ] {
        let said = complaint(&server.psql(ANALYST, statement));
        has(&said, &["42501"]);
        assert!(said.contains("HINT") || said.contains("DETAIL"), "{statement}: {said}");
    }
    let file = std::fs::read_to_string(server.folder().join("person.csv")).unwrap_or_default();
    assert_eq!(file, "");
    complaint(&server.psql(ANALYST, "SELECT * FROM '/etc/passwd';"));

    let log = "SELECT count(*) FROM audit.query_log WHERE principal = 'analyst_1' AND outcome = 'refused';";
    let log = printed(&server.psql(AUDITOR, log));
    has(&log, &[" 8"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_an_unknown_user_look_alike() {
    let server = TestServer::start().await.with_people().await;
    let wrong = complaint(&server.psql((ANALYST.0, "guess"), "SELECT 1;"));
    let unknown = complaint(&server.psql(("nobody_1", "guess"), "SELECT 1;"));
    has(&wrong, &["password authentication failed"]);
    assert_eq!(wrong.replace(ANALYST.0, "USER"), unknown.replace("nobody_1", "USER"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_that_ship_can_be_asked() {
    let server = TestServer::with_company(SMALL).await;
    let answer = printed(&server.psql(ANALYST, include_str!("../sql/metrics.sql")));
    has(&answer, &["after_hours", "in_meetings", "email_hours", "month", "rows)"]);
}

/// What BI tools ask to learn the types of columns: it runs nothing, costs nothing, and may name a whole table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_for_types_cost_nothing() {
    let server = TestServer::with_company(SMALL).await;
    for probe in [
        "SELECT * FROM person WHERE 1 = 0;",
        "SELECT * FROM person LIMIT 0;",
        "SELECT * FROM (SELECT function, count(*) AS n FROM person GROUP BY function) t WHERE 1 <> 1 AND n > 3;",
        "SELECT function, count(*) FROM person WHERE false GROUP BY function;",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM person WHERE 1 = 0; FETCH ALL FROM c; COMMIT;",
    ] {
        has(&printed(&server.psql(ANALYST, probe)), &["function", "(0 rows)"]);
    }
    let spent = printed(&server.psql(ANALYST, "SELECT coalesce(sum(epsilon_spent), 0) AS spent FROM privacy.budget;"));
    has(&spent, &[" 0"]);
    let log = "SELECT count(*) FROM audit.query_log WHERE principal = 'analyst_1' AND statement LIKE '%WHERE 1 = 0%';";
    has(&printed(&server.psql(AUDITOR, log)), &[" 2"]);
    // A count of nothing is a row, and what is not certain from the text is no probe.
    for statement in ["SELECT * FROM person WHERE 1 = 1;", "SELECT * FROM person WHERE level = 0;"] {
        has(&complaint(&server.psql(ANALYST, statement)), &["42501"]);
    }
    // Columns that are not granted are not shown by a probe either.
    let admin = "REVOKE SELECT ON person FROM insights_analyst; GRANT SELECT (function) ON person TO insights_analyst;";
    printed(&server.psql(ADMIN, admin));
    complaint(&server.psql(ANALYST, "SELECT * FROM person WHERE 1 = 0;"));
}

/// Drivers write `= ANY ($1)` for a list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_of_a_list_is_in() {
    let server = TestServer::with_company(SMALL).await;
    let ask = |condition: &str| {
        let sql = format!("SELECT country, count(*) FROM person WHERE {condition} GROUP BY country ORDER BY 1;");
        printed(&server.psql(ANALYST, &sql))
    };
    let one = ask("country IN ('DE', 'FR')");
    has(&one, &["DE", "FR"]);
    assert_eq!(ask("country = ANY (ARRAY['DE', 'FR'])"), one);
}

/// A filter list of a tool: the declared values, for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declared_values_are_listed_free_of_charge() {
    let server = TestServer::with_company(SMALL).await;
    printed(&server.psql(ADMIN, "ALTER TABLE person ALTER COLUMN country SET (domain = '{DE,FR,ZZ}');"));
    for list in [
        "SELECT DISTINCT country FROM person ORDER BY country DESC;",
        "SELECT p.country AS \"country\" FROM public.person p GROUP BY 1 ORDER BY 1 LIMIT 1000;",
    ] {
        has(&printed(&server.psql(ANALYST, list)), &["country", "DE", "FR", "ZZ", "(3 rows)"]);
    }
    let spent = "SELECT coalesce(sum(epsilon_spent), 0) AS spent FROM privacy.budget;";
    has(&printed(&server.psql(ANALYST, spent)), &[" 0"]);
    // With a condition, or of a column without declared values, it is a question like any other.
    printed(&server.psql(ANALYST, "SELECT DISTINCT country FROM person WHERE level > 1;"));
    lacks(&printed(&server.psql(ANALYST, spent)), &[" 0\n"]);
}
