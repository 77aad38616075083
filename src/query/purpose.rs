//! Keeps a query within the purpose that its session declared (requirements W16, W17).
//!
//! In: the verified plans, whose scans say what is really read. Out: nothing, or a refusal that names the rule and the purpose. Must never
//! let a query read a protected table or column that its purpose does not name. Public tables describe nobody, so no purpose names them.

use std::collections::BTreeSet;

use super::context::{Context, KnownTable};
use super::verify::Verified;
use crate::error::{Error, Result, SqlState};
use crate::policy::Purpose;

/// Errors: 42501 for what the purpose does not name, and for tables that need a purpose where there is none.
pub fn refuse_outside_purpose(context: &Context, verified: &Verified) -> Result<()> {
    let reads = verified.reads();
    match &context.purpose {
        Some(purpose) => reads.iter().try_for_each(|(table, columns)| within(context, purpose, table, columns)),
        None => match reads.keys().find(|table| needs_purpose(context, table)) {
            None => Ok(()),
            Some(table) => {
                Err(Error::new(SqlState::InsufficientPrivilege, format!("permission denied for table {table}"))
                    .detail("queries of this table need a live purpose, and the session declares none")
                    .hint(
                        "SET privacy.purpose = '…'; SELECT name FROM privacy.purposes WHERE state = 'live' names them",
                    ))
            }
        },
    }
}

fn needs_purpose(context: &Context, table: &str) -> bool {
    let required = |known: &KnownTable| known.table.purpose_required;
    context.policies.settings.purpose_required || context.tables.get(table).is_none_or(required)
}

fn within(context: &Context, purpose: &Purpose, table: &str, columns: &BTreeSet<String>) -> Result<()> {
    let denied = |what: String, detail: String| {
        Error::new(SqlState::InsufficientPrivilege, format!("permission denied for {what}"))
            .detail(detail)
            .hint("leave it out, or SET privacy.purpose to one that names it; privacy.purposes lists them")
    };
    let known = context.tables.get(table).ok_or_else(Error::internal)?;
    let outside = |name: &&String| {
        !leads(context, purpose, known, name)
            && known.table.column(name).is_none_or(|column| !purpose.covers(table, column))
    };
    let column = columns.iter().find(outside);
    if !purpose.tables.contains_key(table) && (column.is_some() || columns.is_empty()) {
        let detail = format!(
            "purpose \"{}\" does not name the table, and a query reads only what its purpose names",
            purpose.name
        );
        return Err(denied(format!("table {table}"), detail));
    }
    match column {
        None => Ok(()),
        Some(column) => {
            let detail = format!(
                "purpose \"{}\" does not name the column, and a query reads only what its purpose names",
                purpose.name
            );
            Err(denied(format!("column {column} of table {table}"), detail))
        }
    }
}

/// Is it only read because rows of a table that the purpose names, or of one that is read for such a table, find their person by it?
fn leads(context: &Context, purpose: &Purpose, known: &KnownTable, column: &str) -> bool {
    let table = &known.table;
    let mut named: Vec<&str> = purpose.tables.keys().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = named.pop() {
        let link = context.tables.get(name).and_then(|other| other.table.link());
        let Some(by) = link.filter(|_| seen.insert(name)) else { continue };
        let own = table.protection().map(|(_, key)| key).or(table.link().map(|by| by.column.as_str()));
        if by.table == table.name && (by.key == column || own == Some(column)) {
            return true;
        }
        named.push(&by.table);
    }
    false
}
