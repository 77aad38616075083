//! Settings an administrator holds with `ALTER SYSTEM SET`, and the few an analyst may move inside them.

use serde::{Deserialize, Serialize};

/// System-wide values. Every field is validated when it is set; see [`Setting`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `privacy.min_group_size`: persons a released row describes at least. 10 or more.
    pub min_group_size: u64,
    /// `privacy.mask_low`, `privacy.mask_high`: the band that no released share leaves.
    pub mask_low: f64,
    pub mask_high: f64,
    /// `privacy.epsilon`: what one statement spends unless the session asks for less; also the cap. rho = epsilon^2 / 2.
    pub epsilon: f64,
    /// `privacy.delta`: probability that one statement's selection fails a person.
    pub delta: f64,
    /// `privacy.budget_epsilon`, `privacy.budget_delta`: the promise of a policy, all principals together, per window.
    pub budget_epsilon: f64,
    pub budget_delta: f64,
    /// `privacy.principal_budget_epsilon`: of one principal, per policy and window.
    pub principal_budget_epsilon: f64,
    /// `privacy.window`: seconds (shown and set as an interval, e.g. `30 days`).
    pub window_seconds: u64,
    /// `statement_timeout`: milliseconds, 0 = none.
    pub statement_timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_group_size: 10,
            mask_low: 0.05,
            mask_high: 0.95,
            epsilon: 1.0,
            delta: 1e-9,
            budget_epsilon: 20.0,
            budget_delta: 1e-6,
            principal_budget_epsilon: 20.0,
            window_seconds: 30 * 86_400,
            statement_timeout_ms: 60_000,
        }
    }
}

/// One setting by name: how it is parsed, shown, and who may move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    MinGroupSize,
    MaskLow,
    MaskHigh,
    Epsilon,
    Delta,
    BudgetEpsilon,
    BudgetDelta,
    PrincipalBudgetEpsilon,
    Window,
    StatementTimeout,
}
