//! Law: what grouping says, whatever collides and however little room there is.

use super::*;
use arrow::array::{Int32Array, Int64Array, StringViewArray};
use arrow::datatypes::{Field, Schema};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use proptest::prelude::*;

use crate::error::SqlState;

/// person, week, name.
type Row = (Option<i64>, i32, Option<u8>);

const COLUMNS: [&str; 3] = ["person", "week", "name"];

fn table(rows: &[Row]) -> Arc<dyn TableProvider> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("person", DataType::Int64, true),
        Field::new("week", DataType::Int32, true),
        Field::new("name", DataType::Utf8View, true),
    ]));
    let name = |row: &Row| row.2.map(|name| format!("{name}, and more than a view holds"));
    let batch = |rows: &[Row]| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>()),
            Arc::new(rows.iter().map(name).collect::<StringViewArray>()),
        ];
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    let part = |rows: &[Row]| rows.chunks(5000).map(batch).collect::<Vec<_>>();
    let mut parts: Vec<_> = rows.chunks(rows.len().div_ceil(2).max(1)).map(part).collect();
    // A table has a partition, also where it has no rows.
    parts.resize(parts.len().max(1), Vec::new());
    Arc::new(MemTable::try_new(schema.clone(), parts).unwrap())
}

fn context(bytes: Option<usize>) -> SessionContext {
    let runtime = RuntimeEnvBuilder::new();
    let runtime = match bytes {
        Some(bytes) => runtime.with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes))),
        None => runtime,
    };
    let config = SessionConfig::new().with_target_partitions(2).with_batch_size(100);
    SessionContext::new_with_config_rt(config, runtime.build_arc().unwrap())
}

async fn by_hashes(
    context: &SessionContext,
    rows: &[Row],
    columns: &[&str],
    hash: Hash,
    most: usize,
) -> Result<Option<bool>> {
    let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    Key { context, provider: &table(rows), columns: &columns }.holds_by(hash, most).await
}

/// By the letter of the law.
fn by_sets(rows: &[Row], columns: &[&str]) -> bool {
    let mut seen = std::collections::HashSet::new();
    let has = |name| columns.contains(&name);
    rows.iter().all(|row| {
        let null = has("person") && row.0.is_none() || has("name") && row.2.is_none();
        let key = (row.0.filter(|_| has("person")), has("week").then_some(row.1), row.2.filter(|_| has("name")));
        !null && seen.insert(key)
    })
}

fn few_hashes(columns: &[ArrayRef], hashes: &mut [u64]) -> datafusion::error::Result<()> {
    hash(columns, hashes)?;
    hashes.iter_mut().for_each(|hash| *hash = [*hash % 3, u64::MAX - *hash % 3, 7][(*hash % 16).min(2) as usize]);
    Ok(())
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.999, 0..300_i64), 0..40_i32, prop::option::weighted(0.999, 0..200_u8))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn hashes_say_what_grouping_says(
        mut rows in prop::collection::vec(row(), 0..400),
        columns in prop::sample::subsequence(COLUMNS.to_vec(), 1..=3),
        once in any::<bool>(),
        most in 2..200_usize,
        few in any::<bool>(),
    ) {
        if once {
            rows.sort_unstable();
            rows.dedup();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let hash = if few { few_hashes } else { hash };
        let told = runtime.block_on(by_hashes(&context(None), &rows, &columns, hash, most)).unwrap();
        prop_assert_eq!(told, Some(by_sets(&rows, &columns)));
    }
}

/// Persons of many weeks each: a key of both.
fn weeks(count: i64) -> Vec<Row> {
    (0..count).map(|i| (Some(i * 7919 % (count / 50)), (i / (count / 50)) as i32, None)).collect()
}

#[tokio::test]
async fn little_memory_is_enough_and_none_is_refused() {
    let mut rows = weeks(150_000);
    // Room for a quarter of the hashes.
    let little = context(Some(300_000));
    let pool = Arc::clone(&little.runtime_env().memory_pool);
    assert_eq!(by_hashes(&little, &rows, &["person", "week"], hash, MOST_HASHES).await.unwrap(), Some(true));
    rows.push(rows[70_000]);
    assert_eq!(by_hashes(&little, &rows, &["person", "week"], hash, MOST_HASHES).await.unwrap(), Some(false));
    assert_eq!(by_hashes(&little, &rows, &["week"], hash, MOST_HASHES).await.unwrap(), Some(false));
    assert_eq!(pool.reserved(), 0);
    // For a twentieth: grouping spills.
    let less = context(Some(70_000));
    assert_eq!(by_hashes(&less, &rows, &["person", "week"], hash, MOST_HASHES).await.unwrap(), None);
    let refusal = by_hashes(&context(Some(1000)), &rows, &["person", "week"], hash, MOST_HASHES).await.unwrap_err();
    assert_eq!(refusal.sqlstate, SqlState::OutOfMemory);
}

/// The most that is held is for tables of its size.
#[tokio::test]
async fn larger_tables_take_more_room_and_no_more_passes() {
    assert_eq!(by_hashes(&context(None), &weeks(20_000), &["person", "week"], hash, 100).await.unwrap(), Some(true));
}

/// Somebody may make rows whose hashes collide; that must not take a pass over the files for each of them.
#[tokio::test]
async fn many_collisions_are_left_to_grouping() {
    let rows = weeks(MOST_ROWS as i64 + 50);
    let told = by_hashes(&context(None), &rows, &["person", "week"], few_hashes, MOST_HASHES).await.unwrap();
    assert_eq!(told, None);
}

#[tokio::test]
async fn types_whose_equality_is_the_engines_are_left_to_it() {
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, true)]));
    let batch = |numbers: Vec<f64>| {
        RecordBatch::try_new(schema.clone(), vec![Arc::new(arrow::array::Float64Array::from(numbers))]).unwrap()
    };
    let provider: Arc<dyn TableProvider> =
        Arc::new(MemTable::try_new(schema.clone(), vec![vec![batch(vec![1.0, 2.0])], vec![batch(vec![1.0])]]).unwrap());
    let (context, columns) = (context(None), ["x".to_owned()]);
    let key = Key { context: &context, provider: &provider, columns: &columns };
    assert_eq!(key.holds().await.unwrap(), None);
    assert!(!super::super::holds(context.clone(), provider.clone(), &columns).await.unwrap());
}
