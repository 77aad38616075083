//! (query)
pub mod statement;
