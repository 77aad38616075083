//! `count(DISTINCT x)` of anything but the person key: how many distinct values a group shows.
//!
//! In: a call of any type; identifiers, too, since what comes out is a number. Out: several counts, each of what a group shows when a
//! person may show at most ℓ values; the estimate takes the best. Must never: let a person show more than ℓ.
//!
//! A count of values under a profile is a count under a profile: it is held against the same count without it, as design §4 says of
//! all of them. Both then have one bound ℓ, so that they can be compared.
//!
//! **Sensitivity** ℓ a group; squared ℓ²·M, see `paravent_udfs::dp_distinct`. **Noise, Cost** of one measurement for each ℓ. **Source**
//! Knop, Steinke 2023, "Counting Distinct Elements Under Person-Level Differential Privacy".

use datafusion::logical_expr::lit;
use paravent_udfs::{Base, Estimate, Mask, distinct_bounds, dp_count, dp_distinct, dp_hash};

use super::{Call, Contributions, DraftOutput, Gathered, counts, gathered_column};
use crate::error::{Error, Result, SqlState};

/// The bound of a count that is compared with another one: the third that there is.
const COMPARED: usize = 2;

/// Without a declared bound nobody shows more than this.
const MOST: u64 = 64;

impl Contributions<'_> {
    pub(super) fn distinct(&mut self, call: &Call) -> Result<DraftOutput> {
        let argument = call.argument.as_ref().ok_or_else(Error::internal)?;
        if argument.facts.profiles() && !call.plain {
            return Err(refuse_computed());
        }
        let by_filter = call.filter.as_ref().is_some_and(|d| d.facts.profiles());
        let profile = self.under.rows.is_some() || by_filter;
        if profile && self.under.by_keys {
            return Err(super::refuse_two_profiles());
        }
        let rows = if argument.facts.determined { 1 } else { self.cap.unwrap_or(MOST) };
        let values = argument.facts.domain.as_ref().map_or(MOST, |domain| domain.len() as u64);
        let cap = rows.min(values).clamp(1, MOST);
        let number = dp_hash(argument.expression.clone().unalias());
        let value = self.gathered(call, number.clone(), Gathered::Values)?;
        let cell = if call.nullable || call.filter.is_some() {
            let count = self.measure(dp_count(counts(value), lit(1_i64)), 0, 1, 1.0)?;
            Some(self.cell(count, 1, 1)?)
        } else {
            None
        };
        let (shown, mask) = if profile || self.under.by_keys {
            let counted = self.shown_values(value, cap, Some(COMPARED))?;
            let base = if profile {
                let everybody = self.value(number, false, true);
                self.values[everybody].gathered = Gathered::Values;
                Base::Measurement(self.shown_values(everybody, cap, Some(COMPARED))?[0])
            } else {
                Base::Partition { keys: self.under.keys.clone(), measurement: counted[0] }
            };
            (counted, Some(self.band(base)))
        } else {
            (self.shown_values(value, cap, None)?, None::<Mask>)
        };
        Ok(DraftOutput { estimate: Estimate::Distinct { counts: shown }, mask, cell, bounds: None })
    }

    /// The counts under every bound, or under one of them.
    fn shown_values(&mut self, value: usize, cap: u64, only: Option<usize>) -> Result<Vec<usize>> {
        let state = dp_distinct(gathered_column(value), lit(cap as i64));
        let bounds = distinct_bounds(cap);
        let only = only.map(|only| only.min(bounds.len() - 1));
        let numbered = bounds.into_iter().enumerate().filter(|(word, _)| only.is_none_or(|only| only == *word));
        numbered.map(|(word, bound)| self.measure(state.clone(), word, bound, 1.0)).collect()
    }
}

fn refuse_computed() -> Error {
    Error::new(SqlState::FeatureNotSupported, "count(DISTINCT …) of a value computed from a measure is not supported")
        .detail("the computation could be a condition, and a count under a condition is compared with its group")
        .hint("write the condition as FILTER (WHERE …), or count the distinct values of the column itself")
}
