//! Proves that rows which are shown as they are, to serve a person's own request, are that person's.
//!
//! Directly above every scan of a table with a person key stands the test of the one person whom the grant names, on the scan's own
//! person key. Rows of linked tables are theirs through the join with such rows (`owner`).

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};

use super::unproven;
use crate::error::{Error, Result};
use crate::policy::Access;
use crate::query::context::{Context, Source, SourceKind};
use crate::query::subject::is_subject;

/// `person`: the digest that the grant holds.
pub(super) fn verify(context: &Context, plan: &LogicalPlan, person: &str) -> Result<()> {
    let mut all = 0;
    let counted = plan.apply_with_subqueries(|node| {
        all += usize::from(matches!(node, LogicalPlan::TableScan(_)));
        Ok(TreeNodeRecursion::Continue)
    });
    counted.map_err(|_| Error::internal())?;
    // What hangs in an expression is not looked at below, so there must be nothing of it.
    if walk(context, plan, &[], person)? == all { Ok(()) } else { Err(unproven("a scan out of sight")) }
}

/// `above`: the conditions of filters that stand directly on the node. Gives the number of scans.
fn walk(context: &Context, plan: &LogicalPlan, above: &[&Expr], person: &str) -> Result<usize> {
    match plan {
        LogicalPlan::TableScan(scan) => verify_scan(context, scan, above, person).map(|()| 1),
        LogicalPlan::Filter(filter) => {
            let here: Vec<&Expr> = above.iter().copied().chain(split_conjunction(&filter.predicate)).collect();
            walk(context, &filter.input, &here, person)
        }
        _ => plan.inputs().into_iter().map(|input| walk(context, input, &[], person)).sum(),
    }
}

fn verify_scan(context: &Context, scan: &TableScan, above: &[&Expr], person: &str) -> Result<()> {
    let source = scan.source.downcast_ref::<Source>().ok_or_else(|| unproven("an unknown source"))?;
    let SourceKind::Protected(name) = &source.kind else {
        return Err(unproven("one person's rows made of something else"));
    };
    match context.tables.get(name).map(|known| &known.table.access) {
        Some(Access::Protected { person_key, .. }) => {
            if above.iter().any(|condition| asks_for(condition, scan, person_key, person)) {
                Ok(())
            } else {
                Err(unproven("rows of others than the one person"))
            }
        }
        Some(Access::Linked { .. }) => Ok(()),
        Some(Access::Public | Access::Directory | Access::Unclassified) | None => {
            Err(unproven("one person's rows made of something else"))
        }
    }
}

fn asks_for(condition: &Expr, scan: &TableScan, person_key: &str, person: &str) -> bool {
    let Expr::ScalarFunction(call) = condition else { return false };
    let own = match call.args.as_slice() {
        [Expr::Column(column)] => column.name == person_key && column.relation.as_ref() == Some(&scan.table_name),
        [] | [..] => false,
    };
    own && is_subject(&call.func, person)
}
