//! How a statement's price is split among what it measures: so that the answer shows the least error, not evenly.
//!
//! In: every measurement's sensitivity and how much the answers depend on it. Out: a part of the price for each. Pure; it follows from
//! the plan and the settings alone, never from data.
//!
//! **The error that is minimised.** The sum, over the values that are shown, of the expected squared relative error. Under the
//! Gaussian mechanism a measurement with squared sensitivity Δ₂² that is given ρ has the variance Δ₂²/(2ρ), so the sum is Σ eᵢ/ρᵢ,
//! where eᵢ is what measurement i would contribute at ρ = 1. Under Σ ρᵢ = ρ it is least where ρᵢ ∝ √eᵢ (Lagrange). Under the
//! Laplace mechanism the price is an ε, the variance 2Δ₁²/ε², the sum Σ eᵢ/εᵢ², and the least where εᵢ ∝ ∛eᵢ. A measurement below
//! the least that the lattice was planned for is held there, and the others share the rest (both problems are convex, so holding
//! is optimal).
//!
//! **Relative to what.** Before a query runs nobody knows its answer. The values are taken to lie anywhere within their bounds with
//! equal chance; an answer's scale is the root mean square that it then has. The number of persons behind a group cancels: all
//! values of a group share it. One statement's releases are split together by the same rule: a release that measures more, or
//! whose persons reach more groups, gets more, so that the errors come out alike.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan};
use paravent_udfs::{Base, Estimate, Mechanism, What};

use super::contributions::{DraftMeasurement, DraftOutput};
use super::facts::built;
use crate::error::Result;
use crate::policy::{Bounds, Weights};

/// What the selection of groups weighs beside one value that is shown: noise in the person count that only selects shows no
/// error, but a higher threshold hides small groups.
///
/// It is the same whether or not a shown value is made of the persons as well. Beside a share of several rows a person, which has counts
/// of its own, they only select: then they get a third of an epsilon (at epsilon 1 and delta 1e-6 the threshold is 50, and the share's
/// error 1.5 times what all of the price would give). A tenth of this weight would make that 1.2 times, and hide groups of up to 80. What
/// groups there are, only the analyst may know, and says `persons=…`. A share of persons needs none of it: its two counts are of all
/// persons, and select (there the threshold is 26).
const SELECTION: f64 = 0.25;

/// What a release asks of the split.
pub(super) struct Asked<'a> {
    pub mechanism: Mechanism,
    pub measurements: &'a [DraftMeasurement],
    pub outputs: &'a [DraftOutput],
    /// One an output.
    pub weights: &'a [f64],
    /// What the analyst says the person count weighs where it selects.
    pub persons_weight: Option<f64>,
}

/// The eᵢ of one release: expected squared relative error, summed over the outputs that use measurement i, at ρ = 1 or ε = 1. In
/// units of one person's reach in one group, so that what is left of a sensitivity is how often a person is measured: in M groups,
/// and at each level of a tree.
pub(super) fn errors(asked: &Asked) -> Vec<f64> {
    let mut errors = vec![0.0; asked.measurements.len()];
    let mut add = |index: usize, influence: f64| {
        if let (Some(error), Some(measurement)) = (errors.get_mut(index), asked.measurements.get(index)) {
            let times = measurement.sensitivity.times as f64;
            *error += influence
                * match asked.mechanism {
                    Mechanism::Gaussian => times,
                    Mechanism::Laplace => times * times,
                };
        }
    };
    // A share that selects is shown in any case.
    let only_selects = |index: usize| asked.measurements.get(index).is_some_and(|m| matches!(m.what, What::Word(_)));
    if only_selects(0) {
        add(0, asked.persons_weight.unwrap_or(1.0) * SELECTION);
    }
    let mut trees: BTreeMap<usize, f64> = BTreeMap::new();
    for (output, weight) in asked.outputs.iter().zip(asked.weights) {
        for (index, influence) in influences(output) {
            match &output.estimate {
                Estimate::Quantile { .. } | Estimate::Mode { .. } => {
                    let most = trees.entry(index).or_default();
                    *most = most.max(weight * influence);
                }
                Estimate::Count { .. }
                | Estimate::Sum { .. }
                | Estimate::SumInteger { .. }
                | Estimate::Mean { .. }
                | Estimate::Share { .. }
                | Estimate::Moments { .. }
                | Estimate::Distinct { .. } => add(index, weight * influence),
            }
        }
        if let Some(cell) = output.cell.filter(|cell| only_selects(cell.count)) {
            add(cell.count, SELECTION);
        }
        if let Some(Base::Measurement(base)) = output.mask.as_ref().map(|mask| &mask.base) {
            add(*base, SELECTION);
        }
    }
    trees.into_iter().for_each(|(index, influence)| add(index, influence));
    errors
}

/// The measurements an output is made of, each with the square of the output's relative change when the measurement changes by
/// one person's reach in a group of one person. Values x are uniform in their bounds, of half width h about the middle.
fn influences(output: &DraftOutput) -> Vec<(usize, f64)> {
    match &output.estimate {
        // One in one.
        Estimate::Count { count } => vec![(*count, 1.0)],
        // The reach is the largest |x|; the scale is the root mean square of x.
        Estimate::Sum { sum, .. } | Estimate::SumInteger { sum, .. } => {
            vec![(*sum, output.bounds.map_or(3.0, reach_over_scale))]
        }
        // A mean is shown on its column's range, so the scale is that of a value in [0, 2h]: 4h²/3. The numerator's reach is h;
        // the denominator moves the mean by its distance from the middle, h²/3 in the mean square.
        Estimate::Mean { sum, count, .. } => vec![(*sum, 3.0 / 4.0), (*count, 1.0 / 4.0)],
        // The scale of a share θ is 1/3; a row more that fits moves it by 1 − θ, one that does not by θ, and (1 − θ)² + θ² is 2/3 in
        // the mean.
        Estimate::Share { counts } => vec![(*counts, 2.0)],
        // A second moment of reach h²/2 beside a variance of h²/3; the means and the count matter less.
        Estimate::Moments { count, parts, .. } => {
            parts.iter().flatten().map(|part| (part.sum, 9.0 / 4.0)).chain([(*count, 1.0 / 2.0)]).collect()
        }
        // A rank is a sum of half the siblings at each level. One walk or several down the same tree: it is noised once.
        Estimate::Quantile { tree, leaves, branching, .. } => {
            let levels = What::Tree { leaves: *leaves, branching: *branching }.levels();
            vec![(*tree, f64::from(levels) * (*branching as f64) / 2.0)]
        }
        Estimate::Mode { tree, .. } => vec![(*tree, 1.0)],
        // Only the best of them is shown.
        Estimate::Distinct { counts } => counts.iter().map(|count| (*count, 1.0 / counts.len() as f64)).collect(),
    }
}

/// The largest |x|² within the bounds over the mean of x²; between 1 and 4.
fn reach_over_scale(bounds: Bounds) -> f64 {
    let (low, high) = (bounds.lower(), bounds.upper());
    let largest = bounds.magnitude();
    let (low, high) = (low / largest, high / largest);
    let ratio = 3.0 / (low * low + low * high + high * high);
    if ratio.is_finite() { ratio.clamp(1.0, 4.0) } else { 1.0 }
}

/// A part of the price for each measurement: ∝ √eᵢ of a ρ, ∝ ∛eᵢ of an ε; none below `least`, in all `total` or a hair less.
///
/// Laws: the sum is at most `total`; each is above zero, and at least `least` where `total` allows it (else all are alike); the error
/// is not above what an even split gives.
pub(super) fn split(mechanism: Mechanism, total: f64, least: f64, errors: &[f64]) -> Vec<f64> {
    let root = match mechanism {
        Mechanism::Gaussian => f64::sqrt,
        Mechanism::Laplace => f64::cbrt,
    };
    // Room for the rounding of the sum of some hundred parts.
    let total = total * (1.0 - 1e-12);
    let even = total / errors.len().max(1) as f64;
    let least = least.min(even);
    let roots: Vec<f64> = errors.iter().map(|error| if *error > 0.0 { root(*error) } else { 0.0 }).collect();
    let mut held = vec![false; errors.len()];
    loop {
        let free = |i: &usize| !held[*i];
        let sum: f64 = (0..errors.len()).filter(free).map(|i| roots[i]).sum();
        let left = total - least * held.iter().filter(|held| **held).count() as f64;
        if !sum.is_finite() || sum <= 0.0 {
            return vec![even; errors.len()];
        }
        let share = |i: usize| left * roots[i] / sum;
        let below: Vec<usize> = (0..errors.len()).filter(free).filter(|i| share(*i) < least).collect();
        if below.is_empty() {
            return (0..errors.len()).map(|i| if held[i] { least } else { share(i) }).collect();
        }
        for i in below {
            held[i] = true;
        }
    }
}

/// What a query calls its columns: from a column's name to the aliases of what is made of it.
#[derive(Debug, Default)]
pub(super) struct Names {
    aliases: BTreeMap<String, BTreeSet<String>>,
    /// Columns that some expression reads.
    used: BTreeSet<String>,
}

impl Names {
    pub fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut names = Self::default();
        let read = plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Projection(projection) = node {
                projection.expr.iter().for_each(|expression| names.add(expression));
            }
            node.apply_expressions(|expression| {
                // A column that is handed on is not used by that.
                if !matches!(expression, Expr::Column(_)) {
                    names.used.extend(expression.column_refs().into_iter().map(|column| column.name.clone()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        });
        built(read)?;
        Ok(names)
    }

    fn add(&mut self, expression: &Expr) {
        if let Expr::Alias(alias) = expression {
            for column in alias.expr.column_refs() {
                self.aliases.entry(column.name.clone()).or_default().insert(alias.name.clone());
            }
        }
    }

    pub fn uses(&self, column: &str) -> bool {
        self.used.contains(column)
    }

    /// The largest weight among the label itself and whatever the query calls it; 1 where none is given.
    pub fn weight(&self, weights: &Weights, label: &str) -> f64 {
        let mut seen: BTreeSet<String> =
            [label.to_owned(), unqualified(label), label.replace("count(*)", "count(Int64(1))")].into();
        let mut open: Vec<String> = seen.iter().cloned().collect();
        while let Some(name) = open.pop() {
            let further = self.aliases.get(&name).into_iter().flatten();
            let fresh: Vec<String> = further.filter(|name| seen.insert((*name).clone())).cloned().collect();
            open.extend(fresh);
        }
        seen.iter().filter_map(|name| weights.of(name)).reduce(f64::max).unwrap_or(1.0)
    }
}

/// `sum(person_week.hours)` as people write it: `sum(hours)`.
fn unqualified(label: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let (mut text, mut last) = (String::new(), String::new());
    for c in label.chars().chain(['\0']) {
        if word(c) {
            last.push(c);
            continue;
        }
        let number = last.parse::<f64>().is_ok();
        text.push_str(if number { &last } else { last.rsplit('.').next().unwrap_or_default() });
        last.clear();
        text.push(c);
    }
    text.trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use Mechanism::{Gaussian, Laplace};

    fn shown(mechanism: Mechanism, errors: &[f64], parts: &[f64]) -> f64 {
        let power = if mechanism == Gaussian { 1 } else { 2 };
        errors.iter().zip(parts).map(|(error, part)| error / part.powi(power)).sum()
    }

    #[test]
    fn in_proportion_to_the_roots() {
        for (mechanism, errors) in [(Gaussian, [1.0, 4.0, 9.0]), (Laplace, [1.0, 8.0, 27.0])] {
            let parts = split(mechanism, 6.0, 0.1, &errors);
            for (part, expected) in parts.iter().zip([1.0, 2.0, 3.0]) {
                assert!((part - expected).abs() < 1e-9, "{parts:?}");
            }
        }
    }

    #[test]
    fn what_matters_little_is_held_at_the_least_and_the_rest_shared() {
        let parts = split(Gaussian, 1.0, 0.2, &[1e-6, 1.0, 4.0]);
        for (part, expected) in parts.iter().zip([0.2, 0.8 / 3.0, 1.6 / 3.0]) {
            assert!((part - expected).abs() < 1e-9, "{parts:?}");
        }
    }

    #[test]
    fn evenly_where_nothing_is_known_or_nothing_else_is_allowed() {
        for (errors, least) in
            [(&[0.0, 0.0][..], 0.1), (&[1.0, 100.0], 0.5), (&[1.0, 100.0], 7.0), (&[f64::NAN, f64::NAN], 0.1)]
        {
            let parts = split(Gaussian, 1.0, least, errors);
            assert!(parts.iter().all(|part| (part - 0.5).abs() < 1e-9), "{parts:?}");
        }
    }

    /// Of shares that lie anywhere between 0 and 1: what the error of their counts does to them, in parts of their scale.
    #[test]
    fn the_counts_of_a_share_move_it_as_far_as_is_said() {
        let shares: Vec<f64> = (0..10_000).map(|i| (f64::from(i) + 0.5) / 10_000.0).collect();
        let mean = |of: fn(&f64) -> f64| shares.iter().map(of).sum::<f64>() / shares.len() as f64;
        let moved = mean(|share| (1.0 - share).powi(2) + share.powi(2)) / mean(|share| share.powi(2));
        let share = DraftOutput { estimate: Estimate::Share { counts: 1 }, mask: None, cell: None, bounds: None };
        let [(1, influence)] = influences(&share)[..] else { panic!("one measurement") };
        assert!((influence - moved).abs() < 1e-6, "{influence} {moved}");
    }

    #[test]
    fn the_bounds_of_a_sum_scale_it() {
        let of = |low, high| reach_over_scale(Bounds::new(low, high).unwrap());
        assert!((of(0.0, 80.0) - 3.0).abs() < 1e-12);
        assert!((of(-5.0, 5.0) - 3.0).abs() < 1e-12);
        assert!((of(7.0, 7.0) - 1.0).abs() < 1e-12);
        assert!((of(0.0, 1e308) - 3.0).abs() < 1e-12);
        assert_eq!(of(0.0, 0.0), 1.0);
    }

    #[test]
    fn a_weight_is_found_by_alias_and_by_what_was_written() {
        let aliases =
            [("sum(w.hours)".to_owned(), ["h".to_owned()].into()), ("h".to_owned(), ["total".to_owned()].into())];
        let names = Names { aliases: aliases.into(), used: BTreeSet::new() };
        for (text, expected) in
            [("h=4", 4.0), ("TOTAL=5", 5.0), ("sum(hours)=6", 6.0), ("sum(w.hours)=7", 7.0), ("x=2", 1.0)]
        {
            let weights = Weights::parse(text).unwrap();
            assert_eq!(names.weight(&weights, "sum(w.hours)"), expected, "{text}");
        }
        assert_eq!(unqualified("avg(a.b.c * 2.5) + t.x"), "avg(c * 2.5) + x");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// The laws of [`split`]; and no small move of rho from one part to another shows less error.
        #[test]
        fn no_split_shows_less(
            mechanism in prop::sample::select(&Mechanism::ALL[..]),
            errors in proptest::collection::vec((-12.0..12.0_f64).prop_map(f64::exp), 1..12),
            total in 1e-9..50.0_f64,
            least in 0.0..1.0_f64,
            (from, to) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let least = least * total / errors.len() as f64;
            let parts = split(mechanism, total, least, &errors);
            prop_assert_eq!(parts.len(), errors.len());
            prop_assert!(parts.iter().sum::<f64>() <= total);
            prop_assert!(parts.iter().sum::<f64>() >= total * (1.0 - 1e-9));
            prop_assert!(parts.iter().all(|part| *part > 0.0 && *part >= least * (1.0 - 1e-11)));
            let even = vec![total / errors.len() as f64; errors.len()];
            prop_assert!(shown(mechanism, &errors, &parts) <= shown(mechanism, &errors, &even) * (1.0 + 1e-9));
            let (from, to) = (from.index(parts.len()), to.index(parts.len()));
            let moved = (parts[from] - least) / 16.0;
            if from != to && moved > 0.0 {
                let mut other = parts.clone();
                other[from] -= moved;
                other[to] += moved;
                prop_assert!(shown(mechanism, &errors, &parts) <= shown(mechanism, &errors, &other) * (1.0 + 1e-9));
            }
        }
    }
}
