//! Laws: a bound goes where nobody has more rows than groups, and only over one table's rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{JoinType, col};
use paravent_udfs::Noise;

use super::*;

fn scan(table: &str) -> LogicalPlanBuilder {
    let fields = vec![Field::new("u", DataType::Int64, true), Field::new("k", DataType::Utf8, true)];
    let source = Source::new(SourceKind::Protected(table.to_owned()), Arc::new(Schema::new(fields)));
    LogicalPlanBuilder::scan(table, Arc::new(source), None).unwrap()
}

fn bounded(rows: LogicalPlanBuilder, max_groups: u64) -> LogicalPlan {
    let person = Expr::Column(Column::new_unqualified("__u"));
    BoundGroups::try_new(rows.build().unwrap(), person, max_groups).unwrap().into_plan()
}

/// Persons with one row, and one with three.
fn sources(snapshot: Option<&str>, most: usize) -> Sources {
    let persons: Vec<i64> = (0..20).chain(std::iter::repeat_n(7, most - 1)).collect();
    let groups: ArrayRef = Arc::new(StringArray::from_iter_values(persons.iter().map(|u| format!("k{}", u % 3))));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("u", Arc::new(Int64Array::from(persons)) as ArrayRef, true),
        ("k", groups, true),
    ]);
    let batch = batch.unwrap();
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
    let mut sources = Sources::default();
    sources.add("facts".to_owned(), Arc::new(table), snapshot.map(str::to_owned));
    sources
}

fn engine() -> Engine {
    Engine::new(Noise::from_os(), Arc::new(RuntimeEnv::default()))
}

fn by_person() -> LogicalPlanBuilder {
    let rows = scan("facts").filter(col("k").is_not_null()).unwrap();
    let rows = rows.project([col("k").alias("__k0"), col("u").alias("__u")]).unwrap();
    rows.aggregate(vec![col("__k0"), col("__u")], Vec::<Expr>::new()).unwrap()
}

#[tokio::test]
async fn a_bound_goes_where_nobody_has_more_rows() {
    let engine = engine();
    for (snapshot, most, max_groups, goes) in [
        (Some("a"), 3, 3, true),
        (Some("a"), 3, 2, false),
        // It was counted in `a`, and is counted anew in other data.
        (Some("b"), 4, 3, false),
        (Some("a"), 3, 3, true),
        (None, 3, 3, false),
    ] {
        let plan = bounded(by_person(), max_groups);
        let without = engine.without_idle_bounds(&plan, &sources(snapshot, most)).await.unwrap();
        assert_eq!(without != plan, goes, "{snapshot:?} {most} {max_groups}");
        assert_eq!(without.schema(), plan.schema());
    }
}

#[tokio::test]
async fn a_bound_stays_where_a_person_may_get_more_rows() {
    let named = || [col("facts.k").alias("__k0"), col("facts.u").alias("__u")];
    let joined =
        scan("facts").join_on(scan("other").build().unwrap(), JoinType::Inner, [col("facts.u").eq(col("other.u"))]);
    let twice = scan("facts").union(scan("facts").build().unwrap()).unwrap();
    let twice = twice.project([col("k").alias("__k0"), col("u").alias("__u")]).unwrap();
    let other = scan("facts").project([col("k").alias("__k0"), (col("u") % lit(2_i64)).alias("__u")]).unwrap();
    for rows in [joined.unwrap().project(named()).unwrap(), twice, other] {
        let plan = bounded(rows, 1_000);
        assert_eq!(engine().without_idle_bounds(&plan, &sources(Some("a"), 3)).await.unwrap(), plan);
    }
}
