//! Laws of the aggregates.
