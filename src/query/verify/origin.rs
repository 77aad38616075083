//! Proves that no group key is made of an identifier, or of anything else that nobody may be shown.
//!
//! It follows every group key down to the columns of protected tables that it is made of. Whether a value is there at all, and how
//! many there are, is no part of the value. And that no cast brings keys together, which says two persons are one.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, ExprSchemable, LogicalPlan, TableScan};
use paravent_udfs::BoundGroups;

use super::unproven;
use crate::error::{Error, Result};
use crate::policy::{Access, Class};
use crate::query::context::{Context, Source, SourceKind};

/// Table and column.
pub(super) type Origins = BTreeSet<(String, String)>;

pub(super) fn verify(context: &Context, states: &Aggregate) -> Result<()> {
    for key in &states.group_expr {
        for (table, column) in of_expression(key, &states.input)? {
            let known = context.tables.get(&table).ok_or_else(Error::internal)?;
            let class = known.table.columns.iter().find(|c| c.name == column).and_then(|c| c.class);
            match class {
                Some(Class::Attribute | Class::Measure | Class::Public) => {}
                Some(Class::Identifier | Class::Sensitive | Class::Hidden | Class::Content) | None => {
                    return Err(unproven("a group key that nobody may be shown"));
                }
            }
        }
    }
    Ok(())
}

/// Proves that no cast brings two persons' keys together: what is read as an integer was one that fits. ('1' and '01' are two
/// persons, and so are 'a' and 'b', which both become NULL.)
pub(super) fn verify_casts(context: &Context, plan: &LogicalPlan) -> Result<()> {
    for input in plan.inputs() {
        for expression in plan.expressions() {
            verify_casts_of(context, &expression, input)?;
        }
        verify_casts(context, input)?;
    }
    Ok(())
}

fn verify_casts_of(context: &Context, expression: &Expr, input: &LogicalPlan) -> Result<()> {
    let mut inner: Vec<&Expr> = Vec::new();
    let _ = expression.apply(|part| {
        match part {
            Expr::Cast(cast) if cast.field.data_type() == &DataType::Int64 => inner.push(&cast.expr),
            Expr::TryCast(cast) if cast.field.data_type() == &DataType::Int64 => inner.push(&cast.expr),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    for inner in inner {
        let here = inner.column_refs().iter().all(|column| input.schema().has_column(column));
        let Some(from) = inner.get_type(input.schema().as_ref()).ok().filter(|_| here) else { continue };
        let fits = from.is_signed_integer() || (from.is_unsigned_integer() && from != DataType::UInt64);
        if !fits && of_expression(inner, input)?.iter().any(|origin| names_a_person(context, origin)) {
            return Err(unproven("a cast that brings persons' keys together"));
        }
    }
    Ok(())
}

fn names_a_person(context: &Context, (table, column): &(String, String)) -> bool {
    context.tables.get(table).is_none_or(|known| {
        let is_key = match &known.table.access {
            Access::Protected { person_key, .. } => person_key == column,
            Access::Linked { by, .. } => by.column == *column,
            Access::Public | Access::Unclassified | Access::Directory => false,
        };
        let class = known.table.columns.iter().find(|c| c.name == *column).and_then(|c| c.class);
        is_key || matches!(class, Some(Class::Identifier) | None)
    })
}

pub(super) fn of_expression(expression: &Expr, input: &LogicalPlan) -> Result<Origins> {
    let mut indices = BTreeSet::new();
    let mut whole = true;
    let _ = expression.apply(|part| {
        match part {
            Expr::IsNull(_) | Expr::IsNotNull(_) => return Ok(TreeNodeRecursion::Jump),
            Expr::Column(column) => match input.schema().maybe_index_of_column(column) {
                Some(index) => {
                    indices.insert(index);
                }
                None => whole = false,
            },
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if !whole {
        return Err(unproven("a column of nowhere"));
    }
    let mut origins = Origins::new();
    for index in indices {
        origins.extend(of_column(input, index)?);
    }
    Ok(origins)
}

pub(super) fn of_column(plan: &LogicalPlan, index: usize) -> Result<Origins> {
    match plan {
        LogicalPlan::TableScan(scan) => of_scan(scan, index),
        LogicalPlan::Projection(projection) => match projection.expr.get(index) {
            Some(expression) => of_expression(expression, &projection.input),
            None => Err(unproven("a column of nowhere")),
        },
        LogicalPlan::Filter(filter) => of_column(&filter.input, index),
        LogicalPlan::Sort(sort) => of_column(&sort.input, index),
        LogicalPlan::Limit(limit) => of_column(&limit.input, index),
        LogicalPlan::SubqueryAlias(alias) => of_column(&alias.input, index),
        LogicalPlan::Distinct(Distinct::All(input)) => of_column(input, index),
        LogicalPlan::Distinct(Distinct::On(on)) => match on.select_expr.get(index) {
            Some(expression) => of_expression(expression, &on.input),
            None => Err(unproven("a column of nowhere")),
        },
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate, index),
        LogicalPlan::Window(window) => {
            let width = window.input.schema().fields().len();
            match index.checked_sub(width).and_then(|i| window.window_expr.get(i)) {
                Some(function) => of_window(function, &window.input),
                None => of_column(&window.input, index),
            }
        }
        LogicalPlan::Join(join) => {
            let (left, right) = (width(join.left.schema()), width(join.right.schema()));
            let lefts = match join.join_type {
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => left,
                JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => 0,
            };
            match index.checked_sub(lefts) {
                None => of_column(&join.left, index),
                Some(at) if at < right && !is_mark(join.join_type) => of_column(&join.right, at),
                Some(at) if join.join_type == JoinType::RightMark && at < right => of_column(&join.right, at),
                // The mark says whether there is a partner.
                Some(_) => Ok(Origins::new()),
            }
        }
        LogicalPlan::Union(union) => {
            let mut origins = Origins::new();
            for input in &union.inputs {
                origins.extend(of_column(input, index)?);
            }
            Ok(origins)
        }
        LogicalPlan::Unnest(unnest) => match unnest.dependency_indices.get(index) {
            Some(below) => of_column(&unnest.input, *below),
            None => Err(unproven("a column of nowhere")),
        },
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<BoundGroups>() {
            Some(bound) => of_column(bound.input(), index),
            None => Err(unproven("an unknown operator below a release")),
        },
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(Origins::new()),
        LogicalPlan::Subquery(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::RecursiveQuery(_) => Err(unproven("an operator that is not allowed below a release")),
    }
}

/// What a window function is computed of; where its rows begin and in which order they stand is no part of a value.
fn of_window(function: &Expr, input: &LogicalPlan) -> Result<Origins> {
    match function {
        Expr::Alias(alias) => of_window(&alias.expr, input),
        Expr::WindowFunction(call) => {
            let mut origins = Origins::new();
            for argument in &call.params.args {
                origins.extend(of_expression(argument, input)?);
            }
            Ok(origins)
        }
        _ => of_expression(function, input),
    }
}

fn is_mark(join: JoinType) -> bool {
    matches!(join, JoinType::LeftMark | JoinType::RightMark | JoinType::LeftSemi | JoinType::LeftAnti)
}

fn width(schema: &DFSchema) -> usize {
    schema.fields().len()
}

fn of_scan(scan: &TableScan, index: usize) -> Result<Origins> {
    let source = scan.source.downcast_ref::<Source>().ok_or_else(|| unproven("an unknown source"))?;
    match &source.kind {
        SourceKind::Protected(table) | SourceKind::Directory(table) | SourceKind::Opened(table) => {
            Ok(Origins::from([(table.clone(), scan.projected_schema.field(index).name().clone())]))
        }
        SourceKind::Public(_) | SourceKind::Released(_) => Ok(Origins::new()),
    }
}

/// A count says how many values there are, not which.
fn of_aggregate(aggregate: &Aggregate, index: usize) -> Result<Origins> {
    let keys = aggregate.group_expr.len();
    if aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
        let mut origins = Origins::new();
        for key in &aggregate.group_expr {
            origins.extend(of_expression(key, &aggregate.input)?);
        }
        return Ok(origins);
    }
    match aggregate.group_expr.get(index).or_else(|| aggregate.aggr_expr.get(index - keys)) {
        Some(expression) if index >= keys && is_count(expression) => Ok(Origins::new()),
        Some(expression) => of_expression(expression, &aggregate.input),
        None => Err(unproven("a column of nowhere")),
    }
}

fn is_count(expression: &Expr) -> bool {
    match expression {
        Expr::AggregateFunction(call) => call.func.name() == "count",
        Expr::Alias(alias) => is_count(&alias.expr),
        _ => false,
    }
}
