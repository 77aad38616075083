//! The engine's own final step, over states that are there already and those that still come.
//!
//! It spills where memory is short, which the table by person does not.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};

/// The results of `aggregate`, a final step, over `states` and then `rest`.
pub(super) fn handed_over(
    aggregate: &AggregateExec,
    states: RecordBatch,
    mut rest: SendableRecordBatchStream,
    context: Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let schema = rest.schema();
    let batch_size = context.session_config().batch_size();
    let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&schema), 2);
    let output = builder.tx();
    builder.spawn(async move {
        for start in (0..states.num_rows()).step_by(batch_size) {
            let slice = states.slice(start, batch_size.min(states.num_rows() - start));
            if output.send(Ok(slice)).await.is_err() {
                return Ok(());
            }
        }
        drop(states);
        while let Some(batch) = poll_fn(|context| rest.as_mut().poll_next(context)).await {
            if output.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    let once = Once { schema: Arc::clone(&schema), stream: Mutex::new(Some(builder.build())) };
    let input = StreamingTableExec::try_new(schema, vec![Arc::new(once)], None, None, false, None)?;
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::new(aggregate.clone()).replace_children(vec![Arc::new(input)], options)?.execute(0, context)
}

/// A stream that is read once.
struct Once {
    schema: SchemaRef,
    stream: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let stream = self.stream.lock().ok().and_then(|mut stream| stream.take());
        stream.unwrap_or_else(|| {
            let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), 1);
            builder.spawn(async { Err(exec_datafusion_err!("a stream that was read already")) });
            builder.build()
        })
    }
}
