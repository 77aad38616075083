//! The engine's order of inner joins, where it could be another.
//!
//! In: a plan. Out: the plan with equalities of a filter among the pairs of the joins below it, and joins of joins one after the other.
//! The engine takes all inner joins apart and makes them, and every node above them, again, also where nothing can come of it: where each
//! join has its pairs of columns and nothing else, and its right side is no join.

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{JoinConstraint, JoinType, NullEquality, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug, Default)]
pub(in crate::query) struct InnerJoins(EliminateCrossJoin);

impl OptimizerRule for InnerJoins {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let mut open = false;
        plan.apply_with_subqueries(|node| {
            open = open || is_open(node);
            Ok(if open { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if open { self.0.rewrite(plan, config) } else { Ok(Transformed::no(plan)) }
    }
}

fn is_open(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Filter(filter) => is_inner(&filter.input),
        LogicalPlan::Join(join) => is_inner(node) && !is_settled(join),
        _ => false,
    }
}

fn is_inner(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join) if join.join_type == JoinType::Inner)
}

fn is_settled(join: &Join) -> bool {
    let columns = |(left, right): &(Expr, Expr)| matches!((left, right), (Expr::Column(_), Expr::Column(_)));
    let repeated = join.on.iter().enumerate().any(|(i, pair)| join.on.iter().skip(i + 1).any(|other| other == pair));
    !join.on.is_empty()
        && join.on.iter().all(columns)
        && !repeated
        && join.filter.is_none()
        && join.join_constraint == JoinConstraint::On
        && join.null_equality == NullEquality::NullEqualsNothing
        && !is_inner(&join.right)
}
