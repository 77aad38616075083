//! The sampler against the exact distribution. Each chi-square test fails by chance once in 10⁶
//! runs, and each is shown to reject a sampler whose scale is 10 % off (a 20,000-sample test
//! expects a statistic near 400 there; the critical value is near 80).

use super::*;
use crate::{AdditiveNoise, Delta, Noise};
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};

const SAMPLES: usize = 20_000;

/// Exact probabilities of the cells between `edges` (and the two outside), by summation of the mass
/// function.
fn cells(sigma: f64, edges: &[i64]) -> Vec<f64> {
    let reach = (12.0 * sigma).ceil() as i64 + 10;
    let mut masses = vec![0.0; edges.len() + 1];
    for x in -reach..=reach {
        let cell = edges.partition_point(|&edge| edge <= x);
        masses[cell] += (-(x as f64 / sigma).powi(2) / 2.0).exp();
    }
    let total: f64 = masses.iter().sum();
    masses.iter().map(|mass| mass / total).collect()
}

/// Twenty-odd edges within ±2.5σ, without repeats.
fn edges(sigma: f64) -> Vec<i64> {
    let mut edges: Vec<i64> = (-10..=10).map(|i| (f64::from(i) * sigma / 4.0).round() as i64).collect();
    edges.dedup();
    edges
}

/// Upper 10⁻⁶ point of chi-square (Wilson, Hilferty 1931; z = 4.7534).
fn critical(freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + 4.7534 * spread.sqrt()).powi(3)
}

fn fits(samples: impl Iterator<Item = i128>, sigma: f64) -> bool {
    let edges = edges(sigma);
    let expected = cells(sigma, &edges);
    let mut seen = vec![0.0; expected.len()];
    let mut count = 0.0;
    for sample in samples {
        seen[edges.partition_point(|&edge| i128::from(edge) <= sample)] += 1.0;
        count += 1.0;
    }
    let statistic: f64 = seen.iter().zip(&expected).map(|(seen, p)| (seen - count * p).powi(2) / (count * p)).sum();
    statistic < critical(expected.len() as f64 - 1.0)
}

#[test]
fn samples_follow_the_exact_law_and_ten_percent_off_is_caught() {
    let mut stream = Noise::from_os().stream().unwrap();
    for (a, b) in [(3_u128, 2_u128), (1, 4), (100, 1), (1 << 40, 1), (7_340_032, 1 << 16)] {
        let sigma = (a as f64 / b as f64).sqrt();
        let gaussian = Gaussian::with_variance(a, b).unwrap();
        assert!(fits((0..SAMPLES).map(|_| gaussian.sample(&mut stream)), sigma), "σ² = {a}/{b}");
    }
    for (a, b) in [(3_u128, 2_u128), (100, 1), (1 << 40, 1)] {
        let sigma = (a as f64 / b as f64).sqrt();
        for percent in [90_u128, 110] {
            let mutant = Gaussian::with_variance(a * percent * percent, b * 10_000).unwrap();
            assert!(!fits((0..SAMPLES).map(|_| mutant.sample(&mut stream)), sigma), "σ² = {a}/{b} at {percent} %");
        }
    }
}

/// The same moments as the continuous normal at the largest supported σ: five standard errors each.
#[test]
fn largest_sigma_has_the_moments_of_the_normal() {
    let sigma = f64::from(1 << 27);
    let gaussian = Gaussian::with_variance(1 << 54, 1).unwrap();
    let mut stream = Noise::from_os().stream().unwrap();
    let n = 20_000;
    let moments = |draw: &mut dyn FnMut() -> f64| {
        let (sum, squares) = (0..n).fold((0.0, 0.0), |(s, q), _| {
            let x = draw();
            (s + x, q + x * x)
        });
        (sum / f64::from(n), squares / f64::from(n))
    };
    let normal = Normal::new(0.0, sigma).unwrap();
    let mut float_bits = rand::rngs::ChaCha20Rng::try_from_rng(&mut rand::rngs::SysRng).unwrap();
    let (mean, square) = moments(&mut || gaussian.sample(&mut stream) as f64);
    let (float_mean, float_square) = moments(&mut || normal.sample(&mut float_bits));
    let root = f64::from(n).sqrt();
    assert!((mean - float_mean).abs() < 5.0 * sigma * 2_f64.sqrt() / root);
    assert!((square - float_square).abs() < 5.0 * sigma * sigma * 2.0 / root);
}

#[test]
fn scale_is_rounded_up_and_hardly() {
    for delta in [1_u128, 3, 80 * 80 * 53, 1 << 50] {
        for rho in [0.5, 0.1, 1e-3, 0.499_999_999_9, 3.0] {
            let Ok(gaussian) = Gaussian::for_sensitivity(delta, Rho::new(rho).unwrap()) else {
                assert!(delta as f64 / (2.0 * rho) > 2_f64.powi(54));
                continue;
            };
            let (a, b) = gaussian.variance();
            let ratio = a as f64 / b as f64 * (2.0 * rho) / delta as f64;
            assert!((1.0 - 1e-15..1.0 + 1e-9).contains(&ratio), "{delta} {rho}: {ratio}");
        }
    }
    // 1/(2·0.5) is exactly one; 1/(2·0.1) must not come out below five, whatever 0.1 is in binary.
    let half = Gaussian::for_sensitivity(1, Rho::new(0.5).unwrap()).unwrap();
    assert_eq!(half.variance(), (1, 1));
}

#[test]
fn unsupported_scales_are_refused() {
    assert!(Gaussian::with_variance((1 << 54) + 1, 1).is_err());
    assert!(Gaussian::with_variance(1, 0).is_err());
    assert!(Gaussian::for_sensitivity(0, Rho::new(1.0).unwrap()).is_err());
    assert!(Gaussian::for_sensitivity(1 << 100, Rho::new(1.0).unwrap()).is_err());
    assert!(Gaussian::for_sensitivity(1, Rho::new(1e300).unwrap()).is_err());
    assert!(Gaussian::for_sensitivity(1, Rho::new(1e-300).unwrap()).is_err());
}

/// Against the exact tail by summation: an upper bound, and the quantile within one of the smallest
/// for moderate σ.
#[test]
fn tail_is_bounded_from_above_and_tightly() {
    for sigma in [0.5, 1.0, 3.0, 10.0, 31.0, 40.0, 300.0] {
        let gaussian = Gaussian::with_variance((sigma * sigma * 4.0) as u128, 4).unwrap();
        let mass = |x: i64| (-(x as f64 / sigma).powi(2) / 2.0).exp();
        let reach = (40.0 * sigma) as i64 + 10;
        let total: f64 = (-reach..=reach).map(mass).sum();
        for delta in [1e-3, 1e-6, 1e-9, 1e-12] {
            let q = AdditiveNoise::from(gaussian).tail_quantile(Delta::new(delta).unwrap());
            let exact = |q: i64| (q..=reach).rev().map(mass).sum::<f64>() / total;
            assert!(exact(q) <= delta, "{sigma} {delta}");
            assert!(exact(q - 2 - (sigma / 100.0) as i64) > delta, "{sigma} {delta}: {q} is not the smallest");
        }
    }
}

/// Discrete Laplace of scale 5/2: the probability of each |x| ≤ 12, at a false-failure rate of
/// 10⁻⁶.
#[test]
fn laplace_follows_the_exact_law_and_ten_percent_off_is_caught() {
    let mut stream = Noise::from_os().stream().unwrap();
    let ratio = f64::exp(-0.4);
    let statistic = |laplace: crate::DiscreteLaplace, stream: &mut NoiseStream| {
        let mut seen = [0.0; 26];
        for _ in 0..SAMPLES {
            let x = laplace.sample(stream);
            seen[if x.abs() > 12 { 25 } else { (x + 12) as usize }] += 1.0;
        }
        let mut p: Vec<f64> = (-12_i32..=12).map(|x| (1.0 - ratio) / (1.0 + ratio) * ratio.powi(x.abs())).collect();
        p.push(1.0 - p.iter().sum::<f64>());
        let n = SAMPLES as f64;
        seen.iter().zip(&p).map(|(seen, p)| (seen - n * p).powi(2) / (n * p)).sum::<f64>()
    };
    // Small and large numbers, which are drawn in different ways.
    for unit in [1, 3_u64.pow(20)] {
        let right = crate::DiscreteLaplace::with_scale(5 * unit, 2 * unit).unwrap();
        assert!(statistic(right, &mut stream) < critical(25.0));
    }
    for mutant in [9, 11] {
        let mutant = crate::DiscreteLaplace::with_scale(5 * mutant, 20).unwrap();
        assert!(statistic(mutant, &mut stream) > critical(25.0));
    }
}
