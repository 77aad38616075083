//! What the release makes of its measurements, seen without noise (debug builds only).

use super::*;
use arrow::array::Int64Array;
use arrow::datatypes::Int64Type;

const RATIO: Estimate = Estimate::Mean { sum: 1, count: 2, mid: 0.0, step: 1.0, lower: 0.0, upper: 1.0 };

fn run_without_noise(asked: &Asked, columns: &[ArrayRef]) -> RecordBatch {
    shown(&input(), columns, asked, &mut Noise::zero().stream().unwrap())
}

#[test]
fn values_without_noise_are_the_values() {
    let spec = spec(vec![
        count_of(0, None),
        output("mean", Estimate::Mean { sum: 1, count: 2, mid: 40.0, step: 0.5, lower: 0.0, upper: 80.0 }, None),
        output("sum", Estimate::Sum { sum: 1, step: 0.5 }, None),
        output("whole", Estimate::SumInteger { sum: 1, step: i64::MAX }, None),
    ]);
    let rows = run_without_noise(
        &spec,
        &groups(&[(Some("b"), 30, [15, 30, 30]), (None, 40, [-20, 40, 40]), (Some("a"), 17, [0; 3])]),
    );
    assert_eq!(rows.num_rows(), 2);
    let keys: Vec<_> = rows.column(0).as_string::<i32>().iter().collect();
    assert_eq!(keys, [None, Some("b")], "rows come in the order of their keys");
    let floats = |column: usize| rows.column(column).as_primitive::<Float64Type>().values().to_vec();
    let integers = |column: usize| rows.column(column).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(integers(1), [40, 30]);
    assert_eq!(floats(2), [1.0, 1.0]);
    assert_eq!(floats(3), [39.75, 40.25]);
    assert_eq!(floats(5), [-10.0, 7.5]);
    assert_eq!(integers(7), [i64::MIN, i64::MAX]);
    assert_eq!(rows.schema().field(8).name(), "whole__stddev");
}

/// Words 0 and 1 of the state: what does not fit, and what does.
#[test]
fn a_share_is_what_fits_of_all() {
    let band = |high| Mask { low: 0.1, high, base: Base::Itself };
    let share = Estimate::Share { counts: 3 };
    let mut spec = spec(vec![output("share", share.clone(), None), output("masked", share, Some(band(0.6)))]);
    spec.measurements.push(Measurement { column: 2, what: What::TWO_COUNTS, noise: sigma(9) });
    let rows = run_without_noise(
        &spec,
        &groups(&[
            (Some("a"), 40, [30, 10, 40]),
            (Some("b"), 40, [0, 40, 40]),
            (Some("c"), 40, [40, 0, 40]),
            (Some("nobody has a value"), 40, [0, 0, 0]),
        ]),
    );
    let floats = |column: usize| rows.column(column).as_primitive::<Float64Type>().iter().collect::<Vec<_>>();
    assert_eq!(floats(1), [Some(0.25), Some(1.0), Some(0.0), None]);
    assert_eq!(floats(3), [Some(0.25), Some(0.6), Some(0.1), None]);
    let error = |share: f64| Some(3.0 * share.hypot(1.0 - share) / 40.0);
    assert_eq!(floats(2), [error(0.25), error(1.0), error(0.0), None]);
    assert_eq!(floats(4), [error(0.25), None, None, None], "of a masked value nothing more is said");
}

#[test]
fn a_cell_of_few_persons_is_null() {
    let mut spec = spec(vec![output("mean", RATIO, None)]);
    spec.cells.push(CellFloor { column: 2, word: 2, count: 2, threshold: 15 });
    spec.outputs[0].cell = Some(0);
    let rows = run_without_noise(
        &spec,
        &groups(&[
            (Some("exactly too few"), 30, [10, 20, 9]),
            (Some("noisily too few"), 30, [7, 14, 14]),
            (Some("enough"), 30, [10, 20, 10]),
        ]),
    );
    let ratios: Vec<_> = rows.column(1).as_primitive::<Float64Type>().iter().collect();
    let stddevs = rows.column(2);
    assert_eq!(ratios, [Some(0.5), None, None]);
    assert_eq!((stddevs.is_null(0), stddevs.is_null(1), stddevs.is_null(2)), (false, true, true));
}

#[test]
fn masks_compare_noised_values_with_their_base() {
    let band = |base| Some(Mask { low: 0.1, high: 0.9, base });
    let spec = spec(vec![
        output("ratio", RATIO, band(Base::Itself)),
        count_of(1, band(Base::Measurement(2))),
        output("persons", Estimate::Count { count: 0 }, band(Base::Partition { keys: vec![], measurement: 0 })),
    ]);
    let rows = run_without_noise(&spec, &groups(&[(Some("a"), 980, [95, 95, 95]), (Some("b"), 20, [50, 101, 101])]));
    let ratios: Vec<_> = rows.column(1).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(ratios, [Some(0.9), Some(50.0 / 101.0)]);
    assert!(rows.column(2).is_null(0) && rows.column(2).is_valid(1));
    let counts: Vec<_> = rows.column(3).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(counts, [Some(85), Some(50)]);
    let persons: Vec<_> = rows.column(5).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(persons, [Some(900), Some(100)]);
    let alone = run_without_noise(&spec, &groups(&[(Some("a"), 100, [50, 100, 100])]));
    assert_eq!(*alone.column(5).as_primitive::<Int64Type>(), Int64Array::from(vec![90]));
}
