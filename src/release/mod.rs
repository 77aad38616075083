//! Executes verified plans: releases first, then the plan above them. The only room that sees raw rows.
//!
//! In: a paid reservation and a [`Verified`] plan. Out: [`Shaped`] rows, made of released and public values. Raw rows live
//! inside the engine's operators below a release and nowhere else. A failure here is one constant message: its cause may hold
//! data, so its text goes nowhere.
//!
//! A release gives [`Measured`] rows, which the answer store keeps; what is shown of them is made afresh ([`Released`]), so that
//! one drawing answers every question that needs no more (`answers`).

mod admission;
mod answers;
mod deidentified;
mod engine;
mod execute;
mod few_rows;
#[cfg(test)]
mod laws;
mod measured;
mod progress;
mod released;
mod scopes;
mod together;

pub use answers::{Found, Origin, RowsKey, find, rows_key};
pub use deidentified::{RowKeys, RowName};
pub use engine::{Engine, Sources};
pub use execute::execute;
pub use measured::{Drawn, Measured};
pub use progress::{Progress, Stage};
pub use released::{Released, Shaped};
pub use scopes::ScopeCache;

use crate::error::{Error, Result, SqlState};
use crate::query::{OpenedKind, Verified, VerifiedRelease};

/// What a release shows, if its rows are known without running anything.
pub fn shown(release: &VerifiedRelease, rows: Option<&Measured>, levels: &[f64]) -> Result<Option<Released>> {
    rows.map(|rows| rows.released(release, levels)).transpose()
}

/// Rows of one table that can be made ready to be shown.
const MOST_OPENED: usize = 5_000_000;

/// What making a row ready takes beside the row: its name, its person and its attributes in the form in which they are compared.
const BYTES_PER_ROW: usize = 256;

/// Makes the rows ready that the answer shows: a directory's behind its masks, a table's under a grant of access. `keys`: for the
/// latter. They are all there before anything of the statement runs, and take of the memory that queries may take, until `sources` goes.
///
/// A directory's rows could be handed on as they are read, since the masks are in the plan; they are not: the engine moves what the
/// asker wrote below other conditions, and an expression that fails would tell of a row that a row policy takes away.
///
/// Errors: 54000 for too many rows, 53200 where the memory does not suffice.
pub async fn open(engine: &Engine, verified: &Verified, sources: &mut Sources, keys: Option<&RowKeys>) -> Result<()> {
    for opened in verified.opened() {
        let Some((raw, held)) = engine.rows(opened.plan(), sources, MOST_OPENED).await? else {
            return Err(Error::new(SqlState::ProgramLimitExceeded, "the table is too large for its rows to be shown")
                .detail("what is shown of a row is decided over all rows of the table")
                .hint("ask for aggregates, or have an administrator register a part of the files"));
        };
        let rows = match opened.kind() {
            OpenedKind::Directory { .. } => raw.with_schema(opened.schema().clone()).map_err(|_| Error::internal())?,
            OpenedKind::Granted(recipe) => {
                let keys = keys.cloned().ok_or_else(Error::internal)?;
                let (recipe, schema) = (recipe.clone(), opened.schema().clone());
                let beside = raw.num_rows().saturating_mul(BYTES_PER_ROW);
                held.try_grow(held.size().saturating_add(beside)).map_err(engine::failed)?;
                // Millions of hashes: not on a thread that serves.
                let made = move || deidentified::deidentify(&raw, &recipe, &schema, &keys);
                tokio::task::spawn_blocking(made).await.map_err(|_| Error::internal())??
            }
        };
        held.try_resize(rows.get_array_memory_size()).map_err(engine::failed)?;
        sources.open(opened.table().to_owned(), rows, held)?;
    }
    Ok(())
}

/// Runs the plan above the releases: any SQL over released and public rows, or over rows that may be shown.
pub async fn shape(engine: &Engine, verified: &Verified, released: &[Released], sources: &Sources) -> Result<Shaped> {
    let released: Vec<Option<Released>> = released.iter().cloned().map(Some).collect();
    engine.shape(verified.shape(), verified.columns(), sources, &released).await
}
