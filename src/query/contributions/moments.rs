//! Variances, covariances, correlations and regressions: means of u, v, u², v², uv, where u and v are the arguments from the middle
//! of their bounds.
//!
//! In: a call with one argument, or two of which only rows with both count. Out: means like those of `avg`, over one shared count; a
//! variance beside an `avg` of the same column shares its sum as well. Must never: take a square of what is not held within bounds.
//!
//! **Sensitivity** of each sum as of `avg`: |u| ≤ h and |uv| ≤ h·h′; u² is taken from the middle of [0, h²]. **Noise, Cost** as `avg`,
//! once for each of the sums that the kind needs. **Source** design, section 4 ("Variance: two moments").

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, lit, try_cast, when};
use paravent_udfs::{Estimate, Moment, Scaled, clamp, dp_avg, dp_lattice, total_mul, total_sub};

use super::{Call, Contributions, DraftOutput, counts, limits, reach, sums};
use crate::error::{Error, Result, SqlState};
use crate::policy::Bounds;
use crate::query::expression::Derived;

pub(super) fn kind(name: &str) -> Option<Moment> {
    Some(match name {
        "var_pop" => Moment::VarPop,
        "var" | "var_samp" => Moment::VarSamp,
        "stddev_pop" => Moment::StddevPop,
        "stddev" | "stddev_samp" => Moment::StddevSamp,
        "covar_pop" => Moment::CovarPop,
        "covar_samp" => Moment::CovarSamp,
        "corr" => Moment::Corr,
        "regr_slope" => Moment::Slope,
        "regr_intercept" => Moment::Intercept,
        "regr_r2" => Moment::R2,
        _ => return None,
    })
}

/// A quantity whose mean is wanted: a number of each row within bounds.
struct Quantity {
    expression: Expr,
    bounds: Bounds,
}

impl Contributions<'_> {
    pub(super) fn moments(&mut self, call: &Call, kind: Moment) -> Result<DraftOutput> {
        let cap = self.cap_of(call)?;
        let first = call.argument.as_ref().ok_or_else(Error::internal)?;
        // In `f(y, x)` the second is the independent one.
        let (x, y) = call.second.as_ref().map_or((first, None), |second| (second, Some(first)));
        let u = self.centred(call, x)?;
        let v = y.map(|y| self.centred(call, y)).transpose()?;
        let of_v = |f: &dyn Fn(&Quantity) -> Result<Quantity>| v.as_ref().map(f).transpose();
        let as_it_is =
            |of: &Derived, q: &Quantity| Quantity { expression: of.expression.clone().unalias(), bounds: q.bounds };
        let quantities = [
            Some(as_it_is(x, &u)),
            y.zip(v.as_ref()).map(|(y, v)| as_it_is(y, v)),
            Some(square(&u)?),
            of_v(&square)?,
            of_v(&|v| product(&u, v))?,
        ];
        let mut parts = [None, None, None, None, None];
        let mut denominator = None;
        for ((slot, needed), quantity) in parts.iter_mut().zip(kind.needs()).zip(&quantities) {
            let Some(quantity) = quantity.as_ref().filter(|_| needed) else { continue };
            let (part, state) = self.part(call, cap, quantity)?;
            denominator.get_or_insert(state);
            *slot = Some(part);
        }
        // Means of u and v are means from their middles.
        for part in parts.iter_mut().take(2).flatten() {
            part.mid = 0.0;
        }
        let (count, cell) = self.denominator(call, cap, denominator.ok_or_else(Error::internal)?)?;
        let places = [Some(&u), v.as_ref()].map(|q| q.map_or((0.0, 0.0), |q| (middle(q), half(q))));
        let [(mid_x, half_x), (mid_y, half_y)] = places;
        let estimate = Estimate::Moments { kind, count, parts, mid: [mid_x, mid_y], half: [half_x, half_y] };
        Ok(DraftOutput { estimate, mask: None, cell, bounds: Some(u.bounds) })
    }

    /// `regr_count`: the rows that have both.
    pub(super) fn pairs(&mut self, call: &Call) -> Result<DraftOutput> {
        let cap = self.cap_of(call)?;
        let both = both_there(call);
        self.count_where(call, both, cap)
    }

    /// `regr_avgx`, `regr_avgy`: a mean over the rows that have both.
    pub(super) fn mean_of_pairs(&mut self, call: &Call) -> Result<DraftOutput> {
        let cap = self.cap_of(call)?;
        let of = if call.name == "regr_avgx" { &call.second } else { &call.argument };
        let of = of.as_ref().ok_or_else(Error::internal)?;
        let bounds = self.bounds_of_one(call, of)?;
        let quantity = Quantity { expression: of.expression.clone().unalias(), bounds };
        let (part, state) = self.part(call, cap, &quantity)?;
        let (count, cell) = self.denominator(call, cap, state)?;
        let (lower, upper) = (bounds.lower(), bounds.upper());
        let estimate = Estimate::Mean { sum: part.sum, count, mid: part.mid, step: part.step, lower, upper };
        Ok(DraftOutput { estimate, mask: None, cell, bounds: Some(bounds) })
    }

    /// An argument from the middle of its bounds, within them.
    fn centred(&self, call: &Call, argument: &Derived) -> Result<Quantity> {
        let bounds = self.bounds_of_one(call, argument)?;
        let (lower, upper) = (bounds.lower(), bounds.upper());
        let number = try_cast(argument.expression.clone().unalias(), DataType::Float64);
        let held = clamp().call(vec![number, lit(lower), lit(upper)]);
        Ok(Quantity { expression: total_sub().call(vec![held, lit(bounds.mid())]), bounds })
    }

    /// The noised sum of a quantity, and its state.
    fn part(&mut self, call: &Call, cap: u64, quantity: &Quantity) -> Result<(Scaled, Expr)> {
        let (bounds, half) = (quantity.bounds, half(quantity));
        let step = self.step(half, cap, false)?;
        let bound = reach(half, step);
        let [mid, lower, upper, width] = limits(bounds.mid(), bounds, step);
        let mut value = dp_lattice(quantity.expression.clone(), mid, lower, upper, width);
        if let Some(both) = both_there(call) {
            value = when(both, value).end().map_err(|_| Error::internal())?;
        }
        let nullable = call.nullable || call.filter.is_some() || self.under.rows.is_some();
        let value = self.fitting(call, value)?;
        let value = self.value(value, true, nullable);
        let state = dp_avg(sums(value), counts(value), lit(cap as i64), lit(bound as i64));
        let sum = self.measure(state.clone(), 0, cap.saturating_mul(bound), step)?;
        Ok((Scaled { sum, mid: bounds.mid(), step }, state))
    }
}

/// Of two arguments that can be NULL: both are there.
fn both_there(call: &Call) -> Option<Expr> {
    let there = |derived: &Derived| derived.expression.clone().unalias().is_not_null();
    let (first, second) = (call.argument.as_ref()?, call.second.as_ref()?);
    call.nullable.then(|| there(first).and(there(second)))
}

fn middle(q: &Quantity) -> f64 {
    q.bounds.mid()
}

fn half(q: &Quantity) -> f64 {
    q.bounds.upper() / 2.0 - q.bounds.lower() / 2.0
}

fn square(u: &Quantity) -> Result<Quantity> {
    let expression = total_mul().call(vec![u.expression.clone(), u.expression.clone()]);
    Ok(Quantity { expression, bounds: bounds(0.0, half(u) * half(u))? })
}

fn product(u: &Quantity, v: &Quantity) -> Result<Quantity> {
    let expression = total_mul().call(vec![u.expression.clone(), v.expression.clone()]);
    let most = half(u) * half(v);
    Ok(Quantity { expression, bounds: bounds(-most, most)? })
}

fn bounds(lower: f64, upper: f64) -> Result<Bounds> {
    Bounds::new(lower, upper).map_err(|_| {
        Error::new(SqlState::InvalidParameterValue, "the bounds are too wide for a variance")
            .detail("the square of their width is no number")
            .hint("write clamp(x, lo, hi) with narrower bounds")
    })
}
