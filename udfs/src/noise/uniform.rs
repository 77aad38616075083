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

    /// Two independent numbers, uniform on `0..first` and `0..second`, of one word: the digits of a number below `first · second`, which
    /// is below 2⁶⁴. What is left of the wide product after the first digit gives the second (Brackett-Rozinsky, Lemire 2024, "Batched
    /// Ranged Random Integer Generation").
    pub(super) fn below_both(&mut self, first: u64, second: u64) -> (u64, u64) {
        let word = self.even_word(first * second);
        let one = u128::from(word) * u128::from(first);
        let two = u128::from(one as u64) * u128::from(second);
        ((one >> 64) as u64, (two >> 64) as u64)
    }

    /// A word whose wide product with `bound` has each number below `bound` in its top bits equally often: all words but those of the
    /// uneven end, as in [`Self::below`].
    fn even_word(&mut self, bound: u64) -> u64 {
        loop {
            let word = self.next_u64();
            let rest = word.wrapping_mul(bound);
            if rest >= bound || rest >= bound.wrapping_neg() % bound {
                return word;
            }
        }
    }

    /// One with probability `numerator / denominator`, which is at most one and of a denominator below 2¹²⁷.
    pub(super) fn coin(&mut self, numerator: u128, denominator: u128) -> bool {
        if numerator >= denominator {
            return true;
        }
        match u64::try_from(denominator) {
            Ok(denominator) => u128::from(self.below(denominator)) < numerator,
            Err(_) => is_below(|| self.next_u64(), numerator, denominator),
        }
    }

    /// One with probability exp(−numerator/denominator), for any ratio that is not negative.
    pub(super) fn coin_exp(&mut self, mut numerator: u128, denominator: u128) -> bool {
        // A run of ones ends, with probability one, within a few turns.
        while numerator > denominator {
            if !self.coin_exp_from(1, 1, 1) {
                return false;
            }
            numerator -= denominator;
        }
        self.coin_exp_from(1, numerator, denominator)
    }

    /// For a ratio γ in [0, 1]: toss Bernoulli(γ/k) for k = 1, 2, …; the first zero comes at an odd
    /// k with probability exp(−γ). The tosses before `k` were ones.
    pub(super) fn coin_exp_from(&mut self, mut k: u64, numerator: u128, denominator: u128) -> bool {
        while self.coin_part(numerator, denominator, k) {
            k += 1;
        }
        k % 2 == 1
    }

    /// Bernoulli(γ/k), or where its denominator is too large for one toss: Bernoulli(γ) and Bernoulli(1/k).
    fn coin_part(&mut self, numerator: u128, denominator: u128, k: u64) -> bool {
        match denominator.checked_mul(u128::from(k)).filter(|product| *product < 1 << 127) {
            Some(product) => self.coin(numerator, product),
            None => self.coin(numerator, denominator) && self.below(k) == 0,
        }
    }

    /// How many times Bernoulli(1/e) is one before it is zero.
    ///
    /// The tosses of one such coin are Bernoulli(1/k) for k = 2, 3, …, 9, 10, …: is a digit of base k 0? Those of base 2 to 9 are one
    /// number below 9!, and three such numbers are of one word.
    pub(super) fn run_of_exp(&mut self) -> u64 {
        let mut run = 0;
        loop {
            let mut word = self.even_word(DIGITS * DIGITS * DIGITS);
            for _ in 0..3 {
                let product = u128::from(word) * u128::from(DIGITS);
                word = product as u64;
                let number = (product >> 64) as u64;
                if !is_odd(number).unwrap_or_else(|| self.coin_exp_from(10, 1, 1)) {
                    return run;
                }
                run += 1;
            }
        }
    }
}

/// 9!
const DIGITS: u64 = 362_880;
/// 9!/k! for k = 2, …, 9: the least numbers of which the digit of base k, or one before it, is not 0.
const LEAST: [u64; 8] = [181_440, 60_480, 15_120, 3_024, 504, 72, 9, 1];

/// Is the base of the first digit that is not 0 odd? Nothing where all are 0.
fn is_odd(number: u64) -> Option<bool> {
    LEAST.iter().position(|least| number >= *least).map(|place| place % 2 == 1)
}

/// Is a uniform real of these bits below `numerator / denominator`, which is below one?
///
/// A word is the first 64 bits of the real: it is `(word + f) / 2⁶⁴` for an f in [0, 1) whose bits come next. Where the word decides
/// nothing, which is as likely as one word in all, f is below another ratio or not.
fn is_below(mut words: impl FnMut() -> u64, mut numerator: u128, denominator: u128) -> bool {
    debug_assert!(numerator < denominator && denominator < 1 << 127);
    let (high, low) = (denominator >> 64, u128::from(denominator as u64));
    loop {
        let word = u128::from(words());
        // denominator · word = above · 2⁶⁴ + below.
        let product = low * word;
        let (above, below) = (high * word + (product >> 64), u128::from(product as u64));
        if above >= numerator {
            return false;
        }
        // What denominator · f is held against: numerator · 2⁶⁴ − denominator · word.
        let gap = numerator - above;
        if gap > high + 1 {
            return true;
        }
        let rest = (gap << 64) - below;
        if rest >= denominator {
            return true;
        }
        numerator = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    /// 4/5 and 1/3 have the words 0xCC…C and 0x55…5 again and again: none of them decides.
    #[test]
    fn a_word_that_does_not_decide_is_followed_by_another() {
        for (numerator, denominator, word) in [(1_u128, 3_u128, u64::MAX / 3), (4, 5, u64::MAX / 5 * 4)] {
            for unit in [1, 1 << 70, (1 << 124) - 1] {
                for (last, below) in [(word - 1, true), (word + 1, false)] {
                    for before in 0..4 {
                        let mut words = std::iter::repeat_n(word, before).chain([last]);
                        let told = is_below(|| words.next().unwrap(), numerator * unit, denominator * unit);
                        assert_eq!((told, words.next()), (below, None), "{numerator}/{denominator} {before}");
                    }
                }
            }
        }
        assert!(!is_below(|| 1 << 63, 1 << 100, 1 << 101));
        assert!(is_below(|| (1 << 63) - 1, 1 << 100, 1 << 101));
    }

    #[test]
    fn a_number_has_its_digits() {
        for number in 0..DIGITS {
            let (mut rest, mut digits) = (number, Vec::new());
            for base in (2..=9).rev() {
                digits.push((base, rest % base));
                rest /= base;
            }
            let first = digits.iter().rev().find(|(_, digit)| *digit != 0);
            assert_eq!(is_odd(number), first.map(|(base, _)| base % 2 == 1), "{number}");
        }
    }

    /// False-failure rate 1e-6 each: 29 and 10 degrees of freedom.
    #[test]
    fn numbers_and_runs_of_one_word_follow_their_laws() {
        let mut stream = Noise::from_os().stream().unwrap();
        let n = 200_000_u32;
        let chi = |seen: &[u32], p: &dyn Fn(usize) -> f64| -> f64 {
            let expected = |cell| f64::from(n) * p(cell);
            seen.iter().enumerate().map(|(cell, &s)| (f64::from(s) - expected(cell)).powi(2) / expected(cell)).sum()
        };
        let mut pairs = [0_u32; 30];
        let mut runs = [0_u32; 11];
        for _ in 0..n {
            let (one, two) = stream.below_both(6, 5);
            pairs[(one * 5 + two) as usize] += 1;
            runs[stream.run_of_exp().min(10) as usize] += 1;
        }
        let even = chi(&pairs, &|_| 1.0 / 30.0);
        assert!(even < 83.4, "{even}");
        let e = f64::exp(-1.0);
        let geometric = chi(&runs, &|run| e.powi(run as i32) * if run < 10 { 1.0 - e } else { 1.0 });
        assert!(geometric < 48.7, "{geometric}");
    }

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
