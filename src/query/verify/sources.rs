//! Proves that every scan is of what it says, and that every policy whose rows a release reads is charged for it.
//!
//! A plan's own word for a source is not believed: the catalog says whether a table is protected, and by which policy.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{LogicalPlan, TableScan};

use super::unproven;
use crate::error::{Error, Result};
use crate::policy::Access;
use crate::query::context::{Context, Source, SourceKind};

/// `released`: how many releases run before this plan. `charged`: the policies that pay; above the releases there are none.
pub(super) fn verify(context: &Context, plan: &LogicalPlan, released: usize, charged: &BTreeSet<String>) -> Result<()> {
    let mut outcome = Ok(());
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            outcome = verify_scan(context, scan, released, charged);
        }
        Ok(if outcome.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.map_err(|_| Error::internal())?;
    outcome
}

fn verify_scan(context: &Context, scan: &TableScan, released: usize, charged: &BTreeSet<String>) -> Result<()> {
    let source = scan.source.downcast_ref::<Source>().ok_or_else(|| unproven("an unknown source"))?;
    let access = |name: &String| context.tables.get(name).map(|known| &known.table.access);
    match &source.kind {
        // Rows that are shown stand above, where nothing is charged, and in no release.
        SourceKind::Opened(name) if charged.is_empty() => match access(name) {
            Some(Access::Directory | Access::Protected { .. } | Access::Linked { .. }) => Ok(()),
            Some(Access::Public | Access::Unclassified) | None => Err(unproven("a table without rows to show")),
        },
        SourceKind::Opened(_) => Err(unproven("rows that are shown in a release")),
        SourceKind::Directory(_) => Err(unproven("a directory without its masks")),
        SourceKind::Released(number) if *number < released => Ok(()),
        SourceKind::Released(_) => Err(unproven("a release that comes later")),
        SourceKind::Public(name) => match access(name) {
            Some(Access::Public) => Ok(()),
            Some(Access::Protected { .. } | Access::Linked { .. } | Access::Unclassified | Access::Directory)
            | None => Err(unproven("a table that is not public passes for one")),
        },
        SourceKind::Protected(name) => match access(name) {
            Some(Access::Protected { policy, .. } | Access::Linked { policy, .. }) if charged.contains(policy) => {
                Ok(())
            }
            Some(Access::Protected { .. } | Access::Linked { .. }) => Err(unproven("a policy that is not charged")),
            Some(Access::Public | Access::Unclassified | Access::Directory) | None => {
                Err(unproven("a table that is not protected passes for one"))
            }
        },
    }
}
