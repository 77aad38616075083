//! What the benchmarks ask, of tables without files: the workload's questions and TPC-H's.
//!
//! In: the scripts and questions of `benches/workload/` and `tests/tpch/`. Out: each question, and what it is compiled against. The
//! tests of the compiler ask the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use paravent::catalog::files::arrow_schema;
use paravent::policy::{Change, Column, Format, Location, Mechanism, Policies, Role, UniqueKey};
use paravent::query::statement::{Admin, Statement};
use paravent::query::{Context, Functions, KnownTable, parse};
use paravent_udfs::{Delta, Epsilon};

#[path = "../../tests/tpch/questions.rs"]
mod tpch_questions;
#[allow(dead_code)]
#[path = "../workload/questions.rs"]
mod workload_questions;

/// Columns and types, as the files have them.
const TPCH: [(&str, &str); 8] = [
    ("region", "r_regionkey Int64, r_name Utf8View, r_comment Utf8View"),
    ("nation", "n_nationkey Int64, n_name Utf8View, n_regionkey Int64, n_comment Utf8View"),
    (
        "part",
        "p_partkey Int64, p_name Utf8View, p_mfgr Utf8View, p_brand Utf8View, p_type Utf8View, p_size Int32, \
         p_container Utf8View, p_retailprice Decimal128(15; 2), p_comment Utf8View",
    ),
    (
        "supplier",
        "s_suppkey Int64, s_name Utf8View, s_address Utf8View, s_nationkey Int64, s_phone Utf8View, \
         s_acctbal Decimal128(15; 2), s_comment Utf8View",
    ),
    (
        "partsupp",
        "ps_partkey Int64, ps_suppkey Int64, ps_availqty Int32, ps_supplycost Decimal128(15; 2), ps_comment Utf8View",
    ),
    (
        "customer",
        "c_custkey Int64, c_name Utf8View, c_address Utf8View, c_nationkey Int64, c_phone Utf8View, \
         c_acctbal Decimal128(15; 2), c_mktsegment Utf8View, c_comment Utf8View",
    ),
    (
        "orders",
        "o_orderkey Int64, o_custkey Int64, o_orderstatus Utf8View, o_totalprice Decimal128(15; 2), o_orderdate Date32, \
         o_orderpriority Utf8View, o_clerk Utf8View, o_shippriority Int32, o_comment Utf8View",
    ),
    (
        "lineitem",
        "l_orderkey Int64, l_partkey Int64, l_suppkey Int64, l_linenumber Int32, l_quantity Decimal128(15; 2), \
         l_extendedprice Decimal128(15; 2), l_discount Decimal128(15; 2), l_tax Decimal128(15; 2), l_returnflag Utf8View, \
         l_linestatus Utf8View, l_shipdate Date32, l_commitdate Date32, l_receiptdate Date32, l_shipinstruct Utf8View, \
         l_shipmode Utf8View, l_comment Utf8View",
    ),
];

const FLAT: &str = "person_id Int64, week Int32, week_start Date32, email_hours Float64, meeting_hours Float64, \
                    after_hours Float64, focus_hours Float64, call_hours Float64, email_count Int32, chat_count Int32, \
                    function Utf8View, level Utf8View, country Utf8View, org Utf8View";
const WORKLOAD: [(&str, &str); 6] = [
    ("people", "person_id Int64, manager_id Int64, function Utf8View, level Utf8View, country Utf8View, org Utf8View"),
    (
        "pw",
        "person_id Int64, week Int32, week_start Date32, email_hours Float64, meeting_hours Float64, \
         after_hours Float64, focus_hours Float64, call_hours Float64, email_count Int32, chat_count Int32",
    ),
    ("pwf", FLAT),
    ("pwf52", FLAT),
    ("pwf26", FLAT),
    ("events", "person_id Int64, ts Timestamp(s), kind Utf8View, minutes Float32, participants Int16"),
];

/// One of them.
pub struct Asked {
    pub name: String,
    /// `{n}` stands for a number that makes it another question.
    pub text: &'static str,
    around: Arc<Around>,
}

struct Around {
    policies: Arc<Policies>,
    functions: Arc<Functions>,
    tables: BTreeMap<String, KnownTable>,
}

/// All but those that need a view of their own.
pub fn questions() -> Vec<Asked> {
    let (workload, tpch) = (around(workload_tables()), around(tpch_tables()));
    let of_workload = workload_questions::QUESTIONS.iter().map(|question| Asked {
        name: question.name.to_owned(),
        text: question.protected,
        around: workload.clone(),
    });
    let tpch_questions = tpch_questions::QUESTIONS.iter().filter(|question| !question.text.contains("create view"));
    let of_tpch = tpch_questions.map(|question| Asked {
        name: format!("q{}", question.number),
        text: question.text,
        around: tpch.clone(),
    });
    of_workload.chain(of_tpch).collect()
}

fn around(policies: Policies) -> Arc<Around> {
    let known = policies.tables.values().map(|table| {
        let known = KnownTable {
            table: table.clone(),
            schema: arrow_schema(table).unwrap(),
            proven_keys: table.unique_keys.clone(),
            snapshot: "s".to_owned(),
            statistics: None,
        };
        (table.name.clone(), known)
    });
    let tables = known.collect();
    Arc::new(Around { policies: Arc::new(policies), functions: Arc::new(Functions::new()), tables })
}

impl Asked {
    /// `text`: what is asked in the place of this.
    pub fn context(&self, text: &str) -> Context {
        let now = DateTime::<Utc>::from_timestamp(0, 0).unwrap();
        Context {
            policies: self.around.policies.clone(),
            principal: self.around.policies.principal("ann", 0).unwrap(),
            tables: self.around.tables.clone(),
            views: BTreeMap::new(),
            access: BTreeMap::new(),
            subjects: BTreeMap::new(),
            viewer: None,
            scopes: Default::default(),
            functions: self.around.functions.clone(),
            epsilon: Epsilon::new(1.0).unwrap(),
            mechanism: Mechanism::Gaussian,
            delta: Delta::new(1e-9).unwrap(),
            show_suppressed: false,
            weights: Default::default(),
            purpose: None,
            now,
            moment: now,
            text: text.to_owned(),
        }
    }
}

fn tpch_tables() -> Policies {
    changed(files(&TPCH), include_str!("../../tests/tpch/schema.sql"))
}

fn workload_tables() -> Policies {
    let mut script = workload_questions::SCHEMA.to_owned();
    let mut class = |table: &str, column: &str, options: &str| {
        script += &format!("ALTER TABLE {table} ALTER COLUMN {column} SET ({options});\n");
    };
    for (table, columns) in WORKLOAD {
        for column in columns_of(columns) {
            let measure = workload_questions::MEASURES.iter().find(|(name, _)| *name == column.name);
            match (measure, column.name.as_str()) {
                (Some((name, upper)), _) => {
                    class(table, name, &format!("class = 'measure', lower = 0, upper = {upper}"))
                }
                (None, name @ ("person_id" | "manager_id")) => class(table, name, "class = 'identifier'"),
                (None, name) => class(table, name, "class = 'attribute'"),
            }
        }
    }
    for (table, _) in WORKLOAD {
        script += &format!("GRANT SELECT ON {table} TO insights_analyst;\n");
    }
    changed(files(&WORKLOAD), &script)
}

/// Tables that nobody has described yet, an administrator and an analyst.
fn files(tables: &[(&str, &str)]) -> Policies {
    let mut policies = Policies::new_with_built_ins();
    for (name, group) in [("root", "insights_admin"), ("ann", "insights_analyst")] {
        let role = Role { login: true, member_of: [group.to_owned()].into(), ..Role::default() };
        policies.roles.insert(name.to_owned(), role);
    }
    tables.iter().fold(policies, |policies, (name, columns)| {
        let location = Location { format: Format::Parquet, url: String::new(), options: BTreeMap::new() };
        let (name, columns) = ((*name).to_owned(), columns_of(columns));
        let (unique_keys, references) = (Vec::<UniqueKey>::new(), Vec::new());
        made(policies, Change::CreateTable { name, location, columns, unique_keys, references, if_not_exists: false })
    })
}

fn columns_of(columns: &str) -> Vec<Column> {
    let column = |written: &str| {
        let (name, data_type) = written.trim().split_once(' ').unwrap();
        Column {
            name: name.to_owned(),
            data_type: data_type.replace(';', ","),
            nullable: true,
            class: None,
            bounds: None,
            domain: None,
            rules: Default::default(),
            form: None,
        }
    };
    columns.split(',').map(column).collect()
}

/// What an administrator says of them.
fn changed(policies: Policies, script: &str) -> Policies {
    parse::parse(script).unwrap().into_iter().fold(policies, |policies, parsed| match parsed.statement {
        Statement::Admin(Admin::CreateExternalTable { .. }) => policies,
        Statement::Admin(Admin::AlterTable { name, options }) => made(policies, Change::AlterTable { name, options }),
        Statement::Admin(Admin::AlterColumn { table, column, options }) => {
            made(policies, Change::AlterColumn { table, column, options })
        }
        Statement::Admin(Admin::AddUniqueKey { table, key }) => made(policies, Change::AddUniqueKey { table, key }),
        Statement::Admin(Admin::GrantSelect { tables, to, .. }) => {
            tables.into_iter().fold(policies, |policies, table| {
                made(policies, Change::GrantSelect { table, columns: None, to: to[0].clone() })
            })
        }
        other => panic!("not expected here: {other:?}"),
    })
}

fn made(policies: Policies, change: Change) -> Policies {
    let actor = policies.principal("root", 0).unwrap();
    policies.apply(&actor, change).unwrap_or_else(|error| panic!("{error:?}"))
}
