//! Real input: nine months of e-mail headers and the reporting lines of a manufacturing company, through SQL over the wire.
//!
//! The data is not ours and is not in the repository: it is read from `../shared/data` when present. The truth is computed
//! here, over the same files, in plain Rust. Every released number must lie within `BOUND` of the standard errors that the
//! engine itself reports. At most 40 numbers are compared; a normal error exceeds 6 standard deviations with probability
//! 2e-9, so a right engine fails here with probability under 8e-8.
//!
//! Statements cannot recurse over people yet, so the depth under the chief executive comes from a derived file, made here in
//! the server's folder: one row for each person and each manager above (the chief executive reports to itself, a cycle of
//! one, and has none). The depth is then a metric of each person: how many rows it has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use support::{TestServer, run};
use tokio_postgres::Client;

const BOUND: f64 = 6.0;
/// More mails than anybody sent (4,607), so that the cap adds no error to the noise.
const ROWS_AT_MOST: u64 = 5_000;
/// More than anybody sent in a month: what counts of one person is capped in each group.
const ROWS_OF_A_MONTH_AT_MOST: u64 = 800;

/// The folder, or nothing after saying so on the terminal (not through `eprintln!`, which the test harness captures).
fn data() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().map(|folder| folder.join("shared/data/manufacturing")).find(|folder| folder.is_dir());
    if found.is_none() {
        let mut terminal = std::io::stderr();
        let said = writeln!(
            terminal,
            "\n*** SKIPPED: tests/manufacturing.rs needs ../shared/data/manufacturing, which is not here ***\n"
        );
        said.unwrap();
    }
    found
}

struct Truth {
    mails_by_month: BTreeMap<String, u64>,
    mails_by_sender: BTreeMap<u32, u64>,
    /// Managers above, nearest first.
    above: BTreeMap<u32, Vec<u32>>,
}

fn truth(folder: &Path) -> Truth {
    let mut truth = Truth { mails_by_month: BTreeMap::new(), mails_by_sender: BTreeMap::new(), above: BTreeMap::new() };
    let mails = std::fs::read_to_string(folder.join("communication.csv")).unwrap();
    for line in mails.lines().skip(1).filter(|line| !line.is_empty()) {
        let cells: Vec<&str> = line.split(';').collect();
        *truth.mails_by_month.entry(cells[2][..7].to_owned()).or_default() += 1;
        *truth.mails_by_sender.entry(cells[0].parse().unwrap()).or_default() += 1;
    }
    let lines = std::fs::read_to_string(folder.join("reportsto.csv")).unwrap();
    let manager: BTreeMap<u32, u32> = lines
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(','))
        .map(|(person, manager)| (person.trim().parse().unwrap(), manager.trim().parse().unwrap()))
        .collect();
    for &person in manager.keys() {
        let mut above = Vec::new();
        let mut at = person;
        while manager[&at] != at {
            at = manager[&at];
            above.push(at);
        }
        truth.above.insert(person, above);
    }
    truth
}

impl Truth {
    fn persons_by_depth(&self) -> BTreeMap<i64, u64> {
        let mut persons = BTreeMap::new();
        for above in self.above.values() {
            *persons.entry(above.len() as i64).or_default() += 1;
        }
        persons
    }
}

async fn server(folder: &Path, truth: &Truth) -> TestServer {
    let server = TestServer::start().await.with_people().await;
    for name in ["communication.csv", "reportsto.csv"] {
        std::fs::copy(folder.join(name), server.folder().join(name)).unwrap();
    }
    let mut chain = "person;manager\n".to_owned();
    for (person, above) in &truth.above {
        chain.push_str(&format!("{person};{person}\n"));
        above.iter().for_each(|manager| chain.push_str(&format!("{person};{manager}\n")));
    }
    server.file("chain.csv", &chain);
    let admin = server.admin().await;
    for statement in [
        "CREATE EXTERNAL TABLE mail STORED AS CSV LOCATION 'communication.csv' OPTIONS ('delimiter' ';', 'header' 'true')",
        "CREATE EXTERNAL TABLE reports_to STORED AS CSV LOCATION 'reportsto.csv' OPTIONS ('header' 'true')",
        "CREATE EXTERNAL TABLE chain STORED AS CSV LOCATION 'chain.csv' OPTIONS ('delimiter' ';')",
        "ALTER TABLE reports_to ADD PRIMARY KEY (\"ID\")",
        &format!(
            "ALTER TABLE mail SET (privacy_policy = 'factory', person_key = 'Sender', max_rows_per_person = {ROWS_AT_MOST}, max_groups_per_person = 9)"
        ),
        "ALTER TABLE reports_to SET (privacy_policy = 'factory', person_key = 'ID')",
        "ALTER TABLE chain SET (privacy_policy = 'factory', person_key = 'person', max_rows_per_person = 10)",
        "ALTER TABLE mail ALTER COLUMN \"Sender\" SET (class = 'identifier')",
        "ALTER TABLE mail ALTER COLUMN \"Recipient\" SET (class = 'identifier')",
        "ALTER TABLE mail ALTER COLUMN \"EventDate\" SET (class = 'attribute')",
        "ALTER TABLE reports_to ALTER COLUMN \"ID\" SET (class = 'identifier')",
        "ALTER TABLE reports_to ALTER COLUMN \"ReportsToID\" SET (class = 'identifier')",
        "ALTER TABLE chain ALTER COLUMN person SET (class = 'identifier')",
        "ALTER TABLE chain ALTER COLUMN manager SET (class = 'identifier')",
        "GRANT SELECT ON mail, reports_to, chain TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    server
}

/// Key, estimate and the standard error of its noise.
async fn estimates(client: &Client, sql: &str) -> Vec<(String, f64, f64)> {
    let rows = support::rows(client, sql).await;
    rows.into_iter()
        .map(|row| {
            let cell = |n: usize| row[n].clone().unwrap_or_else(|| panic!("NULL from {sql}"));
            (cell(0), cell(1).parse().unwrap(), cell(2).parse().unwrap())
        })
        .collect()
}

/// The last part allows for the lattice that measures are rounded to.
fn close(what: &str, estimate: f64, truth: f64, stddev: f64) {
    assert!(stddev > 0.0 && stddev.is_finite(), "{what}: standard error {stddev}");
    let allowed = BOUND * stddev + 1e-3 * truth.abs();
    assert!((estimate - truth).abs() <= allowed, "{what}: {estimate} is not within {BOUND} x {stddev} of {truth}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_as_near_to_the_truth_as_they_say() {
    let Some(folder) = data() else { return };
    let truth = truth(&folder);
    assert_eq!(truth.mails_by_month.values().sum::<u64>(), 82_927);
    let server = server(&folder, &truth).await;
    let admin = server.admin().await;
    let analyst = server.analyst().await;
    mean(&analyst, &truth).await;
    depths(&analyst, &truth).await;
    let cap = format!("ALTER TABLE mail SET (max_rows_per_person = {ROWS_OF_A_MONTH_AT_MOST})");
    run(&admin, &cap).await;
    months(&analyst, &truth, f64::INFINITY).await;
    // With epsilon 5 the noise is a fraction of a month's mails, so that the comparison means something.
    run(&admin, "ALTER SYSTEM SET privacy.epsilon = 5").await;
    months(&server.analyst().await, &truth, 3_000.0).await;
    managers(&server, &truth).await;
}

/// The chief executive, who is their own manager, and two managers below: each asks about everybody below them (W8).
async fn managers(server: &TestServer, truth: &Truth) {
    let admin = server.admin().await;
    run(&admin, &format!("ALTER TABLE mail SET (max_rows_per_person = {ROWS_AT_MOST})")).await;
    run(&admin, "ALTER TABLE reports_to SET (manager_key = 'ReportsToID')").await;
    let warnings = "SELECT 'own', count(*), 1.0 FROM privacy.warnings WHERE warning LIKE '%their own managers%'";
    assert_eq!(estimates(&admin, warnings).await.len(), 1);
    for manager in [86, 69, 136] {
        run(&admin, &format!("CREATE ROLE m_{manager} LOGIN PASSWORD 'manager' IN ROLE group_manager")).await;
        run(&admin, &format!("GRANT SELECT ON mail, reports_to TO m_{manager}")).await;
        run(&admin, &format!("ALTER ROLE m_{manager} SET privacy.person = '{manager}'")).await;
        let reports: Vec<u32> =
            truth.above.iter().filter(|(_, above)| above.contains(&manager)).map(|(person, _)| *person).collect();
        let mails: u64 = reports.iter().filter_map(|person| truth.mails_by_sender.get(person)).sum();
        let client = server.login((&format!("m_{manager}"), "manager")).await;
        run(&client, "SET privacy.epsilon = 2").await;
        let people = estimates(&client, "SELECT 'all', count(*), dp_stddev(count(*)) FROM reports_to").await;
        close(&format!("reports of {manager}"), people[0].1, reports.len() as f64, people[0].2);
        assert!(people[0].2 < 2.0, "so that one manager's reports are not another's");
        let sent = estimates(&client, "SELECT 'all', count(*), dp_stddev(count(*)) FROM mail").await;
        close(&format!("mails of reports of {manager}"), sent[0].1, mails as f64, sent[0].2);
    }
}

async fn months(analyst: &Client, truth: &Truth, stddev_at_most: f64) {
    let sql = "SELECT CAST(date_trunc('month', \"EventDate\") AS TEXT) AS month, count(*), dp_stddev(count(*)) \
               FROM mail GROUP BY date_trunc('month', \"EventDate\") ORDER BY month";
    let answer = estimates(analyst, sql).await;
    let months: Vec<&str> = answer.iter().map(|(month, ..)| &month[..7]).collect();
    let expected: Vec<&str> = truth.mails_by_month.keys().map(String::as_str).collect();
    assert_eq!(months, expected, "each month has over 100 senders, so each is shown");
    for (month, mails, stddev) in &answer {
        assert!(*stddev < stddev_at_most, "{month}: standard error {stddev}");
        // A count is never shown below zero, which only ever brings it nearer to the truth.
        close(month, *mails, truth.mails_by_month[&month[..7]] as f64, *stddev);
    }
}

async fn depths(analyst: &Client, truth: &Truth) {
    let sql = "SELECT depth, count(*), dp_stddev(count(*)) \
               FROM (SELECT person, count(*) - 1 AS depth FROM chain GROUP BY person) AS of_each \
               GROUP BY depth ORDER BY depth";
    let persons = truth.persons_by_depth();
    let shown = estimates(analyst, sql).await;
    for (depth, estimate, stddev) in &shown {
        let depth: i64 = depth.parse().unwrap();
        assert!(persons[&depth] >= 10, "depth {depth} has fewer than ten persons");
        close(&format!("depth {depth}"), *estimate, persons[&depth] as f64, *stddev);
    }
    for (depth, _) in persons.iter().filter(|&(_, &persons)| persons > 30) {
        let there = shown.iter().any(|(shown, ..)| *shown == depth.to_string());
        assert!(there, "depth {depth} is large and must be shown");
    }
}

async fn mean(analyst: &Client, truth: &Truth) {
    let sql = format!(
        "SELECT 'mean', avg(clamp(mails, 0, {ROWS_AT_MOST})), dp_stddev(avg(clamp(mails, 0, {ROWS_AT_MOST}))) \
         FROM (SELECT \"Sender\", count(*) AS mails FROM mail GROUP BY \"Sender\") AS of_each"
    );
    let mails: u64 = truth.mails_by_sender.values().sum();
    let mean = mails as f64 / truth.mails_by_sender.len() as f64;
    let answer = estimates(analyst, &sql).await;
    assert_eq!(answer.len(), 1);
    close("mean mails a person", answer[0].1, mean, answer[0].2);
}
