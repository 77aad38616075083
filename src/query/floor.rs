//! How many persons a released row describes at least.
//!
//! In: the plan of a release before it is priced. Out: the floor. A release that reads a sensitive column has the higher one
//! (requirement W17), whatever else it reads, and so has one whose rows a row policy chooses by such a column. What it reads is what is left of its scans once unused columns are gone.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::context::{Context, Source, SourceKind};
use super::facts::built;
use super::optimise::narrowed;
use super::search::holds;
use crate::error::Result;
use crate::policy::Class;

/// `policies`: those that pay.
pub(super) fn floor(context: &Context, plan: &LogicalPlan, policies: &BTreeSet<String>) -> Result<u64> {
    let floor = context.policies.floor(&context.principal, policies);
    let sensitive = reads_sensitive(context, plan)?;
    Ok(if sensitive { floor.max(context.policies.settings.sensitive_floor()) } else { floor })
}

fn reads_sensitive(context: &Context, plan: &LogicalPlan) -> Result<bool> {
    let columns = context.tables.values().flat_map(|known| &known.table.columns);
    let sensitive = columns.filter(|column| column.class == Some(Class::Sensitive)).map(|column| column.name.as_str());
    let sensitive: BTreeSet<&str> = sensitive.collect();
    if sensitive.is_empty() || !built(may_use(plan, &sensitive))? {
        return Ok(false);
    }
    let sensitive = |table: &str, column: &str| {
        let column = context.tables.get(table).and_then(|known| known.table.column(column));
        column.is_some_and(|column| column.class == Some(Class::Sensitive))
    };
    let mut found = false;
    let walked = built(narrowed(plan.clone()))?.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(SourceKind::Protected(table)) = scan.source.downcast_ref::<Source>().map(|source| &source.kind)
        {
            found |= scan.projected_schema.fields().iter().any(|field| sensitive(table, field.name()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    built(walked)?;
    Ok(found)
}

/// Can a column of one of these names be used, by any table? What is used of a scan comes out at the root, is named by an expression, or
/// is compared by an operator that takes whole rows. Most questions name none, and need not be narrowed to find out.
fn may_use(plan: &LogicalPlan, names: &BTreeSet<&str>) -> datafusion::common::Result<bool> {
    let is_named = |part: &Expr| match part {
        Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => names.contains(column.name.as_str()),
        _ => false,
    };
    let mut whole = plan.schema().fields().iter().any(|field| names.contains(field.name().as_str()));
    plan.apply_with_subqueries(|node| {
        whole |= takes_whole_rows(node);
        Ok(if whole { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(whole || holds(plan, is_named)?)
}

fn takes_whole_rows(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_) => false,
        LogicalPlan::Union(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::RecursiveQuery(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_) => true,
    }
}
