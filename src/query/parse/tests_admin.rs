//! Administrators' statements, accepted and refused.

use super::tests::{one, refused};
use crate::error::SqlState;
use crate::policy::Format;
use crate::query::statement::{Admin, Statement};

fn admin(sql: &str) -> Admin {
    match one(sql).statement {
        Statement::Admin(admin) => admin,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn roles() {
    match admin(
        "CREATE ROLE Analyst_1 WITH LOGIN ENCRYPTED PASSWORD 'it''s' VALID UNTIL '2027-01-01' IN ROLE a, \"B\" NOSUPERUSER",
    ) {
        Admin::CreateRole(role) => {
            assert_eq!(role.name, "analyst_1");
            assert_eq!(role.login, Some(true));
            assert_eq!(role.password, Some(Some("it's".to_owned())));
            assert_eq!(role.valid_until.as_deref(), Some("2027-01-01"));
            assert_eq!(role.in_role, ["a", "B"]);
        }
        other => panic!("{other:?}"),
    }
    match admin("CREATE USER u") {
        Admin::CreateRole(role) => assert_eq!(role.login, Some(true)),
        other => panic!("{other:?}"),
    }
    match admin("ALTER USER \"Analyst\" PASSWORD NULL NOLOGIN") {
        Admin::AlterRole(role) => {
            assert_eq!((role.name.as_str(), role.login), ("Analyst", Some(false)));
            assert_eq!(role.password, Some(None));
        }
        other => panic!("{other:?}"),
    }
    for (sql, expected) in [
        (
            "ALTER ROLE a SET privacy.epsilon = 0.5",
            r#"AlterRoleSet { role: "a", name: "privacy.epsilon", value: Some("0.5") }"#,
        ),
        ("ALTER ROLE a RESET privacy.epsilon", r#"AlterRoleSet { role: "a", name: "privacy.epsilon", value: None }"#),
        ("DROP USER IF EXISTS a, b", r#"DropRole { names: ["a", "b"], if_exists: true }"#),
        (
            "GRANT insights_analyst, Auditor TO a, \"B\"",
            r#"GrantRole { roles: ["insights_analyst", "auditor"], to: ["a", "B"] }"#,
        ),
        ("REVOKE insights_analyst FROM a CASCADE", r#"RevokeRole { roles: ["insights_analyst"], from: ["a"] }"#),
        (
            "GRANT SELECT ON person, public.t TO a",
            r#"GrantSelect { tables: ["person", "t"], columns: None, to: ["a"] }"#,
        ),
        (
            "GRANT SELECT (Function, level) ON TABLE person TO a",
            r#"GrantSelect { tables: ["person"], columns: Some(["function", "level"]), to: ["a"] }"#,
        ),
        ("GRANT INSERT ON person, t TO a", r#"GrantInsert { tables: ["person", "t"], to: ["a"] }"#),
        ("REVOKE INSERT ON TABLE person FROM a", r#"RevokeInsert { tables: ["person"], from: ["a"] }"#),
        ("REVOKE SELECT ON person FROM a", r#"RevokeSelect { tables: ["person"], columns: None, from: ["a"] }"#),
    ] {
        assert_eq!(format!("{:?}", admin(sql)), expected, "{sql}");
    }
    for (sql, state) in [
        ("CREATE ROLE a SUPERUSER", SqlState::InsufficientPrivilege),
        ("CREATE ROLE a LOGIN LOGIN", SqlState::SyntaxError),
        ("CREATE ROLE a PASSWRD 'x'", SqlState::SyntaxError),
        ("GRANT ALL ON t TO a", SqlState::FeatureNotSupported),
        ("GRANT INSERT (b) ON t TO a", SqlState::FeatureNotSupported),
        ("GRANT SELECT, INSERT ON t TO a", SqlState::FeatureNotSupported),
        ("GRANT SELECT ON t TO a WITH GRANT OPTION", SqlState::FeatureNotSupported),
        ("GRANT a TO b WITH ADMIN OPTION", SqlState::FeatureNotSupported),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO a", SqlState::FeatureNotSupported),
        ("GRANT SELECT ON audit.query_log TO a", SqlState::UndefinedTable),
    ] {
        assert_eq!(refused(sql).sqlstate, state, "{sql}");
    }
}

#[test]
fn views_and_references() {
    match admin("CREATE OR REPLACE VIEW public.V (a, \"B\") WITH (security_invoker) AS\n  SELECT x, 'ü' FROM t -- all")
    {
        Admin::CreateView { name, columns, security_invoker, metric: false, or_replace, definition, query } => {
            assert_eq!((name.as_str(), security_invoker, or_replace), ("v", true, true));
            assert_eq!(columns.unwrap(), ["a", "B"]);
            assert_eq!(definition, "SELECT x, 'ü' FROM t");
            assert_eq!(query.to_string(), "SELECT x, 'ü' FROM t");
        }
        other => panic!("{other:?}"),
    }
    match admin("CREATE VIEW v AS (VALUES (1))") {
        Admin::CreateView { columns: None, security_invoker: false, or_replace: false, definition, .. } => {
            assert_eq!(definition, "(VALUES (1))");
        }
        other => panic!("{other:?}"),
    }
    let reference = |key: &str| {
        format!(r#"AddReference {{ table: "t", reference: Reference {{ column: "a", table: "p", key: {key} }} }}"#)
    };
    for (sql, expected) in [
        (
            "DROP VIEW IF EXISTS v, public.w RESTRICT",
            r#"DropView { names: ["v", "w"], if_exists: true, cascade: false }"#.to_owned(),
        ),
        (
            "DROP VIEW paravent.public.v CASCADE",
            r#"DropView { names: ["v"], if_exists: false, cascade: true }"#.to_owned(),
        ),
        ("ALTER VIEW v RENAME TO w", r#"RenameView { name: "v", to: "w", if_exists: false }"#.to_owned()),
        (
            "ALTER TABLE IF EXISTS public.v RENAME TO \"W\"",
            r#"RenameView { name: "v", to: "W", if_exists: true }"#.to_owned(),
        ),
        ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p", reference("None")),
        ("ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES public.p (k)", reference(r#"Some("k")"#)),
    ] {
        assert_eq!(format!("{:?}", admin(sql)), expected, "{sql}");
    }
    match admin(
        "CREATE EXTERNAL TABLE t (a int REFERENCES p, b int, FOREIGN KEY (b) REFERENCES q (k)) STORED AS CSV LOCATION 'x'",
    ) {
        Admin::CreateExternalTable { references, .. } => {
            let found: Vec<_> =
                references.iter().map(|r| (r.column.as_str(), r.table.as_str(), r.key.as_deref())).collect();
            assert_eq!(found, [("a", "p", None), ("b", "q", Some("k"))]);
        }
        other => panic!("{other:?}"),
    }
    for (sql, state) in [
        ("CREATE VIEW IF NOT EXISTS v AS SELECT 1", SqlState::FeatureNotSupported),
        ("CREATE VIEW v AS SELECT 1 WITH CHECK OPTION", SqlState::FeatureNotSupported),
        ("CREATE VIEW v WITH (security_barrier) AS SELECT 1", SqlState::InvalidParameterValue),
        ("CREATE VIEW v WITH (security_invoker = perhaps) AS SELECT 1", SqlState::InvalidParameterValue),
        ("CREATE VIEW v", SqlState::SyntaxError),
        ("ALTER TABLE t ADD FOREIGN KEY (a, b) REFERENCES p", SqlState::FeatureNotSupported),
        ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p ON DELETE CASCADE", SqlState::FeatureNotSupported),
    ] {
        assert_eq!(refused(sql).sqlstate, state, "{sql}");
    }
}

#[test]
fn tables() {
    match admin(
        "CREATE EXTERNAL TABLE IF NOT EXISTS public.Mail (sender int NOT NULL, \"At\" timestamp, n bigint UNIQUE, PRIMARY KEY (sender, \"At\")) \
         STORED AS CSV LOCATION '/data/mail/' OPTIONS (delimiter ';', 'format.has_header' true, timestamp_format = '%Y')",
    ) {
        Admin::CreateExternalTable { name, location, columns, unique_keys, references, if_not_exists } => {
            assert!(references.is_empty());
            assert!(if_not_exists);
            assert_eq!((name.as_str(), location.url.as_str()), ("mail", "/data/mail/"));
            assert_eq!(location.format, Format::Csv);
            let options: Vec<_> = location.options.into_iter().collect();
            let expected = [("delimiter", ";"), ("header", "true"), ("timestamp_format", "%Y")];
            assert_eq!(options, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
            let columns: Vec<_> = columns.iter().map(|c| (c.name.as_str(), c.not_null)).collect();
            assert_eq!(columns, [("sender", true), ("At", true), ("n", false)]);
            assert_eq!(unique_keys.len(), 2);
            assert!(!unique_keys[0].primary && unique_keys[1].primary);
        }
        other => panic!("{other:?}"),
    }
    for (sql, expected) in [
        (
            "ALTER TABLE t SET (person_key = 'Person_id', max_rows_per_person = 53, public = true, x)",
            r#"AlterTable { name: "t", options: [("person_key", Some("Person_id")), ("max_rows_per_person", Some("53")), ("public", Some("true")), ("x", Some("true"))] }"#,
        ),
        ("ALTER TABLE t RESET (public)", r#"AlterTable { name: "t", options: [("public", None)] }"#),
        (
            "ALTER TABLE t ALTER COLUMN C SET (class = 'measure', lower = -1.5, upper = 80)",
            r#"AlterColumn { table: "t", column: "c", options: [("class", Some("measure")), ("lower", Some("-1.5")), ("upper", Some("80"))] }"#,
        ),
        (
            "ALTER TABLE t ALTER \"C\" RESET (class, lower)",
            r#"AlterColumn { table: "t", column: "C", options: [("class", None), ("lower", None)] }"#,
        ),
        (
            "ALTER TABLE ONLY t ADD PRIMARY KEY (a, b)",
            r#"AddUniqueKey { table: "t", key: UniqueKey { columns: ["a", "b"], primary: true } }"#,
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a)",
            r#"AddUniqueKey { table: "t", key: UniqueKey { columns: ["a"], primary: false } }"#,
        ),
        ("DROP TABLE IF EXISTS a, public.b CASCADE", r#"DropTable { names: ["a", "b"], if_exists: true }"#),
    ] {
        assert_eq!(format!("{:?}", admin(sql)), expected, "{sql}");
    }
    for sql in [
        "ALTER TABLE t ADD COLUMN c int",
        "ALTER TABLE t ALTER COLUMN c SET NOT NULL",
        "ALTER TABLE t RENAME COLUMN a TO b",
        "ALTER TABLE t SET (a = 1), SET (b = 2)",
        "CREATE EXTERNAL TABLE t STORED AS JSON LOCATION 'x'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION ('a', 'b')",
        "CREATE EXTERNAL TABLE t (a int CHECK (a > 0)) STORED AS CSV LOCATION 'x'",
    ] {
        assert_eq!(refused(sql).sqlstate, SqlState::FeatureNotSupported, "{sql}");
    }
    assert_eq!(refused("CREATE EXTERNAL TABLE t STORED AS CSV").message, "LOCATION is missing");
}
