//! Grouping by person and group: the physical node that takes the place of the engine's aggregation where a group column is the person
//! key.
//!
//! A hash table over (group, person) holds as many entries as there are persons, and each row is hashed and compared over all its
//! columns. Groups are few and persons mostly have one, so here they are numbered apart: the persons by their key ([`Persons`]), the
//! groups by what the person's group was before ([`Groups`]), and the pair is looked up by the person's number.
//!
//! The partial step gives out what it has where memory is short or grouping does not pay, and the final one merges it. Where memory is
//! short for the final step, what it has goes on to the engine's own, which spills. Law: no state and no result differs from the
//! engine's own.

mod groups;
mod handed_over;
mod numbered;
mod others;
mod pairs;
mod partitioned;
mod persons;
mod sums;
mod table;

use arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

use handed_over::handed_over;
pub(crate) use numbered::Numbered;
use partitioned::cut_once;
use table::{Step, Table};

/// `plan` with every aggregation by person in this node's hands, and rows cut by person once.
pub(crate) fn by_person(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let cut = |node| Ok(cut_once(&node)?.map_or_else(|| Transformed::no(node), Transformed::yes));
    let plan = plan.transform_up(cut).data()?;
    plan.transform_up(|node| {
        let aggregate = node.downcast_ref::<AggregateExec>();
        Ok(match aggregate.and_then(ByPersonExec::instead_of) {
            Some(exec) => Transformed::yes(Arc::new(exec) as Arc<dyn ExecutionPlan>),
            None => Transformed::no(node),
        })
    })
    .data()
}

/// The columns that the private plan carries person keys in.
pub(crate) fn is_person(name: &str) -> bool {
    name == "__u" || name.starts_with("__person_")
}

/// One step of an aggregation.
#[derive(Debug)]
struct ByPersonExec {
    /// What it stands for.
    aggregate: AggregateExec,
    step: Step,
    /// Which of the group columns are the person key, ascending: one may stand there under several names.
    persons: Vec<usize>,
}

impl ByPersonExec {
    /// Nothing where the engine's own is the right one.
    fn instead_of(aggregate: &AggregateExec) -> Option<Self> {
        let step = match aggregate.mode() {
            AggregateMode::Partial => Step::Partial,
            AggregateMode::Final | AggregateMode::FinalPartitioned => Step::Final,
            // What is whole in one step, or not at its end after two, is the engine's.
            AggregateMode::Single | AggregateMode::SinglePartitioned | AggregateMode::PartialReduce => return None,
        };
        let plain = *aggregate.input_order_mode() == InputOrderMode::Linear
            && aggregate.group_expr().is_single()
            && aggregate.limit_options().is_none()
            && aggregate.dynamic_expressions_produced().is_empty()
            && aggregate
                .aggr_expr()
                .iter()
                .all(|call| call.groups_accumulator_supported() && call.order_bys().is_empty());
        let persons = person_columns(aggregate);
        (plain && !persons.is_empty()).then(|| Self { aggregate: aggregate.clone(), step, persons })
    }
}

/// The group column that is called a person key, and those that a projection below makes of the same.
fn person_columns(aggregate: &AggregateExec) -> Vec<usize> {
    let groups = aggregate.group_expr().expr();
    let Some(person) = groups.iter().position(|(_, name)| is_person(name)) else { return Vec::new() };
    let projection = aggregate.input().downcast_ref::<ProjectionExec>();
    let made_of = |group: usize| {
        let column = groups[group].0.downcast_ref::<Column>()?;
        projection?.expr().get(column.index()).map(|made| &made.expr)
    };
    let same = |group: &usize| *group == person || (made_of(person).is_some() && made_of(*group) == made_of(person));
    (0..groups.len()).filter(same).collect()
}

impl DisplayAs for ByPersonExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "ByPersonExec: ")?;
        self.aggregate.fmt_as(format, f)
    }
}

impl ExecutionPlan for ByPersonExec {
    fn name(&self) -> &str {
        "ByPersonExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.aggregate.children()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let aggregate = Arc::new(self.aggregate.clone()).replace_children(children, options)?;
        // Over other children another way of grouping may be the right one.
        let exec = aggregate.downcast_ref::<AggregateExec>().and_then(Self::instead_of);
        Ok(exec.map_or(aggregate, |exec| Arc::new(exec)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(f)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("ByPerson").with_can_spill(true).register(context.memory_pool());
        let table = Table::new(&self.aggregate, self.step, self.persons.clone(), memory)?;
        let input = self.aggregate.input().execute(partition, Arc::clone(&context))?;
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), 2);
        let output = Output { to: builder.tx(), batch_size: context.session_config().batch_size() };
        match self.step {
            Step::Partial => {
                let execution = &context.session_config().options().execution;
                let ratio = execution.skip_partial_aggregation_probe_ratio_threshold;
                builder.spawn(partial(table, input, output, ratio));
            }
            Step::Final => {
                builder.spawn(last(table, input, output, self.aggregate.clone(), context));
            }
        }
        Ok(builder.build())
    }
}

struct Output {
    to: Sender<Result<RecordBatch>>,
    batch_size: usize,
}

impl Output {
    /// False where nobody reads any more.
    async fn give(&self, batch: RecordBatch) -> bool {
        for start in (0..batch.num_rows()).step_by(self.batch_size) {
            let slice = batch.slice(start, self.batch_size.min(batch.num_rows() - start));
            if self.to.send(Ok(slice)).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Rows in, states out, a pair in several of them where memory was short or grouping does not pay.
async fn partial(mut table: Table, mut input: SendableRecordBatchStream, output: Output, ratio: f64) -> Result<()> {
    let mut pays = None;
    while let Some(batch) = poll_fn(|context| input.as_mut().poll_next(context)).await {
        let batch = batch?;
        let given = match pays {
            Some(false) => Some(table.convert(&batch)?),
            Some(true) | None => match table.add(&batch) {
                Ok(()) => None,
                Err(DataFusionError::ResourcesExhausted(_)) => Some(table.emit()?),
                Err(error) => return Err(error),
            },
        };
        if pays.is_none() && given.is_none() {
            pays = table.pays(ratio);
        }
        let given = if pays == Some(false) && !table.is_empty() { Some(table.emit()?) } else { given };
        if let Some(given) = given
            && !output.give(given).await
        {
            return Ok(());
        }
    }
    if !table.is_empty() {
        output.give(table.emit()?).await;
    }
    Ok(())
}

/// States in, results out.
async fn last(
    mut table: Table,
    mut input: SendableRecordBatchStream,
    output: Output,
    aggregate: AggregateExec,
    context: Arc<TaskContext>,
) -> Result<()> {
    while let Some(batch) = poll_fn(|cx| input.as_mut().poll_next(cx)).await {
        match table.add(&batch?) {
            Ok(()) => (),
            Err(DataFusionError::ResourcesExhausted(_)) => {
                let states = table.states()?;
                drop(table);
                let mut results = handed_over(&aggregate, states, input, context)?;
                while let Some(batch) = poll_fn(|cx| results.as_mut().poll_next(cx)).await {
                    if !output.give(batch?).await {
                        return Ok(());
                    }
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    output.give(table.emit()?).await;
    Ok(())
}

#[cfg(test)]
mod tests;
