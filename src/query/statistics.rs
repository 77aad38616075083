//! What `ANALYZE` knows of a table, and the bounds that follow from it.
//!
//! In: released numbers about the persons of one table, in one snapshot of its data. Out: bounds of columns and of rows per person
//! where nobody declared any. Everything here is post-processing of what was released and paid for; the bounds are enforced by
//! clamping and scaling like declared ones, so a wrong statistic costs exactness and never privacy.
//!
//! **Why of persons, not of rows.** A row's quantile moves by as many rows as one person may have. The largest value of a person
//! is one number a person: its quantiles are known twenty times better, and a bound that most persons never exceed is one that
//! hardly any row exceeds.
//!
//! **Which bound.** A wider bound means more noise, a narrower one more values that are cut. With bound C, a group's sum is off by
//! the noise C·K and by what is cut off of its n persons, n·e(C). The bound is where the sum of their squares is least. e(C) is not
//! known, only t(C), the mean of what the largest values exceed C by: one row of a person exceeds C by no more, and all R of them
//! by no more than R times as much; between t(C) and R·t(C) the geometric mean, √R·t(C), stands. On the demo's data the error is then
//! within 1.4 times that of the best bound (`benches/accuracy.rs` measures it).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::policy::Bounds;

/// The fractions that quantiles are released at.
pub const FRACTIONS: [f64; 7] = [0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995];

/// Into how many groups a group key is taken to divide the persons, where nothing is known.
const GROUPS_PER_KEY: f64 = 10.0;

/// Released statistics of one table, in one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Whose rows were counted, in words: statistics by another key say nothing.
    pub of: String,
    pub persons: f64,
    /// Rows of one person.
    pub rows: Quantiles,
    /// Of numeric columns without declared bounds.
    pub columns: BTreeMap<String, Spread>,
}

/// How far persons' values go, both ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Of each person's least value, negated: how far down they go.
    pub down: Quantiles,
    /// Of each person's largest value.
    pub up: Quantiles,
}

/// Values at the first of [`FRACTIONS`], ascending: those that the noise left something of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantiles(Vec<f64>);

/// What a bound is weighed for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Use {
    /// The rho that one measurement gets, about.
    pub rho: f64,
    /// Group keys of the release.
    pub keys: usize,
    /// Persons that a row of the answer describes at least.
    pub floor: u64,
}

impl Quantiles {
    /// `values` at all fractions, of which the first `kept` are worth anything. Noise may have put them out of order; `None` where
    /// there are not as many as fractions, or one is no number.
    pub fn new(mut values: Vec<f64>, kept: usize) -> Option<Self> {
        if values.len() != FRACTIONS.len() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        values.truncate(kept.max(2));
        values.sort_by(f64::total_cmp);
        Some(Self(values))
    }

    pub fn median(&self) -> f64 {
        self.0.first().copied().unwrap_or(0.0)
    }

    pub fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }

    /// The mean over persons of how far the value exceeds `bound`: the area under the survival curve, which is drawn in straight
    /// lines through the quantiles, from twice the lower half's width below the median on, and as a tail beyond the last.
    fn excess(&self, bound: f64) -> f64 {
        let half = (self.0.get(1).copied().unwrap_or(0.0) - self.median()).max(0.0);
        let quantiles = self.0.iter().zip(FRACTIONS).map(|(value, fraction)| (*value, 1.0 - fraction));
        let points: Vec<(f64, f64)> = [(self.median() - 2.0 * half, 1.0)].into_iter().chain(quantiles).collect();
        let below = points.first().map_or(0.0, |(start, _)| (start - bound).max(0.0));
        let area = |pair: &[(f64, f64)]| match pair {
            [(left, above_left), (right, above_right)] if *right > bound && right > left => {
                let from = left.max(bound);
                let above = above_left + (above_right - above_left) * (from - left) / (right - left);
                (right - from) * (above + above_right) / 2.0
            }
            _ => 0.0,
        };
        below + points.windows(2).map(area).sum::<f64>() + self.tail(bound.max(self.last()))
    }

    /// The same beyond the last quantile: between an exponential and a Pareto tail through the last two (a log-normal one lies there),
    /// their geometric mean. Nothing where the two are one.
    fn tail(&self, bound: f64) -> f64 {
        let (last, before) = (self.last(), self.0.iter().rev().nth(1).copied().unwrap_or(0.0));
        let above = |back: usize| FRACTIONS.get(self.0.len().wrapping_sub(back)).map_or(1.0, |fraction| 1.0 - fraction);
        let steps = (above(2) / above(1)).ln();
        let scale = (last - before) / steps;
        if scale.is_nan() || scale <= 0.0 {
            return 0.0;
        }
        let exponential = above(1) * scale * (-(bound - last) / scale).exp();
        if before <= 0.0 {
            return exponential;
        }
        let index = (steps / (last / before).ln()).max(1.2);
        let pareto = above(1) * (bound / last).powf(-index) * bound / (index - 1.0);
        (exponential * pareto).sqrt()
    }
}

impl Statistics {
    /// As the ledger keeps it.
    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|_| Error::internal())
    }

    /// `None` for what an earlier server wrote otherwise: it is then as if nothing were known.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Rows of one person that count, where nobody said how many.
    pub fn max_rows(&self, usage: Use) -> Option<u64> {
        let persons = self.persons_a_group(usage);
        // A person's rows beyond the bound are lost one by one: the loss is known and not between two limits.
        let cost = |rows: f64| squared(rows * noise(usage)) + squared(persons * self.rows.excess(rows));
        let most = (self.rows.last() * 4.0).ceil().max(1.0);
        let rows = cheapest(1.0, most, cost).round();
        (1.0..=1e9).contains(&rows).then_some(rows as u64)
    }

    /// Bounds of a column, where nobody declared any. `cap`: rows of one person that count.
    pub fn bounds(&self, column: &str, cap: u64, usage: Use) -> Option<Bounds> {
        let spread = self.columns.get(column)?;
        let upper = self.reach(&spread.up, cap, usage);
        let lower = -self.reach(&spread.down, cap, usage);
        // A column that never falls below 0 is bounded by 0: a sum is no exacter for a higher bound, and its zeros stay zeros.
        let lower = if lower >= -upper.abs() / 1000.0 { 0.0 } else { lower };
        let upper = if upper <= lower.abs() / 1000.0 { 0.0 } else { upper };
        Bounds::new(round_out(lower), round_out(upper)).ok()
    }

    /// How far from 0 values are let go in one direction; negative where they all lie on the other side.
    fn reach(&self, quantiles: &Quantiles, cap: u64, usage: Use) -> f64 {
        let last = quantiles.last();
        if last <= 0.0 {
            return last;
        }
        let persons = self.persons_a_group(usage);
        let repeated = self.rows.median().clamp(1.0, cap as f64).sqrt();
        let noise = noise(usage) * cap as f64;
        let cost = |bound: f64| squared(bound * noise) + squared(persons * repeated * quantiles.excess(bound));
        cheapest(last / 1024.0, last * 4.0, cost)
    }

    /// Persons behind one row of the answer, about.
    pub fn persons_a_group(&self, usage: Use) -> f64 {
        let groups = GROUPS_PER_KEY.powi(usage.keys.min(9) as i32);
        (self.persons / groups).max(4.0 * usage.floor as f64)
    }
}

/// Standard deviation of a sum in which each person may change one unit.
fn noise(usage: Use) -> f64 {
    1.0 / (2.0 * usage.rho).sqrt()
}

fn squared(value: f64) -> f64 {
    value * value
}

/// The least costly of 256 points between `low` and `high`, each a step of equal ratio above the one before.
fn cheapest(low: f64, high: f64, cost: impl Fn(f64) -> f64) -> f64 {
    let ratio = (high / low).ln() / 255.0;
    let point = |i: u32| low * (ratio * f64::from(i)).exp();
    (0..=255).map(point).min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(high)
}

/// Away from 0 to two significant digits: a bound that people can read, and that changes less often than noise does.
fn round_out(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let unit = 10_f64.powi(value.abs().log10().floor() as i32 - 1);
    let rounded = (value.abs() / unit).ceil() * unit;
    // Numbers such as 0.1 · 3: as close to the decimal as can be.
    let tidy: f64 = format!("{rounded:.12e}").parse().unwrap_or(rounded);
    tidy.copysign(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USE: Use = Use { rho: 0.25, keys: 0, floor: 10 };

    fn quantiles(values: [f64; 7]) -> Quantiles {
        Quantiles::new(values.to_vec(), 7).unwrap()
    }

    fn statistics(persons: f64, up: [f64; 7], down: [f64; 7]) -> Statistics {
        let spread = Spread { down: quantiles(down), up: quantiles(up) };
        Statistics {
            of: "id".to_owned(),
            persons,
            rows: quantiles([40.0, 45.0, 50.0, 52.0, 52.0, 52.0, 52.0]),
            columns: [("hours".to_owned(), spread)].into(),
        }
    }

    const HOURS: [f64; 7] = [19.8, 28.5, 38.5, 45.8, 56.0, 60.0, 60.0];
    const NEVER_BELOW_ZERO: [f64; 7] = [0.0; 7];

    #[test]
    fn quantiles_are_numbers_in_order() {
        assert_eq!(quantiles([3.0, 1.0, 2.0, 4.0, 5.0, 7.0, 6.0]), quantiles([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]));
        assert!(Quantiles::new(vec![1.0], 7).is_none());
        assert!(Quantiles::new(vec![f64::NAN; 7], 7).is_none());
    }

    #[test]
    fn what_exceeds_a_bound() {
        let uniform = quantiles(FRACTIONS.map(|fraction| 100.0 * fraction));
        for (bound, expected) in [(0.0, 50.0), (50.0, 12.5), (90.0, 0.5), (101.0, 0.0), (-10.0, 60.0)] {
            let excess = uniform.excess(bound);
            assert!((excess - expected).abs() < 0.3, "{bound}: {excess}");
        }
        assert_eq!(quantiles([5.0; 7]).excess(5.0), 0.0);
        assert_eq!(quantiles([5.0; 7]).excess(3.0), 2.0);
    }

    /// More persons bear a wider bound; more noise asks for a narrower one.
    #[test]
    fn bounds_weigh_noise_against_what_is_cut() {
        let upper =
            |persons, usage| statistics(persons, HOURS, NEVER_BELOW_ZERO).bounds("hours", 53, usage).unwrap().upper();
        let many = upper(20_000.0, USE);
        let few = upper(300.0, USE);
        assert!((50.0..=66.0).contains(&many), "{many}");
        assert!((30.0..=50.0).contains(&few), "{few}");
        assert!(upper(20_000.0, Use { keys: 2, ..USE }) < many);
        assert!(upper(20_000.0, Use { rho: 1e-5, ..USE }) < many);
        assert_eq!(statistics(300.0, HOURS, NEVER_BELOW_ZERO).bounds("hours", 53, USE).unwrap().lower(), 0.0);
        assert_eq!(statistics(300.0, HOURS, NEVER_BELOW_ZERO).bounds("other", 53, USE), None);
    }

    #[test]
    fn values_on_both_sides_of_zero() {
        let both = statistics(2_000.0, HOURS, HOURS).bounds("hours", 53, USE).unwrap();
        assert_eq!(both.lower(), -both.upper());
        let below = statistics(2_000.0, [-5.0; 7], HOURS).bounds("hours", 53, USE).unwrap();
        assert!(below.upper() == 0.0 && below.lower() < -20.0, "{below:?}");
    }

    #[test]
    fn rows_of_a_person() {
        let few = statistics(2_000.0, HOURS, NEVER_BELOW_ZERO).max_rows(USE).unwrap();
        assert!((50..=53).contains(&few), "{few}");
        let one = Statistics { rows: quantiles([1.0; 7]), ..statistics(50.0, HOURS, NEVER_BELOW_ZERO) };
        assert_eq!(one.max_rows(USE), Some(1));
    }

    #[test]
    fn readable_numbers() {
        for (value, rounded) in
            [(0.0, 0.0), (43.21, 44.0), (-43.21, -44.0), (0.3, 0.3), (1234.0, 1300.0), (0.00123, 0.0013)]
        {
            assert_eq!(round_out(value), rounded);
        }
    }
}
