//! Percentiles, `median`, `min`, `max` and `mode`: a histogram of the group's rows.
//!
//! In: a call with bounds, or for `mode` with a declared domain. Out: one noised tree of counts, whatever the number of fractions. A
//! percentile says what share of a group lies below it, so its fraction lies within the mask band as any share does; `min` and `max`
//! are the percentiles at the band's edges, since the extreme itself is one person's. Must never: let a person add more than `cap`
//! rows to the tree.
//!
//! **Sensitivity** levels · cap² · M, see `paravent_udfs::dp_histogram`. **Noise, Cost** of one measurement. **Source** Hay et al. 2010.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit, when};
use paravent_udfs::{Estimate, HISTOGRAM_LEAVES, What, dp_bin, dp_histogram};

use super::{Call, Contributions, DraftCell, DraftOutput, Gathered, Shown, gathered_column};
use crate::error::{Error, Result, SqlState};
use crate::policy::Bounds;

/// A tree's branching: four levels over 256 leaves, near the least variance of a rank for the noise that it costs.
const BRANCHING: usize = 4;

/// The leaves of a histogram over bounds.
struct Leaves {
    lower: f64,
    width: f64,
    upper: f64,
    used: usize,
}

impl Contributions<'_> {
    pub(super) fn quantiles(&mut self, call: &Call) -> Result<()> {
        let settings = &self.context.policies.settings;
        let (low, high) = (settings.mask_low, settings.mask_high);
        let fractions = match call.name.as_str() {
            "median" | "approx_median" => vec![0.5],
            "min" => vec![low],
            "max" => vec![high],
            "percentile_cont" | "percentile_disc" | "approx_percentile_cont" => call.fractions.each.clone(),
            _ => return Err(Error::internal()),
        };
        if call.argument.as_ref().is_some_and(|d| d.facts.profiles())
            && !fractions.iter().all(|fraction| (low..=high).contains(fraction))
        {
            return Err(refuse_fraction(low, high));
        }
        let cap = self.cap_of(call)?;
        let bounds = self.bounds_of(call)?;
        let over = leaves(bounds, call.integer)?;
        let argument = call.argument.as_ref().ok_or_else(Error::internal)?.expression.clone().unalias();
        let bin = dp_bin(argument, lit(over.lower), lit(over.width), lit(over.used as i64));
        let (tree, leaves, cell) = self.histogram(call, bin, over.used, BRANCHING, cap)?;
        let first = self.outputs.len();
        for fraction in fractions {
            let estimate = Estimate::Quantile {
                tree,
                leaves,
                branching: BRANCHING,
                used: over.used,
                fraction,
                lower: over.lower,
                width: over.width,
                upper: over.upper,
                whole: call.integer,
            };
            self.outputs.push(DraftOutput { estimate, mask: None, cell, bounds: Some(bounds) });
        }
        self.shown.push(if call.fractions.several {
            Shown::Several((first..self.outputs.len()).collect())
        } else {
            Shown::One(first)
        });
        Ok(())
    }

    /// The most frequent value of a column that has few.
    pub(super) fn mode(&mut self, call: &Call) -> Result<()> {
        let cap = self.cap_of(call)?;
        let argument = call.argument.as_ref().ok_or_else(Error::internal)?;
        let values = values_of(call).ok_or_else(refuse_mode)?;
        let subject = argument.expression.clone().unalias();
        let mut bin: Option<datafusion::logical_expr::conditional_expressions::CaseBuilder> = None;
        for (number, value) in values.iter().enumerate() {
            let (is, number) = (subject.clone().eq(lit(value.clone())), lit(number as i64));
            bin = Some(match bin {
                None => when(is, number),
                Some(mut bin) => bin.when(is, number),
            });
        }
        let bin = bin.ok_or_else(refuse_mode)?.end().map_err(|_| Error::internal())?;
        let used = values.len();
        let leaves = at_least(used).ok_or_else(refuse_mode)?;
        let (tree, leaves, cell) = self.histogram(call, bin, used, leaves, cap)?;
        self.shown.push(Shown::Member(self.outputs.len(), values));
        let estimate = Estimate::Mode { tree, leaves, branching: leaves, values: used };
        self.outputs.push(DraftOutput { estimate, mask: None, cell, bounds: None });
        Ok(())
    }

    /// The noised tree over `used` leaves, how many it has, and the cell where not every row has a value.
    fn histogram(
        &mut self,
        call: &Call,
        bin: Expr,
        used: usize,
        branching: usize,
        cap: u64,
    ) -> Result<(usize, usize, Option<DraftCell>)> {
        let leaves = at_least(used).ok_or_else(Error::internal)?;
        let value = self.gathered(call, bin, Gathered::Bins)?;
        let state = dp_histogram(leaves, gathered_column(value), lit(cap as i64));
        let tree = self.measure_what(state, What::Tree { leaves, branching }, cap, 1.0)?;
        let cell = if call.nullable || call.filter.is_some() { Some(self.cell_of(value, cap)?) } else { None };
        Ok((tree, leaves, cell))
    }
}

fn at_least(used: usize) -> Option<usize> {
    HISTOGRAM_LEAVES.into_iter().find(|leaves| *leaves >= used)
}

/// Few integers have a leaf each; many share leaves of equally many; numbers have 256 leaves of equal width.
fn leaves(bounds: Bounds, integer: bool) -> Result<Leaves> {
    let most = HISTOGRAM_LEAVES[HISTOGRAM_LEAVES.len() - 1];
    if integer {
        let (lower, upper) = (bounds.lower().ceil(), bounds.upper().floor());
        let values = upper - lower + 1.0;
        if values < 1.0 {
            return Err(Error::new(SqlState::InvalidParameterValue, "no integer lies within the bounds"));
        }
        let width = (values / most as f64).ceil();
        return Ok(Leaves { lower, width, upper, used: (values / width).ceil() as usize });
    }
    let width = bounds.upper() / most as f64 - bounds.lower() / most as f64;
    let (width, used) = if width > 0.0 { (width, most) } else { (1.0, 1) };
    Ok(Leaves { lower: bounds.lower(), width, upper: bounds.upper(), used })
}

/// The values that a column can have, if they are declared, or few by its type and bounds.
fn values_of(call: &Call) -> Option<Vec<ScalarValue>> {
    let most = HISTOGRAM_LEAVES[HISTOGRAM_LEAVES.len() - 1];
    let facts = &call.argument.as_ref()?.facts;
    if let Some(domain) = &facts.domain {
        return Some(domain.as_ref().clone()).filter(|domain| (1..=most).contains(&domain.len()));
    }
    if call.data_type == DataType::Boolean {
        return Some(vec![ScalarValue::from(false), ScalarValue::from(true)]);
    }
    let bounds = facts.bounds.filter(|_| call.integer)?;
    let (lower, upper) = (bounds.lower().ceil(), bounds.upper().floor());
    let few = upper - lower < most as f64 && lower.abs().max(upper.abs()) < 9e15;
    few.then(|| (lower as i64..=upper as i64).map(ScalarValue::from).collect())
}

fn refuse_fraction(low: f64, high: f64) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("percentiles of a measure lie between {low} and {high}"))
        .detail("beyond, a percentile would say what almost everyone or almost no one in a group does, which the mask keeps back")
        .hint(format!("use {low} or {high}"))
}

fn refuse_mode() -> Error {
    Error::new(SqlState::InvalidParameterValue, "mode needs to know the values that there can be")
        .detail("a value that few persons have must not appear because one more person has it")
        .hint("group by the column and order by count(*); or an administrator declares the values: ALTER TABLE … ALTER COLUMN … SET (domain = '{…}')")
}
