//! How many persons a released row describes at least.
//!
//! In: the plan of a release before it is priced. Out: the floor. A release that reads a sensitive column has the higher one
//! (requirement W17), whatever else it reads, and so has one whose rows a row policy chooses by such a column. What it reads is what is left of its scans once unused columns are gone.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use super::context::{Context, Source, SourceKind};
use super::facts::built;
use super::optimise::narrowed;
use crate::error::Result;
use crate::policy::Class;

/// `policies`: those that pay.
pub(super) fn floor(context: &Context, plan: &LogicalPlan, policies: &BTreeSet<String>) -> Result<u64> {
    let floor = context.policies.floor(&context.principal, policies);
    let sensitive = reads_sensitive(context, plan)?;
    Ok(if sensitive { floor.max(context.policies.settings.sensitive_floor()) } else { floor })
}

fn reads_sensitive(context: &Context, plan: &LogicalPlan) -> Result<bool> {
    let sensitive = |table: &str, column: &str| {
        let column = context.tables.get(table).and_then(|known| known.table.column(column));
        column.is_some_and(|column| column.class == Some(Class::Sensitive))
    };
    if !context.tables.values().any(|known| known.table.columns.iter().any(|c| c.class == Some(Class::Sensitive))) {
        return Ok(false);
    }
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
