//! `FROM t, unnest(t.tags) AS u(tag)` becomes what `SELECT …, unnest(tags) FROM t` is: rows of the table to the left, made longer.
//!
//! In: a plan as the engine resolves it, where the list stands in a subquery that refers to the rows beside it. Out: the same
//! question without that join. What has another shape stays as it is; later stages refuse it. Nothing is decided about
//! privacy here: the rewrite treats the longer rows like any others.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Unnest};

/// Every join with the elements of a list of its left side's rows.
pub(super) fn lists_beside(plan: LogicalPlan) -> Result<LogicalPlan> {
    let joined = |plan: LogicalPlan| match &plan {
        LogicalPlan::Join(join) => Ok(match lengthened(join)? {
            Some(longer) => Transformed::yes(longer),
            None => Transformed::no(plan),
        }),
        _ => Ok(Transformed::no(plan)),
    };
    plan.transform_up_with_subqueries(joined).map(|moved| moved.data)
}

/// A LEFT join would keep rows whose list is empty, which an unnested list does not.
fn lengthened(join: &Join) -> Result<Option<LogicalPlan>> {
    if join.join_type != JoinType::Inner || !join.on.is_empty() || !refers_beside(&join.right) {
        return Ok(None);
    }
    let Some(Longer { rows, columns }) = longer(&join.right, &join.left)? else {
        return Ok(None);
    };
    let mut wanted = own_columns(&join.left);
    let right = join.right.schema();
    wanted.extend(
        columns.into_iter().zip(right.iter()).map(|(e, (of, field))| e.alias_qualified(of.cloned(), field.name())),
    );
    let mut plan = LogicalPlanBuilder::from(rows).project(wanted)?;
    if let Some(condition) = &join.filter {
        plan = plan.filter(condition.clone())?;
    }
    plan.build().map(Some)
}

/// Whether this is a subquery that refers to its neighbours, under a name or without one.
fn refers_beside(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => refers_beside(&alias.input),
        LogicalPlan::Subquery(subquery) => !subquery.outer_ref_columns.is_empty(),
        _ => false,
    }
}

/// The left side's rows, its columns first, and the right side's columns as expressions over them.
struct Longer {
    rows: LogicalPlan,
    columns: Vec<Expr>,
}

/// `None`: the subquery reads more than its neighbour's lists.
fn longer(plan: &LogicalPlan, left: &LogicalPlan) -> Result<Option<Longer>> {
    match plan {
        LogicalPlan::EmptyRelation(one) if one.produce_one_row => {
            Ok(Some(Longer { rows: left.clone(), columns: Vec::new() }))
        }
        LogicalPlan::SubqueryAlias(alias) => longer(&alias.input, left),
        LogicalPlan::Subquery(subquery) => longer(&subquery.subquery, left),
        LogicalPlan::Projection(projection) => {
            let Some(Longer { rows, columns }) = longer(&projection.input, left)? else {
                return Ok(None);
            };
            let moved = projection.expr.iter().map(|e| beside(e, &projection.input, &columns, left));
            let moved = moved.collect::<Result<Option<Vec<_>>>>()?;
            Ok(moved.map(|columns| Longer { rows, columns }))
        }
        LogicalPlan::Filter(filter) => {
            let Some(Longer { rows, columns }) = longer(&filter.input, left)? else {
                return Ok(None);
            };
            let Some(condition) = beside(&filter.predicate, &filter.input, &columns, left)? else {
                return Ok(None);
            };
            let rows = LogicalPlanBuilder::from(rows).filter(condition)?.build()?;
            Ok(Some(Longer { rows, columns }))
        }
        LogicalPlan::Unnest(unnest) => {
            let Some(Longer { rows, columns }) = longer(&unnest.input, left)? else {
                return Ok(None);
            };
            let mut wanted = own_columns(left);
            let own = wanted.len();
            let names = unnest.input.schema().fields().iter().map(|field| field.name());
            wanted.extend(columns.into_iter().zip(names).map(|(e, name)| e.unalias().alias(name)));
            let rows = LogicalPlanBuilder::from(rows).project(wanted)?.build()?;
            let rows = Unnest::try_new(Arc::new(rows), unnest.exec_columns.clone(), unnest.options.clone())?;
            let columns = rows.schema.columns().into_iter().skip(own).map(Expr::Column).collect();
            Ok(Some(Longer { rows: LogicalPlan::Unnest(rows), columns }))
        }
        _ => Ok(None),
    }
}

fn own_columns(left: &LogicalPlan) -> Vec<Expr> {
    left.schema().columns().into_iter().map(Expr::Column).collect()
}

/// An expression over `input` as one over the left side's rows. `None`: it looks further out, or into a table.
fn beside(expression: &Expr, input: &LogicalPlan, columns: &[Expr], left: &LogicalPlan) -> Result<Option<Expr>> {
    let mut known = true;
    let moved = expression.clone().transform_down(|part| {
        let place = match &part {
            Expr::Column(column) => {
                input.schema().maybe_index_of_column(column).and_then(|index| columns.get(index)).cloned()
            }
            Expr::OuterReferenceColumn(_, column) => {
                left.schema().has_column(column).then(|| Expr::Column(column.clone()))
            }
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => None,
            _ => return Ok(Transformed::no(part)),
        };
        known &= place.is_some();
        Ok(Transformed::new(place.map_or(part, Expr::unalias), true, TreeNodeRecursion::Jump))
    })?;
    Ok(Some(moved.data).filter(|_| known))
}
