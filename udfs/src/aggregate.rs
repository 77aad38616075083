//! The aggregates whose exact results only a release may read.
//!
//! Each file is one aggregate: its contribution, its words, its law. `groups` holds the state that
//! they share.

mod avg;
mod bounds;
mod count;
mod groups;
mod persons;
mod plain_share;
mod share;
mod sum;
mod udaf;

use datafusion::logical_expr::{AggregateUDF, Expr};
use std::sync::Arc;

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

/// `share(condition Boolean) -> Float64`: the plain share, a name for queries to be written in. Not
/// private by itself.
pub fn share_udaf() -> Arc<AggregateUDF> {
    plain_share::udaf()
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

pub fn share(condition: Expr) -> Expr {
    share_udaf().call(vec![condition])
}

#[cfg(test)]
mod tests;
