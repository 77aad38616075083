//! Rows that may be shown (requirements W2, W6, K1, R1, R2): de-identified under a grant of access, and a directory's behind its masks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use paravent::session::{Config, Server};
use paravent_udfs::Noise;
use support::{ADMIN_PASSWORD, TestServer, number, refused, rows, run, value};
use tokio_postgres::Client;

/// 300 persons of three teams of 100, but for one of 4 whom nobody shares a place with; hours from 0 to 39, a health that is nobody's
/// business; and four weeks of each.
async fn people() -> TestServer {
    let server = TestServer::start().await.with_people().await;
    let mut staff = "person_id,email,manager_id,team,place,hours,mails,badge,health,note\n".to_owned();
    let mut weeks = "person_id,week,chats\n".to_owned();
    for id in 1..=300 {
        let place = if id <= 4 { "attic" } else { "hall" };
        staff.push_str(&format!(
            "{id},p{id}@example.com,{},team {},{place},{},{},{id},ill,hush\n",
            id % 10 + 1,
            id % 3,
            id % 40,
            id % 7
        ));
        (1..=4).for_each(|week| weeks.push_str(&format!("{id},{week},{}\n", id % 5)));
    }
    server.file("staff.csv", &staff);
    server.file("weeks.csv", &weeks);
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE staff STORED AS CSV LOCATION 'staff.csv'",
        "CREATE EXTERNAL TABLE weeks STORED AS CSV LOCATION 'weeks.csv'",
        "ALTER TABLE staff ADD PRIMARY KEY (person_id)",
        "ALTER TABLE staff SET (person_key = 'person_id')",
        "ALTER TABLE weeks SET (person_key = 'person_id', max_rows_per_person = 4)",
        "ALTER TABLE staff ALTER COLUMN email SET (class = 'identifier')",
        "ALTER TABLE staff ALTER COLUMN manager_id SET (class = 'identifier', family = 'people')",
        "ALTER TABLE staff ALTER COLUMN team SET (class = 'attribute')",
        "ALTER TABLE staff ALTER COLUMN place SET (class = 'attribute')",
        "ALTER TABLE staff ALTER COLUMN hours SET (class = 'measure', lower = 0, upper = 40)",
        "ALTER TABLE staff ALTER COLUMN mails SET (class = 'measure', lower = 0, upper = 1000)",
        "ALTER TABLE staff ALTER COLUMN badge SET (class = 'measure')",
        "ALTER TABLE staff ALTER COLUMN health SET (class = 'sensitive')",
        "ALTER TABLE weeks ALTER COLUMN week SET (class = 'attribute')",
        "ALTER TABLE weeks ALTER COLUMN chats SET (class = 'measure', lower = 0, upper = 10)",
        "GRANT SELECT ON staff, weeks TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    server
}

/// Requested by the analyst, approved by the administrator; gives its id.
async fn access(server: &TestServer, table: &str, columns: &str) -> u64 {
    let analyst = server.analyst().await;
    let request =
        format!("CALL privacy.request_access('{table}', '{{{columns}}}', 'deidentified', '1 hour', 'a study')");
    run(&analyst, &request).await;
    let id = number(&analyst, &format!("SELECT max(id) FROM privacy.grants WHERE table_name = '{table}'")).await as u64;
    run(&server.admin().await, &format!("CALL privacy.approve_access({id})")).await;
    id
}

async fn column(client: &Client, sql: &str) -> Vec<String> {
    rows(client, sql).await.into_iter().map(|row| row[0].clone().unwrap_or_else(|| panic!("NULL from {sql}"))).collect()
}

fn is_pseudonym(text: &str) -> bool {
    text.len() == 15 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_live_grant_no_row_leaves() {
    let server = people().await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    for sql in [
        "SELECT * FROM staff",
        "SELECT person_id FROM staff LIMIT 1",
        "COPY staff TO STDOUT",
        "SELECT team FROM staff ORDER BY hours",
    ] {
        let refusal = refused(&analyst, sql).await;
        assert!(["42501", "0A000"].contains(&refusal.sqlstate.as_str()), "{sql}: {refusal}");
    }
    // Asked for, and not yet decided.
    run(&analyst, "CALL privacy.request_access('staff', '{person_id,team}', 'deidentified', '1 hour', 'a study')")
        .await;
    assert_eq!(refused(&analyst, "SELECT team FROM staff").await.sqlstate, "42501");
    run(&admin, "CALL privacy.approve_access(1)").await;
    assert_eq!(rows(&analyst, "SELECT team FROM staff").await.len(), 300);
    // Of this table, by this person, and no more.
    assert_eq!(refused(&analyst, "SELECT week FROM weeks").await.sqlstate, "42501");
    run(&admin, "CREATE ROLE analyst_2 LOGIN PASSWORD 'analyst'").await;
    run(&admin, "GRANT insights_analyst TO analyst_2").await;
    let other = server.login(("analyst_2", "analyst")).await;
    assert_eq!(refused(&other, "SELECT team FROM staff").await.sqlstate, "42501");
    assert_eq!(refused(&admin, "SELECT team FROM staff").await.sqlstate, "42501");
    // Over, at once, in the open session and for what a cursor holds.
    run(&analyst, "DECLARE held SCROLL CURSOR WITH HOLD FOR SELECT team FROM staff").await;
    run(&analyst, "DECLARE released SCROLL CURSOR WITH HOLD FOR SELECT count(*) FROM staff").await;
    assert_eq!(rows(&analyst, "FETCH 2 FROM held").await.len(), 2);
    run(&admin, "CALL privacy.revoke_access(1)").await;
    assert_eq!(refused(&analyst, "SELECT team FROM staff").await.sqlstate, "42501");
    assert_eq!(refused(&analyst, "FETCH 2 FROM held").await.sqlstate, "42501");
    assert_eq!(refused(&analyst, "FETCH PRIOR FROM held").await.sqlstate, "42501");
    assert_eq!(rows(&analyst, "FETCH ALL FROM released").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_shows_pseudonyms_and_its_columns_and_nothing_else() {
    let server = people().await;
    let analyst = server.analyst().await;
    let id = access(&server, "staff", "person_id,email,manager_id,team,hours,badge").await;
    let all = rows(&analyst, "SELECT * FROM staff").await;
    assert_eq!(all.len(), 300);
    // A measure without bounds has no noise, so it is not shown; what the grant does not name neither.
    assert!(all.iter().all(|row| row.len() == 5));
    assert!(all.iter().all(|row| row[..3].iter().all(|cell| is_pseudonym(cell.as_ref().unwrap()))), "{:?}", all[0]);
    let persons: BTreeSet<_> = all.iter().map(|row| row[0].clone()).collect();
    let managers: BTreeSet<_> = all.iter().map(|row| row[2].clone()).collect();
    assert_eq!((persons.len(), managers.len()), (300, 10));
    assert!(managers.is_subset(&persons), "one family: a manager is found among the persons");
    for sql in [
        "SELECT health FROM staff",
        "SELECT badge FROM staff",
        "SELECT place FROM staff",
        "SELECT team FROM staff WHERE note = 'hush'",
    ] {
        let refusal = refused(&analyst, sql).await;
        assert_eq!(refusal.sqlstate, "42501", "{sql}: {refusal}");
        assert!(refusal.hint.is_some(), "{sql}");
    }
    // Identifiers are pseudonyms wherever they stand: no literal is made one.
    assert!(rows(&analyst, "SELECT team FROM staff WHERE email = 'p7@example.com'").await.is_empty());
    assert!(rows(&analyst, "SELECT team FROM staff WHERE person_id = '7'").await.is_empty());
    let one = all[17][0].clone().unwrap();
    assert_eq!(rows(&analyst, &format!("SELECT * FROM staff WHERE person_id = '{one}'")).await, [all[17].clone()]);
    for function in ["dp_pseudonym('7')", "session_person()", "dp_viewer_mask('7')"] {
        assert_eq!(refused(&analyst, &format!("SELECT {function}")).await.sqlstate, "42883");
    }
    // Rows and counts of rows: what can be had as an aggregate is released as ever, and costs.
    let spent = "SELECT coalesce(max(epsilon_spent), 0) FROM privacy.budget WHERE principal = 'analyst_1'";
    assert_eq!(number(&analyst, spent).await, 0.0, "rows cost no budget");
    run(&analyst, "SELECT team, avg(hours) FROM staff GROUP BY team").await;
    assert!(number(&analyst, spent).await > 0.0);
    for sql in [
        "SELECT team FROM staff WHERE EXISTS (SELECT 1 FROM weeks WHERE weeks.person_id = staff.person_id)",
        "SELECT DISTINCT person_id FROM staff",
        "SELECT max(hours) OVER () FROM staff",
        "SELECT a.team FROM staff AS a JOIN staff AS b ON a.hours = b.hours",
        "SELECT team FROM staff UNION ALL SELECT team FROM staff",
    ] {
        assert!(["42501", "0A000"].contains(&refused(&analyst, sql).await.sqlstate.as_str()), "{sql}");
    }
    let auditor = server.auditor().await;
    let logged = format!(
        "SELECT count(*) FROM audit.query_log WHERE protections LIKE '%under access {id}, floor 10%' AND outcome = 'answered'"
    );
    assert!(number(&auditor, &logged).await >= 2.0, "each use is logged with its grant");
    assert!(number(&auditor, &format!("SELECT uses FROM privacy.grants WHERE id = {id}")).await >= 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rare_combinations_are_left_out_whatever_is_asked_of_them() {
    let server = people().await;
    let analyst = server.analyst().await;
    access(&server, "staff", "person_id,team,place,hours").await;
    // Four persons sit in the attic: they are not there, also where the place is not asked for.
    for (sql, count) in [
        ("SELECT place FROM staff", 296),
        ("SELECT person_id FROM staff", 296),
        ("SELECT hours FROM staff WHERE team = 'team 1'", 98),
        ("SELECT team FROM staff WHERE place = 'attic'", 0),
        ("SELECT team FROM staff LIMIT 3", 3),
    ] {
        assert_eq!(rows(&analyst, sql).await.len(), count, "{sql}");
    }
    run(&server.admin().await, "ALTER SYSTEM SET privacy.min_group_size = 100").await;
    let teams: BTreeSet<String> = column(&analyst, "SELECT team FROM staff").await.into_iter().collect();
    assert_eq!(teams.len(), 0, "of no team are a hundred in the hall: {teams:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_is_bounded_stays_the_same_and_leaves_means() {
    let server = people().await;
    let analyst = server.analyst().await;
    access(&server, "staff", "person_id,team,hours,mails").await;
    let shown = |rows: Vec<Vec<Option<String>>>| -> BTreeMap<String, f64> {
        rows.into_iter().map(|row| (row[0].clone().unwrap(), row[1].as_ref().unwrap().parse().unwrap())).collect()
    };
    let hours = shown(rows(&analyst, "SELECT person_id, hours FROM staff").await);
    let mean = hours.values().sum::<f64>() / 300.0;
    let exact = (1..=300).map(|id| f64::from(id % 40)).sum::<f64>() / 300.0;
    // Uniform within 4 hours either way: the mean's standard deviation is 4 / sqrt(3 * 300) = 0.133; six of it fail once in 5e8 runs.
    assert!((mean - exact).abs() < 0.8, "{mean} beside {exact}");
    // At most 4 hours off: sorted by size, no value can be further from the exact one of its rank.
    let (mut noised, mut truth): (Vec<f64>, Vec<f64>) =
        (hours.values().copied().collect(), (1..=300).map(|id| f64::from(id % 40)).collect());
    noised.sort_by(f64::total_cmp);
    truth.sort_by(f64::total_cmp);
    let off: Vec<f64> = noised.iter().zip(&truth).map(|(a, b)| (a - b).abs()).collect();
    assert!(off.iter().all(|off| *off <= 5.0), "{off:?}");
    let whole = noised.iter().filter(|value| value.fract() != 0.0).count();
    assert_eq!(whole, 0, "hours are integers");
    assert!(
        noised.iter().any(|value| *value < 0.0) && noised.iter().any(|value| *value > 39.0),
        "there is noise at the edges"
    );
    // Asked again, in another way and in another session, a row shows the same.
    let again = shown(
        rows(&server.analyst().await, "SELECT person_id, hours FROM staff WHERE team <> 'x' ORDER BY hours LIMIT 1000")
            .await,
    );
    assert_eq!(hours, again);
    // A predicate sees what is shown, so it cannot be asked for the truth.
    let few = rows(&analyst, "SELECT hours FROM staff WHERE hours > 39").await;
    assert!(!few.is_empty() && few.iter().all(|row| row[0].as_ref().unwrap().parse::<f64>().unwrap() > 39.0));
    run(&server.admin().await, "ALTER SYSTEM SET privacy.row_noise = 0").await;
    let exact = shown(rows(&analyst, "SELECT person_id, hours FROM staff").await);
    assert_ne!(exact, hours);
    assert!(exact.values().all(|value| (0.0..40.0).contains(value)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_shows_so_many_rows_and_no_more() {
    let server = people().await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    run(&admin, "ALTER SYSTEM SET privacy.access_row_cap = 20").await;
    access(&server, "staff", "person_id,team,hours").await;
    let first = "SELECT person_id FROM staff ORDER BY person_id LIMIT 15";
    let shown = column(&analyst, first).await;
    assert_eq!(column(&analyst, first).await, shown, "the same rows again are no more rows");
    let refusal = refused(&analyst, "SELECT team FROM staff").await;
    assert_eq!(refusal.sqlstate, "53400", "{refusal}");
    assert_eq!(column(&analyst, first).await, shown, "what was refused does not count");
    assert_eq!(rows(&analyst, "SELECT 1 FROM staff ORDER BY person_id LIMIT 20").await.len(), 20);
    let more = "SELECT team FROM staff ORDER BY person_id DESC LIMIT 1";
    assert_eq!(refused(&analyst, more).await.sqlstate, "53400");
    // Within a subquery as well: what is told of is counted, not what is at the top.
    assert_eq!(
        refused(&analyst, "SELECT t FROM (SELECT team AS t FROM staff ORDER BY person_id DESC LIMIT 1) AS s")
            .await
            .sqlstate,
        "53400"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_join_on_pseudonyms_until_their_key_is_rotated() {
    let server = people().await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    access(&server, "staff", "person_id,team").await;
    access(&server, "weeks", "person_id,week,chats").await;
    let staff: BTreeSet<String> = column(&analyst, "SELECT person_id FROM staff").await.into_iter().collect();
    let weeks: BTreeSet<String> = column(&analyst, "SELECT person_id FROM weeks").await.into_iter().collect();
    assert_eq!(staff, weeks, "a person has one pseudonym in both");
    run(&analyst, "SET privacy.purpose = 'another'").await;
    let elsewhere: BTreeSet<String> = column(&analyst, "SELECT person_id FROM staff").await.into_iter().collect();
    assert!(staff.is_disjoint(&elsewhere), "two purposes cannot be linked");
    run(&analyst, "RESET privacy.purpose").await;
    for sql in ["CALL privacy.rotate_key('people')", "CALL privacy.rotate_key('staff.email')"] {
        assert_eq!(refused(&analyst, sql).await.sqlstate, "42501", "{sql}");
        run(&admin, sql).await;
    }
    let unknown = refused(&admin, "CALL privacy.rotate_key('nobody')").await;
    assert_eq!(unknown.sqlstate, "42704", "{unknown}");
    assert!(unknown.hint.unwrap().contains("people"));
    let rotated: BTreeSet<String> = column(&analyst, "SELECT person_id FROM staff").await.into_iter().collect();
    assert!(staff.is_disjoint(&rotated), "the old pseudonyms appear no more");
    let weeks: BTreeSet<String> = column(&analyst, "SELECT person_id FROM weeks").await.into_iter().collect();
    assert_eq!(weeks, rotated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pseudonym.keys");
    let open = async || {
        let admin_password = Some(ADMIN_PASSWORD.to_owned());
        let config = Config {
            data_dir: folder.path().to_owned(),
            admin_password,
            keys: None,
            noise: Noise::from_os(),
            memory: Default::default(),
        };
        Server::open(config).await.map(|_| ())
    };
    open().await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refusal = open().await.unwrap_err();
    assert_eq!(refusal.sqlstate.code(), "58P01");
    assert!(refusal.hint.is_some());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    open().await.unwrap();
}

/// A telephone book: five members, of whom 1 has 2 and 3 in theirs, and 2 has 1.
async fn telephone_book() -> TestServer {
    let server = people().await;
    server.file("member.csv", "person_id,nick,phone,born,age,secret\n1,ann,+49 151 2311,1990-05-17,34,a\n2,bob,+49 151 2322,1985-11-02,39,b\n3,cem,+49 151 2333,2001-01-31,23,c\n4,dot,+49 151 2344,1999-12-31,25,d\n5,eve,,,,e\n");
    server.file("contact.csv", "owner,person\n1,2\n1,3\n2,1\n");
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE member (person_id BIGINT, nick TEXT, phone TEXT, born DATE, age INTEGER, secret TEXT) STORED AS CSV LOCATION 'member.csv'",
        "CREATE EXTERNAL TABLE contact STORED AS CSV LOCATION 'contact.csv'",
        "ALTER TABLE contact SET (access = 'directory')",
        "ALTER TABLE member SET (access = 'directory')",
        "ALTER TABLE member ALTER COLUMN person_id SET (class = 'identifier')",
        "ALTER TABLE member ALTER COLUMN nick SET (class = 'attribute')",
        "ALTER TABLE member ALTER COLUMN phone SET (class = 'identifier', mask = 'partial(3, 2)', visible_when = 'EXISTS (SELECT 1 FROM contact WHERE owner = session_person() AND person = member.person_id)')",
        "ALTER TABLE member ALTER COLUMN born SET (class = 'attribute', mask = 'generalise(''month'')', visible_when = 'person_id = session_person()')",
        "ALTER TABLE member ALTER COLUMN age SET (class = 'attribute', mask = 'generalise(10)')",
        "GRANT SELECT (nick, phone, born, age) ON member TO member_1, member_2",
    ] {
        if statement.starts_with("GRANT") {
            for role in ["member_1", "member_2"] {
                run(&admin, &format!("CREATE ROLE {role} LOGIN PASSWORD 'member'")).await;
            }
            run(&admin, "ALTER ROLE member_1 SET privacy.person = '1'").await;
            run(&admin, "ALTER ROLE member_2 SET privacy.person = '2'").await;
        }
        run(&admin, statement).await;
    }
    server
}

fn texts(row: &[Option<String>]) -> Vec<&str> {
    row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect()
}

/// K1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_person_in_the_telephone_book_sees_the_number() {
    let server = telephone_book().await;
    let one = server.login(("member_1", "member")).await;
    let seen = rows(&one, "SELECT * FROM member ORDER BY nick").await;
    let seen: Vec<Vec<&str>> = seen.iter().map(|row| texts(row)).collect();
    assert_eq!(
        seen,
        [
            ["ann", "+49 *** **11", "1990-05-17", "30"],
            ["bob", "+49 151 2322", "1985-11-01", "30"],
            ["cem", "+49 151 2333", "2001-01-01", "20"],
            ["dot", "+49 *** **44", "1999-12-01", "20"],
            ["eve", "NULL", "NULL", "NULL"],
        ]
    );
    let two = server.login(("member_2", "member")).await;
    let phones = column(&two, "SELECT phone FROM member WHERE phone IS NOT NULL ORDER BY nick").await;
    assert_eq!(phones, ["+49 151 2311", "+49 *** **22", "+49 *** **33", "+49 *** **44"]);
    // At once, in the open session: another person behind the login, then nobody.
    let admin = server.admin().await;
    run(&admin, "ALTER ROLE member_2 SET privacy.person = '1'").await;
    assert_eq!(column(&two, "SELECT phone FROM member WHERE nick = 'bob'").await, ["+49 151 2322"]);
    run(&admin, "ALTER ROLE member_2 RESET privacy.person").await;
    assert_eq!(column(&two, "SELECT phone FROM member WHERE nick = 'bob'").await, ["+49 *** **22"]);
    for sql in ["SET privacy.person = '1'", "ALTER ROLE member_2 SET privacy.person = '1'"] {
        assert!(["42501", "42704"].contains(&refused(&two, sql).await.sqlstate.as_str()), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_asked_gets_behind_a_mask() {
    let server = telephone_book().await;
    let one = server.login(("member_1", "member")).await;
    for (sql, count) in [
        ("SELECT nick FROM member WHERE phone = '+49 151 2344'", 0),
        ("SELECT nick FROM member WHERE phone LIKE '%2344'", 0),
        ("SELECT nick FROM member WHERE phone = '+49 *** **44'", 1),
        ("SELECT nick FROM member WHERE phone = '+49 151 2322'", 1),
        ("SELECT nick FROM member WHERE age BETWEEN 21 AND 29", 0),
        ("SELECT nick FROM member WHERE born = DATE '1999-12-31'", 0),
        ("SELECT a.nick FROM member AS a JOIN (VALUES ('+49 151 2344')) AS v (phone) USING (phone)", 0),
    ] {
        assert_eq!(rows(&one, sql).await.len(), count, "{sql}");
    }
    assert_eq!(
        column(&one, "SELECT nick FROM member WHERE age IS NOT NULL ORDER BY age DESC, nick LIMIT 1").await,
        ["ann"]
    );
    assert_eq!(value(&one, "SELECT count(DISTINCT phone) FROM member").await, "4");
    // Columns that are not granted, and such without a class, do not exist.
    for sql in
        ["SELECT person_id FROM member", "SELECT nick FROM member WHERE person_id = 1", "SELECT secret FROM member"]
    {
        assert_eq!(refused(&one, sql).await.sqlstate, "42703", "{sql}");
    }
    for sql in ["SELECT * FROM contact", "SELECT session_person()"] {
        assert!(["42501", "42883"].contains(&refused(&one, sql).await.sqlstate.as_str()), "{sql}");
    }
    // Administrators and auditors read nobody.
    let (admin, auditor) = (server.admin().await, server.auditor().await);
    run(&admin, "GRANT SELECT ON member TO insights_analyst").await;
    assert_eq!(refused(&admin, "SELECT nick FROM member").await.sqlstate, "42501");
    assert_eq!(refused(&auditor, "SELECT nick FROM member").await.sqlstate, "42501");
    // Identities of a directory do not meet persons who are only counted.
    let analyst = server.analyst().await;
    for sql in [
        "SELECT nick, count(*) FROM member JOIN staff USING (person_id) GROUP BY nick",
        "SELECT count(*) FROM staff WHERE person_id IN (SELECT person_id FROM member WHERE nick = 'ann')",
        "SELECT (SELECT count(*) FROM staff), nick FROM member",
    ] {
        assert_eq!(refused(&analyst, sql).await.sqlstate, "42501", "{sql}");
    }
    let logged = "SELECT count(*) FROM audit.query_log WHERE principal = 'member_1' AND protections LIKE '%directory member, masked phone, born, age%'";
    assert!(number(&auditor, logged).await > 0.0);
    rows(&one, "SELECT nick FROM member WHERE age > 30").await;
    let columns = "SELECT columns FROM audit.query_log WHERE principal = 'member_1' ORDER BY id DESC LIMIT 1";
    assert_eq!(value(&auditor, columns).await, "member.age, member.nick");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masks_and_directories_that_cannot_be_are_refused_and_change_nothing() {
    let server = telephone_book().await;
    let admin = server.admin().await;
    let one = server.login(("member_1", "member")).await;
    let before = rows(&one, "SELECT * FROM member ORDER BY nick").await;
    let alter = "ALTER TABLE member ALTER COLUMN";
    for (sql, sqlstate) in [
        ("ALTER TABLE staff SET (access = 'directory')".to_owned(), "22023"),
        ("ALTER TABLE member SET (access = 'open')".to_owned(), "22023"),
        ("ALTER TABLE member SET (public = true)".to_owned(), "22023"),
        ("ALTER TABLE member SET (person_key = 'person_id')".to_owned(), "22023"),
        (format!("{alter} phone SET (mask = 'reverse')"), "22023"),
        (format!("{alter} phone SET (mask = 'generalise(10)')"), "42804"),
        (format!("{alter} age SET (mask = 'partial(1)')"), "42804"),
        (format!("{alter} nick SET (visible_when = 'true')"), "22023"),
        (format!("{alter} nick SET (family = 'person')"), "22023"),
        (format!("{alter} phone SET (visible_when = 'true) OR (true')"), "42601"),
        (format!("{alter} phone SET (visible_when = 'true LIMIT 1')"), "42601"),
        (format!("{alter} phone SET (visible_when = 'no_such_column = 1')"), "42703"),
        (format!("{alter} phone SET (visible_when = 'random() < 0.5')"), "42883"),
        (
            format!(
                "{alter} phone SET (visible_when = 'EXISTS (SELECT 1 FROM staff WHERE staff.person_id = member.person_id)')"
            ),
            "42501",
        ),
        (format!("{alter} phone SET (visible_when = 'person_id > session_person()')"), "0A000"),
    ] {
        let refusal = refused(&admin, &sql).await;
        assert_eq!(refusal.sqlstate, sqlstate, "{sql}: {refusal}");
        assert!(refusal.hint.is_some() || refusal.detail.is_some() || refusal.position.is_some(), "{sql}: {refusal}");
    }
    assert_eq!(rows(&one, "SELECT * FROM member ORDER BY nick").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_policies_take_rows_out_of_a_directory() {
    let server = telephone_book().await;
    let admin = server.admin().await;
    let (one, two) = (server.login(("member_1", "member")).await, server.login(("member_2", "member")).await);
    let nicks = "SELECT nick FROM member ORDER BY nick";
    assert_eq!(column(&one, nicks).await.len(), 5);
    // By a column that nobody may read, for everybody; by one that is masked, for one of them.
    run(&admin, "CREATE POLICY listed ON member USING (secret <> 'd')").await;
    assert_eq!(column(&one, nicks).await, ["ann", "bob", "cem", "eve"], "at once, in the open session");
    run(&admin, "CREATE POLICY grown ON member TO member_2 USING (age >= 25)").await;
    assert_eq!(column(&one, nicks).await, ["ann", "bob", "cem", "eve"]);
    assert_eq!(column(&two, nicks).await, ["ann", "bob"], "who has no age is out: NULL is not true");
    assert_eq!(value(&two, "SELECT count(*) FROM member").await, "2");
    for sql in [
        "SELECT nick FROM member WHERE nick = 'dot'",
        "SELECT b.nick FROM member AS a JOIN member AS b ON a.nick <> b.nick WHERE b.nick = 'dot'",
        "SELECT nick FROM member WHERE nick = 'dot' OR true ORDER BY age LIMIT 100 OFFSET 4",
    ] {
        assert!(rows(&one, sql).await.is_empty(), "{sql}");
    }
    // The masks' conditions read what there is.
    assert_eq!(column(&one, "SELECT phone FROM member WHERE nick = 'cem'").await, ["+49 151 2333"]);
    run(&admin, "CREATE POLICY nobodys ON contact USING (owner < 0)").await;
    assert_eq!(column(&one, "SELECT phone FROM member WHERE nick = 'cem'").await, ["+49 151 2333"]);
    let auditor = server.auditor().await;
    let logged = "SELECT count(*) FROM audit.query_log WHERE principal = 'member_2' AND protections LIKE '%row policies grown, listed%'";
    assert!(number(&auditor, logged).await > 0.0);
    run(&admin, "ALTER POLICY listed ON member USING (false)").await;
    assert!(column(&one, nicks).await.is_empty());
    run(&admin, "DROP POLICY listed ON member").await;
    assert_eq!(column(&one, nicks).await.len(), 5);
    // Rows of a directory are not counted, and its policies are no subqueries and name nobody.
    for (sql, sqlstate) in [
        ("CREATE POLICY floor ON member WITH (min_group_size = 20)", "22023"),
        ("ALTER POLICY grown ON member SET (min_group_size = 20)", "22023"),
        ("CREATE POLICY me ON member USING (person_id = 1)", "42501"),
        ("CREATE POLICY friends ON member USING (EXISTS (SELECT 1 FROM contact))", "0A000"),
    ] {
        let refusal = refused(&admin, sql).await;
        assert!(refusal.sqlstate == sqlstate && refusal.hint.is_some(), "{sql}: {refusal}");
    }
    assert_eq!(column(&two, nicks).await, ["ann", "bob", "dot"]);
}
