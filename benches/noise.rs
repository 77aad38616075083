//! What noise and selection cost, apart from everything else: the release function over a million groups, on one core.
//!
//! `cargo bench --bench noise`. Prints seconds, medians of seven; `PARAVENT_NOISE_GROUPS` (1,000,000) sets the size.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int64Array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema};
use paravent_udfs::{Measurement, Mechanism, Noise, ReleaseSpec, Sensitivity, What, release, unreleased_field};

/// Exact words of all groups, as the aggregates give them.
fn words(values: impl Iterator<Item = i128>) -> ArrayRef {
    let bytes: Vec<u8> = values.flat_map(i128::to_le_bytes).collect();
    Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None).unwrap())
}

fn main() {
    let groups: i64 = std::env::var("PARAVENT_NOISE_GROUPS").map_or(1_000_000, |groups| groups.parse().unwrap());
    let schema = Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        unreleased_field("persons", 1),
        unreleased_field("sum", 1),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0..groups).map(|group| group * 7_919 % groups))),
        words((0..groups).map(|group| i128::from(group % 400))),
        words((0..groups).map(|group| i128::from(group % 400) << 20)),
    ];
    println!("{:52} {:>10}", "release of groups, one core", "seconds");
    for (name, measurements) in [("persons", 1), ("persons and a sum", 2)] {
        let measurement = |number: usize| Measurement {
            column: 1 + number,
            what: What::Word(0),
            noise: Mechanism::Gaussian.noise(Sensitivity { reach: 1 << (20 * number), times: 1 }, 0.25).unwrap(),
        };
        let spec = ReleaseSpec {
            keys: 1,
            floor: 10,
            threshold: 30,
            persons: 1,
            measurements: (0..measurements).map(measurement).collect(),
            cells: vec![],
        };
        let mut times: Vec<f64> = (0..7)
            .map(|_| {
                let mut stream = Noise::from_os().stream().unwrap();
                let start = Instant::now();
                let rows = release(&schema, &columns, &spec, &mut stream).unwrap();
                assert!(rows.num_rows() > 0);
                start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{:52} {:>10.3}", format!("{groups} groups: {name}"), times[3]);
    }
}
