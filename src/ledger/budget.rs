//! Budget lines: what a policy has left in its window, for all principals together and for each.
//!
//! In: prices in (rho, delta). Out: debits, or a refusal. Law: on every line, after every debit,
//! `epsilon_of(sum of rho, budget_delta - sum of delta) <= budget_epsilon`. Sums are rounded up, so that many small debits
//! never come to less than they cost.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use rusqlite::Connection;

use super::lines::{self, spent_within};
use super::{Broken, Price};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Delta, Epsilon, Rho, Settings, epsilon_of, is_within};
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
        match (Rho::new(spent.rho), Delta::new(self.budget_delta.get() - spent.delta)) {
            (Ok(rho), Ok(left)) => is_within(rho, left, self.epsilon(principal)),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
        }
    }

    /// Start and end, in seconds since 1970.
    fn window(&self, now: i64) -> (i64, i64) {
        let length = i64::try_from(self.window_seconds).unwrap_or(i64::MAX / 4).clamp(1, i64::MAX / 4);
        let start = (now / MICROSECONDS).div_euclid(length) * length;
        (start, start + length)
    }

    /// The epsilon of everything spent, at the delta that is left for the conversion.
    fn epsilon_spent(&self, spent: Spent) -> f64 {
        if spent.rho == 0.0 && spent.delta <= self.budget_delta.get() {
            return 0.0;
        }
        let left = Delta::new(self.budget_delta.get() - spent.delta);
        match (Rho::new(spent.rho), left) {
            (Ok(rho), Ok(left)) => epsilon_of(rho, left).get(),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => f64::INFINITY,
        }
    }
}

/// One row of `privacy.budget`. Delta is what selections spent; the rest of `delta_budget` carries the conversion to epsilon.
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

#[derive(Clone, Copy, Default)]
pub(super) struct Spent {
    pub rho: f64,
    pub delta: f64,
    pub statements: u64,
}

impl Spent {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            rho: add_up(self.rho, other.rho),
            delta: add_up(self.delta, other.delta),
            statements: self.statements + other.statements,
        }
    }

    fn of(price: &Price) -> Self {
        Self { rho: price.rho.get(), delta: price.delta.get(), statements: 1 }
    }
}

/// A sum that is never below the true one.
pub(super) fn add_up(left: f64, right: f64) -> f64 {
    if left == 0.0 || right == 0.0 { left + right } else { (left + right).next_up() }
}

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
            let after = spent.and(Spent::of(price));
            if !limits.hold(principal, after) {
                let line = line_of(policy, principal, window, spent, limits);
                return Ok(Some(exhausted(&line, limits.epsilon_spent(after))));
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
            lines::debit(tx, policy, principal, window, Spent::of(price))?;
        }
    }
    Ok(())
}

pub(super) fn spent_in(row: &rusqlite::Row, first: usize) -> Result<Spent> {
    let statements: i64 = row.get(first + 2)?;
    Ok(Spent { rho: row.get(first)?, delta: row.get(first + 1)?, statements: statements.unsigned_abs() })
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
        "SELECT policy, principal, rho, delta, statements FROM budget_line
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
             SELECT principal, value ->> 0 AS policy, value ->> 1 AS rho, value ->> 2 AS delta
             FROM query_log, json_each(charges)),
         logged AS (
             SELECT policy, principal, sum(rho) AS rho, sum(delta) AS delta FROM charge GROUP BY 1, 2
             UNION ALL
             SELECT policy, '', sum(rho), sum(delta) FROM charge GROUP BY 1),
         held AS (
             SELECT policy, principal, sum(rho) AS rho, sum(delta) AS delta
             FROM budget_line GROUP BY 1, 2)
         SELECT count(*) FROM logged LEFT JOIN held USING (policy, principal)
         WHERE coalesce(held.rho, 0) < logged.rho * (1 - 1e-9)
            OR coalesce(held.delta, 0) < logged.delta * (1 - 1e-9)",
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
    let epsilon_spent = limits.epsilon_spent(spent);
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
