//! The physical node of a release: blocking, one partition, one run of the release function.
//!
//! In: all groups. Out: batches of at most 8,192 measured rows. Must never: run on part of the
//! groups, or draw from a noise stream that another run has used.

use super::run::release;
use super::spec::ReleaseSpec;
use crate::noise::Noise;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{Result, plan_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, PlanProperties,
};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

const ROWS_A_BATCH: usize = 8192;

/// Runs one release.
#[derive(Debug)]
pub struct ReleaseExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<ReleaseSpec>,
    noise: Noise,
    properties: Arc<PlanProperties>,
}

impl ReleaseExec {
    pub fn try_new(input: Arc<dyn ExecutionPlan>, spec: Arc<ReleaseSpec>, noise: Noise) -> Result<Self> {
        spec.check(&input.schema())?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(spec.measured_schema(&input.schema())),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self { input, spec, noise, properties: Arc::new(properties) })
    }

    pub fn spec(&self) -> &Arc<ReleaseSpec> {
        &self.spec
    }
}

impl DisplayAs for ReleaseExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "ReleaseExec: {}", self.spec.describe(&self.input.schema()))
    }
}

impl ExecutionPlan for ReleaseExec {
    fn name(&self) -> &str {
        "ReleaseExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
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
            Ok([input]) => Ok(Arc::new(Self::try_new(input, Arc::clone(&self.spec), self.noise.clone())?)),
            Err(_) => plan_err!("a release has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute),
        )
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 || self.input.output_partitioning().partition_count() != 1 {
            return plan_err!("a release runs once, over all groups");
        }
        let schema = self.schema();
        let input_schema: SchemaRef = self.input.schema();
        let memory = MemoryConsumer::new("Release").register(context.memory_pool());
        let mut input = self.input.execute(0, context)?;
        let (spec, noise) = (Arc::clone(&self.spec), self.noise.clone());
        let mut builder = RecordBatchReceiverStream::builder(schema, 1);
        let output = builder.tx();
        builder.spawn(async move {
            let (mut batches, mut buffers) = (Vec::new(), RecordBatchMemoryCounter::new());
            while let Some(batch) = poll_fn(|cx| input.as_mut().poll_next(cx)).await {
                let batch = batch?;
                // Once as they come, most often parts of one batch that share its memory; once in one piece; and what is measured.
                memory.try_grow(3 * buffers.count_batch(&batch))?;
                batches.push(batch);
            }
            let groups = concat_batches(&input_schema, &batches)?;
            let rows = release(&input_schema, groups.columns(), &spec, &mut noise.stream()?)?;
            for start in (0..rows.num_rows()).step_by(ROWS_A_BATCH) {
                let slice = rows.slice(start, ROWS_A_BATCH.min(rows.num_rows() - start));
                if output.send(Ok(slice)).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }
}
