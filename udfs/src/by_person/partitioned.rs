//! One way of cutting rows into partitions is enough: by person.
//!
//! The engine cuts rows by all their group columns before it aggregates them, and by person again before their groups are bounded.
//! Rows of one person and group are rows of one person, so the second way serves both. A projection may stand between the two.

use crate::bound_groups::BoundGroupsExec;
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use std::sync::Arc;

/// The same node over rows that are cut once, where they were cut twice.
pub(super) fn cut_once(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(bound) = node.downcast_ref::<BoundGroupsExec>() else { return Ok(None) };
    let [second] = bound.children()[..] else { return Ok(None) };
    let Some((place, parts, rows)) = by_one_column(second) else { return Ok(None) };
    let Some((place, aggregate)) = below_projection(rows, place) else { return Ok(None) };
    let Some(final_step) = aggregate.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let [first] = final_step.children()[..] else { return Ok(None) };
    let Some(first) = first.downcast_ref::<RepartitionExec>() else { return Ok(None) };
    let hashed = matches!(first.partitioning(), Partitioning::Hash(_, count) if *count == parts);
    let groups = final_step.group_expr();
    let whole = *final_step.mode() == AggregateMode::FinalPartitioned && groups.is_single();
    // A final step's group columns are the first of what it reads and of what it gives.
    let is_group = place < groups.expr().len();
    if !hashed || !whole || !is_group || first.preserve_order() {
        return Ok(None);
    }
    let uncut = first.input();
    let person: Arc<dyn PhysicalExpr> = Arc::new(Column::new(uncut.schema().field(place).name(), place));
    let cut = RepartitionExec::try_new(Arc::clone(uncut), Partitioning::Hash(vec![person], parts))?;
    let options = || ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let mut whole = Arc::clone(aggregate).replace_children(vec![Arc::new(cut)], options())?;
    if !Arc::ptr_eq(rows, aggregate) {
        whole = Arc::clone(rows).replace_children(vec![whole], options())?;
    }
    Arc::clone(node).replace_children(vec![whole], options()).map(Some)
}

/// What a projection reads, where it is one, and which column of that the one at `place` is.
fn below_projection(plan: &Arc<dyn ExecutionPlan>, place: usize) -> Option<(usize, &Arc<dyn ExecutionPlan>)> {
    let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Some((place, plan)) };
    let made = projection.expr().get(place)?;
    Some((made.expr.downcast_ref::<Column>()?.index(), projection.input()))
}

/// The column, the number of partitions, and the rows below, of rows that are cut by a hash of one column.
fn by_one_column(plan: &Arc<dyn ExecutionPlan>) -> Option<(usize, usize, &Arc<dyn ExecutionPlan>)> {
    let cut = plan.downcast_ref::<RepartitionExec>()?;
    let Partitioning::Hash(by, parts) = cut.partitioning() else { return None };
    let [by] = by.as_slice() else { return None };
    Some((by.downcast_ref::<Column>()?.index(), *parts, cut.input()))
}
