//! Laws: what comes out equals what came in, whatever the types, the numbers and the texts; and it takes fewer bytes.

use super::*;
use arrow::array::{Date32Array, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray};
use arrow::array::{TimestampMicrosecondArray, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A person; a number; a text.
type Row = (Option<i64>, Option<i64>, Option<u16>);

fn batch(rows: &[Row]) -> RecordBatch {
    let numbers = || rows.iter().map(|row| row.1);
    let text =
        |text: u16| if text.is_multiple_of(3) { format!("{text}") } else { format!("a text that is no view: {text}") };
    let texts = || rows.iter().map(|row| row.2.map(text));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(numbers().collect::<Int64Array>()),
        Arc::new(numbers().map(|n| n.map(|n| n as i32)).collect::<Int32Array>()),
        Arc::new(numbers().map(|n| n.map(|n| n as i32 % 100)).collect::<Date32Array>()),
        Arc::new(numbers().map(|n| n.map(|n| n as u64)).collect::<UInt64Array>()),
        Arc::new(numbers().collect::<TimestampMicrosecondArray>().with_timezone("Europe/Berlin")),
        Arc::new(numbers().map(|n| n.map(|n| n as f64)).collect::<Float64Array>()),
        Arc::new(texts().collect::<StringViewArray>()),
        Arc::new(texts().collect::<StringArray>()),
    ];
    let field = |(name, column): (usize, &ArrayRef)| Field::new(name.to_string(), column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().enumerate().map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn row() -> impl Strategy<Value = Row> {
    let person = prop_oneof![8 => (0..9_i64).prop_map(Some), 1 => Just(None), 1 => any::<i64>().prop_map(Some)];
    let number = prop_oneof![
        6 => (-100..100_i64).prop_map(Some),
        1 => Just(None),
        1 => (0..70_000_i64).prop_map(Some),
        1 => (-9..9_i64).prop_map(|number| Some(number << 40)),
    ];
    let far = prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), (0..1_i64 << 33)].prop_map(Some);
    let number = prop_oneof![30 => number, 1 => far];
    (person, number, prop::option::weighted(0.9, 0..40_u16))
}

proptest! {
    /// Each batch a part of a larger one; `many` batches have texts of their own, until there are too many.
    #[test]
    fn what_comes_out_is_what_came_in(
        rows in prop::collection::vec(row(), 0..200),
        rows_a_batch in 1..60_usize,
        many: bool,
        person in prop::option::of(Just(0)),
        seed: u64,
    ) {
        let rows: Vec<Row> = rows
            .iter()
            .zip(0..)
            .map(|(row, number)| if many { (row.0, row.1, row.2.map(|text| text + 40 * number)) } else { *row })
            .collect();
        let whole = batch(&rows);
        let mut narrow = Narrow::new(whole.schema(), person);
        let (mut numbers, mut waiting) = (BTreeMap::new(), Vec::new());
        for (number, part) in rows.chunks(rows_a_batch).enumerate() {
            let mut persons = Vec::new();
            for row in part {
                let next = numbers.len() as u32;
                persons.push(*numbers.entry(row.0).or_insert(next));
            }
            let part = whole.slice(number * rows_a_batch, part.len());
            let (narrowed, _) = narrow.take_in(&part, persons.clone(), numbers.len()).unwrap();
            waiting.push((part, persons, narrowed));
        }
        for (part, persons, narrowed) in waiting {
            prop_assert_eq!((narrowed.persons(), narrowed.len()), (persons.clone(), part.num_rows()));
            let kept: BooleanArray = (0..part.num_rows()).map(|row| Some(seed >> (row % 64) & 1 == 1)).collect();
            let some = narrow.give_some(&narrowed, &kept).unwrap();
            prop_assert_eq!(some, filter_record_batch(&part, &kept).unwrap());
            let (all, of) = narrow.give(narrowed).unwrap();
            prop_assert_eq!(all, part);
            prop_assert_eq!(of.values().as_ref(), &persons[..]);
        }
    }
}

/// A number of a person, a byte of a text, a day and a small number each: that is what rows are narrowed for.
#[test]
fn rows_take_few_bytes() {
    let rows: Vec<Row> =
        (0..80_000).map(|row| (Some(row % 1_000 * 1_000), Some(row % 50), Some((row % 20) as u16))).collect();
    let whole = batch(&rows).project(&[0, 1, 3, 7]).unwrap();
    let mut narrow = Narrow::new(whole.schema(), Some(0));
    let mut bytes = 0;
    for part in 0..10 {
        let persons = (0..8_000).map(|row| row % 1_000).collect();
        bytes += narrow.take_in(&whole.slice(part * 8_000, 8_000), persons, 1_000).unwrap().1;
    }
    assert!(bytes < 80_000 * 8, "{bytes}");
    assert!(narrow.size() < 40_000, "{}", narrow.size());
}
