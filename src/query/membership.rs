//! `EXISTS` and `IN` outside of WHERE: counts of a correlated subquery, which the engine's rules know as scalar subqueries.
//!
//! In: an expression of a projection. Out: the same truth value in terms of `(SELECT count(*) FROM …)`. `x IN (SELECT y …)` is true
//! where some y equals x; else it is NULL where x is NULL or some y is, and the subquery is not empty; else false. Over rows of
//! persons a NULL among the y says nothing: the subquery is about one person's rows, and a row without a value is not there.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Subquery, lit, when};
use datafusion::scalar::ScalarValue;

use super::context::{Source, SourceKind};

/// The projections of a plan.
pub(super) fn counted(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Projection(_) = &plan else {
        return Ok(Transformed::no(plan));
    };
    let inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    plan.map_expressions(|expression| {
        let (relation, name) = expression.qualified_name();
        let counted = expression.transform_up(|part| match part {
            Expr::Exists(Exists { subquery, negated }) => {
                let rows = count_of(subquery, None)?;
                Ok(Transformed::yes(if negated { rows.eq(lit(0_i64)) } else { rows.gt(lit(0_i64)) }))
            }
            Expr::InSubquery(within) => within_counts(within, &inputs).map(Transformed::yes),
            part => Ok(Transformed::no(part)),
        })?;
        Ok(if counted.transformed {
            Transformed::yes(counted.data.unalias().alias_qualified(relation, name))
        } else {
            counted
        })
    })
}

/// `(SELECT count(*) FROM subquery [WHERE condition])`
fn count_of(subquery: Subquery, condition: Option<(Expr, Vec<Expr>)>) -> Result<Expr> {
    let Subquery { subquery, mut outer_ref_columns, spans } = subquery;
    let mut rows = LogicalPlanBuilder::from(subquery.as_ref().clone());
    if let Some((condition, outer)) = condition {
        rows = rows.filter(condition)?;
        outer_ref_columns
            .extend(outer.into_iter().filter(|column| !outer_ref_columns.contains(column)).collect::<Vec<_>>());
    }
    let rows = rows.aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64)).alias("__rows")])?.build()?;
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(rows), outer_ref_columns, spans }))
}

fn within_counts(within: InSubquery, inputs: &[LogicalPlan]) -> Result<Expr> {
    let InSubquery { expr, subquery, negated } = within;
    let (x, outer) = referred(*expr.clone(), inputs)?;
    let (relation, field) = subquery.subquery.schema().qualified_field(0);
    let y = Expr::Column(Column::from((relation, field)));
    let (y_nullable, x_nullable) = (field.is_nullable(), nullable(&expr, inputs)?);
    let is_any = count_of(subquery.clone(), Some((y.clone().eq(x), outer)))?.gt(lit(0_i64));
    let (yes, no) = (lit(!negated), lit(negated));
    let unknown = lit(ScalarValue::Boolean(None));
    if reads_persons(&subquery.subquery)? {
        return match x_nullable {
            true => when(expr.is_null(), unknown).when(is_any, yes).otherwise(no),
            false => when(is_any, yes).otherwise(no),
        };
    }
    let mut cases = when(is_any, yes);
    if y_nullable {
        let nothing = count_of(subquery.clone(), Some((y.is_null(), Vec::new())))?;
        cases.when(nothing.gt(lit(0_i64)), unknown.clone());
    }
    if x_nullable {
        cases.when(expr.is_null().and(count_of(subquery, None)?.gt(lit(0_i64))), unknown);
    }
    cases.otherwise(no)
}

fn nullable(expression: &Expr, inputs: &[LogicalPlan]) -> Result<bool> {
    inputs.first().map_or(Ok(true), |input| expression.nullable(input.schema().as_ref()))
}

/// The expression as a subquery sees it, and the outer columns that it refers to.
fn referred(expression: Expr, inputs: &[LogicalPlan]) -> Result<(Expr, Vec<Expr>)> {
    let mut outer = Vec::new();
    let moved = expression.transform_up(|part| {
        let Expr::Column(column) = &part else {
            return Ok(Transformed::no(part));
        };
        let field = inputs.iter().find_map(|input| {
            let schema = input.schema();
            Some(schema.qualified_field(schema.maybe_index_of_column(column)?).1)
        });
        let Some(field) = field else {
            return Ok(Transformed::no(part));
        };
        let column = Expr::OuterReferenceColumn(Arc::clone(field), column.clone());
        if !outer.contains(&column) {
            outer.push(column.clone());
        }
        Ok(Transformed::yes(column))
    })?;
    Ok((moved.data, outer))
}

fn reads_persons(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let source = scan.source.downcast_ref::<Source>();
            found |= source.is_none_or(|source| matches!(source.kind, SourceKind::Protected(_)));
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
