//! At most M groups a person: the physical node. Blocking a partition; all rows of a person are in one.
//!
//! Counts rows a person first. Nobody above M: the batches go on untouched. Otherwise each person's rows are chosen from as they pass
//! a second time ([`Choice`]).
//!
//! What memory has to hold is a counter a person. Rows wait for the second pass in memory, in as few bits as they need ([`Narrow`]), and
//! on disk what does not fit ([`Counted`]):
//! they come back in the order in which they came, so whether any were spilled changes nothing in what is kept. Where not even the
//! counters fit, rows are cut by person into pieces on disk, and each piece is bounded by itself ([`Cut`]); a person's choice takes
//! other random bits then, of the same distribution, and rows come in another order. Errors: what the memory pool says where there is
//! no room for the counters of the persons of a smallest piece.
//!
//! Reading large tables twice, first for the counters alone, so that nothing waits, was tried: a third of the memory, and more than twice
//! the time; under a limit it was no faster than waiting on disk. Rows of random priorities, of which those that are not among their
//! person's M least so far need not wait, would spare little: of a person's 52 rows with M = 26, M·(1 + ln 2) = 44 would.

mod choice;
mod counted;
mod cut;
mod disk;
mod narrow;
mod rounds;

use crate::noise::Noise;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, plan_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, PlanProperties,
};
use std::fmt;
use std::sync::Arc;

use disk::Disk;
use rounds::{Part, Rounds};

/// Keeps at most `max_groups` rows a person.
#[derive(Debug)]
pub struct BoundGroupsExec {
    input: Arc<dyn ExecutionPlan>,
    person: Arc<dyn PhysicalExpr>,
    max_groups: u64,
    noise: Noise,
    properties: Arc<PlanProperties>,
    /// What was spilled.
    metrics: ExecutionPlanMetricsSet,
}

impl BoundGroupsExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, person: Arc<dyn PhysicalExpr>, max_groups: u64, noise: Noise) -> Self {
        let mut equivalences = input.equivalence_properties().clone();
        equivalences.clear_orderings();
        let properties = PlanProperties::new(
            equivalences,
            input.output_partitioning().clone(),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, person, max_groups, noise, properties: Arc::new(properties), metrics }
    }
}

impl DisplayAs for BoundGroupsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "BoundGroupsExec: person={}, max_groups={}", self.person, self.max_groups)
    }
}

impl ExecutionPlan for BoundGroupsExec {
    fn name(&self) -> &str {
        "BoundGroupsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::KeyPartitioned(vec![Arc::clone(&self.person)])])
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // Pieces come one after the other.
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
            Ok([input]) => {
                Ok(Arc::new(Self::new(input, Arc::clone(&self.person), self.max_groups, self.noise.clone())))
            }
            Err(_) => plan_err!("bound groups has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        f(&self.person)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let disk = Arc::new(Disk::new(self.schema(), &context, &self.metrics, partition));
        let consumer = MemoryConsumer::new("BoundGroups").with_can_spill(disk.is_there());
        let mut rounds = Rounds {
            person: Arc::clone(&self.person),
            key_type: self.person.data_type(&self.input.schema())?,
            max_groups: self.max_groups,
            memory: consumer.register(context.memory_pool()),
            disk,
            stream: self.noise.stream()?,
            parts: vec![Part { rows: self.input.execute(partition, context)?, cuts: 0 }],
            given: None,
        };
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), 1);
        let output = builder.tx();
        builder.spawn(async move {
            while let Some(batch) = rounds.next().await? {
                if output.send(Ok(batch)).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }
}

#[cfg(test)]
#[cfg(debug_assertions)]
mod spill_tests;
#[cfg(test)]
mod tests;
