//! Paravent: a SQL server for data about people that lets out only differentially private answers.
//!
//! Rooms import from lower floors only (`tests/house.rs` holds them to it):
//!
//! ```text
//! F7  demo/      the command line and the made-up company behind it
//! F6  wire/      bytes in and out; the only room that names pgwire
//! F5  session/   answer(): the path of a statement; settings, prepared statements, cursors
//! F4  release/   execute, release, shape: the only room that sees raw rows
//! F3  query/     parse, resolve, check, rewrite, verify, price: pure, synchronous, no I/O
//! F2  ledger/    budget, reservations, answer store, query log
//! F2  catalog/   tables, snapshots, roles, settings, pg_catalog views
//! F1  policy/    plain data: roles, classes, bounds, limits
//! F1  state/     the one SQLite file: a writer thread and readers, no meaning
//! F1  keys/      the keys of pseudonyms, in a file of their own
//! F0  error.rs   SQLSTATE, detail, hint, position
//! ```

/// What the benchmarks are compiled against is shared with tests in here.
#[cfg(test)]
extern crate self as paravent;

pub mod catalog;
pub mod demo;
pub mod error;
pub mod keys;
pub mod ledger;
pub mod policy;
pub mod query;
pub mod release;
pub mod session;
pub mod state;
pub mod wire;
