//! What is answered and what is refused, as SQL: every file under `tests/slt/ROLE/`, asked as that role, through the simple
//! and through the extended protocol, each time of a fresh server that holds the demo's company in small.
//!
//! Noisy numbers are compared inside the SQL, above the release, where any arithmetic is allowed. Each bound is many standard
//! errors wide: a right server misses one in less than 1e-9 of runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
#[path = "support/values.rs"]
mod values;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use support::{ADMIN, ANALYST, AUDITOR, Refusal, SMALL, TestServer};
use tokio_postgres::{Client, SimpleQueryMessage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

struct Asker {
    client: Client,
    protocol: Protocol,
}

impl Asker {
    async fn simple(&self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refusal> {
        let messages = self.client.simple_query(sql).await.map_err(Refusal::of)?;
        let columns = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::RowDescription(columns) => Some(columns.len()),
            _ => None,
        });
        Ok(output(columns, support::texts(&messages)))
    }

    async fn extended(&self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refusal> {
        let statement = self.client.prepare(sql).await.map_err(Refusal::of)?;
        let rows = self.client.query(&statement, &[]).await.map_err(Refusal::of)?;
        let columns = statement.columns().len();
        let rows = rows.iter().map(values::texts).collect();
        Ok(output((columns > 0).then_some(columns), rows))
    }
}

fn output(columns: Option<usize>, rows: Vec<Vec<Option<String>>>) -> DBOutput<DefaultColumnType> {
    let show = |cell: Option<String>| match cell {
        None => "NULL".to_owned(),
        Some(text) if text.is_empty() => "(empty)".to_owned(),
        Some(text) => text,
    };
    match columns {
        None => DBOutput::StatementComplete(0),
        Some(columns) => DBOutput::Rows {
            types: vec![DefaultColumnType::Any; columns],
            rows: rows.into_iter().map(|row| row.into_iter().map(show).collect()).collect(),
        },
    }
}

#[async_trait]
impl AsyncDB for Asker {
    type Error = Refusal;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refusal> {
        match self.protocol {
            Protocol::Simple => self.simple(sql).await,
            Protocol::Extended => self.extended(sql).await,
        }
    }

    async fn shutdown(&mut self) {}

    fn error_sql_state(refusal: &Refusal) -> Option<String> {
        Some(refusal.sqlstate.clone())
    }
}

fn files(role: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt").join(role);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    files
}

async fn check(login: (&'static str, &'static str), role: &str, protocol: Protocol) {
    let server = TestServer::with_company(SMALL).await;
    bring_files(&server);
    prepare(&server).await;
    let mut faults = Vec::new();
    for file in files(role) {
        let records = sqllogictest::parse_file::<DefaultColumnType>(&file).unwrap();
        let mut runner = Runner::new(|| async {
            let client = server.login(login).await;
            Ok(Asker { client, protocol })
        });
        for record in records {
            if let Err(fault) = runner.run_async(record).await {
                faults.push(format!("{protocol:?}: {}", fault.display(false)));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// Tables beside the demo's: a badge a person, what doors saw of badges, gates.
async fn prepare(server: &TestServer) {
    let (mut badges, mut doors) = ("badge_no,person_id\n".to_owned(), "badge_no,day,gate,entries\n".to_owned());
    let mut parcels = "person_id,kind\n".to_owned();
    for person in 1..=2_000 {
        let badge = 10_000 + person;
        badges.push_str(&format!("{badge},{}\n", 1_000_000 + person));
        parcels.push_str(&format!(
            "{},{}\n",
            1_000_000 + person,
            if person <= 4 { "crate" } else { ["box", "letter"][person % 2] }
        ));
        for day in 1..=3 {
            let gate = ["north", "south", "south", "back"][(person + day) % 4];
            doors.push_str(&format!("{badge},{day},{gate},{}\n", 1 + person % 5));
        }
    }
    // A badge that nobody has.
    doors.push_str("99999,1,north,5\n");
    server.file("badge.csv", &badges);
    server.file("parcel.csv", &parcels);
    server.file("kind.csv", "kind\nbox\nletter\ncrate\n");
    server.file("door.csv", &doors);
    server.file("gate.csv", "gate,floor\nnorth,1\nsouth,1\nback,2\nroof,9\n");
    let admin = server.admin().await;
    for statement in support::statements(include_str!("slt/tables.sql")) {
        support::run(&admin, statement).await;
    }
}

/// Files that the administrator's scripts speak of.
fn bring_files(server: &TestServer) {
    let mut good = "id;team;points;seen\n".to_owned();
    for id in 1..=40 {
        good.push_str(&format!("{id};team {};{}.5;2010-01-02 17:40:10\n", id % 2, id % 7));
    }
    server.file("good.csv", &good);
    server.file("bad.csv", "id,points\n1,2\n2,3\nthree,4,5\n");
    server.file("twice.csv", "id,points\n1,2\n1,3\n");
    server.file("empty.csv", "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn analyst_simple() {
    check(ANALYST, "analyst", Protocol::Simple).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn analyst_extended() {
    check(ANALYST, "analyst", Protocol::Extended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_simple() {
    check(ADMIN, "admin", Protocol::Simple).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_extended() {
    check(ADMIN, "admin", Protocol::Extended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auditor_simple() {
    check(AUDITOR, "auditor", Protocol::Simple).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auditor_extended() {
    check(AUDITOR, "auditor", Protocol::Extended).await;
}
