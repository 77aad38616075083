//! From noised integers to a value, its standard error and the ends of its confidence intervals.
//!
//! In: the noised measurements of one group. Out: one [`Value`]. Must never: be given an exact sum.
//!
//! **Sensitivity, Cost** none: post-processing. **Noise** standard errors are of the noise alone;
//! for ratios by the delta method: Var(s/c) ≈ (σ_s² + (s/c)²·σ_c²) / c².

use super::measured::Group;
use super::output::Estimate;

/// A value, its standard error, and for each z the interval of z standard errors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) number: Number,
    pub(super) stddev: f64,
    pub(super) ends: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

impl Value {
    /// Normal noise: the same distance on both sides.
    fn symmetric(number: Number, stddev: f64, zs: &[f64]) -> Self {
        let centre = number.as_f64();
        let ends = zs.iter().map(|z| (centre - z * stddev, centre + z * stddev)).collect();
        Self { number, stddev, ends }
    }
}

/// The value of one output in one group. `zs`: normal quantiles of the levels that are asked for.
pub(super) fn estimate(estimate: &Estimate, group: Group, zs: &[f64]) -> Option<Value> {
    let integer = |value: i128| Number::Integer(saturate(value));
    match estimate {
        Estimate::Count { count } => {
            Some(Value::symmetric(integer(group.noised(*count).max(0)), group.sigma(*count), zs))
        }
        Estimate::SumInteger { sum, step } => {
            let number = integer(group.noised(*sum).saturating_mul(i128::from(*step)));
            Some(Value::symmetric(number, group.sigma(*sum) * *step as f64, zs))
        }
        Estimate::Sum { sum, step } => {
            let number = Number::Float(group.noised(*sum) as f64 * step);
            Some(Value::symmetric(number, group.sigma(*sum) * step, zs))
        }
        Estimate::Mean { sum, count, mid, step, lower, upper } => {
            let (ratio, error) = ratio(group, *sum, *count)?;
            let mean = (mid + step * ratio).clamp(*lower, *upper);
            Some(Value::symmetric(Number::Float(mean), error * step, zs))
        }
        Estimate::Share { sum, count } => {
            let (ratio, error) = ratio(group, *sum, *count)?;
            Some(Value::symmetric(Number::Float(ratio.clamp(0.0, 1.0)), error, zs))
        }
    }
}

/// `sum/count` and its standard error, where the noised count is at least 1.
fn ratio(group: Group, sum: usize, count: usize) -> Option<(f64, f64)> {
    if group.noised(count) < 1 {
        return None;
    }
    let denominator = group.noised(count) as f64;
    let ratio = group.noised(sum) as f64 / denominator;
    Some((ratio, group.sigma(sum).hypot(ratio * group.sigma(count)) / denominator))
}

fn saturate(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
