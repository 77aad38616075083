//! Exact confidence bounds of a binomial proportion.
//!
//! Source: Clopper, Pearson 1934. Each bound is the p at which seeing so many (so few) has probability `alpha`, by bisection on the
//! binomial tail; bisection ends on the side that makes the interval wider.

/// ln(n!), by Stirling's series with four terms above 64 (relative error below 1e-15) and by summing below.
fn ln_factorial(n: u64) -> f64 {
    if n <= 64 {
        return (2..=n).map(|k| (k as f64).ln()).sum();
    }
    let x = n as f64 + 1.0;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5)) - 1.0 / (1680.0 * x.powi(7));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

/// P[X ≥ k] for X ~ Binomial(n, p), 0 < p < 1.
pub fn upper_tail(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    let choose = |k: u64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let mass = |k: u64| (choose(k) + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p()).exp();
    // Away from the mode the terms fall fast: sum until they no longer count, from the larger ones on.
    let mode = (n as f64 * p) as u64;
    if k > mode { falling(k, n, mass) } else { 1.0 - falling_down(k - 1, mass) }
}

fn falling(from: u64, to: u64, mass: impl Fn(u64) -> f64) -> f64 {
    let mut sum = 0.0;
    for k in from..=to {
        let term = mass(k);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

fn falling_down(from: u64, mass: impl Fn(u64) -> f64) -> f64 {
    let mut sum = 0.0;
    for k in (0..=from).rev() {
        let term = mass(k);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

/// The proportion is at least this, except with probability `alpha`.
pub fn lower_bound(seen: u64, of: u64, alpha: f64) -> f64 {
    if seen == 0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if upper_tail(seen, of, middle) < alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The proportion is at most this, except with probability `alpha`.
pub fn upper_bound(seen: u64, of: u64, alpha: f64) -> f64 {
    1.0 - lower_bound(of - seen, of, alpha)
}

#[test]
fn bounds_are_those_of_the_tables() {
    // scipy.stats.beta.ppf: (0.025, 5, 6), (0.975, 6, 5), (0.025, 50, 951).
    for (seen, of, low, high) in [(5, 10, 0.187_086, 0.812_914), (50, 1000, 0.037_341, 0.065_390)] {
        assert!((lower_bound(seen, of, 0.025) - low).abs() < 2e-5, "{}", lower_bound(seen, of, 0.025));
        assert!((upper_bound(seen, of, 0.025) - high).abs() < 2e-5, "{}", upper_bound(seen, of, 0.025));
    }
    // Nothing seen among n: 1 − alpha^(1/n).
    let none = upper_bound(0, 10_000, 1e-7);
    assert!((none - (1.0 - 1e-7_f64.powf(1e-4))).abs() < 1e-12, "{none}");
    assert_eq!(lower_bound(0, 10, 0.1), 0.0);
}
