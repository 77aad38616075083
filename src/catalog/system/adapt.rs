//! From the SQL that Postgres clients send about the catalog to SQL that the engine can plan, with the same answer.
//!
//! In: a parsed catalog statement. Out: the same statement in other words. Each step is local to one node of the syntax
//! tree and knows no client's text. Only catalog statements come here: none of this may touch a query over people.
//!
//! Laws that the steps use:
//! * A select whose FROM joins an empty relation (other than on the outer side) has no rows, whatever else it asks.
//! * A scalar subquery has at most one row, so it is the first value of itself; with an aggregate it can be decorrelated.
//! * `ARRAY(SELECT e …)` is `array_agg(e)`, or an empty array where that is null.
//! * `x = ANY (a)` is a function of x and a; `x <> ALL (a)` is its negation.
//! * The names of the roles in a list of OIDs are a function of the list.
//! * A name cast to `regclass` and its like is looked up; a number cast to it and to text is looked up the other way.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName,
    OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableFactor, UnaryOperator, Value, VisitMut,
    VisitorMut,
};
use datafusion_pg_catalog::sql::rules::{
    AliasDuplicatedProjectionRewrite, CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral,
    ResolveUnqualifiedIdentifier, RewritePgCatalogOperator, SqlStatementRewriteRule, StripCallableQualifier,
    StripCollate,
};

use super::correlated::is_correlated;
use super::empty::without_rows;
use super::expressions::reworded;
use super::names::alias_projection;
use super::policies::names_of_roles;
use super::reg_types::{outputs, reg_lookup, reg_name};
use super::relations::is_catalog_relation;
use super::set_functions::{column_name, in_from, in_select, series_in_select, unnest_beside};

/// What to do with a scalar subquery that refers to the query around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Correlated {
    Keep,
    /// The engine cannot decorrelate every one that clients send; what is left then is null, as a name that is not found.
    Null,
}

pub(super) fn adapt(statement: &Statement, empty: &HashSet<String>, correlated: Correlated) -> Statement {
    let rules: [&dyn SqlStatementRewriteRule; 7] = [
        &AliasDuplicatedProjectionRewrite,
        &ResolveUnqualifiedIdentifier,
        &StripCallableQualifier,
        &FixArrayLiteral,
        &CurrentUserVariableToSessionUserFunctionCall,
        &StripCollate,
        &RewritePgCatalogOperator,
    ];
    let mut statement = statement.clone();
    let _ = statement.visit(&mut Shape { empty });
    for rule in rules {
        statement = rule.rewrite(statement);
    }
    if let Statement::Query(query) = &mut statement {
        outputs(&mut query.body);
    }
    let _ = statement.visit(&mut Expressions { correlated });
    statement
}

/// Steps on whole selects, before any expression changes its look.
struct Shape<'a> {
    empty: &'a HashSet<String>,
}

impl VisitorMut for Shape<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_mut()
            && without_rows(select, self.empty)
        {
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        without_rows(select, self.empty);
        unnest_beside(select);
        series_in_select(select);
        alias_projection(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor
            && let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident()
            && is_catalog_relation(&ident.value.to_lowercase())
        {
            *name = ObjectName::from(vec![Ident::new("pg_catalog"), ident.clone()]);
        }
        in_from(factor);
        ControlFlow::Continue(())
    }
}

struct Expressions {
    correlated: Correlated,
}

impl VisitorMut for Expressions {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(new) = names_of_roles(expr) {
            *expr = new;
        }
        if self.correlated == Correlated::Null
            && let Some((query, is_array)) = subquery_of(expr)
            && is_correlated(query)
        {
            *expr = typed_null(query, is_array);
            return ControlFlow::Continue(());
        }
        // Before what is inside, so that the subquery of an IN keeps all its rows.
        let new = match expr {
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => Some(any(left, right, false)),
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => Some(any(left, right, true)),
            _ => reg_name(expr).or_else(|| reworded(expr)),
        };
        if let Some(new) = new {
            *expr = new;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let new = match expr {
            Expr::Cast { expr: operand, data_type, .. } => {
                reg_lookup(operand, data_type).or_else(|| qualified_type(operand, data_type))
            }
            Expr::Subquery(query) => {
                first_value(query);
                None
            }
            Expr::Function(function) => array_of(function).or_else(|| in_select(function)),
            _ => None,
        };
        if let Some(new) = new {
            *expr = new;
        }
        ControlFlow::Continue(())
    }
}

fn subquery_of(expr: &Expr) -> Option<(&Query, bool)> {
    match expr {
        Expr::Subquery(query) => Some((query, false)),
        Expr::Function(Function { args: FunctionArguments::Subquery(query), .. }) => Some((query, true)),
        _ => None,
    }
}

/// The one value of a subquery.
fn value_of(query: &Query) -> Option<&Expr> {
    match query.body.as_ref() {
        SetExpr::Select(select) => match select.projection.as_slice() {
            [SelectItem::UnnamedExpr(value)] => Some(value),
            _ => None,
        },
        _ => None,
    }
}

/// Null, as what the subquery's value would be: an array, an OID, else text.
fn typed_null(query: &Query, is_array: bool) -> Expr {
    let value = value_of(query);
    let gathers = |function: &Function| function.name.to_string().eq_ignore_ascii_case("array_agg");
    let is_array = is_array || matches!(value, Some(Expr::Function(function)) if gathers(function));
    let names_oid = |name: String| name.ends_with("oid") || name.ends_with("typid") || name == "typbasetype";
    let data_type = if is_array {
        DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None))
    } else if value.and_then(column_name).is_some_and(names_oid) {
        DataType::Int4(None)
    } else {
        DataType::Text
    };
    cast(Expr::Value(Value::Null.with_empty_span()), data_type)
}

/// `x = ANY (SELECT …)` is IN; `x = ANY (array)` and `x = ANY ((SELECT array))` are a function.
fn any(left: &Expr, right: &Expr, negated: bool) -> Expr {
    if let Expr::Subquery(query) = right {
        return Expr::InSubquery { expr: Box::new(left.clone()), subquery: query.clone(), negated };
    }
    let found = call("any_equals", vec![right.clone(), left.clone()]);
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(found) } } else { found }
}

/// `name` and `"char"` are types of pg_catalog, which the type planner knows by their full names.
fn qualified_type(operand: &Expr, data_type: &DataType) -> Option<Expr> {
    let DataType::Custom(name, modifiers) = data_type else {
        return None;
    };
    let [part] = name.0.as_slice() else {
        return None;
    };
    let ident = part.as_ident()?;
    if !modifiers.is_empty() || !["name", "char"].contains(&ident.value.as_str()) {
        return None;
    }
    let full = ObjectName::from(vec![Ident::new("pg_catalog"), Ident::new(&ident.value)]);
    Some(cast(operand.clone(), DataType::Custom(full, vec![])))
}

/// `(SELECT e FROM …)` becomes `(SELECT first_value(e) FROM …)`, with `ORDER BY … LIMIT 1` inside the aggregate.
fn first_value(query: &mut Query) {
    aggregate(query, "first_value");
}

fn array_of(function: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &function.args else {
        return None;
    };
    if !function.name.to_string().eq_ignore_ascii_case("array") {
        return None;
    }
    let mut query = query.clone();
    aggregate(&mut query, "array_agg");
    let nothing = Expr::Array(Array { elem: vec![], named: true });
    Some(call("coalesce", vec![Expr::Subquery(query), nothing]))
}

fn aggregate(query: &mut Query, name: &str) {
    if query.with.is_some() || query.fetch.is_some() {
        return;
    }
    if let Some(limit) = &query.limit_clause
        && (name == "array_agg" || !is_limit_one(limit))
    {
        return;
    }
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let constant = select.from.is_empty() && name != "array_agg";
    if grouped || select.having.is_some() || select.distinct.is_some() || constant {
        return;
    }
    let [item] = select.projection.as_mut_slice() else {
        return;
    };
    let value = match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
        _ => return,
    };
    if super::empty::is_aggregate(&value) {
        return;
    }
    let mut clauses = Vec::new();
    if let Some(order) = query.order_by.take()
        && let OrderByKind::Expressions(mut keys) = order.kind
    {
        for key in &mut keys {
            if matches!(&key.expr, Expr::Value(number) if number.value.to_string() == "1") {
                key.expr = value.clone();
            }
        }
        clauses.push(FunctionArgumentClause::OrderBy(keys));
    }
    query.limit_clause = None;
    let mut aggregated = call(name, vec![value]);
    if let Expr::Function(function) = &mut aggregated
        && let FunctionArguments::List(list) = &mut function.args
    {
        list.clauses = clauses;
    }
    *item = SelectItem::UnnamedExpr(aggregated);
}

fn is_limit_one(limit: &LimitClause) -> bool {
    match limit {
        LimitClause::LimitOffset { limit: Some(Expr::Value(number)), offset: None, .. } => {
            number.value.to_string() == "1"
        }
        _ => false,
    }
}

pub(super) fn cast(operand: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(operand), data_type, array: false, format: None }
}

pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
