//! Executes verified plans: releases first, then the plan above them. The only room that sees raw rows.
//!
//! In: a paid [`Reservation`] and a [`Verified`] plan. Out: [`Shaped`] rows, made of released and public values. Raw rows live
//! inside the engine's operators below a release and nowhere else. A failure here is one constant message: its cause may hold
//! data, so its text goes nowhere.

mod engine;
mod released;

pub use engine::{Engine, Sources};
pub use released::{Released, Shaped};

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::ledger::Reservation;
use crate::query::{Verified, VerifiedRelease};

/// Where a release's rows are kept in the answer store.
pub type AnswerKey = [u8; 32];

/// The key of a release: the optimised plan with its noise, floor, threshold and mask, the data it reads, the epoch of the
/// rules. What stands above the release is no part of it.
pub fn answer_key(release: &VerifiedRelease, snapshots: &BTreeMap<String, String>, release_epoch: u64) -> AnswerKey {
    let mut hash = Sha256::new();
    hash.update(release_epoch.to_le_bytes());
    for table in &release.facts().tables {
        let snapshot = snapshots.get(table).map_or("", String::as_str);
        for part in [table.as_str(), snapshot] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.update(release.plan().display_indent_schema().to_string());
    hash.update(release.fingerprint());
    hash.finalize().into()
}

/// Runs every release that is not in `known`, in order: later ones may read earlier ones.
pub async fn execute(
    engine: &Engine,
    paid: Reservation,
    verified: &Verified,
    known: Vec<Option<Released>>,
    sources: &Sources,
) -> Result<(Reservation, Vec<Released>)> {
    let mut released: Vec<Released> = Vec::new();
    for (release, known) in verified.releases().iter().zip(known) {
        let rows = match known {
            Some(rows) => rows,
            None => engine.release(release.plan(), sources, &released).await?,
        };
        released.push(rows);
    }
    if released.len() == verified.releases().len() { Ok((paid, released)) } else { Err(Error::internal()) }
}

/// Runs the plan above the releases: any SQL over released and public rows.
pub async fn shape(engine: &Engine, verified: &Verified, released: &[Released], sources: &Sources) -> Result<Shaped> {
    engine.shape(verified.shape(), verified.columns(), sources, released).await
}
