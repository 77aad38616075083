//! Persons who have few rows need no bound on their groups.
//!
//! `BoundGroups` keeps at most M of a person's groups; it has to see all rows before it lets one pass. Every group that a person
//! reaches takes at least one row of the person's, so where nobody has more than M rows in the table, it would keep them all. How many
//! rows a person has at most is counted once for each version of a table's data; where it is at most M, the node is left out.
//!
//! In: a verified plan. Out: one with the same rows. Must never: leave out a bound above anything that can give a person more rows
//! than the table has: joins, unions, `unnest`. What is counted stays here: it decides how a plan is run, never what it gives. Whether
//! anybody has more rows than the administrator declared may be felt in the time an answer takes, as it could be before:
//! `BoundGroups` itself is quicker where nobody has.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::{count, max};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_plan::collect;
use paravent_udfs::BoundGroups;

use super::engine::{Engine, Sources, failed};
use crate::error::{Error, Result};
use crate::query::{Source, SourceKind, narrowed};

/// The most rows a person has, by table and person key, in one version of the data.
#[derive(Default)]
pub(super) struct MostRows(Mutex<HashMap<(String, String), (String, u64)>>);

impl MostRows {
    fn known(&self, at: &(String, String), snapshot: &str) -> Option<u64> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(at).filter(|(of, _)| of == snapshot).map(|(_, most)| *most)
    }

    fn keep(&self, at: (String, String), snapshot: &str, most: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(at, (snapshot.to_owned(), most));
    }
}

impl Engine {
    /// `plan` without the bounds that would keep every row.
    pub(super) async fn without_idle_bounds(&self, plan: &LogicalPlan, sources: &Sources) -> Result<LogicalPlan> {
        let mut idle = Vec::new();
        for (table, key, max_groups) in bounded_tables(plan)? {
            if self.most_rows(&table, &key, sources).await?.is_some_and(|most| most <= max_groups) {
                idle.push((table, key, max_groups));
            }
        }
        if idle.is_empty() {
            return Ok(plan.clone());
        }
        let without = plan.clone().transform_up(|node| {
            Ok(match bound_of(&node) {
                Some((bound, Some(of))) if idle.contains(&of) => Transformed::yes(bound.input().clone()),
                Some(_) | None => Transformed::no(node),
            })
        });
        // The person key may now be a column that nothing reads.
        without.data().and_then(narrowed).map_err(|_| Error::internal())
    }

    /// Nothing where it is not known which data it is.
    async fn most_rows(&self, table: &str, key: &str, sources: &Sources) -> Result<Option<u64>> {
        let Some((provider, snapshot)) = sources.version(table) else { return Ok(None) };
        let at = (table.to_owned(), key.to_owned());
        if let Some(known) = self.counted.known(&at, snapshot) {
            return Ok(Some(known));
        }
        let person = Expr::Column(Column::new(Some("counted"), key));
        let plan = LogicalPlanBuilder::scan("counted", provider_as_source(provider), None)
            .and_then(|scan| scan.aggregate(vec![person.alias("__u")], vec![count(lit(1)).alias("rows")]))
            .and_then(|rows| {
                rows.aggregate(Vec::<Expr>::new(), vec![max(Expr::Column(Column::new_unqualified("rows")))])
            })
            .and_then(LogicalPlanBuilder::build)
            .and_then(|plan| self.state().optimize(&plan))
            .map_err(|_| Error::internal())?;
        let physical = self.state().query_planner().create_physical_plan(&plan, self.state()).await;
        let physical = physical.map_err(|_| Error::internal())?;
        // A large table takes its turn as a question over it does.
        let turn = self.admission().admit(std::slice::from_ref(&physical)).await?;
        let batches = turn.run(collect(physical, self.task())).await?.map_err(failed)?;
        let most = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().iter()).flatten().max();
        let most = u64::try_from(most.unwrap_or_default()).map_err(|_| Error::internal())?;
        self.counted.keep(at, snapshot, most);
        Ok(Some(most))
    }
}

/// A table, its person key, and at most how many groups.
type Bounded = (String, String, u64);

fn bounded_tables(plan: &LogicalPlan) -> Result<Vec<Bounded>> {
    let mut found = Vec::new();
    let walked = plan.apply(|node| {
        found.extend(bound_of(node).and_then(|(_, of)| of));
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|_| Error::internal())?;
    Ok(found)
}

/// A bound, and whose rows it bounds if they are one table's.
fn bound_of(node: &LogicalPlan) -> Option<(&BoundGroups, Option<Bounded>)> {
    let LogicalPlan::Extension(extension) = node else { return None };
    let bound = extension.node.as_any().downcast_ref::<BoundGroups>()?;
    let of = match bound.person() {
        Expr::Column(column) => bound.input().schema().maybe_index_of_column(column),
        _ => None,
    };
    let of = of.and_then(|at| column_of_table(bound.input(), at));
    Some((bound, of.map(|(table, key)| (table, key, bound.max_groups()))))
}

/// The table and its column that a plan's column is, if the plan gives at most one row for each of the table's, and none that the
/// column does not come from.
fn column_of_table(plan: &LogicalPlan, at: usize) -> Option<(String, String)> {
    let through = |input: &LogicalPlan, expression: &Expr| {
        let mut expression = expression;
        while let Expr::Alias(alias) = expression {
            expression = &alias.expr;
        }
        let Expr::Column(column) = expression else { return None };
        column_of_table(input, input.schema().maybe_index_of_column(column)?)
    };
    match plan {
        LogicalPlan::Projection(projection) => through(&projection.input, projection.expr.get(at)?),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(at)? {
            // All of its sets give rows of their own.
            Expr::GroupingSet(_) => None,
            group => through(&aggregate.input, group),
        },
        LogicalPlan::Filter(filter) => column_of_table(&filter.input, at),
        LogicalPlan::SubqueryAlias(alias) => column_of_table(&alias.input, at),
        LogicalPlan::TableScan(scan) => match &scan.source.downcast_ref::<Source>()?.kind {
            SourceKind::Protected(table) => {
                Some((table.clone(), scan.projected_schema.qualified_field(at).1.name().clone()))
            }
            SourceKind::Public(_) | SourceKind::Directory(_) | SourceKind::Opened(_) | SourceKind::Released(_) => None,
        },
        LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::RecursiveQuery(_) => None,
    }
}

#[cfg(test)]
mod tests;
