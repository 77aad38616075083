//! Privacy loss as validated numbers, as the functions' crate defines them: epsilon, delta, and rho of zCDP.
//!
//! In: nothing of its own. Out: the newtypes that the rooms hand each other, and what a client is told of a bad number.

pub use paravent_udfs::{Delta, Epsilon, Rho, epsilon_of, is_within};

use crate::error::{Error, SqlState};

impl From<paravent_udfs::InvalidParameter> for Error {
    fn from(error: paravent_udfs::InvalidParameter) -> Self {
        Self::new(SqlState::InvalidParameterValue, error.to_string())
    }
}
