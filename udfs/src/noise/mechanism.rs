//! The two additive mechanisms: what one measurement is noised with, and what that costs.
//!
//! In: how far one person moves a measurement, and the part of a statement's price that it gets. Out: exact integer noise. Must
//! never: round a scale down, or give a tail that is too light.
//!
//! **Gaussian** ρ-zCDP for σ² = Δ₂²/(2ρ): many measurements and many groups a person add up slowly. **Laplace** ε-DP without any
//! δ for scale Δ₁/ε: the least noise where a budget is spent on few numbers.
//! **Source** Canonne, Kamath, Steinke 2020; Dwork, McSherry, Nissim, Smith 2006, "Calibrating Noise to Sensitivity in Private Data
//! Analysis".

use super::{DiscreteLaplace, Gaussian, NoiseStream};
use crate::accounting::{Delta, Epsilon, InvalidParameter, Rho};
use crate::normal::normal_quantile;

/// The law of a release's noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mechanism {
    /// The discrete Gaussian; its price is a ρ.
    #[default]
    Gaussian,
    /// The discrete Laplace; its price is an ε.
    Laplace,
}

/// How far one person moves a measurement, in lattice steps: by at most `reach` in each of at most `times` numbers of it (the
/// groups they are in, and the levels of a tree).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sensitivity {
    pub reach: u64,
    pub times: u64,
}

/// What one measurement is noised with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdditiveNoise {
    Gaussian(Gaussian),
    Laplace(DiscreteLaplace),
}

impl Mechanism {
    pub const ALL: [Self; 2] = [Self::Gaussian, Self::Laplace];

    /// In lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::Laplace => "laplace",
        }
    }

    /// Case does not matter.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// The noise of a measurement that gets `part` of the price: a ρ of the Gaussian, an ε of the Laplace mechanism. Errors: a price
    /// or a sensitivity outside what can be drawn exactly.
    pub fn noise(self, sensitivity: Sensitivity, part: f64) -> Result<AdditiveNoise, InvalidParameter> {
        let unsupported = || InvalidParameter::new("sensitivity", "small enough to be drawn exactly");
        match self {
            Self::Gaussian => {
                let squared = sensitivity.l2_squared().ok_or_else(unsupported)?;
                Gaussian::for_sensitivity(squared, Rho::new(part)?).map(AdditiveNoise::Gaussian)
            }
            Self::Laplace => {
                let l1 = sensitivity.l1().ok_or_else(unsupported)?;
                DiscreteLaplace::for_sensitivity(l1, Epsilon::new(part)?).map(AdditiveNoise::Laplace)
            }
        }
    }

    /// How many standard deviations to either side hold `level` of the noise, also of sums of several independent numbers.
    ///
    /// Of Laplace noise the wider of its own quantile, ln(1/(1 − level))/√2, and the normal one: a sum of several lies between the
    /// two (at the level where they cross, near 0.91, it may be a thousandth of a standard deviation beyond).
    pub fn deviations(self, level: f64) -> f64 {
        let normal = normal_quantile(0.5 + level / 2.0);
        match self {
            Self::Gaussian => normal,
            Self::Laplace => normal.max(-(-level).ln_1p() / std::f64::consts::SQRT_2),
        }
    }
}

impl Sensitivity {
    /// Δ₁, where it fits.
    pub fn l1(&self) -> Option<u64> {
        self.reach.checked_mul(self.times)
    }

    /// Δ₂², where it fits.
    pub fn l2_squared(&self) -> Option<u128> {
        let reach = u128::from(self.reach);
        reach.checked_mul(reach)?.checked_mul(u128::from(self.times))
    }
}

impl From<Gaussian> for AdditiveNoise {
    fn from(gaussian: Gaussian) -> Self {
        Self::Gaussian(gaussian)
    }
}

impl From<DiscreteLaplace> for AdditiveNoise {
    fn from(laplace: DiscreteLaplace) -> Self {
        Self::Laplace(laplace)
    }
}

impl AdditiveNoise {
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::Gaussian(_) => Mechanism::Gaussian,
            Self::Laplace(_) => Mechanism::Laplace,
        }
    }

    /// Of the noise: never below it, and hardly above it where it is of several units.
    pub fn std_dev(&self) -> f64 {
        match self {
            Self::Gaussian(gaussian) => gaussian.std_dev(),
            Self::Laplace(laplace) => laplace.std_dev(),
        }
    }

    /// One exact sample.
    pub fn sample(&self, stream: &mut NoiseStream) -> i128 {
        #[cfg(feature = "mutants")]
        if crate::mutants::Mutant::HalfNoise.lives() {
            return self.draw(stream) / 2;
        } else if crate::mutants::Mutant::SharedNoise.lives() {
            let known = stream.shared.get(self).copied();
            let sample = known.unwrap_or_else(|| self.draw(stream));
            return *stream.shared.entry(*self).or_insert(sample);
        }
        self.draw(stream)
    }

    fn draw(&self, stream: &mut NoiseStream) -> i128 {
        match self {
            Self::Gaussian(gaussian) => gaussian.sample(stream),
            Self::Laplace(laplace) => laplace.sample(stream),
        }
    }

    /// An upper bound of P[N ≥ q] for q ≥ 0, and hardly above it.
    pub fn upper_tail(&self, q: i64) -> f64 {
        match self {
            Self::Gaussian(gaussian) => gaussian.upper_tail(q),
            Self::Laplace(laplace) => laplace.upper_tail(q),
        }
    }

    /// An upper bound of P[N + N′ ≥ q] for q ≥ 0 and two independent draws, and hardly above it.
    pub fn upper_tail_of_two(&self, q: i64) -> f64 {
        match self {
            Self::Gaussian(gaussian) => gaussian.upper_tail_of_two(q),
            Self::Laplace(laplace) => laplace.upper_tail_of_two(q),
        }
    }

    /// The smallest q ≥ 0 for which [`Self::upper_tail`] is at most δ: so P[N ≥ q] ≤ δ, never optimistically.
    pub fn tail_quantile(&self, delta: Delta) -> i64 {
        smallest(|q| self.upper_tail(q) <= delta.get())
    }

    /// The same of two independent draws together: P[N + N′ ≥ q] ≤ δ.
    pub fn tail_quantile_of_two(&self, delta: Delta) -> i64 {
        smallest(|q| self.upper_tail_of_two(q) <= delta.get())
    }
}

/// The smallest q ≥ 0 from which on `holds`.
fn smallest(holds: impl Fn(i64) -> bool) -> i64 {
    let (mut low, mut high) = (-1_i64, 1_i64);
    while !holds(high) {
        low = high;
        high *= 2;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALES: [(u64, u64); 7] = [(1, 5), (1, 2), (1, 1), (7, 3), (20, 1), (1 << 20, 1), (1 << 40, 1)];

    fn laplace(numerator: u64, denominator: u64) -> DiscreteLaplace {
        DiscreteLaplace::with_scale(numerator, denominator).unwrap()
    }

    /// P[|N| ≤ h] of the discrete Laplace: 1 − 2r^(h+1)/(1 + r) with r = exp(−1/scale).
    fn covered((numerator, denominator): (u64, u64), h: f64) -> f64 {
        let inverse = denominator as f64 / numerator as f64;
        1.0 - 2.0 * (-(h + 1.0) * inverse).exp() / (1.0 + (-inverse).exp())
    }

    /// The interval that answers get around a number: as many whole units as [`Mechanism::deviations`] says, less the half that the
    /// number itself covers.
    #[test]
    fn an_interval_of_laplace_noise_holds_its_level_and_the_normal_one_would_not() {
        let half = |z: f64, scale: (u64, u64)| (z * laplace(scale.0, scale.1).std_dev() - 0.5).ceil().max(0.0);
        for level in [0.5, 0.8, 0.9, 0.95, 0.99, 0.999] {
            for scale in SCALES {
                let reached = covered(scale, half(Mechanism::Laplace.deviations(level), scale));
                assert!(reached >= level - 1e-9, "{level} {scale:?}: {reached}");
            }
        }
        let wide = (1 << 20, 1);
        assert!(covered(wide, half(Mechanism::Gaussian.deviations(0.99), wide)) < 0.98);
    }

    /// A sum of two Laplace numbers of the same scale b: P[|S| > t] = exp(−t/b)(1 + t/2b), with a standard deviation of 2b.
    #[test]
    fn an_interval_of_a_sum_of_two_holds_its_level() {
        for level in [0.5, 0.8, 0.9, 0.95, 0.99, 0.999] {
            let z = Mechanism::Laplace.deviations(level);
            let outside = (-2.0 * z).exp() * (1.0 + z);
            assert!(outside <= (1.0 - level) + 3e-4, "{level}: {outside}");
        }
    }

    #[test]
    fn the_tail_of_laplace_noise_is_its_own() {
        for scale in SCALES {
            let noise = AdditiveNoise::from(laplace(scale.0, scale.1));
            for delta in [0.1, 1e-3, 1e-9, 1e-15] {
                let q = noise.tail_quantile(Delta::new(delta).unwrap());
                // The tail beyond q on one side is half of what lies outside ±(q − 1).
                let beyond = |q: i64| {
                    let inverse = scale.1 as f64 / scale.0 as f64;
                    (-(q as f64) * inverse).exp() / (1.0 + (-inverse).exp())
                };
                assert!(beyond(q) <= delta, "{scale:?} {delta}");
                assert!(q == 0 || beyond(q - 1) > delta * (1.0 - 1e-8), "{scale:?} {delta}: {q} is not the smallest");
            }
        }
    }

    /// P[N = x] for x from −`most` to `most`.
    fn law(noise: &AdditiveNoise, most: i64) -> Vec<f64> {
        let of = |x: i64| match noise {
            AdditiveNoise::Gaussian(gaussian) => (-0.5 * (x as f64 / gaussian.std_dev()).powi(2)).exp(),
            AdditiveNoise::Laplace(laplace) => (-(x as f64).abs() / laplace.scale()).exp(),
        };
        let all: f64 = (-most..=most).map(of).sum();
        (-most..=most).map(|x| of(x) / all).collect()
    }

    /// No sample: the laws of both are added up. One draw's tail, or that of a normal sum under Laplace noise, would be too light.
    #[test]
    fn the_tail_of_two_draws_is_never_below_and_hardly_above_that_of_their_sum() {
        let scales = [(1, 5), (1, 2), (9, 10), (1, 1), (11, 10), (7, 3), (20, 1), (60, 1)];
        for (scale, mechanism) in scales.iter().flat_map(|scale| Mechanism::ALL.map(|mechanism| (scale, mechanism))) {
            let (a, b) = *scale;
            let noise: AdditiveNoise = match mechanism {
                Mechanism::Gaussian => Gaussian::with_variance(u128::from(a * a), u128::from(b * b)).unwrap().into(),
                Mechanism::Laplace => laplace(a, b).into(),
            };
            let most = 40 * (1 + a as i64 / b as i64);
            let law = law(&noise, most);
            // P[N ≥ x − most] at x.
            let mut beyond: Vec<f64> = law
                .iter()
                .rev()
                .scan(0.0, |sum, p| {
                    *sum += p;
                    Some(*sum)
                })
                .collect();
            beyond.reverse();
            let at = |x: i64| if x <= -most { 1.0 } else { beyond.get((x + most) as usize).copied().unwrap_or(0.0) };
            for q in 0..=most {
                let exact: f64 = law.iter().zip(-most..).map(|(p, x)| p * at(q - x)).sum();
                let tail = noise.upper_tail_of_two(q);
                assert!(tail >= exact * (1.0 - 1e-12), "{mechanism:?} {a}/{b} {q}: {tail} for {exact}");
                let room = match mechanism {
                    // The one bound for odd sums is that of even ones, which are many more then.
                    Mechanism::Gaussian if a < b => f64::INFINITY,
                    Mechanism::Gaussian if a > 20 * b => 1.3,
                    Mechanism::Gaussian | Mechanism::Laplace => 1.002,
                };
                assert!(exact < 1e-13 || tail <= exact * room, "{mechanism:?} {a}/{b} {q}: {tail} for {exact}");
            }
            let delta = 1e-9;
            let q = noise.tail_quantile_of_two(Delta::new(delta).unwrap());
            assert!(noise.upper_tail_of_two(q) <= delta && noise.upper_tail_of_two(q - 1) > delta);
            assert!(a < b || q > noise.tail_quantile(Delta::new(delta).unwrap()));
        }
        // Wide noise: as the continuous laws have it, exp(−x)·(1 + x/2)/2 and the normal one.
        let wide = AdditiveNoise::from(laplace(1 << 40, 1));
        let (x, scale) = (20.0_f64, (1_u64 << 40) as f64);
        let expected = (-x).exp() * (1.0 + x / 2.0) / 2.0;
        assert!((wide.upper_tail_of_two((x * scale) as i64) / expected - 1.0).abs() < 1e-6);
        let wide = Gaussian::with_variance(1 << 50, 1).unwrap();
        let doubled = Gaussian::with_variance(1 << 51, 1).unwrap();
        for q in [0, 1 << 26, 1 << 28] {
            assert!((wide.upper_tail_of_two(q) / doubled.upper_tail(q) - 1.0).abs() < 1e-8);
        }
    }

    #[test]
    fn a_measurement_costs_by_its_mechanism() {
        let sensitivity = Sensitivity { reach: 3, times: 4 };
        let gaussian = Mechanism::Gaussian.noise(sensitivity, 0.5).unwrap();
        assert!((gaussian.std_dev() - 6.0).abs() < 1e-6, "Δ₂² = 36, σ² = 36");
        let laplace = Mechanism::Laplace.noise(sensitivity, 0.5).unwrap();
        let AdditiveNoise::Laplace(law) = laplace else { panic!("{laplace:?}") };
        assert!(law.scale() >= 24.0 && law.scale() < 24.000_01, "Δ₁ = 12, scale 24");
        assert!(Mechanism::Laplace.noise(Sensitivity { reach: u64::MAX, times: 2 }, 0.5).is_err());
        assert!(Mechanism::Gaussian.noise(sensitivity, 0.0).is_err());
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::by_name(&mechanism.name().to_uppercase()), Some(mechanism));
        }
        assert_eq!(Mechanism::by_name("none"), None);
    }
}
