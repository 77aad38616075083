//! Proves that every scan of a protected table is left with no row that the rules take out.
//!
//! Which rules there are is read from the policies again, and compared with what the scope says it was made of; and the scope
//! stands directly above the scan, on the columns of the scan itself. Both before and after the plan is optimised.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};

use super::unproven;
use crate::error::{Error, Result};
use crate::policy::{Access, GROUP_MANAGER, RowPolicy, Table};
use crate::query::context::{Context, Source, SourceKind};
use crate::query::scope::{Reason, TableScope, is_scope};

pub(super) fn verify(context: &Context, plan: &LogicalPlan) -> Result<()> {
    let mut all = 0;
    let counted = plan.apply_with_subqueries(|node| {
        all += usize::from(protected(node).is_some());
        Ok(TreeNodeRecursion::Continue)
    });
    counted.map_err(|_| Error::internal())?;
    // What hangs in an expression is not looked at below, so there must be nothing of it.
    if walk(context, plan, &[])? == all { Ok(()) } else { Err(unproven("a scan out of sight")) }
}

/// `above`: the conditions of filters that stand directly on the node. Gives the number of protected scans.
fn walk(context: &Context, plan: &LogicalPlan, above: &[&Expr]) -> Result<usize> {
    if let Some((scan, name)) = protected(plan) {
        verify_scan(context, scan, name, above)?;
        return Ok(1);
    }
    if let LogicalPlan::Filter(filter) = plan {
        let here: Vec<&Expr> = above.iter().copied().chain(split_conjunction(&filter.predicate)).collect();
        return walk(context, &filter.input, &here);
    }
    plan.inputs().into_iter().map(|input| walk(context, input, &[])).sum()
}

fn protected(plan: &LogicalPlan) -> Option<(&TableScan, &String)> {
    let LogicalPlan::TableScan(scan) = plan else { return None };
    match &scan.source.downcast_ref::<Source>()?.kind {
        SourceKind::Protected(name) => Some((scan, name)),
        SourceKind::Public(_) | SourceKind::Released(_) | SourceKind::Directory(_) | SourceKind::Opened(_) => None,
    }
}

fn verify_scan(context: &Context, scan: &TableScan, name: &str, above: &[&Expr]) -> Result<()> {
    let table = context.tables.get(name).map(|known| &known.table);
    let table = table.ok_or_else(|| unproven("a table that is not known"))?;
    let expected = expected(context, table);
    if expected.is_empty() {
        return Ok(());
    }
    let scope = context.scopes.of(name).ok_or_else(|| unproven("a table without its scope"))?;
    if scope.reasons != expected {
        return Err(unproven("a scope that leaves a rule out"));
    }
    if above.iter().any(|condition| is_call(condition, scope, scan)) {
        Ok(())
    } else {
        Err(unproven("a scan outside its scope"))
    }
}

fn is_call(condition: &Expr, scope: &TableScope, scan: &TableScan) -> bool {
    let Expr::ScalarFunction(call) = condition else { return false };
    let own = |(argument, name): (&Expr, &String)| match argument {
        Expr::Column(column) => column.name == *name && column.relation.as_ref() == Some(&scan.table_name),
        _ => false,
    };
    is_scope(&call.func, scope)
        && call.args.len() == scope.columns.len()
        && call.args.iter().zip(&scope.columns).all(own)
}

/// Everything that the policies take out of a table for the principal.
pub(super) fn expected(context: &Context, table: &Table) -> BTreeSet<Reason> {
    let policies = &context.policies;
    let concerns = |rule: &&RowPolicy| {
        let named = rule.roles.is_empty() || rule.roles.iter().any(|role| context.principal.belongs_to(role));
        named && rule.using.is_some()
    };
    let rules_of = |table: &Table| -> Vec<Reason> {
        let rules = table.row_policies.iter().filter(concerns);
        rules.map(|rule| Reason::Rule(table.name.clone(), rule.name.clone())).collect()
    };
    let one_row_a_person = |table: &Table| match &table.access {
        Access::Protected { person_key, .. } => table.is_unique(&[person_key]),
        Access::Linked { .. } | Access::Public | Access::Directory | Access::Unclassified => false,
    };
    let mut expected = BTreeSet::new();
    if let Access::Protected { policy, .. } = &table.access {
        let of_persons =
            policies.tables.values().filter(|other| other.policy() == Some(policy) && one_row_a_person(other));
        expected.extend(of_persons.flat_map(rules_of));
        if !policies.excluded.is_empty() {
            expected.insert(Reason::Excluded);
        }
        if context.principal.belongs_to(GROUP_MANAGER) {
            expected.insert(Reason::Reports);
        }
    }
    if !one_row_a_person(table) {
        expected.extend(rules_of(table));
    }
    expected
}
