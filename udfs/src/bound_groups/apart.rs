//! Rows of each person, counted by a plan of its own, so that large tables are read twice and not held.
//!
//! Whoever is to choose M of a person's rows must know how many there are. The node can hold all rows until it does ([`super::exec`]);
//! of a large table that is far more memory than anything else of the question takes. Where rows are no more than those of one table,
//! filtered and projected, reading the table twice gives the same rows twice, and the first reading looks at few columns.
//!
//! In: what a [`BoundGroups`] reads. Out: a plan of (person, rows), or none where holding is the better way. Must never: count what
//! could be other rows at the second reading: joins, aggregations and limits are not read twice. Where a file changes between the
//! readings, no person counts in more than M groups all the same, and a person who was not counted ends the query.

use super::BoundGroups;
use super::exec::next;
use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Rows from which on they are read twice: held, they take some 80 MiB.
const MANY: usize = 2_000_000;

/// Counts once for all partitions of a node.
#[derive(Debug)]
pub struct Apart {
    plan: Arc<dyn ExecutionPlan>,
    found: OnceCell<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    batches: Vec<RecordBatch>,
    /// Of the batches.
    _memory: MemoryReservation,
}

impl Apart {
    /// `plan`: a person and the number of its rows, each person once.
    pub(super) fn new(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { plan, found: OnceCell::new() }
    }

    /// To be executed anew.
    pub(super) fn again(&self) -> Self {
        Self::new(Arc::clone(&self.plan))
    }

    /// Nothing where memory is too short to hold a counter a person.
    pub(super) async fn rows(&self, context: &Arc<TaskContext>) -> Result<Option<&[RecordBatch]>> {
        let found = self.found.get_or_try_init(async || match self.count(context).await {
            Ok(found) => Ok(Some(found)),
            Err(DataFusionError::ResourcesExhausted(_)) => Ok(None),
            Err(error) => Err(error),
        });
        Ok(found.await?.as_ref().map(|found| found.batches.as_slice()))
    }

    async fn count(&self, context: &Arc<TaskContext>) -> Result<Found> {
        let memory = MemoryConsumer::new("rows of each person").register(context.memory_pool());
        let mut rows = execute_stream(Arc::clone(&self.plan), Arc::clone(context))?;
        let (mut batches, mut buffers) = (Vec::new(), RecordBatchMemoryCounter::new());
        while let Some(batch) = next(&mut rows).await {
            let batch = batch?;
            memory.try_grow(buffers.count_batch(&batch))?;
            batches.push(batch);
        }
        Ok(Found { batches, _memory: memory })
    }
}

impl BoundGroups {
    /// `input`: the physical plan of what it reads; `key`: the type of its person keys.
    pub(crate) async fn counted_apart(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        key: &DataType,
        session: &dyn Session,
    ) -> Result<Option<Apart>> {
        if rows_read(input) < MANY || !can_be_read_twice(&self.input)? {
            return Ok(None);
        }
        let rows = LogicalPlanBuilder::from(self.input.clone())
            .aggregate(vec![self.person.clone().alias("__u")], vec![count(lit(1)).alias("rows")])?
            .build()?;
        let plan = session.create_physical_plan(&rows).await?;
        Ok((plan.schema().field(0).data_type() == key).then(|| Apart::new(plan)))
    }
}

/// Of all tables, as far as that is known.
fn rows_read(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let inputs = plan.children();
    if !inputs.is_empty() {
        return inputs.into_iter().map(rows_read).fold(0, usize::saturating_add);
    }
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    statistics.ok().and_then(|statistics| statistics.num_rows.get_value().copied()).unwrap_or(0)
}

/// The rows of one table, each at most once. Volatile functions are not planned over rows of persons; here they would be none the less
/// wrong.
fn can_be_read_twice(plan: &LogicalPlan) -> Result<bool> {
    let mut yes = true;
    plan.apply_with_subqueries(|node| {
        yes &= match node {
            LogicalPlan::Projection(projection) => !projection.expr.iter().any(|made| made.is_volatile()),
            LogicalPlan::Filter(filter) => !filter.predicate.is_volatile(),
            LogicalPlan::TableScan(scan) => scan.fetch.is_none() && !scan.filters.iter().any(|kept| kept.is_volatile()),
            LogicalPlan::SubqueryAlias(_) => true,
            LogicalPlan::Aggregate(_)
            | LogicalPlan::Join(_)
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
            | LogicalPlan::RecursiveQuery(_) => false,
        };
        Ok(if yes { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(yes)
}

#[cfg(test)]
mod tests;
