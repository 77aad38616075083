//! Who is counted at all (W8, W11, W12, W18): reporting lines, row policies, persons taken out. Over the wire.
//!
//! Answers have their noise, so that what is counted is told by numbers that lie far apart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adversary;
mod support;

use adversary::{Promise, Sample, Verdict, judge};
use support::{TestServer, number, refused, rows, run, value};
use tokio_postgres::Client;

/// A company of persons 'p-0' …: 0 leads 1 and 2; 1 leads 100 persons, 2 leads 300, of whom one leads 5 more; 1 is a report of 0.
/// Every third is in DE; of those every second consents; all but the multiples of 4 are licensed.
fn company(server: &TestServer) {
    let mut persons = String::from("person_id,manager_id,country,consent,licensed\n");
    let mut hours = String::from("person_id,week,hours,billable\n");
    let mut add = |id: usize, manager: &str| {
        let country = if id.is_multiple_of(3) { "DE" } else { "FR" };
        persons.push_str(&format!("p-{id},{manager},{country},{},{}\n", id.is_multiple_of(2), !id.is_multiple_of(4)));
        for week in 0..2 {
            hours.push_str(&format!("p-{id},{week},{},{}\n", 40, week == 0));
        }
    };
    add(0, "");
    add(1, "p-0");
    add(2, "p-0");
    (3..103).for_each(|id| add(id, "p-1"));
    (103..403).for_each(|id| add(id, "p-2"));
    (403..408).for_each(|id| add(id, "p-103"));
    server.file("person.csv", &persons);
    server.file("hours.csv", &hours);
}

async fn served() -> (TestServer, Client) {
    let server = TestServer::start().await.with_people().await;
    company(&server);
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE person STORED AS CSV LOCATION 'person.csv' OPTIONS (format.has_header 'true')",
        "ALTER TABLE person ADD PRIMARY KEY (person_id)",
        "ALTER TABLE person SET (person_key = 'person_id', privacy_policy = 'people')",
        "ALTER TABLE person ALTER COLUMN country SET (class = 'attribute')",
        "CREATE EXTERNAL TABLE hours STORED AS CSV LOCATION 'hours.csv' OPTIONS (format.has_header 'true')",
        "ALTER TABLE hours SET (person_key = 'person_id', privacy_policy = 'people', max_rows_per_person = 2)",
        "ALTER TABLE hours ALTER COLUMN hours SET (class = 'measure', lower = 0, upper = 80)",
        "GRANT SELECT ON person, hours TO insights_analyst",
        "ALTER SYSTEM SET privacy.epsilon = 2",
    ] {
        run(&admin, statement).await;
    }
    (server, admin)
}

async fn manager(server: &TestServer, admin: &Client, name: &str, person: &str) -> Client {
    run(admin, &format!("CREATE ROLE {name} LOGIN PASSWORD 'manager'")).await;
    run(admin, &format!("GRANT group_manager TO {name}")).await;
    run(admin, &format!("GRANT SELECT ON person, hours TO {name}")).await;
    run(admin, &format!("ALTER ROLE {name} SET privacy.person = '{person}'")).await;
    server.login((name, "manager")).await
}

/// The noise of a count at epsilon 2 stays far within 10.
fn about(found: f64, expected: f64) {
    assert!((found - expected).abs() < 10.0, "{found}, not {expected}");
}

const PERSONS: &str = "SELECT count(*) FROM person";
const WORKING: &str = "SELECT count(DISTINCT person_id) FROM hours";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_asks_about_reports_at_any_depth_and_nobody_else() {
    let (server, admin) = served().await;
    run(&admin, "ALTER TABLE person SET (manager_key = 'manager_id')").await;
    let top = manager(&server, &admin, "m_top", "p-0").await;
    let one = manager(&server, &admin, "m_one", "p-1").await;
    let two = manager(&server, &admin, "m_two", "p-2").await;
    let few = manager(&server, &admin, "m_few", "p-103").await;
    for table in [PERSONS, WORKING] {
        about(number(&top, table).await, 407.0);
        about(number(&one, table).await, 100.0);
        about(number(&two, table).await, 305.0);
        assert!(rows(&few, table).await.iter().flatten().all(Option::is_none), "five are too few");
    }
    about(number(&server.analyst().await, PERSONS).await, 408.0);
    // The stored answer of one scope is no answer in another, and the policy's line pays for every scope.
    let spent = |who: &'static str| format!("SELECT statements FROM privacy.budget WHERE principal = '{who}'");
    assert_eq!(value(&server.auditor().await, &spent("m_two")).await, "2");
    assert_eq!(
        value(&server.auditor().await, "SELECT statements FROM privacy.budget WHERE principal IS NULL").await,
        "9"
    );
    // In an open session, from the next statement on.
    run(&admin, "ALTER ROLE m_one SET privacy.person = 'p-2'").await;
    about(number(&one, PERSONS).await, 305.0);
    run(&admin, "ALTER ROLE m_one RESET privacy.person").await;
    assert_eq!(refused(&one, PERSONS).await.sqlstate, "42501");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_are_no_tree_end_in_a_scope_and_follow_the_data() {
    let (server, admin) = served().await;
    run(&admin, "ALTER TABLE person SET (manager_key = 'manager_id')").await;
    let top = manager(&server, &admin, "m_top", "p-0").await;
    let two = manager(&server, &admin, "m_two", "p-2").await;
    about(number(&top, PERSONS).await, 407.0);
    // 0 and 2 lead each other: neither reports to anybody, and 0 keeps who reports to 0 otherwise.
    let text = std::fs::read_to_string(server.folder().join("person.csv")).unwrap();
    let circle = text.replace("p-0,,", "p-0,p-2,").replace("p-3,p-1,", "p-3,p-3,").replace("p-4,p-1,", "p-4,nobody,");
    server.file("person.csv", &circle);
    about(number(&top, PERSONS).await, 99.0);
    about(number(&two, PERSONS).await, 305.0);
    let warnings = rows(&admin, "SELECT subject, warning, persons FROM privacy.warnings ORDER BY warning").await;
    let said: Vec<&str> = warnings.iter().map(|row| row[1].as_deref().unwrap()).collect();
    assert_eq!(said.len(), 3, "{warnings:?}");
    assert!(warnings.iter().all(|row| row[2].as_deref() == Some("fewer than 10")), "{warnings:?}");
    assert_eq!(refused(&server.analyst().await, "SELECT * FROM privacy.warnings").await.sqlstate, "42501");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_objected_is_out_everywhere_and_named_nowhere() {
    let (server, admin) = served().await;
    let analyst = server.analyst().await;
    about(number(&analyst, WORKING).await, 408.0);
    for id in 3..103 {
        run(&admin, &format!("CALL privacy.exclude_person('p-{id}', reason => 'secret-{id} objected')")).await;
    }
    for table in [PERSONS, WORKING] {
        about(number(&analyst, table).await, 308.0);
    }
    run(&admin, "CALL privacy.include_person('p-3')").await;
    assert_eq!(refused(&admin, "CALL privacy.include_person('p-3')").await.sqlstate, "42704");
    assert_eq!(refused(&admin, "CALL privacy.exclude_person('p-4')").await.sqlstate, "42710");
    for id in 4..103 {
        run(&admin, &format!("CALL privacy.include_person('p-{id}')")).await;
    }
    about(number(&analyst, WORKING).await, 408.0);
    let _ = admin.batch_execute("CALL privacy.exclude_person('p-77' 'p-78'").await;
    let _ = admin.batch_execute("ALTER ROLE analyst_1 SET privacy.person = 'p-79'").await;
    let _ = analyst.batch_execute("SET privacy.person = 'p-80'").await;
    let _ = analyst.batch_execute("SET privacy.person TO p80secret /* p-81 */").await;
    let log = rows(&server.auditor().await, "SELECT statement FROM audit.query_log").await;
    let log: String = log.into_iter().flatten().flatten().collect();
    assert!(log.contains("exclude_person") && log.contains("privacy.person"));
    for named in ["p-3", "p-4", "p-7", "p-8", "p80", "secret"] {
        assert!(!log.contains(named), "{named} in the log");
    }
    let state = std::fs::read(server.folder().join("paravent.db")).unwrap();
    let wal = std::fs::read(server.folder().join("paravent.db-wal")).unwrap_or_default();
    for bytes in [state, wal] {
        assert!(!bytes.windows(4).any(|four| four == b"p-79" || four == b"p-77"), "a person key in the state");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_policy_on_persons_holds_in_every_table() {
    let (server, admin) = served().await;
    let analyst = server.analyst().await;
    about(number(&analyst, WORKING).await, 408.0);
    run(&admin, "CREATE POLICY germany ON person USING (country <> 'DE' OR consent)").await;
    // 136 are in DE, half of whom consent.
    for table in [PERSONS, WORKING] {
        about(number(&analyst, table).await, 340.0);
    }
    run(&admin, "CREATE POLICY licensed ON person AS RESTRICTIVE FOR SELECT TO insights_analyst USING (licensed)")
        .await;
    about(number(&analyst, WORKING).await, 238.0);
    // A licence that is removed in the data counts from the next statement on, also where a table is asked whose files are as before.
    let text = std::fs::read_to_string(server.folder().join("person.csv")).unwrap();
    server.file("person.csv", &text.replace("FR,true,true", "FR,true,false"));
    about(number(&analyst, WORKING).await, 170.0);
    run(&admin, "DROP POLICY licensed ON person").await;
    about(number(&analyst, WORKING).await, 340.0);
    run(&admin, "ALTER POLICY germany ON person USING (country = 'DE')").await;
    about(number(&analyst, WORKING).await, 136.0);
    run(&admin, "ALTER POLICY germany ON person TO auditor").await;
    about(number(&analyst, WORKING).await, 408.0);
    let shown = rows(&admin, "SELECT policy, holds_for, roles, condition FROM privacy.row_policies").await;
    let shown: Vec<&str> = shown.iter().flatten().map(|cell| cell.as_deref().unwrap()).collect();
    assert_eq!(shown, ["germany", "persons", "auditor", "country = 'DE'"]);
    // On a table with many rows a person, rows are taken out.
    run(&admin, "CREATE POLICY billed ON hours USING (billable)").await;
    about(number(&analyst, "SELECT count(*) FROM hours").await, 408.0);
    about(number(&analyst, PERSONS).await, 408.0);
    run(&admin, "CREATE ROLE council").await;
    run(&admin, "ALTER POLICY germany ON person TO council, auditor").await;
    assert_eq!(refused(&admin, "DROP ROLE council").await.sqlstate, "2BP01");
    run(&admin, "DROP POLICY germany ON person").await;
    run(&admin, "DROP ROLE council").await;
}

/// Another server on the same state, as after a restart, has the same scopes, and sees a change at its next statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_agree_on_who_is_counted() {
    let (server, admin) = served().await;
    run(&admin, "ALTER TABLE person SET (manager_key = 'manager_id')").await;
    manager(&server, &admin, "m_one", "p-1").await;
    run(&admin, "CREATE POLICY germany ON person USING (country <> 'DE')").await;
    for id in 4..54 {
        run(&admin, &format!("CALL privacy.exclude_person('p-{id}')")).await;
    }
    let other = server.another().await;
    let there = other.login(("m_one", "manager")).await;
    // Of 3 to 102 there are 50 left, of whom 18 are in DE.
    about(number(&there, PERSONS).await, 32.0);
    run(&admin, "DROP POLICY germany ON person").await;
    about(number(&there, WORKING).await, 50.0);
    let changes = rows(&server.auditor().await, "SELECT statement, old, new FROM audit.changes").await;
    let changes: String = changes.into_iter().flatten().flatten().collect();
    assert!(changes.contains("germany") && changes.contains("exclude_person"));
    assert!(!changes.contains("p-4") && !changes.contains("'p-1'"), "a person in the log of changes");
}

/// Badges are persons', doors are badges'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_find_their_person_elsewhere_are_in_its_scope() {
    let (server, admin) = served().await;
    let (mut badge, mut door) = (String::from("badge_id,person_id\n"), String::from("badge_id,north\n"));
    for id in 0..408 {
        badge.push_str(&format!("{},p-{id}\n", id + 1000));
        door.push_str(&format!("{0},true\n{0},false\n", id + 1000));
    }
    server.file("badge.csv", &badge);
    server.file("door.csv", &door);
    for statement in [
        "CREATE EXTERNAL TABLE badge STORED AS CSV LOCATION 'badge.csv' OPTIONS (format.has_header 'true')",
        "ALTER TABLE badge ADD PRIMARY KEY (badge_id)",
        "ALTER TABLE badge SET (person_key = 'person_id', privacy_policy = 'people', max_rows_per_person = 1)",
        "CREATE EXTERNAL TABLE door STORED AS CSV LOCATION 'door.csv' OPTIONS (format.has_header 'true')",
        "ALTER TABLE door SET (person_key = 'badge_id → badge.person_id', max_rows_per_person = 2)",
        "GRANT SELECT ON door TO insights_analyst",
        "ALTER TABLE person SET (manager_key = 'manager_id')",
    ] {
        run(&admin, statement).await;
    }
    let asked = "SELECT count(*) FROM door";
    let one = manager(&server, &admin, "m_one", "p-1").await;
    run(&admin, "GRANT SELECT ON door TO m_one").await;
    about(number(&one, asked).await, 200.0);
    run(&admin, "CREATE POLICY north ON door USING (north)").await;
    about(number(&one, asked).await, 100.0);
    run(&admin, "CREATE POLICY germany ON person TO insights_analyst USING (country <> 'DE')").await;
    about(number(&server.analyst().await, asked).await, 272.0);
    about(number(&one, asked).await, 100.0);
    // Whether there is a row is asked of the same rows.
    let without =
        "SELECT count(*) FROM person p WHERE NOT EXISTS (SELECT 1 FROM hours h WHERE h.person_id = p.person_id)";
    assert!(rows(&one, without).await.iter().flatten().all(Option::is_none));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_rule_is_refused_and_changes_nothing() {
    let (server, admin) = served().await;
    for (statement, sqlstate) in [
        ("CREATE POLICY a ON person USING (random() < 0.5)", "42883"),
        ("CREATE POLICY a ON person USING (now() > '2026-01-01')", "42P17"),
        ("CREATE POLICY a ON person USING (CAST(country AS int) > 1)", "42P17"),
        ("CREATE POLICY a ON hours USING (week / 0 > 1)", "42P17"),
        ("CREATE POLICY a ON hours USING (week + 1 > 1)", "42P17"),
        ("CREATE POLICY a ON hours USING (hours = 'many')", "22P02"),
        ("CREATE POLICY a ON person USING (country)", "42804"),
        ("CREATE POLICY a ON person USING (nothing = 1)", "42703"),
        ("CREATE POLICY a ON nothing USING (true)", "42P01"),
        ("CREATE POLICY a ON person USING (hours > 1)", "42703"),
        ("CREATE POLICY a ON person USING (person_id <> 'p-7')", "42501"),
        ("CREATE POLICY a ON person USING (EXISTS (SELECT 1 FROM hours))", "0A000"),
        ("CREATE POLICY a ON person USING (country IN (SELECT country FROM person))", "0A000"),
        ("CREATE POLICY a ON person USING (count(*) > 1)", "42803"),
        ("CREATE POLICY a ON person USING (row_number() OVER () = 1)", "42803"),
        ("CREATE POLICY a ON person AS PERMISSIVE USING (true)", "0A000"),
        ("CREATE POLICY a ON person FOR INSERT USING (true)", "0A000"),
        ("CREATE POLICY a ON person USING (true) WITH CHECK (true)", "0A000"),
        ("CREATE POLICY a ON person TO nobody_there USING (true)", "42704"),
        ("CREATE POLICY a ON person USING (true) WITH (min_group_size = 9)", "22023"),
        ("CREATE POLICY a ON person USING (true) WITH (min_group_size = 1e1)", "22023"),
        ("CREATE POLICY a ON person USING (true) WITH (min_group_size = 'NaN')", "22023"),
        ("CREATE POLICY a ON person USING (true) WITH (min_group_size = -20)", "22023"),
        ("CREATE POLICY a ON person USING (true) WITH (other = 20)", "22023"),
        ("ALTER POLICY a ON person USING (true)", "42704"),
        ("DROP POLICY a ON person", "42704"),
        ("ALTER TABLE hours SET (manager_key = 'person_id')", "22023"),
        ("ALTER TABLE person SET (manager_key = 'nobody')", "42703"),
        ("ALTER TABLE person SET (manager_key = 'person_id')", "22023"),
        ("ALTER TABLE person SET (manager_key = 'country')", "22023"),
        ("ALTER TABLE person SET (manager_key = 'consent')", "42804"),
        ("CALL privacy.exclude_person()", "22023"),
        ("CALL privacy.exclude_person('a', 'b', 'c')", "42883"),
    ] {
        let refusal = refused(&admin, statement).await;
        assert_eq!(refusal.sqlstate, sqlstate, "{statement}: {refusal}");
        let bare = ["42703", "42P01"].contains(&sqlstate);
        assert!(bare || refusal.hint.is_some() || refusal.detail.is_some(), "{statement}: {refusal}");
    }
    run(&admin, "DROP POLICY IF EXISTS a ON person").await;
    about(number(&server.analyst().await, PERSONS).await, 408.0);
    run(&admin, "ALTER TABLE person SET (manager_key = 'manager_id')").await;
    assert_eq!(refused(&admin, "ALTER ROLE analyst_1 SET privacy.person = 'p-9999'").await.sqlstate, "22023");
    assert_eq!(refused(&admin, "ALTER TABLE person RESET (person_key)").await.sqlstate, "22023");
    assert_eq!(
        refused(&admin, "ALTER TABLE person ALTER COLUMN manager_id SET (class = 'attribute')").await.sqlstate,
        "22023"
    );
    let analyst = server.analyst().await;
    for statement in [
        "CREATE POLICY a ON person USING (true)",
        "CALL privacy.exclude_person('p-7')",
        "ALTER ROLE analyst_1 SET privacy.person = 'p-7'",
    ] {
        assert_eq!(refused(&analyst, statement).await.sqlstate, "42501", "{statement}");
    }
    assert_eq!(refused(&analyst, "SET privacy.person = 'p-7'").await.sqlstate, "42501");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_population_has_a_floor_of_its_own() {
    let (server, admin) = served().await;
    let analyst = server.analyst().await;
    let shown = "SELECT country, count(*) FROM person GROUP BY country";
    assert_eq!(rows(&analyst, shown).await.len(), 2);
    run(&admin, "CREATE POLICY works_council ON person USING (true) WITH (min_group_size = 200)").await;
    assert_eq!(rows(&analyst, shown).await.len(), 1, "136 in DE are too few now");
    assert!(
        rows(&analyst, "EXPLAIN (PRIVACY) SELECT count(*) FROM hours")
            .await
            .iter()
            .flatten()
            .flatten()
            .any(|line| line.contains("floor (k): 200"))
    );
    run(&admin, "ALTER POLICY works_council ON person SET (min_group_size = 100)").await;
    assert_eq!(rows(&analyst, shown).await.len(), 2);
    run(&admin, "ALTER SYSTEM SET privacy.min_group_size = 150").await;
    assert_eq!(
        refused(&admin, "ALTER POLICY works_council ON person SET (min_group_size = 120)").await.sqlstate,
        "22023"
    );
    assert_eq!(rows(&analyst, shown).await.len(), 1, "the system's floor is higher");
}

/// Pairs of scopes that differ by one person: 'top-i' leads 'dep-i' alone, who leads a team.
const PAIRS: usize = 200;

/// Whoever compares the answers knows everything but whether that person is counted. Two numbers a pair: the answers of the
/// larger and the smaller scope, less the size of the team.
async fn compared(server: &TestServer) -> Verdict {
    let (mut text, mut team) = (String::from("person_id,manager_id\n"), Vec::new());
    for pair in 0..PAIRS {
        // Sizes as if by chance, the same in every run.
        let size = 60 + (pair * 7919 + 13) % 61;
        text.push_str(&format!("top-{pair},\ndep-{pair},top-{pair}\n"));
        (0..size).for_each(|member| text.push_str(&format!("p-{pair}-{member},dep-{pair}\n")));
        team.push(size as f64);
    }
    server.file("team.csv", &text);
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE team STORED AS CSV LOCATION 'team.csv' OPTIONS (format.has_header 'true')",
        "ALTER TABLE team ADD PRIMARY KEY (person_id)",
        "ALTER TABLE team SET (person_key = 'person_id', manager_key = 'manager_id')",
        "CREATE ROLE m LOGIN PASSWORD 'manager'",
        "GRANT group_manager TO m",
        "GRANT SELECT ON team TO m",
    ] {
        run(&admin, statement).await;
    }
    run(&admin, "ALTER ROLE m SET privacy.person = 'top-0'").await;
    let client = server.login(("m", "manager")).await;
    run(&client, "SET privacy.epsilon = 0.3").await;
    let mut worlds: [Vec<Sample>; 2] = Default::default();
    for (pair, size) in team.iter().enumerate() {
        for (world, who) in worlds.iter_mut().zip(["dep", "top"]) {
            run(&admin, &format!("ALTER ROLE m SET privacy.person = '{who}-{pair}'")).await;
            let answer = rows(&client, "SELECT count(*) FROM team").await;
            let count: Option<f64> = answer.first().and_then(|row| row[0].as_ref()).map(|count| count.parse().unwrap());
            world.push(vec![count.map_or(f64::NAN, |count| count - size)]);
        }
    }
    judge([&worlds[0], &worlds[1]], Promise { rho: 0.3 * 0.3 / 2.0, ..Promise::DEFAULT }, 1e-6)
}

/// False-failure rate: one in a million runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_with_one_person_less_is_told_no_better_than_the_budget_allows() {
    let server = TestServer::start().await.with_people().await;
    let verdict = compared(&server).await;
    assert!(!verdict.is_excluded(), "{verdict:?}");
    assert_eq!(verdict.more.1, PAIRS as u64 / 2);
}

/// The same comparison of exact counts is caught: a test that could not fail would prove nothing.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exact_counts_would_be_told() {
    let server = TestServer::start_silent().await.with_people().await;
    let verdict = compared(&server).await;
    assert!(verdict.is_excluded(), "{verdict:?}");
}
