//! What one release does: its keys, floor, threshold, measurements and outputs; checked once
//! against the input's columns.
//!
//! Plain data, made by whoever plans the query. Must never: hold anything that depends on a
//! person's data.

use crate::mask::{Base, Mask};
use crate::noise::Gaussian;
use crate::unreleased::{is_unreleased, words_of};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, plan_err};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The plan of one release.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReleaseSpec {
    /// The first `keys` input columns are group keys, passed through.
    pub keys: usize,
    /// k: a row of fewer persons is gone, exactly and always.
    pub floor: u64,
    /// τ: a row whose noised person count is below is gone.
    pub threshold: i64,
    /// The input column of `dp_persons` that selects.
    pub persons: usize,
    /// What is noised; measurement 0 is word 0 of `persons`.
    pub measurements: Vec<Measurement>,
    pub outputs: Vec<Output>,
}

/// One integer a group, noised once, however many outputs use it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Measurement {
    pub column: usize,
    pub word: usize,
    pub noise: Gaussian,
}

/// One value column, followed by its standard error as `<name>__stddev`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Output {
    pub name: String,
    pub estimate: Estimate,
    pub mask: Option<Mask>,
    /// For values of part of a group's rows: the part must be persons enough, too.
    pub cell: Option<CellFloor>,
}

/// How noised integers become a value. Indexes are measurement numbers.
#[derive(Debug, Clone)]
pub enum Estimate {
    /// The noised integer, at least 0. Int64.
    Count { count: usize },
    /// The noised integer times `step`, saturating. Int64.
    SumInteger { sum: usize, step: i64 },
    /// The noised integer times `step`. Float64.
    Sum { sum: usize, step: f64 },
    /// `mid + step·sum/count` within [lower, upper]; NULL where the noised count is below 1.
    /// Float64.
    Mean { sum: usize, count: usize, mid: f64, step: f64, lower: f64, upper: f64 },
    /// `sum/count` within [0, 1]; NULL where the noised count is below 1. Float64.
    Share { sum: usize, count: usize },
}

/// The same two selections for the persons that have a value at all: exact m (a word of a column) against the floor, and a noised
/// count (a measurement) against its threshold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CellFloor {
    pub column: usize,
    pub word: usize,
    pub count: usize,
    pub threshold: i64,
}

/// An estimate as integers, for equality and hashing: floats by their bits.
type Bits = (u8, [usize; 2], [u64; 4]);

impl Estimate {
    fn bits(&self) -> Bits {
        match self {
            Self::Count { count } => (0, [*count, 0], [0; 4]),
            Self::SumInteger { sum, step } => (1, [*sum, 0], [*step as u64, 0, 0, 0]),
            Self::Sum { sum, step } => (2, [*sum, 0], [step.to_bits(), 0, 0, 0]),
            Self::Mean { sum, count, mid, step, lower, upper } => {
                (3, [*sum, *count], [mid.to_bits(), step.to_bits(), lower.to_bits(), upper.to_bits()])
            }
            Self::Share { sum, count } => (4, [*sum, *count], [0; 4]),
        }
    }

    /// The type of the value column.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Count { .. } | Self::SumInteger { .. } => DataType::Int64,
            Self::Sum { .. } | Self::Mean { .. } | Self::Share { .. } => DataType::Float64,
        }
    }

    fn measurements(&self) -> Vec<usize> {
        match self {
            Self::Count { count } => vec![*count],
            Self::SumInteger { sum, .. } | Self::Sum { sum, .. } => vec![*sum],
            Self::Mean { sum, count, .. } | Self::Share { sum, count, .. } => vec![*sum, *count],
        }
    }

    /// The measurement that the value shows, where it shows one.
    pub(super) fn own(&self) -> usize {
        match self {
            Self::Count { count } => *count,
            Self::SumInteger { sum, .. } | Self::Sum { sum, .. } | Self::Mean { sum, .. } | Self::Share { sum, .. } => {
                *sum
            }
        }
    }

    fn check(&self) -> Result<()> {
        let sound = match self {
            Self::Count { .. } | Self::Share { .. } => true,
            Self::SumInteger { step, .. } => *step > 0,
            Self::Sum { step, .. } => step.is_finite() && *step > 0.0,
            Self::Mean { mid, step, lower, upper, .. } => {
                mid.is_finite()
                    && step.is_finite()
                    && *step > 0.0
                    && lower.is_finite()
                    && upper.is_finite()
                    && lower <= upper
            }
        };
        if sound { Ok(()) } else { plan_err!("release: an estimate's step and bounds must be finite and in order") }
    }
}

impl PartialEq for Estimate {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Estimate {}

impl Hash for Estimate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

impl ReleaseSpec {
    /// Checks that this release can read `input`: every column beyond the keys is unreleased, no
    /// key is, every index is in range, and the floor and threshold are in order.
    pub fn check(&self, input: &Schema) -> Result<()> {
        let fields = input.fields();
        if self.keys > fields.len() {
            return plan_err!("release: the input has fewer columns than keys");
        }
        if fields[..self.keys].iter().any(|field| is_unreleased(field)) {
            return plan_err!("release: a key is an unreleased value");
        }
        if !fields[self.keys..].iter().all(|field| words_of(field).is_some()) {
            return plan_err!("release: every column beside the keys must be unreleased");
        }
        if self.floor < 1 || i128::from(self.threshold) <= i128::from(self.floor) {
            return plan_err!("release: the floor must be at least 1, and the threshold above it");
        }
        match self.measurements.first() {
            Some(first) if first.column == self.persons && first.word == 0 => {}
            Some(_) | None => return plan_err!("release: measurement 0 must be the persons"),
        }
        for measurement in &self.measurements {
            self.check_word(input, measurement.column, measurement.word)?;
        }
        self.outputs.iter().try_for_each(|output| self.check_output(input, output))
    }

    fn check_word(&self, input: &Schema, column: usize, word: usize) -> Result<()> {
        let words = input.fields().get(column).and_then(|field| words_of(field));
        match words {
            Some(words) if word < words && column >= self.keys => Ok(()),
            Some(_) | None => plan_err!("release: the input has no word {word} in column {column}"),
        }
    }

    fn check_output(&self, input: &Schema, output: &Output) -> Result<()> {
        let known = |number: &usize| *number < self.measurements.len();
        if !output.estimate.measurements().iter().all(known) {
            return plan_err!("release: an output names a measurement that is not there");
        }
        output.estimate.check()?;
        if let Some(cell) = &output.cell {
            self.check_word(input, cell.column, cell.word)?;
            if !known(&cell.count) || i128::from(cell.threshold) <= i128::from(self.floor) {
                return plan_err!("release: a cell must have a count, and a threshold above the floor");
            }
        }
        let Some(mask) = &output.mask else {
            return Ok(());
        };
        if !(mask.low >= 0.0 && mask.low < mask.high && mask.high <= 1.0) {
            return plan_err!("release: a mask band must lie within 0 and 1");
        }
        let base_is_known = match &mask.base {
            Base::Itself => true,
            Base::Measurement(number) => known(number),
            Base::Partition(keys) => keys.iter().all(|key| *key < self.keys),
        };
        if base_is_known { Ok(()) } else { plan_err!("release: a mask's base is not there") }
    }

    /// The keys, then each output with its standard error.
    pub fn output_schema(&self, input: &Schema) -> SchemaRef {
        let keys = input.fields()[..self.keys].iter().cloned();
        let values = self.output_fields().into_iter().map(Arc::new);
        Arc::new(Schema::new(keys.chain(values).collect::<Vec<_>>()))
    }

    pub(super) fn output_fields(&self) -> Vec<Field> {
        self.outputs
            .iter()
            .flat_map(|output| {
                [
                    Field::new(&output.name, output.estimate.data_type(), true),
                    Field::new(format!("{}__stddev", output.name), DataType::Float64, true),
                ]
            })
            .collect()
    }

    /// One line for EXPLAIN: names and numbers of the plan, nothing of the data.
    pub fn describe(&self, input: &Schema) -> String {
        let name = |column: usize| input.fields().get(column).map_or("?", |field| field.name().as_str());
        let keys: Vec<_> = (0..self.keys).map(name).collect();
        let mut line = format!("keys=[{}], floor={}, threshold={}", keys.join(", "), self.floor, self.threshold);
        for measurement in &self.measurements {
            let (column, sigma) = (name(measurement.column), measurement.noise.std_dev());
            line.push_str(&format!(", dp_release({column}[{}]) sigma={sigma:.4}", measurement.word));
        }
        line
    }
}
