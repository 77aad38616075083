//! Explicit casts in what was made of a typed plan: only what was made since can lack them.
//!
//! In: a plan whose columns have types. Out: the same plan with the engine's casts. The engine makes every node, its names and its
//! columns again; here those stay as they are whose expressions are columns and literals, over inputs that have not changed.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{ExprSchemable, Join, LogicalPlan};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use super::simplify::is_plain;

/// Whether the plan's columns have changed goes with it. Must not hold subqueries.
pub(super) fn typed_again(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    let plan = plan.map_children(|child| {
        let child = typed_again(child)?;
        changed |= child.transformed;
        Ok(child)
    })?;
    let plan = plan.data;
    if !changed && is_typed(&plan)? {
        return Ok(Transformed::no(plan));
    }
    let before = Arc::clone(plan.schema());
    let plan = coerced(plan)?;
    let changed = before.as_ref() != plan.schema().as_ref();
    Ok(Transformed::new_transformed(plan, changed))
}

fn is_typed(plan: &LogicalPlan) -> Result<bool> {
    let plain = |plan: &LogicalPlan| {
        let mut plain = true;
        plan.apply_expressions(|expression| {
            plain = plain && is_plain(expression);
            Ok(if plain { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        })?;
        Ok(plain)
    };
    match plan {
        LogicalPlan::TableScan(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Extension(_) => plain(plan),
        LogicalPlan::Join(join) => are_of_one_type(join),
        _ => Ok(false),
    }
}

fn are_of_one_type(join: &Join) -> Result<bool> {
    for (left, right) in &join.on {
        let types = (left.get_type(join.left.schema().as_ref())?, right.get_type(join.right.schema().as_ref())?);
        if !is_plain(left) || !is_plain(right) || types.0 != types.1 {
            return Ok(false);
        }
    }
    Ok(join.filter.is_none())
}

/// As the engine's `TypeCoercion` does it.
fn coerced(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
    }
    let plan = match plan {
        LogicalPlan::Filter(mut filter) => {
            filter.predicate = filter.predicate.cast_to(&DataType::Boolean, &schema)?;
            LogicalPlan::Filter(filter)
        }
        other => other,
    };
    let mut coercion = TypeCoercionRewriter::new(&schema);
    let names = NamePreserver::new(&plan);
    let coerced = plan.map_expressions(|expression| {
        let name = names.save(&expression);
        expression.rewrite(&mut coercion).map(|typed| typed.update_data(|typed| name.restore(typed)))
    })?;
    coercion.coerce_plan(coerced.data)?.recompute_schema()
}
