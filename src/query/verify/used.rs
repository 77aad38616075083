//! Which columns of protected tables a plan uses, besides those that only the scope above a scan looks at.
//!
//! In: an optimised plan. Out: columns by table. The scope is the administrator's choice of rows, not the query's; without it, what the
//! engine's own rule leaves of the scans is what the query reads.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, TableScan};

use crate::error::{Error, Result};
use crate::query::context::{Context, Source, SourceKind};
use crate::query::optimise::narrowed;
use crate::query::scope::is_scope;

/// Columns by protected table.
pub type Reads = BTreeMap<String, BTreeSet<String>>;

pub(super) fn used(context: &Context, plan: &LogicalPlan) -> Result<Reads> {
    if !context.tables.keys().any(|table| context.scopes.of(table).is_some()) {
        return scanned(plan);
    }
    let bare = plan.clone().transform_up_with_subqueries(|node| without_scope(context, node));
    let bare = bare.and_then(|bare| narrowed(bare.data));
    scanned(&bare.map_err(|_| Error::internal())?)
}

fn scanned(plan: &LogicalPlan) -> Result<Reads> {
    let mut reads = Reads::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(SourceKind::Protected(table)) = scan.source.downcast_ref::<Source>().map(|source| &source.kind)
        {
            let columns = reads.entry(table.clone()).or_default();
            columns.extend(scan.projected_schema.fields().iter().map(|field| field.name().clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|_| Error::internal())?;
    Ok(reads)
}

/// What a scan filters by stands above it as well, so it is left out there.
fn without_scope(context: &Context, node: LogicalPlan) -> datafusion::common::Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::TableScan(scan) if !scan.filters.is_empty() => {
            Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { filters: vec![], ..scan })))
        }
        LogicalPlan::Filter(filter) => {
            let parts = split_conjunction(&filter.predicate);
            let kept: Vec<Expr> =
                parts.iter().filter(|part| !is_a_scope(context, part)).map(|part| (*part).clone()).collect();
            if kept.len() == parts.len() {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            }
            Ok(Transformed::yes(match conjunction(kept) {
                None => filter.input.as_ref().clone(),
                Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?),
            }))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn is_a_scope(context: &Context, condition: &Expr) -> bool {
    let Expr::ScalarFunction(call) = condition else { return false };
    context.tables.keys().filter_map(|table| context.scopes.of(table)).any(|scope| is_scope(&call.func, scope))
}
