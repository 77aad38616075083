//! At most M groups a person: the physical node. Blocking a partition; all rows of a person are in
//! one.
//!
//! Counts rows a person first. Nobody above M: the batches go on untouched. Otherwise each person's
//! rows are sampled as they pass, by selection sampling (Knuth, TAOCP 2, algorithm 3.4.2S): a row
//! is kept with probability (still needed)/(still to come), which makes every M-subset equally
//! likely whatever the order of arrival; the same choice as the M smallest of random priorities.

use crate::noise::{Noise, NoiseStream};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, plan_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use datafusion::physical_plan::aggregates::group_values::new_group_values;
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, PlanProperties,
};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

/// Keeps at most `max_groups` rows a person.
#[derive(Debug)]
pub struct BoundGroupsExec {
    input: Arc<dyn ExecutionPlan>,
    person: Arc<dyn PhysicalExpr>,
    max_groups: u64,
    noise: Noise,
    properties: Arc<PlanProperties>,
}

impl BoundGroupsExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, person: Arc<dyn PhysicalExpr>, max_groups: u64, noise: Noise) -> Self {
        let properties = PlanProperties::new(
            input.equivalence_properties().clone(),
            input.output_partitioning().clone(),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { input, person, max_groups, noise, properties: Arc::new(properties) }
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
        vec![true]
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

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("BoundGroups").register(context.memory_pool());
        let mut input = self.input.execute(partition, context)?;
        let mut counted = Counted::new(Arc::clone(&self.person), &self.input.schema(), memory)?;
        let (max_groups, noise) = (self.max_groups, self.noise.clone());
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), 1);
        let output = builder.tx();
        builder.spawn(async move {
            while let Some(batch) = poll_fn(|cx| input.as_mut().poll_next(cx)).await {
                counted.take_in(batch?)?;
            }
            let mut bound = Bound::new(counted.rows, max_groups, noise.stream()?);
            for (batch, persons) in counted.batches {
                if output.send(bound.keep(batch, &persons)).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }
}

/// All rows of a partition, with the number of each row's person.
struct Counted {
    person: Arc<dyn PhysicalExpr>,
    numbers: Box<dyn datafusion::physical_plan::aggregates::group_values::GroupValues>,
    batches: Vec<(RecordBatch, Vec<usize>)>,
    /// Rows of each person.
    rows: Vec<u64>,
    memory: MemoryReservation,
}

impl Counted {
    fn new(person: Arc<dyn PhysicalExpr>, input: &Schema, memory: MemoryReservation) -> Result<Self> {
        let key = Field::new("person", person.data_type(input)?, true);
        let numbers = new_group_values(Arc::new(Schema::new(vec![key])), &GroupOrdering::None)?;
        Ok(Self { person, numbers, batches: Vec::new(), rows: Vec::new(), memory })
    }

    fn take_in(&mut self, batch: RecordBatch) -> Result<()> {
        let column = self.person.evaluate(&batch)?.into_array(batch.num_rows())?;
        let mut persons = Vec::with_capacity(batch.num_rows());
        self.numbers.intern(&[column], &mut persons)?;
        self.rows.resize(self.numbers.len(), 0);
        for &person in &persons {
            self.rows[person] += 1;
        }
        self.memory.try_grow(batch.get_array_memory_size() + persons.len() * size_of::<usize>())?;
        self.batches.push((batch, persons));
        Ok(())
    }
}

/// The choice of rows, person by person.
struct Bound {
    max_groups: u64,
    /// Rows of each person that have not been looked at.
    to_come: Vec<u64>,
    /// Rows of each person that are still to be kept.
    needed: Vec<u64>,
    nobody_exceeds: bool,
    stream: NoiseStream,
}

impl Bound {
    fn new(rows: Vec<u64>, max_groups: u64, stream: NoiseStream) -> Self {
        let nobody_exceeds = rows.iter().all(|&rows| rows <= max_groups);
        #[cfg(feature = "mutants")]
        let nobody_exceeds = nobody_exceeds || crate::mutants::Mutant::UnboundedGroups.lives();
        let needed = rows.iter().map(|&rows| rows.min(max_groups)).collect();
        Self { max_groups, to_come: rows, needed, nobody_exceeds, stream }
    }

    fn keep(&mut self, batch: RecordBatch, persons: &[usize]) -> Result<RecordBatch> {
        if self.nobody_exceeds {
            return Ok(batch);
        }
        let kept: BooleanArray = persons.iter().map(|&person| Some(self.keeps(person))).collect();
        Ok(filter_record_batch(&batch, &kept)?)
    }

    fn keeps(&mut self, person: usize) -> bool {
        let (to_come, needed) = (self.to_come[person], self.needed[person]);
        let keep = needed == to_come || self.stream.below(to_come) < needed;
        self.to_come[person] -= 1;
        self.needed[person] -= u64::from(keep);
        debug_assert!(self.needed[person] <= self.max_groups);
        keep
    }
}

#[cfg(test)]
mod tests;
