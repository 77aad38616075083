//! Laws of the hub: every reader gets every batch in its order, whoever reads when, and nobody waits for ever.

use super::hub::{Hub, Limits};
use super::*;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::common::DataFusionError;
use datafusion::datasource::MemTable;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::col;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{FutureExt, StreamExt};
use std::time::Duration;
use tokio::time::timeout;

const ENOUGH: Duration = Duration::from_secs(60);

fn limits(behind: usize) -> Limits {
    Limits { behind, patience: Duration::from_millis(20) }
}

/// Numbers from 0 in one partition, `rows` a batch.
async fn numbers(session: &SessionContext, batches: i64, rows: i64) -> Arc<dyn ExecutionPlan> {
    let batch = |number: i64| {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(number * rows..(number + 1) * rows));
        RecordBatch::try_from_iter([("x", values)]).unwrap()
    };
    let batches: Vec<RecordBatch> = (0..batches).map(batch).collect();
    let table = MemTable::try_new(batches[0].schema(), vec![batches]).unwrap();
    session.read_table(Arc::new(table)).unwrap().create_physical_plan().await.unwrap()
}

async fn rest(stream: &mut SendableRecordBatchStream) -> Vec<i64> {
    let mut all = Vec::new();
    while let Some(batch) = timeout(ENOUGH, stream.next()).await.unwrap() {
        all.extend(batch.unwrap().column(0).as_primitive::<Int64Type>().values());
    }
    all
}

fn session(memory: usize) -> SessionContext {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(memory))).build_arc();
    SessionContext::new_with_config_rt(SessionConfig::new().with_target_partitions(1), runtime.unwrap())
}

fn streams(hub: &Hub, readers: usize, task: &Arc<TaskContext>) -> Vec<SendableRecordBatchStream> {
    (0..readers).map(|reader| hub.read(reader, 0, Arc::clone(task)).unwrap()).collect()
}

/// One after the other is the worst that can be: the second begins when the first is done. In memory, on disk where a reader may be
/// only a byte behind, and on disk where there is no memory.
#[tokio::test]
async fn readers_one_after_the_other_get_everything() {
    for (behind, memory) in [(1 << 20, 1 << 20), (1, 1 << 20), (4_000, 1 << 20), (1 << 20, 100), (1, 100)] {
        let session = session(memory);
        let hub = Hub::new(numbers(&session, 50, 10).await, 3, limits(behind));
        for mut stream in streams(&hub, 3, &session.task_ctx()) {
            assert_eq!(rest(&mut stream).await, (0..500).collect::<Vec<_>>(), "{behind} {memory}");
        }
        assert_eq!(session.task_ctx().memory_pool().reserved(), 0);
    }
}

/// Readers in tasks of their own, of different speeds, one of which goes away and one of which never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_at_once_get_everything() {
    for behind in [1, 300, 1 << 20] {
        let session = session(1 << 24);
        let hub = Hub::new(numbers(&session, 400, 5).await, 6, limits(behind));
        let mut tasks = Vec::new();
        for (speed, mut stream) in streams(&hub, 5, &session.task_ctx()).into_iter().enumerate() {
            tasks.push(tokio::spawn(async move {
                let mut all = Vec::new();
                while let Some(batch) = stream.next().await {
                    all.extend(batch.unwrap().column(0).as_primitive::<Int64Type>().values().iter().copied());
                    for _ in 0..speed * 3 {
                        tokio::task::yield_now().await;
                    }
                    if speed == 4 && all.len() > 300 {
                        return None;
                    }
                }
                Some(all)
            }));
        }
        for task in tasks {
            let all = timeout(ENOUGH, task).await.unwrap().unwrap();
            assert!(all.is_none_or(|all| all == (0..2_000).collect::<Vec<_>>()));
        }
        assert!(hub.read(0, 0, session.task_ctx()).is_err(), "once");
    }
}

/// A reader that stands still for a while reads from disk what it missed, and from memory again when it has caught up.
#[tokio::test]
async fn who_stands_still_catches_up() {
    let session = session(1 << 20);
    let hub = Hub::new(numbers(&session, 60, 10).await, 2, limits(200));
    let mut streams = streams(&hub, 2, &session.task_ctx());
    let (mut late, mut early) = (streams.pop().unwrap(), streams.pop().unwrap());
    let mut seen = Vec::new();
    let take = async |stream: &mut SendableRecordBatchStream, batches: usize, seen: Option<&mut Vec<i64>>| {
        let mut all = Vec::new();
        for _ in 0..batches {
            let batch = timeout(ENOUGH, stream.next()).await.unwrap().unwrap().unwrap();
            all.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
        }
        if let Some(seen) = seen {
            seen.extend(all);
        }
    };
    take(&mut late, 3, Some(&mut seen)).await;
    take(&mut early, 25, None).await;
    assert!(late.next().now_or_never().is_some_and(|batch| {
        seen.extend(batch.unwrap().unwrap().column(0).as_primitive::<Int64Type>().values());
        true
    }));
    take(&mut late, 26, Some(&mut seen)).await;
    take(&mut early, 20, None).await;
    seen.extend(rest(&mut late).await);
    assert_eq!(seen, (0..600).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_error_of_the_plan_is_every_readers() {
    let session = session(1 << 20);
    let frame = session.sql("SELECT 1 / (x - 20) FROM (SELECT unnest(range(0, 40)) AS x) AS t").await.unwrap();
    let hub = Hub::new(frame.create_physical_plan().await.unwrap(), 2, limits(1 << 20));
    for mut stream in streams(&hub, 2, &session.task_ctx()) {
        let mut failed = false;
        while let Some(batch) = timeout(ENOUGH, stream.next()).await.unwrap() {
            if let Err(error) = batch {
                assert!(matches!(error, DataFusionError::Shared(_)), "{error}");
                failed = true;
                break;
            }
        }
        assert!(failed);
    }
}

/// Two tables of 300 rows, in batches of one row.
async fn tables() -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(3).with_batch_size(1);
    let session = SessionContext::new_with_config(config);
    for (name, step) in [("a", 7), ("b", 11)] {
        let batch = |part: i64| {
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..100).map(|i| (i * step + part) % 90)));
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..100).map(|i| i * step)));
            RecordBatch::try_from_iter([("k", keys), ("v", values)]).unwrap()
        };
        let parts: Vec<_> = (0..3).map(|part| vec![batch(part)]).collect();
        let table = MemTable::try_new(parts[0][0].schema(), parts).unwrap();
        session.register_table(name, Arc::new(table)).unwrap();
    }
    session
}

async fn logical(session: &SessionContext, sql: &str) -> LogicalPlan {
    session.sql(sql).await.unwrap().into_optimized_plan().unwrap()
}

fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let shown = arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<String> = shown.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Each of two plans joins what both read, one with the sides turned: what is built from first by one is read last by the other. With a
/// byte of room, a batch a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_want_their_sides_in_turns_do_not_wait_for_each_other() {
    let session = tables().await;
    let sides = "(SELECT k, sum(v) AS s FROM a GROUP BY k) x, (SELECT k, sum(v) AS s FROM b GROUP BY k) y";
    let questions = [
        format!("SELECT x.k, x.s, y.s FROM {sides} WHERE x.k = y.k"),
        format!("SELECT y.k, y.s - x.s FROM {sides} WHERE x.k = y.k AND x.s < 9000"),
        "SELECT a.k, b.v FROM a JOIN b ON a.k = b.k".to_owned(),
        "SELECT b.k, a.v FROM b JOIN a ON b.k = a.k AND a.v > 3".to_owned(),
        "SELECT a.v, b.v FROM b LEFT JOIN a ON b.v = a.v".to_owned(),
        "SELECT a.k, c.v FROM a JOIN a c ON a.k = c.v".to_owned(),
        "SELECT c.k, a.v FROM a RIGHT JOIN a c ON a.v = c.k WHERE a.v IS NULL OR a.v > 2".to_owned(),
        "SELECT k, v FROM a UNION ALL SELECT k, v FROM b".to_owned(),
        "SELECT max(v) FROM a WHERE k NOT IN (SELECT v FROM b)".to_owned(),
    ];
    let mut plans = Vec::new();
    for sql in &questions {
        plans.push(logical(&session, sql).await);
    }
    let state = session.state();
    let limits = Limits { behind: 1, patience: Duration::from_millis(5) };
    let together = planned(plans, Noise::from_os(), &state, limits).await.unwrap();
    assert!(together.shares.iter().filter(|shares| **shares).count() >= 8, "{:?}", together.shares);
    let tasks = together.plans.into_iter().map(|plan| tokio::spawn(collect(plan, session.task_ctx())));
    for (task, sql) in tasks.collect::<Vec<_>>().into_iter().zip(&questions) {
        let at_once = timeout(ENOUGH, task).await.unwrap().unwrap().unwrap();
        let apart = session.sql(sql).await.unwrap().collect().await.unwrap();
        assert_eq!(sorted(&at_once), sorted(&apart), "{sql}");
    }
}

/// What has any chance in it is drawn by each, and only what lies below is shared.
#[tokio::test]
async fn no_choice_is_shared() {
    let session = tables().await;
    let state = session.state();
    let rows = logical(&session, "SELECT k AS __u, v FROM a WHERE k > 3").await;
    let bound = || crate::BoundGroups::try_new(rows.clone(), col("__u"), 1).unwrap().into_plan();
    let together = plan_together(vec![bound(), bound()], Noise::from_os(), &state).await.unwrap();
    let has_choice = |plan: &Arc<dyn ExecutionPlan>| format!("{plan:?}").contains("BoundGroupsExec");
    assert_eq!(together.shared.len(), 1);
    assert!(!has_choice(&together.shared[0]) && together.plans.iter().all(has_choice));
    let random = logical(&session, "SELECT k, random() AS r FROM a").await;
    let together = plan_together(vec![random.clone(), random], Noise::from_os(), &state).await.unwrap();
    assert_eq!(together.shared.len(), 1);
    assert!(!format!("{:?}", together.shared[0]).contains("random"));
}

/// A plan by itself shares nothing, and one whose partner is another table does not either.
#[tokio::test]
async fn what_is_not_in_common_is_left_alone() {
    let session = tables().await;
    let state = session.state();
    let (a, b) = (logical(&session, "SELECT sum(v) FROM a").await, logical(&session, "SELECT sum(v) FROM b").await);
    let together = plan_together(vec![a, b], Noise::from_os(), &state).await.unwrap();
    assert!(together.shared.is_empty() && together.shares == [false, false]);
}
