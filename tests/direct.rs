//! One person's own rows, to answer their own request (requirements W1, W6, W12, R1, R2): who asks, who approves, what is shown, what is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{TestServer, number, refused, rows, run, value};
use tokio_postgres::Client;

/// Thirty persons with a manager, a place nobody shares, a sensitive and a hidden column; three weeks of each; and messages that find
/// their person through a box.
async fn people() -> TestServer {
    let server = TestServer::start().await.with_people().await;
    let mut staff = "person_id,email,manager_id,place,hours,health,score,note\n".to_owned();
    let mut weeks = "person_id,week,chats\n".to_owned();
    let (mut boxes, mut messages) = ("box_id,person_id\n".to_owned(), "box,size\n".to_owned());
    for id in 1..=30 {
        staff.push_str(&format!("p{id},m{id}@x.com,p{},room {id},{id}.5,ill {id},{id},hush\n", id % 5 + 1));
        (1..=3).for_each(|week| weeks.push_str(&format!("p{id},{week},{}\n", id * 10 + week)));
        boxes.push_str(&format!("{},p{id}\n", 100 + id));
        messages.push_str(&format!("{},{id}\n{},{id}\n", 100 + id, 100 + id));
    }
    for (name, content) in [("staff", &staff), ("weeks", &weeks), ("boxes", &boxes), ("messages", &messages)] {
        server.file(&format!("{name}.csv"), content);
    }
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE staff STORED AS CSV LOCATION 'staff.csv'",
        "CREATE EXTERNAL TABLE weeks STORED AS CSV LOCATION 'weeks.csv'",
        "CREATE EXTERNAL TABLE boxes STORED AS CSV LOCATION 'boxes.csv'",
        "CREATE EXTERNAL TABLE messages STORED AS CSV LOCATION 'messages.csv'",
        "ALTER TABLE staff ADD PRIMARY KEY (person_id)",
        "ALTER TABLE boxes ADD PRIMARY KEY (box_id)",
        "ALTER TABLE staff SET (privacy_policy = 'people', person_key = 'person_id')",
        "ALTER TABLE weeks SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 3)",
        "ALTER TABLE boxes SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 1)",
        "ALTER TABLE messages ADD FOREIGN KEY (box) REFERENCES boxes (box_id)",
        "ALTER TABLE messages SET (privacy_policy = 'people', max_rows_per_person = 2)",
        "ALTER TABLE staff ALTER COLUMN email SET (class = 'identifier')",
        "ALTER TABLE staff ALTER COLUMN manager_id SET (class = 'identifier', family = 'people')",
        "ALTER TABLE staff ALTER COLUMN place SET (class = 'attribute', mask = 'partial(1)', domain = '{room 1,room 2}')",
        "ALTER TABLE staff ALTER COLUMN hours SET (class = 'measure', lower = 0, upper = 10)",
        "ALTER TABLE staff ALTER COLUMN health SET (class = 'sensitive')",
        "ALTER TABLE staff ALTER COLUMN score SET (class = 'hidden')",
        "ALTER TABLE weeks ALTER COLUMN week SET (class = 'attribute')",
        "ALTER TABLE weeks ALTER COLUMN chats SET (class = 'measure', lower = 0, upper = 10)",
        "ALTER TABLE messages ALTER COLUMN size SET (class = 'measure', lower = 0, upper = 10)",
        "GRANT SELECT ON staff, weeks, messages TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    server
}

async fn requested(analyst: &Client, table: &str, columns: &str, person: &str) -> u64 {
    run(
        analyst,
        &format!(
            "CALL privacy.request_access('{table}', '{{{columns}}}', 'direct', '1 hour', 'a letter', 'request 17', \
             person => '{person}')"
        ),
    )
    .await;
    number(analyst, "SELECT max(id) FROM privacy.grants").await as u64
}

async fn granted(server: &TestServer, table: &str, columns: &str, person: &str) -> u64 {
    let id = requested(&server.analyst().await, table, columns, person).await;
    run(&server.admin().await, &format!("CALL privacy.approve_access({id}, person => '{person}')")).await;
    id
}

fn cells(row: &[Option<String>]) -> Vec<&str> {
    row.iter().map(|cell| cell.as_deref().unwrap()).collect()
}

fn is_pseudonym(text: &str) -> bool {
    text.len() == 15 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn their_own_rows_and_nobody_elses_are_shown_as_they_are() {
    let server = people().await;
    let analyst = server.analyst().await;
    let id = granted(&server, "staff", "person_id,email,manager_id,place,hours,health", "p7").await;
    let shown = rows(&analyst, "SELECT * FROM staff").await;
    assert_eq!(shown.len(), 1);
    // Alone in its place, outside the domain and the bounds, behind a mask, sensitive: it is their own all the same.
    let row = cells(&shown[0]);
    assert_eq!((row[0], row[3], row[4], row[5]), ("p7", "room 7", "7.5", "ill 7"));
    assert!(is_pseudonym(row[1]) && is_pseudonym(row[2]), "who else is in the row: {row:?}");
    for sql in ["SELECT score FROM staff", "SELECT note FROM staff", "SELECT person_id FROM staff WHERE score = 7"] {
        let refusal = refused(&analyst, sql).await;
        assert!(refusal.sqlstate == "42501" && refusal.hint.is_some(), "{sql}: {refusal}");
    }
    // What the asker writes stands above the restriction.
    for (sql, count) in [
        ("SELECT hours FROM staff WHERE person_id = 'p8'", 0),
        ("SELECT hours FROM staff WHERE person_id <> 'p7' OR hours > 100", 0),
        ("SELECT hours FROM staff ORDER BY hours DESC LIMIT 3", 1),
        ("SELECT 1 FROM staff WHERE person_id = 'p7' OR true", 1),
        ("SELECT hours FROM staff OFFSET 1", 0),
        ("SELECT s.hours FROM (SELECT * FROM staff) AS s", 1),
    ] {
        assert_eq!(rows(&analyst, sql).await.len(), count, "{sql}");
    }
    // Of this table, by this login, and no aggregate of one.
    let other =
        ["SELECT week FROM weeks", "SELECT DISTINCT person_id FROM staff", "SELECT max(hours) OVER () FROM staff"];
    for sql in other {
        assert!(["42501", "0A000"].contains(&refused(&analyst, sql).await.sqlstate.as_str()), "{sql}");
    }
    for sql in [
        "SELECT a.hours FROM staff AS a JOIN staff AS b ON a.person_id = b.manager_id",
        "SELECT a.hours FROM staff AS a JOIN weeks AS b USING (person_id)",
        "SELECT hours FROM staff WHERE person_id IN (SELECT person_id FROM weeks)",
        "SELECT hours FROM staff UNION ALL SELECT hours FROM staff",
    ] {
        assert!(["42501", "0A000"].contains(&refused(&analyst, sql).await.sqlstate.as_str()), "{sql}");
    }
    let counted = number(&analyst, "SELECT count(*) FROM staff").await;
    assert!((counted - 30.0).abs() < 8.0, "an aggregate is of everybody and noised: {counted}");
    assert!(number(&analyst, "SELECT max(epsilon_spent) FROM privacy.budget").await > 0.0);

    let auditor = server.auditor().await;
    let logged = format!(
        "SELECT count(*) FROM audit.query_log WHERE access_grant = {id} AND outcome = 'answered' \
         AND protections LIKE '%one person, as they are, under access {id}%' AND columns LIKE '%staff.health%'"
    );
    assert!(number(&auditor, &logged).await >= 7.0, "each use is logged with its grant");
    assert!(number(&auditor, &format!("SELECT uses FROM privacy.grants WHERE id = {id}")).await >= 7.0);
    let explained = rows(&analyst, "EXPLAIN (PRIVACY) SELECT hours FROM staff").await;
    assert!(explained[0][0].as_ref().unwrap().contains("of one person, as they are"), "{explained:?}");
    let plan = rows(&analyst, "EXPLAIN SELECT hours FROM staff").await;
    assert!(plan.iter().any(|line| line[0].as_ref().unwrap().contains("of_subject(")), "{plan:?}");
    assert!(!format!("{plan:?}").contains("p7"), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_find_their_person_through_another_table_are_theirs_alone() {
    let server = people().await;
    let analyst = server.analyst().await;
    granted(&server, "weeks", "person_id,week,chats", "p9").await;
    let weeks = rows(&analyst, "SELECT person_id, week, chats FROM weeks ORDER BY week").await;
    let weeks: Vec<Vec<&str>> = weeks.iter().map(|row| cells(row)).collect();
    assert_eq!(weeks, [["p9", "1", "91"], ["p9", "2", "92"], ["p9", "3", "93"]]);
    granted(&server, "messages", "box,size", "p9").await;
    let messages = rows(&analyst, "SELECT box, size FROM messages").await;
    assert_eq!(messages.len(), 2);
    assert!(messages.iter().all(|row| is_pseudonym(cells(row)[0]) && cells(row)[1] == "9"), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_out_of_answers_has_their_data_all_the_same() {
    let server = people().await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    run(&admin, "CREATE POLICY few ON staff USING (hours < 5)").await;
    run(&admin, "CREATE POLICY early ON weeks USING (week < 2)").await;
    run(&admin, "CALL privacy.exclude_person('p9')").await;
    granted(&server, "staff", "person_id,hours", "p9").await;
    granted(&server, "weeks", "person_id,week", "p9").await;
    assert_eq!(value(&analyst, "SELECT hours FROM staff").await, "9.5");
    assert_eq!(rows(&analyst, "SELECT week FROM weeks").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_who_there_is() {
    let server = people().await;
    let (analyst, auditor) = (server.analyst().await, server.auditor().await);
    for nobody in ["p31", "P7", "p7 ", "0", "'; SELECT 1; --"] {
        let quoted = nobody.replace('\'', "''");
        let id = granted(&server, "staff", "person_id,hours", &quoted).await;
        assert!(rows(&analyst, "SELECT * FROM staff").await.is_empty(), "{nobody}");
        run(&analyst, &format!("CALL privacy.revoke_access({id})")).await;
    }
    granted(&server, "staff", "person_id,hours", "p7").await;
    // Neither the log nor any view names the person; the changes hold no digest.
    for sql in [
        "SELECT statement FROM audit.query_log",
        "SELECT statement, old, new FROM audit.changes",
        "SELECT * FROM privacy.grants",
        "SELECT * FROM privacy.warnings",
    ] {
        for who in [&auditor, &server.admin().await, &analyst] {
            let Ok(messages) = who.simple_query(sql).await else { continue };
            let shown = format!("{:?}", support::texts(&messages));
            assert!(!shown.contains("p7") && !shown.contains("p31"), "{sql}: {shown}");
        }
    }
    let changes = rows(&auditor, "SELECT new FROM audit.changes WHERE kind = 'access'").await;
    assert!(
        changes.iter().any(|row| row[0].as_ref().is_some_and(|new| new.contains("\"person\":\"***\""))),
        "{changes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_takes_a_request_a_person_and_two_people() {
    let server = people().await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    let ask = |rest: &str| format!("CALL privacy.request_access('staff', '{{hours}}', {rest})");
    for (rest, sqlstate) in [
        ("'direct', '1 hour', 'why'", "22023"),
        ("'direct', '1 hour', 'why', person => 'p7'", "22023"),
        ("'direct', '1 hour', 'why', '   ', 'p7'", "22023"),
        ("'direct', '1 hour', 'why', 'request 17'", "22023"),
        ("'direct', '1 hour', 'why', 'request 17', NULL", "22023"),
        ("'direct', '1 hour', 'why', 'request 17', '  '", "22023"),
        ("'deidentified', '1 hour', 'why', person => 'p7'", "22023"),
        ("'deidentified', '1 hour', 'why', 'request 17', 'p7'", "22023"),
        ("'direct', '9 hours', 'why', 'request 17', 'p7'", "22023"),
        ("'direct', '1 hour', 'why', 'request 17', 'p7', 'p8'", "42883"),
        ("'direct', '1 hour', 'why', 'request 17', persons => 'p7'", "42883"),
    ] {
        let refusal = refused(&analyst, &ask(rest)).await;
        assert!(refusal.sqlstate == sqlstate && refusal.hint.is_some(), "{rest}: {refusal}");
    }
    for column in ["score", "note"] {
        let sql = format!(
            "CALL privacy.request_access('staff', '{{{column}}}', 'direct', '1 hour', 'why', 'request 17', 'p7')"
        );
        assert_eq!(refused(&analyst, &sql).await.sqlstate, "42501", "{column}");
    }
    assert_eq!(number(&analyst, "SELECT count(*) FROM privacy.grants").await, 0.0);
    let id = requested(&analyst, "staff", "person_id,hours", "p7").await;
    // Beside it nothing of the same table may be open, of any level.
    for rest in ["'deidentified', '1 hour', 'why'", "'direct', '1 hour', 'why', 'request 18', 'p8'"] {
        assert_eq!(refused(&analyst, &ask(rest)).await.sqlstate, "42710", "{rest}");
    }
    assert_eq!(refused(&analyst, "SELECT hours FROM staff").await.sqlstate, "42501", "it is not decided");
    for (sql, sqlstate) in [
        (format!("CALL privacy.approve_access({id})"), "22023"),
        (format!("CALL privacy.approve_access({id}, person => 'p8')"), "22023"),
        (format!("CALL privacy.approve_access({id}, '')"), "22023"),
    ] {
        let refusal = refused(&admin, &sql).await;
        assert!(refusal.sqlstate == sqlstate && refusal.hint.is_some(), "{sql}: {refusal}");
    }
    assert_eq!(refused(&analyst, &format!("CALL privacy.approve_access({id}, 'p7')")).await.sqlstate, "42501");
    run(&admin, &format!("CALL privacy.approve_access({id}, 'p7')")).await;
    assert_eq!(value(&analyst, "SELECT hours FROM staff").await, "7.5");
    for statement in ["CREATE ROLE analyst_2 LOGIN PASSWORD 'analyst'", "GRANT insights_analyst TO analyst_2"] {
        run(&admin, statement).await;
    }
    let other = server.login(("analyst_2", "analyst")).await;
    for who in [&other, &admin, &server.auditor().await] {
        assert_eq!(refused(who, "SELECT hours FROM staff").await.sqlstate, "42501");
    }
    // A cap counts these rows, too; and the end is the end, in open sessions.
    run(&admin, "ALTER SYSTEM SET privacy.access_row_cap = 1").await;
    assert_eq!(value(&analyst, "SELECT hours FROM staff").await, "7.5");
    run(&admin, &format!("CALL privacy.revoke_access({id})")).await;
    assert_eq!(refused(&analyst, "SELECT hours FROM staff").await.sqlstate, "42501");
    run(&analyst, "CALL privacy.request_access('weeks', '{week}', 'direct', '2 seconds', 'why', 'request 17', 'p7')")
        .await;
    run(&admin, &format!("CALL privacy.approve_access({}, 'p7')", id + 1)).await;
    assert_eq!(refused(&analyst, "SELECT week FROM weeks").await.sqlstate, "53400", "three rows, and one is allowed");
    assert_eq!(rows(&analyst, "SELECT week FROM weeks LIMIT 1").await.len(), 1);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(refused(&analyst, "SELECT week FROM weeks").await.sqlstate, "42501");
    let expired = format!("SELECT state FROM privacy.grants WHERE id = {}", id + 1);
    assert_eq!(value(&analyst, &expired).await, "expired");
}

/// A pseudonym beside a known person would be a name for their de-identified rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pseudonyms_beside_a_known_person_find_nobody_elsewhere() {
    let server = people().await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    let id = granted(&server, "staff", "person_id,email,manager_id", "p7").await;
    let shown = rows(&analyst, "SELECT email, manager_id FROM staff").await;
    let own: Vec<String> = shown[0].iter().map(|cell| cell.clone().unwrap()).collect();
    assert_eq!(rows(&analyst, "SELECT email, manager_id FROM staff").await, shown, "within the grant they stay");
    run(&admin, &format!("CALL privacy.revoke_access({id})")).await;
    run(
        &analyst,
        "CALL privacy.request_access('staff', '{person_id,email,manager_id}', 'deidentified', '1 hour', 'x')",
    )
    .await;
    run(&admin, &format!("CALL privacy.approve_access({})", id + 1)).await;
    let all = rows(&analyst, "SELECT email, manager_id, person_id FROM staff").await;
    assert_eq!(all.len(), 30);
    assert!(all.iter().flatten().all(|cell| !own.contains(cell.as_ref().unwrap())));
}

fn state(server: &TestServer) -> rusqlite::Connection {
    rusqlite::Connection::open(server.folder().join("paravent.db")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_grant_needed_goes_with_it_and_its_evidence_stays() {
    let server = people().await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    let first = granted(&server, "weeks", "week,chats", "p7").await;
    let second = granted(&server, "staff", "hours", "p8").await;
    assert_eq!(rows(&analyst, "SELECT week FROM weeks").await.len(), 3);
    assert_eq!(rows(&analyst, "SELECT hours FROM staff").await.len(), 1);
    let keys = || std::fs::read_to_string(server.folder().join("pseudonym.keys")).unwrap();
    let names = |id: u64| -> i64 {
        let counted = "SELECT count(*) FROM opened_row WHERE access_grant = ?1";
        state(&server).query_row(counted, [id as i64], |row| row.get(0)).unwrap()
    };
    let shown = |id: u64| format!("SELECT rows_shown FROM privacy.grants WHERE id = {id}");
    let before = keys();
    assert_eq!((names(first), names(second)), (3, 1));
    assert_eq!(value(&analyst, &shown(first)).await, "3");
    run(&admin, &format!("CALL privacy.revoke_access({first})")).await;
    assert_eq!((names(first), names(second)), (0, 1), "the other is live");
    assert!(keys().len() < before.len());
    assert_eq!(value(&analyst, &shown(first)).await, "3");
    assert_eq!(value(&analyst, &shown(second)).await, "1");
    let state_of = |id: u64| format!("SELECT state FROM privacy.grants WHERE id = {id} AND uses = 1");
    assert_eq!(value(&analyst, &state_of(first)).await, "revoked");
    // One whose time was over more than an hour ago: gone when the next one connects.
    let ended = "UPDATE catalog_object SET body = json_set(body, '$.until', 5) WHERE kind = 'access' AND name = ?1";
    state(&server).execute(ended, [second.to_string()]).unwrap();
    run(&admin, "ALTER SYSTEM SET privacy.access_row_cap = 50").await;
    drop(server.another().await);
    assert_eq!(names(second), 0);
    assert_eq!(value(&analyst, &shown(second)).await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_removed_leaves_a_trace() {
    let server = people().await;
    let auditor = server.auditor().await;
    let integrity = "SELECT record, rows > 0, whole, first_broken FROM audit.integrity ORDER BY record";
    let whole: Vec<Vec<Option<String>>> = rows(&auditor, integrity).await;
    assert_eq!(whole.len(), 4);
    assert!(whole.iter().all(|row| row[2].as_deref() == Some("t") && row[3].is_none()), "{whole:?}");
    assert_eq!((whole[1][0].as_deref(), whole[1][1].as_deref()), (Some("catalog_change"), Some("t")));
    for who in [server.analyst().await, server.admin().await] {
        assert_eq!(refused(&who, integrity).await.sqlstate, "42501");
    }
    state(&server).execute("DELETE FROM catalog_change WHERE change LIKE 'GRANT SELECT%'", []).unwrap();
    let broken = "SELECT record FROM audit.integrity WHERE NOT whole AND first_broken > 1";
    assert_eq!(value(&auditor, broken).await, "catalog_change");
}
