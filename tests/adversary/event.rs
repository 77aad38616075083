//! What the adversary looks for in an answer, chosen on samples that the test does not see.
//!
//! In: samples of two worlds. Out: the event, a half-space of the answers, that exceeds the promise most on these samples. Answers
//! that are missing count as numbers of their own, since who is suppressed tells as well.

use super::{Promise, Sample};

const EPSILONS: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0];

/// `direction · numbers ≥ least`.
#[derive(Debug, Clone)]
pub struct Event {
    /// The world in which it is expected more often.
    pub world: usize,
    fill: Vec<f64>,
    direction: Vec<f64>,
    least: f64,
}

/// A sample without gaps: each number (its usual value where it is missing) and whether it is missing.
fn numbers(sample: &[f64], fill: &[f64]) -> Vec<f64> {
    let there = sample.iter().zip(fill).map(|(x, usual)| if x.is_finite() { *x } else { *usual });
    there.chain(sample.iter().map(|x| f64::from(u8::from(!x.is_finite())))).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns).map(|c| rows.iter().map(|row| row[c]).sum::<f64>() / rows.len() as f64).collect()
}

impl Event {
    pub fn holds(&self, sample: &[f64]) -> bool {
        dot(&self.direction, &numbers(sample, &self.fill)) >= self.least
    }

    /// The best half-space along each single number and along Fisher's discriminant (1936), and the ε it exceeds most.
    pub fn choose(worlds: [&[Sample]; 2], promise: Promise) -> (Self, f64) {
        let fill = usual(worlds[0]);
        let rows = worlds.map(|world| world.iter().map(|sample| numbers(sample, &fill)).collect::<Vec<_>>());
        let claims: Vec<(f64, f64)> = EPSILONS.iter().map(|epsilon| (*epsilon, promise.delta_at(*epsilon))).collect();
        let mut best: Option<(f64, f64, Self)> = None;
        for direction in directions([&rows[0], &rows[1]]) {
            for world in [0, 1] {
                let along = |w: usize| rows[w].iter().map(|row| dot(&direction, row)).collect::<Vec<_>>();
                for (least, excess, epsilon) in thresholds(along(world), along(1 - world), &claims) {
                    if best.as_ref().is_none_or(|(known, _, _)| excess > *known) {
                        let event = Self { world, fill: fill.clone(), direction: direction.clone(), least };
                        best = Some((excess, epsilon, event));
                    }
                }
            }
        }
        let (_, epsilon, event) = best.expect("samples with numbers");
        (event, epsilon)
    }
}

/// The mean of what is there.
fn usual(world: &[Sample]) -> Vec<f64> {
    (0..world.first().map_or(0, Vec::len))
        .map(|c| {
            let there: Vec<f64> = world.iter().map(|sample| sample[c]).filter(|x| x.is_finite()).collect();
            if there.is_empty() { 0.0 } else { there.iter().sum::<f64>() / there.len() as f64 }
        })
        .collect()
}

/// Every axis both ways, and Σ⁻¹(m₁ − m₀) both ways.
fn directions(rows: [&[Vec<f64>]; 2]) -> Vec<Vec<f64>> {
    let means = [mean(rows[0]), mean(rows[1])];
    let columns = means[0].len();
    let axis = |c: usize| -> Vec<f64> { (0..columns).map(|i| f64::from(u8::from(i == c))).collect() };
    let mut found: Vec<Vec<f64>> = (0..columns).map(axis).collect();
    let mut spread = vec![vec![0.0; columns]; columns];
    for (world, mean) in rows.iter().zip(&means) {
        for row in *world {
            for (i, line) in spread.iter_mut().enumerate() {
                for (j, cell) in line.iter_mut().enumerate() {
                    *cell += (row[i] - mean[i]) * (row[j] - mean[j]);
                }
            }
        }
    }
    let scale: f64 = (0..columns).map(|i| spread[i][i]).sum::<f64>().max(f64::MIN_POSITIVE);
    for (i, line) in spread.iter_mut().enumerate() {
        // A number that never varies within a world is worth all the more where it varies between them.
        line[i] += line[i] * 1e-9 + scale * 1e-12;
    }
    let between = means[1].iter().zip(&means[0]).map(|(one, zero)| one - zero).collect();
    found.push(solve(spread, between));
    let reversed: Vec<Vec<f64>> = found.iter().map(|line| line.iter().map(|x| -x).collect()).collect();
    found.into_iter().chain(reversed).collect()
}

/// Gaussian elimination with partial pivoting.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs())).unwrap();
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..n {
            let factor = matrix[row][column] / matrix[column][column];
            let (above, below) = matrix.split_at_mut(row);
            for (to, from) in below[0][column..].iter_mut().zip(&above[column][column..]) {
                *to -= factor * from;
            }
            right[row] -= factor * right[column];
        }
    }
    for column in (0..n).rev() {
        let known: f64 = (column + 1..n).map(|k| matrix[column][k] * right[k]).sum();
        right[column] = (right[column] - known) / matrix[column][column];
    }
    right
}

/// For every claim the threshold at which `more` exceeds `less` furthest, with room for chance.
fn thresholds(mut more: Vec<f64>, mut less: Vec<f64>, claims: &[(f64, f64)]) -> Vec<(f64, f64, f64)> {
    more.sort_by(f64::total_cmp);
    less.sort_by(f64::total_cmp);
    let room = |part: f64, of: f64| 5.0 * (part * (1.0 - part) / of).sqrt() + 16.0 / of;
    let (n, m) = (more.len() as f64, less.len() as f64);
    let mut best = vec![(f64::INFINITY, f64::NEG_INFINITY); claims.len()];
    let mut below = 0;
    for (i, least) in more.iter().enumerate() {
        if i > 0 && *least == more[i - 1] {
            continue;
        }
        while below < less.len() && less[below] < *least {
            below += 1;
        }
        let (p, q) = ((more.len() - i) as f64 / n, (less.len() - below) as f64 / m);
        let (low, high) = (p - room(p, n), q + room(q, m));
        for (slot, (epsilon, delta)) in best.iter_mut().zip(claims) {
            let excess = low - epsilon.exp() * high - delta;
            if excess > slot.1 {
                *slot = (*least, excess);
            }
        }
    }
    best.into_iter().zip(claims).map(|((least, excess), (epsilon, _))| (least, excess, *epsilon)).collect()
}
