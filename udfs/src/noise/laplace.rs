//! The discrete Laplace distribution: P[x] ∝ exp(−|x|/scale) on the integers. Exact, integer
//! arithmetic only.
//!
//! **Sensitivity** L1, in lattice units. **Noise** scale = Δ₁/ε. **Cost** pure ε (ε²/2-zCDP).
//! **Source** Canonne, Kamath, Steinke 2020, Algorithm 2; Ghosh, Roughgarden, Sundararajan 2009.

use super::NoiseStream;
use crate::accounting::{Epsilon, InvalidParameter};

/// Discrete Laplace noise of rational scale, at most 2⁴⁰ and in steps of 2⁻²⁰ or coarser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DiscreteLaplace {
    numerator: u64,
    denominator: u64,
}

const SCALE_BITS: u32 = 60;
/// Twice its square is below 2⁶⁴.
const SMALL: u64 = 1 << 31;

impl DiscreteLaplace {
    /// Noise for an L1 sensitivity, scale Δ₁/ε rounded up to a multiple of 2⁻²⁰: never less than
    /// was paid for.
    pub fn for_sensitivity(delta1: u64, epsilon: Epsilon) -> Result<Self, InvalidParameter> {
        let unsupported = || InvalidParameter::new("noise scale", "above zero and at most 2^40");
        // f64 division and the product with a power of two err by at most one part in 2^52; the
        // last factor more than makes up for both and for the conversion of a large sensitivity.
        let exact = delta1 as f64 / epsilon.get() * f64::from(1 << 20);
        let scaled = (exact * (1.0 + 4.0 * f64::EPSILON)).ceil();
        if !(1.0..=(1_u64 << SCALE_BITS) as f64).contains(&scaled) {
            return Err(unsupported());
        }
        Self::with_scale(scaled as u64, 1 << 20)
    }

    /// Noise of scale `numerator / denominator`.
    pub fn with_scale(numerator: u64, denominator: u64) -> Result<Self, InvalidParameter> {
        if numerator == 0 || denominator == 0 || numerator > 1 << SCALE_BITS {
            return Err(InvalidParameter::new("noise scale", "above zero and at most 2^40"));
        }
        let shift = numerator.trailing_zeros().min(denominator.trailing_zeros());
        Ok(Self { numerator: numerator >> shift, denominator: denominator >> shift })
    }

    /// The scale b: P[x] ∝ exp(−|x|/b).
    pub fn scale(&self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// An upper bound of P[N ≥ q] = rᵠ/(1 + r) for q ≥ 0, r = exp(−1/scale).
    pub fn upper_tail(&self, q: i64) -> f64 {
        let inverse = self.denominator as f64 / self.numerator as f64;
        let tail = (-(q.max(0) as f64) * inverse).exp() / (1.0 + (-inverse).exp());
        // Room for the rounding of a few floating-point operations.
        (tail * (1.0 + 1e-9) + f64::MIN_POSITIVE).min(1.0)
    }

    /// An upper bound of P[N + N′ ≥ q] for q ≥ 0 and two independent draws.
    ///
    /// With c = (1 − r)/(1 + r), P[N + N′ = x] = c²·Σⱼ r^(|j| + |x − j|) = c²·rˣ·(x + (1 + r²)/(1 − r²)) for x ≥ 0, summed over x ≥ q.
    pub fn upper_tail_of_two(&self, q: i64) -> f64 {
        let (inverse, q) = (self.denominator as f64 / self.numerator as f64, q.max(0) as f64);
        let r = (-inverse).exp();
        // 1 − r and 1 − r², without cancelling.
        let (one_less, square_less) = (-(-inverse).exp_m1(), -(-2.0 * inverse).exp_m1());
        let tail =
            (-q * inverse).exp() * one_less / (1.0 + r).powi(2) * (q + r / one_less + (1.0 + r * r) / square_less);
        (tail * (1.0 + 1e-9) + f64::MIN_POSITIVE).min(1.0)
    }

    /// √2 times the scale: never below the standard deviation; 4 % above it at a scale of 1, 0.2 % at 5.
    pub fn std_dev(&self) -> f64 {
        std::f64::consts::SQRT_2 * self.scale()
    }

    pub fn sample(&self, stream: &mut NoiseStream) -> i128 {
        if stream.is_silent() {
            return 0;
        }
        sample_laplace(stream, self.numerator, self.denominator)
    }
}

/// Algorithm 2 with scale t/s. `u + t·v` is geometric with ratio exp(−1/t); its quotient by s is
/// geometric with ratio exp(−s/t). v is geometric with ratio 1/e, so that t·v leaves 127 bits with
/// probability below exp(−2⁶⁶). t is at most 2⁶⁰.
pub(super) fn sample_laplace(stream: &mut NoiseStream, t: u64, s: u64) -> i128 {
    loop {
        // u with its sign, and the first toss of its coin.
        let (signed, toss) = match t {
            ..SMALL => stream.below_both(2 * t, t),
            _ => (stream.below(2 * t), stream.below(t)),
        };
        let (u, negative) = (signed / 2, signed % 2 == 1);
        if toss < u && !stream.coin_exp_from(2, u128::from(u), u128::from(t)) {
            continue;
        }
        let v = u128::from(stream.run_of_exp());
        let x = u128::from(u) + u128::from(t) * v;
        let magnitude = if s == 1 { x } else { x / u128::from(s) } as i128;
        if negative && magnitude == 0 {
            continue;
        }
        return if negative { -magnitude } else { magnitude };
    }
}
