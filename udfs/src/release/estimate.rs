//! From noised integers to a value, its standard error and the ends of its confidence intervals.
//!
//! In: the noised measurements of one group. Out: one [`Value`]. Must never: be given an exact sum. Each file below is the
//! mathematics of one kind of estimate.
//!
//! **Sensitivity, Cost** none: post-processing. **Noise** standard errors and intervals are of the noise alone. Counts and sums
//! have noise on integers, whose intervals end at integers; means and shares have Fieller's interval; what is documented as conservative covers more than its level:
//! quantiles, variances and their kin in small groups, and distinct values under several bounds.

mod distinct;
mod moments;
mod quantile;
mod ratio;
mod share;

pub use moments::Moment;

use self::moments::{Moments, Part};
use self::quantile::Tree;
use self::ratio::Noised;
use self::share::TwoCounts;
use super::measured::Group;
use super::output::{Estimate, Scaled};
use crate::noise::Mechanism;

/// A value, its standard error, and its interval at each level.
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

/// A confidence level and the standard deviations to either side that have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    level: f64,
    z: f64,
    mechanism: Mechanism,
}

impl Level {
    pub(super) fn new(level: f64, mechanism: Mechanism) -> Self {
        Self { level, z: mechanism.deviations(level), mechanism }
    }

    /// The standard deviations for each of `tries` numbers, so that all are within at once with this level (Bonferroni).
    fn of_each(&self, tries: usize) -> f64 {
        self.mechanism.deviations(1.0 - (1.0 - self.level) / tries.max(1) as f64)
    }
}

impl Value {
    /// Noise on an integer, in units of `step`: as many units to both sides as hold the level, so that where the noise is
    /// of a few units the interval is a little wider than it had to be.
    fn noised(number: Number, noised: Noised, step: f64, levels: &[Level]) -> Self {
        let half = |level: &Level| (level.z * noised.sigma - 0.5).ceil().max(0.0);
        let ends = |level: &Level| ((noised.value - half(level)) * step, (noised.value + half(level)) * step);
        Self { number, stddev: noised.sigma * step, ends: levels.iter().map(ends).collect() }
    }

    /// Where the error is that of the interval of one standard deviation.
    fn by_interval(number: Number, interval: impl Fn(f64) -> (f64, f64), levels: &[Level]) -> Self {
        let (low, high) = interval(1.0);
        Self { number, stddev: (high - low) / 2.0, ends: levels.iter().map(|level| interval(level.z)).collect() }
    }
}

/// The value of one output in one group.
pub(super) fn estimate(estimate: &Estimate, group: Group, levels: &[Level]) -> Option<Value> {
    let noised = |number: usize| Noised { value: group.noised(number) as f64, sigma: group.sigma(number) };
    match estimate {
        Estimate::Count { count } => Some(not_below_zero(group.noised(*count), noised(*count), levels)),
        Estimate::SumInteger { sum, step } => {
            let number = Number::Integer(saturate(group.noised(*sum).saturating_mul(i128::from(*step))));
            Some(Value::noised(number, noised(*sum), *step as f64, levels))
        }
        Estimate::Sum { sum, step } => {
            let sum = noised(*sum);
            Some(Value::noised(Number::Float(sum.value * step), sum, *step, levels))
        }
        Estimate::Mean { sum, count, mid, step, lower, upper } => {
            let place = |ratio: f64| (mid + step * ratio).clamp(*lower, *upper);
            of_ratio(noised(*sum), noised(*count), *step, place, levels)
        }
        Estimate::Share { counts } => {
            let [others, fits] = *group.tree(*counts) else { return None };
            let counts = TwoCounts { others: others as f64, fits: fits as f64, sigma: group.sigma(*counts) };
            let (share, stddev) = counts.share()?;
            let ends = levels.iter().map(|level| counts.interval(level.z)).collect();
            Some(Value { number: Number::Float(share), stddev, ends })
        }
        Estimate::Moments { kind, count, parts, mid, half } => {
            let part = |scaled: &Scaled| Part { sum: noised(scaled.sum), mid: scaled.mid, step: scaled.step };
            let parts = parts.each_ref().map(|scaled| scaled.as_ref().map(part));
            let moments = Moments { kind: *kind, count: noised(*count), parts, mid: *mid, half: *half };
            let value = Number::Float(moments.value()?);
            Some(Value::by_interval(value, |z| moments.interval(z), levels))
        }
        Estimate::Quantile { tree, leaves, branching, .. } => {
            quantile(estimate, group_tree(group, *tree, *leaves, *branching), levels)
        }
        Estimate::Mode { tree, leaves, branching, values } => {
            let fullest = group_tree(group, *tree, *leaves, *branching).fullest(*values)?;
            let ends = levels.iter().map(|_| (f64::NAN, f64::NAN)).collect();
            Some(Value { number: Number::Integer(fullest as i64), stddev: f64::NAN, ends })
        }
        Estimate::Distinct { counts } => {
            let all: Vec<Noised> = counts.iter().map(|count| noised(*count)).collect();
            let chosen = distinct::choice(&all)?;
            let mut value = not_below_zero(group.noised(counts[chosen]), all[chosen], &[]);
            value.ends = levels.iter().map(|level| distinct::interval(all[chosen], level.of_each(all.len()))).collect();
            Some(value)
        }
    }
}

fn not_below_zero(count: i128, noised: Noised, levels: &[Level]) -> Value {
    let mut value = Value::noised(Number::Integer(saturate(count.max(0))), noised, 1.0, levels);
    for (low, high) in &mut value.ends {
        (*low, *high) = (low.max(0.0), high.max(0.0));
    }
    value
}

fn of_ratio(s: Noised, c: Noised, step: f64, place: impl Fn(f64) -> f64, levels: &[Level]) -> Option<Value> {
    let (ratio, error) = ratio::ratio(s, c)?;
    let ends = |level: &Level| {
        let (low, high) = ratio::interval(s, c, level.z);
        (place(low), place(high))
    };
    let ends = levels.iter().map(ends).collect();
    Some(Value { number: Number::Float(place(ratio)), stddev: error * step, ends })
}

fn group_tree<'a>(group: Group<'a>, tree: usize, leaves: usize, branching: usize) -> Tree<'a> {
    Tree { nodes: group.tree(tree), leaves, branching, sigma: group.sigma(tree) }
}

fn quantile(estimate: &Estimate, tree: Tree, levels: &[Level]) -> Option<Value> {
    let Estimate::Quantile { used, fraction, lower, width, upper, whole, .. } = estimate else {
        return None;
    };
    let curve = tree.curve();
    let place = |position: f64| (lower + position * width).min(*upper);
    let number = curve.position(*fraction, *used).map(place)?;
    let ends = |z: f64| {
        let (low, high) = curve.edges(*fraction, *used, z);
        // A leaf of integers ends with the last of them.
        let last = if *whole { 1.0 } else { 0.0 };
        (place(low as f64), (lower + high as f64 * width - last).min(*upper))
    };
    let number = Number::Float(if *whole { number.floor() } else { number });
    Some(Value::by_interval(number, ends, levels))
}

fn saturate(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
