//! Differentially private aggregates, release, masks and pseudonyms for Apache DataFusion.
//!
//! One call, [`register`], adds everything to a `SessionContext`. A private query is then a plan of
//! ordinary operators and these:
//!
//! ```text
//! Release                     noise, floor, threshold: the only reader of unreleased values
//!   Aggregate by g            dp_persons, dp_count, dp_sum, dp_avg, dp_share, dp_histogram, dp_distinct: exact, unreleased
//!     BoundGroups             at most M groups a person
//!       Aggregate by u, g     count(x), sum(dp_lattice(x, …)): one row a person and group
//!         person rows
//! ```
//!
//! What runs is not always that: facts are summed before they are joined with people (`eager`), constants are not
//! grouped by (`constants`), rows find their person in a table without being moved (`lookup`), persons are numbered by their keys instead
//! of hashed with their groups (`by_person`), and nothing is believed of outer joins and grouping sets (`unordered`). Each gives the rows
//! of the plan above, and no more.
//!
//! This crate knows nothing of servers, roles or policies. Sensitivities and prices are the
//! caller's to compute; each mechanism's documentation states its Sensitivity, Noise, Cost and
//! Source.

mod accounting;
mod aggregate;
mod bins;
mod bound_groups;
mod by_person;
mod constants;
mod eager;
mod lattice;
mod lookup;
mod mask;
#[cfg(feature = "mutants")]
pub mod mutants;
mod noise;
mod normal;
mod patterns;
mod planner;
mod pseudonym;
mod register;
mod release;
mod safe_cast;
mod together;
mod total;
mod unordered;
mod unreleased;
mod viewer_mask;

pub use accounting::{Delta, Epsilon, InvalidParameter, Rho, epsilon_of, is_within, rho_of};
pub use aggregate::{
    HISTOGRAM_LEAVES, distinct_bounds, dp_avg, dp_avg_udaf, dp_count, dp_count_udaf, dp_distinct, dp_distinct_udaf,
    dp_histogram, dp_histogram_udaf, dp_persons, dp_persons_udaf, dp_share, dp_share_udaf, dp_sum, dp_sum_udaf, exact,
    order_free, ordered_set_udafs, person_bins, person_bins_udaf, person_values, person_values_udaf, share, share_udaf,
};
pub use bins::{dp_bin, dp_bin_udf, dp_hash, dp_hash_udf};
pub use bound_groups::{BoundGroups, BoundGroupsExec};
pub use lattice::{dp_lattice, dp_lattice_udf};
pub use mask::{Base, Mask, Masked};
pub use noise::{AdditiveNoise, DiscreteLaplace, Gaussian, Mechanism, NoEntropy, Noise, NoiseStream, Sensitivity};
pub use normal::normal_quantile;
pub use patterns::{date, postgres_functions, to_char, to_date, to_timestamp};
pub use planner::{ReleasePlanner, planner};
pub use pseudonym::{PseudonymKey, pseudonym, pseudonym_udf};
pub use register::{all_aggregates, register, scalar_functions};
pub use release::{
    CellFloor, Estimate, MERGED, Measurement, Moment, Output, Release, ReleaseExec, ReleaseSpec, Scaled, What,
    estimates, release,
};
pub use together::{Together, plan_together};
pub use total::{
    clamp, total, total_add, total_cast, total_div, total_mod, total_mul, total_neg, total_sub, width_bucket,
};
pub use unreleased::{UNRELEASED, is_unreleased, unreleased_field, words_of};
pub use viewer_mask::{LEAST_HIDDEN, Unit, VIEWER_MASK, ViewerMask, viewer_mask_udf};
