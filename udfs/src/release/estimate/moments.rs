//! Variances, covariances and what is made of them, from noised first and second moments.
//!
//! In: noised sums of u, v, u², v², uv (values as they stand from the middle of their bounds) over one noised count. Out: a value,
//! and the ends of an interval. Must never: see an exact sum.
//!
//! **Law** first order, by the delta method over all sums and the count: exact where the noise is small beside the group. What the
//! first order leaves out is bounded and added: z² times the product of the means' standard errors for what is quadratic in a
//! mean, and a division by 1 − (the relative error of the denominator) for what is divided; where that reaches 1 nothing is known
//! and the ends are those of the range. So the interval is conservative in small groups and of the level's width in large ones.
//! Monotone functions (the root of a variance) keep the ends. **Source** Oehlert 1992, "A Note on the Delta Method".

use super::ratio::Noised;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    CovarPop,
    CovarSamp,
    Corr,
    Slope,
    Intercept,
    R2,
}

/// The mean of a quantity is `mid + step · sum / count`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub sum: Noised,
    pub mid: f64,
    pub step: f64,
}

/// x is the independent variable; u and v are x and y less the middle of their bounds, which lie `half` to either side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    pub kind: Moment,
    pub count: Noised,
    /// u, v, u², v², uv; those that the kind needs.
    pub parts: [Option<Part>; 5],
    pub mid: [f64; 2],
    pub half: [f64; 2],
}

const U: usize = 0;
const V: usize = 1;
const UU: usize = 2;
const VV: usize = 3;
const UV: usize = 4;

/// The means of the parts, and the count.
type Point = ([f64; 5], f64);

impl Moment {
    /// Which of u, v, u², v², uv it is made of.
    pub fn needs(self) -> [bool; 5] {
        match self {
            Self::VarPop | Self::VarSamp | Self::StddevPop | Self::StddevSamp => [true, false, true, false, false],
            Self::CovarPop | Self::CovarSamp => [true, true, false, false, true],
            Self::Slope | Self::Intercept => [true, true, true, false, true],
            Self::Corr | Self::R2 => [true; 5],
        }
    }
}

impl Moments {
    fn point(&self, sums: &[f64; 5], count: f64) -> Point {
        let mean = |i: usize| self.parts[i].map_or(0.0, |part| part.mid + part.step * sums[i] / count);
        ([mean(U), mean(V), mean(UU), mean(VV), mean(UV)], count)
    }

    fn here(&self) -> ([f64; 5], f64) {
        (self.parts.map(|part| part.map_or(0.0, |part| part.sum.value)), self.count.value)
    }

    /// Nothing where the noised count is too small, or a variance to divide by is not above zero.
    pub(crate) fn value(&self) -> Option<f64> {
        let (sums, count) = self.here();
        let least = match self.kind {
            Moment::VarSamp | Moment::StddevSamp | Moment::CovarSamp => 2.0,
            _ => 1.0,
        };
        if count < least {
            return None;
        }
        let point = self.point(&sums, count);
        let value = match self.kind {
            Moment::VarPop | Moment::VarSamp => variance(&point, U, UU).max(0.0) * self.of_sample(count),
            Moment::StddevPop | Moment::StddevSamp => (variance(&point, U, UU).max(0.0) * self.of_sample(count)).sqrt(),
            Moment::CovarPop | Moment::CovarSamp => covariance(&point) * self.of_sample(count),
            Moment::Corr => correlation(&point).clamp(-1.0, 1.0),
            Moment::R2 => correlation(&point).powi(2).min(1.0),
            Moment::Slope => slope(&point),
            Moment::Intercept => self.intercept(&point),
        };
        Some(value).filter(|value| value.is_finite())
    }

    /// The ends of the interval at `z`.
    pub(crate) fn interval(&self, z: f64) -> (f64, f64) {
        let root = |(low, high): (f64, f64)| (low.sqrt(), high.sqrt());
        match self.kind {
            Moment::VarPop | Moment::VarSamp => self.variance_interval(z),
            Moment::StddevPop | Moment::StddevSamp => root(self.variance_interval(z)),
            Moment::CovarPop | Moment::CovarSamp => self.covariance_interval(z),
            Moment::Corr => self.correlation_interval(z),
            Moment::R2 => {
                let (low, high) = self.correlation_interval(z);
                let least = if low <= 0.0 && high >= 0.0 { 0.0 } else { low.abs().min(high.abs()) };
                (least * least, low.abs().max(high.abs()).powi(2))
            }
            Moment::Slope => self.around(slope, self.slope_half(z)),
            Moment::Intercept => {
                let x = self.error_of_mean(U, z);
                let (sums, count) = self.here();
                let at = (self.mid[0] + self.point(&sums, count).0[U]).abs();
                let divided = 1.0 - self.relative(U, UU, z);
                let half = z * self.error(&|point| self.intercept(point)) / divided
                    + self.slope_rest(z) * at
                    + self.slope_half(z) * x;
                self.around(|point| self.intercept(point), if divided > 0.0 { half } else { f64::INFINITY })
            }
        }
    }

    fn variance_interval(&self, z: f64) -> (f64, f64) {
        let factor = self.of_sample(self.count.value);
        let most = self.half[0].powi(2) * factor;
        let half = self.half_width(&|point| variance(point, U, UU), [U, U], z);
        let (sums, count) = self.here();
        let value = variance(&self.point(&sums, count), U, UU);
        let end = |end: f64| if end.is_nan() { most } else { (end * factor).clamp(0.0, most) };
        (if half.is_finite() { end(value - half) } else { 0.0 }, end(value + half))
    }

    fn covariance_interval(&self, z: f64) -> (f64, f64) {
        let factor = self.of_sample(self.count.value);
        let most = self.half[0] * self.half[1] * factor;
        let (low, high) = self.around(covariance, self.half_width(&covariance, [U, V], z));
        ((low * factor).clamp(-most, most), (high * factor).clamp(-most, most))
    }

    fn correlation_interval(&self, z: f64) -> (f64, f64) {
        let (sums, count) = self.here();
        let point = self.point(&sums, count);
        let (x, y) = (variance(&point, U, UU), variance(&point, V, VV));
        let divided = (1.0 - self.relative(U, UU, z)) * (1.0 - self.relative(V, VV, z)).max(0.0);
        let (u, v) = (self.error_of_mean(U, z), self.error_of_mean(V, z));
        let rest = u * v / (x * y).sqrt() + correlation(&point).abs() * (u * u / x + v * v / y) / 2.0;
        let half = (z * self.error(&correlation) + rest) / divided;
        let (low, high) = self.around(correlation, if divided > 0.0 { half } else { f64::INFINITY });
        (low.clamp(-1.0, 1.0), high.clamp(-1.0, 1.0))
    }

    fn slope_half(&self, z: f64) -> f64 {
        let divided = 1.0 - self.relative(U, UU, z);
        let half = (z * self.error(&slope) + self.slope_rest(z)) / divided;
        if divided > 0.0 { half } else { f64::INFINITY }
    }

    /// What is quadratic in the means, over the variance.
    fn slope_rest(&self, z: f64) -> f64 {
        let (sums, count) = self.here();
        let point = self.point(&sums, count);
        let (u, v) = (self.error_of_mean(U, z), self.error_of_mean(V, z));
        (u * v + slope(&point).abs() * u * u) / variance(&point, U, UU)
    }

    /// `half` to either side of the value of `f`, and no ends where that is unknown.
    fn around(&self, f: impl Fn(&Point) -> f64, half: f64) -> (f64, f64) {
        let (sums, count) = self.here();
        let value = f(&self.point(&sums, count));
        if value.is_finite() && half.is_finite() {
            (value - half, value + half)
        } else {
            (f64::NEG_INFINITY, f64::INFINITY)
        }
    }

    /// Half the interval of a variance or covariance.
    fn half_width(&self, f: &dyn Fn(&Point) -> f64, means: [usize; 2], z: f64) -> f64 {
        let shrunk = 1.0 - z * self.count.sigma / self.count.value;
        if self.count.value < 1.0 || shrunk <= 0.0 {
            return f64::INFINITY;
        }
        z * self.error(f) / shrunk + self.error_of_mean(means[0], z) * self.error_of_mean(means[1], z)
    }

    /// A variance's half width as a part of it; 1 or more where it may be zero.
    fn relative(&self, mean: usize, square: usize, z: f64) -> f64 {
        let (sums, count) = self.here();
        let value = variance(&self.point(&sums, count), mean, square);
        let relative = self.half_width(&|point| variance(point, mean, square), [mean, mean], z) / value;
        if value > 0.0 && relative < 1.0 { relative } else { 1.0 }
    }

    /// How far a mean may be off at `z`.
    fn error_of_mean(&self, i: usize, z: f64) -> f64 {
        let shrunk = 1.0 - z * self.count.sigma / self.count.value;
        if shrunk > 0.0 { z * self.error(&|point: &Point| point.0[i]) / shrunk } else { f64::INFINITY }
    }

    /// The first-order standard error of `f`: differences over a hundredth of each standard deviation.
    fn error(&self, f: &dyn Fn(&Point) -> f64) -> f64 {
        const PART: f64 = 0.01;
        let (sums, count) = self.here();
        let slope = |plus: f64, minus: f64| (plus - minus) / (2.0 * PART);
        let mut square = {
            let step = PART * self.count.sigma;
            slope(f(&self.point(&sums, count + step)), f(&self.point(&sums, count - step))).powi(2)
        };
        for (i, part) in self.parts.iter().enumerate() {
            let Some(part) = part else { continue };
            let step = PART * part.sum.sigma;
            let (mut plus, mut minus) = (sums, sums);
            plus[i] += step;
            minus[i] -= step;
            square += slope(f(&self.point(&plus, count)), f(&self.point(&minus, count))).powi(2);
        }
        square.sqrt()
    }

    fn of_sample(&self, count: f64) -> f64 {
        match self.kind {
            Moment::VarSamp | Moment::StddevSamp | Moment::CovarSamp => count / (count - 1.0).max(1.0),
            _ => 1.0,
        }
    }

    fn intercept(&self, point: &Point) -> f64 {
        self.mid[1] + point.0[V] - slope(point) * (self.mid[0] + point.0[U])
    }
}

fn variance(point: &Point, mean: usize, square: usize) -> f64 {
    point.0[square] - point.0[mean].powi(2)
}

fn covariance(point: &Point) -> f64 {
    point.0[UV] - point.0[U] * point.0[V]
}

/// Not finite where the variance of x is not above zero.
fn slope(point: &Point) -> f64 {
    let x = variance(point, U, UU);
    if x > 0.0 { covariance(point) / x } else { f64::NAN }
}

fn correlation(point: &Point) -> f64 {
    let (x, y) = (variance(point, U, UU), variance(point, V, VV));
    if x > 0.0 && y > 0.0 { covariance(point) / (x * y).sqrt() } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Moment; 10] = [
        Moment::VarPop,
        Moment::VarSamp,
        Moment::StddevPop,
        Moment::StddevSamp,
        Moment::CovarPop,
        Moment::CovarSamp,
        Moment::Corr,
        Moment::Slope,
        Moment::Intercept,
        Moment::R2,
    ];

    /// x = 0, 1, …, 9 and y = 3 + 2x, from the middles 4 and 10.
    fn of(kind: Moment, sigma: f64) -> Moments {
        let rows = (0..10).map(|i| (f64::from(i) - 4.0, 3.0 + 2.0 * f64::from(i) - 10.0));
        let sums = rows.fold([0.0; 5], |s, (u, v)| [s[0] + u, s[1] + v, s[2] + u * u, s[3] + v * v, s[4] + u * v]);
        let part = |i: usize| Part { sum: Noised { value: sums[i], sigma }, mid: 0.0, step: 1.0 };
        Moments {
            kind,
            count: Noised { value: 10.0, sigma },
            parts: [Some(part(0)), Some(part(1)), Some(part(2)), Some(part(3)), Some(part(4))],
            mid: [4.0, 10.0],
            half: [10.0, 30.0],
        }
    }

    #[test]
    fn without_noise_the_moments_are_exact() {
        let expected =
            [8.25, 55.0 / 6.0, 8.25_f64.sqrt(), (55.0_f64 / 6.0).sqrt(), 16.5, 55.0 / 3.0, 1.0, 2.0, 3.0, 1.0];
        for (kind, expected) in ALL.into_iter().zip(expected) {
            let value = of(kind, 1e-9).value().unwrap();
            assert!((value - expected).abs() < 1e-9, "{kind:?} {value}");
            let (low, high) = of(kind, 1e-6).interval(2.0);
            assert!(low <= expected + 1e-9 && expected - 1e-9 <= high && high - low < 1e-2, "{kind:?} {low} {high}");
        }
    }

    #[test]
    fn where_noise_hides_everything_the_interval_says_so() {
        for kind in ALL {
            let (low, high) = of(kind, 1e3).interval(1.96);
            let (least, most) = match kind {
                Moment::VarPop | Moment::VarSamp => (0.0, 100.0),
                Moment::StddevPop | Moment::StddevSamp => (0.0, 10.0),
                Moment::CovarPop | Moment::CovarSamp => (-300.0, 300.0),
                Moment::Corr => (-1.0, 1.0),
                Moment::R2 => (0.0, 1.0),
                Moment::Slope | Moment::Intercept => (f64::NEG_INFINITY, f64::INFINITY),
            };
            assert!(low <= least && most <= high, "{kind:?} {low} {high}");
        }
    }
}
