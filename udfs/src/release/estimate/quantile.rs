//! Quantiles and the most frequent value, from a noised tree of counts.
//!
//! In: the noised nodes of a tree. Out: where the cumulative count reaches a rank, and the edges between which it must. Must never:
//! see an exact count.
//!
//! **Why a tree** and not the exponential mechanism (design, section 4): one price buys every fraction of every statement that asks
//! again; there are intervals; the counts of groups add up; and only integers are noised.
//!
//! **Law of the curve** the nodes above a leaf say something about it: the counts are made consistent by least squares (every
//! node the sum of its children), which is exact for equal noise on all nodes, and the variance of every cumulative count is known
//! in closed form. With V_1 = 1 and 1/V_h = 1 + 1/(b·V_{h−1}) the variance of a node of height h from its own subtree alone, the
//! node's own count weighs V_h and its children's sum 1 − V_h.
//!
//! **Law of the interval** let G(e) = F(e) − f·N at a leaf's edge e, with F the number of rows below e. A true quantile q has
//! G ≤ 0 at the edges up to it and, one rank aside, G ≥ 0 at those beyond. The lower end stands one edge before the first at which
//! the noised G is not z standard deviations below zero, so that it is beyond q only if the noised G of the first edge beyond q was;
//! likewise the upper end. Each side errs with at most half of what the level leaves: the interval is conservative, and no
//! narrower than a leaf. **Source** Hay, Rastogi, Miklau, Suciu 2010, "Boosting the Accuracy of Differentially Private Histograms
//! Through Consistency", section 4.

/// The nodes of a tree without its root, level after level from the top, all with noise of one standard deviation.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a> {
    pub nodes: &'a [i64],
    pub leaves: usize,
    pub branching: usize,
    pub sigma: f64,
}

/// Cumulative counts at the edges of the leaves, with what the noise may have done to them.
pub(crate) struct Curve {
    /// F at each edge, from 0 to all.
    below: Vec<f64>,
    /// Var(F) and Cov(F, N) at each edge.
    spread: Vec<(f64, f64)>,
    sigma: f64,
}

impl Tree<'_> {
    fn levels(&self) -> u32 {
        self.leaves.checked_ilog(self.branching).unwrap_or(0)
    }

    /// V_h for h = 0 (unused) to the number of levels.
    fn variances(&self) -> Vec<f64> {
        let b = self.branching as f64;
        let mut variances = vec![f64::INFINITY, 1.0];
        for _ in 1..self.levels() {
            let below = variances[variances.len() - 1];
            variances.push(1.0 / (1.0 + 1.0 / (b * below)));
        }
        variances
    }

    /// The leaves' counts after all levels have been made consistent.
    pub(crate) fn consistent(&self) -> Vec<f64> {
        let (b, levels) = (self.branching, self.levels() as usize);
        let variances = self.variances();
        let mut from = self.nodes.len();
        let mut sums: Vec<Vec<f64>> = Vec::new();
        for (height, width) in (1..=levels).map(|height| (height, b.pow((levels - height + 1) as u32))) {
            from = from.saturating_sub(width);
            let own = self.nodes[from..from + width].iter().map(|count| *count as f64);
            let weight = variances[height];
            sums.push(match sums.last() {
                None => own.collect(),
                Some(below) => own
                    .zip(below.chunks(b))
                    .map(|(own, c)| weight * own + (1.0 - weight) * c.iter().sum::<f64>())
                    .collect(),
            });
        }
        let mut above = sums.pop().unwrap_or_default();
        while let Some(level) = sums.pop() {
            let parents = above.iter().zip(level.chunks(b));
            let moved = parents.flat_map(|(parent, children)| {
                let missing = (parent - children.iter().sum::<f64>()) / b as f64;
                children.iter().map(move |child| child + missing)
            });
            above = moved.collect();
        }
        above
    }

    pub(crate) fn curve(&self) -> Curve {
        let mut below = vec![0.0];
        for count in self.consistent() {
            below.push(below[below.len() - 1] + count);
        }
        let variances = self.variances();
        let spread = (0..=self.leaves).map(|edge| self.spread(edge, &variances)).collect();
        Curve { below, spread, sigma: self.sigma }
    }

    /// Var(F) and Cov(F, N) at an edge, in units of the noise's variance. Up the path from the edge: within a node of height h of
    /// which a part φ lies before the edge, the estimate is the children before it, plus the child it falls into, plus φ of what
    /// the node's own count adds to its children's.
    fn spread(&self, edge: usize, variances: &[f64]) -> (f64, f64) {
        let (b, top) = (self.branching, self.levels() as usize);
        let of_top = variances[top];
        if edge == self.leaves {
            let all = b as f64 * of_top;
            return (all, all);
        }
        let (mut variance, mut with_node, mut width) = (0.0, 0.0, 1);
        for height in 2..=top {
            let (child, own) = (variances[height - 1], variances[height]);
            let before = (edge / width % b) as f64;
            width *= b;
            let after = b as f64 - 1.0 - before;
            let part = (edge % width) as f64 / width as f64 * own;
            let here = variance - 2.0 * part * with_node + part * part * child;
            let next = before * (1.0 - part).powi(2) * child + here + after * part * part * child + part * part;
            with_node = part * own
                + (1.0 - own) * (before * (1.0 - part) * child + with_node - part * child - after * part * child);
            variance = next;
        }
        let before = (edge / width) as f64;
        (before * of_top + variance, before * of_top + with_node)
    }

    /// The leaf with the largest count among the first `values`.
    pub(crate) fn fullest(&self, values: usize) -> Option<usize> {
        let counts = self.consistent();
        (0..values.min(counts.len())).max_by(|a, b| counts[*a].total_cmp(&counts[*b]).then(b.cmp(a)))
    }
}

impl Curve {
    fn total(&self) -> f64 {
        self.below[self.below.len() - 1]
    }

    /// Where among the edges the rank `fraction` lies, of the first `used` leaves; nothing where the noised total is below 1.
    pub(crate) fn position(&self, fraction: f64, used: usize) -> Option<f64> {
        if self.total() < 1.0 {
            return None;
        }
        let rank = fraction * self.total();
        let rising = rising(&self.below[..=used]);
        let (first, beyond) = (rising.partition_point(|f| *f < rank), rising.partition_point(|f| *f <= rank));
        Some(if first < beyond {
            // Nobody stands between these edges.
            (first + beyond - 1) as f64 / 2.0
        } else if first == 0 {
            0.0
        } else if first > used {
            used as f64
        } else {
            (first - 1) as f64 + (rank - rising[first - 1]) / (rising[first] - rising[first - 1])
        })
    }

    /// The edges between which that rank lies, at `z` standard deviations.
    pub(crate) fn edges(&self, fraction: f64, used: usize, z: f64) -> (usize, usize) {
        let (all, of_all) = (self.total(), self.spread[self.spread.len() - 1].0);
        // How far the noised G stands from zero, and how far it may: z standard deviations and a rank.
        let away = |edge: usize| {
            let (variance, covariance) = self.spread[edge];
            let variance = variance - 2.0 * fraction * covariance + fraction * fraction * of_all;
            (self.below[edge] - fraction * all, z * self.sigma * variance.max(0.0).sqrt() + 1.0)
        };
        let within = |edge: &usize| {
            let (g, reach) = away(*edge);
            (g >= -reach, g <= reach)
        };
        let first = (0..=used).find(|edge| within(edge).0).unwrap_or(used);
        let last = (0..=used).rev().find(|edge| within(edge).1).unwrap_or(0);
        (first.saturating_sub(1), (last + 1).min(used).max(first.saturating_sub(1)))
    }
}

/// The closest curve that never falls (pool adjacent violators).
fn rising(curve: &[f64]) -> Vec<f64> {
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for value in curve {
        let mut block = (*value, 1);
        while let Some((mean, count)) = blocks.pop_if(|(mean, _)| *mean >= block.0) {
            let together = count + block.1;
            block = ((mean * count as f64 + block.0 * block.1 as f64) / together as f64, together);
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(mean, count)| std::iter::repeat_n(mean, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    /// The nodes of a tree over `leaves`.
    fn nodes(leaves: &[i64], branching: usize) -> Vec<i64> {
        let levels = leaves.len().ilog(branching);
        (1..=levels)
            .flat_map(|level| leaves.chunks(leaves.len() / branching.pow(level)).map(|node| node.iter().sum::<i64>()))
            .collect()
    }

    fn tree(nodes: &[i64], leaves: usize, branching: usize, sigma: f64) -> Tree<'_> {
        Tree { nodes, leaves, branching, sigma }
    }

    #[test]
    fn without_noise_the_curve_is_exact() {
        let leaves: Vec<i64> = (0..64).map(|i| (i * 7) % 11).collect();
        let nodes = nodes(&leaves, 4);
        let curve = tree(&nodes, 64, 4, 1.0).curve();
        let mut sum = 0;
        for (edge, count) in leaves.iter().enumerate() {
            assert!((curve.below[edge] - sum as f64).abs() < 1e-9);
            sum += count;
        }
        let position = curve.position(0.5, 64).unwrap();
        let found: i64 = leaves[..position as usize].iter().sum();
        assert!((found as f64) <= 0.5 * sum as f64 && (position * 64.0).fract() >= 0.0);
        assert!(nodes.len() == 4 + 16 + 64);
    }

    /// The stated variances are those of the least-squares estimate: 20,000 trees of noise alone, each edge's sample variance
    /// within 6 % (six standard deviations of a sample variance: 6·√(2/20,000)).
    #[test]
    fn variances_are_true() {
        let mut random = StdRng::seed_from_u64(1);
        for (leaves, branching) in [(64, 4), (16, 16), (8, 2)] {
            let mut sums = vec![(0.0, 0.0); leaves + 1];
            let mut known = Vec::new();
            let zero = nodes(&vec![0; leaves], branching);
            for _ in 0..20_000 {
                // Uniform noise serves as well: only its variance matters. 1000/√12 ≈ 288.7.
                let noised: Vec<i64> = zero.iter().map(|_| random.random_range(-500..=500)).collect();
                let curve = tree(&noised, leaves, branching, 1.0).curve();
                for (sum, f) in sums.iter_mut().zip(&curve.below) {
                    sum.0 += f * f;
                    sum.1 += f * curve.total();
                }
                known = curve.spread;
            }
            let unit = (1001.0 * 1001.0 - 1.0) / 12.0 * 20_000.0;
            for (sum, (variance, covariance)) in sums.iter().zip(known).skip(1) {
                assert!((sum.0 / unit / variance - 1.0).abs() < 0.06, "{leaves} {sum:?} {variance}");
                let all =
                    branching as f64 * tree(&zero, leaves, branching, 1.0).variances()[leaves.ilog(branching) as usize];
                assert!((sum.1 / unit - covariance).abs() < 0.06 * (all * variance).sqrt(), "{leaves} {covariance}");
            }
        }
    }

    #[test]
    fn edges_enclose_the_rank() {
        let leaves = [0, 10, 0, 0, 30, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0];
        let nodes = nodes(&leaves, 4);
        let exact = tree(&nodes, 16, 4, 1e-9).curve();
        assert_eq!(exact.edges(0.5, 16, 2.0), (4, 5));
        assert_eq!(exact.position(0.5, 16), Some(4.0 + 20.0 / 30.0));
        let wide = tree(&nodes, 16, 4, 1e9).curve();
        assert_eq!(wide.edges(0.5, 16, 2.0), (0, 16));
        assert_eq!(exact.position(0.5, 4), Some(4.0));
        assert_eq!(tree(&[0; 20], 16, 4, 1.0).curve().position(0.5, 16), None);
    }

    #[test]
    fn between_two_full_leaves_it_is_the_middle() {
        let leaves = [0, 10, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let nodes = nodes(&leaves, 4);
        assert_eq!(tree(&nodes, 16, 4, 1.0).curve().position(0.5, 16), Some(3.5));
        assert_eq!(tree(&nodes, 16, 4, 1.0).fullest(16), Some(1));
    }

    #[test]
    fn pooling_keeps_what_rises() {
        assert_eq!(rising(&[0.0, 1.0, 2.0]), [0.0, 1.0, 2.0]);
        assert_eq!(rising(&[0.0, 3.0, 1.0, 4.0]), [0.0, 2.0, 2.0, 4.0]);
        assert_eq!(rising(&[3.0, 2.0, 1.0]), [2.0, 2.0, 2.0]);
    }
}
