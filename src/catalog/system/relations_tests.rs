//! Statements in, whether they are about the catalog only out.

use super::is_system_query;
use super::tests::parse;

#[test]
fn system_queries_are_told_from_others() {
    let user_tables = |name: &str| ["person", "pg_mine", "pg_class2"].contains(&name);
    for (sql, expected) in [
        ("SELECT 1", true),
        ("SELECT now(), version()", true),
        ("SELECT * FROM pg_catalog.pg_class", true),
        ("SELECT * FROM pg_class", true),
        ("SELECT * FROM PG_CLASS c, information_schema.columns", true),
        ("SELECT * FROM demo.pg_catalog.pg_class", true),
        ("SELECT * FROM privacy.budget JOIN audit.query_log USING (policy)", true),
        ("WITH x AS (SELECT 1) SELECT * FROM x", true),
        ("SELECT * FROM generate_series(1, 3)", true),
        ("SELECT * FROM (SELECT oid FROM pg_type) t WHERE oid IN (SELECT 1)", true),
        ("VALUES (1)", true),
        ("SELECT * FROM person", false),
        ("SELECT * FROM public.pg_class", false),
        ("SELECT * FROM pg_mine", false),
        ("SELECT * FROM pg_nothing", false),
        ("SELECT * FROM \"PG_CLASS\"", false),
        ("SELECT * FROM pg_class WHERE oid IN (SELECT person_id FROM person)", false),
        ("SELECT (SELECT count(*) FROM person)", false),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM person)", false),
        ("SELECT 1 UNION SELECT person_id FROM person", false),
        ("WITH x AS (SELECT * FROM person) SELECT * FROM x", false),
        ("WITH person AS (SELECT 1) SELECT * FROM person", false),
        ("SELECT * FROM pg_class, LATERAL (SELECT * FROM person) p", false),
        ("SELECT * FROM pg_class ORDER BY (SELECT max(person_id) FROM person)", false),
        ("SELECT * FROM read_csv('/etc/passwd')", false),
        ("SELECT * FROM '/etc/passwd'", false),
        ("SELECT * INTO x FROM pg_class", false),
        ("SELECT * FROM pg_class FOR UPDATE", false),
        ("INSERT INTO pg_class VALUES (1)", false),
        ("EXPLAIN SELECT * FROM pg_class", false),
        ("WITH x AS (DELETE FROM person RETURNING 1) SELECT * FROM x", false),
    ] {
        assert_eq!(is_system_query(&parse(sql), &user_tables), expected, "{sql}");
    }
}
