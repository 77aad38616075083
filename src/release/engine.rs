//! The query engine: puts real sources into verified plans and runs them.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::Transformed;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::datasource::provider_as_source;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, collect, execute_stream};
use datafusion::prelude::SessionConfig;
use paravent_udfs::{Noise, is_unreleased};

use super::admission::Admission;
use super::few_rows::MostRows;
use super::progress::{Progress, Scanning, Stage};
use super::{Released, Shaped};
use crate::catalog::Yielding;
use crate::catalog::files::{batch_rows, insufficient_resources};
use crate::error::{Error, Result};
use crate::query::{Picked, Source, SourceKind};

/// The real sources of the tables that a statement names.
#[derive(Default)]
pub struct Sources {
    tables: BTreeMap<String, Arc<dyn TableProvider>>,
    /// Identity of the tables' data.
    snapshots: BTreeMap<String, String>,
    /// What is shown of tables' rows, and the memory that it takes.
    opened: BTreeMap<String, (Arc<dyn TableProvider>, MemoryReservation)>,
    /// Of the tables' files, all together; nothing where that is not known.
    bytes: Option<u64>,
    /// Told of what runs on them.
    progress: Arc<Progress>,
}

/// Files of a few batches. To share so few rows among threads, and to look for parts of the files that need not be read, takes longer
/// than to read them.
const SMALL_BYTES: u64 = 256 << 10;

impl Sources {
    /// Sources whose statement is watched.
    pub fn watched(progress: Arc<Progress>) -> Self {
        Self { progress, ..Self::default() }
    }

    /// Of the files of all tables.
    pub fn weigh(&mut self, bytes: u64) {
        self.bytes = Some(bytes);
    }

    /// `snapshot`: the identity of its data, where it is known.
    pub fn add(&mut self, table: String, provider: Arc<dyn TableProvider>, snapshot: Option<String>) {
        if let Some(snapshot) = snapshot {
            self.snapshots.insert(table.clone(), snapshot);
        }
        self.tables.insert(table, provider);
    }

    /// Tells those who look on.
    pub(super) fn enter(&self, stage: Stage) {
        self.progress.enter(stage);
    }

    /// Tells those who look on, while what it gives lives.
    pub(super) fn scan(&self, plans: &[Arc<dyn ExecutionPlan>]) -> Scanning<'_> {
        self.progress.scan(plans)
    }

    /// A table's rows and which they are.
    pub(super) fn version(&self, table: &str) -> Option<(Arc<dyn TableProvider>, &str)> {
        Some((self.tables.get(table)?.clone(), self.snapshots.get(table)?))
    }

    /// Rows that are made ready to be shown.
    pub(super) fn open(&mut self, table: String, rows: RecordBatch, held: MemoryReservation) -> Result<()> {
        let rows = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(|_| Error::internal())?;
        self.opened.insert(table, (Arc::new(rows), held));
        Ok(())
    }
}

type PhysicalRule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// One engine serves all sessions of a server; it holds no data.
pub struct Engine {
    state: SessionState,
    /// For small tables: one thread, and nothing is skipped within files.
    small: SessionState,
    /// What every plan runs with, made once: it holds the name of each function there is.
    task: Arc<TaskContext>,
    noise: Noise,
    admission: Admission,
    pub(super) counted: MostRows,
}

impl Engine {
    /// `noise` is where every release draws from; `runtime` holds the object stores and the memory pool.
    pub fn new(noise: Noise, runtime: Arc<RuntimeEnv>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let config = SessionConfig::new().with_batch_size(batch_rows(&runtime));
        let mut config = config.with_target_partitions(cores).with_information_schema(false);
        // The engine takes `x IS TRUE` for never NULL in logical plans and for nullable in physical ones; the difference is in the
        // schema only, and the check would refuse the plan.
        config.options_mut().execution.skip_physical_aggregate_schema_check = true;
        let built = |config: SessionConfig, rules: Vec<PhysicalRule>| {
            SessionStateBuilder::new()
                .with_config(config)
                .with_runtime_env(runtime.clone())
                .with_default_features()
                .with_query_planner(paravent_udfs::planner(noise.clone()))
                .with_physical_optimizer_rules(rules)
                .with_physical_optimizer_rule(Arc::new(Yielding))
                .build()
        };
        let rules = PhysicalOptimizer::new().rules;
        // The two that tell scans what need not be read.
        let reading_all = rules.iter().filter(|rule| !rule.name().starts_with("FilterPushdown")).cloned().collect();
        let small = built(config.clone().with_target_partitions(1), reading_all);
        let state = built(config, rules);
        let task = state.task_ctx();
        Self { state, small, task, noise, admission: Admission::new(cores), counted: MostRows::default() }
    }

    /// What plans over these sources are planned with.
    pub(super) fn state_for(&self, sources: &Sources) -> &SessionState {
        match sources.bytes {
            Some(bytes) if bytes <= SMALL_BYTES => &self.small,
            Some(_) | None => &self.state,
        }
    }

    /// Raw rows, for this room alone: they are masked by their plan, or de-identified before anything reads them; and the memory
    /// that they take, of that which queries may take. Nothing where there are more than `most`. Errors: as for [`Self::run`].
    pub(super) async fn rows(
        &self,
        plan: &LogicalPlan,
        sources: &Sources,
        most: usize,
    ) -> Result<Option<(RecordBatch, MemoryReservation)>> {
        let physical = self.physical(plan, sources, &[]).await?;
        let schema = physical.schema();
        sources.progress.enter(Stage::Waiting);
        let turn = self.admission.admit(std::slice::from_ref(&physical)).await?;
        let _scanning = sources.progress.scan(std::slice::from_ref(&physical));
        let held = MemoryConsumer::new("rows that are shown").register(&self.state.runtime_env().memory_pool);
        let task = self.task();
        let reading = async move {
            let mut stream = execute_stream(physical, task).map_err(failed)?;
            let (mut batches, mut rows, mut buffers) = (Vec::new(), 0, RecordBatchMemoryCounter::new());
            while let Some(batch) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
                let batch = batch.map_err(failed)?;
                held.try_grow(buffers.count_batch(&batch)).map_err(failed)?;
                rows += batch.num_rows();
                if rows > most {
                    return Ok(None);
                }
                batches.push(batch);
            }
            // For a moment they are there twice.
            held.try_grow(held.size()).map_err(failed)?;
            let rows = concat_batches(&schema, &batches).map_err(|_| Error::internal())?;
            drop(batches);
            held.try_resize(rows.get_array_memory_size()).map_err(failed)?;
            Ok(Some((rows, held)))
        };
        turn.run(reading).await?
    }

    /// Other long work, in turn with the long queries and where they run.
    pub async fn aside<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        self.admission.long_turn().await?.run(work).await
    }

    /// Where releases draw from.
    pub(super) fn noise(&self) -> Noise {
        self.noise.clone()
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.admission
    }

    pub(super) fn state(&self) -> &SessionState {
        &self.state
    }

    pub(super) fn task(&self) -> Arc<TaskContext> {
        self.task.clone()
    }

    /// The measured rows of one release.
    pub(super) async fn release(
        &self,
        plan: &LogicalPlan,
        sources: &Sources,
        released: &[Option<Released>],
    ) -> Result<RecordBatch> {
        let plan = self.without_idle_bounds(plan, sources).await?;
        let (schema, batches) = self.run(&plan, sources, released).await?;
        concat_batches(&schema, &batches).map_err(|_| Error::internal())
    }

    pub(super) async fn shape(
        &self,
        plan: &LogicalPlan,
        names: &SchemaRef,
        sources: &Sources,
        released: &[Option<Released>],
    ) -> Result<Shaped> {
        if let Some(picked) = Picked::of(plan) {
            let rows = released.get(picked.release).and_then(Option::as_ref).ok_or_else(Error::internal)?;
            let rows = rows.batch().project(&picked.columns).map_err(|_| Error::internal())?;
            return Shaped::named(names, &rows.schema(), vec![rows]);
        }
        let (schema, batches) = self.run(plan, sources, released).await?;
        Shaped::named(names, &schema, batches)
    }

    /// Errors: 53200 where the memory for queries did not suffice, else XX000, whatever went wrong. Neither the text nor the log may say more: it may quote a cell.
    async fn run(
        &self,
        plan: &LogicalPlan,
        sources: &Sources,
        released: &[Option<Released>],
    ) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        self.run_physical(self.physical(plan, sources, released).await?, sources).await
    }

    /// Errors: as for [`Self::run`].
    pub(super) async fn run_physical(
        &self,
        physical: Arc<dyn ExecutionPlan>,
        sources: &Sources,
    ) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let schema = physical.schema();
        sources.progress.enter(Stage::Waiting);
        let turn = self.admission.admit(std::slice::from_ref(&physical)).await?;
        let _scanning = sources.progress.scan(std::slice::from_ref(&physical));
        let batches = turn.run(collect(physical, self.task())).await?.map_err(failed)?;
        Ok((schema, batches))
    }

    async fn physical(
        &self,
        plan: &LogicalPlan,
        sources: &Sources,
        released: &[Option<Released>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let bound = bind(plan, sources, released)?;
        let state = self.state_for(sources);
        let planned = state.query_planner().create_physical_plan(&bound, state).await;
        let physical = planned.map_err(|_| Error::internal())?;
        refuse_unreleased(&physical)?;
        Ok(physical)
    }
}

/// The last look at a plan before it runs.
pub(super) fn refuse_unreleased(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let unreleased = plan.schema().fields().iter().any(|field| is_unreleased(field));
    if unreleased { Err(Error::internal()) } else { Ok(()) }
}

/// Nothing of the text, which may quote a cell.
pub(super) fn failed(error: DataFusionError) -> Error {
    insufficient_resources(&error).unwrap_or_else(Error::internal)
}

/// Every scan gets its real source; a scan of anything else fails.
pub(super) fn bind(plan: &LogicalPlan, sources: &Sources, released: &[Option<Released>]) -> Result<LogicalPlan> {
    let bound = plan.clone().transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) => {
            let source = source_of(&scan, sources, released)?;
            Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source: provider_as_source(source), ..scan })))
        }
        other => Ok(Transformed::no(other)),
    });
    bound.map(|transformed| transformed.data).map_err(|_| Error::internal())
}

fn source_of(
    scan: &TableScan,
    sources: &Sources,
    released: &[Option<Released>],
) -> datafusion::common::Result<Arc<dyn TableProvider>> {
    let lost = || datafusion::common::DataFusionError::Plan("a scan without a source".to_owned());
    let source = scan.source.downcast_ref::<Source>().ok_or_else(lost)?;
    match &source.kind {
        SourceKind::Opened(name) => sources.opened.get(name).map(|(rows, _)| rows.clone()).ok_or_else(lost),
        SourceKind::Protected(name) | SourceKind::Public(name) | SourceKind::Directory(name) => {
            sources.tables.get(name).cloned().ok_or_else(lost)
        }
        SourceKind::Released(number) => {
            let batch = released.get(*number).and_then(Option::as_ref).ok_or_else(lost)?.batch().clone();
            Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_are_read_whole_by_one_thread() {
        let engine = Engine::new(Noise::from_os(), Arc::new(RuntimeEnv::default()));
        let planned = |bytes: Option<u64>| {
            let mut sources = Sources::default();
            bytes.into_iter().for_each(|bytes| sources.weigh(bytes));
            let state = engine.state_for(&sources);
            let skipping = state.physical_optimizers().iter().filter(|rule| rule.name().starts_with("FilterPushdown"));
            (state.config().target_partitions(), skipping.count())
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(planned(Some(SMALL_BYTES)), (1, 0));
        assert_eq!(planned(Some(SMALL_BYTES + 1)), (cores, 2));
        assert_eq!(planned(None), (cores, 2));
    }
}
