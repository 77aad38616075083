//! `to_char`, `to_date` and `to_timestamp` with Postgres's template patterns (`YYYY-MM-DD HH24:MI:SS.US`, `FM999,990.00`): what
//! BI tools write. The engine's own functions of these names read other patterns, and would take these for plain letters.
//!
//! In: dates, timestamps, numbers or texts, and a template for each. Out: texts in English, dates, timestamps in UTC. Errors, as in
//! Postgres, where a text does not fit its template; over rows of persons they run as their total versions. A pattern of Postgres
//! that is not known here is an error, never taken for letters. Must never: read a locale or the clock.
//!
//! Source: the tables of template patterns in Postgres's documentation, "Data Type Formatting Functions".

mod civil;
mod functions;
mod number;
mod read;
mod template;
mod write;

pub use functions::{date, to_char, to_date, to_timestamp};

use datafusion::logical_expr::ScalarUDF;
use std::sync::Arc;

/// All of them, to stand in place of the engine's.
pub fn postgres_functions() -> Vec<Arc<ScalarUDF>> {
    vec![date(), to_char(), to_date(), to_timestamp()]
}

#[cfg(test)]
mod tests;
