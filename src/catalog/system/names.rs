//! What Postgres calls an output column that has no AS (`FigureColname` in parse_target.c).
//!
//! In: expressions. Out: names; and aliases, since the engine wants every name in a projection once and Postgres does not.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{Expr, FunctionArguments, Ident, Query, Select, SelectItem, SetExpr, Statement};

use super::types::short_name;

const UNNAMED: &str = "?column?";

/// The names of a statement's columns, where they can be told from its text; `None` with a wildcard.
pub(super) fn output_names(statement: &Statement) -> Option<Vec<String>> {
    let Statement::Query(query) = statement else {
        return None;
    };
    names_of(&query.body)
}

fn names_of(body: &SetExpr) -> Option<Vec<String>> {
    match body {
        SetExpr::Select(select) => select
            .projection
            .iter()
            .map(|item| match item {
                SelectItem::UnnamedExpr(expr) => Some(output_name(expr)),
                SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
                _ => None,
            })
            .collect(),
        SetExpr::SetOperation { left, .. } => names_of(left),
        SetExpr::Query(query) => names_of(&query.body),
        _ => None,
    }
}

pub(super) fn output_name(expr: &Expr) -> String {
    figure(expr).1
}

/// A name and how sure it is: 2 from a column or a function, 1 from a cast or CASE, 0 none.
fn figure(expr: &Expr) -> (u8, String) {
    let sure = |name: &str| (2, name.to_owned());
    match expr {
        Expr::Identifier(ident) => (2, folded(ident)),
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(last) => (2, folded(last)),
            None => (0, UNNAMED.to_owned()),
        },
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::Function(function) => match &function.args {
            FunctionArguments::Subquery(_) => sure("array"),
            FunctionArguments::None | FunctionArguments::List(_) => {
                let last = function.name.0.last().and_then(|part| part.as_ident());
                (2, last.map_or_else(|| UNNAMED.to_owned(), folded))
            }
        },
        Expr::Cast { expr, data_type, .. } => match figure(expr) {
            (2, name) => (2, name),
            _ => (1, short_name(&data_type.to_string())),
        },
        Expr::Case { else_result, .. } => match else_result.as_deref().map(figure) {
            Some((2, name)) => (2, name),
            _ => (1, "case".to_owned()),
        },
        Expr::Subquery(query) => (2, subquery_name(query)),
        Expr::Exists { .. } => sure("exists"),
        Expr::Array(_) => sure("array"),
        Expr::Extract { .. } => sure("extract"),
        Expr::Substring { .. } => sure("substring"),
        Expr::Trim { .. } => sure("btrim"),
        Expr::Position { .. } => sure("position"),
        _ => (0, UNNAMED.to_owned()),
    }
}

fn subquery_name(query: &Query) -> String {
    let names = names_of(&query.body);
    let first = names.and_then(|names| names.into_iter().next());
    first.unwrap_or_else(|| UNNAMED.to_owned())
}

/// Gives every expression of a projection a name of its own. Names of plain columns stay as they are.
pub(super) fn alias_projection(select: &mut Select) {
    let mut taken: HashSet<String> = HashSet::new();
    let mut columns: HashSet<String> = HashSet::new();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) if is_column(expr) => {
                taken.insert(output_name(expr));
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                taken.insert(folded(alias));
            }
            SelectItem::UnnamedExpr(_) => {}
            _ => return,
        }
    }
    if select.projection.len() < 2 {
        return;
    }
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        if is_column(expr) && columns.insert(expr.to_string()) {
            continue;
        }
        let base = output_name(expr);
        let mut name = base.clone();
        let mut number = 1;
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{base} {number}");
        }
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}
