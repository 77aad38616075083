//! Exact coins from random bits: uniform integers, Bernoulli(n/d), Bernoulli(exp(−n/d)).
//!
//! Integers only. Source of the exponential coin: Canonne, Kamath, Steinke 2020, Algorithm 1. Must
//! never: approximate a probability. Every loop ends with probability one, after a constant
//! expected number of turns.

use super::NoiseStream;

impl NoiseStream {
    /// Uniform on `0..bound`, `bound` above zero: the top bits of a wide product, rejecting its
    /// uneven end (Lemire 2019, "Fast random integer generation in an interval").
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            let uneven = bound.wrapping_neg() % bound;
            while (product as u64) < uneven {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// Uniform on `0..bound` for a bound above 64 bits: as many bits as the bound has, until they
    /// fit.
    fn below_wide(&mut self, bound: u128) -> u128 {
        let mask = u128::MAX >> bound.leading_zeros();
        loop {
            let bits = (u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())) & mask;
            if bits < bound {
                return bits;
            }
        }
    }

    /// One with probability `numerator / denominator`, which is at most one.
    pub(super) fn coin(&mut self, numerator: u128, denominator: u128) -> bool {
        if numerator >= denominator {
            return true;
        }
        match u64::try_from(denominator) {
            Ok(denominator) => u128::from(self.below(denominator)) < numerator,
            Err(_) => self.below_wide(denominator) < numerator,
        }
    }

    /// One with probability exp(−numerator/denominator), for any ratio that is not negative.
    pub(super) fn coin_exp(&mut self, numerator: u128, denominator: u128) -> bool {
        if numerator <= denominator {
            return self.coin_exp_small(numerator, denominator);
        }
        let (whole, rest) = (numerator / denominator, numerator % denominator);
        // A run of `whole` ones ends, with probability one, within a few turns: no need to bound
        // `whole`.
        let mut done = 0;
        while done < whole {
            if !self.coin_exp_small(1, 1) {
                return false;
            }
            done += 1;
        }
        self.coin_exp_small(rest, denominator)
    }

    /// For a ratio γ in [0, 1]: toss Bernoulli(γ/k) for k = 1, 2, …; the first zero comes at an odd
    /// k with probability exp(−γ). Bernoulli(γ/k) is the product of Bernoulli(γ) and
    /// Bernoulli(1/k), which keeps k·denominator from overflowing.
    fn coin_exp_small(&mut self, numerator: u128, denominator: u128) -> bool {
        let mut k = 1;
        while self.coin(numerator, denominator) && (k == 1 || self.below(k) == 0) {
            k += 1;
        }
        k % 2 == 1
    }
}

#[cfg(test)]
mod tests {
    use crate::Noise;

    /// False-failure rate 1e-6 a case: the bound is 4.9 standard errors.
    #[test]
    fn coins_have_their_probability() {
        let mut stream = Noise::from_os().stream().unwrap();
        let n = 100_000;
        let wide = u128::MAX / 5;
        for (numerator, denominator) in [(0, 1), (1, 3), (1, 1), (7, 2), (wide, wide + wide / 2)] {
            let p = (-(numerator as f64 / denominator as f64)).exp();
            let ones = (0..n).filter(|_| stream.coin_exp(numerator, denominator)).count() as f64;
            let error = (n as f64 * p * (1.0 - p)).sqrt();
            assert!((ones - n as f64 * p).abs() <= 4.9 * error + 1e-9, "{numerator}/{denominator}");
        }
    }

    #[test]
    fn uniform_covers_its_range_evenly() {
        let mut stream = Noise::from_os().stream().unwrap();
        let mut seen = [0_u32; 6];
        for _ in 0..60_000 {
            seen[stream.below(6) as usize] += 1;
        }
        // 5 degrees of freedom: 37.3 is exceeded once in 2e6 runs.
        let chi: f64 = seen.iter().map(|&s| (f64::from(s) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 37.3, "{chi}");
    }
}
