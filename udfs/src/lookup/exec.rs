//! The physical node. Rows stream; the table is read once, by the first partition that comes, and serves all.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, is_not_null, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{DataFusionError, Result, Statistics, plan_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;
use tokio::sync::OnceCell;

use super::table::Table;
use super::{Gives, Which};

/// Batches of rows that may wait in each partition for the table: a part of reading it is the work of one thread, and others go on.
const BATCHES_AHEAD: usize = 8;

#[derive(Debug)]
pub(super) struct LookupExec {
    /// Left and right, as in the join.
    sides: [Arc<dyn ExecutionPlan>; 2],
    keys: [usize; 2],
    table: Which,
    gives: Gives,
    read: Arc<OnceCell<Arc<Table>>>,
    properties: Arc<PlanProperties>,
}

impl LookupExec {
    pub(super) fn new(sides: [Arc<dyn ExecutionPlan>; 2], keys: [usize; 2], table: Which, gives: Gives) -> Self {
        let rows = match table {
            Which::Left => &sides[1],
            Which::Right => &sides[0],
        };
        let fields = sides.iter().flat_map(|side| side.schema().fields().iter().cloned().collect::<Vec<_>>());
        let schema = match gives {
            Gives::Both => Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            Gives::Row => rows.schema(),
            Gives::Mark => {
                let mark = Arc::new(Field::new("mark", DataType::Boolean, false));
                Arc::new(Schema::new(rows.schema().fields().iter().cloned().chain([mark]).collect::<Vec<_>>()))
            }
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(rows.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { sides, keys, table, gives, read: Arc::default(), properties: Arc::new(properties) }
    }

    fn rows(&self) -> &Arc<dyn ExecutionPlan> {
        match self.table {
            Which::Left => &self.sides[1],
            Which::Right => &self.sides[0],
        }
    }

    fn table(&self) -> &Arc<dyn ExecutionPlan> {
        match self.table {
            Which::Left => &self.sides[0],
            Which::Right => &self.sides[1],
        }
    }

    fn passing(&self) -> Passing {
        let [left, right] = self.keys;
        let (row_key, table_key) = match self.table {
            Which::Left => (right, left),
            Which::Right => (left, right),
        };
        Passing { row_key, table_key, table: self.table, gives: self.gives, schema: self.schema() }
    }
}

/// Rows of the table, and what memory they take.
async fn read(table: Arc<dyn ExecutionPlan>, key: usize, all: bool, context: Arc<TaskContext>) -> Result<Arc<Table>> {
    let memory = MemoryConsumer::new("Lookup").register(context.memory_pool());
    let mut batches: Vec<RecordBatch> = Vec::new();
    // Batches may be slices of the same memory.
    let (held, mut buffers) = (memory.new_empty(), RecordBatchMemoryCounter::new());
    for partition in 0..table.output_partitioning().partition_count() {
        let mut rows = table.execute(partition, Arc::clone(&context))?;
        while let Some(batch) = rows.try_next().await? {
            held.try_grow(buffers.count_batch(&batch))?;
            batches.push(batch);
        }
    }
    Table::new(&table.schema(), key, all, &batches, memory).map(Arc::new)
}

/// The same rows, which others make while nobody takes them yet.
fn ahead(mut rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let mut builder = RecordBatchReceiverStream::builder(rows.schema(), BATCHES_AHEAD);
    let to = builder.tx();
    builder.spawn(async move {
        while let Some(batch) = rows.next().await {
            if to.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    builder.build()
}

/// What a batch needs to pass by the table.
struct Passing {
    row_key: usize,
    table_key: usize,
    table: Which,
    gives: Gives,
    schema: SchemaRef,
}

impl Passing {
    /// The rows that find their key, beside what stands there.
    fn pass(&self, batch: &RecordBatch, table: &Table) -> Result<RecordBatch> {
        let key = batch.column(self.row_key);
        let mut found = table.find(key)?;
        if self.gives == Gives::Mark {
            let marks: ArrayRef = Arc::new(is_not_null(&found)?);
            let columns = batch.columns().iter().cloned().chain([marks]).collect();
            return Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        }
        let kept;
        let rows = if found.null_count() > 0 {
            let there = is_not_null(&found)?;
            found = found.iter().flatten().collect();
            kept = filter_record_batch(batch, &there)?;
            &kept
        } else {
            batch
        };
        if self.gives == Gives::Row {
            return Ok(rows.clone());
        }
        self.beside(rows, &found, table)
    }

    /// Rows, and the table's rows of these numbers beside them.
    fn beside(&self, rows: &RecordBatch, numbers: &UInt32Array, table: &Table) -> Result<RecordBatch> {
        let mut of_table = table.columns(numbers)?;
        // Equal to the row's, and of its type.
        of_table.insert(self.table_key, Arc::clone(rows.column(self.row_key)));
        let of_rows = rows.columns().iter().cloned();
        let columns = match self.table {
            Which::Left => of_table.into_iter().chain(of_rows).collect(),
            Which::Right => of_rows.chain(of_table).collect(),
        };
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// What goes on of a batch, in batches that are no larger where a key comes more than once.
fn passed(
    passing: Arc<Passing>,
    batch: RecordBatch,
    table: Arc<Table>,
) -> Box<dyn Iterator<Item = Result<RecordBatch>> + Send> {
    if !table.repeats() {
        return Box::new(std::iter::once(passing.pass(&batch, &table)));
    }
    let found = match table.find(batch.column(passing.row_key)) {
        Ok(found) => found,
        Err(error) => return Box::new(std::iter::once(Err(error))),
    };
    let (mut row, mut at, most) = (0, None, batch.num_rows());
    Box::new(std::iter::from_fn(move || {
        let (mut rows, mut numbers) = (Vec::new(), Vec::new());
        while row < found.len() && numbers.len() < most {
            match at.or_else(|| found.is_valid(row).then(|| found.value(row))) {
                Some(number) => {
                    rows.push(row as u32);
                    numbers.push(number);
                    at = table.next(number);
                }
                None => at = None,
            }
            row += usize::from(at.is_none());
        }
        (!rows.is_empty()).then(|| {
            let rows = take_record_batch(&batch, &UInt32Array::from(rows))?;
            passing.beside(&rows, &UInt32Array::from(numbers), &table)
        })
    }))
}

impl DisplayAs for LookupExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "LookupExec: {:?} is held, keys={:?}, gives={:?}", self.table, self.keys, self.gives)
    }
}

impl ExecutionPlan for LookupExec {
    fn name(&self) -> &str {
        "LookupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(match self.table {
            Which::Left => vec![Distribution::SinglePartition, Distribution::UnspecifiedDistribution],
            Which::Right => vec![Distribution::UnspecifiedDistribution, Distribution::SinglePartition],
        })
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.table == Which::Right, self.table == Which::Left]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.sides.iter().collect()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[Arc<dyn ExecutionPlan>; 2]>::try_from(children) {
            Ok(sides) => Ok(Arc::new(Self::new(sides, self.keys, self.table, self.gives))),
            Err(_) => plan_err!("a lookup has two inputs"),
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
        let passing = Arc::new(self.passing());
        let (once, table, key) = (Arc::clone(&self.read), Arc::clone(self.table()), passing.table_key);
        let all = self.gives == Gives::Both;
        let rows = ahead(self.rows().execute(partition, Arc::clone(&context))?);
        let passed = stream::once(async move {
            let table = once.get_or_try_init(|| read(table, key, all, context)).await?.clone();
            let passed =
                rows.map_ok(move |batch| stream::iter(passed(Arc::clone(&passing), batch, Arc::clone(&table))));
            Ok::<_, DataFusionError>(passed.try_flatten())
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), passed.try_flatten())))
    }

    /// As many rows as come, where all find their key.
    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let unknown = Statistics::new_unknown(&self.schema());
        let rows = match self.table {
            Which::Left => inputs.get(1),
            Which::Right => inputs.first(),
        };
        let rows = rows.map_or(unknown.num_rows, |rows| rows.num_rows.to_inexact());
        Ok(Arc::new(Statistics { num_rows: rows, ..unknown }))
    }
}
