//! SQL in, rows or refusals out, for an administrator, an analyst and somebody without grants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::{SystemCatalog, SystemSession, View, is_system_query};
use crate::error::{Error, SqlState};
use crate::policy::{
    Access, Bounds, Class, Column, Format, Grant, Location, Policies, Role, Table, UniqueKey,
};

const PSQL: &str = include_str!("psql_15.sql");

fn column(name: &str, data_type: &str, class: Class) -> Column {
    Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable: true,
        class: Some(class),
        bounds: (class == Class::Measure).then(|| Bounds::new(0.0, 80.0).unwrap()),
    }
}

fn table(name: &str, columns: Vec<Column>, primary: &[&str]) -> Table {
    Table {
        name: name.to_owned(),
        location: Location {
            format: Format::Csv,
            url: "/nowhere/secret.csv".to_owned(),
            options: BTreeMap::new(),
        },
        columns,
        unique_keys: vec![UniqueKey {
            columns: primary.iter().map(|name| name.to_string()).collect(),
            primary: true,
        }],
        access: Access::Protected {
            policy: "people".to_owned(),
            person_key: "person_id".to_owned(),
        },
        max_rows_per_person: None,
        max_groups_per_person: None,
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
        table(
            "person_week",
            vec![id(), column("week", "Date32", Class::Attribute)],
            &["person_id", "week"],
        ),
        table("payroll", vec![id()], &["person_id"]),
    ] {
        policies.tables.insert(table.name.clone(), table);
    }
    for (name, group) in [
        ("ana", "insights_analyst"),
        ("bob", "insights_analyst"),
        ("adm", "insights_admin"),
    ] {
        let role = Role {
            login: true,
            member_of: BTreeSet::from([group.to_owned()]),
            ..Role::default()
        };
        policies.roles.insert(name.to_owned(), role);
    }
    policies.grants.push(Grant {
        role: "ana".to_owned(),
        table: "person".to_owned(),
        columns: None,
    });
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
        (
            "policy",
            Arc::new(StringArray::from(vec!["people"])) as ArrayRef,
        ),
        ("epsilon_left", Arc::new(Float64Array::from(vec![19.5]))),
    ])
    .unwrap();
    SystemSession {
        database: "demo".to_owned(),
        user: user.to_owned(),
        principal: policies.principal(user).unwrap(),
        policies: Arc::new(policies),
        views: vec![View {
            schema: "privacy",
            name: "budget",
            batch: budget,
        }],
        settings: BTreeMap::from([
            ("search_path".to_owned(), "\"$user\", public".to_owned()),
            ("TimeZone".to_owned(), "UTC".to_owned()),
        ]),
        backend_pid: 4711,
    }
}

fn parse(sql: &str) -> Statement {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
    assert_eq!(statements.len(), 1);
    statements.remove(0)
}

fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
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
    statements
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn all_that_psql_15_sends_is_answered() {
    let server = Server::new();
    let commands = PSQL.split("\n-- ").skip(1);
    let mut failed = Vec::new();
    for section in commands {
        let command = section.lines().next().unwrap();
        for user in ["ana", "adm"] {
            for sql in statements(command) {
                let sql = sql.replace("{oid}", &server.oid(user, "person").await);
                let statement = parse(&sql);
                assert!(is_system_query(&statement, &|_| false), "{sql}");
                let started = std::time::Instant::now();
                let answer = server.0.run(&session(user), &statement, &[]).await;
                eprintln!("{command} {:?}", started.elapsed());
                if let Err(error) = answer {
                    failed.push(format!("{command} as {user}: {error:?}\n{sql}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[tokio::test]
async fn probe() {
    let server = Server::new();
    for user in ["ana", "bob", "adm"] {
        for command in [
            "\\d",
            "\\d person",
            "\\d+ person",
            "\\du",
            "\\l",
            "\\dn",
            "\\di",
            "\\dp",
            "\\dt+",
        ] {
            if user == "bob" && command.contains("person") {
                continue;
            }
            eprintln!(
                "### {user} {command} {:#?}",
                server
                    .psql(
                        user,
                        command,
                        if user == "bob" { "pg_class" } else { "person" }
                    )
                    .await
            );
        }
    }
    for sql in [
        "SELECT 1",
        "SELECT version()",
        "SELECT current_user, session_user, user, current_schema, current_schema(), current_database(), current_catalog",
        "SELECT now(), current_date, current_timestamp",
        "SELECT current_setting('search_path'), current_setting('nope', true), pg_is_in_recovery(), pg_backend_pid()",
        "SELECT * FROM privacy.budget",
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog')",
        "SELECT column_name, data_type, is_nullable, ordinal_position FROM information_schema.columns WHERE table_name = 'person'",
        "SELECT 'person'::regclass, 'person'::regclass::oid, 'pg_class'::regclass::int",
        "SELECT has_table_privilege('person', 'SELECT'), has_table_privilege('payroll', 'SELECT'), has_table_privilege('person', 'INSERT'), has_table_privilege('ana', 'person', 'SELECT')",
        "SELECT unnest(current_schemas(true))",
        "SELECT * FROM generate_series(1, 3)",
        "SELECT count(*) FROM pg_trigger",
        "SELECT count(*), count(*) FROM pg_type",
        "SELECT oid, * FROM pg_namespace",
        "SELECT relname FROM pg_class c WHERE c.oid = 'person'::regclass",
        "SELECT typname FROM pg_type WHERE oid = 'integer'::regtype",
        "SELECT (SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace) FROM pg_class c WHERE relname = 'person'",
        "VALUES (1, 'a'), (2, 'b')",
        "SELECT relname FROM pg_class WHERE relkind = ANY (ARRAY['i','v']) ORDER BY 1",
        "SELECT relname FROM pg_class WHERE relkind = ANY ('{i}') ORDER BY 1",
        "SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relname='person' WHERE attnum = ANY ((SELECT i.indkey FROM pg_index i WHERE i.indrelid = 'person'::regclass))",
        "SELECT name, setting FROM pg_settings",
        "SELECT 1 UNION SELECT 2 ORDER BY 1",
        "SELECT 1/0",
        "SELECT * FROM person",
        "SELECT * FROM public.person",
        "SELECT * FROM nothing",
        "SELECT nope FROM pg_class",
        "SELECT nope(1)",
        "SELECT 'x'::text AS a, 1::int2 AS b, true, NULL",
        "SELECT * FROM information_schema.df_settings",
        "SELECT * FROM pg_authid",
        "SELECT * FROM '/etc/passwd'",
        "SELECT a.attname FROM pg_attribute a WHERE a.attrelid = 'person'::regclass AND attnum = ANY (SELECT unnest(i.indkey) FROM pg_index i WHERE i.indrelid = 'person'::regclass)",
        "SELECT c.relname FROM pg_class c WHERE c.oid = ANY (SELECT a.attrelid FROM pg_attribute a WHERE a.attname IN ('week', 'function')) ORDER BY 1",
        "SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relkind = ANY (ARRAY['r','p']) AND pg_catalog.pg_class.relpersistence != 't' AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != 'pg_catalog'",
        "SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, CASE n.nspname ~ '^pg_' OR n.nspname = 'information_schema' WHEN true THEN 'SYSTEM TABLE' WHEN false THEN CASE c.relkind WHEN 'r' THEN 'TABLE' ELSE NULL END ELSE NULL END AS TABLE_TYPE, d.description AS REMARKS, '' as TYPE_CAT FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 and d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid AND c.relname LIKE 'person%' AND c.relkind = 'r' ORDER BY TABLE_TYPE,TABLE_SCHEM,TABLE_NAME",
        "SELECT typname, typinput = 'array_in'::regproc, typtype FROM pg_catalog.pg_type LEFT JOIN (select ns.oid as nspoid, ns.nspname, r.r from pg_namespace as ns join ( select s.r, (current_schemas(false))[s.r] as nspname from generate_series(1, array_upper(current_schemas(false), 1)) as s(r) ) as r using ( nspname )) as sp ON sp.nspoid = typnamespace WHERE typname = 'int4' ORDER BY sp.r, pg_type.oid DESC LIMIT 1",
        "SELECT 'a'::varchar(3), 1::bigint, now()::date, 'pg_class'::regclass::oid, 1 + 1, CASE WHEN true THEN 1 END, CASE WHEN true THEN 1 ELSE pg_backend_pid() END",
        "SELECT oid::regclass::text FROM pg_class WHERE relname IN ('budget', 'person') ORDER BY 1",
    ] {
        let answer = server.0.run(&session("ana"), &parse(sql), &[]).await;
        match answer {
            Ok((s, b)) => eprintln!(
                "## {sql}\n   {:?}\n   {:?}",
                s.fields()
                    .iter()
                    .map(|f| format!("{} {}", f.name(), f.data_type()))
                    .collect::<Vec<_>>(),
                shown(&b)
            ),
            Err(e) => eprintln!("## {sql}\n   {e:?}"),
        }
    }
}
