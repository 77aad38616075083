//! Settings an administrator holds with `ALTER SYSTEM SET`, and the few an analyst may move inside them.

use serde::{Deserialize, Serialize};

use super::dp::{Mechanism, mechanism_by_name};
use super::duration::{parse_interval, parse_timeout, show_interval, show_timeout};
use super::weights::Weights;
use crate::error::{Error, Result, SqlState};

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
    /// `privacy.mechanism`: the law of the noise, unless the session asks for the other. A statement under `laplace` is epsilon-DP.
    #[serde(with = "mechanism_by_name")]
    pub mechanism: Mechanism,
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
    /// `privacy.analyze_epsilon`: what one ANALYZE spends, in all.
    pub analyze_epsilon: f64,
    /// `privacy.row_noise`: how far noise may move a measure in a de-identified row, as a share of the column's range. 0: not at all.
    pub row_noise: f64,
    /// `privacy.access_row_cap`: different rows that one grant of access shows in all.
    pub access_row_cap: u64,
    /// `privacy.max_access_interval`: seconds that access to rows may last.
    pub max_access_seconds: u64,
    /// `privacy.sensitive_min_group_size`: the floor of what reads a sensitive column, where it is above `min_group_size`.
    pub sensitive_min_group_size: u64,
    /// `privacy.purpose_required`: do all queries of persons need a live purpose?
    pub purpose_required: bool,
    /// `privacy.response_quantum`: milliseconds; what was released anew leaves after a whole multiple of it. 0: at once.
    pub response_quantum_ms: u64,
    /// `privacy.weights`: which values of an answer get more of the statement's epsilon.
    pub weights: Weights,
    /// `max_connections`: sessions at once, all roles together.
    pub max_connections: u64,
    /// `superuser_reserved_connections`: how many of these only those who manage roles may take.
    pub reserved_connections: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_group_size: 10,
            mask_low: 0.05,
            mask_high: 0.95,
            epsilon: 1.0,
            mechanism: Mechanism::Gaussian,
            delta: 1e-9,
            budget_epsilon: 20.0,
            budget_delta: 1e-6,
            principal_budget_epsilon: 20.0,
            window_seconds: 30 * 86_400,
            statement_timeout_ms: 60_000,
            // Half of a statement's epsilon is a quarter of its rho: the quantiles of twenty columns of two thousand persons are
            // then within a few percent of the persons.
            analyze_epsilon: 0.5,
            row_noise: 0.1,
            access_row_cap: 10_000,
            max_access_seconds: 8 * HOUR_SECONDS,
            sensitive_min_group_size: 20,
            purpose_required: false,
            response_quantum_ms: 10,
            weights: Weights::default(),
            max_connections: 100,
            reserved_connections: 3,
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
    Mechanism,
    Delta,
    BudgetEpsilon,
    BudgetDelta,
    PrincipalBudgetEpsilon,
    Window,
    StatementTimeout,
    AnalyzeEpsilon,
    RowNoise,
    AccessRowCap,
    MaxAccessInterval,
    SensitiveMinGroupSize,
    PurposeRequired,
    ResponseQuantum,
    Weights,
    MaxConnections,
    ReservedConnections,
}

/// Fewer than ten persons can be recognised in each other's company; no setting goes below.
const LEAST_GROUP: u64 = 10;
const LARGEST_GROUP: u64 = 1_000_000;
const LARGEST_ROW_CAP: u64 = 10_000_000;
const MOST_CONNECTIONS: u64 = 10_000;
const HOUR_SECONDS: u64 = 3_600;
const LONGEST_ACCESS_SECONDS: u64 = 30 * 86_400;
const LONGEST_QUANTUM_MS: u64 = 10_000;
const LONGEST_WINDOW_SECONDS: u64 = 3_660 * 86_400;

impl Setting {
    pub const ALL: [Self; 21] = [
        Self::MinGroupSize,
        Self::MaskLow,
        Self::MaskHigh,
        Self::Epsilon,
        Self::Mechanism,
        Self::Delta,
        Self::BudgetEpsilon,
        Self::BudgetDelta,
        Self::PrincipalBudgetEpsilon,
        Self::Window,
        Self::StatementTimeout,
        Self::AnalyzeEpsilon,
        Self::RowNoise,
        Self::AccessRowCap,
        Self::MaxAccessInterval,
        Self::SensitiveMinGroupSize,
        Self::PurposeRequired,
        Self::ResponseQuantum,
        Self::Weights,
        Self::MaxConnections,
        Self::ReservedConnections,
    ];

    /// What [`Settings::session_setting_allowed`] lets a session move.
    pub const OF_SESSIONS: [Self; 4] = [Self::Epsilon, Self::Mechanism, Self::StatementTimeout, Self::Weights];

    /// Case does not matter.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name().eq_ignore_ascii_case(name))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::MinGroupSize => "privacy.min_group_size",
            Self::MaskLow => "privacy.mask_low",
            Self::MaskHigh => "privacy.mask_high",
            Self::Epsilon => "privacy.epsilon",
            Self::Mechanism => "privacy.mechanism",
            Self::Delta => "privacy.delta",
            Self::BudgetEpsilon => "privacy.budget_epsilon",
            Self::BudgetDelta => "privacy.budget_delta",
            Self::PrincipalBudgetEpsilon => "privacy.principal_budget_epsilon",
            Self::Window => "privacy.window",
            Self::StatementTimeout => "statement_timeout",
            Self::AnalyzeEpsilon => "privacy.analyze_epsilon",
            Self::MaxAccessInterval => "privacy.max_access_interval",
            Self::SensitiveMinGroupSize => "privacy.sensitive_min_group_size",
            Self::PurposeRequired => "privacy.purpose_required",
            Self::RowNoise => "privacy.row_noise",
            Self::AccessRowCap => "privacy.access_row_cap",
            Self::ResponseQuantum => "privacy.response_quantum",
            Self::Weights => "privacy.weights",
            Self::MaxConnections => "max_connections",
            Self::ReservedConnections => "superuser_reserved_connections",
        }
    }

    /// What values there are, for the hint of a refusal.
    fn range(self) -> &'static str {
        match self {
            Self::MinGroupSize | Self::SensitiveMinGroupSize => "an integer from 10 to 1000000",
            Self::MaskLow => "a number from 0.01 to below 0.5",
            Self::MaskHigh => "a number from above 0.5 to 0.99",
            Self::Epsilon => "a number from 0.0001 to 10",
            Self::Mechanism => "gaussian or laplace",
            Self::Delta => "a number above 0, 1e-5 at most",
            Self::BudgetEpsilon | Self::PrincipalBudgetEpsilon => "a number above 0, 100 at most",
            Self::BudgetDelta => "a number above 0, 1e-3 at most",
            Self::Window => "an interval from '1 hour' to '3660 days'",
            Self::StatementTimeout => "milliseconds, or a number with ms, s, min, h or d",
            Self::AnalyzeEpsilon => "a number from 0.001 to 10",
            Self::MaxAccessInterval => "an interval from '1 minute' to '30 days'",
            Self::PurposeRequired => "on or off",
            Self::RowNoise => "a number from 0 (no noise) to 1",
            Self::AccessRowCap => "an integer from 1 to 10000000",
            Self::ResponseQuantum => "milliseconds, 10s at most; 0 is none",
            Self::Weights => "a list such as 'hours=4, persons=1'",
            Self::MaxConnections => "an integer from 1 to 10000",
            Self::ReservedConnections => "an integer from 0 to 10000",
        }
    }
}

impl Settings {
    /// The floor of a release that reads a sensitive column: never below that of the others.
    pub fn sensitive_floor(&self) -> u64 {
        self.sensitive_min_group_size.max(self.min_group_size)
    }

    /// Do these settings give the same releases? How many may connect, and how long they may ask, changes none.
    pub(super) fn releases_as(&self, other: &Self) -> bool {
        let without_limits = |settings: &Self| {
            let Self { statement_timeout_ms, max_connections, reserved_connections, .. } = Self::default();
            Self { statement_timeout_ms, max_connections, reserved_connections, ..settings.clone() }
        };
        without_limits(self) == without_limits(other)
    }

    /// As `SHOW` prints it.
    pub fn show(&self, setting: Setting) -> String {
        match setting {
            Setting::MinGroupSize => self.min_group_size.to_string(),
            Setting::MaskLow => show_number(self.mask_low),
            Setting::MaskHigh => show_number(self.mask_high),
            Setting::Epsilon => show_number(self.epsilon),
            Setting::Mechanism => self.mechanism.name().to_owned(),
            Setting::Delta => show_number(self.delta),
            Setting::BudgetEpsilon => show_number(self.budget_epsilon),
            Setting::BudgetDelta => show_number(self.budget_delta),
            Setting::PrincipalBudgetEpsilon => show_number(self.principal_budget_epsilon),
            Setting::Window => show_interval(self.window_seconds),
            Setting::StatementTimeout => show_timeout(self.statement_timeout_ms),
            Setting::AnalyzeEpsilon => show_number(self.analyze_epsilon),
            Setting::MaxAccessInterval => show_interval(self.max_access_seconds),
            Setting::SensitiveMinGroupSize => self.sensitive_min_group_size.to_string(),
            Setting::PurposeRequired => if self.purpose_required { "on" } else { "off" }.to_owned(),
            Setting::RowNoise => show_number(self.row_noise),
            Setting::AccessRowCap => self.access_row_cap.to_string(),
            Setting::ResponseQuantum => show_timeout(self.response_quantum_ms),
            Setting::Weights => self.weights.show(),
            Setting::MaxConnections => self.max_connections.to_string(),
            Setting::ReservedConnections => self.reserved_connections.to_string(),
        }
    }

    /// These settings with one of them changed, or a refusal.
    ///
    /// The mask band cannot be opened further than [0.01, 0.99], so nobody can switch masking off, and it always holds 0.5,
    /// so that something is left to show. Epsilon above 10 and delta above 1e-5 would be noise in name only.
    pub fn set(&self, setting: Setting, text: &str) -> Result<Self> {
        let refuse = || refuse_value(setting);
        let number = |fits: &dyn Fn(f64) -> bool| {
            let value: Option<f64> = text.trim().parse().ok();
            value.filter(|value| value.is_finite() && fits(*value)).ok_or_else(refuse)
        };
        let mut next = self.clone();
        match setting {
            Setting::MinGroupSize => {
                next.min_group_size = parse_group_size(text).ok_or_else(refuse)?;
            }
            Setting::MaskLow => next.mask_low = number(&|v| (0.01..0.5).contains(&v))?,
            Setting::MaskHigh => next.mask_high = number(&|v| v > 0.5 && v <= 0.99)?,
            Setting::Epsilon => next.epsilon = number(&|v| (1e-4..=10.0).contains(&v))?,
            Setting::Mechanism => next.mechanism = Mechanism::by_name(text.trim()).ok_or_else(refuse)?,
            Setting::Delta => next.delta = number(&|v| v > 0.0 && v <= 1e-5)?,
            Setting::BudgetEpsilon => next.budget_epsilon = number(&|v| v > 0.0 && v <= 100.0)?,
            Setting::BudgetDelta => next.budget_delta = number(&|v| v > 0.0 && v <= 1e-3)?,
            Setting::PrincipalBudgetEpsilon => {
                next.principal_budget_epsilon = number(&|v| v > 0.0 && v <= 100.0)?;
            }
            Setting::Window => {
                next.window_seconds = parse_interval(text)
                    .filter(|window| (HOUR_SECONDS..=LONGEST_WINDOW_SECONDS).contains(window))
                    .ok_or_else(refuse)?;
            }
            Setting::StatementTimeout => {
                next.statement_timeout_ms = parse_timeout(text).ok_or_else(refuse)?;
            }
            Setting::AnalyzeEpsilon => next.analyze_epsilon = number(&|v| (1e-3..=10.0).contains(&v))?,
            Setting::MaxAccessInterval => {
                next.max_access_seconds = parse_interval(text)
                    .filter(|interval| (60..=LONGEST_ACCESS_SECONDS).contains(interval))
                    .ok_or_else(refuse)?;
            }
            Setting::SensitiveMinGroupSize => {
                next.sensitive_min_group_size = parse_group_size(text).ok_or_else(refuse)?;
            }
            Setting::PurposeRequired => next.purpose_required = parse_switch(text).ok_or_else(refuse)?,
            Setting::RowNoise => next.row_noise = number(&|v| (0.0..=1.0).contains(&v))?,
            Setting::AccessRowCap => {
                next.access_row_cap = parse_count(text, 1, LARGEST_ROW_CAP).ok_or_else(refuse)?;
            }
            Setting::ResponseQuantum => {
                next.response_quantum_ms =
                    parse_timeout(text).filter(|quantum| *quantum <= LONGEST_QUANTUM_MS).ok_or_else(refuse)?;
            }
            Setting::Weights => next.weights = Weights::parse(text)?,
            Setting::MaxConnections => {
                next.max_connections = parse_count(text, 1, MOST_CONNECTIONS).ok_or_else(refuse)?;
            }
            Setting::ReservedConnections => {
                next.reserved_connections = parse_count(text, 0, MOST_CONNECTIONS).ok_or_else(refuse)?;
            }
        }
        Ok(next)
    }

    /// These settings with one of them back at its default.
    pub fn reset(&self, setting: Setting) -> Result<Self> {
        self.set(setting, &Self::default().show(setting))
    }

    /// `SET setting = value` in a session, or by `ALTER ROLE … SET`: the settings as that session then has them.
    ///
    /// `self` is the system's settings. A session may ask for less epsilon and for less time than these, choose the mechanism, and
    /// say which of its values weigh more; every other privacy setting is the administrator's.
    pub fn session_setting_allowed(&self, setting: Setting, text: &str) -> Result<Self> {
        match setting {
            Setting::Epsilon => {
                let next = self.set(setting, text)?;
                if next.epsilon <= self.epsilon {
                    return Ok(next);
                }
                Err(refuse_value(setting)
                    .detail(format!("the administrator's cap is {}", self.show(setting)))
                    .hint("set a smaller value; a smaller epsilon means more noise"))
            }
            Setting::StatementTimeout => {
                let next = self.set(setting, text)?;
                if self.allows_timeout(next.statement_timeout_ms) {
                    return Ok(next);
                }
                Err(refuse_value(setting)
                    .detail(format!("the administrator's limit is {}", self.show(setting)))
                    .hint("set a shorter time"))
            }
            // Both keep the same promise at the same price in the ledger; which shows less error depends on the question.
            Setting::Weights | Setting::Mechanism => self.set(setting, text),
            Setting::MinGroupSize
            | Setting::MaskLow
            | Setting::MaskHigh
            | Setting::Delta
            | Setting::BudgetEpsilon
            | Setting::BudgetDelta
            | Setting::PrincipalBudgetEpsilon
            | Setting::Window
            | Setting::AnalyzeEpsilon
            | Setting::RowNoise
            | Setting::AccessRowCap
            | Setting::MaxAccessInterval
            | Setting::SensitiveMinGroupSize
            | Setting::PurposeRequired
            | Setting::ResponseQuantum
            | Setting::MaxConnections
            | Setting::ReservedConnections => Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("permission denied to set parameter \"{}\"", setting.name()),
            )
            .detail("only an administrator changes it, for everybody")
            .hint("ALTER SYSTEM SET")),
        }
    }

    /// 0 means none, so it is the longest of all.
    fn allows_timeout(&self, timeout_ms: u64) -> bool {
        self.statement_timeout_ms == 0 || (timeout_ms != 0 && timeout_ms <= self.statement_timeout_ms)
    }
}

fn refuse_value(setting: Setting) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("invalid value for parameter \"{}\"", setting.name()))
        .hint(format!("valid is {}", setting.range()))
}

/// Decimal digits and nothing else: no sign, point, exponent or word can be read as something smaller than it looks.
pub(super) fn parse_group_size(text: &str) -> Option<u64> {
    parse_count(text, LEAST_GROUP, LARGEST_GROUP)
}

fn parse_count(text: &str, least: u64, most: u64) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value: Option<u64> = text.parse().ok().filter(|_| digits);
    value.filter(|value| (least..=most).contains(value))
}

fn parse_switch(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn show_number(value: f64) -> String {
    if value.abs() < 1e-4 { format!("{value:e}") } else { value.to_string() }
}
