//! From text to a private plan: parse, resolve, check, rewrite, verify, price. Pure, synchronous, no I/O.
//!
//! In: SQL text and a [`Context`]. Out: [`Private`], a plan whose every output column comes from a release or from public data.
//! This room never sees a row: its sources have schemas and nothing to read.

#[cfg(test)]
mod aggregates_tests;
mod allow;
mod any_list;
mod asked_groups;
mod bounds;
mod canonical;
mod check;
#[cfg(test)]
mod company;
#[cfg(test)]
pub(crate) mod compile_tests;
mod context;
mod contributions;
mod decorrelate;
mod decorrelate_lists;
mod directory;
mod errors_of;
mod explain;
mod expression;
mod facts;
mod filter_list;
mod floor;
mod identity;
#[cfg(test)]
mod link_tests;
mod membership;
mod metric;
mod names;
mod opened;
mod optimise;
pub mod parse;
mod picked;
mod position;
mod private;
mod probe;
mod purpose;
mod resolve;
mod rewrite;
mod row_policy;
mod scope;
mod search;
#[cfg(test)]
mod shape_tests;
mod split;
pub mod statement;
pub mod statistics;
mod subject;
mod text_forms;
mod verify;
#[cfg(test)]
pub(crate) mod verify_tests;
mod views;

pub use check::{Checked, check};
pub use context::{Context, Functions, KnownTable, Source, SourceKind, Viewer};
pub use directory::{check_directory, directory_query};
pub use explain::{plan_lines, privacy_lines};
pub use filter_list::with_declared_values;
pub use identity::{Identity, MeasurementIdentity};
pub use opened::{Opened, OpenedKind, ROW, RowColumn, RowRecipe, Shows};
pub(crate) use optimise::narrowed;
pub use picked::Picked;
pub use private::{ColumnFacts, Private, Proof, ReleaseFacts, ReleasePlan, Selects};
pub use probe::probe;
pub use purpose::refuse_outside_purpose;
pub use resolve::{Resolved, Unbound, column_form, column_type, plan, resolve};
pub use rewrite::rewrite;
pub use row_policy::{RowRule, row_rule};
pub use scope::{Excluded, PersonScope, PersonTest, Scopes, for_each_person, texts};
pub use subject::Subject;
#[cfg(test)]
pub(crate) use verify::Reach;
pub use verify::{Reads, Verified, VerifiedRelease, verify};
pub use views::{KnownView, view_columns};
