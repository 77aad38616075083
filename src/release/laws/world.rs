//! Random companies: people with hostile rows, as the tables of the compiler's tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::take_record_batch;
use datafusion::catalog::MemTable;
use proptest::prelude::*;

use crate::query::compile_tests::context;
use crate::release::Sources;

/// One person's rows in every table.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub country: usize,
    pub weeks: BTreeMap<i32, f64>,
    pub mails: Vec<i64>,
}

pub(super) fn person() -> impl Strategy<Value = Person> {
    let hours = prop_oneof![
        4 => 0.0..90.0_f64,
        1 => prop_oneof![
            Just(0.0), Just(1e308), Just(-1e308), Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(1e16)
        ],
    ];
    let size = prop_oneof![4 => 0..2000_i64, 1 => prop_oneof![Just(0), Just(i64::MAX), Just(i64::MIN)]];
    (0..3_usize, prop::collection::btree_map(0..30_i32, hours, 0..20), prop::collection::vec(size, 0..300))
        .prop_map(|(country, weeks, mails)| Person { country, weeks, mails })
}

/// How the same rows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    AsIs,
    /// Backwards and interleaved, in three partitions of small batches.
    Shuffled,
}

pub(super) fn sources(people: &[(i64, &Person)], layout: Layout) -> Sources {
    let context = context("");
    let countries = ["DE", "FR", "ÅX"];
    let ids = |repeat: &dyn Fn(&Person) -> usize| -> ArrayRef {
        let repeated = people.iter().flat_map(|(id, person)| std::iter::repeat_n(*id, repeat(person)));
        Arc::new(repeated.collect::<Vec<_>>().into_iter().map(Some).collect::<Int64Array>())
    };
    let country = people.iter().map(|(_, p)| Some(countries[p.country])).collect::<StringArray>();
    let person: Vec<ArrayRef> = vec![ids(&|_| 1), ids(&|_| 1), Arc::new(country)];
    let weeks = people.iter().flat_map(|(_, p)| p.weeks.keys().copied()).map(Some).collect::<Int32Array>();
    let hours = people.iter().flat_map(|(_, p)| p.weeks.values().copied()).map(Some).collect::<Float64Array>();
    let week: Vec<ArrayRef> = vec![ids(&|p| p.weeks.len()), Arc::new(weeks), Arc::new(hours)];
    let sizes = people.iter().flat_map(|(_, p)| p.mails.iter().copied()).map(Some).collect::<Int64Array>();
    let mail: Vec<ArrayRef> = vec![ids(&|p| p.mails.len()), Arc::new(sizes)];
    let seasons = (0..30).map(|week| Some(if week < 15 { "winter" } else { "summer" })).collect::<StringArray>();
    let calendar: Vec<ArrayRef> = vec![Arc::new((0..30).map(Some).collect::<Int32Array>()), Arc::new(seasons)];
    let mut sources = Sources::default();
    for (name, columns) in [("person", person), ("week", week), ("mail", mail), ("calendar", calendar)] {
        let schema = context.tables[name].schema.clone();
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let table = MemTable::try_new(schema, laid_out(&batch, layout)).unwrap();
        sources.add(name.to_owned(), Arc::new(table));
    }
    sources
}

fn laid_out(batch: &RecordBatch, layout: Layout) -> Vec<Vec<RecordBatch>> {
    match layout {
        Layout::AsIs => vec![vec![batch.clone()]],
        Layout::Shuffled => {
            let rows = batch.num_rows() as u64;
            let part = |part: u64| -> Vec<RecordBatch> {
                let mine: Vec<u64> = (0..rows).rev().filter(|row| row * 7 % 3 == part).collect();
                let chunk = |rows: &[u64]| take_record_batch(batch, &UInt64Array::from(rows.to_vec())).unwrap();
                mine.chunks(5).map(chunk).collect()
            };
            (0..3).map(part).collect()
        }
    }
}
