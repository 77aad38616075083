//! One call that adds everything to a context, and the lists behind it.

use crate::noise::Noise;
use crate::planner::planner;
use crate::{aggregate, bins, lattice, total};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// Every aggregate of this crate.
pub fn all_aggregates() -> Vec<Arc<AggregateUDF>> {
    vec![
        aggregate::dp_persons_udaf(),
        aggregate::dp_count_udaf(),
        aggregate::dp_sum_udaf(),
        aggregate::dp_avg_udaf(),
        aggregate::dp_share_udaf(),
        aggregate::share_udaf(),
        aggregate::dp_distinct_udaf(),
        aggregate::person_bins_udaf(),
        aggregate::person_values_udaf(),
    ]
    .into_iter()
    .chain(aggregate::HISTOGRAM_LEAVES.map(aggregate::dp_histogram_udaf))
    .collect()
}

/// Every scalar function that needs no key.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    vec![
        lattice::dp_lattice_udf(),
        bins::dp_bin_udf(),
        bins::dp_hash_udf(),
        total::clamp(),
        total::width_bucket(),
        total::total_add(),
        total::total_sub(),
        total::total_mul(),
        total::total_div(),
        total::total_mod(),
        total::total_neg(),
    ]
}

/// Adds the functions, and a query planner for [`crate::Release`] and [`crate::BoundGroups`] that
/// draws from `noise`. Replaces the context's own query planner.
pub fn register(ctx: &SessionContext, noise: Noise) {
    for aggregate in all_aggregates() {
        ctx.register_udaf(aggregate.as_ref().clone());
    }
    for function in scalar_functions() {
        ctx.register_udf(function.as_ref().clone());
    }
    let state = ctx.state_ref();
    let mut state = state.write();
    *state = SessionStateBuilder::new_from_existing(state.clone()).with_query_planner(planner(noise)).build();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_names_collide() {
        let ctx = SessionContext::new();
        let state = ctx.state();
        let mut taken: HashSet<String> = state.scalar_functions().keys().cloned().collect();
        taken.extend(state.aggregate_functions().keys().cloned());
        taken.extend(state.window_functions().keys().cloned());
        let mut names: Vec<String> = all_aggregates().iter().map(|f| f.name().to_owned()).collect();
        names.extend(scalar_functions().iter().map(|f| f.name().to_owned()));
        names.push("dp_pseudonym".to_owned());
        for name in names {
            assert!(taken.insert(name.clone()), "{name} is taken");
        }
    }
}
