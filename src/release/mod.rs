//! Executes verified plans: releases first, then the plan above them. The only room that sees raw rows.
//!
//! In: a paid [`Reservation`] and a [`Verified`] plan. Out: [`Shaped`] rows, made of released and public values. Raw rows live
//! inside the engine's operators below a release and nowhere else. A failure here is one constant message: its cause may hold
//! data, so its text goes nowhere.

mod engine;
#[cfg(test)]
mod laws;
mod released;

pub use engine::{Engine, Sources};
pub use released::{Released, Shaped};

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::ledger::Reservation;
use crate::query::{SourceKind, Verified, VerifiedRelease};

/// Where a release's rows are kept in the answer store.
pub type AnswerKey = [u8; 32];

/// The keys of a statement's releases: the optimised plan with its noise, floor, threshold and mask, the data it reads (tables,
/// and earlier releases by their own keys), the epoch of the rules. What stands above a release is no part of it.
pub fn answer_keys(verified: &Verified, snapshots: &BTreeMap<String, String>, release_epoch: u64) -> Vec<AnswerKey> {
    let mut keys: Vec<AnswerKey> = Vec::new();
    for release in verified.releases() {
        let key = answer_key(release, &keys, snapshots, release_epoch);
        keys.push(key);
    }
    keys
}

fn answer_key(
    release: &VerifiedRelease,
    earlier: &[AnswerKey],
    snapshots: &BTreeMap<String, String>,
    release_epoch: u64,
) -> AnswerKey {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(&release_epoch.to_le_bytes());
    for source in release.sources() {
        match source {
            SourceKind::Protected(table) | SourceKind::Public(table) => {
                part(table.as_bytes());
                part(snapshots.get(&table).map_or("", String::as_str).as_bytes());
            }
            SourceKind::Released(number) => part(earlier.get(number).map_or(&[], |key| key.as_slice())),
        }
    }
    part(release.fingerprint().as_bytes());
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
