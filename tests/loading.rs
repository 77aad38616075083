//! `COPY table FROM STDIN` (C3, R6): rows that clients send, over the wire; what becomes of them, and of what is not one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "loading/bad_input.rs"]
mod bad_input;
#[path = "loading/client.rs"]
mod client;
#[path = "loading/forms.rs"]
mod forms;
#[path = "loading/keys.rs"]
mod keys;
#[path = "loading/process.rs"]
mod process;
#[path = "loading/protocol.rs"]
mod protocol;
#[path = "support/raw.rs"]
mod raw;
#[path = "loading/rights.rs"]
mod rights;
mod support;

use client::{Loader, files};
use support::{TestServer, number, rows, run, value};

/// Columns of every type that can be declared.
const EVERY_TYPE: &str = "id bigint NOT NULL, small smallint, whole integer, part real, fraction double precision, \
                          price numeric(12, 3), name text, yes boolean, day date, moment timestamp, instant timestamptz";

/// A public table that analysts read, so that what is in it can be looked at.
pub async fn public_table(server: &TestServer, name: &str, columns: &str) {
    let admin = server.admin().await;
    run(&admin, &format!("CREATE TABLE {name} ({columns}) WITH (public = true)")).await;
    run(&admin, &format!("GRANT SELECT ON {name} TO insights_analyst")).await;
}

const TEXT: &str = "1\t-7\t70000\t0.5\t1.25\t12.5\tÄrger, \"zu\" Haus\\nzwei\tyes\t2024-02-29\t2024-02-29 12:30:00.25\t2024-02-29 12:30:00+02\n\
     2\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n\
     3\t0\t 0 \tNaN\t-Infinity\t-0.001\t\\\\N\toff\t1970-01-01\t1999-12-31 23:59:59\t2000-01-01 00:00:00Z\n";

const CSV: &str = "id,small,whole,part,fraction,price,name,yes,day,moment,instant\r\n\
     1,-7,70000,0.5,1.25,12.5,\"Ärger, \"\"zu\"\" Haus\nzwei\",1,2024-02-29,2024-02-29 12:30:00.25,2024-02-29T12:30:00+02:00\r\n\
     2,,,,,,,,,,\r\n\
     3,0,0,NaN,-Infinity,\"-0.001\",\\N,F,1970-01-01,1999-12-31 23:59:59,2000-01-01 00:00:00+00\r\n";

/// Both, as Postgres prints them.
const PRINTED: &str = "1|-7|70000|0.5|1.25|12.500|Ärger, \"zu\" Haus\nzwei|t|2024-02-29|2024-02-29 12:30:00.25|2024-02-29 10:30:00+00\n\
     2||||||||||\n\
     3|0|0|NaN|-Infinity|-0.001|\\N|f|1970-01-01|1999-12-31 23:59:59|2000-01-01 00:00:00+00\n";

async fn printed(server: &TestServer, table: &str) -> String {
    let found = rows(&server.analyst().await, &format!("SELECT * FROM {table} ORDER BY 1")).await;
    let line = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|");
    found.into_iter().map(|row| line(row) + "\n").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_and_csv_are_read_as_postgres_reads_them() {
    let server = TestServer::start().await.with_people().await;
    let mut admin = Loader::admin(&server).await;
    let csv = "WITH (FORMAT csv, HEADER match, ENCODING 'UTF8')";
    for (options, data) in [("", TEXT), (csv, CSV)] {
        // However the bytes are cut into messages.
        for bytes in [1, 7, 100_000] {
            let table = format!("t_{}_{bytes}", data.len());
            public_table(&server, &table, EVERY_TYPE).await;
            let told = admin.copy_in_pieces(&format!("COPY {table} FROM STDIN {options}"), data, bytes).await;
            assert_eq!(told, Ok("COPY 3".to_owned()));
            assert_eq!(printed(&server, &table).await, PRINTED, "{options} in pieces of {bytes}");
        }
    }
}

/// What COPY TO writes, COPY FROM reads: in text, CSV with other characters, and binary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_copied_out_can_be_copied_in() {
    let server = TestServer::start().await.with_people().await;
    let mut admin = Loader::admin(&server).await;
    public_table(&server, "first", EVERY_TYPE).await;
    assert_eq!(admin.copy("COPY first FROM STDIN", TEXT).await, Ok("COPY 3".to_owned()));
    let options = [
        "",
        "(FORMAT csv)",
        "(FORMAT csv, HEADER, DELIMITER ';', NULL 'nothing')",
        "(DELIMITER '|', NULL '')",
        "(FORMAT binary)",
    ];
    for (n, options) in options.iter().enumerate() {
        let mut analyst = Loader::login(&server, support::ANALYST).await;
        analyst.raw.send(&raw::query(&format!("COPY first TO STDOUT {options}"))).await;
        let messages = analyst.raw.until_ready().await;
        let out: Vec<u8> = messages.into_iter().filter(|m| m.kind == 'd').flat_map(|m| m.body).collect();
        let table = format!("copy_{n}");
        public_table(&server, &table, EVERY_TYPE).await;
        for bytes in [3, 100_000] {
            let told = admin.copy_in_pieces(&format!("COPY {table} FROM STDIN {options}"), &out, bytes).await;
            assert_eq!(told, Ok("COPY 3".to_owned()), "{options}");
        }
        let analyst = server.analyst().await;
        assert_eq!(number(&analyst, &format!("SELECT count(*) FROM {table}")).await, 6.0);
        let distinct = rows(&analyst, &format!("SELECT DISTINCT * FROM {table} ORDER BY id")).await;
        assert_eq!(distinct, rows(&analyst, "SELECT * FROM first ORDER BY id").await, "{options}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_may_be_named_in_any_order_and_left_out() {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id integer NOT NULL, name text, size integer").await;
    let mut admin = Loader::admin(&server).await;
    let told = admin.copy("COPY t (size, id) FROM STDIN WITH CSV QUOTE '''' ESCAPE '\\'", "'1',7\n2,'8'\n").await;
    assert_eq!(told, Ok("COPY 2".to_owned()));
    assert_eq!(printed(&server, "t").await, "7||1\n8||2\n");
    // Nothing is a load of nothing; what follows the mark of the end is not looked at.
    assert_eq!(admin.copy("COPY t FROM STDIN", "").await, Ok("COPY 0".to_owned()));
    assert_eq!(admin.copy("COPY t FROM STDIN", "9\ta\\x41\\101\\t\t3\n\\.\nrest").await, Ok("COPY 1".to_owned()));
    assert_eq!(admin.copy("COPY t FROM STDIN", "10\tb\t4").await, Ok("COPY 1".to_owned()));
    assert_eq!(printed(&server, "t").await, "7||1\n8||2\n9|aAA\t|3\n10|b|4\n");
}

/// An answer follows the rows, and costs again as its data is new; the person key of a table that was made here protects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_and_after_a_load() {
    let server = TestServer::start_silent().await.with_people().await;
    let admin = server.admin().await;
    for statement in [
        "CREATE TABLE person (person_id text PRIMARY KEY, team text, hours double precision) \
         WITH (person_key = person_id, privacy_policy = people)",
        "ALTER TABLE person ALTER COLUMN person_id SET (class = 'identifier')",
        "ALTER TABLE person ALTER COLUMN team SET (class = 'attribute')",
        "ALTER TABLE person ALTER COLUMN hours SET (class = 'measure', lower = 0, upper = 10)",
        "GRANT SELECT ON person TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    let mut loader = Loader::admin(&server).await;
    let people = |from: usize, to: usize| -> String {
        (from..to).map(|n| format!("p{n}@example.com,{},{}\n", ["red", "blue"][n % 2], n % 10)).collect()
    };
    let asked = "SELECT team, count(*) FROM person GROUP BY team ORDER BY team";
    let analyst = server.analyst().await;
    assert!(rows(&analyst, asked).await.is_empty(), "nobody is there yet");
    assert_eq!(loader.copy("COPY person FROM STDIN CSV", people(0, 400)).await, Ok("COPY 400".to_owned()));
    let teams = |red: &str, blue: &str| -> Vec<Vec<Option<String>>> {
        let row = |team: &str, n: &str| vec![Some(team.to_owned()), Some(n.to_owned())];
        vec![row("blue", blue), row("red", red)]
    };
    assert_eq!(rows(&analyst, asked).await, teams("200", "200"));
    assert_eq!(loader.copy("COPY person FROM STDIN CSV", people(400, 600)).await, Ok("COPY 200".to_owned()));
    assert_eq!(rows(&analyst, asked).await, teams("300", "300"));
    // Another server on the same folder and state sees them, and so does one that starts later.
    let another = server.another().await;
    assert_eq!(rows(&another.analyst().await, asked).await, teams("300", "300"));
    // No address left with any of it.
    assert_eq!(support::refused(&analyst, "SELECT person_id FROM person").await.sqlstate, "42501");
}

/// Who asks while rows come is answered from the files that were there, and pays for an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_while_rows_come() {
    let server = TestServer::start().await.with_people().await;
    let admin = server.admin().await;
    for statement in [
        "CREATE TABLE person (person_id bigint PRIMARY KEY, team text) WITH (person_key = person_id)",
        "ALTER TABLE person ALTER COLUMN person_id SET (class = 'identifier')",
        "ALTER TABLE person ALTER COLUMN team SET (class = 'attribute')",
        "GRANT SELECT ON person TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    let mut loader = Loader::admin(&server).await;
    let people: String = (0..1000).map(|n| format!("{n},red\n")).collect();
    assert!(loader.copy("COPY person FROM STDIN CSV", people).await.is_ok());
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let until = ended.clone();
    let loading = tokio::spawn(async move {
        let mut next = 1000;
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            assert!(loader.copy("COPY person FROM STDIN CSV", format!("{next},red\n")).await.is_ok());
            next += 1;
        }
        next - 1000
    });
    let analyst = server.analyst().await;
    for n in 0..12 {
        let count = number(&analyst, &format!("SELECT count(*) FROM person WHERE team <> 'x{n}'")).await;
        assert!((900.0..2000.0).contains(&count), "{count}");
    }
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    let loads = loading.await.unwrap();
    assert!(loads >= 12, "{loads} loads: the test shows nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_how_many_rows_and_never_which() {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id integer, name text").await;
    let mut admin = Loader::admin(&server).await;
    assert_eq!(admin.copy("COPY t FROM STDIN", "1\tsecret-name\n2\tb\n").await, Ok("COPY 2".to_owned()));
    assert!(admin.copy("COPY t FROM STDIN", "secret-number\tb\n").await.is_err());
    let auditor = server.auditor().await;
    let log = rows(
        &auditor,
        "SELECT principal, kind, tables, outcome, sqlstate, rows, statement FROM audit.query_log \
         WHERE kind = 'COPY FROM' ORDER BY id",
    )
    .await;
    let line = |outcome: &str, sqlstate: Option<&str>, rows: Option<&str>| -> Vec<Option<String>> {
        let texts =
            [Some("admin"), Some("COPY FROM"), Some("t"), Some(outcome), sqlstate, rows, Some("COPY t FROM STDIN")];
        texts.into_iter().map(|text| text.map(str::to_owned)).collect()
    };
    assert_eq!(log, vec![line("answered", None, Some("2")), line("failed", Some("22P02"), None)]);
    let everything = rows(&auditor, "SELECT * FROM audit.query_log").await;
    assert!(!format!("{everything:?}").contains("secret-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_takes_its_rows_with_it() {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id integer").await;
    let mut admin = Loader::admin(&server).await;
    assert_eq!(admin.copy("COPY t FROM STDIN", "1\n2\n").await, Ok("COPY 2".to_owned()));
    assert_eq!(files(&server).len(), 2, "one without rows, one with two");
    assert!(admin.run("DROP TABLE t").await.is_ok());
    assert_eq!(files(&server), Vec::<std::path::PathBuf>::new());
    // One of the same name begins anew; one that is there is left alone; one that cannot be made leaves nothing.
    public_table(&server, "t", "id integer").await;
    assert_eq!(value(&server.analyst().await, "SELECT count(*) FROM t").await, "0");
    assert!(admin.run("CREATE TABLE IF NOT EXISTS t (other text)").await.is_ok());
    assert_eq!(admin.run("CREATE TABLE t (other text)").await, Err(("42P07".to_owned(), None)));
    assert_eq!(admin.run("CREATE TABLE u (a integer, a text)").await, Err(("42701".to_owned(), None)));
    assert_eq!(admin.run("CREATE TABLE u (a integer) WITH (no_such = 1)").await, Err(("22023".to_owned(), None)));
    assert_eq!(files(&server).len(), 1);
    // A folder that an administrator named is the administrator's.
    std::fs::create_dir(server.folder().join("theirs")).unwrap();
    std::fs::copy(&files(&server)[0], server.folder().join("theirs/part.parquet")).unwrap();
    assert!(admin.run("CREATE EXTERNAL TABLE theirs STORED AS PARQUET LOCATION 'theirs/'").await.is_ok());
    assert_eq!(admin.copy("COPY theirs FROM STDIN", "5\n").await, Ok("COPY 1".to_owned()));
    assert!(admin.run("DROP TABLE theirs").await.is_ok());
    let left = std::fs::read_dir(server.folder().join("theirs")).unwrap().count();
    assert_eq!(left, 3, "their file, the loaded one, and the lock");
}
