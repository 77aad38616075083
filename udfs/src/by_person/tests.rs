//! Laws: the same groups and sums as the engine's own aggregation, whatever the types, the filter, the memory and the rows.

use super::*;
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::memory_pool::{FairSpillPool, GreedyMemoryPool, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{LogicalPlanBuilder, lit};
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext, ident};
use proptest::prelude::*;
use std::sync::Mutex;

/// person, group, value.
type Row = (Option<i64>, Option<u8>, Option<i16>);

const QUESTIONS: [&str; 10] = [
    "SELECT a, k, __u, sum(x) FROM (SELECT __u AS a, k, __u, x + 1 AS x FROM t) s GROUP BY a, k, __u",
    "SELECT k, __u, sum(x), count(x), count(*) FROM t GROUP BY k, __u",
    "SELECT __u, count(x) FILTER (WHERE x > 0), avg(y) FROM t GROUP BY __u",
    "SELECT k, x, __u, bool_or(x > 3), min(y) FROM t GROUP BY k, x, __u",
    "SELECT __person_1, k, sum(x) FROM t GROUP BY __person_1, k",
    "SELECT __u, sum(x), count(x), sum(x + 1), count(*) FROM t GROUP BY __u",
    "SELECT k, __u FROM t GROUP BY k, __u",
    "SELECT __u, k, avg(z), sum(x), avg(y), avg(z) FILTER (WHERE x > 0), count(*) FROM t GROUP BY __u, k",
    "SELECT __u, avg(coalesce(z, 0)), count(*), avg(y), sum(x) FROM t WHERE x IS NOT NULL GROUP BY __u",
    "SELECT __u, v, sum(x), count(*) FROM (SELECT __u, __u % 2 AS v, x FROM t WHERE x IS NOT NULL) s GROUP BY __u, v",
];

/// Now and then no whole number of them.
fn quarters(x: i16) -> f64 {
    if x == 8 { 0.1 } else { f64::from(x) / 4.0 }
}

fn table(rows: &[Row]) -> RecordBatch {
    let column = |of: fn(&Row) -> Option<i64>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Int64Array>()) };
    let schema = Schema::new(vec![
        Field::new("__u", DataType::Int64, true),
        Field::new("k", DataType::Utf8, true),
        Field::new("x", DataType::Int64, true),
        Field::new("y", DataType::Float64, true),
        Field::new("__person_1", DataType::Utf8, true),
        Field::new("z", DataType::Float64, true),
    ]);
    let texts = |of: fn(&Row) -> Option<String>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let columns = vec![
        column(|row| row.0),
        texts(|row| row.1.map(|k| format!("group {k}"))),
        column(|row| row.2.map(i64::from)),
        Arc::new(rows.iter().map(|row| row.2.map(f64::from)).collect::<Float64Array>()),
        texts(|row| row.0.map(|u| format!("person {u}"))),
        Arc::new(rows.iter().map(|row| row.2.map(quarters)).collect::<Float64Array>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

async fn answer(rows: &[Row], question: &str, ours: bool, memory: Option<usize>) -> Result<String> {
    let pool = memory.map(|bytes| Arc::new(GreedyMemoryPool::new(bytes)) as Arc<dyn MemoryPool>);
    answered(rows, question, ours, pool).await
}

async fn answered(rows: &[Row], question: &str, ours: bool, pool: Option<Arc<dyn MemoryPool>>) -> Result<String> {
    answered_in(16, rows, question, ours, pool).await
}

async fn answered_in(
    batch_size: usize,
    rows: &[Row],
    question: &str,
    ours: bool,
    pool: Option<Arc<dyn MemoryPool>>,
) -> Result<String> {
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(pool) = pool {
        runtime = runtime.with_memory_pool(pool);
    }
    let config = SessionConfig::new().with_target_partitions(3).with_batch_size(batch_size);
    let session = SessionContext::new_with_config_rt(config, runtime.build_arc()?);
    let part = |rows: &[Row]| rows.chunks(batch_size.max(1000)).map(table).collect();
    let parts = rows.chunks(rows.len().div_ceil(3).max(1)).map(part).collect();
    session.register_table("t", Arc::new(MemTable::try_new(table(rows).schema(), parts)?))?;
    session.register_udaf(crate::person_bins_udaf().as_ref().clone());
    session.register_udaf(crate::exact("avg").unwrap().as_ref().clone());
    let frame = session.sql(question).await?;
    let mut plan = frame.create_physical_plan().await?;
    if ours {
        plan = by_person(plan)?;
        assert!(displayable(plan.as_ref()).indent(false).to_string().contains("ByPersonExec"), "{question}");
    }
    let schema = plan.schema();
    let answered = concat_batches(&schema, &collect(plan, session.task_ctx()).await?)?;
    let mut lines: Vec<String> = pretty_format_batches(&[answered])?.to_string().lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines.join("\n"))
}

fn row() -> impl Strategy<Value = Row> {
    let person = prop_oneof![9 => (0..30_i64).prop_map(Some), 1 => Just(None), 1 => any::<i64>().prop_map(Some)];
    (person, prop::option::weighted(0.9, 0..4_u8), prop::option::weighted(0.9, -5..9_i16))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_engine_and_this_node_agree(rows in prop::collection::vec(row(), 40..300)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        for question in QUESTIONS {
            let (plain, ours) = runtime.block_on(async {
                (answer(&rows, question, false, None).await.unwrap(), answer(&rows, question, true, None).await.unwrap())
            });
            prop_assert_eq!(plain, ours, "{}", question);
        }
    }
}

/// Whether grouping pays is asked of persons that come again; a first week of rows, in which each comes once, says nothing.
#[tokio::test]
async fn whether_grouping_pays_is_asked_of_persons_that_come_again() {
    let weeks = |count: i64, group: fn(i64) -> i64| -> Vec<Row> {
        (0..count * 20_000)
            .map(|i| (Some(i % 20_000), Some((i % 20_000 % 3) as u8), Some(group(i / 20_000) as i16)))
            .collect()
    };
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let empty = MemTable::try_new(table(&[]).schema(), vec![vec![], vec![]]).unwrap();
    session.register_table("t", Arc::new(empty)).unwrap();
    let plan = session.sql(QUESTIONS[3]).await.unwrap().create_physical_plan().await.unwrap();
    let pays = |rows: &[Row]| {
        let mut found = None;
        plan.apply(|node| {
            if let Some(aggregate) = node.downcast_ref::<AggregateExec>()
                && *aggregate.mode() == AggregateMode::Partial
            {
                let memory = MemoryConsumer::new("test").register(session.task_ctx().memory_pool());
                let mut pairs = Table::new(aggregate, Step::Partial, person_columns(aggregate), memory)?;
                pairs.add(&table(rows))?;
                found = Some(pairs.pays(0.8));
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        found.unwrap()
    };
    assert_eq!(pays(&weeks(1, |_| 1)), None);
    assert_eq!(pays(&weeks(2, |_| 1)), None);
    assert_eq!(pays(&weeks(3, |_| 1)), Some(true));
    assert_eq!(pays(&weeks(3, |week| week)), Some(false));
}

#[tokio::test]
async fn where_grouping_does_not_pay_rows_pass() {
    let rows: Vec<Row> =
        (0..180_000_i64).map(|i| (Some(i % 10_000), Some((i % 3) as u8), Some((i / 10_000) as i16))).collect();
    let plain = answer(&rows, QUESTIONS[3], false, None).await.unwrap();
    assert_eq!(answer(&rows, QUESTIONS[3], true, None).await.unwrap(), plain);
}

#[tokio::test]
async fn with_little_memory_the_final_step_is_the_engines() {
    let rows: Vec<Row> = (0..60_000_i64).map(|i| (Some(i * 31 % 20_000), Some((i % 2) as u8), Some(1))).collect();
    let plain = answer(&rows, QUESTIONS[0], false, None).await.unwrap();
    let pool = Arc::new(Watched { pool: GreedyMemoryPool::new(2 << 20), names: Mutex::default() });
    let ours = answered(&rows, QUESTIONS[0], true, Some(pool.clone())).await.unwrap();
    assert_eq!(ours, plain);
    let names = pool.names.lock().unwrap();
    assert!(names.iter().any(|name| name.starts_with("FinalHashAggregate")), "{names:?}");
    assert_eq!(pool.reserved(), 0);
}

/// All of a person's rows in one value are states of many bytes.
#[tokio::test]
async fn with_little_memory_what_persons_have_is_gathered_too() {
    let rows: Vec<Row> = (0..3_000_000_i64)
        .map(|i| (Some(i * 31 % 20_000), Some((i % 20_000 % 3) as u8), Some((i % 50) as i16)))
        .collect();
    let question = "SELECT k, __u, person_bins(x) FROM t GROUP BY k, __u";
    let pool = Arc::new(FairSpillPool::new(12 << 20));
    let ours = answered_in(8192, &rows, question, true, Some(pool.clone())).await.unwrap();
    let plain = answered_in(8192, &rows, question, false, None).await.unwrap();
    // The order of a person's rows is anybody's.
    assert_eq!((ours.lines().count(), ours.len()), (plain.lines().count(), plain.len()));
    assert_eq!(pool.reserved(), 0);
}

/// Remembers who asked for memory.
#[derive(Debug)]
struct Watched {
    pool: GreedyMemoryPool,
    names: Mutex<Vec<String>>,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.pool.fmt(f)
    }
}

impl MemoryPool for Watched {
    fn name(&self) -> &str {
        "watched"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.names.lock().unwrap().push(consumer.name().to_owned());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.pool.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }
}

#[tokio::test]
async fn with_little_memory_pairs_are_given_out_early() {
    let rows: Vec<Row> = (0..60_000_i64).map(|i| (Some(i * 31 % 20_000), Some((i % 2) as u8), Some(1))).collect();
    let plain = answer(&rows, QUESTIONS[0], false, None).await.unwrap();
    let ours = answer(&rows, QUESTIONS[0], true, Some(6 << 20)).await.unwrap();
    assert_eq!(ours, plain);
}

/// Two groups a person at most, over 400 persons with three.
#[tokio::test]
async fn rows_are_cut_once_where_groups_are_bounded() {
    let rows: Vec<Row> = (0..3_600_i64).map(|i| (Some(i % 400), Some((i % 3) as u8), Some(1))).collect();
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
    let parts = rows.chunks(1_200).map(|part| vec![table(part)]).collect();
    session.register_table("t", Arc::new(MemTable::try_new(table(&rows).schema(), parts).unwrap())).unwrap();
    let scan = session.table("t").await.unwrap().into_optimized_plan().unwrap();
    let calls = vec![count(lit(1)).alias("n")];
    let groups =
        LogicalPlanBuilder::from(scan).aggregate(vec![ident("k"), ident("__u")], calls).unwrap().build().unwrap();
    let bound = crate::BoundGroups::try_new(groups, ident("__u"), 2).unwrap().into_plan();
    let planner = crate::planner(crate::Noise::from_os());
    let plan = planner.create_physical_plan(&bound, &session.state()).await.unwrap();
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    assert_eq!(shown.matches("partitioning=Hash([__u").count(), 1, "{shown}");
    assert_eq!(shown.matches("partitioning=Hash").count(), 1, "{shown}");
    let batches = collect(plan, session.task_ctx()).await.unwrap();
    let mut groups_of = std::collections::BTreeMap::<i64, Vec<i64>>::new();
    for batch in &batches {
        let persons = batch.column(1).as_primitive::<arrow::datatypes::Int64Type>();
        let counts = batch.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        for row in 0..batch.num_rows() {
            groups_of.entry(persons.value(row)).or_default().push(counts.value(row));
        }
    }
    assert_eq!(groups_of.len(), 400);
    assert!(groups_of.values().all(|counts| counts == &[3, 3]));
}
