//! The engine's join is the law, also where a key comes more than once.

use super::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

type Rows = Vec<(Option<i64>, i64)>;

fn table(names: [&str; 2], rows: &Rows, data_type: &DataType, cuts: usize) -> Arc<MemTable> {
    let batch = |rows: &[(Option<i64>, i64)]| {
        let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let keys = cast(&keys, data_type).unwrap();
        let others: ArrayRef = Arc::new(rows.iter().map(|row| Some(format!("v{}", row.1))).collect::<StringArray>());
        RecordBatch::try_from_iter_with_nullable([(names[0], keys, true), (names[1], others, true)]).unwrap()
    };
    let schema = batch(&[]).schema();
    let partitions = rows.chunks(rows.len().div_ceil(cuts).max(1)).map(|rows| rows.chunks(5).map(batch).collect());
    let mut partitions: Vec<Vec<RecordBatch>> = partitions.collect();
    partitions.resize(partitions.len().max(1), Vec::new());
    Arc::new(MemTable::try_new(schema, partitions).unwrap())
}

fn session(rows: &Rows, keyed: &Rows, data_type: &DataType) -> SessionContext {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2).with_batch_size(4));
    session.register_table("facts", table(["f", "x"], rows, data_type, 3)).unwrap();
    session.register_table("keyed", table(["k", "u"], keyed, data_type, 2)).unwrap();
    session
}

struct Planner;

impl Planner {
    async fn plan(session: &SessionContext, logical: &LogicalPlan) -> Arc<dyn ExecutionPlan> {
        let planner = crate::planner(crate::Noise::zero());
        planner.create_physical_plan(logical, &session.state()).await.unwrap()
    }
}

async fn lines(plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<Vec<String>> {
    let schema = plan.schema();
    let batches = datafusion::physical_plan::collect(plan, context).await?;
    for batch in &batches {
        assert_eq!(batch.schema(), schema);
    }
    let all = concat_batches(&schema, &batches)?;
    let mut lines: Vec<String> = pretty_format_batches(&[all])?.to_string().lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

const QUESTIONS: [&str; 6] = [
    "SELECT x, f, __key, u FROM facts JOIN (SELECT k AS __key, u FROM keyed) w ON f = __key",
    "SELECT u, x FROM (SELECT u, k AS __key FROM keyed WHERE u <> 'v3') w JOIN facts ON __key = f WHERE x <> 'v1'",
    "SELECT u, count(*) AS n, min(x) AS least FROM facts JOIN (SELECT k AS __key, u FROM keyed) w ON f = __key GROUP BY u",
    "SELECT x FROM facts LEFT SEMI JOIN (SELECT k AS __key FROM keyed) w ON f = __key",
    "SELECT x, f FROM (SELECT k AS __key FROM keyed) w RIGHT SEMI JOIN facts ON f = __key",
    "SELECT x, f FROM facts WHERE f IN (SELECT k FROM keyed GROUP BY k HAVING count(*) > 0) OR x = 'v1'",
];

fn rows(keys: impl Strategy<Value = i64> + Clone + 'static, most: usize) -> impl Strategy<Value = Rows> {
    prop::collection::vec((prop::option::weighted(0.9, keys), 0..6_i64), 0..most)
}

fn check(facts: &Rows, keyed: &Rows, data_type: &DataType) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let session = session(facts, keyed, data_type);
        for question in QUESTIONS {
            let logical = session.sql(question).await.unwrap().into_optimized_plan().unwrap();
            let ours = Planner::plan(&session, &logical).await;
            let text = datafusion::physical_plan::displayable(ours.as_ref()).indent(true).to_string();
            assert!(text.contains("LookupExec"), "{text}");
            let own = session.state().query_planner().create_physical_plan(&logical, &session.state()).await.unwrap();
            assert_eq!(ours.schema().fields().len(), own.schema().fields().len());
            let of = |plan| lines(plan, session.task_ctx());
            assert_eq!(of(ours).await.unwrap(), of(own).await.unwrap(), "{question}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn keys_near_one_another(facts in rows(-5..25_i64, 40), keyed in rows(-8..20_i64, 20)) {
        for data_type in [DataType::Int64, DataType::Int16] {
            check(&facts, &keyed, &data_type);
        }
    }

    #[test]
    fn keys_far_from_one_another(facts in rows(far(), 40), keyed in rows(far(), 20)) {
        check(&facts, &keyed, &DataType::Int64);
    }
}

fn far() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0_i64), Just(1 << 40), -3..3_i64].boxed()
}

#[tokio::test]
async fn what_is_read_counts_as_memory() {
    let keyed: Rows = (0..2_000).map(|key| (Some(key), key)).collect();
    let session = session(&vec![(Some(1), 1)], &keyed, &DataType::Int64);
    let logical = session.sql(QUESTIONS[0]).await.unwrap().into_optimized_plan().unwrap();
    for (bytes, enough) in [(10_000, false), (10_000_000, true)] {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)));
        let context = Arc::new(TaskContext::default().with_runtime(runtime.build_arc().unwrap()));
        let plan = Planner::plan(&session, &logical).await;
        let answer = lines(plan, context.clone()).await;
        assert_eq!(answer.is_ok(), enough, "{answer:?}");
        assert_eq!(context.memory_pool().reserved(), 0);
    }
}

#[tokio::test]
async fn other_joins_stay() {
    let session = session(&vec![(Some(1), 1)], &vec![(Some(1), 1)], &DataType::Int64);
    for question in [
        "SELECT * FROM facts JOIN keyed ON f = k",
        "SELECT * FROM facts LEFT ANTI JOIN (SELECT k AS __key FROM keyed) w ON f = __key",
        "SELECT * FROM (SELECT k AS __key FROM keyed) w LEFT SEMI JOIN facts ON f = __key",
        "SELECT * FROM facts LEFT JOIN (SELECT k AS __key, u FROM keyed) w ON f = __key",
        "SELECT * FROM facts JOIN (SELECT k AS __key, u FROM keyed) w ON f = __key AND x > u",
        "SELECT * FROM facts JOIN (SELECT k AS __key, u FROM keyed) w ON f = __key AND x = u",
        "SELECT * FROM facts JOIN (SELECT u AS __key FROM keyed) w ON x = __key",
    ] {
        let logical = session.sql(question).await.unwrap().into_optimized_plan().unwrap();
        assert_eq!(lookups(logical.clone()).unwrap(), logical, "{question}");
    }
}
