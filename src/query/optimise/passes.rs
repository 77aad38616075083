//! Rules over a plan: all of them once, and again where that opened the way for more.
//!
//! In: rules in their order, a plan. Out: the same rows by a better plan, of the same columns.
//!
//! Law: the operators that come out are those that the engine's own loop makes of the plan, but for projections in other places. That one
//! takes all rules again until a hash of the whole plan says that they did nothing, a second time at least.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, InvariantLevel, LogicalPlan, assert_expected_schema};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use paravent_udfs::BoundGroups;

use super::Rule;
use super::parts::Parts;

/// Those of `rules` that can do something.
pub(in crate::query) fn apply(rules: &[Rule], plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<LogicalPlan> {
    let mut parts = Parts::of(&plan)?;
    let wanted: Vec<&Rule> = rules.iter().filter(|rule| parts.concern(rule.name())).collect();
    if wanted.is_empty() {
        return Ok(plan);
    }
    let schema = Arc::clone(plan.schema());
    let (mut plan, mut opened) = pass(&wanted, plan, &mut parts, config)?;
    // Unions of unions come together once nothing stands between them.
    opened |= parts.sets;
    for _ in 1..config.options().optimizer.max_passes {
        if !opened && !parts.subqueries {
            // A join whose other side only filters may have lost what read more of that side.
            let joins = wanted.iter().filter(|rule| rule.name() == "eliminate_join").copied().collect::<Vec<_>>();
            (plan, opened) = pass(&joins, plan, &mut parts, config)?;
        }
        if !opened && !parts.subqueries {
            break;
        }
        (plan, opened) = pass(&wanted, plan, &mut parts, config)?;
    }
    assert_expected_schema(&schema, &plan)?;
    plan.check_invariants(InvariantLevel::Executable)?;
    Ok(plan)
}

/// Each rule once, and whether one of them has opened the way for those before it.
fn pass(
    rules: &[&Rule],
    plan: LogicalPlan,
    parts: &mut Parts,
    config: &dyn OptimizerConfig,
) -> Result<(LogicalPlan, bool)> {
    let (mut plan, mut opened) = (plan, false);
    for rule in rules {
        let changed;
        (plan, changed) = once(rule.as_ref(), plan, parts, config)?;
        opened |= changed && OPENING.contains(&rule.name());
    }
    let opened = opened || plan.exists(|node| Ok(may_go(node)))?;
    Ok((plan, opened))
}

/// Is it a filter that will not stay? `true`, the condition of a join with one row, comes down to scans after filters were looked at; and
/// what stopped a filter (the window function that nobody reads) may be gone since.
fn may_go(node: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = node else { return false };
    matches!(filter.predicate, Expr::Literal(..))
        || matches!(filter.input.as_ref(), LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_))
}

/// What these have changed lets rules before them do more: joins appear and go, what was a condition above one or a limit stands
/// elsewhere, and nothing is left of a plan up to where another rule sees it.
pub(super) const OPENING: [&str; 8] = [
    "eliminate_join",
    "decorrelate_predicate_subquery",
    "scalar_subquery_to_join",
    "decorrelate_lateral_join",
    "eliminate_cross_join",
    "propagate_empty_relation",
    "eliminate_outer_join",
    "push_down_limit",
];

/// The rule over the whole plan, and whether it says that it changed something.
fn once(
    rule: &dyn OptimizerRule,
    plan: LogicalPlan,
    parts: &mut Parts,
    config: &dyn OptimizerConfig,
) -> Result<(LogicalPlan, bool)> {
    let done = match rule.apply_order() {
        None => rule.rewrite(plan, config),
        Some(ApplyOrder::TopDown) if parts.nested => {
            plan.transform_down_with_subqueries(|node| rule.rewrite(node, config))
        }
        Some(ApplyOrder::BottomUp) if parts.nested => {
            plan.transform_up_with_subqueries(|node| rule.rewrite(node, config))
        }
        Some(order) => everywhere(rule, plan, order, config),
    }?;
    if done.transformed && parts.subqueries {
        *parts = Parts::of(&done.data)?;
    }
    Ok((done.data, done.transformed))
}

/// The rule at every node. Where that changes which columns a node's inputs have, the node is made again.
fn everywhere(
    rule: &dyn OptimizerRule,
    plan: LogicalPlan,
    order: ApplyOrder,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    let mut plan = plan;
    if order == ApplyOrder::TopDown {
        let done = rule.rewrite(plan, config)?;
        if done.tnr == TreeNodeRecursion::Stop {
            return Ok(done);
        }
        (plan, changed) = (done.data, done.transformed);
    }
    let mut other_columns = false;
    let below = map_inputs(plan, |input| {
        let columns = Arc::clone(input.schema());
        let done = everywhere(rule, input, order, config)?;
        other_columns |= done.transformed && columns.as_ref() != done.data.schema().as_ref();
        Ok(Transformed::new_transformed(done.data, done.transformed))
    })?;
    changed |= below.transformed;
    plan = if other_columns { below.data.recompute_schema()? } else { below.data };
    if order == ApplyOrder::BottomUp {
        let done = rule.rewrite(plan, config)?;
        (plan, changed) = (done.data, changed | done.transformed);
    }
    Ok(Transformed::new_transformed(plan, changed))
}

/// An operator of ours keeps its input to itself, so that each rule would copy all that lies below: it is taken apart instead.
fn map_inputs(
    plan: LogicalPlan,
    mut f: impl FnMut(LogicalPlan) -> Result<Transformed<LogicalPlan>>,
) -> Result<Transformed<LogicalPlan>> {
    let bound = match &plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<BoundGroups>(),
        _ => None,
    };
    let Some(bound) = bound else {
        return plan.map_children(f);
    };
    let (input, person, max_groups) = (bound.input().clone(), bound.person().clone(), bound.max_groups());
    drop(plan);
    f(input)?.map_data(|input| Ok(BoundGroups::try_new(input, person, max_groups)?.into_plan()))
}
