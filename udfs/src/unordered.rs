//! The same rows, of which nothing is said: no order, no constant, no column that equals another.
//!
//! The engine carries what holds of a join's side over to the join's output, also where the side is padded with NULL (its
//! `EquivalenceGroup::join`), and what holds of a column over to grouping sets, which blank it. An aggregate above then takes
//! `season = 'winter'` for a constant, believes its input sorted by it, and gives out groups before all their rows have come: one
//! person counted twice in a group. So nothing is believed of either: [`unordered`] puts this node above every outer join and below
//! every aggregate of grouping sets.
//!
//! In: a plan. Out: the same rows in the same partitions. Must never: change a row, or let a property through that it has not made.

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, JoinType, Result, Statistics, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Aggregate, Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::{ProjectionExec, make_with_child};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Which properties of the rows below are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Partitions {
    /// How the rows are cut into partitions is true of them.
    Kept,
    /// Not even that: the node above changes the columns that they are cut by.
    Forgotten,
}

/// The logical node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Unordered {
    input: LogicalPlan,
    partitions: Partitions,
}

impl Unordered {
    fn over(input: LogicalPlan, partitions: Partitions) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(Self { input, partitions }) })
    }

    pub(crate) fn exec(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(UnorderedExec::new(input, self.partitions))
    }
}

/// `plan` with nothing believed of outer joins and of what grouping sets read. Not to be optimised further.
pub(crate) fn unordered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let wrapped = plan.transform_up_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::Join(ref join) if pads(join.join_type) => {
                Transformed::yes(Unordered::over(node, Partitions::Kept))
            }
            LogicalPlan::Aggregate(aggregate) if has_grouping_sets(&aggregate) => {
                let input = Unordered::over(Arc::unwrap_or_clone(aggregate.input), Partitions::Forgotten);
                let (schema, groups, aggregates) = (aggregate.schema, aggregate.group_expr, aggregate.aggr_expr);
                let node = Aggregate::try_new_with_schema(Arc::new(input), groups, aggregates, schema)?;
                Transformed::yes(LogicalPlan::Aggregate(node))
            }
            node => Transformed::no(node),
        })
    })?;
    Ok(wrapped.data)
}

/// Does the join give out rows of one side beside NULLs for the other?
fn pads(join: JoinType) -> bool {
    match join {
        JoinType::Left | JoinType::Right | JoinType::Full => true,
        JoinType::Inner
        | JoinType::LeftSemi
        | JoinType::RightSemi
        | JoinType::LeftAnti
        | JoinType::RightAnti
        | JoinType::LeftMark
        | JoinType::RightMark => false,
    }
}

fn has_grouping_sets(aggregate: &Aggregate) -> bool {
    matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)])
}

impl PartialOrd for Unordered {
    /// No order beyond equality.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Unordered {
    fn name(&self) -> &str {
        "Unordered"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Unordered")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) if exprs.is_empty() => Ok(Self { input, partitions: self.partitions }),
            Ok(_) | Err(_) => plan_err!("unordered has one input and no expression"),
        }
    }
}

/// The physical node: hands batches through.
#[derive(Debug)]
struct UnorderedExec {
    input: Arc<dyn ExecutionPlan>,
    partitions: Partitions,
    properties: Arc<PlanProperties>,
}

impl UnorderedExec {
    fn new(input: Arc<dyn ExecutionPlan>, partitions: Partitions) -> Self {
        let partitioning = match partitions {
            Partitions::Kept => input.output_partitioning().clone(),
            Partitions::Forgotten => Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            partitioning,
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, partitions, properties: Arc::new(properties) }
    }
}

impl DisplayAs for UnorderedExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "UnorderedExec")
    }
}

impl ExecutionPlan for UnorderedExec {
    fn name(&self) -> &str {
        "UnorderedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::new(input, self.partitions))),
            Err(_) => plan_err!("unordered has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// How many rows there are is all that is handed on.
    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let unknown = Statistics::new_unknown(&self.schema());
        let rows = inputs.first().map_or(unknown.num_rows, |input| input.num_rows);
        Ok(Arc::new(Statistics { num_rows: rows, ..unknown }))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    /// A projection that does nothing but drop columns goes below, where the join may do it while it joins. One that makes columns
    /// stays: what is known of those (a literal is constant) would be forgotten after plans were made of it.
    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let places: Option<BTreeSet<usize>> =
            projection.expr().iter().map(|made| made.expr.downcast_ref::<Column>().map(Column::index)).collect();
        let drops = places.is_some_and(|places| {
            places.len() == projection.expr().len() && places.len() < projection.input().schema().fields().len()
        });
        if !drops || self.partitions == Partitions::Forgotten {
            return Ok(None);
        }
        let projected = make_with_child(projection, &self.input)?;
        Ok(Some(Arc::new(Self::new(projected, self.partitions))))
    }
}
