//! Shares: of two disjoint noised counts, the one that fits over both.
//!
//! In: the noised numbers of rows that do not fit and of those that do, with the same standard deviation, independent of each other.
//! Out: the share, its standard error by the delta method, Var(f/(f + u)) ≈ σ²·((1 − θ)² + θ²) / (f + u)², and an interval after
//! Fieller: those θ for which f − θ·(f + u) = (1 − θ)·f − θ·u is within z standard deviations σ·√((1 − θ)² + θ²) of zero. All within
//! [0, 1]. Must never: see an exact count.
//!
//! **Law** for the true θ that number has mean zero, whatever the size of the group, so that the interval covers θ with the level's
//! probability. Half a unit more covers the steps of integers. Where both counts may be zero the interval has no ends but 0 and 1.
//! **Source** Fieller 1954, "Some Problems in Interval Estimation", with the covariance σ² of f and f + u.

#[derive(Debug, Clone, Copy)]
pub(crate) struct TwoCounts {
    pub others: f64,
    pub fits: f64,
    /// Of either.
    pub sigma: f64,
}

impl TwoCounts {
    fn all(&self) -> f64 {
        self.fits + self.others
    }

    /// The share and its standard error; nothing where both counts are below 1 together.
    pub(crate) fn share(&self) -> Option<(f64, f64)> {
        if self.all() < 1.0 {
            return None;
        }
        let share = (self.fits / self.all()).clamp(0.0, 1.0);
        Some((share, self.sigma * share.hypot(1.0 - share) / self.all()))
    }

    /// The ends of the interval at `z`.
    pub(crate) fn interval(&self, z: f64) -> (f64, f64) {
        let (f, u, all) = (self.fits, self.others, self.all());
        let reach = z * self.sigma + 0.5;
        let square = reach * reach;
        // (f − θ·all)² ≤ reach²·((1 − θ)² + θ²): (all² − 2·reach²)·θ² − 2·(f·all − reach²)·θ + (f² − reach²) ≤ 0.
        let leading = all * all - 2.0 * square;
        if all < 1.0 || leading <= 0.0 {
            return (0.0, 1.0);
        }
        // Above zero: f² + u² is at least all² / 2.
        let half = reach * (f * f + u * u - square).max(0.0).sqrt();
        let middle = f * all - square;
        let end = |top: f64| (top / leading).clamp(0.0, 1.0);
        (end(middle - half), end(middle + half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdditiveNoise, DiscreteLaplace, Gaussian, Mechanism};

    #[test]
    fn ends_are_where_the_difference_is_z_deviations_away() {
        for (fits, others) in [(120.0, 300.0), (300.0, 120.0), (200.0, 210.0)] {
            let counts = TwoCounts { others, fits, sigma: 20.0 };
            for z in [0.5, 1.0, 1.96, 2.6] {
                let (low, high) = counts.interval(z);
                for end in [low, high] {
                    let away = ((1.0 - end) * fits - end * others).abs() / (z * 20.0 + 0.5) / end.hypot(1.0 - end);
                    assert!((away - 1.0).abs() < 1e-9, "{fits} {z}: {end} {away}");
                }
                let (share, _) = counts.share().unwrap();
                assert!(low < share && share < high);
            }
        }
    }

    #[test]
    fn where_all_may_be_zero_nothing_is_known() {
        let counts = |others: f64, fits: f64| TwoCounts { others, fits, sigma: 20.0 };
        assert_eq!(counts(20.0, 30.0).interval(1.96), (0.0, 1.0));
        assert_eq!(counts(-600.0, 20.0).interval(1.96), (0.0, 1.0));
        assert_eq!(counts(-600.0, 20.0).share(), None);
        assert_eq!(counts(-20.0, 620.0).share(), Some((1.0, 20.0 / 600.0)));
        assert_eq!(counts(620.0, -20.0).share(), Some((0.0, 20.0 / 600.0)));
        assert_eq!(counts(1_000.0, -400.0).interval(1.96), (0.0, 0.0), "an end beyond is at the edge");
    }

    /// P[N = k] for k from −`most`.
    fn law(mechanism: Mechanism, scale: f64, most: i64) -> Vec<f64> {
        let of = |k: i64| match mechanism {
            Mechanism::Gaussian => (-0.5 * (k as f64 / scale).powi(2)).exp(),
            Mechanism::Laplace => (-(k as f64).abs() / scale).exp(),
        };
        let all: f64 = (-most..=most).map(of).sum();
        (-most..=most).map(|k| of(k) / all).collect()
    }

    /// P[|(1 − θ)·N − θ·N′| ≤ reach·√((1 − θ)² + θ²)] for independent noises: how often the interval covers θ.
    fn covered(law: &[f64], share: f64, reach: f64) -> f64 {
        let (most, bound) = (law.len() as i64 / 2, reach * share.hypot(1.0 - share) + 1e-12);
        let numbered = || law.iter().zip(-most..);
        let beside = |n: i64| {
            let within = numbered().filter(|(_, k)| ((1.0 - share) * n as f64 - share * *k as f64).abs() <= bound);
            within.map(|(chance, _)| chance).sum::<f64>()
        };
        numbered().map(|(chance, n)| chance * beside(n)).sum()
    }

    /// No sample: the laws of both noises are added up. An interval that forgot one of the two would cover less.
    #[test]
    fn every_share_is_covered_at_the_level() {
        for (mechanism, scale) in Mechanism::ALL.into_iter().flat_map(|m| [1, 2, 7, 20, 60].map(|tenths| (m, tenths))) {
            let noise: AdditiveNoise = match mechanism {
                Mechanism::Gaussian => Gaussian::with_variance(scale * scale, 100).unwrap().into(),
                Mechanism::Laplace => DiscreteLaplace::with_scale(scale as u64, 10).unwrap().into(),
            };
            let scale = scale as f64 / 10.0;
            let law = law(mechanism, scale, (20.0 * scale) as i64 + 20);
            for level in [0.5, 0.8, 0.9, 0.95, 0.99] {
                let reach = mechanism.deviations(level) * noise.std_dev() + 0.5;
                for share in (0..=20).map(|i| i as f64 / 20.0) {
                    let held = covered(&law, share, reach);
                    assert!(held >= level - 1e-9, "{mechanism:?} {scale} {level} {share}: {held}");
                }
            }
        }
        let (gaussian, sigma) = (law(Mechanism::Gaussian, 6.0, 90), 6.0);
        let one_noise = (1.96 * sigma + 0.5) / std::f64::consts::SQRT_2;
        assert!(covered(&gaussian, 0.5, one_noise) < 0.9, "the test can fail");
    }
}
