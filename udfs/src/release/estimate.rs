//! From noised integers to values and standard errors.
//!
//! In: the noised measurements of one group. Out: one [`Value`]. Must never: be given an exact sum.
//! A cell's exact person count is compared with the floor by the caller, which hands over a yes or
//! a no.
//!
//! **Sensitivity, Cost** none: post-processing. **Noise** standard errors are of the noise alone;
//! for ratios by the delta method: Var(s/c) ≈ (σ_s² + (s/c)²·σ_c²) / c².

mod distinct;
mod moments;
mod quantile;
mod ratio;

use super::spec::{Estimate, Measurement};

/// A value and its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub(super) number: Number,
    pub(super) stddev: f64,
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

/// The value of one output in one group, from that group's noised measurements.
pub(super) fn estimate(estimate: &Estimate, measurements: &[Measurement], noised: &[i128]) -> Option<Value> {
    let sigma = |number: usize| measurements[number].noise.std_dev();
    match estimate {
        Estimate::Count { count } => {
            Some(Value { number: Number::Integer(saturate(noised[*count].max(0))), stddev: sigma(*count) })
        }
        Estimate::SumInteger { sum, step } => Some(Value {
            number: Number::Integer(saturate(noised[*sum].saturating_mul(i128::from(*step)))),
            stddev: sigma(*sum) * *step as f64,
        }),
        Estimate::Sum { sum, step } => {
            Some(Value { number: Number::Float(noised[*sum] as f64 * step), stddev: sigma(*sum) * step })
        }
        Estimate::Mean { sum, count, mid, step, lower, upper } => {
            let (ratio, error) = ratio(noised, *sum, *count, sigma)?;
            let mean = (mid + step * ratio).clamp(*lower, *upper);
            Some(Value { number: Number::Float(mean), stddev: error * step })
        }
        Estimate::Share { sum, count } => {
            let (ratio, error) = ratio(noised, *sum, *count, sigma)?;
            Some(Value { number: Number::Float(ratio.clamp(0.0, 1.0)), stddev: error })
        }
    }
}

/// `sum/count` and its standard error, where the noised count is at least 1.
fn ratio(noised: &[i128], sum: usize, count: usize, sigma: impl Fn(usize) -> f64) -> Option<(f64, f64)> {
    if noised[count] < 1 {
        return None;
    }
    let denominator = noised[count] as f64;
    let ratio = noised[sum] as f64 / denominator;
    Some((ratio, sigma(sum).hypot(ratio * sigma(count)) / denominator))
}

fn saturate(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
