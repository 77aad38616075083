//! What comes out of measured rows: values with their standard errors, and the mask band they stay within.
//!
//! Plain data. Outputs are post-processing: the same measured rows serve any of them at no cost.

use super::estimate::Moment;
use super::spec::{ReleaseSpec, What};
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
    /// Of [`What::TWO_COUNTS`], the rows that fit over all rows, within [0, 1]; NULL where all are below 1. Float64.
    Share { counts: usize },
    /// A variance, a covariance or what is made of them, from the sums of u, v, u², v², uv that `kind` needs; x and y stand `mid` +
    /// u and `mid` + v, within `half` of their middles. NULL where the counts are too small. Float64.
    Moments { kind: Moment, count: usize, parts: [Option<Scaled>; 5], mid: [f64; 2], half: [f64; 2] },
    /// Where the rank `fraction` lies in a tree of counts whose first `used` leaves are `width` wide and begin at `lower`; `whole`
    /// where its values are integers. At most `upper`. Float64.
    Quantile {
        tree: usize,
        leaves: usize,
        branching: usize,
        used: usize,
        fraction: f64,
        lower: f64,
        width: f64,
        upper: f64,
        whole: bool,
    },
    /// The number of the leaf that the most rows fall into, of the first `values`. Has no standard error. Int64.
    Mode { tree: usize, leaves: usize, branching: usize, values: usize },
    /// The best of several counts of distinct values, under ascending bounds on a person's part. Int64.
    Distinct { counts: Vec<usize> },
}

/// A sum of lattice values whose mean is `mid + step · sum / count`.
#[derive(Debug, Clone)]
pub struct Scaled {
    pub sum: usize,
    pub mid: f64,
    pub step: f64,
}

/// An estimate as integers, for equality and hashing: floats by their bits.
type Bits = (u8, Vec<usize>, Vec<u64>);

impl Estimate {
    fn bits(&self) -> Bits {
        let floats = |floats: &[f64]| floats.iter().map(|float| float.to_bits()).collect();
        match self {
            Self::Count { count } => (0, vec![*count], vec![]),
            Self::SumInteger { sum, step } => (1, vec![*sum], vec![*step as u64]),
            Self::Sum { sum, step } => (2, vec![*sum], floats(&[*step])),
            Self::Mean { sum, count, mid, step, lower, upper } => {
                (3, vec![*sum, *count], floats(&[*mid, *step, *lower, *upper]))
            }
            Self::Share { counts } => (4, vec![*counts], vec![]),
            Self::Moments { kind, count, parts, mid, half } => {
                let sums = parts.iter().map(|part| part.as_ref().map_or(usize::MAX, |part| part.sum));
                let places = parts.iter().flatten().flat_map(|part| [part.mid, part.step]);
                let places: Vec<f64> = places.chain(*mid).chain(*half).collect();
                (5, [*kind as usize, *count].into_iter().chain(sums).collect(), floats(&places))
            }
            Self::Quantile { tree, leaves, branching, used, fraction, lower, width, upper, whole } => (
                6,
                vec![*tree, *leaves, *branching, *used, usize::from(*whole)],
                floats(&[*fraction, *lower, *width, *upper]),
            ),
            Self::Mode { tree, leaves, branching, values } => (7, vec![*tree, *leaves, *branching, *values], vec![]),
            Self::Distinct { counts } => (8, counts.clone(), vec![]),
        }
    }

    /// The type of the value column.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Count { .. } | Self::SumInteger { .. } | Self::Mode { .. } | Self::Distinct { .. } => DataType::Int64,
            Self::Sum { .. }
            | Self::Mean { .. }
            | Self::Share { .. }
            | Self::Moments { .. }
            | Self::Quantile { .. } => DataType::Float64,
        }
    }

    fn measurements(&self) -> Vec<usize> {
        match self {
            Self::Count { count } => vec![*count],
            Self::SumInteger { sum, .. } | Self::Sum { sum, .. } => vec![*sum],
            Self::Mean { sum, count, .. } => vec![*sum, *count],
            Self::Moments { count, parts, .. } => parts.iter().flatten().map(|part| part.sum).chain([*count]).collect(),
            Self::Share { counts: tree } | Self::Quantile { tree, .. } | Self::Mode { tree, .. } => vec![*tree],
            Self::Distinct { counts } => counts.clone(),
        }
    }

    /// The measurement that the value shows, where it shows one.
    pub fn own(&self) -> usize {
        match self {
            Self::Count { count } | Self::Moments { count, .. } => *count,
            Self::SumInteger { sum, .. } | Self::Sum { sum, .. } | Self::Mean { sum, .. } => *sum,
            Self::Share { counts: tree } | Self::Quantile { tree, .. } | Self::Mode { tree, .. } => *tree,
            Self::Distinct { counts } => counts.first().copied().unwrap_or(0),
        }
    }

    fn check(&self) -> Result<()> {
        let place = |mid: f64, step: f64| mid.is_finite() && step.is_finite() && step > 0.0;
        let sound = match self {
            Self::Count { .. } | Self::Share { .. } => true,
            Self::SumInteger { step, .. } => *step > 0,
            Self::Sum { step, .. } => step.is_finite() && *step > 0.0,
            Self::Mean { mid, step, lower, upper, .. } => {
                place(*mid, *step) && lower.is_finite() && upper.is_finite() && lower <= upper
            }
            Self::Moments { kind, parts, mid, half, .. } => {
                let needed = kind.needs().iter().zip(parts).all(|(needed, part)| !needed || part.is_some());
                let places = parts.iter().flatten().all(|part| place(part.mid, part.step));
                needed && places && mid.iter().chain(half).all(|float| float.is_finite())
            }
            Self::Quantile { leaves, used, fraction, lower, width, upper, .. } => {
                let within = (1..=*leaves).contains(used) && (0.0..=1.0).contains(fraction);
                within && place(*lower, *width) && upper.is_finite() && lower <= upper
            }
            Self::Mode { leaves, values, .. } => (1..=*leaves).contains(values),
            Self::Distinct { counts } => !counts.is_empty(),
        };
        if sound { Ok(()) } else { plan_err!("release: an estimate's step and bounds must be finite and in order") }
    }

    /// What the measurements that are read must be: words, or trees of a certain form.
    fn fits(&self, spec: &ReleaseSpec) -> bool {
        let is =
            |number: &usize, what: fn(&What) -> bool| spec.measurements.get(*number).is_some_and(|m| what(&m.what));
        match self {
            Self::Share { counts } => is(counts, |what| *what == What::TWO_COUNTS),
            Self::Quantile { tree, leaves, branching, .. } | Self::Mode { tree, leaves, branching, .. } => {
                let form = What::Tree { leaves: *leaves, branching: *branching };
                spec.measurements.get(*tree).is_some_and(|m| m.what == form)
            }
            Self::Count { .. }
            | Self::SumInteger { .. }
            | Self::Sum { .. }
            | Self::Mean { .. }
            | Self::Moments { .. }
            | Self::Distinct { .. } => {
                self.measurements().iter().all(|number| is(number, |what| matches!(what, What::Word(_))))
            }
        }
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
        if !self.estimate.measurements().iter().all(known) || !self.estimate.fits(spec) {
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
            Base::Partition { keys, measurement } => known(measurement) && keys.iter().all(|key| *key < spec.keys),
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
