//! One run of a plan for several readers: every batch goes to each of them, and is held once.
//!
//! In: a plan, and how many readers there are. Out: for each reader and partition a stream of the partition's batches, in their order.
//! Must never: let a reader wait for another one without an end.
//!
//! **Who runs the plan.** Whichever reader finds nothing waiting for it asks the plan for the next batch, and leaves it for the others;
//! there is no task between them. So the plan stops where its readers stop, and is dropped with the last of them.
//!
//! **Memory.** What a reader has not taken yet is counted in the memory pool. A reader that is [`Limits::behind`] bytes ahead of another
//! waits for it, and goes on when the other has not taken anything for as long as [`Limits::patience`]: the other one stands still,
//! perhaps for a join that reads its other side first. For one that stands still, and where the pool has no more to give, batches are
//! written to disk.
//!
//! **No deadlock.** A stream waits for four things only. For its own spilled batches: files wait for nobody. For another reader that is
//! asking the plan at this moment: that one is in `poll_next`, which does not wait; it then gives the plan back and wakes the others. For
//! the plan: it does not know its readers; it reads sources, and perhaps other hubs, and as plans are trees of finite height, by
//! induction some stream below is not waiting. For a reader that is behind: for as long as `patience` and no longer, and
//! afterwards never again until that reader takes something. So every stream that is polled gives a batch, or its end, in finite time
//! if the sources do; what readers above wait for makes no difference.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::spill_pool::{SpillPoolSink, spsc_channel};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SpillManager};
use futures::Stream;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// When a reader that is ahead waits for one that is behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of one partition that a reader has not taken yet.
    pub behind: usize,
    /// How long a reader may take nothing before it is not waited for.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { behind: 8 << 20, patience: Duration::from_millis(100) }
    }
}

/// What one file of spilled batches takes at most, before the next one is begun.
const SPILL_FILE_BYTES: usize = 64 << 20;

/// One plan and its readers.
#[derive(Debug)]
pub(super) struct Hub {
    plan: Arc<dyn ExecutionPlan>,
    parts: Vec<Arc<Part>>,
}

impl Hub {
    pub fn new(plan: Arc<dyn ExecutionPlan>, readers: usize, limits: Limits) -> Self {
        let parts = (0..plan.output_partitioning().partition_count()).map(|number| {
            let queues = (0..readers).map(|_| Queue::default()).collect();
            let wakers = Arc::new(Wakers(Mutex::new(vec![None; readers])));
            let state = State { run: Run::NotBegun, queues, kept: None, missed: false };
            Arc::new(Part { number, limits, state: Mutex::new(state), wakers })
        });
        Self { parts: parts.collect(), plan }
    }

    pub fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// Each reader reads each partition once.
    pub fn read(
        &self,
        reader: usize,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(part) = self.parts.get(partition) else { return internal_err!("no partition {partition}") };
        match part.lock().queues.get_mut(reader) {
            Some(queue) if !queue.reads => queue.reads = true,
            Some(_) | None => return internal_err!("a shared plan is read once by each of its readers"),
        }
        let (plan, part) = (Arc::clone(&self.plan), Arc::clone(part));
        Ok(Box::pin(Reader { plan, part, number: reader, context, spilled: None, waits: None }))
    }
}

/// One partition.
struct Part {
    number: usize,
    limits: Limits,
    state: Mutex<State>,
    wakers: Arc<Wakers>,
}

impl Part {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "partition {}", self.number)
    }
}

struct State {
    run: Run,
    queues: Vec<Queue>,
    kept: Option<Kept>,
    /// Somebody found the plan asked, and waits.
    missed: bool,
}

/// Where batches are kept.
struct Kept {
    memory: MemoryReservation,
    disk: Arc<SpillManager>,
}

enum Run {
    NotBegun,
    Stream(SendableRecordBatchStream),
    /// A reader has it, and asks it for a batch.
    Asked,
    Done,
    Failed(Arc<DataFusionError>),
}

/// What one reader has not taken yet.
#[derive(Default)]
struct Queue {
    reads: bool,
    gone: bool,
    held: VecDeque<Held>,
    bytes: usize,
    /// How often it took something.
    taken: u64,
    /// Not waited for, until it takes something.
    stands_still: bool,
    /// Comes after all that is held; of this all that follows, until it is read.
    spill: Option<Spill>,
}

#[derive(Clone)]
struct Held {
    batch: RecordBatch,
    bytes: usize,
    /// Given back with the last of those that hold the batch.
    _memory: Arc<MemoryReservation>,
}

struct Spill {
    sink: SpillPoolSink,
    /// Until the reader has it.
    stream: Option<SendableRecordBatchStream>,
    unread: usize,
}

/// Wakes every reader of a partition: whoever comes first goes on.
struct Wakers(Mutex<Vec<Option<Waker>>>);

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<Waker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, reader: usize, waker: &Waker) {
        if let Some(slot) = self.lock().get_mut(reader) {
            match slot {
                Some(known) if known.will_wake(waker) => {}
                Some(_) | None => *slot = Some(waker.clone()),
            }
        }
    }

    fn wake_all_but(&self, reader: Option<usize>) {
        let wakers: Vec<Waker> = {
            let slots = self.lock();
            slots
                .iter()
                .enumerate()
                .filter(|(i, _)| Some(*i) != reader)
                .filter_map(|(_, waker)| waker.clone())
                .collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all_but(None);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all_but(None);
    }
}

impl State {
    /// For all readers but `taker`, who has it already.
    fn put(&mut self, batch: &RecordBatch, taker: usize, limits: Limits) -> Result<()> {
        let bytes = bytes_of(batch)?;
        let Some(kept) = &self.kept else { return internal_err!("a batch of a plan that has not begun") };
        let others = self.queues.iter_mut().enumerate();
        let others: Vec<&mut Queue> =
            others.filter(|(number, queue)| *number != taker && !queue.gone).map(|(_, queue)| queue).collect();
        let mut held: Option<Held> = None;
        for queue in others {
            let to_disk = queue.spill.is_some() || (queue.stands_still && queue.bytes >= limits.behind);
            if !to_disk && held.is_none() {
                held = kept.hold(batch, bytes)?;
            }
            match &held {
                Some(held) if !to_disk => {
                    queue.bytes += bytes;
                    queue.held.push_back(held.clone());
                }
                Some(_) | None => queue.spill(batch, kept)?,
            }
        }
        Ok(())
    }

    /// Readers that are too far behind for another to go on.
    fn behind(&self, reader: usize, limits: Limits) -> Vec<(usize, u64)> {
        let queues = self.queues.iter().enumerate().filter(|(number, _)| *number != reader);
        let behind = queues.filter(|(_, queue)| !queue.gone && !queue.stands_still && queue.bytes >= limits.behind);
        behind.map(|(number, queue)| (number, queue.taken)).collect()
    }
}

impl Kept {
    /// Nothing where the pool has no more to give.
    fn hold(&self, batch: &RecordBatch, bytes: usize) -> Result<Option<Held>> {
        match self.memory.try_grow(bytes) {
            Ok(()) => {
                let memory = Arc::new(self.memory.split(bytes));
                Ok(Some(Held { batch: batch.clone(), bytes, _memory: memory }))
            }
            Err(DataFusionError::ResourcesExhausted(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Queue {
    fn spill(&mut self, batch: &RecordBatch, kept: &Kept) -> Result<()> {
        let spill = self.spill.get_or_insert_with(|| {
            let (sink, stream) = spsc_channel(SPILL_FILE_BYTES, Arc::clone(&kept.disk));
            Spill { sink, stream: Some(stream), unread: 0 }
        });
        spill.unread += 1;
        spill.sink.push_batch(batch)
    }

    fn take(&mut self) -> Option<RecordBatch> {
        let held = self.held.pop_front()?;
        self.bytes = self.bytes.saturating_sub(held.bytes);
        Some(held.batch)
    }
}

/// Of the rows themselves: a batch may be a slice of a larger one.
fn bytes_of(batch: &RecordBatch) -> Result<usize> {
    let columns = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
    Ok(columns.sum::<std::result::Result<usize, _>>()?)
}

/// One reader's stream of one partition.
struct Reader {
    plan: Arc<dyn ExecutionPlan>,
    part: Arc<Part>,
    number: usize,
    context: Arc<TaskContext>,
    /// Batches that were written to disk for it.
    spilled: Option<SendableRecordBatchStream>,
    waits: Option<Waits>,
}

/// For readers that are behind.
struct Waits {
    until: Pin<Box<Sleep>>,
    /// As they were when it began.
    behind: Vec<(usize, u64)>,
}

/// What a look at the state says is to be done.
enum Next {
    /// With whether others may have waited for it.
    Give(Option<Result<RecordBatch>>, bool),
    ReadSpilled,
    Ask(SendableRecordBatchStream),
    Wait,
    WaitFor(Vec<(usize, u64)>),
}

impl Reader {
    fn look(&mut self) -> Result<Next> {
        let part = Arc::clone(&self.part);
        let mut state = part.lock();
        let state = &mut *state;
        let Some(queue) = state.queues.get_mut(self.number) else { return internal_err!("no such reader") };
        let was_behind = queue.bytes >= part.limits.behind;
        if let Some(batch) = queue.take() {
            queue.taken += 1;
            queue.stands_still = false;
            let caught_up = was_behind && queue.bytes < part.limits.behind;
            return Ok(Next::Give(Some(Ok(batch)), caught_up));
        }
        if let Some(spill) = &mut queue.spill {
            self.spilled = self.spilled.take().or_else(|| spill.stream.take());
            return Ok(Next::ReadSpilled);
        }
        queue.stands_still = false;
        match &state.run {
            Run::Asked => {
                state.missed = true;
                return Ok(Next::Wait);
            }
            Run::Done => return Ok(Next::Give(None, false)),
            Run::Failed(error) => return Ok(Next::Give(Some(Err(DataFusionError::Shared(Arc::clone(error)))), false)),
            Run::NotBegun | Run::Stream(_) => {}
        }
        let behind = state.behind(self.number, part.limits);
        if !behind.is_empty() {
            return Ok(Next::WaitFor(behind));
        }
        match std::mem::replace(&mut state.run, Run::Asked) {
            Run::Stream(stream) => Ok(Next::Ask(stream)),
            Run::NotBegun => {
                let memory = MemoryConsumer::new("shared rows").with_can_spill(true);
                let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), part.number);
                let disk = SpillManager::new(self.context.runtime_env(), metrics, self.plan.schema());
                let memory = memory.register(self.context.memory_pool());
                state.kept = Some(Kept { memory, disk: Arc::new(disk) });
                match self.plan.execute(part.number, Arc::clone(&self.context)) {
                    Ok(stream) => Ok(Next::Ask(stream)),
                    Err(error) => {
                        let error = Arc::new(error);
                        state.run = Run::Failed(Arc::clone(&error));
                        Ok(Next::Give(Some(Err(DataFusionError::Shared(error))), false))
                    }
                }
            }
            Run::Asked | Run::Done | Run::Failed(_) => internal_err!("a plan that cannot be asked"),
        }
    }

    /// The plan's next batch, which the others get, too.
    fn ask(&mut self, mut stream: SendableRecordBatchStream) -> Poll<Option<Result<RecordBatch>>> {
        let waker = Waker::from(Arc::clone(&self.part.wakers));
        let asked = loop {
            match stream.as_mut().poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(Ok(batch))) if batch.num_rows() == 0 => {}
                asked => break asked,
            }
        };
        let mut state = self.part.lock();
        let given = match asked {
            // Whoever came meanwhile found the plan with this reader, which may not be polled again: they ask for themselves.
            Poll::Pending => {
                state.run = Run::Stream(stream);
                let missed = std::mem::take(&mut state.missed);
                drop(state);
                if missed {
                    self.part.wakers.wake_all_but(Some(self.number));
                }
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(batch))) => {
                state.run = Run::Stream(stream);
                state.put(&batch, self.number, self.part.limits).map(|()| Some(batch))
            }
            Poll::Ready(Some(Err(error))) => Err(error),
            Poll::Ready(None) => {
                state.run = Run::Done;
                Ok(None)
            }
        };
        let given = given.map_err(|error| {
            let error = Arc::new(error);
            state.run = Run::Failed(Arc::clone(&error));
            DataFusionError::Shared(error)
        });
        drop(state);
        self.part.wakers.wake_all_but(Some(self.number));
        Poll::Ready(given.transpose())
    }

    fn read_spilled(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let Some(spilled) = &mut self.spilled else {
            return Poll::Ready(Some(internal_err!("nothing was spilled")));
        };
        let batch = ready!(spilled.as_mut().poll_next(context));
        let mut state = self.part.lock();
        if let Some(queue) = state.queues.get_mut(self.number) {
            queue.taken += 1;
            queue.stands_still = false;
            if let Some(spill) = &mut queue.spill {
                spill.unread -= 1;
                if spill.unread == 0 {
                    queue.spill = None;
                    self.spilled = None;
                }
            }
        }
        match batch {
            Some(batch) => Poll::Ready(Some(batch)),
            None => Poll::Ready(Some(internal_err!("fewer batches than were spilled"))),
        }
    }

    /// Ready when it is to look again.
    fn wait_for(&mut self, behind: Vec<(usize, u64)>, context: &mut Context<'_>) -> Poll<()> {
        let patience = self.part.limits.patience;
        let same = self.waits.as_ref().is_some_and(|waits| waits.behind == behind);
        if !same {
            self.waits = None;
        }
        let waits = self.waits.get_or_insert_with(|| Waits { until: Box::pin(sleep(patience)), behind });
        ready!(waits.until.as_mut().poll(context));
        let behind = std::mem::take(&mut waits.behind);
        self.waits = None;
        let mut state = self.part.lock();
        for (number, taken) in behind {
            if let Some(queue) = state.queues.get_mut(number).filter(|queue| queue.taken == taken) {
                queue.stands_still = true;
            }
        }
        Poll::Ready(())
    }
}

impl Stream for Reader {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Before anything is looked at: whatever happens afterwards wakes this task.
        this.part.wakers.set(this.number, context.waker());
        loop {
            return match this.look() {
                Ok(Next::Give(given, caught_up)) => {
                    if caught_up {
                        this.part.wakers.wake_all_but(Some(this.number));
                    }
                    Poll::Ready(given)
                }
                Ok(Next::ReadSpilled) => this.read_spilled(context),
                Ok(Next::Ask(stream)) => this.ask(stream),
                Ok(Next::Wait) => Poll::Pending,
                Ok(Next::WaitFor(behind)) => match this.wait_for(behind, context) {
                    Poll::Ready(()) => continue,
                    Poll::Pending => Poll::Pending,
                },
                Err(error) => Poll::Ready(Some(Err(error))),
            };
        }
    }
}

impl RecordBatchStream for Reader {
    fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }
}

impl Drop for Reader {
    /// Nothing is kept for it any more, and nobody waits for it.
    fn drop(&mut self) {
        if let Some(queue) = self.part.lock().queues.get_mut(self.number) {
            *queue = Queue { reads: true, gone: true, ..Queue::default() };
        }
        self.part.wakers.wake_all_but(Some(self.number));
    }
}
