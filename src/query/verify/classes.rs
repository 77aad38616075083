//! Proves that a release reads no column that its class keeps from it.
//!
//! It looks at what the optimised plan uses of its scans, and at the catalog alone: a column without a class and contents are read by
//! nothing; a hidden column by what a metric of an administrator reads; a sensitive one under a live purpose that names it, and then the
//! floor is the higher one.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use paravent_udfs::ReleaseSpec;

use super::unproven;
use super::used::Reads;
use crate::error::{Error, Result};
use crate::policy::{Access, Class};
use crate::query::context::{Context, KnownTable, Source, SourceKind};

/// `reads`: what is used of the scans of `plan`.
pub(super) fn verify(context: &Context, plan: &LogicalPlan, reads: &Reads, spec: &ReleaseSpec) -> Result<()> {
    for (table, columns) in reads {
        columns.iter().try_for_each(|column| verify_use(context, table, column))?;
    }
    let mut outcome = Ok(());
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            outcome = verify_floor(context, scan, spec);
        }
        Ok(if outcome.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.map_err(|_| Error::internal())?;
    outcome
}

/// Whatever a scan gives, be it only for its scope.
fn verify_floor(context: &Context, scan: &TableScan, spec: &ReleaseSpec) -> Result<()> {
    let source = scan.source.downcast_ref::<Source>().ok_or_else(|| unproven("an unknown source"))?;
    let SourceKind::Protected(table) = &source.kind else { return Ok(()) };
    let settings = &context.policies.settings;
    let given = scan.projected_schema.fields().iter().map(|field| field.name().clone());
    let filtered = scan.filters.iter().flat_map(|filter| filter.column_refs()).map(|column| column.name.clone());
    for column in given.chain(filtered) {
        let sensitive = class_of(context, table, &column)? == Some(Class::Sensitive);
        if sensitive && (spec.floor < settings.sensitive_min_group_size || spec.floor < settings.min_group_size) {
            return Err(unproven("the floor is too low for a sensitive column"));
        }
    }
    Ok(())
}

fn class_of(context: &Context, table: &str, column: &str) -> Result<Option<Class>> {
    let known = context.tables.get(table).ok_or_else(|| unproven("a table of nowhere"))?;
    Ok(known.table.columns.iter().find(|known| known.name == column).and_then(|known| known.class))
}

fn verify_use(context: &Context, table: &str, column: &str) -> Result<()> {
    match class_of(context, table, column)? {
        Some(Class::Identifier | Class::Attribute | Class::Measure | Class::Public) => Ok(()),
        Some(Class::Sensitive) => {
            let purpose = context.purpose.as_ref();
            let named = purpose.and_then(|purpose| purpose.tables.get(table)?.as_ref());
            let live = purpose.is_some_and(|purpose| {
                context.policies.purposes.get(&purpose.name) == Some(purpose)
                    && purpose.is_live(context.now.timestamp())
            });
            if live && named.is_some_and(|columns| columns.contains(column)) {
                return Ok(());
            }
            Err(unproven("a sensitive column without a purpose that names it"))
        }
        Some(Class::Hidden) if context.policies.in_metric(context.views.keys(), table) => Ok(()),
        Some(Class::Hidden) => Err(unproven("a hidden column outside a metric")),
        // By it rows of other tables find their person; it is joined on and nothing else (`owner`, `origin`).
        None if finds_persons(context, table, column) => Ok(()),
        Some(Class::Content) | None => Err(unproven("a column that nobody may read")),
    }
}

fn finds_persons(context: &Context, table: &str, column: &str) -> bool {
    let by = |known: &KnownTable| match &known.table.access {
        Access::Linked { by, .. } => by.table == table && by.key == column,
        Access::Protected { .. } | Access::Public | Access::Directory | Access::Unclassified => false,
    };
    context.tables.values().any(by)
}
