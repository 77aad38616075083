//! Grouping by person and group: the physical node that takes the place of the engine's partial aggregation where a group column is
//! the person key.
//!
//! A hash table over (group, person) holds as many entries as there are persons, and each row is hashed and compared over all its
//! columns. Groups are few and persons mostly have one, so here they are numbered apart: the groups in a small table that stays
//! in the cache ([`new_group_values`]), the persons by their key ([`Persons`]), and the pair is looked up by the person's number.
//! What is summed is the engine's own: its `GroupsAccumulator`s, fed with the pairs' numbers.
//!
//! In: rows. Out: what the partial aggregation gives, in any order: group columns and states, a pair in several rows where memory was
//! short or grouping did not pay; the final aggregation above merges them. Law: no state differs from the engine's own. Must never:
//! stand in the place of a final aggregation.

mod pairs;
mod partitioned;
mod persons;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use pairs::Pairs;
use partitioned::cut_once;
pub(crate) use persons::Persons;

/// Rows after which it is asked whether grouping pays.
const PROBE_ROWS: usize = 100_000;

/// `plan` with every partial aggregation by person in this node's hands, and rows cut by person once.
pub(crate) fn by_person(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if let Some(node) = cut_once(&node)? {
            return Ok(Transformed::yes(node));
        }
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

/// A partial aggregation.
#[derive(Debug)]
struct ByPersonExec {
    /// What it stands for.
    partial: AggregateExec,
    /// Which of the group columns are the person key, ascending: one may stand there under several names.
    persons: Vec<usize>,
}

impl ByPersonExec {
    /// Nothing where the engine's own is the right one.
    fn instead_of(aggregate: &AggregateExec) -> Option<Self> {
        let plain = *aggregate.mode() == AggregateMode::Partial
            && *aggregate.input_order_mode() == InputOrderMode::Linear
            && aggregate.group_expr().is_single()
            && aggregate.limit_options().is_none()
            && aggregate.dynamic_expressions_produced().is_empty()
            && aggregate
                .aggr_expr()
                .iter()
                .all(|call| call.groups_accumulator_supported() && call.order_bys().is_empty());
        let persons = person_columns(aggregate);
        (plain && !persons.is_empty()).then(|| Self { partial: aggregate.clone(), persons })
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
        self.partial.fmt_as(format, f)
    }
}

impl ExecutionPlan for ByPersonExec {
    fn name(&self) -> &str {
        "ByPersonExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.partial.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.partial.children()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partial = Arc::new(self.partial.clone()).replace_children(children, options)?;
        // Over other children another way of grouping may be the right one.
        let exec = partial.downcast_ref::<AggregateExec>().and_then(Self::instead_of);
        Ok(exec.map_or(partial, |exec| Arc::new(exec)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.partial.apply_expressions(f)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch_size = context.session_config().batch_size();
        let memory = MemoryConsumer::new("ByPerson").with_can_spill(true).register(context.memory_pool());
        let mut table = Table::new(&self.partial, self.persons.clone(), memory)?;
        let skip_ratio = context.session_config().options().execution.skip_partial_aggregation_probe_ratio_threshold;
        let mut input = self.partial.input().execute(partition, context)?;
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), 2);
        let output = builder.tx();
        builder.spawn(async move {
            let send = async |batch: RecordBatch| {
                for start in (0..batch.num_rows()).step_by(batch_size) {
                    let slice = batch.slice(start, batch_size.min(batch.num_rows() - start));
                    if output.send(Ok(slice)).await.is_err() {
                        return false;
                    }
                }
                true
            };
            let mut probing = true;
            let mut pays = true;
            while let Some(batch) = poll_fn(|cx| input.as_mut().poll_next(cx)).await {
                let batch = batch?;
                let given = match pays {
                    true => table.add(&batch)?,
                    false => Some(table.convert(&batch)?),
                };
                if let Some(given) = given
                    && !send(given).await
                {
                    return Ok(());
                }
                if probing && table.rows >= PROBE_ROWS {
                    probing = false;
                    pays = (table.pairs.len() as f64) < skip_ratio * table.rows as f64;
                    if !pays && !send(table.emit()?).await {
                        return Ok(());
                    }
                }
            }
            if pays {
                send(table.emit()?).await;
            }
            Ok(())
        });
        Ok(builder.build())
    }
}

/// One aggregate call: what it reads, and its states.
struct Call {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    states: Box<dyn GroupsAccumulator>,
}

/// The values that one call reads of a batch.
struct Arguments {
    values: Vec<ArrayRef>,
    filter: Option<ArrayRef>,
}

impl Call {
    fn read(&self, batch: &RecordBatch) -> Result<Arguments> {
        let read = |expression: &Arc<dyn PhysicalExpr>| expression.evaluate(batch)?.into_array(batch.num_rows());
        let values = self.arguments.iter().map(read).collect::<Result<_>>()?;
        Ok(Arguments { values, filter: self.filter.as_ref().map(read).transpose()? })
    }
}

impl Arguments {
    fn filter(&self) -> Option<&BooleanArray> {
        self.filter.as_ref().map(|filter| filter.as_boolean())
    }
}

/// The pairs of one partition and their states.
struct Table {
    schema: SchemaRef,
    /// The person key.
    person: Arc<dyn PhysicalExpr>,
    /// Where it stands among the group columns.
    places: Vec<usize>,
    /// The other group columns.
    columns: Vec<Arc<dyn PhysicalExpr>>,
    persons: Persons,
    /// Nothing where there is no other group column.
    groups: Option<Box<dyn GroupValues>>,
    group_schema: SchemaRef,
    pairs: Pairs,
    calls: Vec<Call>,
    /// Rows that were looked at.
    rows: usize,
    memory: MemoryReservation,
    /// Of the last batch, to be used again.
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    persons: Vec<u32>,
    groups: Vec<usize>,
    pairs: Vec<usize>,
}

impl Table {
    fn new(partial: &AggregateExec, places: Vec<usize>, memory: MemoryReservation) -> Result<Self> {
        let (mut columns, mut fields, mut person) = (Vec::new(), Vec::new(), None);
        let schema = partial.group_expr().group_schema(&partial.input().schema())?;
        for (number, ((column, _), field)) in partial.group_expr().expr().iter().zip(schema.fields()).enumerate() {
            if places.contains(&number) {
                person = Some((Arc::clone(column), field.data_type().clone()));
            } else {
                columns.push(Arc::clone(column));
                fields.push(Arc::clone(field));
            }
        }
        let Some((person, key_type)) = person else { return internal_err!("no person to aggregate by") };
        let group_schema = Arc::new(Schema::new(fields));
        let calls = partial.aggr_expr().iter().zip(partial.filter_expr()).map(|(call, filter)| {
            Ok(Call {
                arguments: call.expressions(),
                filter: filter.clone(),
                states: call.create_groups_accumulator()?,
            })
        });
        Ok(Self {
            schema: partial.schema(),
            person,
            places,
            columns,
            persons: Persons::new(&key_type)?,
            groups: new_groups(&group_schema)?,
            group_schema,
            pairs: Pairs::default(),
            calls: calls.collect::<Result<_>>()?,
            rows: 0,
            memory,
            scratch: Scratch::default(),
        })
    }

    /// Adds rows. Gives out everything where memory is short.
    fn add(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let (person, groups) = self.read(batch)?;
        self.persons.number(&person, &mut self.scratch.persons)?;
        match &mut self.groups {
            Some(table) => table.intern(&groups, &mut self.scratch.groups)?,
            None => {
                self.scratch.groups.clear();
                self.scratch.groups.resize(batch.num_rows(), 0);
            }
        }
        self.pairs.number(&self.scratch.persons, &self.scratch.groups, self.persons.len(), &mut self.scratch.pairs)?;
        for call in &mut self.calls {
            let arguments = call.read(batch)?;
            call.states.update_batch(&arguments.values, &self.scratch.pairs, arguments.filter(), self.pairs.len())?;
        }
        self.rows += batch.num_rows();
        match self.memory.try_resize(self.size()) {
            Ok(()) => Ok(None),
            Err(DataFusionError::ResourcesExhausted(_)) if self.pairs.len() > 0 => {
                let given = self.emit()?;
                self.memory.try_resize(self.size())?;
                Ok(Some(given))
            }
            Err(error) => Err(error),
        }
    }

    /// The values of the person key, and of the other group columns.
    fn read(&self, batch: &RecordBatch) -> Result<(ArrayRef, Vec<ArrayRef>)> {
        let read = |column: &Arc<dyn PhysicalExpr>| column.evaluate(batch)?.into_array(batch.num_rows());
        let columns = self.columns.iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok((read(&self.person)?, columns))
    }

    /// The person key in its places among the other group columns.
    fn placed(&self, person: &ArrayRef, mut columns: Vec<ArrayRef>) -> Vec<ArrayRef> {
        for &place in &self.places {
            columns.insert(place, Arc::clone(person));
        }
        columns
    }

    /// Everything so far; the table is empty then.
    fn emit(&mut self) -> Result<RecordBatch> {
        let (persons, groups) = self.pairs.take();
        let key = take(&self.persons.emit()?, &UInt32Array::from(persons), None)?;
        let columns = match &mut self.groups {
            Some(table) => {
                let groups = UInt32Array::from(groups);
                let values = table.emit(EmitTo::All)?;
                values.iter().map(|column| take(column, &groups, None)).collect::<std::result::Result<Vec<_>, _>>()?
            }
            None => Vec::new(),
        };
        let mut columns = self.placed(&key, columns);
        for call in &mut self.calls {
            columns.extend(call.states.state(EmitTo::All)?);
        }
        self.groups = new_groups(&self.group_schema)?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Each row as a group of its own.
    fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (person, columns) = self.read(batch)?;
        let mut columns = self.placed(&person, columns);
        for call in &self.calls {
            let arguments = call.read(batch)?;
            columns.extend(call.states.convert_to_state(&arguments.values, arguments.filter())?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn size(&self) -> usize {
        let states: usize = self.calls.iter().map(|call| call.states.size()).sum();
        states + self.persons.size() + self.groups.as_ref().map_or(0, |groups| groups.size()) + self.pairs.size()
    }
}

fn new_groups(schema: &SchemaRef) -> Result<Option<Box<dyn GroupValues>>> {
    match schema.fields().is_empty() {
        true => Ok(None),
        false => new_group_values(Arc::clone(schema), &GroupOrdering::None).map(Some),
    }
}

#[cfg(test)]
mod tests;
