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

const PURPOSE: &str = "CALL privacy.create_purpose('load', ARRAY['person', 'person_week'], \
     ARRAY['function', 'level', 'person_week.after_hours'], 'employees in Germany', '2100-01-01', 'is work spread fairly?')";

async fn is_42501(client: &Client, sql: &str, detail: &str) {
    let refusal = refused(client, sql).await;
    assert_eq!(refusal.sqlstate, "42501", "{sql}: {refusal}");
    assert!(refusal.detail.as_ref().is_some_and(|said| said.contains(detail)), "{sql}: {refusal}");
    assert!(refusal.hint.is_some(), "{sql}: {refusal}");
}

/// W16.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_stay_within_their_purpose() {
    let server = company().await;
    let (analyst, admin) = (server.analyst().await, server.login(SECOND_ADMIN).await);
    // With none registered, any text goes to the log.
    run(&analyst, "SET privacy.purpose = 'looking around'").await;
    run(&analyst, "SELECT count(*) FROM email").await;
    refuses(&server, &analyst, "42501", PURPOSE).await;
    run(&admin, PURPOSE).await;
    // What was declared before is no purpose any more, at once.
    is_42501(&analyst, "SELECT count(*) FROM email", "not registered").await;
    refuses(&server, &analyst, "22023", "SET privacy.purpose = 'Load'").await;
    run(&analyst, "SET privacy.purpose = 'load'").await;
    run(&analyst, "SELECT function, count(*) FROM person GROUP BY function").await;
    // Keys say whose rows these are, and go with the tables.
    let joined = "SELECT level, avg(after_hours) FROM person JOIN person_week USING (person_id) GROUP BY level";
    run(&analyst, joined).await;
    is_42501(&analyst, "SELECT count(*) FROM email", "\"load\" does not name the table").await;
    is_42501(&analyst, "SELECT avg(meeting_hours) FROM person_week", "\"load\" does not name the column").await;
    is_42501(&analyst, "SELECT count(*) FROM person WHERE country = 'DE'", "\"load\"").await;
    is_42501(&analyst, "EXPLAIN (PRIVACY) SELECT avg(meeting_hours) FROM person_week", "\"load\"").await;
    is_42501(&analyst, "COPY (SELECT avg(meeting_hours) FROM person_week) TO STDOUT", "\"load\"").await;

    // What a row policy looks at is not what a query reads, whatever its class.
    run(&admin, "CREATE POLICY some_weeks ON person_week USING (meeting_hours >= 0)").await;
    run(&admin, "ALTER TABLE person_week ALTER COLUMN meeting_hours SET (class = 'hidden')").await;
    run(&analyst, "SELECT avg(after_hours) FROM person_week").await;
    is_42501(&analyst, "SELECT avg(meeting_hours) FROM person_week", "hidden columns feed metrics").await;
    run(&admin, "DROP POLICY some_weeks ON person_week").await;
    run(&admin, "ALTER TABLE person_week ALTER COLUMN meeting_hours SET (class = 'measure')").await;

    run(&analyst, "RESET privacy.purpose").await;
    run(&analyst, "SELECT count(*) FROM email").await;
    run(&admin, "ALTER TABLE email SET (purpose_required = true)").await;
    is_42501(&analyst, "SELECT count(*) FROM email", "need a live purpose").await;
    run(&analyst, "SELECT count(*) FROM person").await;
    run(&admin, "ALTER SYSTEM SET privacy.purpose_required = on").await;
    is_42501(&analyst, "SELECT count(*) FROM person", "need a live purpose").await;
    run(&admin, "ANALYZE person").await;

    run(&analyst, "SET privacy.purpose = 'load'").await;
    run(&analyst, "SELECT count(*) FROM person").await;
    run(&admin, "CALL privacy.end_purpose('load')").await;
    is_42501(&analyst, "SELECT count(*) FROM person", "\"load\" is ended").await;
    assert_eq!(value(&analyst, "SELECT state FROM privacy.purposes").await, "ended");
    refuses(&server, &admin, "55000", "CALL privacy.end_purpose('load')").await;
    refuses(&server, &admin, "42710", PURPOSE).await;
}

/// W16, and the bad input of issue 4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purposes_that_must_not_be_are_refused() {
    let server = company().await;
    let admin = server.login(SECOND_ADMIN).await;
    for (sqlstate, from, to) in [
        ("22023", "'2100-01-01'", "'2001-01-01'"),
        ("22023", "'2100-01-01'", "'infinity'"),
        ("22023", "'2100-01-01'", "'NaN'"),
        ("22023", "'2100-01-01'", "NULL"),
        ("22023", "'load'", "NULL"),
        ("22023", "'load'", "' '"),
        ("22023", "'is work spread fairly?'", "NULL"),
        ("22023", "ARRAY['person', 'person_week']", "NULL"),
        ("22023", "ARRAY['person', 'person_week']", "ARRAY[]"),
        ("42P01", "ARRAY['person', 'person_week']", "'{person,persons}'"),
        ("42703", "'level'", "'levels'"),
        ("42703", "'person_week.after_hours'", "'email.sent_at'"),
        ("42704", "'is work spread fairly?'", "'is it?', ARRAY['nobody']"),
    ] {
        let sql = PURPOSE.replacen(from, to, 1);
        assert_ne!(sql, PURPOSE);
        refuses(&server, &admin, sqlstate, &sql).await;
    }
    refuses(&server, &admin, "42704", "CALL privacy.end_purpose('nothing')").await;
    assert!(rows(&admin, "SELECT * FROM privacy.purposes").await.is_empty());
    // Open to some roles only, and over by itself.
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(3);
    let sql = PURPOSE
        .replace("'2100-01-01'", &format!("'{}'", soon.to_rfc3339()))
        .replace("fairly?'", "fairly?', roles => ARRAY['auditor']");
    run(&admin, &sql).await;
    let analyst = server.analyst().await;
    refuses(&server, &analyst, "22023", "SET privacy.purpose = 'load'").await;
    run(&admin, &sql.replace("'load'", "'other'").replace("auditor", "analyst_1")).await;
    run(&analyst, "SET privacy.purpose = 'other'").await;
    tokio::time::sleep(Duration::from_millis(4_100)).await;
    is_42501(&analyst, "SELECT count(*) FROM person", "\"other\" is expired").await;
}

/// Persons in teams of 12, 14, … 70; one in three is a member of a union.
#[cfg(debug_assertions)]
async fn teams() -> TestServer {
    let server = TestServer::start_silent().await.with_people().await;
    let (mut text, mut id) = ("person_id,team,member,points\n".to_owned(), 0);
    for size in (12..=70).step_by(2) {
        for n in 0..size {
            id += 1;
            text.push_str(&format!("{id},team {size},{},{}\n", if n % 3 == 0 { "yes" } else { "no" }, n % 10));
        }
    }
    server.file("worker.csv", &text);
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE worker (person_id BIGINT, team TEXT, member TEXT, points BIGINT) STORED AS CSV LOCATION 'worker.csv'",
        "ALTER TABLE worker ADD PRIMARY KEY (person_id)",
        "ALTER TABLE worker SET (person_key = 'person_id')",
        "ALTER TABLE worker ALTER COLUMN team SET (class = 'attribute')",
        "ALTER TABLE worker ALTER COLUMN member SET (class = 'sensitive')",
        "ALTER TABLE worker ALTER COLUMN points SET (class = 'sensitive', lower = 0, upper = 10)",
        "GRANT SELECT ON worker TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    server
}

/// W17.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sensitive_columns_need_a_purpose_that_names_them_and_a_higher_floor() {
    let server = teams().await;
    let (analyst, admin, auditor) = (server.analyst().await, server.admin().await, server.auditor().await);
    let share = "SELECT team, count(*), share(member = 'yes') FROM worker GROUP BY team";
    is_42501(&analyst, share, "need a live purpose that names them").await;
    let purpose = "CALL privacy.create_purpose('NAME', ARRAY['worker'], COLUMNS, NULL, '2100-01-01', 'works council')";
    run(&admin, &purpose.replace("NAME", "all").replace("COLUMNS", "NULL")).await;
    run(&admin, &purpose.replace("NAME", "union").replace("COLUMNS", "ARRAY['team', 'member', 'points']")).await;
    run(&analyst, "SET privacy.purpose = 'all'").await;
    is_42501(&analyst, share, "need a live purpose that names them").await;
    run(&analyst, "SET privacy.purpose = 'union'").await;

    let least = |rows: Vec<Vec<Option<String>>>| rows.iter().map(|row| row[1].clone().unwrap().parse().unwrap()).min();
    let plain: i64 = least(rows(&analyst, "SELECT team, count(*) FROM worker GROUP BY team").await).unwrap();
    let told: i64 = least(rows(&analyst, share).await).unwrap();
    assert!(plain < 20 + 10, "the ordinary floor is meant to let small teams through: {plain}");
    assert!(told >= plain + 10, "{told} persons in a group of a sensitive answer, {plain} in an ordinary one");
    let floors =
        "SELECT protections FROM audit.query_log WHERE outcome = 'answered' AND statement LIKE 'SELECT%worker%'";
    let floors: Vec<String> = rows(&auditor, floors).await.into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert!(floors.iter().any(|said| said.starts_with("floor 10,")), "{floors:?}");
    assert!(floors.iter().any(|said| said.starts_with("floor 20,")), "{floors:?}");

    // However it is read.
    for sql in [
        "SELECT team, count(*) FROM worker WHERE member = 'yes' GROUP BY team",
        "SELECT team, avg(points) FROM worker GROUP BY team",
        "SELECT team, count(*) FROM worker WHERE EXISTS (SELECT 1 FROM worker AS w \
           WHERE w.person_id = worker.person_id AND w.points > 5) GROUP BY team",
        "SELECT team, avg(high) FROM (SELECT person_id, team, max(points) AS high FROM worker GROUP BY person_id, team) AS m GROUP BY team",
        "SELECT team, count(*) FILTER (WHERE member = 'yes' AND points < 5) FROM worker GROUP BY team",
    ] {
        let plan = rows(&analyst, &format!("EXPLAIN (PRIVACY) {sql}")).await;
        let plan: Vec<String> = plan.into_iter().map(|row| row[0].clone().unwrap()).collect();
        assert!(plan.iter().any(|line| line.contains("20 persons") || line.contains("floor 20")), "{sql}: {plan:?}");
        run(&analyst, sql).await;
    }
    for sql in [
        "SELECT member, count(*) FROM worker GROUP BY member",
        "SELECT DISTINCT member FROM worker",
        "SELECT upper(member) AS m, count(*) FROM worker GROUP BY 1",
        "SELECT team, high, count(*) FROM (SELECT person_id, team, max(points) AS high FROM worker GROUP BY person_id, team) AS m GROUP BY team, high",
    ] {
        is_42501(&analyst, sql, "each group would show a value of it").await;
    }
    // A floor below the general one changes nothing; a higher one holds at once, also for what is stored.
    run(&admin, "ALTER SYSTEM SET privacy.min_group_size = 25").await;
    let raised: i64 = least(rows(&analyst, share).await).unwrap();
    // Sizes of teams are two apart: a threshold five higher leaves out two of them at least.
    assert!(raised >= told + 4, "{raised} after {told}");
    for low in ["9", "0", "-1", "NaN", "10.5", "1e2"] {
        let sql = format!("ALTER SYSTEM SET privacy.sensitive_min_group_size = '{low}'");
        assert_eq!(refused(&admin, &sql).await.sqlstate, "22023", "{sql}");
    }
    run(&admin, "CALL privacy.end_purpose('union')").await;
    is_42501(&analyst, share, "\"union\" is ended").await;
}

/// W16: evidence for an impact assessment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purpose_report_says_what_was_done_for_a_purpose() {
    let server = company().await;
    let (analyst, admin) = (server.analyst().await, server.login(SECOND_ADMIN).await);
    run(&admin, PURPOSE).await;
    run(&admin, &PURPOSE.replace("'load'", "'it''s idle'")).await;
    let report = "SELECT tables, columns, persons, answered, refused, principals, epsilon > 0.9, first_use <= last_use \
                  FROM privacy.purpose_report('load')";
    let nothing = rows(&admin, report).await;
    assert_eq!(nothing[0][2..5], [None, Some("0".to_owned()), Some("0".to_owned())], "{nothing:?}");
    run(&analyst, "SET privacy.purpose = 'load'").await;
    run(&analyst, "SELECT function, count(*) FROM person GROUP BY function").await;
    run(&analyst, "SELECT avg(after_hours) FROM person_week").await;
    refused(&analyst, "SELECT count(*) FROM email").await;
    // About the system: nobody's data, and no query of the purpose.
    rows(&analyst, "SELECT * FROM privacy.budget").await;
    let said = rows(&admin, report).await;
    let text = |place: usize| said[0][place].clone().unwrap_or_default();
    assert_eq!(text(0), "person, person_week");
    assert!(text(1).contains("person.function") && text(1).contains("person_week.after_hours"), "{said:?}");
    assert!(!text(1).contains("country"), "{said:?}");
    // 2,000 persons, or of those in groups that could be shown, never exactly.
    assert_eq!(text(2), "1000 to 10000");
    assert_eq!((text(3), text(4), text(5)), ("2".to_owned(), "2".to_owned(), "analyst_1".to_owned()));
    assert_eq!((text(6), text(7)), ("t".to_owned(), "t".to_owned()));

    let auditor = server.auditor().await;
    let idle = rows(&auditor, "SELECT r.answered FROM privacy.purpose_report('it''s idle') AS r").await;
    assert_eq!(idle, [[Some("0".to_owned())]]);
    let found = auditor.query("SELECT answered FROM privacy.purpose_report($1)", &[&"load"]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(rows(&auditor, "SELECT * FROM privacy.purpose_report").await.len(), 2);
    assert_eq!(refused(&auditor, "SELECT * FROM privacy.purpose_report()").await.sqlstate, "42883");
    refuses(&server, &analyst, "42501", "SELECT * FROM privacy.purpose_report('load')").await;
}

/// W9, W12.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_columns_feed_metrics_and_nothing_else() {
    let server = company().await;
    let (analyst, admin) = (server.analyst().await, server.login(SECOND_ADMIN).await);
    run(&admin, "ALTER TABLE email ALTER COLUMN sent_at SET (class = 'hidden')").await;
    run(&admin, "ALTER TABLE email ALTER COLUMN recipients SET (class = 'hidden')").await;
    let late = "SELECT sender_id AS person_id, count(*) FILTER (WHERE date_part('hour', sent_at) >= 18) AS late, \
                max(recipients) AS widest FROM email GROUP BY sender_id";
    for shown in [
        "SELECT sender_id, sent_at FROM email",
        "SELECT sender_id, date_part('hour', sent_at) AS hour FROM email",
        "SELECT sender_id, max(recipients) + min(date_part('hour', sent_at)) AS x, sent_at FROM email GROUP BY sender_id, sent_at",
        "SELECT sender_id, sent_at > now() AS later FROM email",
        "SELECT * FROM (SELECT sender_id, lag(sent_at) OVER (PARTITION BY sender_id ORDER BY sent_at) AS before FROM email) AS e",
        "SELECT sender_id, recipients IN (1, 2) AS few FROM email",
    ] {
        let refusal =
            refuses(&server, &admin, "42501", &format!("CREATE VIEW bad WITH (metric = true) AS {shown}")).await;
        assert!(refusal.detail.unwrap().contains("through aggregates only"), "{shown}");
    }
    let both = format!("CREATE VIEW late WITH (metric, security_invoker) AS {late}");
    assert_eq!(refused(&admin, &both).await.sqlstate, "22023");
    assert_eq!(refused(&admin, "CREATE VIEW v WITH (metric = perhaps) AS SELECT 1 AS x").await.sqlstate, "22023");
    run(&admin, &format!("CREATE VIEW late WITH (metric = true) AS {late}")).await;
    run(&admin, "CREATE VIEW ordinary AS SELECT sender_id, sent_at FROM email").await;
    run(&admin, "GRANT SELECT ON late, ordinary TO insights_analyst").await;
    run(&admin, "COMMENT ON VIEW late IS 'mails sent after six in the evening'").await;

    // What the metric shows is aggregated like any measure.
    run(
        &analyst,
        "SELECT function, avg(clamp(late, 0, 100)) FROM late JOIN person USING (person_id) GROUP BY function",
    )
    .await;
    run(&analyst, "SELECT share(late > 5) FROM late").await;
    run(&analyst, "SELECT count(*) FROM email").await;
    for sql in [
        "SELECT count(*) FROM email WHERE sent_at > '2025-01-01'",
        "SELECT sent_at, count(*) FROM email GROUP BY sent_at",
        "SELECT max(sent_at) FROM email",
        "SELECT avg(clamp(recipients, 0, 20)) FROM email JOIN late ON late.person_id = email.sender_id",
        "SELECT count(*) FROM email ORDER BY max(recipients)",
        "SELECT max(sent_at) FROM ordinary",
        "SELECT count(*) FROM ordinary WHERE sent_at > '2025-01-01'",
    ] {
        is_42501(&analyst, sql, "hidden columns feed metrics").await;
    }
    for sql in ["SELECT widest, count(*) FROM late GROUP BY widest", "SELECT DISTINCT widest + 1 FROM late"] {
        is_42501(&analyst, sql, "each group would show a value of it").await;
    }
    let listed = rows(&analyst, "SELECT name, definition, description FROM privacy.metrics").await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0][0].as_deref(), Some("late"));
    assert!(listed[0][1].as_ref().unwrap().contains("date_part"), "{listed:?}");
    assert_eq!(listed[0][2].as_deref(), Some("mails sent after six in the evening"));
    // A class that changes under a metric holds there at once.
    run(&admin, "CREATE VIEW early WITH (metric = true) AS SELECT sender_id AS person_id, reply FROM email").await;
    run(&admin, "GRANT SELECT ON early TO insights_analyst").await;
    run(&analyst, "SELECT share(reply) FROM early").await;
    run(&admin, "ALTER TABLE email ALTER COLUMN reply SET (class = 'hidden')").await;
    is_42501(&analyst, "SELECT share(reply) FROM early", "through aggregates only").await;
}

/// R4, W10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn administrators_see_what_is_collected_and_what_singles_persons_out() {
    let server = company().await;
    let (analyst, admin) = (server.analyst().await, server.login(SECOND_ADMIN).await);
    run(&admin, "COMMENT ON COLUMN person.country IS 'where the contract is'").await;
    run(&admin, "COMMENT ON TABLE person IS 'from the directory, weekly'").await;
    for sql in [
        "COMMENT ON COLUMN person.nothing IS 'x'",
        "COMMENT ON TABLE nothing IS 'x'",
        "COMMENT ON COLUMN person IS 'x'",
    ] {
        let refusal = refused(&admin, sql).await;
        assert!(["42703", "42P01", "42601"].contains(&refusal.sqlstate.as_str()), "{sql}: {refusal}");
        assert!(refusal.hint.is_some(), "{sql}: {refusal}");
    }
    refuses(&server, &analyst, "42501", "COMMENT ON TABLE person IS 'mine'").await;
    let category = "SELECT about, class, description, table_description FROM privacy.data_categories \
                    WHERE table_name = 'person' AND column_name = 'country'";
    let said = ["persons", "attribute", "where the contract is", "from the directory, weekly"];
    for client in [&analyst, &admin] {
        assert_eq!(rows(client, category).await, [said.map(|text| Some(text.to_owned()))]);
    }
    run(&admin, "COMMENT ON COLUMN person.country IS NULL").await;
    assert_eq!(rows(&admin, category).await[0][2], None);

    refuses(&server, &analyst, "42501", "CALL privacy.assess_column_risk('person')").await;
    refuses(&server, &analyst, "42501", "SELECT * FROM privacy.column_risk").await;
    for (sqlstate, table) in [("42809", "'email'"), ("42P01", "'nothing'"), ("22023", "NULL")] {
        refuses(&server, &admin, sqlstate, &format!("CALL privacy.assess_column_risk({table})")).await;
    }
    assert!(rows(&admin, "SELECT * FROM privacy.column_risk").await.is_empty());
    let spent = "SELECT epsilon_spent FROM privacy.budget WHERE policy = 'people' AND principal IS NULL";
    let before = support::number(&admin, spent).await;
    run(&admin, "CALL privacy.assess_column_risk('person')").await;
    let after = support::number(&admin, spent).await;
    assert!(after > before, "releases are paid for");
    run(&admin, "CALL privacy.assess_column_risk('person')").await;
    assert_eq!(support::number(&admin, spent).await, after, "the same data costs nothing again");
    let risk = rows(&admin, "SELECT column_name, persons FROM privacy.column_risk WHERE table_name = 'person'").await;
    let of = |column: &str| {
        let row = risk.iter().find(|row| row[0].as_deref() == Some(column)).unwrap_or_else(|| panic!("{column}"));
        row[1].clone().unwrap()
    };
    // Two thousand persons hired on two thousand days; but few functions.
    assert_eq!(of("hired"), "1000 to 10000", "{risk:?}");
    assert!(of("function").starts_with("0 to"), "{risk:?}");
    assert!(!risk.iter().any(|row| row[0].as_deref() == Some("email")), "{risk:?}");
}
