//! What was spent on one line of the budget, and the epsilon that it comes to.
//!
//! In: prices. Out: sums that are never below the true ones, and the lesser of two bounds on what they allow to be learnt. Either way
//! selections may use half of budget_delta:
//! * in zCDP: `epsilon_of(sum of rho, budget_delta / 2)`, of all statements;
//! * by basic composition: the sum of epsilon, as long as every statement had an epsilon of its own (Laplace noise alone).
//!
//! So few Laplace answers cost their epsilons, and many the square root of their number.
//!
//! **Why this holds though questions follow from answers.** A course of questions and answers is harmful where a selection fails, which
//! all together do with probability at most budget_delta / 2, whatever is asked; or where its outcome is more than
//! exp(budget_epsilon) times likelier with a person than without. No course within the second bound is. One within the first is a
//! course of an analyst who is stopped by a fixed rho, a filter for zCDP (Feldman, Zrnic 2021, "Individual Privacy Accounting via a
//! Rényi Filter"), so that all of these together are harmful with the other half of delta at most. Were the delta of the conversion what
//! selections left, or were Laplace answers added up by epsilon and Gaussian ones by rho, the shares could follow from what was
//! answered, and that is no filter: selections and conversion could come to twice budget_delta.

use crate::policy::{Delta, Epsilon, Price, Rho, add_up, epsilon_of, is_within};

/// A sum of prices, each rounded up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    pub rho: f64,
    pub delta: f64,
    /// Of statements that have one.
    pub epsilon: f64,
    /// Of statements that have no epsilon.
    pub gaussian_rho: f64,
    pub statements: u64,
}

impl Spent {
    /// By one statement.
    pub fn by(price: &Price) -> Self {
        let rho = price.rho.get();
        let (epsilon, gaussian_rho) = price.epsilon.map_or((0.0, rho), |epsilon| (epsilon.get(), 0.0));
        Self { rho, delta: price.delta.get(), epsilon, gaussian_rho, statements: 1 }
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            rho: add_up(self.rho, other.rho),
            delta: add_up(self.delta, other.delta),
            epsilon: add_up(self.epsilon, other.epsilon),
            gaussian_rho: add_up(self.gaussian_rho, other.gaussian_rho),
            statements: self.statements + other.statements,
        }
    }

    /// Had every statement an epsilon of its own?
    pub fn is_pure(&self) -> bool {
        self.gaussian_rho == 0.0
    }

    /// Is all of it (epsilon, `budget_delta`)-differentially private?
    pub fn is_within(&self, epsilon: Epsilon, budget_delta: Delta) -> bool {
        self.composed(budget_delta).is_some_and(|spent| spent <= epsilon.get())
            || self.concentrated(budget_delta).is_some_and(|(rho, left)| is_within(rho, left, epsilon))
    }

    /// The epsilon of it beside `budget_delta`; infinite where selections overspent theirs.
    pub fn epsilon_at(&self, budget_delta: Delta) -> f64 {
        if *self == Self::default() {
            return 0.0;
        }
        let concentrated =
            self.concentrated(budget_delta).map_or(f64::INFINITY, |(rho, left)| epsilon_of(rho, left).get());
        self.composed(budget_delta).map_or(concentrated, |composed| composed.min(concentrated))
    }

    /// Rho, and the delta that says what it comes to.
    fn concentrated(&self, budget_delta: Delta) -> Option<(Rho, Delta)> {
        let half = half_of(budget_delta).filter(|half| self.delta <= half.get())?;
        Rho::new(self.rho).ok().map(|rho| (rho, half))
    }

    /// By basic composition.
    fn composed(&self, budget_delta: Delta) -> Option<f64> {
        let selected = half_of(budget_delta).is_some_and(|half| self.delta <= half.get());
        (self.is_pure() && selected).then_some(self.epsilon)
    }
}

/// For selections, and as much for the conversion.
fn half_of(budget_delta: Delta) -> Option<Delta> {
    Delta::new(budget_delta.get() / 2.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laplace(epsilon: f64, delta: f64) -> Spent {
        let price = |epsilon: Epsilon| Price {
            rho: Rho::of_epsilon(epsilon),
            delta: Delta::new(delta).unwrap(),
            epsilon: Some(epsilon),
        };
        Spent::by(&price(Epsilon::new(epsilon).unwrap()))
    }

    fn gaussian(epsilon: f64, delta: f64) -> Spent {
        let rho = Rho::of_epsilon(Epsilon::new(epsilon).unwrap());
        Spent::by(&Price { rho, delta: Delta::new(delta).unwrap(), epsilon: None })
    }

    fn times(one: Spent, number: usize) -> Spent {
        (1..number).fold(one, |sum, _| sum.and(one))
    }

    const BUDGET: f64 = 1e-6;

    fn epsilon(spent: Spent) -> f64 {
        spent.epsilon_at(Delta::new(BUDGET).unwrap())
    }

    #[test]
    fn few_laplace_answers_cost_their_epsilons_and_many_their_root() {
        let one = laplace(0.5, 1e-9);
        assert!((epsilon(one) - 0.5).abs() < 1e-12);
        assert!((epsilon(times(one, 3)) - 1.5).abs() < 1e-12);
        let (many, composed) = (epsilon(times(one, 100)), 50.0);
        assert!(many < composed / 1.3, "{many}");
        assert_eq!(many, epsilon(times(gaussian(0.5, 1e-9), 100)), "as many of as much rho");
    }

    /// What is not epsilon-DP makes the sum not epsilon-DP, whatever came before or comes after.
    #[test]
    fn one_gaussian_answer_ends_basic_composition() {
        let (before, after) =
            (laplace(0.1, 1e-9).and(gaussian(0.1, 1e-9)), gaussian(0.1, 1e-9).and(laplace(0.1, 1e-9)));
        assert_eq!(before, after);
        assert_eq!(epsilon(before), epsilon(times(gaussian(0.1, 1e-9), 2)));
        assert!(epsilon(before) > 0.2);
    }

    #[test]
    fn the_limit_is_the_lesser_bound_and_delta_is_not_forgotten() {
        let within =
            |spent: Spent, limit: f64| spent.is_within(Epsilon::new(limit).unwrap(), Delta::new(BUDGET).unwrap());
        for spent in [laplace(1.0, 1e-9), gaussian(0.2, 1e-9), times(laplace(0.3, 1e-8), 40)] {
            let exact = epsilon(spent);
            assert!(within(spent, exact) && within(spent, exact * 1.01) && !within(spent, exact * 0.99), "{spent:?}");
        }
        for of in [laplace, gaussian] {
            assert!(within(times(of(0.01, 2e-7), 2), 100.0));
            let overspent = times(of(0.01, 2e-7), 3);
            assert!(!within(overspent, 100.0) && epsilon(overspent) == f64::INFINITY, "more than half of delta");
        }
        assert_eq!(epsilon(Spent::default()), 0.0);
    }
}
