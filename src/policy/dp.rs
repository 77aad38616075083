//! Privacy loss as validated numbers: epsilon, delta, and rho of zero-concentrated differential privacy.
//!
//! In: finite numbers. Out: newtypes that cannot hold anything else, and the conversion between them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, SqlState};

/// Finite and above 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Epsilon(f64);

/// A probability above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Delta(f64);

/// Finite and above 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Rho(f64);

fn refuse(name: &str) -> Error {
    Error::new(
        SqlState::InvalidParameterValue,
        format!("{name} is out of range"),
    )
}

impl Epsilon {
    pub fn new(value: f64) -> Result<Self> {
        if value.is_finite() && value > 0.0 {
            Ok(Self(value))
        } else {
            Err(refuse("epsilon"))
        }
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl Delta {
    pub fn new(value: f64) -> Result<Self> {
        if value > 0.0 && value < 1.0 {
            Ok(Self(value))
        } else {
            Err(refuse("delta"))
        }
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl Rho {
    pub fn new(value: f64) -> Result<Self> {
        if value.is_finite() && value > 0.0 {
            Ok(Self(value))
        } else {
            Err(refuse("rho"))
        }
    }

    /// What a pure epsilon costs in zCDP: epsilon^2 / 2 (Bun and Steinke 2016, Proposition 1.4).
    pub fn of_epsilon(epsilon: Epsilon) -> Self {
        Self(epsilon.0 * epsilon.0 / 2.0)
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

/// The epsilon of (epsilon, delta) that `rho` implies (Canonne, Kamath, Steinke 2020, Corollary 13). Every order alpha > 1
/// gives a valid epsilon; this is the smallest found, so it is never too small.
pub fn epsilon_of(rho: Rho, delta: Delta) -> Epsilon {
    let at = |log_excess: f64| {
        let excess = log_excess.exp();
        let alpha = 1.0 + excess;
        let log_delta = -delta.0.ln() - excess.ln() + alpha * (excess / alpha).ln();
        alpha * rho.0 + log_delta / excess
    };
    let (mut low, mut high) = (-20.0_f64, 40.0_f64);
    for _ in 0..200 {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if at(left) < at(right) {
            high = right;
        } else {
            low = left;
        }
    }
    Epsilon(at((low + high) / 2.0).max(f64::MIN_POSITIVE))
}
