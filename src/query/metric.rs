//! What a metric shows: hidden columns through aggregates only (requirement W9).
//!
//! In: the plan of a view that an administrator defined `WITH (metric = true)`. Out: nothing, or a refusal of the view. Must never: hand
//! out a column of the view that has a hidden column's value, or one that was computed from it, without an aggregate in between.
//! Inside, hidden columns may also be joined and filtered on: that is the definition. What of it leaves is released like any measure.

use datafusion::common::JoinType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableScan};

use super::context::{Context, Source, SourceKind};
use crate::error::{Error, Result, SqlState};
use crate::policy::Class;

/// Errors: 42501 where a column of the view is a hidden one, or was computed from one without an aggregate.
pub(super) fn refuse_shown(context: &Context, view: &str, plan: &LogicalPlan) -> Result<()> {
    match (0..plan.schema().fields().len()).find(|index| of_column(context, plan, *index)) {
        None => Ok(()),
        Some(index) => {
            let column = plan.schema().field(index).name();
            Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("column \"{column}\" of metric {view} would show a hidden column"),
            )
            .detail("a metric shows hidden columns through aggregates only: as they are, they are nobody's to see or filter on")
            .hint("aggregate it, as in count(*) FILTER (WHERE …), max(…), sum(…)"))
        }
    }
}

/// Does the value in this column come from a hidden one, without an aggregate in between? What is not understood does.
fn of_column(context: &Context, plan: &LogicalPlan, index: usize) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => of_scan(context, scan, index),
        LogicalPlan::Projection(projection) => {
            projection.expr.get(index).is_none_or(|expression| of_expression(context, expression, &projection.input))
        }
        LogicalPlan::Filter(filter) => of_column(context, &filter.input, index),
        LogicalPlan::Sort(sort) => of_column(context, &sort.input, index),
        LogicalPlan::Limit(limit) => of_column(context, &limit.input, index),
        LogicalPlan::SubqueryAlias(alias) => of_column(context, &alias.input, index),
        LogicalPlan::Subquery(subquery) => of_column(context, &subquery.subquery, index),
        LogicalPlan::Distinct(Distinct::All(input)) => of_column(context, input, index),
        LogicalPlan::Distinct(Distinct::On(on)) => {
            on.select_expr.get(index).is_none_or(|expression| of_expression(context, expression, &on.input))
        }
        LogicalPlan::Aggregate(aggregate) => {
            // A grouping set puts a column of its own behind the keys.
            let sets = aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_)));
            match aggregate.group_expr.get(index) {
                _ if sets => aggregate.group_expr.iter().any(|key| of_expression(context, key, &aggregate.input)),
                Some(key) => of_expression(context, key, &aggregate.input),
                None => false,
            }
        }
        LogicalPlan::Window(window) => {
            let width = window.input.schema().fields().len();
            match index.checked_sub(width).and_then(|at| window.window_expr.get(at)) {
                Some(function) => of_expression(context, function, &window.input),
                None => of_column(context, &window.input, index),
            }
        }
        LogicalPlan::Join(join) => {
            let left = match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => 0,
                JoinType::Inner
                | JoinType::Left
                | JoinType::Right
                | JoinType::Full
                | JoinType::LeftSemi
                | JoinType::LeftAnti
                | JoinType::LeftMark => join.left.schema().fields().len(),
            };
            match index.checked_sub(left) {
                None => of_column(context, &join.left, index),
                Some(at) if at < join.right.schema().fields().len() => of_column(context, &join.right, at),
                Some(_) => true,
            }
        }
        LogicalPlan::Union(union) => union.inputs.iter().any(|input| of_column(context, input, index)),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => false,
        LogicalPlan::Unnest(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::RecursiveQuery(_) => true,
    }
}

fn of_expression(context: &Context, expression: &Expr, input: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = expression.apply(|part| {
        found |= match part {
            Expr::Column(column) => {
                input.schema().maybe_index_of_column(column).is_none_or(|index| of_column(context, input, index))
            }
            Expr::ScalarSubquery(subquery) => reads_hidden(context, &subquery.subquery),
            Expr::Exists(exists) => reads_hidden(context, &exists.subquery.subquery),
            Expr::InSubquery(within) => reads_hidden(context, &within.subquery.subquery),
            Expr::SetComparison(comparison) => reads_hidden(context, &comparison.subquery.subquery),
            Expr::OuterReferenceColumn(..) => true,
            _ => false,
        };
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// Is there a hidden column anywhere in what it scans?
fn reads_hidden(context: &Context, plan: &LogicalPlan) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= (0..scan.projected_schema.fields().len()).any(|index| of_scan(context, scan, index));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found || walked.is_err()
}

fn of_scan(context: &Context, scan: &TableScan, index: usize) -> bool {
    let name = scan.projected_schema.field(index).name();
    match scan.source.downcast_ref::<Source>().map(|source| &source.kind) {
        Some(SourceKind::Public(_) | SourceKind::Released(_)) => false,
        Some(SourceKind::Protected(table)) => {
            let column = context.tables.get(table).and_then(|known| known.table.column(name));
            column.is_none_or(|column| column.class == Some(Class::Hidden))
        }
        Some(SourceKind::Directory(_) | SourceKind::Opened(_)) => true,
        // A view stands for its query.
        None => match scan.source.get_logical_plan() {
            Some(plan) => {
                let place = plan.schema().fields().iter().position(|field| field.name() == name);
                place.is_none_or(|place| of_column(context, &plan, place))
            }
            None => true,
        },
    }
}
