//! From measured rows to the values of an answer: estimates, standard errors, intervals, masks.
//!
//! Pure. In: rows that a release has measured, and what is wanted of them. Out: keys, and the columns of each output. Without keys
//! one row always comes out, NULL where the group was suppressed. Must never: be given exact values.
//!
//! **Sensitivity, Noise, Cost** none: post-processing of a release (Dwork, Roth 2014, Proposition 2.1).

use super::estimate::{Level, Number, Value, estimate};
use super::measured::Measured;
use super::output::Output;
use super::run::key_rows;
use super::spec::ReleaseSpec;
use crate::mask::{Base, Mask, Masked};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::DataType;
use arrow::row::Row;
use datafusion::common::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// `levels`: confidence levels between 0 and 1 of the intervals that every output gets.
pub fn estimates(
    measured: &RecordBatch,
    spec: &ReleaseSpec,
    outputs: &[Output],
    levels: &[f64],
) -> Result<RecordBatch> {
    outputs.iter().try_for_each(|output| output.check(spec))?;
    let rows = Measured::new(measured, spec)?;
    let levels: Vec<Level> = levels.iter().map(|&level| Level::new(level, rows.mechanism())).collect();
    let mut columns: Vec<ArrayRef> = (0..spec.keys).map(|key| Arc::clone(rows.key(key))).collect();
    let suppressed = spec.keys == 0 && rows.rows() == 0;
    for output in outputs {
        let mut values: Vec<Option<Value>> = (0..rows.rows())
            .map(|row| rows.group(row))
            .map(|group| estimate(&output.estimate, group, &levels).filter(|_| group.shows(output.cell)))
            .collect();
        let mut masked = vec![false; values.len()];
        if let Some(mask) = &output.mask {
            let bases = bases(mask, &rows)?;
            masked = apply_mask(mask, &bases, &mut values);
        }
        if suppressed {
            (values, masked) = (vec![None], vec![false]);
        }
        columns.extend(columns_of(&values, &masked, &output.estimate.data_type(), levels.len()));
    }
    let count = if suppressed { 1 } else { rows.rows() };
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let schema = Output::schema(measured.schema_ref(), spec.keys, outputs, levels.len());
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// What each masked value is a part of.
fn bases(mask: &Mask, rows: &Measured) -> Result<Vec<f64>> {
    let noised = |number: usize| (0..rows.rows()).map(move |row| rows.group(row).noised(number) as f64);
    match &mask.base {
        Base::Itself => Ok(vec![1.0; rows.rows()]),
        Base::Measurement(number) => Ok(noised(*number).collect()),
        Base::Partition { keys, measurement } if keys.is_empty() => Ok(vec![noised(*measurement).sum(); rows.rows()]),
        Base::Partition { keys, measurement } => {
            let columns: Vec<_> = keys.iter().map(|&key| Arc::clone(rows.key(key))).collect();
            let keys = key_rows(&columns)?;
            let mut wholes: HashMap<Row<'_>, f64> = HashMap::new();
            for (key, part) in keys.iter().zip(noised(*measurement)) {
                *wholes.entry(key).or_default() += part;
            }
            Ok(keys.iter().map(|key| wholes.get(&key).copied().unwrap_or(0.0)).collect())
        }
    }
}

/// Which values stand at an edge of the band instead of where they were: of those nothing more is said.
fn apply_mask(mask: &Mask, bases: &[f64], values: &mut [Option<Value>]) -> Vec<bool> {
    let held = values.iter_mut().zip(bases).map(|(slot, &base)| {
        let Some(value) = slot else { return false };
        let integer = matches!(value.number, Number::Integer(_));
        match mask.apply(value.number.as_f64(), base, integer) {
            Masked::Kept => false,
            Masked::Edge(edge) => {
                value.number = if integer { Number::Integer(edge as i64) } else { Number::Float(edge) };
                true
            }
            Masked::Nothing => {
                *slot = None;
                false
            }
        }
    });
    held.collect()
}

fn columns_of(values: &[Option<Value>], masked: &[bool], data_type: &DataType, levels: usize) -> Vec<ArrayRef> {
    let unmasked = |of: &dyn Fn(&Value) -> f64| -> ArrayRef {
        let numbers = values
            .iter()
            .zip(masked)
            .map(|(value, masked)| value.as_ref().filter(|_| !masked).map(of).filter(|number| !number.is_nan()));
        Arc::new(numbers.collect::<Float64Array>())
    };
    let numbers = values.iter().map(|value| value.as_ref().map(|value| value.number));
    let mut columns: Vec<ArrayRef> = vec![if *data_type == DataType::Int64 {
        let integers = numbers.map(|number| match number {
            Some(Number::Integer(value)) => Some(value),
            Some(Number::Float(_)) | None => None,
        });
        Arc::new(integers.collect::<Int64Array>())
    } else {
        Arc::new(numbers.map(|number| number.map(Number::as_f64)).collect::<Float64Array>())
    }];
    columns.push(unmasked(&|value| value.stddev));
    for level in 0..levels {
        columns.push(unmasked(&|value| value.ends[level].0));
        columns.push(unmasked(&|value| value.ends[level].1));
    }
    columns
}
