//! A statistical adversary: from answers about two neighbouring worlds it tells the worlds apart better than was promised, or fails.
//!
//! In: a real server's answers over the wire, with its own noise; no test hook. One statement answers about many disjoint blocks of
//! groups; half of the blocks lack one person, so one answer holds thousands of samples of either world. Out: a [`Verdict`]. An
//! event is chosen on one half of the samples and tested on the other, so that the choice cannot deceive.
//!
//! **Promise** ρ-zCDP, and ε-DP where the noise is Laplace's, but for δ of the selection. **Test** for events E: P₁(E) ≤ e^ε · P₀(E) + δ(ρ, ε) + δ, both ways round; rejected
//! only where Clopper–Pearson bounds exclude it. **False-failure rate** at most `alpha` a verdict.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod binomial;
pub mod cases;
pub mod event;
pub mod worlds;

use binomial::{lower_bound, upper_bound};
use event::Event;

/// What the statement was charged.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    pub rho: f64,
    pub delta: f64,
    /// Of Laplace noise.
    pub epsilon: Option<f64>,
}

impl Promise {
    /// A statement at `privacy.epsilon = 1` and `privacy.delta = 1e-9`, the defaults.
    pub const DEFAULT: Self = Self { rho: 0.5, delta: 1e-9, epsilon: None };

    /// The same statement with `privacy.mechanism = 'laplace'`.
    pub const LAPLACE: Self = Self { epsilon: Some(1.0), ..Self::DEFAULT };

    /// The δ at which ε is promised. By pure ε₀: (e^ε₀ − e^ε)/(e^ε₀ + 1), and none from ε₀ on (Kairouz, Oh, Viswanath 2015, "The
    /// Composition Theorem for Differential Privacy", Theorem 3.3 for one answer). By ρ-zCDP: inf over α > 1 of exp((α−1)(αρ−ε)) / (α−1) · (1−1/α)^α (Canonne, Kamath, Steinke
    /// 2020, Corollary 13). Any α gives a true δ, so the grid can only make the audit milder.
    pub fn delta_at(&self, epsilon: f64) -> f64 {
        let at = |alpha: f64| {
            ((alpha - 1.0) * (alpha * self.rho - epsilon)).exp() / (alpha - 1.0) * (1.0 - 1.0 / alpha).powf(alpha)
        };
        let least = (1..4000).map(|i| at(1.0 + f64::from(i) * 0.005)).fold(1.0, f64::min);
        let pure = self.epsilon.map_or(1.0, |pure| (pure.exp() - epsilon.exp()).max(0.0) / (pure.exp() + 1.0));
        least.min(pure).min(1.0) + self.delta
    }
}

/// One block's answers as numbers; NaN where there is none.
pub type Sample = Vec<f64>;

/// How the promise fared against the best event that was found.
#[derive(Debug)]
pub struct Verdict {
    pub event: Event,
    pub epsilon: f64,
    /// Times that the event was seen, of how many, in the world that shows it more often.
    pub more: (u64, u64),
    pub less: (u64, u64),
    /// How far the bounds exclude the promise; at most 0 where they do not.
    pub excess: f64,
}

impl Verdict {
    pub fn is_excluded(&self) -> bool {
        self.excess > 0.0
    }
}

/// Holds `promise` against the samples of two worlds. Errs with probability at most `alpha`.
pub fn judge(worlds: [&[Sample]; 2], promise: Promise, alpha: f64) -> Verdict {
    let half = |world: &[Sample], odd: usize| -> Vec<Sample> {
        world.iter().enumerate().filter(|(i, _)| i % 2 == odd).map(|(_, sample)| sample.clone()).collect()
    };
    let (choose, test) = ([half(worlds[0], 0), half(worlds[1], 0)], [half(worlds[0], 1), half(worlds[1], 1)]);
    let (event, epsilon) = Event::choose([&choose[0], &choose[1]], promise);
    let seen =
        |world: &[Sample]| (world.iter().filter(|sample| event.holds(sample)).count() as u64, world.len() as u64);
    let (more, less) = (seen(&test[event.world]), seen(&test[1 - event.world]));
    let (low, high) = (lower_bound(more.0, more.1, alpha / 2.0), upper_bound(less.0, less.1, alpha / 2.0));
    let excess = low - epsilon.exp() * high - promise.delta_at(epsilon);
    Verdict { event, epsilon, more, less, excess }
}
