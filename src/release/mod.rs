//! Executes verified plans: releases first, then the plan above them. The only room that sees raw rows.
//!
//! In: a paid [`Reservation`] and a [`Verified`] plan. Out: [`Shaped`] rows, made of released and public values. Raw rows live
//! inside the engine's operators below a release and nowhere else. A failure here is one constant message: its cause may hold
//! data, so its text goes nowhere.
//!
//! A release gives [`Measured`] rows, which the answer store keeps; what is shown of them is made afresh ([`Released`]), so that
//! one drawing answers every question that needs no more (`answers`).

mod admission;
mod answers;
mod deidentified;
mod engine;
mod few_rows;
#[cfg(test)]
mod laws;
mod measured;
mod released;
mod scopes;

pub use answers::{Found, Origin, RowsKey, find, rows_key};
pub use deidentified::{RowKeys, RowName};
pub use engine::{Engine, Sources};
pub use measured::Measured;
pub use released::{Released, Shaped};
pub use scopes::ScopeCache;

use crate::error::{Error, Result, SqlState};
use crate::ledger::Reservation;
use crate::query::{OpenedKind, Verified, VerifiedRelease};

/// Runs every release that is not in `known`, in order: later ones may read earlier ones. `epsilon`: what the statement's releases
/// are drawn with.
pub async fn execute(
    engine: &Engine,
    paid: Reservation,
    verified: &Verified,
    known: Vec<Option<Measured>>,
    sources: &Sources,
    epsilon: f64,
) -> Result<(Reservation, Vec<Measured>, Vec<Released>)> {
    let (mut measured, mut released) = (Vec::new(), Vec::new());
    let mut known = known.into_iter();
    for release in verified.releases() {
        let rows = match known.next().flatten() {
            Some(rows) => rows,
            None => {
                let batch = engine.release(release.plan(), sources, &released).await?;
                Measured::new(batch, release.identity().clone(), epsilon)
            }
        };
        released.push(rows.released(release, verified.levels())?);
        measured.push(rows);
    }
    Ok((paid, measured, released))
}

/// What a release shows, if its rows are known without running anything.
pub fn shown(release: &VerifiedRelease, rows: Option<&Measured>, levels: &[f64]) -> Result<Option<Released>> {
    rows.map(|rows| rows.released(release, levels)).transpose()
}

/// Rows of one table that can be made ready to be shown.
const MOST_OPENED: usize = 5_000_000;

/// Makes the rows ready that the answer shows: a directory's behind its masks, a table's de-identified. `keys`: for the latter.
pub async fn open(engine: &Engine, verified: &Verified, sources: &mut Sources, keys: Option<&RowKeys>) -> Result<()> {
    for opened in verified.opened() {
        let raw = engine.rows(opened.plan(), sources).await?;
        if raw.num_rows() > MOST_OPENED {
            return Err(Error::new(SqlState::ProgramLimitExceeded, "the table is too large for its rows to be shown")
                .detail("what is shown of a row is decided over all rows of the table")
                .hint("ask for aggregates, or have an administrator register a part of the files"));
        }
        let rows = match opened.kind() {
            OpenedKind::Directory { .. } => raw.with_schema(opened.schema().clone()).map_err(|_| Error::internal())?,
            OpenedKind::Deidentified(recipe) => {
                let keys = keys.cloned().ok_or_else(Error::internal)?;
                let (recipe, schema) = (recipe.clone(), opened.schema().clone());
                // Millions of hashes: not on a thread that serves.
                let made = move || deidentified::deidentify(&raw, &recipe, &schema, &keys);
                tokio::task::spawn_blocking(made).await.map_err(|_| Error::internal())??
            }
        };
        sources.open(opened.table().to_owned(), rows)?;
    }
    Ok(())
}

/// Runs the plan above the releases: any SQL over released and public rows, or over rows that may be shown.
pub async fn shape(engine: &Engine, verified: &Verified, released: &[Released], sources: &Sources) -> Result<Shaped> {
    engine.shape(verified.shape(), verified.columns(), sources, released).await
}
