//! Budget lines: what a policy has left in its window, for all principals together and for each.
//!
//! In: prices. Out: debits, or a refusal. Law: on every line, after every debit, what was spent is (budget_epsilon,
//! budget_delta)-differentially private, see [`Spent`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use rusqlite::Connection;

use super::lines::{self, spent_within};
use super::spent::Spent;
use super::{Broken, Price};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Delta, Epsilon, Settings};
use crate::state::Writing;

/// The principal of the line that holds all principals together; no role has an empty name.
const EVERYBODY: &str = "";

const MICROSECONDS: i64 = 1_000_000;

/// What administrators allow a policy to release in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub budget_epsilon: Epsilon,
    pub budget_delta: Delta,
    pub principal_budget_epsilon: Epsilon,
    pub window_seconds: u64,
}

impl Limits {
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            budget_epsilon: Epsilon::new(settings.budget_epsilon)?,
            budget_delta: Delta::new(settings.budget_delta)?,
            principal_budget_epsilon: Epsilon::new(settings.principal_budget_epsilon)?,
            window_seconds: settings.window_seconds,
        })
    }

    fn epsilon(&self, principal: &str) -> Epsilon {
        if principal == EVERYBODY { self.budget_epsilon } else { self.principal_budget_epsilon }
    }

    /// Is what was spent within what `principal` may spend?
    fn hold(&self, principal: &str, spent: Spent) -> bool {
        spent.is_within(self.epsilon(principal), self.budget_delta)
    }

    /// Start and end, in seconds since 1970.
    fn window(&self, now: i64) -> (i64, i64) {
        let length = i64::try_from(self.window_seconds).unwrap_or(i64::MAX / 4).clamp(1, i64::MAX / 4);
        let start = (now / MICROSECONDS).div_euclid(length) * length;
        (start, start + length)
    }
}

/// One row of `privacy.budget`. Delta is what selections spent, of half of `delta_budget`; the other half carries the
/// conversion to epsilon.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetLine {
    pub policy: String,
    /// `None`: all principals together.
    pub principal: Option<String>,
    /// Seconds since 1970.
    pub window_start: i64,
    pub window_end: i64,
    pub epsilon_budget: f64,
    pub epsilon_spent: f64,
    pub epsilon_left: f64,
    pub delta_budget: f64,
    pub delta_spent: f64,
    pub statements: u64,
}

/// Where all answers so far had an epsilon of their own, and this one would end their adding up.
const OTHER_MECHANISM: &str = "ask for a smaller privacy.epsilon, or SET privacy.mechanism = 'laplace' as for the window's other \
                               answers; repeat an earlier statement; or wait for the next window";

/// The refusal when one of the lines cannot carry its charge.
pub(super) fn refuse_overdraft(
    tx: &Writing,
    who: &str,
    charges: &BTreeMap<String, Price>,
    limits: &Limits,
    now: i64,
) -> Result<Option<Error>> {
    let window = limits.window(now);
    for (policy, price) in charges {
        for principal in [EVERYBODY, who] {
            let spent = spent_within(tx, policy, principal, window)?;
            let after = spent.and(Spent::by(price));
            if !limits.hold(principal, after) {
                let line = line_of(policy, principal, window, spent, limits);
                let refusal = exhausted(&line, after.epsilon_at(limits.budget_delta));
                let ends_adding_up = price.epsilon.is_none() && spent.is_pure() && spent.statements > 0;
                return Ok(Some(if ends_adding_up { refusal.hint(OTHER_MECHANISM) } else { refusal }));
            }
        }
    }
    Ok(None)
}

pub(super) fn debit(
    tx: &Writing,
    who: &str,
    charges: &BTreeMap<String, Price>,
    limits: &Limits,
    now: i64,
) -> Result<()> {
    let window = limits.window(now);
    for (policy, price) in charges {
        for principal in [EVERYBODY, who] {
            lines::debit(tx, policy, principal, window, Spent::by(price))?;
        }
    }
    Ok(())
}

pub(super) fn spent_in(row: &rusqlite::Row, first: usize) -> Result<Spent> {
    let statements: i64 = row.get(first + 4)?;
    Ok(Spent {
        rho: row.get(first)?,
        delta: row.get(first + 1)?,
        epsilon: row.get(first + 2)?,
        gaussian_rho: row.get(first + 3)?,
        statements: statements.unsigned_abs(),
    })
}

pub(super) fn lines(
    connection: &Connection,
    limits: &Limits,
    policies: &BTreeSet<String>,
    now: i64,
) -> Result<Vec<BudgetLine>> {
    let window = limits.window(now);
    let mut sums: BTreeMap<(String, String), Spent> =
        policies.iter().map(|policy| ((policy.clone(), EVERYBODY.to_owned()), Spent::default())).collect();
    let mut statement = connection.prepare_cached(
        "SELECT policy, principal, rho, delta, epsilon, gaussian_rho, statements FROM budget_line
         WHERE window_end > ?1 AND window_start < ?2",
    )?;
    let mut rows = statement.query(window)?;
    while let Some(row) = rows.next()? {
        let line: (String, String) = (row.get(0)?, row.get(1)?);
        let sum = sums.entry(line).or_default();
        *sum = sum.and(spent_in(row, 2)?);
    }
    Ok(sums
        .into_iter()
        .map(|((policy, principal), spent)| line_of(&policy, &principal, window, spent, limits))
        .collect())
}

/// Every debit stands in the log's sealed charges too, so lines that hold less than these were tampered with.
pub(super) fn verify_lines(connection: &Connection) -> Result<Option<Broken>> {
    let missing: i64 = connection.query_row(
        "WITH charge AS (
             SELECT principal, value ->> 0 AS policy, value ->> 1 AS rho, value ->> 2 AS delta, value ->> 3 AS epsilon,
                    iif(value ->> 3 IS NULL, value ->> 1, 0) AS gaussian_rho
             FROM query_log, json_each(charges)),
         everybody AS (
             SELECT * FROM charge UNION ALL SELECT '', policy, rho, delta, epsilon, gaussian_rho FROM charge),
         logged AS (
             SELECT policy, principal, sum(rho) AS rho, sum(delta) AS delta, total(epsilon) AS epsilon,
                    sum(gaussian_rho) AS gaussian_rho
             FROM everybody GROUP BY 1, 2),
         held AS (
             SELECT policy, principal, sum(rho) AS rho, sum(delta) AS delta, sum(epsilon) AS epsilon,
                    sum(gaussian_rho) AS gaussian_rho
             FROM budget_line GROUP BY 1, 2)
         SELECT count(*) FROM logged LEFT JOIN held USING (policy, principal)
         WHERE coalesce(held.rho, 0) < logged.rho * (1 - 1e-9)
            OR coalesce(held.delta, 0) < logged.delta * (1 - 1e-9)
            OR coalesce(held.epsilon, 0) < logged.epsilon * (1 - 1e-9)
            OR coalesce(held.gaussian_rho, 0) < logged.gaussian_rho * (1 - 1e-9)",
        [],
        |row| row.get(0),
    )?;
    Ok((missing > 0).then_some(Broken { table: "budget_line", id: 0 }))
}

fn line_of(
    policy: &str,
    principal: &str,
    (window_start, window_end): (i64, i64),
    spent: Spent,
    limits: &Limits,
) -> BudgetLine {
    let epsilon_budget = limits.epsilon(principal).get();
    let epsilon_spent = spent.epsilon_at(limits.budget_delta);
    BudgetLine {
        policy: policy.to_owned(),
        principal: (principal != EVERYBODY).then(|| principal.to_owned()),
        window_start,
        window_end,
        epsilon_budget,
        epsilon_spent,
        epsilon_left: (epsilon_budget - epsilon_spent).max(0.0),
        delta_budget: limits.budget_delta.get(),
        delta_spent: spent.delta,
        statements: spent.statements,
    }
}

fn exhausted(line: &BudgetLine, after: f64) -> Error {
    let whose = match &line.principal {
        None => format!("policy \"{}\"", line.policy),
        Some(principal) => format!("policy \"{}\" for role \"{principal}\"", line.policy),
    };
    let end = DateTime::from_timestamp(line.window_end, 0)
        .map(|end| end.format("%Y-%m-%d %H:%M:%S+00").to_string())
        .unwrap_or_default();
    let needed = if after.is_finite() {
        format!("this statement would bring it to {after:.3}")
    } else {
        "this statement needs more delta than is left".to_owned()
    };
    Error::new(SqlState::ConfigurationLimitExceeded, "privacy budget exhausted")
        .detail(format!(
            "{whose} has spent epsilon {:.3} of {} in this window, {:.3} is left; {needed}; the window ends at {end}",
            line.epsilon_spent, line.epsilon_budget, line.epsilon_left,
        ))
        .hint("ask for a smaller privacy.epsilon, repeat an earlier statement, or wait for the next window")
}
