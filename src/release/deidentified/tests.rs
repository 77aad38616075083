//! Laws of de-identified rows: who is shown, how far noise goes, what stays the same.

use super::*;
use crate::keys::{KeyFile, KeyName, KeyService};
use crate::query::RowColumn;
use arrow::array::Int64Array;
use arrow::datatypes::{Field, Schema};

fn keys(folder: &tempfile::TempDir, access: u64) -> RowKeys {
    let file = KeyFile::open(folder.path().join("keys")).unwrap();
    let family = KeyName::Family { family: "people".to_owned(), epoch: 1 };
    RowKeys {
        access: file.key(&KeyName::Access(access)).unwrap(),
        families: BTreeMap::from([("people".to_owned(), file.key(&family).unwrap())]),
        purpose: String::new(),
    }
}

fn recipe(floor: u64, noise: f64) -> RowRecipe {
    let column = |name: &str, shows: Shows| RowColumn { name: name.to_owned(), shows, mask: None };
    RowRecipe {
        access: 1,
        level: Level::Deidentified,
        columns: vec![
            column("id", Shows::Pseudonym { family: "people".to_owned(), epoch: 1 }),
            column("team", Shows::Attribute),
            column("hours", Shows::Noised { bounds: Bounds::new(0.0, 40.0).unwrap(), integer: false }),
        ],
        identity: 1,
        floor,
        noise,
        cap: 1_000,
    }
}

/// Rows of (person, team, hours), told apart by the person alone.
fn raw(rows: &[(i64, &str, f64)]) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let team: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    let hours: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)));
    RecordBatch::try_from_iter([("0", id.clone()), ("1", team), ("2", hours), ("3", id.clone()), ("4", id)]).unwrap()
}

fn shown(rows: &[(i64, &str, f64)], recipe: &RowRecipe, keys: &RowKeys) -> RecordBatch {
    let fields =
        [("id", DataType::Utf8), ("team", DataType::Utf8), ("hours", DataType::Float64), ("__row", DataType::Binary)];
    let schema = Arc::new(Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec()));
    deidentify(&raw(rows), recipe, &schema, keys).unwrap()
}

fn hours(batch: &RecordBatch) -> Vec<f64> {
    batch.column(2).as_primitive::<Float64Type>().values().to_vec()
}

#[test]
fn floors_count_persons_and_not_rows() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(&folder, 1);
    let mut rows: Vec<(i64, &str, f64)> = (0..10).map(|id| (id, "many", 1.0)).collect();
    rows.extend((0..9).map(|id| (id, "few", 1.0)));
    rows.extend((0..30).map(|_| (77, "one", 1.0)));
    assert_eq!(shown(&rows, &recipe(10, 0.1), &keys).num_rows(), 10);
    assert_eq!(shown(&rows, &recipe(9, 0.1), &keys).num_rows(), 19);
    assert_eq!(shown(&rows, &recipe(1, 0.1), &keys).num_rows(), 49);
    assert_eq!(shown(&rows, &recipe(100, 0.1), &keys).num_rows(), 0);
}

#[test]
fn noise_is_within_its_reach_and_its_mean_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(&folder, 1);
    let rows: Vec<(i64, &str, f64)> = (0..20_000).map(|id| (id, "all", 13.7)).collect();
    let noised = hours(&shown(&rows, &recipe(10, 0.1), &keys));
    // 4 hours, and a step of 4 / 64 for the rounding.
    assert!(noised.iter().all(|value| (value - 13.7).abs() <= 4.0 + 1.0 / 16.0));
    assert!(noised.iter().any(|value| *value < 10.0) && noised.iter().any(|value| *value > 17.0));
    let mean = noised.iter().sum::<f64>() / noised.len() as f64;
    // Its standard deviation is 4 / sqrt(3 * 20,000) = 0.0163; seven of it fail once in 4e11 keys.
    assert!((mean - 13.7).abs() < 0.114, "{mean}");
    // What is shown stands on the lattice, whatever the value was: its last digits tell nothing.
    assert!(noised.iter().all(|value| (value * 16.0).fract() == 0.0));
}

#[test]
fn a_row_shows_the_same_in_any_company_until_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(&folder, 1);
    let rows: Vec<(i64, &str, f64)> = (0..100).map(|id| (id, "all", id as f64 / 3.0)).collect();
    let by_name = |rows: &[(i64, &str, f64)], keys: &RowKeys| -> BTreeMap<Vec<u8>, f64> {
        let batch = shown(rows, &recipe(10, 0.1), keys);
        batch.column(3).as_binary::<i32>().iter().map(|name| name.unwrap().to_vec()).zip(hours(&batch)).collect()
    };
    let first = by_name(&rows, &keys);
    let mut others = rows.clone();
    others.reverse();
    others.truncate(60);
    let second = by_name(&others, &keys);
    assert!(second.iter().all(|(name, value)| first.get(name) == Some(value)));
    let mut changed = rows.clone();
    changed.iter_mut().for_each(|row| row.2 += 1.0);
    let third = by_name(&changed, &keys);
    let exactly = first.iter().filter(|(name, value)| (third[*name] - **value - 1.0).abs() < 1e-9).count();
    // One in 129 by chance.
    assert!(exactly < 20, "a change shows exactly in {exactly} rows of 100");
    let other_grant = by_name(&rows, &self::keys(&folder, 2));
    assert!(first.keys().all(|name| !other_grant.contains_key(name)));
}

#[test]
fn rows_that_agree_in_everything_keep_noise_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(&folder, 1);
    let rows: Vec<(i64, &str, f64)> = (0..40).map(|id| (id % 10, "all", 20.0)).collect();
    let mut noised = hours(&shown(&rows, &recipe(10, 0.5), &keys));
    noised.sort_by(f64::total_cmp);
    noised.dedup();
    assert!(noised.len() > 20, "{noised:?}");
}
