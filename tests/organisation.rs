//! One organisation, played through psql (requirements W1–W4, W6–W8, W11, W15–W19, K1, R1–R4): who says what, and what each gets.
//!
//! Six persons in six roles and the demo's company of 2,000. Counts are noised with a standard deviation of one; every bound here is more than
//! seven of them wide, so that a right server fails less than once in a hundred million runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Output;

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use support::{ADMIN, ANALYST, AUDITOR, SMALL, TestServer};

const PLATFORM: (&str, &str) = ("platform_1", "platform");
const DATA: (&str, &str) = ("data_1", "data");
const LEADER: (&str, &str) = ("leader_1", "leader");
/// The head of a part of the company, and one of those who report to her.
const HEAD: (&str, &str) = ("head_1", "head");
const MANAGER: (&str, &str) = ("manager_1", "manager");

/// In counts.
const NOISE: f64 = 8.0;

type Login = (&'static str, &'static str);

struct Organisation {
    server: TestServer,
    /// Manager of each person, and their country.
    people: BTreeMap<i64, (Option<i64>, String)>,
}

impl Organisation {
    async fn new() -> Self {
        let server = TestServer::with_company(SMALL).await;
        let context = SessionContext::new();
        let file = server.folder().join("company/person.parquet");
        context.register_parquet("person", file.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
        let sql = "SELECT arrow_cast(person_id, 'Utf8'), arrow_cast(manager_id, 'Utf8'), arrow_cast(country, 'Utf8') FROM person";
        let mut people = BTreeMap::new();
        for batch in context.sql(sql).await.unwrap().collect().await.unwrap() {
            let cell = |column: usize, row: usize| {
                let column = batch.column(column);
                let shown = arrow::util::display::array_value_to_string(column, row).unwrap();
                (!shown.is_empty()).then_some(shown)
            };
            for row in 0..batch.num_rows() {
                let id = cell(0, row).unwrap().parse().unwrap();
                people.insert(id, (cell(1, row).map(|id| id.parse().unwrap()), cell(2, row).unwrap()));
            }
        }
        Self { server, people }
    }

    /// Who reports to `manager`, directly or not.
    fn reports(&self, manager: i64) -> usize {
        let above = |id: i64| self.people[&id].0;
        let chain = |id: &&i64| std::iter::successors(above(**id), |id| above(*id)).any(|id| id == manager);
        self.people.keys().filter(chain).count()
    }

    /// Consent and licence of everybody; Germans consent if their number is even.
    fn standing(&self, licensed: impl Fn(i64) -> bool) -> String {
        let mut file = "person_id,country,consent,licensed\n".to_owned();
        for (id, (_, country)) in &self.people {
            let consents = country != "DE" || id % 2 == 0;
            writeln!(file, "{id},{country},{consents},{}", licensed(*id)).unwrap();
        }
        file
    }

    fn in_country(&self, country: &str, and: impl Fn(i64) -> bool) -> f64 {
        self.people.iter().filter(|(id, (_, of))| of == country && and(**id)).count() as f64
    }

    fn says(&self, who: Login, sql: &str) -> String {
        let output = self.server.psql(who, &format!("\\pset tuples_only on\n\\pset format unaligned\n{sql};\n"));
        let shown = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.success(), "{}: {sql}\n{}", who.0, errors(&output));
        // What psql says of its own settings comes first.
        shown
            .lines()
            .filter(|line| !line.starts_with("Tuples only") && !line.starts_with("Output format"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn number(&self, who: Login, sql: &str) -> f64 {
        let shown = self.says(who, sql);
        shown.trim().parse().unwrap_or_else(|_| panic!("{}: {sql} gives {shown:?}", who.0))
    }

    fn refused(&self, who: Login, sqlstate: &str, sql: &str) -> String {
        let output = self.server.psql(who, &format!("{sql};\n"));
        let said = errors(&output);
        assert!(!output.status.success(), "{}: {sql} is answered\n{}", who.0, String::from_utf8_lossy(&output.stdout));
        assert!(said.contains(sqlstate) && said.contains("HINT"), "{}: {sql}\n{said}", who.0);
        said
    }

    fn counts(&self, who: Login, sql: &str, expected: f64) {
        let counted = self.number(who, sql);
        assert!((counted - expected).abs() < NOISE, "{}: {sql} gives {counted}, not {expected}", who.0);
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ALL: &str = "SELECT count(*) FROM person";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_learns_what() {
    let org = Organisation::new().await;
    let head = *org.people.iter().find(|(id, (above, _))| above.is_some() && org.reports(**id) > 200).unwrap().0;
    let below = |id: &&i64| org.people[*id].0 == Some(head) && org.reports(**id) >= 40;
    let manager = *org.people.keys().find(below).unwrap();

    accounts(&org, head, manager);
    reporting_lines(&org, head, manager);
    consent_and_licences(&org);
    training(&org);
    access_just_in_time(&org).await;
    rights_request(&org, manager);
    phone_book(&org, manager);
    evidence(&org);
}

/// Accounts are one person's, data another's, and neither sees people.
fn accounts(org: &Organisation, head: i64, manager: i64) {
    for (who, role) in [(PLATFORM, "platform_admin"), (DATA, "insights_admin")] {
        org.says(ADMIN, &format!("CREATE ROLE {} LOGIN PASSWORD '{}' IN ROLE {role}", who.0, who.1));
    }
    for (who, role) in [(LEADER, "business_leader"), (HEAD, "group_manager"), (MANAGER, "group_manager")] {
        org.says(PLATFORM, &format!("CREATE ROLE {} LOGIN PASSWORD '{}' IN ROLE {role}", who.0, who.1));
    }
    org.says(DATA, "GRANT SELECT ON person, person_week TO business_leader, group_manager");
    org.says(DATA, "ALTER TABLE person SET (manager_key = 'manager_id')");
    org.says(DATA, &format!("ALTER ROLE head_1 SET privacy.person = '{head}'"));
    org.says(DATA, &format!("ALTER ROLE manager_1 SET privacy.person = '{manager}'"));
    for who in [PLATFORM, DATA, AUDITOR, ADMIN] {
        org.refused(who, "42501", ALL);
    }
    org.refused(PLATFORM, "42501", "GRANT insights_analyst TO platform_1");
    org.refused(PLATFORM, "42501", "GRANT SELECT ON person TO platform_1");
    org.refused(DATA, "42501", "GRANT SELECT ON person TO data_1");
    org.refused(LEADER, "42501", "SELECT * FROM person");
    org.refused(DATA, "22023", "ALTER SYSTEM SET privacy.min_group_size = 9");
}

/// The leader asks about everybody, a manager about the reports, the manager's manager about more.
fn reporting_lines(org: &Organisation, head: i64, manager: i64) {
    org.counts(LEADER, ALL, org.people.len() as f64);
    org.counts(HEAD, ALL, org.reports(head) as f64);
    org.counts(MANAGER, ALL, org.reports(manager) as f64);
    // The same in every table of the policy, and a stored answer of one scope is nobody else's.
    let weeks = "SELECT count(DISTINCT person_id) FROM person_week";
    org.counts(MANAGER, weeks, org.reports(manager) as f64);
    org.counts(LEADER, weeks, org.people.len() as f64);
    org.refused(MANAGER, "42501", "SET privacy.person = '1'");
}

fn consent_and_licences(org: &Organisation) {
    org.server.file("standing.csv", &org.standing(|_| true));
    for statement in [
        "CREATE EXTERNAL TABLE standing STORED AS CSV LOCATION 'standing.csv'",
        "ALTER TABLE standing ADD PRIMARY KEY (person_id)",
        "ALTER TABLE standing SET (privacy_policy = 'people', person_key = 'person_id')",
        "CREATE POLICY germany ON standing USING (country <> 'DE' OR consent)",
        "CREATE POLICY licensed ON standing USING (licensed)",
    ] {
        org.says(DATA, statement);
    }
    let even = |id: i64| id % 2 == 0;
    let germany = "SELECT count(*) FROM person WHERE country = 'DE'";
    let france = "SELECT count(*) FROM person WHERE country = 'FR'";
    org.counts(LEADER, germany, org.in_country("DE", even));
    org.counts(LEADER, france, org.in_country("FR", |_| true));
    // A licence is gone: the person is out of the next answer.
    org.server.file("standing.csv", &org.standing(|id| id % 3 != 0));
    org.counts(LEADER, france, org.in_country("FR", |id| id % 3 != 0));
    org.server.file("standing.csv", &org.standing(|_| true));
    // Somebody objects: out of every table, at once.
    let one = *org.people.keys().next().unwrap();
    org.says(DATA, &format!("CALL privacy.exclude_person('{one}', reason => 'objection')"));
    org.counts(LEADER, ALL, org.people.keys().filter(|id| org.people[id].1 != "DE" || even(**id)).count() as f64 - 1.0);
    assert!(
        !org.says(AUDITOR, "SELECT statement FROM audit.query_log").contains(&format!("'{one}'")),
        "the log names them"
    );
    org.says(DATA, &format!("CALL privacy.include_person('{one}')"));
    org.says(DATA, "DROP POLICY germany ON standing");
    org.refused(DATA, "42883", "CREATE POLICY chance ON standing USING (random() < 0.5)");
}

fn training(org: &Organisation) {
    org.says(DATA, "CALL privacy.require_training('insights_analyst', valid_for => '1 year')");
    let refusal = org.refused(ANALYST, "42501", ALL);
    assert!(refusal.contains("training"), "{refusal}");
    org.says(PLATFORM, "CALL privacy.record_training('analyst_1', completed => DATE '2020-01-01')");
    org.refused(ANALYST, "42501", ALL);
    let today = chrono::Utc::now().format("%Y-%m-%d");
    org.says(PLATFORM, &format!("CALL privacy.record_training('analyst_1', completed => DATE '{today}')"));
    org.counts(ANALYST, ALL, org.people.len() as f64);
}

/// From request to expiry: nobody approves their own, rows are de-identified, and then it is over.
async fn access_just_in_time(org: &Organisation) {
    org.refused(ANALYST, "42501", "SELECT function, level FROM person");
    let request = "CALL privacy.request_access('person', ARRAY['person_id', 'function'], 'deidentified', '6 seconds', 'why functions differ')";
    org.refused(LEADER, "42501", request);
    org.says(ANALYST, request);
    let id = org.number(ANALYST, "SELECT max(id) FROM privacy.grants") as u64;
    org.refused(ANALYST, "42501", &format!("CALL privacy.approve_access({id})"));
    org.says(DATA, &format!("CALL privacy.approve_access({id})"));
    let rows = org.says(ANALYST, "SELECT person_id, function FROM person LIMIT 5");
    assert_eq!(rows.lines().count(), 5, "{rows}");
    for row in rows.lines() {
        let pseudonym = row.split('|').next().unwrap();
        assert!(pseudonym.len() == 15 && pseudonym.parse::<i64>().is_err(), "{row}");
    }
    org.refused(LEADER, "42501", "SELECT person_id, function FROM person");
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    org.refused(ANALYST, "42501", "SELECT person_id, function FROM person");
    let state = org.says(AUDITOR, &format!("SELECT state, uses FROM privacy.grants WHERE id = {id}"));
    assert!(state.contains("expired") && !state.ends_with("|0"), "{state}");
}

/// Somebody asks for their own data: one asks for access, another reads the letter and approves, one row is shown, nobody is named.
fn rights_request(org: &Organisation, person: i64) {
    let request = |rest: &str| format!("CALL privacy.request_access('person', ARRAY['person_id', 'country'], {rest})");
    let own = request(&format!("'direct', '10 minutes', 'their letter', 'request 17', person => '{person}'"));
    org.refused(ANALYST, "22023", &request("'direct', '10 minutes', 'their letter', 'request 17'"));
    org.refused(DATA, "42501", &own);
    org.says(ANALYST, &own);
    let id = org.number(ANALYST, "SELECT max(id) FROM privacy.grants") as u64;
    org.refused(ANALYST, "42501", &format!("CALL privacy.approve_access({id}, person => '{person}')"));
    org.refused(DATA, "22023", &format!("CALL privacy.approve_access({id}, person => '{}')", person + 1));
    org.says(DATA, &format!("CALL privacy.approve_access({id}, person => '{person}')"));
    let (_, country) = &org.people[&person];
    assert_eq!(org.says(ANALYST, "SELECT person_id, country FROM person"), format!("{person}|{country}"));
    org.counts(ANALYST, ALL, org.people.len() as f64);
    org.refused(DATA, "42501", "SELECT person_id, country FROM person");
    org.says(DATA, &format!("CALL privacy.revoke_access({id})"));
    org.refused(ANALYST, "42501", "SELECT person_id, country FROM person");
    for what in ["statement FROM audit.query_log WHERE statement LIKE '%_access%'", "old, new FROM audit.changes"] {
        assert!(!org.says(AUDITOR, &format!("SELECT {what}")).contains(&format!("'{person}'")), "{what} names them");
    }
}

/// Contacts see contacts; others see masks, and cannot ask behind them.
fn phone_book(org: &Organisation, manager: i64) {
    let (friend, stranger) = (manager + 1, manager + 2);
    org.server.file("member.csv", &format!("person_id,phone\n{friend},+49 171 123456\n{stranger},+49 172 654321\n"));
    org.server.file("contact.csv", &format!("owner,person\n{manager},{friend}\n"));
    for statement in [
        "CREATE EXTERNAL TABLE contact (owner BIGINT, person BIGINT) STORED AS CSV LOCATION 'contact.csv'",
        "CREATE EXTERNAL TABLE member (person_id BIGINT, phone TEXT) STORED AS CSV LOCATION 'member.csv'",
        "ALTER TABLE contact SET (access = 'directory')",
        "ALTER TABLE member SET (access = 'directory')",
        "ALTER TABLE contact ALTER COLUMN owner SET (class = 'identifier')",
        "ALTER TABLE contact ALTER COLUMN person SET (class = 'identifier')",
        "ALTER TABLE member ALTER COLUMN person_id SET (class = 'identifier')",
        "ALTER TABLE member ALTER COLUMN phone SET (class = 'identifier', mask = 'partial(3, 2)', visible_when = 'EXISTS (SELECT 1 FROM contact WHERE owner = session_person() AND person = member.person_id)')",
        "GRANT SELECT ON member TO group_manager",
    ] {
        org.says(DATA, statement);
    }
    let shown = org.says(MANAGER, "SELECT person_id, phone FROM member ORDER BY person_id");
    assert!(shown.contains(&format!("{friend}|+49 171 123456")), "{shown}");
    assert!(!shown.contains("654321") && shown.contains(&format!("{stranger}|+49")), "{shown}");
    assert_eq!(org.number(MANAGER, "SELECT count(*) FROM member WHERE phone = '+49 172 654321'"), 0.0);
    let head = org.says(HEAD, "SELECT phone FROM member");
    assert!(!head.contains("123456") && !head.contains("654321"), "{head}");
    org.refused(ANALYST, "42501", "SELECT phone FROM member");
}

/// Everything that was said is on record, who changed what as well, and the auditor can do nothing else.
fn evidence(org: &Organisation) {
    for (what, count) in [
        ("audit.query_log WHERE outcome = 'refused' AND principal = 'leader_1'", 3.0),
        ("audit.query_log WHERE principal = 'manager_1' AND outcome = 'answered'", 2.0),
        ("audit.changes WHERE actor = 'data_1' AND statement LIKE 'CREATE POLICY%'", 2.0),
        ("audit.changes WHERE actor = 'platform_1' AND statement LIKE 'CREATE ROLE%'", 3.0),
    ] {
        let found = org.number(AUDITOR, &format!("SELECT count(*) FROM {what}"));
        assert!(found >= count, "{found} in {what}");
    }
    org.refused(ANALYST, "42501", "SELECT * FROM audit.query_log");
    org.refused(AUDITOR, "42501", "ALTER SYSTEM SET privacy.epsilon = 2");
    assert!(org.number(AUDITOR, "SELECT max(epsilon_spent) FROM privacy.budget") > 1.0);
}
