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

/// Whose texts they are.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Rows,
    /// Each row has one that no other has, until there are too many.
    Many,
    /// But for one row of these, if it is there.
    Persons {
        but: usize,
    },
}

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![Just(Whose::Rows), Just(Whose::Many), (0..400_usize).prop_map(|but| Whose::Persons { but })]
}

impl Whose {
    fn text(self, (number, row): (usize, &Row)) -> Row {
        let of_person = || row.0.map(|person| person.rem_euclid(40) as u16).filter(|text| *text != 3);
        let text = match self {
            Self::Rows => row.2,
            Self::Many => row.2.map(|text| text + 40 * number as u16),
            Self::Persons { but } if but == number => row.2,
            Self::Persons { .. } => of_person(),
        };
        (row.0, row.1, text)
    }
}

proptest! {
    /// Each batch a part of a larger one. All are given before the batch `spilled`, as when memory is short.
    #[test]
    fn what_comes_out_is_what_came_in(
        rows in prop::collection::vec(row(), 0..200),
        rows_a_batch in 1..60_usize,
        whose in whose(),
        person in prop::option::of(Just(0)),
        spilled in prop::option::of(0..10_usize),
        seed: u64,
    ) {
        let rows: Vec<Row> = rows.iter().enumerate().map(|row| whose.text(row)).collect();
        let whole = batch(&rows);
        let mut narrow = Narrow::new(whole.schema(), person);
        let (mut numbers, mut waiting) = (BTreeMap::new(), Vec::new());
        for (number, part) in rows.chunks(rows_a_batch).enumerate() {
            if spilled == Some(number) {
                give_back(&narrow, std::mem::take(&mut waiting), seed)?;
                narrow.forget();
            }
            let mut persons = Vec::new();
            for row in part {
                let next = numbers.len() as u32;
                persons.push(*numbers.entry(row.0).or_insert(next));
            }
            let part = whole.slice(number * rows_a_batch, part.len());
            let (narrowed, _) = narrow.take_in(&part, &persons, numbers.len()).unwrap();
            waiting.push((part, persons, narrowed));
        }
        give_back(&narrow, waiting, seed)?;
    }
}

fn give_back(narrow: &Narrow, waiting: Vec<(RecordBatch, Vec<u32>, Waiting)>, seed: u64) -> Result<(), TestCaseError> {
    for (part, persons, narrowed) in waiting {
        prop_assert_eq!((narrowed.persons(), narrowed.len()), (persons.clone(), part.num_rows()));
        let kept: BooleanArray = (0..part.num_rows()).map(|row| Some(seed >> (row % 64) & 1 == 1)).collect();
        let some = narrow.give_some(&narrowed, &kept).unwrap();
        prop_assert_eq!(some, filter_record_batch(&part, &kept).unwrap());
        let (all, of) = narrow.give(narrowed).unwrap();
        prop_assert_eq!(all, part);
        prop_assert_eq!(of.values().as_ref(), &persons[..]);
    }
    Ok(())
}

/// Ten bits for the number of a person, six for a small number, four or five for a text or none where it is the person's: that is what
/// rows are narrowed for.
#[test]
fn rows_take_few_bits() {
    let bits = |text: fn(i64) -> i64| {
        let rows: Vec<Row> =
            (0..80_000).map(|row| (Some(row % 1_000 * 1_000), Some(row % 50), Some(text(row) as u16))).collect();
        let whole = batch(&rows).project(&[0, 1, 7]).unwrap();
        let mut narrow = Narrow::new(whole.schema(), Some(0));
        let mut bytes = 0;
        for part in 0..10 {
            let persons: Vec<u32> = (0..8_000).map(|row| row % 1_000).collect();
            bytes += narrow.take_in(&whole.slice(part * 8_000, 8_000), &persons, 1_000).unwrap().1;
        }
        assert!(narrow.size() < 40_000, "{}", narrow.size());
        bytes * 8 / 80_000
    };
    assert_eq!(bits(|row| row % 1_000 % 20), 16);
    // Each person's changes after the first batch, which alone waits without it: ten texts by then, nineteen in the end.
    assert_eq!(bits(|row| row / 8_000 + row % 10), 19);
}
