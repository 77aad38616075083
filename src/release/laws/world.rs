//! Random companies: people with hostile rows, as the tables of the compiler's tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    // Other data each time, for an engine that remembers what it found in it.
    static MADE: AtomicU64 = AtomicU64::new(0);
    let version = MADE.fetch_add(1, Ordering::Relaxed).to_string();
    let tables = [("person", person), ("week", week), ("mail", mail), ("calendar", calendar)];
    for (name, columns) in tables.into_iter().chain(linked(people)) {
        let schema = context.tables[name].schema.clone();
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let table = MemTable::try_new(schema, laid_out(&batch, layout)).unwrap();
        sources.add(name.to_owned(), Arc::new(table), Some(version.clone()));
    }
    sources
}

/// Purchases with their items and those items' parts, of as many mails; a badge each, and its doors, of the weeks.
fn linked(people: &[(i64, &Person)]) -> [(&'static str, Vec<ArrayRef>); 5] {
    let purchases: Vec<(i64, i64, i64)> = people
        .iter()
        .flat_map(|(id, p)| {
            p.mails.iter().take(40).enumerate().map(move |(i, size)| (*id, id * 1000 + i as i64, *size))
        })
        .collect();
    let lines = |order: i64| 1 + order % 3;
    let items: Vec<(i64, i64, i64)> =
        purchases.iter().flat_map(|(_, order, size)| (0..lines(*order)).map(|line| (*order, line, *size))).collect();
    let item = |order: i64, line: i64| order * 10 + line;
    let parts: Vec<i64> = items.iter().flat_map(|(order, line, _)| [item(*order, *line); 2]).collect();
    let doors: Vec<(i64, i32, f64)> =
        people.iter().flat_map(|(id, p)| p.weeks.iter().map(move |(week, hours)| (7000 + id, *week, *hours))).collect();
    let whole = |numbers: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(numbers)) };
    let real = |numbers: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(numbers)) };
    let week = |numbers: Vec<i32>| -> ArrayRef { Arc::new(Int32Array::from(numbers)) };
    let shops = purchases.iter().map(|(_, _, size)| Some(["north", "south", "web"][(size & 1) as usize]));
    [
        (
            "purchase",
            vec![
                whole(purchases.iter().map(|p| p.1).collect()),
                whole(purchases.iter().map(|p| p.0).collect()),
                Arc::new(shops.collect::<StringArray>()),
            ],
        ),
        (
            "item",
            vec![
                whole(items.iter().map(|i| i.0).collect()),
                whole(items.iter().map(|i| i.1).collect()),
                whole(items.iter().map(|i| item(i.0, i.1)).collect()),
                real(items.iter().map(|i| i.2 as f64).collect()),
                week(items.iter().map(|i| (i.0 % 5) as i32).collect()),
            ],
        ),
        ("part", vec![whole(parts.clone()), real(parts.iter().map(|part| (part % 11) as f64).collect())]),
        (
            "badge",
            vec![
                whole(people.iter().map(|(id, _)| 7000 + id).collect()),
                whole(people.iter().map(|(id, _)| *id).collect()),
            ],
        ),
        (
            "door",
            vec![
                whole(doors.iter().map(|d| d.0).collect()),
                week(doors.iter().map(|d| d.1).collect()),
                real(doors.iter().map(|d| d.2).collect()),
            ],
        ),
    ]
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
