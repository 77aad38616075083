//! Contribution bounds: the `cap` and `bound` arguments, which must be literals, and what they do
//! to one row.
//!
//! Must never: let a row add more than `cap · bound` to a sum or more than `cap` to a count,
//! whatever the data holds.

use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::physical_expr::expressions::Literal;

/// Larger contributions are added in 128 bits at once.
const MUCH: i64 = 1 << 40;

/// `cap` rows of one person count in one group, each with a lattice value within ±`bound`; `cap ·
/// bound` ≤ 2⁶².
#[derive(Debug, Clone, Copy)]
pub(super) struct RowBounds {
    cap: i64,
    limit: i64,
}

impl RowBounds {
    /// Reads `cap` from an argument, and `bound` from another one; without one it is 1.
    pub(super) fn read(args: &AccumulatorArgs, cap: usize, bound: Option<usize>) -> Result<Self> {
        let cap = literal(args, cap, "cap")?;
        let bound = bound.map_or(Ok(1), |bound| literal(args, bound, "bound"))?;
        match cap.checked_mul(bound) {
            Some(limit) if limit <= 1 << 62 => Ok(Self { cap, limit }),
            Some(_) | None => plan_err!("{}: cap times bound must be at most 2^62", args.name),
        }
    }

    /// No row adds more than this to a word; nothing where that is much.
    pub(super) fn largest(self) -> Option<i64> {
        #[cfg(feature = "mutants")]
        if crate::mutants::Mutant::RowsAsPersons.lives() || crate::mutants::Mutant::NoClamp.lives() {
            return None;
        }
        (self.limit <= MUCH).then_some(self.limit)
    }

    /// The rows that count: min(max(c, 0), cap).
    #[inline]
    pub(super) fn rows(self, count: i64) -> i64 {
        #[cfg(feature = "mutants")]
        if crate::mutants::Mutant::RowsAsPersons.lives() {
            return count.max(0);
        }
        count.clamp(0, self.cap)
    }

    /// A person's sum scaled down to `cap` rows (ties away from zero) and clamped to ±cap·bound.
    #[inline]
    pub(super) fn sum(self, sum: i64, count: i64) -> i64 {
        if count <= 0 {
            return 0;
        }
        #[cfg(feature = "mutants")]
        if crate::mutants::Mutant::NoClamp.lives() {
            return sum;
        }
        let limit = i128::from(self.limit);
        if count <= self.cap {
            return sum.clamp(-self.limit, self.limit);
        }
        let scaled = divide_nearest(i128::from(sum) * i128::from(self.cap), i128::from(count));
        scaled.clamp(-limit, limit) as i64
    }
}

/// Nearest integer to `numerator / denominator`, ties away from zero; `denominator` above zero.
fn divide_nearest(numerator: i128, denominator: i128) -> i128 {
    // Adding ⌊d/2⌋ before a truncating division: nearest for odd d, where no tie exists; ties away
    // for even d.
    let half = denominator / 2 * numerator.signum();
    (numerator + half) / denominator
}

pub(super) fn literal(args: &AccumulatorArgs, index: usize, name: &str) -> Result<i64> {
    let value = args.exprs.get(index).and_then(|expr| expr.downcast_ref::<Literal>()).map(Literal::value);
    match value {
        Some(ScalarValue::Int64(Some(value))) if *value >= 1 => Ok(*value),
        Some(_) | None => plan_err!("{}: {name} must be a literal integer of at least 1", args.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_rounds_to_nearest_and_stays_within_bounds() {
        let bounds = RowBounds { cap: 2, limit: 20 };
        assert_eq!(bounds.sum(15, 2), 15);
        assert_eq!(bounds.sum(15, 4), 8);
        assert_eq!(bounds.sum(-15, 4), -8);
        assert_eq!(bounds.sum(10, 3), 7);
        assert_eq!(bounds.sum(i64::MAX, 1), 20);
        assert_eq!(bounds.sum(i64::MIN, i64::MAX), -2);
        assert_eq!(bounds.sum(5, 0), 0);
        assert_eq!((bounds.rows(-3), bounds.rows(1), bounds.rows(9)), (0, 1, 2));
    }
}
