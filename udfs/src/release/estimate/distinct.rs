//! The number of distinct values, from several noised counts under different bounds on a person's part.
//!
//! In: D(ℓ) noised, with its standard deviation, for each ℓ. Out: the D(ℓ) whose lower confidence limit is the highest, its standard
//! error, and an interval. Every D(ℓ) is at most the true number, so the choice trades what the bound hides against noise. Must
//! never: see an exact count.
//!
//! **Law** the interval is of the bounded count D(ℓ) that was chosen. It holds for all ℓ at once (Bonferroni), since the choice looks
//! at the noise: conservative where several bounds were tried. **Source** Knop, Steinke 2023, section 4 (choice of ℓ).

use super::ratio::Noised;

/// Standard deviations that a bound must be better by: one choice in thirty thousand is luck. A looser bound that is chosen by luck
/// is off by that many of its own, much larger, standard deviations.
const CAUTION: f64 = 4.0;

/// The index of the chosen bound.
pub(crate) fn choice(counts: &[Noised]) -> Option<usize> {
    let limit = |count: &Noised| count.value - CAUTION * count.sigma;
    (0..counts.len()).max_by(|a, b| limit(&counts[*a]).total_cmp(&limit(&counts[*b])).then(b.cmp(a)))
}

/// The interval of the chosen count, `z` standard deviations to either side: so many that all counts are within theirs at once.
pub(crate) fn interval(chosen: Noised, z: f64) -> (f64, f64) {
    let reach = (z * chosen.sigma - 0.5).ceil().max(0.0);
    ((chosen.value - reach).max(0.0), (chosen.value + reach).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::noise::Mechanism;

    fn of(counts: [(f64, f64); 4]) -> Vec<Noised> {
        counts.map(|(value, sigma)| Noised { value, sigma }).to_vec()
    }

    #[test]
    fn a_looser_bound_must_be_worth_its_noise() {
        assert_eq!(choice(&of([(100.0, 1.0), (101.0, 4.0), (99.0, 16.0), (140.0, 64.0)])), Some(0));
        assert_eq!(choice(&of([(100.0, 1.0), (380.0, 4.0), (390.0, 16.0), (400.0, 64.0)])), Some(1));
        assert_eq!(choice(&of([(100.0, 1.0), (400.0, 4.0), (1600.0, 16.0), (6400.0, 64.0)])), Some(3));
        assert_eq!(choice(&of([(5.0, 1.0); 4])), Some(0));
        assert_eq!(choice(&[]), None);
    }

    #[test]
    fn one_bound_has_the_plain_interval() {
        let one = Noised { value: 50.0, sigma: 10.0 };
        let level = Level::new(0.95, Mechanism::Gaussian);
        assert_eq!(interval(one, level.of_each(1)), (30.0, 70.0));
        assert_eq!(interval(one, level.of_each(4)).1, 75.0);
    }
}
