//! A thousand ordinary persons of one row each, and perhaps a hostile one.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use datafusion::parquet::arrow::ArrowWriter;
use tokio_postgres::Client;

use crate::expressions::Dice;
use crate::support::run;

/// The hostile person's rows: enough for each pair of hostile values to meet now and then.
const HOSTILE: usize = 200;

fn texts() -> Vec<Option<String>> {
    let plain = [
        "",
        " ",
        "0",
        "abc",
        "-0",
        "2026-02-30",
        "0000-00-00",
        "99999-12-31",
        "(((",
        "[a-",
        "a{1000}{1000}{1000}",
        "(?R)",
        "\\",
        "%",
        "%_\\",
        "_",
        "é",
        "ß",
        "İ",
        "💣",
        "9223372036854775808",
        "1e400",
        "NaN",
        "inf",
        "-inf",
        "2026-01-01T25:61:61Z",
        "month",
        "week",
        "nonsense",
        "%Q %% %",
        "YYYY-MM-DD",
        "%Y-%m-%d",
        "true",
        "\u{202e}",
        "\t\n",
        "'",
        "12:61",
        "P1Y",
    ];
    let long = ["a".repeat(100_000), "%".repeat(2_000), "\\".repeat(999), "(a*)*".repeat(300)];
    plain.iter().map(|text| Some((*text).to_owned())).chain(long.map(Some)).chain([None]).collect()
}

/// One of each, or the ordinary one.
fn column<T: Clone>(hostile: usize, ordinary: T, values: &[T], salt: u64) -> Vec<T> {
    let mut dice = Dice::new(salt);
    (0..1000).map(|_| ordinary.clone()).chain((0..hostile).map(|_| values[dice.below(values.len())].clone())).collect()
}

pub fn write(folder: &Path, hostile: bool) {
    let more = if hostile { HOSTILE } else { 0 };
    let person: Int64Array = (0..1000).chain(std::iter::repeat_n(-7, more)).map(Some).collect();
    let ints =
        [0, -1, 1, 2, 7, i64::MIN, i64::MAX, i64::MIN + 1, 1 << 31, -(1 << 31) - 1, 1 << 53, 86_400, 1_000_000_000_000];
    let ints: Vec<Option<i64>> = ints.into_iter().map(Some).chain([None]).collect();
    let shorts: Vec<Option<i16>> = [0, -1, 1, i16::MIN, i16::MAX].into_iter().map(Some).chain([None]).collect();
    let floats = [
        0.0,
        -0.0,
        1.0,
        2.5,
        -1.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e308,
        -1e308,
        5e-324,
        9.3e18,
        -9.3e18,
        1e19,
    ];
    let floats: Vec<Option<f64>> = floats.into_iter().map(Some).chain([None]).collect();
    let days = [0, 1, -1, 20_000, i32::MIN, i32::MAX, -719_529, 2_932_897, 106_752, -106_752];
    let days: Vec<Option<i32>> = days.into_iter().map(Some).chain([None]).collect();
    let moments =
        [0, 1, -1, i64::MIN, i64::MAX, 1_700_000_000_000_000, -62_135_596_800_000_001, 253_402_300_800_000_000];
    let moments: Vec<Option<i64>> = moments.into_iter().map(Some).chain([None]).collect();
    let most = 10_i128.pow(38) - 1;
    let exact: Vec<Option<i128>> =
        [0, 1, -1, most, -most, 10_i128.pow(10)].into_iter().map(Some).chain([None]).collect();
    let bools = [Some(true), Some(false), None];
    let exact =
        Decimal128Array::from(column(more, Some(30_000_000_000), &exact, 6)).with_precision_and_scale(38, 10).unwrap();
    let columns: [(&str, ArrayRef); 10] = [
        ("person", Arc::new(person)),
        ("i", Arc::new(Int64Array::from(column(more, Some(3), &ints, 1)))),
        ("s", Arc::new(Int16Array::from(column(more, Some(3), &shorts, 2)))),
        ("f", Arc::new(Float64Array::from(column(more, Some(1.5), &floats, 3)))),
        ("d", Arc::new(Date32Array::from(column(more, Some(20_000), &days, 4)))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(column(more, Some(1_700_000_000_000_000), &moments, 5)))),
        ("n", Arc::new(exact)),
        ("t", Arc::new(StringArray::from(column(more, Some("x1".to_owned()), &texts(), 7)))),
        ("u", Arc::new(StringArray::from(column(more, Some("1".to_owned()), &texts(), 8)))),
        ("b", Arc::new(BooleanArray::from(column(more, Some(true), &bools, 9)))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(folder.join("odd.parquet")).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

pub async fn register(admin: &Client) {
    run(admin, "CREATE EXTERNAL TABLE odd STORED AS PARQUET LOCATION 'odd.parquet'").await;
    run(admin, "ALTER TABLE odd SET (person_key = 'person', max_rows_per_person = 2, max_groups_per_person = 2)").await;
    for name in ["i", "s", "f", "d", "ts", "n", "t", "u", "b"] {
        run(admin, &format!("ALTER TABLE odd ALTER COLUMN {name} SET (class = 'attribute')")).await;
    }
    run(admin, "GRANT SELECT ON odd TO insights_analyst").await;
}
