//! The discrete Gaussian distribution: P[x] ∝ exp(−x²/2σ²) on the integers. Exact, integer
//! arithmetic only.
//!
//! **Sensitivity** L2, in lattice units, over all groups that a person reaches. **Noise** σ² =
//! Δ₂²/(2ρ), rounded up. **Cost** ρ-zCDP. **Source** Canonne, Kamath, Steinke 2020, "The Discrete
//! Gaussian for Differential Privacy" ("CKS").

use super::NoiseStream;
use super::laplace::sample_laplace;
use crate::accounting::{InvalidParameter, Rho};
use std::f64::consts::{PI, SQRT_2, TAU};

/// Discrete Gaussian noise of rational variance σ² = a/b.
///
/// Law: 0 < a ≤ 2⁵⁴ and b ≤ 2⁴⁰, so σ reaches 2²⁷. With t = ⌊σ⌋ + 1 the acceptance exponent is
/// (|y|·t·b − a)² / (2·a·b·t²), and in u128
/// * the denominator fits: t² ≤ 4·max(1, a/b), so 2·a·b·t² ≤ max(8a², 8ab) ≤ 2¹¹¹;
/// * the numerator fits wherever |y|·t·b < 2⁶³. Beyond that the sampler rejects. There
///   |y|/σ ≥ 2⁶³/(t·σ·b) ≥ 2⁷ (for σ ≥ 1: t·σ·b ≤ 2a; for σ < 1: t·σ·b ≤ b), a region to which
///   the distribution itself gives less than exp(−2¹²): the sampled law is within 2⁻¹⁰⁰⁰ of the
///   exact one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gaussian {
    numerator: u64,
    denominator: u64,
    /// t
    scale: u64,
}

const NUMERATOR_BITS: u32 = 54;
const DENOMINATOR_BITS: u32 = 40;

impl Gaussian {
    /// Noise for a squared L2 sensitivity and a price: σ² = Δ₂²/(2ρ) rounded **up** to a fraction
    /// that the sampler takes. The rounding is integer division with ceiling of exact integers; no
    /// float decides it.
    pub fn for_sensitivity(delta2_squared: u128, rho: Rho) -> Result<Self, InvalidParameter> {
        let unsupported = || InvalidParameter::new("noise sigma", "at most 2^27");
        if delta2_squared == 0 {
            return Err(InvalidParameter::new("sensitivity", "above zero"));
        }
        // ρ is a normal f64: exactly mantissa · 2^exponent.
        let bits = rho.get().to_bits();
        let mantissa = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
        let exponent = (bits >> 52 & 0x7ff) as i32 - 1075;
        let estimate = delta2_squared as f64 / (2.0 * rho.get());
        let denominator_bits = (44.0 - estimate.log2()).clamp(0.0, f64::from(DENOMINATOR_BITS)) as i32;
        // a = ⌈Δ₂² · 2^shift / mantissa⌉ with b = 2^denominator_bits.
        let shift = denominator_bits - (exponent + 1);
        let numerator = if shift >= 0 {
            let shift = shift.unsigned_abs();
            if shift >= delta2_squared.leading_zeros() {
                return Err(unsupported());
            }
            (delta2_squared << shift).div_ceil(mantissa)
        } else {
            let shift = shift.unsigned_abs();
            if shift >= mantissa.leading_zeros() {
                return Err(InvalidParameter::new("rho", "small enough to need noise"));
            }
            delta2_squared.div_ceil(mantissa << shift)
        };
        Self::with_variance(numerator, 1 << denominator_bits)
    }

    /// Noise of variance parameter σ² = `numerator / denominator`.
    pub fn with_variance(numerator: u128, denominator: u128) -> Result<Self, InvalidParameter> {
        if numerator == 0 || denominator == 0 {
            return Err(InvalidParameter::new("noise sigma", "above zero"));
        }
        let shift = numerator.trailing_zeros().min(denominator.trailing_zeros());
        let (numerator, denominator) = (numerator >> shift, denominator >> shift);
        if numerator > 1 << NUMERATOR_BITS || denominator > 1 << DENOMINATOR_BITS {
            return Err(InvalidParameter::new("noise sigma", "at most 2^27"));
        }
        let scale = ((numerator / denominator) as u64).isqrt() + 1;
        Ok(Self { numerator: numerator as u64, denominator: denominator as u64, scale })
    }

    /// σ² as a fraction in lowest binary terms.
    pub fn variance(&self) -> (u128, u128) {
        (u128::from(self.numerator), u128::from(self.denominator))
    }

    /// σ: never below the standard deviation, and equal to it to six digits wherever σ ≥ 1 (CKS,
    /// section 3).
    pub fn std_dev(&self) -> f64 {
        (self.numerator as f64 / self.denominator as f64).sqrt()
    }

    /// One exact sample (CKS, Algorithm 3): discrete Laplace of scale t, accepted with probability
    /// exp(−(|y| − σ²/t)²/2σ²).
    pub fn sample(&self, stream: &mut NoiseStream) -> i128 {
        if stream.is_silent() {
            return 0;
        }
        let (a, b) = (u128::from(self.numerator), u128::from(self.denominator));
        let t = u128::from(self.scale);
        let below_the_square = 2 * a * b * t * t;
        loop {
            let y = sample_laplace(stream, self.scale, 1);
            let Some(reach) = y.unsigned_abs().checked_mul(t * b) else {
                continue;
            };
            if reach >= 1 << 63 {
                continue;
            }
            let distance = reach.abs_diff(a);
            if stream.coin_exp(distance * distance, below_the_square) {
                return y;
            }
        }
    }

    /// An upper bound of P[N ≥ q] for q ≥ 0, for σ ≥ 32 within a few percent of it.
    ///
    /// P[N ≥ q] = Σ_{x≥q} exp(−x²/2σ²) / Z with Z ≥ max(1, √(2πσ²)) (Poisson summation; CKS,
    /// section 3).
    pub fn upper_tail(&self, q: i64) -> f64 {
        let variance = self.numerator as f64 / self.denominator as f64;
        over(tail(q, variance), (TAU * variance).sqrt().max(1.0))
    }

    /// An upper bound of P[N + N′ ≥ q] for q ≥ 0 and two independent draws, for σ ≥ 1 as near as [`Self::upper_tail`].
    ///
    /// P[N + N′ = x] = Σⱼ exp(−(j² + (x − j)²)/2σ²) / Z² = exp(−x²/4σ²) · Σⱼ exp(−(j − x/2)²/σ²) / Z², and the sum over j is largest
    /// where x/2 is whole (Poisson summation: all its Fourier coefficients are above zero). So the tail is that of variance 2σ², over
    /// Z² / Σⱼ exp(−j²/σ²).
    pub fn upper_tail_of_two(&self, q: i64) -> f64 {
        let variance = self.numerator as f64 / self.denominator as f64;
        // Z must not come out too large, nor the sum over j too small: for σ < 1 their terms beyond the eighth are below 1e-15 together.
        let series = |divisor: f64| 1.0 + 2.0 * (1..=8).map(|j| (-f64::from(j * j) / divisor).exp()).sum::<f64>();
        let (z, even) = match variance < 1.0 {
            true => (series(2.0 * variance), series(variance) + 1e-15),
            // By Poisson summation: the first two terms, and as much again as all others are at most.
            false => ((TAU * variance).sqrt(), (PI * variance).sqrt() * (1.0 + 2.1 * (-PI * PI * variance).exp())),
        };
        over(tail(q, 2.0 * variance), z * z / even)
    }
}

/// Room for the rounding of some hundred floating-point operations.
fn over(sum: f64, total: f64) -> f64 {
    (sum / total * (1.0 + 1e-9) + f64::MIN_POSITIVE).min(1.0)
}

/// Hardly above Σ_{x≥q} exp(−x²/2σ²), and not below. Small σ: summed, the remainder bounded by a geometric series. Large σ: the sum is at
/// most its first term plus the integral, and the integral of the Gaussian tail is bounded by Abramowitz & Stegun 7.1.13.
fn tail(q: i64, variance: f64) -> f64 {
    let q = q.max(0) as f64;
    let sigma = variance.sqrt();
    let mass = |x: f64| (-x * x / (2.0 * variance)).exp();
    if sigma < 32.0 {
        let last = q + (12.0 * sigma).ceil() + 2.0;
        let mut x = q;
        let mut sum = 0.0;
        while x < last {
            sum += mass(x);
            x += 1.0;
        }
        sum + mass(last) / (1.0 - (-(2.0 * last + 1.0) / (2.0 * variance)).exp())
    } else {
        let x = q / (sigma * SQRT_2);
        mass(q) + sigma * SQRT_2 * (-x * x).exp() / (x + (x * x + 4.0 / PI).sqrt())
    }
}

#[cfg(test)]
#[path = "gaussian_test.rs"]
mod tests;
