//! The aggregates whose exact results only a release may read.
//!
//! Each file is one aggregate: its contribution, its words, its law. `groups` holds the state that
//! they share.

mod avg;
mod bin_log;
mod bounds;
mod collect;
mod count;
mod distinct;
mod exact_sum;
mod groups;
mod histogram;
mod matching;
mod order_free;
mod ordered_set;
mod persons;
mod plain_share;
mod share;
mod sum;
mod udaf;

use datafusion::logical_expr::{AggregateUDF, Expr};
use std::sync::Arc;

pub use exact_sum::exact;
pub(crate) use exact_sum::{Coarse, ExactSums};
pub use histogram::HISTOGRAM_LEAVES;
pub(crate) use matching::BOUNDS as DISTINCT_BOUNDS;
pub use order_free::order_free;

/// `dp_persons(profile Boolean)`.
pub fn dp_persons_udaf() -> Arc<AggregateUDF> {
    udaf::of::<persons::Persons>()
}

/// `dp_count(count Int64, cap Int64)`.
pub fn dp_count_udaf() -> Arc<AggregateUDF> {
    udaf::of::<count::Count>()
}

/// `dp_sum(sum Int64, count Int64, cap Int64, bound Int64)`.
pub fn dp_sum_udaf() -> Arc<AggregateUDF> {
    udaf::of::<sum::Sum>()
}

/// `dp_avg(sum Int64, count Int64, cap Int64, bound Int64)`.
pub fn dp_avg_udaf() -> Arc<AggregateUDF> {
    udaf::of::<avg::Avg>()
}

/// `dp_share(sum Int64, count Int64, cap Int64)`.
pub fn dp_share_udaf() -> Arc<AggregateUDF> {
    udaf::of::<share::Share>()
}

/// `dp_histogram_L(bins Int64 | Binary, cap Int64)` for the least L of [`HISTOGRAM_LEAVES`] that is at least `leaves`.
pub fn dp_histogram_udaf(leaves: usize) -> Arc<AggregateUDF> {
    match leaves {
        0..=4 => udaf::of::<histogram::Histogram<4>>(),
        5..=16 => udaf::of::<histogram::Histogram<16>>(),
        17..=64 => udaf::of::<histogram::Histogram<64>>(),
        _ => udaf::of::<histogram::Histogram<256>>(),
    }
}

/// `dp_distinct(values Int64 | Binary, cap Int64)`.
pub fn dp_distinct_udaf() -> Arc<AggregateUDF> {
    distinct::udaf()
}

/// `person_bins(bin Int64) -> Binary`: the leaves of one person's rows, for `dp_histogram_L`.
pub fn person_bins_udaf() -> Arc<AggregateUDF> {
    collect::udaf(collect::Kind::Bins)
}

/// `person_values(hash Int64) -> Binary`: one person's distinct values, for `dp_distinct`.
pub fn person_values_udaf() -> Arc<AggregateUDF> {
    collect::udaf(collect::Kind::Values)
}

/// The bounds on values a person that `dp_distinct` tries under `cap`, each once, ascending; the n-th is its word n.
pub fn distinct_bounds(cap: u64) -> Vec<u64> {
    let mut bounds: Vec<u64> = DISTINCT_BOUNDS.iter().map(|bound| (*bound as u64).min(cap)).collect();
    bounds.dedup();
    bounds
}

/// `share(condition Boolean) -> Float64`: the plain share, a name for queries to be written in. Not
/// private by itself.
pub fn share_udaf() -> Arc<AggregateUDF> {
    plain_share::udaf()
}

/// Postgres's ordered-set aggregates `percentile_cont`, `percentile_disc` and `mode`: exact, names for queries to be written in. Not
/// private by themselves.
pub fn ordered_set_udafs() -> [Arc<AggregateUDF>; 3] {
    [ordered_set::percentile_cont(), ordered_set::percentile_disc(), ordered_set::mode()]
}

pub fn dp_persons(profile: Expr) -> Expr {
    dp_persons_udaf().call(vec![profile])
}

pub fn dp_count(count: Expr, cap: Expr) -> Expr {
    dp_count_udaf().call(vec![count, cap])
}

pub fn dp_sum(sum: Expr, count: Expr, cap: Expr, bound: Expr) -> Expr {
    dp_sum_udaf().call(vec![sum, count, cap, bound])
}

pub fn dp_avg(sum: Expr, count: Expr, cap: Expr, bound: Expr) -> Expr {
    dp_avg_udaf().call(vec![sum, count, cap, bound])
}

pub fn dp_share(sum: Expr, count: Expr, cap: Expr) -> Expr {
    dp_share_udaf().call(vec![sum, count, cap])
}

pub fn dp_histogram(leaves: usize, bins: Expr, cap: Expr) -> Expr {
    dp_histogram_udaf(leaves).call(vec![bins, cap])
}

pub fn dp_distinct(values: Expr, cap: Expr) -> Expr {
    dp_distinct_udaf().call(vec![values, cap])
}

pub fn person_bins(bin: Expr) -> Expr {
    person_bins_udaf().call(vec![bin])
}

pub fn person_values(hash: Expr) -> Expr {
    person_values_udaf().call(vec![hash])
}

pub fn share(condition: Expr) -> Expr {
    share_udaf().call(vec![condition])
}

#[cfg(test)]
mod tests;
