//! Total functions: over person rows an expression cannot fail, since whether it failed would tell
//! about a row.
//!
//! `total` wraps any scalar function; `total_add` and its siblings stand for the operators; `clamp`
//! holds a value within bounds. In: what the original takes. Out: what it returns, NULL for each
//! row that it fails on. Must never: raise an error that depends on a value.

mod arithmetic;
mod cast;
mod clamp;
mod rows;
mod width_bucket;
mod wrap;

pub use arithmetic::{total_add, total_div, total_mod, total_mul, total_neg, total_sub};
pub use cast::total_cast;
pub use clamp::clamp;
pub use width_bucket::width_bucket;
pub use wrap::total;

#[cfg(test)]
mod tests;
