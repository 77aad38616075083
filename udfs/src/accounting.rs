//! Privacy parameters and the conversion between them.
//!
//! In: plain numbers from a policy or a query setting. Out: `Epsilon`, `Delta` and `Rho`, valid
//! from construction on. Must never: convert in the optimistic direction; a stated ε is always an
//! upper bound.

use std::fmt;

/// A parameter outside the range where the mechanism is defined. Names the parameter, never a value
/// of data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} must be {requirement}")]
pub struct InvalidParameter {
    parameter: &'static str,
    requirement: &'static str,
}

impl InvalidParameter {
    pub(crate) fn new(parameter: &'static str, requirement: &'static str) -> Self {
        Self { parameter, requirement }
    }
}

impl From<InvalidParameter> for datafusion::error::DataFusionError {
    fn from(error: InvalidParameter) -> Self {
        Self::Plan(error.to_string())
    }
}

/// ε of (ε, δ)-differential privacy: finite and above zero.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Epsilon(f64);

/// δ of (ε, δ)-differential privacy: strictly between zero and one.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Delta(f64);

/// ρ of zero-concentrated differential privacy (Bun, Steinke 2016): finite and above zero.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rho(f64);

impl Epsilon {
    pub fn new(value: f64) -> Result<Self, InvalidParameter> {
        if value.is_finite() && value > 0.0 {
            Ok(Self(value))
        } else {
            Err(InvalidParameter::new("epsilon", "finite and above zero"))
        }
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl Delta {
    pub fn new(value: f64) -> Result<Self, InvalidParameter> {
        // Below the smallest normal number the logarithms of the conversion lose their guarantee.
        if (f64::MIN_POSITIVE..1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(InvalidParameter::new("delta", "above zero and below one"))
        }
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl Rho {
    pub fn new(value: f64) -> Result<Self, InvalidParameter> {
        if value.is_finite() && value >= f64::MIN_POSITIVE {
            Ok(Self(value))
        } else {
            Err(InvalidParameter::new("rho", "finite and above zero"))
        }
    }

    /// What a query's `epsilon` setting buys: ρ = ε²/2, the zCDP of the pure-ε mechanism
    /// (Bun, Steinke 2016, Proposition 3). An ε above 10⁶ or below 10⁻⁶ is held at that edge.
    pub fn of_epsilon(epsilon: Epsilon) -> Self {
        let epsilon = epsilon.0.clamp(1e-6, 1e6);
        Self(epsilon * epsilon / 2.0)
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

macro_rules! from_f64 {
    ($($name:ident),*) => {$(
        impl TryFrom<f64> for $name {
            type Error = InvalidParameter;
            fn try_from(value: f64) -> Result<Self, InvalidParameter> {
                Self::new(value)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
from_f64!(Epsilon, Delta, Rho);

/// The ε for which a ρ-zCDP mechanism is (ε, δ)-differentially private.
///
/// Source: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020),
/// Corollary 13: δ = inf over α > 1 of exp((α−1)(αρ−ε)) / (α−1) · (1−1/α)^α. Solved for ε this
/// reads ε(α) = αρ + ln(1−1/α) + (ln(1/δ) − ln α) / (α−1), and *every* α gives a valid ε, so the
/// numeric search below can only lose tightness, never safety.
pub fn epsilon_of(rho: Rho, delta: Delta) -> Epsilon {
    let ln_inverse_delta = -delta.0.ln();
    // x = ln(α−1), so that the search covers α close to one and α far away evenly.
    let epsilon_at = |x: f64| {
        let above_one = x.exp();
        let alpha = 1.0 + above_one;
        alpha * rho.0 - (1.0 / above_one).ln_1p() + (ln_inverse_delta - alpha.ln()) / above_one
    };
    // The optimum of the simple bound, α − 1 = √(ln(1/δ)/ρ), lies within a few e-folds of the true
    // one.
    let centre = 0.5 * (ln_inverse_delta.max(1e-3) / rho.0).ln();
    let steps = 400;
    let width = 24.0;
    let at = |i: usize| centre - width / 2.0 + width * i as f64 / steps as f64;
    let tried = (0..=steps).map(|i| (i, epsilon_at(at(i))));
    let (best, cost) = tried.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((steps / 2, f64::INFINITY));
    let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(steps)));
    // So near the least, what is left to gain is below the rounding.
    for _ in 0..50 {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if epsilon_at(left) < epsilon_at(right) {
            high = right;
        } else {
            low = left;
        }
    }
    let least = epsilon_at(0.5 * (low + high)).min(cost).min(simple(rho, delta));
    stated(least, rho)
}

/// Is [`epsilon_of`] at most `epsilon`? The same answer, sooner where the simple bound says so: that is what a ledger asks of every
/// statement.
pub fn is_within(rho: Rho, delta: Delta, epsilon: Epsilon) -> bool {
    stated(simple(rho, delta), rho).0 <= epsilon.0 || epsilon_of(rho, delta).0 <= epsilon.0
}

/// ε = ρ + 2√(ρ ln(1/δ)) (Bun, Steinke 2016, Proposition 3).
fn simple(rho: Rho, delta: Delta) -> f64 {
    rho.0 + 2.0 * (rho.0 * -delta.0.ln()).sqrt()
}

/// With room for the rounding of a dozen floating-point operations, and never zero.
fn stated(epsilon: f64, rho: Rho) -> Epsilon {
    Epsilon((epsilon.max(0.0) * (1.0 + 1e-12) + 1e-12 * rho.0).max(f64::MIN_POSITIVE))
}

/// The largest ρ (to twelve digits, rounded down) whose [`epsilon_of`] stays within ε: what a
/// budget of (ε, δ) holds.
pub fn rho_of(epsilon: Epsilon, delta: Delta) -> Result<Rho, InvalidParameter> {
    // ρ-zCDP costs at least about ε²/(4 ln(1/δ)) and at most ε: the bracket holds the answer for
    // any δ.
    let (mut low, mut high) = (0.0_f64, 2.0 * epsilon.0 + 1.0);
    while epsilon_of(Rho::new(high)?, delta).0 <= epsilon.0 && high < f64::MAX / 4.0 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle < f64::MIN_POSITIVE || high - low <= 1e-12 * high {
            break;
        }
        if epsilon_of(Rho::new(middle)?, delta).0 <= epsilon.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    Rho::new(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epsilon(rho: f64, delta: f64) -> f64 {
        epsilon_of(Rho::new(rho).unwrap(), Delta::new(delta).unwrap()).get()
    }

    #[test]
    fn parameters_are_checked_once() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Epsilon::new(bad).is_err());
            assert!(Rho::new(bad).is_err());
            assert!(Delta::new(bad).is_err());
        }
        assert!(Delta::new(1.0).is_err());
        assert_eq!(Rho::of_epsilon(Epsilon::new(1.0).unwrap()).get(), 0.5);
    }

    /// Reference values: the paper's authors' own `cdp2adp.py`.
    #[test]
    fn known_values() {
        for (rho, delta, known) in [
            (0.5, 1e-6, 5.221534444530169),
            (0.5, 1e-9, 6.4740700207264865),
            (0.1, 1e-10, 2.8818280091742428),
            (1.0, 1e-5, 7.0771966958063395),
            (0.005, 1e-9, 0.5648932843020361),
        ] {
            let ours = epsilon(rho, delta);
            assert!(ours >= known - 1e-9 && ours < known + 1e-6, "{rho} {delta}: {ours}");
        }
    }

    #[test]
    fn tighter_than_the_simple_bound() {
        for rho in [1e-4, 1e-2, 0.1, 0.5, 1.0, 5.0] {
            for delta in [1e-3, 1e-6, 1e-9, 1e-12] {
                let simple = rho + 2.0 * (rho * -f64::ln(delta)).sqrt();
                let tight = epsilon(rho, delta);
                assert!(tight < simple, "{rho} {delta}: {tight} {simple}");
            }
        }
    }

    #[test]
    fn within_an_epsilon_is_at_most_it() {
        for rho in [1e-300, 1e-9, 1e-4, 1e-2, 0.5, 5.0, 1e3] {
            for delta in [0.5, 1e-3, 1e-6, 1e-12, 1e-300] {
                let (spent, left) = (Rho::new(rho).unwrap(), Delta::new(delta).unwrap());
                let exact = epsilon_of(spent, left).get();
                for limit in [exact.next_down(), exact, exact * 1.01, exact * 1.2, exact * 3.0, exact / 2.0] {
                    let Ok(limit) = Epsilon::new(limit) else { continue };
                    assert_eq!(is_within(spent, left, limit), exact <= limit.get(), "{rho} {delta} {limit}");
                }
            }
        }
    }

    /// The discrete Gaussian with sensitivity one and σ² = 1/(2ρ) is ρ-zCDP; its exact curve
    /// (CKS 2020, Theorem 7) lies below what any conversion may claim.
    #[test]
    fn never_below_the_exact_curve_of_the_discrete_gaussian() {
        for rho in [1e-3_f64, 0.02, 0.125, 0.5] {
            let variance = 1.0 / (2.0 * rho);
            for delta in [1e-4, 1e-6, 1e-9] {
                let stated = epsilon(rho, delta);
                let span = (60.0 * variance.sqrt()).ceil() as i64 + 2;
                let mass = |x: i64| (-(x as f64).powi(2) / (2.0 * variance)).exp();
                let total: f64 = (-span..=span).map(mass).sum();
                let exact: f64 = (-span..=span).map(|x| (mass(x) - stated.exp() * mass(x + 1)).max(0.0) / total).sum();
                assert!(exact <= delta, "{rho} {delta}: {exact}");
            }
        }
    }

    #[test]
    fn round_trip_with_the_budget() {
        for (e, d) in [(0.1, 1e-9), (1.0, 1e-6), (4.0, 1e-9), (20.0, 1e-5)] {
            let rho = rho_of(Epsilon::new(e).unwrap(), Delta::new(d).unwrap()).unwrap();
            let back = epsilon(rho.get(), d);
            assert!(back <= e && back > e * 0.999_999, "{e} {d}: {back}");
        }
    }
}
