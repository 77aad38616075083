//! Is a statement about the catalog only?
//!
//! In: a parsed statement and which names are user tables. Out: yes or no, and no wherever it is not sure: then the
//! statement takes the path of a protected query, which is the careful one.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, SetExpr, Statement, TableFactor, Visit, Visitor};
use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;

/// Schemas whose relations this room makes.
pub(super) const SYSTEM_SCHEMAS: [&str; 4] = ["pg_catalog", "information_schema", "privacy", "audit"];

/// Set-returning functions that stand where a relation stands and read none.
const SET_FUNCTIONS: [&str; 8] = [
    "generate_series",
    "generate_subscripts",
    "unnest",
    "pg_get_keywords",
    "pg_listening_channels",
    "string_to_array",
    "current_schemas",
    "_pg_expandarray",
];

/// True when every relation of the statement lies in pg_catalog, information_schema, privacy or audit (pg_catalog's also
/// without the schema's name), or it has none. A name that is a user table never is one of these, not even as the name
/// of a WITH query.
pub fn is_system_query(statement: &Statement, user_tables: &dyn Fn(&str) -> bool) -> bool {
    if !matches!(statement, Statement::Query(_)) {
        return false;
    }
    let mut names = WithNames(BTreeSet::new());
    let _ = statement.visit(&mut names);
    let mut only = OnlySystem { with_names: names.0, user_tables };
    statement.visit(&mut only).is_continue()
}

struct WithNames(BTreeSet<String>);

impl Visitor for WithNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.0.insert(folded(&table.alias.name));
        }
        ControlFlow::Continue(())
    }
}

struct OnlySystem<'a> {
    with_names: BTreeSet<String>,
    user_tables: &'a dyn Fn(&str) -> bool,
}

impl OnlySystem<'_> {
    fn allows(&self, name: &ObjectName) -> bool {
        let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(folded)).collect();
        match parts.as_deref() {
            Some([name]) => {
                !(self.user_tables)(name)
                    && (self.with_names.contains(name)
                        || is_catalog_relation(name)
                        || SET_FUNCTIONS.contains(&name.as_str()))
            }
            Some([schema, _]) | Some([_, schema, _]) => SYSTEM_SCHEMAS.contains(&schema.as_str()),
            _ => false,
        }
    }
}

impl Visitor for OnlySystem<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let plain = query.locks.is_empty() && is_plain(&query.body);
        verdict(plain)
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        verdict(self.allows(relation))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let known = match factor {
            TableFactor::Table { sample, version, .. } => sample.is_none() && version.is_none(),
            TableFactor::Function { name, .. } => self.allows(name),
            _ => matches!(
                factor,
                TableFactor::Derived { .. } | TableFactor::UNNEST { .. } | TableFactor::NestedJoin { .. }
            ),
        };
        verdict(known)
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        verdict(matches!(statement, Statement::Query(_)))
    }
}

/// Reads only: no INSERT inside WITH, no SELECT INTO, no TABLE shorthand.
fn is_plain(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::SetOperation { left, right, .. } => is_plain(left) && is_plain(right),
        _ => matches!(body, SetExpr::Query(_) | SetExpr::Values(_)),
    }
}

/// A relation that Postgres finds in pg_catalog without its schema.
pub(super) fn is_catalog_relation(name: &str) -> bool {
    PG_CATALOG_TABLES.contains(&name) || super::tables::NAMES.contains(&name)
}

/// Unquoted names are lower-case, quoted ones stand as they are.
fn folded(ident: &datafusion::sql::sqlparser::ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

fn verdict(good: bool) -> ControlFlow<()> {
    if good { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
