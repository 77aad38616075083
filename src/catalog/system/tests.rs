//! SQL in, rows or refusals out, for an administrator, an analyst and somebody without grants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::{SystemCatalog, SystemSession, View, is_system_query};
use crate::error::{Error, SqlState};
use crate::policy::{Access, Bounds, Class, Column, Format, Grant, Location, Policies, Role, Table, UniqueKey};

const PSQL: &str = include_str!("psql_15.sql");

fn column(name: &str, data_type: &str, class: Class) -> Column {
    Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable: true,
        class: Some(class),
        bounds: (class == Class::Measure).then(|| Bounds::new(0.0, 80.0).unwrap()),
        domain: None,
        rules: Default::default(),
    }
}

fn table(name: &str, columns: Vec<Column>, primary: &[&str]) -> Table {
    Table {
        name: name.to_owned(),
        location: Location { format: Format::Csv, url: "/nowhere/secret.csv".to_owned(), options: BTreeMap::new() },
        columns,
        unique_keys: vec![UniqueKey { columns: primary.iter().map(|name| name.to_string()).collect(), primary: true }],
        foreign_keys: vec![],
        access: Access::Protected { policy: "people".to_owned(), person_key: "person_id".to_owned() },
        max_rows_per_person: None,
        max_groups_per_person: None,
        purpose_required: false,
        manager_key: None,
        row_policies: vec![],
    }
}

fn policies() -> Policies {
    let mut policies = Policies::new_with_built_ins();
    let id = || column("person_id", "Int64", Class::Identifier);
    for table in [
        table(
            "person",
            vec![
                id(),
                column("function", "Utf8View", Class::Attribute),
                column("Hours", "Float64", Class::Measure),
                column("hired", "Timestamp(µs)", Class::Attribute),
            ],
            &["person_id"],
        ),
        table("person_week", vec![id(), column("week", "Date32", Class::Attribute)], &["person_id", "week"]),
        table("payroll", vec![id()], &["person_id"]),
    ] {
        policies.tables.insert(table.name.clone(), table);
    }
    for (name, group) in [("ana", "insights_analyst"), ("bob", "insights_analyst"), ("adm", "insights_admin")] {
        let role = Role { login: true, member_of: BTreeSet::from([group.to_owned()]), ..Role::default() };
        policies.roles.insert(name.to_owned(), role);
    }
    policies.grants.push(Grant { role: "ana".to_owned(), table: "person".to_owned(), columns: None });
    policies.grants.push(Grant {
        role: "ana".to_owned(),
        table: "person_week".to_owned(),
        columns: Some(BTreeSet::from(["week".to_owned()])),
    });
    policies
}

fn session(user: &str) -> SystemSession {
    let policies = policies();
    let budget = RecordBatch::try_from_iter([
        ("policy", Arc::new(StringArray::from(vec!["people"])) as ArrayRef),
        ("epsilon_left", Arc::new(Float64Array::from(vec![19.5]))),
    ])
    .unwrap();
    SystemSession {
        database: "demo".to_owned(),
        user: user.to_owned(),
        principal: policies.principal(user, 0).unwrap(),
        policies: Arc::new(policies),
        views: vec![View::of_rows("privacy", "budget", budget).unwrap()],
        settings: BTreeMap::from([
            ("search_path".to_owned(), "\"$user\", public".to_owned()),
            ("TimeZone".to_owned(), "UTC".to_owned()),
        ]),
        backend_pid: 4711,
        cursors: vec![],
        activity: vec![],
        signals: Default::default(),
        moments: super::Moments { transaction: 1_000_001, statement: 2_000_002 },
        settings_made: Arc::default(),
    }
}

pub(super) fn parse(sql: &str) -> Statement {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
    assert_eq!(statements.len(), 1);
    statements.remove(0)
}

fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            rows.push(cells.join("|"));
        }
    }
    rows
}

struct Server(SystemCatalog);

impl Server {
    fn new() -> Self {
        Self(SystemCatalog::new().unwrap())
    }

    async fn rows(&self, user: &str, sql: &str) -> Vec<String> {
        let answer = self.0.run(&session(user), &parse(sql), &[]).await;
        let (_, batches) = answer.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
        shown(&batches)
    }

    async fn names(&self, user: &str, sql: &str) -> Vec<String> {
        let (schema, _) = self.0.run(&session(user), &parse(sql), &[]).await.unwrap();
        let names = schema.fields().iter().map(|field| field.name().clone());
        names.collect()
    }

    async fn refusal(&self, user: &str, sql: &str) -> Error {
        let answer = self.0.run(&session(user), &parse(sql), &[]).await;
        answer.map(|(_, rows)| shown(&rows)).unwrap_err()
    }

    async fn oid(&self, user: &str, table: &str) -> String {
        let sql = format!("SELECT oid FROM pg_class WHERE relname = '{table}'");
        self.rows(user, &sql).await.remove(0)
    }

    /// The rows of a psql command's statements, one list a statement.
    async fn psql(&self, user: &str, command: &str, table: &str) -> Vec<Vec<String>> {
        let oid = self.oid(user, table).await;
        let mut answers = Vec::new();
        for sql in statements(command) {
            answers.push(self.rows(user, &sql.replace("{oid}", &oid)).await);
        }
        answers
    }
}

fn statements(command: &str) -> Vec<String> {
    let section = PSQL
        .split("\n-- ")
        .find_map(|section| section.strip_prefix(&format!("{command}\n")))
        .unwrap_or_else(|| panic!("no section {command}"));
    let statements = section.split(";\n").map(str::trim);
    statements.filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn all_that_psql_15_sends_is_answered() {
    let server = Server::new();
    let mut failed = Vec::new();
    for section in PSQL.split("\n-- ").skip(1) {
        let command = section.lines().next().unwrap();
        for user in ["ana", "adm"] {
            let oid = server.oid(user, "person").await;
            for sql in statements(command) {
                let statement = parse(&sql.replace("{oid}", &oid));
                assert!(is_system_query(&statement, &|_| false), "{sql}");
                if let Err(error) = server.0.run(&session(user), &statement, &[]).await {
                    failed.push(format!("{command} as {user}: {error:?}\n{sql}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[tokio::test]
async fn tables_are_listed_to_those_who_may_see_them() {
    let server = Server::new();
    let person = "public|person|table|insights_admin";
    let week = "public|person_week|table|insights_admin";
    let pay = "public|payroll|table|insights_admin";
    for command in ["\\d", "\\dt"] {
        let listed = |user| server.psql(user, command, "pg_class");
        assert_eq!(listed("ana").await, [[person, week]]);
        assert_eq!(listed("bob").await, [[""; 0]]);
        assert_eq!(listed("adm").await, [[pay, person, week]]);
    }
    let mut tab = server.psql("ana", "tab", "person").await;
    assert_eq!(tab.remove(0), ["person|-", "person_week|-"]);
    let sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(server.rows("ana", sql).await, ["person", "person_week"]);
    assert!(server.rows("bob", sql).await.is_empty());
}

#[tokio::test]
async fn a_table_is_described() {
    let server = Server::new();
    let answers = server.psql("ana", "\\d person", "person").await;
    assert!(answers[0][0].ends_with("|public|person"));
    assert_eq!(answers[1], ["0|r|true|false|false|false|false|false|false||0||p|d|heap"]);
    assert_eq!(
        answers[2],
        [
            "person_id|bigint|-|true|-||",
            "function|text|-|false|-||",
            "Hours|double precision|-|false|-||",
            "hired|timestamp without time zone|-|false|-||",
        ]
    );
    assert_eq!(
        answers[3],
        [
            "person_pkey|true|true|false|true|CREATE UNIQUE INDEX person_pkey ON public.person USING btree (person_id)|PRIMARY KEY (person_id)|p|false|false|false|0"
        ]
    );
    assert!(answers[4..].iter().all(Vec::is_empty));
    let verbose = server.psql("ana", "\\d+ person", "person").await;
    assert_eq!(verbose[1][0], "person_id|bigint|-|true|-|||p||-|identifier");
    assert_eq!(verbose[1][2], "Hours|double precision|-|false|-|||p||-|measure, 0 to 80");
}

#[tokio::test]
async fn only_granted_columns_exist() {
    let server = Server::new();
    let sql = "SELECT a.attname FROM pg_attribute a WHERE a.attrelid = 'person_week'::regclass ORDER BY attnum";
    assert_eq!(server.rows("ana", sql).await, ["week"]);
    assert_eq!(server.rows("adm", sql).await, ["person_id", "week"]);
    assert!(server.rows("bob", sql).await.is_empty());
    // A key that is not wholly visible is none, and the comment does not name the person key either.
    let sql = "SELECT conname FROM pg_constraint ORDER BY 1";
    assert_eq!(server.rows("ana", sql).await, ["person_pkey"]);
    let sql = "SELECT obj_description('person_week'::regclass, 'pg_class')";
    assert_eq!(server.rows("ana", sql).await, ["protected: privacy policy people"]);
    let sql = "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = 'person' AND ordinal_position < 3";
    assert_eq!(server.rows("ana", sql).await, ["person_id|bigint|NO", "function|text|YES"]);
}

#[tokio::test]
async fn roles_databases_and_schemas_are_listed() {
    let server = Server::new();
    let groups = [
        "auditor",
        "business_leader",
        "carrier",
        "collector",
        "group_manager",
        "insights_admin",
        "insights_analyst",
        "platform_admin",
    ]
    .map(|name| format!("{name}|false|true|false|false|false|-1|-|[]|false|false"));
    let ana = "ana|false|true|false|false|true|-1|-|[insights_analyst]|false|false";
    let seen = server.psql("ana", "\\du", "person").await.remove(0);
    assert_eq!(seen, [&[ana.to_owned()], &groups[..]].concat());
    let all = server.psql("adm", "\\du", "person").await.remove(0);
    assert_eq!(all.len(), 11);
    let databases = server.psql("ana", "\\l", "person").await.remove(0);
    assert_eq!(databases, ["demo|insights_admin|UTF8|C|C|-|libc|-"]);
    let schemas = server.psql("ana", "\\dn", "person").await.remove(0);
    assert_eq!(schemas, ["audit|insights_admin", "privacy|insights_admin", "public|insights_admin"]);
}

#[tokio::test]
async fn functions_about_the_session_answer() {
    let server = Server::new();
    for (sql, row) in [
        ("SELECT 1", "1"),
        ("SELECT version()", "PostgreSQL 16.4 (Paravent 0.1.0)"),
        ("SELECT current_user, session_user, user, current_schema, current_schema()", "ana|ana|ana|public|public"),
        ("SELECT current_database(), current_catalog, pg_backend_pid(), pg_is_in_recovery()", "demo|demo|4711|false"),
        ("SELECT current_setting('timezone'), current_setting('nope', true)", "UTC|-"),
        ("SELECT current_schemas(true), current_schemas(false)", "[pg_catalog, public]|[public]"),
        (
            "SELECT 'person'::regclass, 'pg_class'::regclass::oid, 'integer'::regtype::oid, 'bigint'::regtype",
            "person|1259|23|bigint",
        ),
        (
            "SELECT has_table_privilege('person', 'SELECT'), has_table_privilege('payroll', 'SELECT'), has_table_privilege('person', 'INSERT')",
            "true|false|false",
        ),
        (
            "SELECT has_table_privilege('ana', 'person', 'SELECT'), has_table_privilege('bob', 'person', 'SELECT')",
            "true|false",
        ),
        (
            "SELECT has_column_privilege('person', 'Hours', 'SELECT'), has_column_privilege('person_week', 'person_id', 'SELECT')",
            "true|false",
        ),
        ("SELECT pg_has_role('insights_analyst', 'USAGE'), pg_has_role('insights_admin', 'USAGE')", "true|false"),
        ("SELECT pg_relation_size('person'), pg_size_pretty(pg_total_relation_size('person'))", "-|-"),
        ("SELECT count(*), count(*) FROM pg_trigger", "0|0"),
        ("SELECT 'r' = ANY ('{r,v}'), 'x' = ANY (ARRAY['r']), 'x' <> ALL (ARRAY['r'])", "true|false|true"),
        (
            "SELECT (SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace) FROM pg_class c WHERE relname = 'person'",
            "public",
        ),
        ("SELECT typinput = 'int4in'::regproc FROM pg_type WHERE typname = 'int4'", "true"),
    ] {
        assert_eq!(server.rows("ana", sql).await, [row], "{sql}");
    }
    let sql = "SELECT relname FROM pg_class WHERE oid = ANY (SELECT attrelid FROM pg_attribute WHERE attname IN ('week', 'function')) ORDER BY 1";
    assert_eq!(server.rows("ana", sql).await, ["person", "person_week"]);
}

#[tokio::test]
async fn columns_are_named_and_typed_as_in_postgres() {
    let server = Server::new();
    let sql = "SELECT 1, 'a'::varchar(3), 1::bigint, now()::date, count(*), NULL, 'person'::regclass, CASE WHEN true THEN 1 END";
    assert_eq!(
        server.names("ana", sql).await,
        ["?column?", "varchar", "int8", "now", "count", "?column?", "regclass", "case"]
    );
    assert_eq!(server.names("ana", "SELECT oid, * FROM pg_namespace").await[..3], ["oid", "oid", "nspname"]);
    let (parameters, schema) = server.0.describe(&session("ana"), &parse("SELECT 1, NULL, now()")).await.unwrap();
    assert!(parameters.is_empty());
    let types: Vec<String> = schema.fields().iter().map(|f| f.data_type().to_string()).collect();
    assert_eq!(types, ["Int32", "Utf8", "Timestamp(µs, \"+00:00\")"]);
}

#[tokio::test]
async fn parameters_are_typed_and_bound() {
    let server = Server::new();
    let session = session("ana");
    let statement = parse("SELECT relname FROM pg_class WHERE relname = $1 AND relkind = ANY ($2::text[])");
    let (types, _) = server.0.describe(&session, &statement).await.unwrap();
    assert_eq!(types[0], DataType::Utf8);
    let kinds = ScalarValue::List(ScalarValue::new_list(
        &[ScalarValue::from("r"), ScalarValue::from("v")],
        &DataType::Utf8,
        true,
    ));
    let values = [ScalarValue::from("person"), kinds];
    let (_, rows) = server.0.run(&session, &statement, &values).await.unwrap();
    assert_eq!(shown(&rows), ["person"]);
    let statement = parse("SELECT $1::regclass::oid = 1259");
    let values = [ScalarValue::from("pg_class")];
    let (_, rows) = server.0.run(&session, &statement, &values).await.unwrap();
    assert_eq!(shown(&rows), ["true"]);
}

#[tokio::test]
async fn the_products_views_hold_what_they_were_given() {
    let server = Server::new();
    assert_eq!(server.rows("ana", "SELECT * FROM privacy.budget").await, ["people|19.5"]);
    let sql = "SELECT schemaname, viewname FROM pg_views";
    assert_eq!(server.rows("ana", sql).await, ["privacy|budget"]);
    let gone = server.refusal("ana", "SELECT * FROM audit.query_log").await;
    assert_eq!(gone.sqlstate, SqlState::UndefinedTable);
}

#[tokio::test]
async fn nothing_else_can_be_reached_from_here() {
    let server = Server::new();
    for (sql, sqlstate) in [
        ("SELECT * FROM person", SqlState::FeatureNotSupported),
        ("SELECT count(*) FROM public.person", SqlState::FeatureNotSupported),
        ("SELECT * FROM '/etc/passwd'", SqlState::FeatureNotSupported),
        ("SELECT * FROM information_schema.df_settings", SqlState::UndefinedTable),
        ("SELECT * FROM pg_authid", SqlState::UndefinedTable),
        ("SELECT * FROM payroll", SqlState::FeatureNotSupported),
        ("SELECT * FROM not_there", SqlState::FeatureNotSupported),
        ("CREATE TABLE x AS SELECT 1", SqlState::FeatureNotSupported),
        ("INSERT INTO pg_class SELECT * FROM pg_class", SqlState::FeatureNotSupported),
        ("COPY (SELECT 1) TO '/tmp/x.csv'", SqlState::FeatureNotSupported),
        ("SELECT nope FROM pg_class", SqlState::UndefinedColumn),
        ("SELECT nope(1)", SqlState::UndefinedFunction),
        ("SELECT current_setting('nope')", SqlState::UndefinedObject),
    ] {
        let error = server.refusal("ana", sql).await;
        assert_eq!(error.sqlstate, sqlstate, "{sql}: {error:?}");
        assert!(!format!("{error:?}").contains("secret.csv"), "{sql}");
    }
}
