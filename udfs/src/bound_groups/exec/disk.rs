//! Files of rows, by the engine's own means: where its disk manager says, one writer and one reader each, removed with the last of them.
//!
//! What is written are rows of persons. Must never: outlive the query, or be written anywhere but where the disk manager says.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::spill_pool::{SpillPoolSink, spsc_channel};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// Where rows of one partition go that do not fit into memory.
pub(super) struct Disk {
    is_there: bool,
    rows: Arc<SpillManager>,
    numbered: Arc<SpillManager>,
    batch_size: usize,
}

impl Disk {
    pub(super) fn new(
        schema: SchemaRef,
        context: &TaskContext,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> Self {
        let runtime = context.runtime_env();
        let is_there = runtime.disk_manager.tmp_files_enabled();
        let config = context.session_config();
        let metrics = SpillMetrics::new(metrics, partition);
        let manager = |schema| {
            let manager = SpillManager::new(Arc::clone(&runtime), metrics.clone(), schema);
            Arc::new(manager.with_compression_type(config.spill_compression()))
        };
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(Field::new("number of the person", DataType::UInt32, false)));
        let numbered =
            manager(Arc::new(arrow::datatypes::Schema::new_with_metadata(fields, schema.metadata().clone())));
        Self { is_there, rows: manager(schema), numbered, batch_size: config.batch_size() }
    }

    /// Whether anything may be written.
    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    /// Rows that are worth a write.
    pub(super) fn batch_size(&self) -> usize {
        self.batch_size
    }

    pub(super) fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::clone(self.schema()), columns)?)
    }

    /// An empty file of rows.
    pub(super) fn rows(&self) -> File {
        File::new(&self.rows)
    }

    /// An empty file of rows that have the number of their person as a last column.
    pub(super) fn numbered(&self) -> File {
        File::new(&self.numbered)
    }
}

/// Made on disk with its first batch.
pub(super) struct File {
    schema: SchemaRef,
    writer: SpillPoolSink,
    rows: SendableRecordBatchStream,
}

impl File {
    fn new(manager: &Arc<SpillManager>) -> Self {
        // One file, however large: parts of a large batch each count as the whole of it.
        let (writer, rows) = spsc_channel(usize::MAX, Arc::clone(manager));
        Self { schema: Arc::clone(manager.schema()), writer, rows }
    }

    pub(super) fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        self.writer.push_batch(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// What was written, in that order.
    pub(super) fn read(self) -> SendableRecordBatchStream {
        drop(self.writer);
        self.rows
    }
}

pub(super) async fn next(rows: &mut SendableRecordBatchStream) -> Option<Result<RecordBatch>> {
    poll_fn(|context| rows.as_mut().poll_next(context)).await
}

/// Between writes, for these do not wait: a place to be cancelled at.
pub(super) async fn others_may_run() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
