//! Selects over catalog tables that are always empty here: publications, triggers, inheritance, …
//!
//! In: a select and the names of empty relations. Out: where it cannot have a row, one that has the same output columns
//! and no relation at all. Clients ask much of these tables that the engine cannot plan, and the answer is always nothing.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, TableFactor,
    TableWithJoins, Value, Visit, Visitor,
};

use super::names::output_name;

/// True when it did so.
pub(super) fn without_rows(select: &mut Select, empty: &HashSet<String>) -> bool {
    let no_rows = select.from.iter().any(|from| has_no_rows(from, empty));
    let named = select
        .projection
        .iter()
        .all(|item| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }));
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    // One group of no rows is still a row: `SELECT count(*) FROM pg_trigger` is 0.
    let one_group = ungrouped && select.projection.iter().any(has_aggregate);
    if !no_rows || !named || one_group {
        return false;
    }
    let mut names = HashSet::new();
    for item in &mut select.projection {
        let mut name = match &*item {
            SelectItem::ExprWithAlias { alias, .. } => alias.clone(),
            SelectItem::UnnamedExpr(expr) => Ident::with_quote('"', output_name(expr)),
            _ => continue,
        };
        while !names.insert(name.value.clone()) {
            name = Ident::with_quote('"', format!("{} ", name.value));
        }
        *item = SelectItem::ExprWithAlias { expr: null_text(), alias: name };
    }
    select.from.clear();
    select.selection = Some(Expr::Value(Value::Boolean(false).with_empty_span()));
    select.group_by = GroupByExpr::Expressions(vec![], vec![]);
    select.having = None;
    select.distinct = None;
    true
}

/// Comma, inner and cross joins with an empty relation have no rows, nor has anything joined to their left afterwards.
fn has_no_rows(from: &TableWithJoins, empty: &HashSet<String>) -> bool {
    let mut nothing = is_empty(&from.relation, empty);
    for join in &from.joins {
        let right = is_empty(&join.relation, empty);
        nothing = match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => nothing || right,
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => nothing,
            _ => return false,
        };
    }
    nothing
}

fn is_empty(factor: &TableFactor, empty: &HashSet<String>) -> bool {
    let TableFactor::Table { name, args: None, .. } = factor else {
        return false;
    };
    let parts: Vec<String> = name.0.iter().filter_map(|part| Some(part.as_ident()?.value.to_lowercase())).collect();
    match parts.as_slice() {
        [name] => empty.contains(name),
        [schema, name] => schema == "pg_catalog" && empty.contains(name),
        _ => false,
    }
}

fn null_text() -> Expr {
    Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(Expr::Value(Value::Null.with_empty_span())),
        data_type: DataType::Text,
        array: false,
        format: None,
    }
}

fn has_aggregate(item: &SelectItem) -> bool {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => is_aggregate(expr),
        _ => true,
    }
}

/// Does an aggregate stand in the expression, outside of subqueries?
pub(super) fn is_aggregate(expr: &Expr) -> bool {
    expr.visit(&mut FindsAggregate { depth: 0 }).is_break()
}

struct FindsAggregate {
    depth: usize,
}

impl Visitor for FindsAggregate {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if self.depth == 0 && names_aggregate(function) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn names_aggregate(function: &Function) -> bool {
    let name = function.name.0.last().and_then(|part| part.as_ident());
    name.is_some_and(|name| AGGREGATES.contains(&name.value.to_lowercase().as_str()))
}

const AGGREGATES: [&str; 15] = [
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "first_value",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "last_value",
    "max",
    "min",
    "string_agg",
    "sum",
];
