//! Interval arithmetic: how far an expression's value can go, from its columns' declared bounds.
//!
//! `None` means unknown, and an aggregate that needs bounds is then refused. NULL and NaN are not values.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;

use super::facts::PersonColumn;
use crate::error::{Error, Result, SqlState};
use crate::policy::Bounds;

pub(super) fn unit() -> Option<Bounds> {
    Bounds::new(0.0, 1.0).ok()
}

pub(super) fn of_literal(value: &ScalarValue) -> Option<Bounds> {
    let number = number(value)?;
    Bounds::new(number, number).ok()
}

pub(super) fn number(value: &ScalarValue) -> Option<f64> {
    if !value.data_type().is_numeric() || value.is_null() {
        return None;
    }
    match value.cast_to(&DataType::Float64) {
        Ok(ScalarValue::Float64(Some(number))) => Some(number).filter(|number| number.is_finite()),
        Ok(_) | Err(_) => None,
    }
}

pub(super) fn negated(bounds: Bounds) -> Option<Bounds> {
    Bounds::new(-bounds.upper(), -bounds.lower()).ok()
}

/// Bounds after a cast: rounding to integers may go to the next one.
pub(super) fn cast(bounds: Bounds, to: &DataType) -> Bounds {
    if to.is_integer() { Bounds::new(bounds.lower().floor(), bounds.upper().ceil()).unwrap_or(bounds) } else { bounds }
}

/// The smallest interval around all of them; unknown if one is.
pub(super) fn hull(all: impl Iterator<Item = Option<Bounds>>) -> Option<Bounds> {
    let all: Option<Vec<Bounds>> = all.collect();
    let all = all?;
    let lower = all.iter().map(|b| b.lower()).reduce(f64::min)?;
    let upper = all.iter().map(|b| b.upper()).reduce(f64::max)?;
    Bounds::new(lower, upper).ok()
}

pub(super) fn of_arithmetic(op: Operator, left: Option<Bounds>, right: Option<Bounds>) -> Option<Bounds> {
    let (left, right) = (left?, right?);
    match op {
        Operator::Plus => Bounds::new(left.lower() + right.lower(), left.upper() + right.upper()).ok(),
        Operator::Minus => Bounds::new(left.lower() - right.upper(), left.upper() - right.lower()).ok(),
        Operator::Multiply => corners(left, right, |l, r| l * r),
        Operator::Divide if right.lower() > 0.0 || right.upper() < 0.0 => corners(left, right, |l, r| l / r),
        _ => None,
    }
}

fn corners(left: Bounds, right: Bounds, f: impl Fn(f64, f64) -> f64) -> Option<Bounds> {
    let values = [
        f(left.lower(), right.lower()),
        f(left.lower(), right.upper()),
        f(left.upper(), right.lower()),
        f(left.upper(), right.upper()),
    ];
    let lower = values.iter().copied().reduce(f64::min)?;
    let upper = values.iter().copied().reduce(f64::max)?;
    Bounds::new(lower, upper).ok()
}

/// Errors: 22023 for a `clamp` whose limits are not two ordered numbers.
pub(super) fn of_function(
    name: &str,
    arguments: &[&PersonColumn],
    literals: &[Option<ScalarValue>],
) -> Result<Option<Bounds>> {
    let first = arguments.first().and_then(|facts| facts.bounds);
    Ok(match name {
        "clamp" => Some(of_clamp(literals)?),
        "abs" => first.and_then(|b| {
            let magnitude = b.magnitude();
            let lower = if b.lower() <= 0.0 && b.upper() >= 0.0 { 0.0 } else { b.lower().abs().min(b.upper().abs()) };
            Bounds::new(lower, magnitude).ok()
        }),
        "floor" | "ceil" | "trunc" if arguments.len() == 1 => {
            first.and_then(|b| Bounds::new(b.lower().floor(), b.upper().ceil()).ok())
        }
        "round" if arguments.len() == 1 => first.and_then(|b| Bounds::new(b.lower().floor(), b.upper().ceil()).ok()),
        "sqrt" => first.filter(|b| b.lower() >= 0.0).and_then(|b| Bounds::new(b.lower().sqrt(), b.upper().sqrt()).ok()),
        "coalesce" | "greatest" | "least" | "make_array" => hull(arguments.iter().map(|facts| facts.bounds)),
        "nullif" => first,
        // Buckets 1 to n, and one to either side; of thresholds, how many there are.
        "width_bucket" => {
            let buckets = literals.get(3).and_then(Option::as_ref).and_then(number).filter(|n| *n >= 1.0);
            buckets.and_then(|n| Bounds::new(0.0, n.trunc() + 1.0).ok())
        }
        _ => None,
    })
}

fn of_clamp(literals: &[Option<ScalarValue>]) -> Result<Bounds> {
    let refusal = || {
        Error::new(SqlState::InvalidParameterValue, "clamp(x, lo, hi) takes two numbers with lo <= hi")
            .hint("for example clamp(hours, 0, 80)")
    };
    let limit = |index: usize| literals.get(index).and_then(Option::as_ref).and_then(number).ok_or_else(refusal);
    Bounds::new(limit(1)?, limit(2)?).map_err(|_| refusal())
}
