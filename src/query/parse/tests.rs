//! Queries and sessions' statements, accepted and refused.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::complexity::{OPERATORS, SET_OPERATIONS};
use super::parse;
use crate::error::{Error, SqlState};
use crate::query::statement::{CopyFormat, CopyInFormat, Direction, Header, Parsed, Statement};

pub(super) fn one(sql: &str) -> Parsed {
    let mut all = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error} {error:?}"));
    assert_eq!(all.len(), 1, "{sql}");
    all.remove(0)
}

pub(super) fn refused(sql: &str) -> Error {
    match parse(sql) {
        Ok(parsed) => panic!("{sql}: {parsed:?}"),
        Err(error) => error,
    }
}

/// The statement's debug form with syntax trees of queries as SQL.
fn shown(sql: &str) -> String {
    match one(sql).statement {
        Statement::Query(query) => format!("query {query}"),
        Statement::Explain { privacy, query } => format!("explain privacy={privacy} {query}"),
        Statement::CopyOut { query, format: CopyFormat::Lines { csv, header, delimiter, null } } => {
            let null = if null == if csv { "" } else { "\\N" } { String::new() } else { format!("null={null} ") };
            format!("copy csv={csv} header={header} {:?} {null}{query}", char::from(delimiter))
        }
        Statement::CopyOut { query, format: CopyFormat::Binary } => format!("copy binary {query}"),
        Statement::Declare { name, options, query } => format!("declare {name} hold={} {query}", options.hold),
        other => format!("{other:?}"),
    }
}

#[test]
fn splits_a_query_string() {
    assert_eq!(parse("").unwrap().len(), 0);
    assert_eq!(parse(" ; /* a; b */ -- c;\n ;").unwrap().len(), 0);
    let sql = "-- first; not this\nSELECT 'a;b' ; /* ü */ select $x$;$x$ ;";
    let all = parse(sql).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].text, "SELECT 'a;b'");
    assert_eq!(all[0].offset, 19);
    assert_eq!(all[1].text, "select $x$;$x$");
    assert_eq!(sql.chars().skip(all[1].offset).take(6).collect::<String>(), "select");
}

#[test]
fn queries_and_what_stands_around_them() {
    for (sql, expected) in [
        ("TABLE Person", "query SELECT * FROM Person"),
        ("(select 1)", "query (SELECT 1)"),
        ("VALUES (1), (2)", "query VALUES (1), (2)"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "query WITH a AS (SELECT 1) SELECT * FROM a"),
        ("EXPLAIN SELECT 1", "explain privacy=false SELECT 1"),
        ("EXPLAIN (SELECT 1)", "explain privacy=false (SELECT 1)"),
        ("EXPLAIN (PRIVACY) SELECT 1", "explain privacy=true SELECT 1"),
        ("explain (format text, privacy on, analyze off, costs) select 1", "explain privacy=true SELECT 1"),
        ("COPY (SELECT a FROM t) TO STDOUT", "copy csv=false header=false '\\t' SELECT a FROM t"),
        (
            "COPY (SELECT a FROM t) TO STDOUT WITH (FORMAT csv, HEADER, DELIMITER ';')",
            "copy csv=true header=true ';' SELECT a FROM t",
        ),
        ("copy T to stdout csv header", "copy csv=true header=true ',' SELECT * FROM T"),
        (
            "copy public.t (A, \"B\") to stdout (format csv, header false, null '', encoding 'UTF8')",
            "copy csv=true header=false ',' SELECT \"a\", \"B\" FROM public.t",
        ),
        ("COPY t TO STDOUT (FORMAT binary)", "copy binary SELECT * FROM t"),
        ("COPY BINARY t TO STDOUT", "copy binary SELECT * FROM t"),
        ("DECLARE c CURSOR FOR SELECT 1", "declare c hold=false SELECT 1"),
        ("DECLARE \"C\" BINARY NO SCROLL CURSOR WITH HOLD FOR SELECT 1", "declare C hold=true SELECT 1"),
    ] {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn rows_that_are_to_come() {
    let csv = |header, delimiter, null: &str, quote, escape| {
        let null = null.to_owned();
        CopyInFormat::Csv { header, delimiter, null, quote, escape }
    };
    let text = CopyInFormat::Text { header: Header::None, delimiter: b'\t', null: "\\N".to_owned() };
    let both = Some(vec!["a".to_owned(), "B".to_owned()]);
    for (sql, columns, format) in [
        ("COPY T FROM STDIN", None, text.clone()),
        ("copy public.t (A, \"B\") from stdin", both.clone(), text),
        ("COPY t FROM STDIN CSV", None, csv(Header::None, b',', "", b'"', b'"')),
        (
            "COPY t FROM STDIN WITH DELIMITER AS ';' NULL AS '-' CSV HEADER QUOTE AS '''' ESCAPE AS '\\'",
            None,
            csv(Header::Present, b';', "-", b'\'', b'\\'),
        ),
        (
            "COPY t (a, \"B\") FROM STDIN (FORMAT csv, HEADER match, QUOTE '''', ENCODING 'utf-8')",
            both,
            csv(Header::Match, b',', "", b'\'', b'\''),
        ),
        ("COPY t FROM STDIN (FORMAT binary)", None, CopyInFormat::Binary),
        ("COPY BINARY t FROM STDIN", None, CopyInFormat::Binary),
    ] {
        match one(sql).statement {
            Statement::CopyIn(copy) => {
                assert_eq!((copy.table.as_str(), copy.columns, copy.format), ("t", columns, format), "{sql}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
    for (sql, state) in [
        ("COPY t FROM STDIN (FORMAT binary, NULL '')", SqlState::SyntaxError),
        ("COPY t FROM STDIN WHERE a > 1", SqlState::FeatureNotSupported),
        ("COPY t FROM STDIN (FREEZE)", SqlState::FeatureNotSupported),
        ("COPY t FROM STDIN QUOTE ''''", SqlState::FeatureNotSupported),
        ("COPY t FROM STDIN (DELIMITER 'ab')", SqlState::InvalidParameterValue),
        ("COPY t FROM STDIN (FORMAT csv, QUOTE ',')", SqlState::InvalidParameterValue),
        ("COPY t FROM STDIN (FORMAT csv, NULL '\"')", SqlState::InvalidParameterValue),
        ("COPY t FROM STDOUT", SqlState::InsufficientPrivilege),
        ("COPY t TO STDOUT (HEADER match)", SqlState::InvalidParameterValue),
        ("COPY audit.query_log FROM STDIN", SqlState::UndefinedTable),
        ("COPY t () FROM STDIN", SqlState::SyntaxError),
    ] {
        assert_eq!(refused(sql).sqlstate, state, "{sql}");
    }
}

#[test]
fn cursors_go_in_every_direction() {
    use Direction::{Absolute, Backward, Forward, Relative};
    const ALL: u64 = u64::MAX;
    for (sql, name, expected) in [
        ("FETCH c", "c", Forward(1)),
        ("FETCH next", "next", Forward(1)),
        ("FETCH NEXT FROM c", "c", Forward(1)),
        ("FETCH FROM c", "c", Forward(1)),
        ("FETCH 5 IN c", "c", Forward(5)),
        ("FETCH 5 c", "c", Forward(5)),
        ("FETCH +5 c", "c", Forward(5)),
        ("FETCH -5 c", "c", Backward(5)),
        ("FETCH 0 c", "c", Relative(0)),
        ("FETCH FORWARD FROM c", "c", Forward(1)),
        ("FETCH FORWARD 100 FROM \"C\"", "C", Forward(100)),
        ("FETCH FORWARD -2 FROM c", "c", Backward(2)),
        ("FETCH FORWARD ALL c", "c", Forward(ALL)),
        ("FETCH ALL IN c", "c", Forward(ALL)),
        ("FETCH PRIOR FROM c", "c", Backward(1)),
        ("FETCH BACKWARD c", "c", Backward(1)),
        ("FETCH BACKWARD 3 FROM c", "c", Backward(3)),
        ("FETCH BACKWARD -3 FROM c", "c", Forward(3)),
        ("FETCH BACKWARD ALL IN c", "c", Backward(ALL)),
        ("FETCH FIRST IN c", "c", Absolute(1)),
        ("FETCH LAST IN c", "c", Absolute(-1)),
        ("FETCH ABSOLUTE 3 FROM c", "c", Absolute(3)),
        ("FETCH RELATIVE -3 FROM c", "c", Relative(-3)),
    ] {
        for moves in [false, true] {
            let sql = if moves { sql.replacen("FETCH", "MOVE", 1) } else { sql.to_owned() };
            match one(&sql).statement {
                Statement::Fetch { name: n, direction, moves: m } => {
                    assert_eq!((n.as_str(), direction, m), (name, expected, moves), "{sql}");
                }
                other => panic!("{sql}: {other:?}"),
            }
        }
    }
    assert_eq!(refused("FETCH 2147483648 FROM c").sqlstate, SqlState::NumericValueOutOfRange);
    assert_eq!(refused("DECLARE c SCROLL NO SCROLL CURSOR FOR SELECT 1").sqlstate, SqlState::InvalidCursorDefinition);
    assert_eq!(refused("COPY x TO STDOUT (FORMAT binary, HEADER)").sqlstate, SqlState::SyntaxError);
}

#[test]
fn settings_and_transactions() {
    for (sql, expected) in [
        ("SET privacy.Epsilon = 0.5", r#"Set { name: "privacy.epsilon", value: Some("0.5"), local: false }"#),
        ("SET LOCAL x TO 'A b'", r#"Set { name: "x", value: Some("A b"), local: true }"#),
        ("SET SESSION datestyle TO ISO, MDY", r#"Set { name: "datestyle", value: Some("iso, mdy"), local: false }"#),
        ("SET extra_float_digits = -3", r#"Set { name: "extra_float_digits", value: Some("-3"), local: false }"#),
        ("SET x TO DEFAULT", r#"Set { name: "x", value: None, local: false }"#),
        (
            "SET standard_conforming_strings = on",
            r#"Set { name: "standard_conforming_strings", value: Some("on"), local: false }"#,
        ),
        (
            "SET search_path TO \"$user\", public",
            r#"Set { name: "search_path", value: Some("\"$user\", public"), local: false }"#,
        ),
        ("SET TIME ZONE 'UTC'", r#"Set { name: "timezone", value: Some("UTC"), local: false }"#),
        ("SET NAMES 'utf8'", r#"Set { name: "client_encoding", value: Some("utf8"), local: false }"#),
        (
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
            r#"SetTransaction([("transaction_isolation", "serializable"), ("transaction_read_only", "on")])"#,
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            r#"SetTransaction([("default_transaction_read_only", "off")])"#,
        ),
        ("RESET ALL", "Reset(None)"),
        ("RESET TimeZone", r#"Reset(Some("timezone"))"#),
        ("SHOW ALL", "Show(None)"),
        ("SHOW privacy.epsilon", r#"Show(Some("privacy.epsilon"))"#),
        ("SHOW TIME ZONE", r#"Show(Some("timezone"))"#),
        ("show transaction isolation level", r#"Show(Some("transaction_isolation"))"#),
        ("BEGIN", "Begin"),
        ("BEGIN WORK ISOLATION LEVEL READ COMMITTED READ ONLY", "Begin"),
        ("START TRANSACTION READ WRITE", "Begin"),
        ("COMMIT WORK", "Commit"),
        ("END", "Commit"),
        ("COMMIT AND NO CHAIN", "Commit"),
        ("ROLLBACK", "Rollback"),
        ("ABORT TRANSACTION", "Rollback"),
        ("ROLLBACK TO SAVEPOINT S1", r#"RollbackTo("s1")"#),
        ("ROLLBACK WORK TO s1", r#"RollbackTo("s1")"#),
        ("SAVEPOINT \"S1\"", r#"Savepoint("S1")"#),
        ("RELEASE SAVEPOINT a", r#"ReleaseSavepoint("a")"#),
        ("RELEASE a", r#"ReleaseSavepoint("a")"#),
        ("DISCARD ALL", "Discard"),
        ("DISCARD TEMP", "Unlisten"),
        ("DEALLOCATE PREPARE ALL", "Deallocate(None)"),
        ("DEALLOCATE s", r#"Deallocate(Some("s"))"#),
        ("LISTEN x", "Unlisten"),
        ("UNLISTEN *", "Unlisten"),
        ("CLOSE ALL", "CloseCursor(None)"),
        ("CLOSE c", r#"CloseCursor(Some("c"))"#),
        (
            "ALTER SYSTEM SET privacy.min_group_size = 15",
            r#"Admin(AlterSystem { name: "privacy.min_group_size", value: Some("15") })"#,
        ),
        (
            "ALTER SYSTEM SET privacy.window TO '30 days'",
            r#"Admin(AlterSystem { name: "privacy.window", value: Some("30 days") })"#,
        ),
        ("ALTER SYSTEM RESET privacy.window", r#"Admin(AlterSystem { name: "privacy.window", value: None })"#),
    ] {
        assert_eq!(shown(sql), expected, "{sql}");
    }
    for sql in [
        "SET ROLE admin",
        "SET role = 'admin'",
        "SET LOCAL ROLE x",
        "SET SESSION AUTHORIZATION admin",
        "SET SESSION SESSION AUTHORIZATION DEFAULT",
    ] {
        assert_eq!(refused(sql).sqlstate, SqlState::InsufficientPrivilege, "{sql}");
    }
}

#[test]
fn kinds_that_are_not_there() {
    for sql in [
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE",
        "TRUNCATE t",
        "LOAD 'x'",
        "COPY t FROM '/etc/passwd'",
        "COPY t TO '/tmp/x'",
        "COPY (SELECT 1) TO PROGRAM 'sh'",
        "COPY (DELETE FROM t) TO STDOUT",
        "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN VERBOSE ANALYZE SELECT 1",
        "EXPLAIN (ANALYZE) SELECT 1",
        "explain (privacy, analyze true) select 1",
        "EXPLAIN DELETE FROM t",
        "SELECT * INTO u FROM t",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR SHARE OF t NOWAIT",
        "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "SELECT * FROM (SELECT a FROM t FOR UPDATE) s",
    ] {
        let error = refused(sql);
        assert_eq!(error.sqlstate, SqlState::InsufficientPrivilege, "{sql}");
        assert!(error.position.is_some(), "{sql}");
        assert!(error.hint.is_some(), "{sql}");
    }
    for sql in [
        "CREATE TABLE t AS SELECT 1",
        "CREATE TEMP TABLE t (a int)",
        "CREATE TABLE t (a int) INHERITS (u)",
        "CREATE TABLE t (a int CHECK (a > 1))",
        "CREATE TEMP TABLE t AS SELECT 1",
        "ALTER VIEW v RENAME COLUMN a TO b",
        "CREATE MATERIALIZED VIEW v AS SELECT 1",
        "CREATE FUNCTION f() RETURNS int AS 'x' LANGUAGE sql",
        "CREATE EXTENSION x",
        "CREATE FOREIGN TABLE t (a int) SERVER s",
        "ALTER FUNCTION f() STABLE",
        "DROP MATERIALIZED VIEW v",
        "DROP SCHEMA s CASCADE",
        "DO $$ BEGIN END $$",
        "VACUUM",
        "ANALYZE",
        "ANALYZE t (a)",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "LOCK t",
        "NOTIFY x",
        "COMMIT PREPARED 'x'",
        "COMMIT AND CHAIN",
        "EXPLAIN (FORMAT JSON) SELECT 1",
        "COPY t TO STDOUT (FORCE_QUOTE *)",
    ] {
        let error = refused(sql);
        assert_eq!(error.sqlstate, SqlState::FeatureNotSupported, "{sql}");
        assert!(error.position.is_some(), "{sql}");
    }
    assert_eq!(refused("INSERT INTO t VALUES (1)").message, "INSERT is not allowed");
    assert_eq!(refused("CREATE OR REPLACE FUNCTION f() RETURNS int").message, "CREATE FUNCTION is not supported");
}

#[test]
fn clauses_that_are_not_postgres() {
    for sql in [
        "SELECT * FROM t TABLESAMPLE BERNOULLI (10)",
        "SELECT a FROM t FETCH FIRST 3 PERCENT ROWS ONLY",
        "SELECT * FROM t LATERAL VIEW explode(a) b",
        "SELECT a FROM t QUALIFY row_number() OVER () = 1",
        "SELECT a FROM t CONNECT BY a = b",
        "SELECT * FROM t WITH ORDINALITY",
        "SELECT * FROM unnest(ARRAY[1]) WITH ORDINALITY",
        "SELECT * EXCLUDE (a) FROM t",
        "SELECT a FROM t GROUP BY ALL",
        "SELECT a FROM t LEFT SEMI JOIN u ON true",
        "SELECT a FROM t SORT BY a",
        "SELECT a FROM t FETCH FIRST 3 ROWS WITH TIES",
        "SELECT TRY_CAST(a AS int) FROM t",
        "SELECT a FROM t UNION BY NAME SELECT a FROM u",
        "SELECT (SELECT a FROM t QUALIFY true)",
        "SELECT a FROM t PIVOT (sum(x) FOR y IN (1, 2))",
        "SELECT 1 UNION TABLE t",
    ] {
        let error = refused(sql);
        let known = [SqlState::FeatureNotSupported, SqlState::SyntaxError];
        assert!(known.contains(&error.sqlstate), "{sql}: {error:?}");
        assert!(error.position.is_some(), "{sql}: {error:?}");
    }
    let error = refused("SELECT 1;\nSELECT a FROM t QUALIFY true");
    assert_eq!(error.message, "QUALIFY is not supported");
    assert_eq!(error.position, Some(27));
}

#[test]
fn accepted_queries() {
    for sql in [
        "SELECT function, count(*), avg(after_hours) FROM person JOIN person_week USING (person_id) GROUP BY function ORDER BY 2 DESC LIMIT 5",
        "SELECT count(*) FILTER (WHERE a > 1), percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t",
        "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b NULLS LAST OFFSET 2",
        "SELECT extract(year FROM a), a::date, CAST(b AS int), interval '1 day', date '2024-01-01' FROM t",
        "SELECT sum(a) OVER (PARTITION BY b ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        "SELECT * FROM t WHERE a = $1 AND b = ANY($2::int[]) AND c LIKE 'x%' ESCAPE '!' AND d IN (SELECT 1)",
        "SELECT t.*, u.\"X\" FROM public.t AS t LEFT JOIN LATERAL (SELECT 1) u ON true, generate_series(1, 3) g(x)",
        "WITH RECURSIVE x(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM x WHERE a < 3) SELECT * FROM x",
        "SELECT CASE WHEN a THEN 1 ELSE 2 END, ceil(a), floor(b), trim(both 'x' FROM c), position('a' in b), substring(a from 2 for 3) FROM t",
        "SELECT a FROM t GROUP BY ROLLUP (a), GROUPING SETS ((a), ()) HAVING count(*) > 3 WINDOW w AS (ORDER BY a)",
        "SELECT c.relname FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default",
        "SELECT share(a > 3), clamp(a, 0, 80), 'a', E'\\n', $$x$$ FROM t",
        "SELECT pg_advisory_unlock_all()",
        "SELECT array_agg(a ORDER BY b), ARRAY[1, 2], (ARRAY[1, 2])[1] FROM t",
        "SELECT make_interval(days => 3), a IS NOT DISTINCT FROM b, a ~* 'x', a || b, a << 2, NOT a FROM t",
    ] {
        // The bounded dialect reads as the engine's own.
        let engine = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        assert_eq!(shown(sql), format!("query {}", engine[0]));
    }
    assert_eq!(shown("SELECT 'a'\n 'b'"), "query SELECT 'ab'");
    assert_eq!(shown("SELECT /*+ hint */ 1"), "query SELECT 1");
}

#[test]
fn syntax_errors_as_postgres_says_them() {
    for (sql, message, position) in [
        ("SELECT 1 FORM t", "syntax error at or near \"t\"", 15),
        ("SELEC 1", "syntax error at or near \"SELEC\"", 1),
        ("SELECT * FROM", "syntax error at end of input", 14),
        ("SELECT 'ü';\n  SELECT (1", "syntax error at end of input", 24),
        ("SELECT 1; GRANT x y", "syntax error at or near \"y\"", 19),
        ("SELECT * FROM '/etc/hosts'", "syntax error at or near \"'/etc/hosts'\"", 15),
        ("SELECT * FROM t WHERE a = ?", "syntax error at or near \"?\"", 27),
        ("SELECT :x", "syntax error at or near \":\"", 8),
        ("DESCRIBE t", "syntax error at or near \"DESCRIBE\"", 1),
        ("FROM t", "syntax error at or near \"FROM\"", 1),
        ("\"select\" 1", "syntax error at or near \"\"select\"\"", 1),
        ("SHOW a b", "syntax error at or near \"b\"", 8),
        ("CREATE ROLE a PASSWORD secret1", "syntax error at or near \"'***'\"", 24),
    ] {
        let error = refused(sql);
        assert_eq!((error.message.as_str(), error.position), (message, Some(position)), "{sql}");
        assert_eq!(error.sqlstate, SqlState::SyntaxError, "{sql}");
    }
    let error = refused("SELECT 'abc");
    assert_eq!(error.message, "unterminated string literal");
    assert_eq!(error.position, Some(8));
}

#[test]
fn places_in_a_tree_are_places_in_the_query_string() {
    use datafusion::sql::sqlparser::ast::Spanned;
    let sql = "SELECT 'ü';\n\n SELECT\n  nosuch FROM t";
    let all = parse(sql).unwrap();
    let Statement::Query(query) = &all[1].statement else { panic!("a query") };
    let column = query.body.as_select().unwrap().projection[0].span();
    let position = all[1].position(column.start).unwrap();
    let found: String = sql.chars().skip(position - 1).take(6).collect();
    assert_eq!(found, "nosuch");
}

/// Parsing, copying and dropping the deepest tree there may be fits half a thread's usual stack.
#[test]
fn deep_statements_end_in_an_answer() {
    let kinds = [
        ("SELECT 1", " + 1", "", OPERATORS),
        ("SELECT 1", " OR true", "", OPERATORS),
        ("SELECT 1", "::int", "", OPERATORS),
        ("SELECT 1", " IS NULL", "", OPERATORS),
        ("SELECT 1", " UNION SELECT 1", "", SET_OPERATIONS),
        ("", "SELECT * FROM (", "SELECT 1", 20),
        ("SELECT ", "(", "1", 40),
        ("", "SELECT (", "SELECT 1", 20),
        ("SELECT ", "CASE WHEN true THEN ", "1", 40),
    ];
    for (before, again, core, times) in kinds {
        let closing = match again.trim_end() {
            "CASE WHEN true THEN" => " END",
            nested if nested.ends_with('(') => ")",
            _ => "",
        };
        let sql = format!("{before}{}{core}{}", again.repeat(times), closing.repeat(times));
        in_half_a_stack(move || drop(one(&sql).clone()));
        let sql = format!("{before}{}{core}{}", again.repeat(9_999), closing.repeat(9_999));
        in_half_a_stack(move || {
            let known = [SqlState::ProgramLimitExceeded, SqlState::SyntaxError];
            assert!(known.contains(&refused(&sql).sqlstate));
        });
    }
    // Shapes that the parser reads again and again.
    for (again, core, closing) in [
        ("convert(", "1", ")"),
        ("CASE WHEN true THEN ", "1", ""),
        ("CAST(", "1 1", " AS int)"),
        ("interval (", "1 1", ")"),
        ("ARRAY[", "1 1", "]"),
        ("NOT NOT (", "1", ")"),
    ] {
        let sql = format!("SELECT {}{core}{}", again.repeat(40), closing.repeat(40));
        let known = [SqlState::ProgramLimitExceeded, SqlState::SyntaxError];
        assert!(known.contains(&refused(&sql).sqlstate), "{sql}");
    }
    let sql = format!("SELECT {}1{}", "coalesce(".repeat(40), ")".repeat(40));
    one(&sql);
    let sql = format!("SELECT 1::int{}", "[]".repeat(100_000));
    in_half_a_stack(move || assert_eq!(refused(&sql).sqlstate, SqlState::ProgramLimitExceeded));
}

fn in_half_a_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1024 * 1024).spawn(run).unwrap().join().unwrap();
}
