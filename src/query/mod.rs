//! (query)
pub mod parse;
pub mod statement;
