//! What Postgres reads of the same bytes, and laws.

use proptest::prelude::*;

use super::*;

type Row = Vec<Option<String>>;

fn dialect(csv: bool) -> Dialect {
    match csv {
        true => Dialect { delimiter: b',', null: vec![], quotes: Some((b'"', b'"')) },
        false => Dialect { delimiter: b'\t', null: b"\\N".to_vec(), quotes: None },
    }
}

/// The rows, with the line that each begins in; or how far it got and the error.
fn read(dialect: Dialect, pieces: &[&[u8]]) -> (Vec<(u64, Row)>, Option<String>) {
    let mut lines = Lines::new(dialect);
    let (mut rows, mut fields) = (Vec::new(), Fields::default());
    for step in 0..=pieces.len() {
        match pieces.get(step) {
            Some(piece) => lines.push(piece),
            None => lines.complete(),
        }
        loop {
            match lines.next(&mut fields) {
                Ok(true) => {
                    let text = |field: Option<&[u8]>| field.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    assert_eq!(fields.len(), fields.iter().count());
                    rows.push((lines.line(), fields.iter().map(text).collect()));
                }
                Ok(false) => break,
                Err(error) => return (rows, Some(error.message)),
            }
        }
    }
    (rows, None)
}

fn rows(csv: bool, data: &str) -> Vec<(u64, Row)> {
    let (rows, error) = read(dialect(csv), &[data.as_bytes()]);
    assert_eq!(error, None, "{data:?}");
    rows
}

fn row(line: u64, fields: &[Option<&str>]) -> (u64, Row) {
    (line, fields.iter().map(|field| field.map(str::to_owned)).collect())
}

/// Right-hand sides: PostgreSQL 16, `COPY … FROM STDIN`.
#[test]
fn text_as_postgres_reads_it() {
    assert_eq!(rows(false, ""), vec![]);
    assert_eq!(rows(false, "a\tb\n\n"), [row(1, &[Some("a"), Some("b")]), row(2, &[Some("")])]);
    assert_eq!(rows(false, "\\N\t\\\\N\tN"), [row(1, &[None, Some("\\N"), Some("N")])]);
    assert_eq!(rows(false, "\\ta\\x41\\x\\1012\\q\\\tb"), [row(1, &[Some("\taAxA2q\tb")])]);
    assert_eq!(rows(false, "a\\\nb\nc"), [row(1, &[Some("a\nb")]), row(3, &[Some("c")])]);
    assert_eq!(rows(false, "a\r\nb\r\n"), [row(1, &[Some("a")]), row(2, &[Some("b")])]);
    assert_eq!(rows(false, "a\rb\r"), [row(1, &[Some("a")]), row(2, &[Some("b")])]);
    assert_eq!(rows(false, "a\n\\.\nb\n"), [row(1, &[Some("a")])]);
    assert_eq!(rows(false, "\"a\"\n"), [row(1, &[Some("\"a\"")])]);
}

#[test]
fn csv_as_postgres_reads_it() {
    assert_eq!(rows(true, "a,,\"\"\n"), [row(1, &[Some("a"), None, Some("")])]);
    assert_eq!(rows(true, "\"a,\"\"b\nc\",d\r\ne"), [row(1, &[Some("a,\"b\nc"), Some("d")]), row(3, &[Some("e")])]);
    assert_eq!(rows(true, "a\"b,c\"d\n"), [row(1, &[Some("ab,cd")])]);
    assert_eq!(rows(true, "\\N\\t\n"), [row(1, &[Some("\\N\\t")])]);
    assert_eq!(rows(true, "\"\\.\"\n\\.\nx\n"), [row(1, &[Some("\\.")])]);
    let escaped = Dialect { delimiter: b',', null: b"-".to_vec(), quotes: Some((b'\'', b'\\')) };
    let (found, error) = read(escaped, &[b"'a\\'b\\\\',-,'-'\n"]);
    assert_eq!((found, error), (vec![row(1, &[Some("a'b\\"), None, Some("-")])], None));
}

#[test]
fn lines_that_end_in_two_ways_and_quotes_that_do_not_end() {
    for (csv, data, message) in [
        (false, "a\nb\r\n", "literal carriage return found in data"),
        (false, "a\r\nb\nc\r\n", "literal newline found in data"),
        (true, "a\nb\r", "unquoted carriage return found in data"),
        (true, "a\n\"b\n", "unterminated CSV quoted field"),
    ] {
        let (rows, error) = read(dialect(csv), &[data.as_bytes()]);
        assert_eq!((rows.len(), error.as_deref()), (1, Some(message)), "{data:?}");
    }
    let long = vec![b'a'; RECORD_BYTES + 1];
    assert_eq!(read(dialect(true), &[&long]).1, Some(format!("a row may have {RECORD_BYTES} bytes")));
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let signs = b"ab,\t\"\\\n\r.N\xff".to_vec();
    prop::collection::vec(prop::sample::select(signs), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where messages are cut tells nothing.
    #[test]
    fn pieces_give_the_same_rows(data in bytes(), csv in any::<bool>(), size in 1_usize..8) {
        let whole = read(dialect(csv), &[&data]);
        let pieces: Vec<&[u8]> = data.chunks(size).collect();
        prop_assert_eq!(read(dialect(csv), &pieces), whole);
    }

    /// Values that are quoted come back.
    #[test]
    fn quoted_values_come_back(values in prop::collection::vec(prop::option::of("[a,\"\n\r\\\\.]{0,6}"), 1..5)) {
        let quoted = |value: &Option<String>| value.as_ref().map_or(String::new(), |v| format!("\"{}\"", v.replace('"', "\"\"")));
        let line = values.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
        let found = rows(true, &line);
        prop_assert_eq!(&found[0].1, &values);
        prop_assert_eq!(found.len(), 1);
    }
}
