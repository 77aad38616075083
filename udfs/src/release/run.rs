//! The release function: exact words of all groups in, a batch of noised rows out.
//!
//! Pure but for the noise stream. Laws: every measurement of every group is noised once, before any
//! selection is looked at; a group below the floor or the threshold leaves nothing; without keys
//! exactly one row comes out, NULL when it is suppressed; rows come out in the order of their key
//! values, so that their order says nothing that the rows do not say. Must never: put an exact word
//! into its output.
//!
//! **Sensitivity** as the aggregates state. **Noise** one discrete Gaussian draw a measurement and
//! group. **Cost** Σ ρ over the measurements, and δ of the threshold: the chance that a group of
//! exactly `floor` persons passes it. **Source** Canonne, Kamath, Steinke 2020; pre-thresholding
//! after Google's differential-privacy library, `common_docs/pre_thresholding.md`.

use super::estimate::{Number, Value, estimate};
use super::spec::{Output, ReleaseSpec};
use crate::mask::{Base, Mask, Masked};
use crate::noise::NoiseStream;
use crate::unreleased::{Words, words_of};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Schema};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{Result, exec_err};
use std::collections::HashMap;
use std::sync::Arc;

/// Releases all groups of one aggregate: `columns` as the input of the spec, in the input's order.
pub fn release(
    input: &Schema,
    columns: &[ArrayRef],
    spec: &ReleaseSpec,
    stream: &mut NoiseStream,
) -> Result<RecordBatch> {
    spec.check(input)?;
    if columns.len() != input.fields().len() {
        return exec_err!("release: the batch and its schema differ");
    }
    let words = unreleased_columns(input, columns, spec.keys)?;
    let groups = words[spec.persons - spec.keys].len();
    if spec.keys == 0 && groups > 1 {
        return exec_err!("release: a release without keys has one group");
    }
    let exact = Exact { words, keys: spec.keys };
    let noised = noise_all(&exact, groups, spec, stream);
    let kept: Vec<usize> = (0..groups).filter(|&group| passes(&exact, &noised, group, spec)).collect();
    let kept = in_key_order(columns, spec.keys, kept)?;
    emit(input, columns, spec, &exact, &noised, &kept)
}

/// The unreleased columns, which begin after the keys.
struct Exact<'a> {
    words: Vec<Words<'a>>,
    keys: usize,
}

impl Exact<'_> {
    fn get(&self, group: usize, column: usize, word: usize) -> i128 {
        self.words[column - self.keys].get(group, word)
    }
}

/// The noised measurements, group after group.
struct Noised {
    values: Vec<i128>,
    measurements: usize,
}

impl Noised {
    fn of(&self, group: usize) -> &[i128] {
        &self.values[group * self.measurements..][..self.measurements]
    }
}

fn unreleased_columns<'a>(input: &Schema, columns: &'a [ArrayRef], keys: usize) -> Result<Vec<Words<'a>>> {
    let fields = input.fields()[keys..].iter();
    fields.zip(&columns[keys..]).map(|(field, column)| Words::new(column, words_of(field).unwrap_or(0))).collect()
}

fn noise_all(exact: &Exact, groups: usize, spec: &ReleaseSpec, stream: &mut NoiseStream) -> Noised {
    let measurements = spec.measurements.len();
    let mut values = Vec::with_capacity(groups * measurements);
    for group in 0..groups {
        for measurement in &spec.measurements {
            let value = exact.get(group, measurement.column, measurement.word);
            values.push(value.saturating_add(measurement.noise.sample(stream)));
        }
    }
    Noised { values, measurements }
}

fn passes(exact: &Exact, noised: &Noised, group: usize, spec: &ReleaseSpec) -> bool {
    let persons = exact.get(group, spec.persons, 0);
    #[cfg(feature = "mutants")]
    if crate::mutants::Mutant::ExactThreshold.lives() {
        return persons >= i128::from(spec.threshold);
    }
    (persons >= i128::from(spec.floor)) & (noised.of(group)[0] >= i128::from(spec.threshold))
}

/// Whether enough persons of the group have a value for this output.
fn cell_passes(exact: &Exact, noised: &Noised, group: usize, spec: &ReleaseSpec, output: &Output) -> bool {
    let Some(cell) = &output.cell else {
        return true;
    };
    let persons = exact.get(group, cell.column, cell.word);
    (persons >= i128::from(spec.floor)) & (noised.of(group)[cell.count] >= i128::from(cell.threshold))
}

fn key_rows(columns: &[ArrayRef], kept: &[usize]) -> Result<Vec<OwnedRow>> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    Ok(kept.iter().map(|&group| rows.row(group).owned()).collect())
}

fn in_key_order(columns: &[ArrayRef], keys: usize, kept: Vec<usize>) -> Result<Vec<usize>> {
    if keys == 0 {
        return Ok(kept);
    }
    let rows = key_rows(&columns[..keys], &kept)?;
    let mut order: Vec<_> = rows.into_iter().zip(kept).collect();
    order.sort();
    Ok(order.into_iter().map(|(_, group)| group).collect())
}

fn emit(
    input: &Schema,
    columns: &[ArrayRef],
    spec: &ReleaseSpec,
    exact: &Exact,
    noised: &Noised,
    kept: &[usize],
) -> Result<RecordBatch> {
    let indices = UInt64Array::from_iter_values(kept.iter().map(|&group| group as u64));
    let mut released: Vec<ArrayRef> = Vec::new();
    for key in &columns[..spec.keys] {
        released.push(take(key, &indices, None)?);
    }
    for output in &spec.outputs {
        let values = kept.iter().map(|&group| {
            estimate(&output.estimate, &spec.measurements, noised.of(group))
                .filter(|_| cell_passes(exact, noised, group, spec, output))
        });
        let mut values = values.collect::<Vec<_>>();
        let mut stddevs: Vec<_> = values.iter().map(|value| value.map(|value| value.stddev)).collect();
        if let Some(mask) = &output.mask {
            let bases = bases(mask, output.estimate.own(), columns, noised, kept)?;
            apply_mask(mask, &bases, &mut values, &mut stddevs);
        }
        if spec.keys == 0 && kept.is_empty() {
            (values, stddevs) = (vec![None], vec![None]);
        }
        released.push(array_of(&values, &output.estimate.data_type()));
        released.push(Arc::new(Float64Array::from(stddevs)));
    }
    let rows = if spec.keys == 0 { 1 } else { kept.len() };
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(spec.output_schema(input), released, &options)?)
}

/// `own`: the measurement that the masked value itself shows.
fn bases(mask: &Mask, own: usize, columns: &[ArrayRef], noised: &Noised, kept: &[usize]) -> Result<Vec<f64>> {
    match &mask.base {
        Base::Itself => Ok(vec![1.0; kept.len()]),
        Base::Measurement(number) => Ok(kept.iter().map(|&group| noised.of(group)[*number] as f64).collect()),
        Base::Partition(keys) if keys.is_empty() => {
            let whole = kept.iter().map(|&group| noised.of(group)[own] as f64).sum();
            Ok(vec![whole; kept.len()])
        }
        Base::Partition(keys) => {
            let columns: Vec<_> = keys.iter().map(|&key| Arc::clone(&columns[key])).collect();
            let rows = key_rows(&columns, kept)?;
            let mut wholes: HashMap<&OwnedRow, f64> = HashMap::new();
            for (row, &group) in rows.iter().zip(kept) {
                *wholes.entry(row).or_default() += noised.of(group)[own] as f64;
            }
            Ok(rows.iter().map(|row| wholes.get(row).copied().unwrap_or(0.0)).collect())
        }
    }
}

fn apply_mask(mask: &Mask, bases: &[f64], values: &mut [Option<Value>], stddevs: &mut [Option<f64>]) {
    for ((slot, stddev), &base) in values.iter_mut().zip(stddevs).zip(bases) {
        let Some(value) = slot else { continue };
        let integer = matches!(value.number, Number::Integer(_));
        match mask.apply(value.number.as_f64(), base, integer) {
            Masked::Kept => {}
            Masked::Edge(edge) => {
                value.number = if integer { Number::Integer(edge as i64) } else { Number::Float(edge) };
                *stddev = None;
            }
            Masked::Nothing => (*slot, *stddev) = (None, None),
        }
    }
}

fn array_of(values: &[Option<Value>], data_type: &DataType) -> ArrayRef {
    let numbers = values.iter().map(|value| value.map(|value| value.number));
    if *data_type == DataType::Int64 {
        let integers = numbers.map(|number| match number {
            Some(Number::Integer(value)) => Some(value),
            Some(Number::Float(_)) | None => None,
        });
        Arc::new(integers.collect::<Int64Array>())
    } else {
        Arc::new(numbers.map(|number| number.map(Number::as_f64)).collect::<Float64Array>())
    }
}
