//! Ratios of two noised sums: means.
//!
//! In: numerator and denominator with their standard deviations, independent of each other. Out: the ratio, its standard error by
//! the delta method, Var(s/c) ≈ (σ_s² + (s/c)²·σ_c²) / c², and the interval after Fieller: those θ for which s − θ·c is within z
//! standard deviations of zero. Must never: see an exact sum.
//!
//! **Law** s − θ·c is normal with mean zero for the true θ, so that the interval covers it with the level's probability whatever
//! the size of the group; where the denominator may be zero the interval has no end, and the caller's bounds are its ends.
//! **Source** Fieller 1954, "Some Problems in Interval Estimation".

/// A noised integer and the standard deviation of its noise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noised {
    pub value: f64,
    pub sigma: f64,
}

/// `s / c` and its standard error; nothing where the noised denominator is below 1.
pub(crate) fn ratio(s: Noised, c: Noised) -> Option<(f64, f64)> {
    if c.value < 1.0 {
        return None;
    }
    let ratio = s.value / c.value;
    Some((ratio, s.sigma.hypot(ratio * c.sigma) / c.value))
}

/// The ends of Fieller's interval at `z`.
pub(crate) fn interval(s: Noised, c: Noised, z: f64) -> (f64, f64) {
    let part = (z * c.sigma / c.value).powi(2);
    if c.value < 1.0 || part >= 1.0 {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    // (c² − z²σ_c²)·θ² − 2sc·θ + (s² − z²σ_s²) ≤ 0, everything over c².
    // The numerator is an integer: half of one more, so that noise of a few units is covered.
    let (ratio, width) = (s.value / c.value, (z * s.sigma + 0.5) / c.value);
    let square = (ratio * ratio - (1.0 - part) * (ratio * ratio - width * width)).max(0.0);
    let (middle, half) = (ratio / (1.0 - part), square.sqrt() / (1.0 - part));
    (middle - half, middle + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_where_the_numerator_is_z_deviations_away() {
        let (s, c) = (Noised { value: 120.0, sigma: 30.0 }, Noised { value: 40.0, sigma: 5.0 });
        for z in [0.5, 1.0, 1.96, 2.6] {
            let (low, high) = interval(s, c, z);
            for end in [low, high] {
                let away = (s.value - end * c.value).abs() / (z * s.sigma + 0.5).hypot(z * end * c.sigma);
                assert!((away - 1.0).abs() < 1e-9, "{z}");
            }
            assert!(low < 3.0 && 3.0 < high);
        }
        assert_eq!(interval(s, Noised { value: 9.0, sigma: 5.0 }, 1.96), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(interval(s, Noised { value: -40.0, sigma: 5.0 }, 1.96).1, f64::INFINITY);
    }
}
