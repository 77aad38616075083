//! Privacy loss as validated numbers, as the functions' crate defines them: epsilon, delta, and rho of zCDP.
//!
//! In: nothing of its own. Out: the newtypes that the rooms hand each other, and what a client is told of a bad number.

pub use paravent_udfs::{Delta, Epsilon, Mechanism, Rho, epsilon_of, is_within};

use crate::error::{Error, Result, SqlState};

impl From<paravent_udfs::InvalidParameter> for Error {
    fn from(error: paravent_udfs::InvalidParameter) -> Self {
        Self::new(SqlState::InvalidParameterValue, error.to_string())
    }
}

/// What a policy pays: the releases are rho-zCDP together, and, where all their noise is Laplace's, epsilon-DP as well; both but for
/// delta, the chance that a selection fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    pub rho: Rho,
    pub delta: Delta,
    /// `None` where some noise is Gaussian: that has no epsilon without a delta.
    pub epsilon: Option<Epsilon>,
}

impl Price {
    /// Of both together: basic composition, rounded up.
    pub fn and(self, other: Self) -> Result<Self> {
        let epsilon = match (self.epsilon, other.epsilon) {
            (Some(one), Some(two)) => Some(Epsilon::new(add_up(one.get(), two.get()))?),
            (Some(_) | None, Some(_) | None) => None,
        };
        Ok(Self {
            rho: Rho::new(add_up(self.rho.get(), other.rho.get()))?,
            delta: Delta::new(add_up(self.delta.get(), other.delta.get()))?,
            epsilon,
        })
    }
}

/// A sum that is never below the true one, and the true one where a double holds it.
pub fn add_up(left: f64, right: f64) -> f64 {
    let sum = left + right;
    // What rounding took away, exactly (Knuth 1969, "The Art of Computer Programming", 4.2.2, theorem B).
    let of_right = sum - left;
    let lost = (left - (sum - of_right)) + (right - of_right);
    if lost > 0.0 { sum.next_up() } else { sum }
}

/// A mechanism by its name, where settings are kept.
pub mod mechanism_by_name {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use super::Mechanism;

    pub fn serialize<S: Serializer>(mechanism: &Mechanism, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(mechanism.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mechanism, D::Error> {
        let name = String::deserialize(deserializer)?;
        Mechanism::by_name(&name).ok_or_else(|| D::Error::custom("an unknown mechanism"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_rounded_up_and_only_where_they_are_rounded() {
        for (left, right, sum) in [
            (1.0, 2.0, 3.0),
            (0.0, 0.1, 0.1),
            (1.0, 1e-20, 1.0_f64.next_up()),
            (1e-20, 1.0, 1.0_f64.next_up()),
            // 0.1 + 0.2 is rounded up by the addition itself, 0.7 + 0.1 down.
            (0.1, 0.2, 0.1 + 0.2),
            (0.7, 0.1, (0.7_f64 + 0.1).next_up()),
        ] {
            assert_eq!(add_up(left, right), sum, "{left} {right}");
        }
    }
}
