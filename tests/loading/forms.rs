//! uuid, json and jsonb: loaded, held against their form, shown as what they are; a uuid as person key.

use crate::client::{Loader, sqlstate};
use crate::public_table;
use crate::raw::{Message, message};
use crate::support::{ANALYST, TestServer, number, refused, rows, run, value};

const FIRST: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const JSON: &str = "{\"b\": [1,  2], \"a\": null}";

/// `SELECT` by the extended protocol, with this format of results: the columns' type numbers, and the values of the first row.
async fn asked(loader: &mut Loader, sql: &str, format: u8) -> (Vec<u32>, Vec<Vec<u8>>) {
    let bind = [b"\0\0\0\0\0\0\0\x01\0", &[format][..]].concat();
    let parse = message('P', format!("\0{sql}\0\0\0").as_bytes());
    let rest = [message('D', b"P\0"), message('E', b"\0\0\0\0\0"), message('S', b"")].concat();
    loader.raw.send(&[parse, message('B', &bind), rest].concat()).await;
    let messages = loader.raw.until_ready().await;
    assert!(messages.iter().all(|message| message.kind != 'E'), "{messages:?}");
    let of = |kind: char| messages.iter().find(|message| message.kind == kind).unwrap();
    (type_numbers(of('T')), cells(of('D')))
}

fn type_numbers(description: &Message) -> Vec<u32> {
    let mut rest = &description.body[2..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        let field = &rest[end + 1..];
        found.push(u32::from_be_bytes(field[6..10].try_into().unwrap()));
        rest = &field[18..];
    }
    found
}

fn cells(row: &Message) -> Vec<Vec<u8>> {
    let mut rest = &row.body[2..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        found.push(rest[4..4 + length].to_vec());
        rest = &rest[4 + length..];
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_told_and_sent_as_what_they_are() {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id uuid, plain json, packed jsonb").await;
    let mut admin = Loader::admin(&server).await;
    let row = format!("{{{}}}\t{JSON}\t{JSON}\n\\N\t\\N\t\\N\n", FIRST.to_uppercase());
    assert_eq!(admin.copy("COPY t FROM STDIN", row).await, Ok("COPY 2".to_owned()));
    let mut analyst = Loader::login(&server, ANALYST).await;
    let columns = "SELECT id, plain, packed FROM t WHERE id IS NOT NULL";
    let (types, text) = asked(&mut analyst, columns, 0).await;
    assert_eq!(types, [2950, 114, 3802]);
    assert_eq!(text, [FIRST.as_bytes(), JSON.as_bytes(), JSON.as_bytes()]);
    let (types, binary) = asked(&mut analyst, columns, 1).await;
    assert_eq!(types, [2950, 114, 3802]);
    let bytes = u128::from_str_radix(&FIRST.replace('-', ""), 16).unwrap().to_be_bytes();
    assert_eq!(binary, [&bytes[..], JSON.as_bytes(), &[&[1], JSON.as_bytes()].concat()]);
    // In binary and back.
    analyst.raw.send(&crate::raw::query("COPY t TO STDOUT (FORMAT binary)")).await;
    let out: Vec<u8> =
        analyst.raw.until_ready().await.into_iter().filter(|m| m.kind == 'd').flat_map(|m| m.body).collect();
    public_table(&server, "again", "id uuid, plain json, packed jsonb").await;
    assert_eq!(admin.copy("COPY again FROM STDIN (FORMAT binary)", out).await, Ok("COPY 2".to_owned()));
    let reader = server.analyst().await;
    assert_eq!(rows(&reader, "SELECT * FROM again").await, rows(&reader, "SELECT * FROM t").await);
    let types = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum";
    let types: Vec<Option<String>> = rows(&reader, types).await.into_iter().map(|mut row| row.remove(0)).collect();
    assert_eq!(types, ["uuid", "json", "jsonb"].map(|name| Some(name.to_owned())));
    let udt = "SELECT udt_name FROM information_schema.columns WHERE table_name = 't' ORDER BY ordinal_position";
    assert_eq!(rows(&reader, udt).await[0][0].as_deref(), Some("uuid"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_of_the_form_is_not_loaded() {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id uuid, about jsonb").await;
    server.file("one.csv", "id\na\n");
    let mut admin = Loader::admin(&server).await;
    for (row, column) in [
        ("s3cr3t\t{}\n".to_owned(), "id"),
        (format!("{FIRST}0\t{{}}\n"), "id"),
        (format!("{FIRST}\t{{s3cr3t\n"), "about"),
        (format!("{FIRST}\t\n"), "about"),
    ] {
        let told = admin.copy("COPY t FROM STDIN", &row).await;
        assert_eq!(told, Err(("22P02".to_owned(), Some(format!("COPY t, line 1, column {column}")))), "{row}");
    }
    let external = "CREATE EXTERNAL TABLE one (id uuid) STORED AS CSV LOCATION 'one.csv'";
    assert_eq!(sqlstate(admin.run(external).await), "0A000");
    assert_eq!(number(&server.analyst().await, "SELECT count(*) FROM t").await, 0.0);
}

/// Joined, counted, restricted by an administrator's policy, and never shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uuid_is_a_person_key() {
    let server = TestServer::start_silent().await.with_people().await;
    let admin = server.admin().await;
    for statement in [
        "CREATE TABLE member (id uuid PRIMARY KEY, team uuid, about jsonb) WITH (person_key = id)",
        "CREATE TABLE visit (member uuid, minutes integer) WITH (person_key = member, max_rows_per_person = 2)",
        "ALTER TABLE member ALTER COLUMN id SET (class = 'identifier')",
        "ALTER TABLE member ALTER COLUMN team SET (class = 'attribute')",
        "ALTER TABLE member ALTER COLUMN about SET (class = 'attribute')",
        "ALTER TABLE visit ALTER COLUMN member SET (class = 'identifier')",
        "ALTER TABLE visit ALTER COLUMN minutes SET (class = 'measure', lower = 0, upper = 100)",
        "GRANT SELECT ON member, visit TO insights_analyst",
    ] {
        run(&admin, statement).await;
    }
    let person = |n: usize| format!("00000000-0000-4000-8000-{n:012x}");
    let team = |n: usize| format!("10000000-0000-4000-8000-{:012x}", n % 2);
    let mut loader = Loader::admin(&server).await;
    let members: String = (0..300).map(|n| format!("{}\t{}\t{{\"n\": {}}}\n", person(n), team(n), n % 3)).collect();
    assert_eq!(loader.copy("COPY member FROM STDIN", members).await, Ok("COPY 300".to_owned()));
    let visits: String = (0..300).map(|n| format!("{}\t10\n", person(n).to_uppercase()).repeat(2)).collect();
    assert_eq!(loader.copy("COPY visit FROM STDIN", visits).await, Ok("COPY 600".to_owned()));

    let analyst = server.analyst().await;
    let by_team = "SELECT team, count(DISTINCT id), sum(minutes) FROM member JOIN visit ON id = member GROUP BY team ORDER BY team";
    let row = |n: usize| vec![Some(team(n)), Some("150".to_owned()), Some("3000".to_owned())];
    assert_eq!(rows(&analyst, by_team).await, [row(0), row(1)]);
    let mut prepared = Loader::login(&server, ANALYST).await;
    assert_eq!(asked(&mut prepared, by_team, 0).await.0, [2950, 20, 20]);
    let team_of = format!("SELECT count(*) FROM member WHERE team = '{}'::uuid", team(1).to_uppercase());
    assert_eq!(value(&analyst, &team_of).await, "150");
    let team_of = format!("SELECT count(*) FROM member WHERE team = UUID '{}'", team(1));
    assert_eq!(value(&analyst, &team_of).await, "150");
    let prepared = analyst.query_one("SELECT count(*) FROM member WHERE team = $1", &[&team(0)]).await.unwrap();
    assert_eq!(prepared.get::<_, i64>(0), 150);
    assert_eq!(rows(&analyst, "SELECT about, count(*) FROM member GROUP BY about").await.len(), 3);
    for (statement, expected) in [
        ("SELECT id FROM member".to_owned(), "42501"),
        (format!("SELECT count(*) FROM member WHERE id = '{}'::uuid", person(1)), "42501"),
        ("SELECT count(*) FROM member WHERE team = 'x'::uuid".to_owned(), "22P02"),
        ("SELECT about ->> 'n', count(*) FROM member GROUP BY 1".to_owned(), "0A000"),
    ] {
        let refusal = refused(&analyst, &statement).await;
        assert_eq!(refusal.sqlstate, expected, "{statement}: {refusal}");
    }
    // Taken out by an administrator, who names the person as the key is written.
    run(&admin, &format!("CALL privacy.exclude_person('{}', 'objects')", person(2))).await;
    assert_eq!(value(&analyst, "SELECT count(*) FROM member").await, "299");
}
