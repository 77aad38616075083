//! Where a plan reads what it shares with others: the logical leaf, and the physical one.
//!
//! In: a hub, and which of its readers this is. Out: the hub's rows, in its partitions. The physical node has no inputs: what is below it
//! is planned once, by itself, so no rule may change it for one reader and not for the others. Must never: be planned twice.

use super::hub::Hub;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Result, Statistics, internal_err, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// A hub that gets its plan when all plans are made.
#[derive(Debug, Default)]
pub(super) struct Place(OnceLock<Arc<Hub>>);

impl Place {
    pub fn fill(&self, hub: Hub) -> Result<()> {
        self.0.set(Arc::new(hub)).or_else(|_| internal_err!("a shared plan is made once"))
    }
}

/// The logical leaf.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    place: Arc<Place>,
    /// Of the hub, for people.
    number: usize,
    reader: usize,
    schema: DFSchemaRef,
}

impl Shared {
    pub(super) fn new(place: Arc<Place>, number: usize, reader: usize, schema: DFSchemaRef) -> Self {
        Self { place, number, reader, schema }
    }

    pub(super) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    pub(crate) fn exec(&self) -> Result<Arc<dyn ExecutionPlan>> {
        match self.place.0.get() {
            Some(hub) => Ok(Arc::new(SharedExec::new(Arc::clone(hub), self.number, self.reader))),
            None => plan_err!("a shared plan is made before those that read it"),
        }
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.place, &other.place) && self.reader == other.reader
    }
}

impl Eq for Shared {}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.number, self.reader).hash(state);
    }
}

impl PartialOrd for Shared {
    /// No order beyond equality.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Shared {
    fn name(&self) -> &str {
        "Shared"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Shared: {}", self.number)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        if !exprs.is_empty() || !inputs.is_empty() {
            return plan_err!("what is shared has no inputs here");
        }
        Ok(self.clone())
    }
}

/// The physical leaf.
#[derive(Debug)]
pub(super) struct SharedExec {
    hub: Arc<Hub>,
    number: usize,
    reader: usize,
    properties: Arc<PlanProperties>,
}

impl SharedExec {
    pub(super) fn new(hub: Arc<Hub>, number: usize, reader: usize) -> Self {
        let plan = hub.plan();
        let properties = PlanProperties::new(
            plan.equivalence_properties().clone(),
            plan.output_partitioning().clone(),
            plan.pipeline_behavior(),
            plan.boundedness(),
        );
        Self { number, reader, properties: Arc::new(properties), hub }
    }
}

impl DisplayAs for SharedExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SharedExec: {}", self.number)
    }
}

impl ExecutionPlan for SharedExec {
    fn name(&self) -> &str {
        "SharedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return plan_err!("what is shared has no inputs here");
        }
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if !children.is_empty() {
            return plan_err!("what is shared has no inputs here");
        }
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.hub.read(self.reader, partition, context)
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        StatisticsContext::new().compute(self.hub.plan().as_ref(), args)
    }
}
