//! What comes out of measured rows: values with their standard errors, and the mask band they stay within.
//!
//! Plain data. Outputs are post-processing: the same measured rows serve any of them at no cost.

use super::spec::ReleaseSpec;
use crate::mask::{Base, Mask};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, plan_err};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// One value column, followed by its standard error as `<name>__stddev`, and by `<name>__low_<i>` and `<name>__high_<i>` for the
/// i-th confidence level that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Output {
    pub name: String,
    pub estimate: Estimate,
    pub mask: Option<Mask>,
    /// For values of part of a group's rows: the number of the cell that must be persons enough.
    pub cell: Option<usize>,
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

impl Output {
    /// Checks that `spec` measures what this output reads.
    pub fn check(&self, spec: &ReleaseSpec) -> Result<()> {
        let known = |number: &usize| *number < spec.measurements.len();
        if !self.estimate.measurements().iter().all(known) {
            return plan_err!("release: an output names a measurement that is not there");
        }
        self.estimate.check()?;
        if self.cell.is_some_and(|cell| cell >= spec.cells.len()) {
            return plan_err!("release: an output names a cell that is not there");
        }
        let Some(mask) = &self.mask else {
            return Ok(());
        };
        if !(mask.low >= 0.0 && mask.low < mask.high && mask.high <= 1.0) {
            return plan_err!("release: a mask band must lie within 0 and 1");
        }
        let base_is_known = match &mask.base {
            Base::Itself => true,
            Base::Measurement(number) => known(number),
            Base::Partition(keys) => keys.iter().all(|key| *key < spec.keys),
        };
        if base_is_known { Ok(()) } else { plan_err!("release: a mask's base is not there") }
    }

    /// The columns of this output with `levels` confidence levels.
    pub fn fields(&self, levels: usize) -> Vec<Field> {
        let name = &self.name;
        let ends = (0..levels).flat_map(|i| [format!("{name}__low_{i}"), format!("{name}__high_{i}")]);
        let errors = std::iter::once(format!("{name}__stddev")).chain(ends);
        let errors = errors.map(|name| Field::new(name, DataType::Float64, true));
        std::iter::once(Field::new(name, self.estimate.data_type(), true)).chain(errors).collect()
    }

    /// The keys of `keyed`, then the columns of each output.
    pub fn schema(keyed: &Schema, keys: usize, outputs: &[Self], levels: usize) -> SchemaRef {
        let keys = keyed.fields()[..keys].iter().cloned();
        let values = outputs.iter().flat_map(|output| output.fields(levels)).map(Arc::new);
        Arc::new(Schema::new(keys.chain(values).collect::<Vec<_>>()))
    }
}
