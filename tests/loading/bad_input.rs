//! Rows that are none: each is found with its place, nothing of the load stays, and the client goes on.

use crate::client::{Loader, files, sqlstate};
use crate::public_table;
use crate::support::{TestServer, number};

/// What must not come back in any message.
const SECRET: &str = "s3cr3t";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_row_is_placed_and_never_shown() {
    let server = TestServer::start().await.with_people().await;
    let columns =
        "id integer NOT NULL, name text, day date, yes boolean, price numeric(6, 2), moment timestamptz, raw real";
    public_table(&server, "t", columns).await;
    let mut admin = Loader::admin(&server).await;
    let good = "1\ta\t2024-01-01\tt\t1.5\t2024-01-01 00:00:00Z\t0.5\n".repeat(3);
    let csv = good.replace('\t', ",");
    let row = |field: usize, value: &str| -> String {
        let mut fields = ["1", "a", "2024-01-01", "t", "1.5", "2024-01-01 00:00:00Z", "0.5"];
        fields[field] = value;
        fields.join("\t") + "\n"
    };
    let at = |column: &str| Some(format!("COPY t, line 4, column {column}"));
    let line = |n: usize| Some(format!("COPY t, line {n}"));
    let cases: Vec<(&str, String, &str, Option<String>)> = vec![
        ("", row(0, SECRET), "22P02", at("id")),
        ("", row(0, "1.5"), "22P02", at("id")),
        ("", row(0, "99999999999"), "22P02", at("id")),
        ("", row(0, ""), "22P02", at("id")),
        ("", row(0, "\\N"), "23502", line(4)),
        ("", row(2, SECRET), "22007", at("day")),
        ("", row(2, "2024-02-30"), "22007", at("day")),
        ("", row(3, SECRET), "22P02", at("yes")),
        ("", row(4, "100000.5"), "22P02", at("price")),
        ("", row(5, SECRET), "22007", at("moment")),
        ("", row(6, SECRET), "22P02", at("raw")),
        ("", row(1, &format!("{SECRET}\\xff")), "22021", at("name")),
        ("", row(1, &format!("{SECRET}\\0")), "22021", at("name")),
        ("", format!("1\t{SECRET}\n"), "22P04", line(4)),
        ("", row(6, &format!("0.5\t{SECRET}")), "22P04", line(4)),
        ("", row(1, SECRET).replace('\n', "\r\n"), "22P04", line(4)),
        ("", "\n".to_owned(), "22P04", line(4)),
        ("CSV", format!("1,\"{SECRET}\n"), "22P04", line(4)),
        ("CSV", row(1, SECRET).replace('\t', ";"), "22P04", line(4)),
        ("(FORMAT csv, DELIMITER ';')", SECRET.to_owned(), "22P04", line(1)),
        ("(FORMAT csv, HEADER match)", SECRET.to_owned(), "22P04", line(1)),
        ("(FORMAT binary)", SECRET.to_owned(), "22P04", line(1)),
    ];
    for (options, bad, expected, context) in cases {
        let before = if options.to_lowercase().contains("csv") { &csv } else { &good };
        let data = format!("{before}{bad}{before}");
        let messages = admin.messages(&format!("COPY t FROM STDIN {options}"), data.as_bytes(), 11).await;
        let error = messages.iter().find(|message| message.kind == 'E').unwrap_or_else(|| panic!("loaded: {bad}"));
        assert_eq!((error.field('C').unwrap().as_str(), error.field('W')), (expected, context), "{options} {bad}");
        assert!(!String::from_utf8_lossy(&error.body).contains(SECRET), "{error:?}");
        assert!(error.field('H').is_some(), "what to do: {error:?}");
    }
    // In line 10,000, after batches that were written.
    let many = good.repeat(3333) + &row(0, SECRET);
    let told = admin.copy("COPY t FROM STDIN", many).await;
    assert_eq!(told, Err(("22P02".to_owned(), Some("COPY t, line 10000, column id".to_owned()))));
    assert_eq!(number(&server.analyst().await, "SELECT count(*) FROM t").await, 0.0);
    assert_eq!(files(&server).len(), 1, "nothing hidden is left");
    assert_eq!(admin.copy("COPY t FROM STDIN", good).await, Ok("COPY 3".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_cannot_be() {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id integer NOT NULL, name text").await;
    server.file("one.csv", "id\n1\n");
    let mut admin = Loader::admin(&server).await;
    admin.run("CREATE EXTERNAL TABLE one STORED AS CSV LOCATION 'one.csv'").await.unwrap();
    admin.run("CREATE VIEW v AS SELECT 1 AS one").await.unwrap();
    for (statement, expected) in [
        ("COPY t (id, missing) FROM STDIN", "42703"),
        ("COPY t (id, id) FROM STDIN", "42701"),
        ("COPY t (name) FROM STDIN", "23502"),
        ("COPY missing FROM STDIN", "42P01"),
        ("COPY one FROM STDIN", "42809"),
        ("COPY v FROM STDIN", "42809"),
        ("COPY pg_catalog.pg_class FROM STDIN", "42P01"),
        ("COPY t FROM '/etc/passwd'", "42501"),
        ("COPY t FROM PROGRAM 'cat'", "42501"),
        ("COPY t FROM STDIN WHERE id > 1", "0A000"),
        ("COPY t FROM STDIN (FORMAT json)", "0A000"),
        ("COPY t FROM STDIN (FREEZE)", "0A000"),
        ("COPY t FROM STDIN (ENCODING 'LATIN1')", "0A000"),
        ("COPY t FROM STDIN (FORMAT binary, HEADER)", "42601"),
        ("COPY t FROM STDIN (DELIMITER 'ab')", "22023"),
        ("COPY t FROM STDIN (FORMAT csv, QUOTE ',')", "22023"),
        ("COPY t FROM STDIN (QUOTE '''')", "0A000"),
        ("COPY (SELECT 1) FROM STDIN", "42601"),
        ("INSERT INTO t VALUES (1, 'a')", "42501"),
        ("CREATE TABLE x AS SELECT 1", "0A000"),
        ("CREATE TABLE x (a integer) PARTITION BY LIST (a)", "0A000"),
        ("CREATE TABLE x (a money)", "42704"),
        ("GRANT INSERT (id) ON t TO collector", "0A000"),
        ("GRANT INSERT ON v TO collector", "42809"),
    ] {
        assert_eq!(sqlstate(admin.copy(statement, "").await), expected, "{statement}");
    }
    assert_eq!(admin.copy("COPY t FROM STDIN", "1\ta\n").await, Ok("COPY 1".to_owned()));
}

/// Broken lines, thousands: each load is whole or nothing, and the server goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_csv_is_loaded_whole_or_not_at_all() {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id integer, name text").await;
    let mut admin = Loader::admin(&server).await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut dice = move |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % sides as u64) as usize
    };
    let pieces: [&[u8]; 14] =
        [b"1", b"-2", b",", b"\"", b"\"\"", b"\n", b"\r\n", b"\r", b"\\", b"\\.", b"a", b"\xc3\xa4", b"\xff", b"\0"];
    let (mut loaded, mut failed) = (0, 0);
    for _ in 0..400 {
        let mut data: Vec<u8> = b"1,a\n".repeat(dice(3));
        for _ in 0..dice(12) {
            data.extend(pieces[dice(pieces.len())]);
        }
        data.extend(b"2,b\n".repeat(dice(3)));
        match admin.copy_in_pieces("COPY t FROM STDIN CSV", &data, 1 + dice(9)).await {
            Ok(tag) => loaded += tag.strip_prefix("COPY ").unwrap().parse::<u64>().unwrap(),
            Err((sqlstate, context)) => {
                assert!(["22P02", "22P04", "22021"].contains(&sqlstate.as_str()), "{sqlstate} for {data:?}");
                assert!(context.is_some_and(|place| place.starts_with("COPY t, line ")));
                failed += 1;
            }
        }
    }
    assert!(loaded > 50 && failed > 50, "{loaded} rows, {failed} failures: the test shows nothing");
    let count = number(&server.analyst().await, "SELECT count(*) FROM t").await;
    assert_eq!(count, loaded as f64);
}
