//! The conditions that a predicate is made of.
//!
//! What every branch of an OR asks for is asked for by all rows: `(a AND b) OR (a AND c)` is `a AND (b OR c)`, also where some of them are
//! NULL. So a condition on attributes that people write into each branch chooses the group, and only the rest is a profile.

use datafusion::logical_expr::utils::{conjunction, disjunction, split_binary, split_conjunction};
use datafusion::logical_expr::{Expr, Operator};

/// Conditions that hold together exactly where `predicate` does.
pub(super) fn conditions(predicate: &Expr) -> Vec<Expr> {
    split_conjunction(predicate).into_iter().flat_map(factored).collect()
}

/// What all branches have in common, and an OR of what is left of each.
fn factored(condition: &Expr) -> Vec<Expr> {
    let branches: Vec<Vec<&Expr>> = split_binary(condition, Operator::Or).into_iter().map(split_conjunction).collect();
    let Some((first, others)) = branches.split_first() else { return vec![condition.clone()] };
    let in_all = |part: &&&Expr| others.iter().all(|branch| branch.contains(*part));
    let common: Vec<&Expr> = first.iter().filter(in_all).copied().collect();
    if others.is_empty() || common.is_empty() {
        return vec![condition.clone()];
    }
    let rest = |branch: &Vec<&Expr>| {
        conjunction(branch.iter().filter(|part| !common.contains(part)).map(|part| (*part).clone()))
    };
    // A branch of nothing else holds wherever the common part does.
    let rest: Option<Vec<Expr>> = branches.iter().map(rest).collect();
    common.into_iter().cloned().chain(rest.and_then(disjunction)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn predicate() -> impl Strategy<Value = Expr> {
        let name = (0..4_usize).prop_map(|number| datafusion::prelude::col(["a", "b", "c", "d"][number]));
        name.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| a.or(b)),
                (inner.clone(), inner).prop_map(|(a, b)| a.clone().and(b.clone()).or(a.and(b.is_null()))),
            ]
        })
    }

    /// NULL as None.
    fn value(expression: &Expr, of: &[Option<bool>; 4]) -> Option<bool> {
        match expression {
            Expr::Column(column) => of["abcd".find(&column.name).unwrap()],
            Expr::IsNull(inner) => Some(value(inner, of).is_none()),
            Expr::BinaryExpr(binary) => {
                let (a, b) = (value(&binary.left, of), value(&binary.right, of));
                let (ends, both) = if binary.op == Operator::Or { (true, false) } else { (false, true) };
                match (a, b) {
                    (Some(a), Some(b)) => Some(if ends { a || b } else { a && b }),
                    (Some(known), None) | (None, Some(known)) => (known != both).then_some(known),
                    (None, None) => None,
                }
            }
            other => panic!("{other}"),
        }
    }

    proptest! {
        #[test]
        fn they_hold_together_where_the_predicate_does(
            predicate in predicate(),
            of in prop::array::uniform4(prop::option::of(any::<bool>())),
        ) {
            let parts = conditions(&predicate);
            let together = parts.into_iter().reduce(Expr::and).unwrap();
            prop_assert_eq!(value(&together, &of), value(&predicate, &of), "{} as {}", predicate, together);
        }
    }

    #[test]
    fn what_all_branches_ask_for_stands_alone() {
        let [a, b, c] = ["a", "b", "c"].map(datafusion::prelude::col);
        let text = |predicate: Expr| conditions(&predicate).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(a.clone().and(b.clone()).or(c.clone().and(a.clone()))), ["a", "b OR c"]);
        assert_eq!(text(a.clone().or(a.clone().and(b.clone()))), ["a"]);
        assert_eq!(text(a.clone().or(b.clone()).and(c.clone())), ["a OR b", "c"]);
        assert_eq!(text(a), ["a"]);
    }
}
