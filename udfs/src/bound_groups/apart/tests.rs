//! What is read twice, and that it is worth it there.

use super::*;
use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{Field, Int64Type, Schema};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::JoinType;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext, col, ident};
use std::collections::BTreeMap;

/// `rows` rows of persons with seven each, in two tables of the same columns.
async fn session(rows: i64) -> SessionContext {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let schema =
        Arc::new(Schema::new(vec![Field::new("__u", DataType::Int64, true), Field::new("k", DataType::Int64, false)]));
    let persons = Int64Array::from_iter((0..rows).map(|row| (row / 7 > 0).then_some(row / 7)));
    let keys = Int64Array::from_iter_values(0..rows);
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(persons), Arc::new(keys)]).unwrap();
    for table in ["t", "other"] {
        let parts = vec![vec![batch.clone()]];
        session.register_table(table, Arc::new(MemTable::try_new(Arc::clone(&schema), parts).unwrap())).unwrap();
    }
    session
}

async fn planned(session: &SessionContext, rows: LogicalPlanBuilder) -> Arc<dyn ExecutionPlan> {
    let bound = BoundGroups::try_new(rows.build().unwrap(), ident("__u"), 3).unwrap().into_plan();
    let plan = session.state().optimize(&bound).unwrap();
    crate::planner(crate::Noise::from_os()).create_physical_plan(&plan, &session.state()).await.unwrap()
}

fn is_read_twice(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    assert!(shown.contains("BoundGroupsExec"), "{shown}");
    shown.contains("counted apart")
}

#[tokio::test]
async fn a_large_table_is_read_twice_and_three_groups_of_each_person_are_kept() {
    let rows = MANY as i64 + 700;
    let session = session(rows).await;
    let table = session.table("t").await.unwrap().into_unoptimized_plan();
    // The last person of an odd length has fewer; the filter takes one row of every seven.
    let table = LogicalPlanBuilder::from(table).filter((col("k") % lit(7_i64)).not_eq(lit(2_i64))).unwrap();
    let plan = planned(&session, table).await;
    assert!(is_read_twice(&plan));
    let mut kept = BTreeMap::<Option<i64>, usize>::new();
    for batch in collect(plan, session.task_ctx()).await.unwrap() {
        let (persons, keys) =
            (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
        for (person, key) in persons.iter().zip(keys.values()) {
            assert_eq!(person, (key / 7 > 0).then_some(key / 7));
            assert_ne!(key % 7, 2);
            *kept.entry(person).or_default() += 1;
        }
    }
    let left = |person: i64| (person * 7..rows.min(person * 7 + 7)).filter(|key| key % 7 != 2).count();
    for person in 0..(rows + 6) / 7 {
        assert_eq!(kept.remove(&(person > 0).then_some(person)), Some(left(person).min(3)), "{person}");
    }
    assert!(kept.is_empty());
}

#[tokio::test]
async fn what_is_small_or_could_differ_is_read_once() {
    let small = session(1_000).await;
    let table = small.table("t").await.unwrap().into_unoptimized_plan();
    assert!(!is_read_twice(&planned(&small, LogicalPlanBuilder::from(table)).await));

    let large = session(MANY as i64 + 700).await;
    let table = large.table("t").await.unwrap().into_unoptimized_plan();
    let of = |name: &'static str| {
        let session = large.clone();
        async move { session.table(name).await.unwrap().into_unoptimized_plan() }
    };
    let table = || LogicalPlanBuilder::from(table.clone());
    let grouped = table().aggregate(vec![col("__u"), col("k")], vec![count(lit(1))]).unwrap();
    let some = table().limit(0, Some(3_000_000)).unwrap();
    let other =
        LogicalPlanBuilder::from(of("other").await).project(vec![col("k").alias("j")]).unwrap().build().unwrap();
    let joined = table().join(other, JoinType::Inner, (vec!["k"], vec!["j"]), None).unwrap();
    let joined = joined.project(vec![col("__u"), col("k")]).unwrap();
    for rows in [grouped, some, joined] {
        assert!(!is_read_twice(&planned(&large, rows).await));
    }
    assert!(is_read_twice(&planned(&large, table()).await));
}
