//! Laws that hold for any text.

use proptest::prelude::*;

use super::tokens::{statements, tokenize};
use super::{parse, redact};

/// Words, signs and literals that statements are made of, in any order.
fn scrambled() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "SELECT", "FROM", "WITH", "AS", "(", ")", ",", ";", "'", "\"", "$$", "$x$", "--", "/*", "*/", "\n", "E'\\",
        "U&'", "x", "t", "1", "-1", "1.5e", ".", "*", "=", "<", "::", "[", "]", "$1", "ALTER", "TABLE", "COLUMN",
        "SET", "RESET", "SYSTEM", "ROLE", "GRANT", "TO", "REVOKE", "ON", "CREATE", "EXTERNAL", "STORED", "PARQUET",
        "LOCATION", "OPTIONS", "PRIMARY", "KEY", "COPY", "STDOUT", "EXPLAIN", "PRIVACY", "DECLARE", "CURSOR", "FOR",
        "FETCH", "ALL", "SHOW", "TIME", "ZONE", "BEGIN", "PASSWORD", "VALID", "UNTIL", "UNION", "GROUP", "BY", "ORDER",
        "LIMIT", "JOIN", "USING", "NOT", "NULL", "INSERT", "INTO", "VALUES", "ü", "\u{0}", "\r", "\\", "{", "?", ":",
        "@", "~", "|>", "CASE", "WHEN", "END", "INTERVAL", "'a'", "\"B\"", "PIVOT", "MATCH",
    ]);
    let spaces = prop::sample::select(vec!["", " ", " ", " "]);
    prop::collection::vec((pieces, spaces), 0..40)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, space)| [piece, space]).collect())
}

const SECRET: &str = "hunter2hunter2";

/// A statement with a password in it, right or wrong.
fn with_secret() -> impl Strategy<Value = String> {
    let before = prop::sample::select(vec![
        "CREATE ROLE a LOGIN PASSWORD ",
        "create user a password ",
        "ALTER ROLE a WITH ENCRYPTED PASSWORD ",
        "ALTER USER \"A\" PASSWORD = ",
        "ALTER ROLE a LOGIN Password\n/* secret: hunter2hunter2 */",
        "CREATE ROLE a PASSWORD NULL PASSWORD ",
        "CREATE ROLE a PASSWORD(",
        "CREATE ROLE a PASWORD ",
        "ALTER USER a IDENTIFIED BY ",
        "SELECT 1; CREATE ROLE a PASSWORD ",
        "-- password hunter2hunter2\nCREATE ROLE a PASSWORD ",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 's3://x' OPTIONS ('aws.secret_access_key' ",
    ]);
    let literal = prop::sample::select(vec![
        format!("'{SECRET}'"),
        format!("'it''s {SECRET}'"),
        format!("E'{SECRET}\\n'"),
        format!("$${SECRET}$$"),
        format!("$p${SECRET}$p$"),
        format!("U&'{SECRET}'"),
        format!("'\n{SECRET}'"),
        format!("\"{SECRET}\""),
        format!("'{SECRET}"),
        format!("$x${SECRET}"),
        format!("N'{SECRET}'"),
    ]);
    let after = prop::sample::select(vec!["", " LOGIN", " VALID UNTIL '2027-01-01'", ")", "; SELECT 'x'", " '"]);
    (before, literal, after).prop_map(|(before, literal, after)| format!("{before}{literal}{after}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_or_refused(sql in any::<String>()) {
        check_any(&sql)?;
    }

    #[test]
    fn any_order_of_words_is_parsed_or_refused(sql in scrambled()) {
        check_any(&sql)?;
    }

    #[test]
    fn no_password_is_kept(sql in with_secret()) {
        prop_assert!(!redact(&sql).contains(SECRET), "{}", redact(&sql));
        match parse(&sql) {
            Ok(all) => for parsed in all {
                prop_assert!(!parsed.text.contains(SECRET), "{}", parsed.text);
                let shown = format!("{parsed:?}");
                prop_assert!(!shown.contains(SECRET) || sql.contains("OPTIONS"));
            },
            Err(error) => prop_assert!(!format!("{error:?}").contains(SECRET), "{error:?}"),
        }
    }
}

fn check_any(sql: &str) -> Result<(), TestCaseError> {
    redact(sql);
    let length = sql.chars().count();
    match parse(sql) {
        Ok(all) => {
            for parsed in all {
                prop_assert!(parsed.offset <= length);
            }
        }
        Err(error) => {
            let position = error.position.unwrap_or(1);
            prop_assert!(position >= 1 && position <= length + 1, "{error:?}");
        }
    }
    if let Ok(pieces) = tokenize(sql) {
        let whole: String = pieces.iter().map(|piece| &sql[piece.bytes.clone()]).collect();
        prop_assert_eq!(whole, sql);
        for slice in statements(sql, &pieces) {
            let whole: String = slice.pieces.iter().map(|piece| &slice.text[piece.bytes.clone()]).collect();
            prop_assert_eq!(whole, slice.text);
        }
    }
    Ok(())
}

#[test]
fn what_the_log_keeps() {
    let text = |sql: &str| parse(sql).unwrap().remove(0).text;
    assert_eq!(
        text("CREATE ROLE a PASSWORD 'x' VALID UNTIL '2027-01-01'"),
        "CREATE ROLE a PASSWORD '***' VALID UNTIL '2027-01-01'"
    );
    assert_eq!(text("SELECT a FROM t WHERE b = 'x' -- all"), "SELECT a FROM t WHERE b = 'x'");
    assert_eq!(
        text("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'l' OPTIONS (delimiter ';', 'aws.secret_access_key' 'k')"),
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'l' OPTIONS (delimiter ';', 'aws.secret_access_key' '***')"
    );
    assert_eq!(redact("SELECT 'x' FORM"), "SELECT 'x' FORM");
    assert_eq!(redact("CREATE ROLE a PASSWORD 'x"), "<statement withheld>");
    assert_eq!(redact("CREATE ROLE a PASSWRD hunter2"), "CREATE ROLE a PASSWRD '***'");
}
