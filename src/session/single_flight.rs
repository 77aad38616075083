//! The same question asked by several sessions at once is run and paid once.
//!
//! In: a statement whose releases are not in the answer store. Out: the turn of the first who asks them; whoever asks the same meanwhile
//! waits for its end, looks into the store again, and finds the answer there. Where the first one fails or is cancelled there is none,
//! and the next pays and runs as if it had been alone.
//!
//! So are proofs of declared keys, which read a table from end to end.
//!
//! **The same** are releases that the answer store would not tell apart: of the same rows (data, rules, scope) with the same groups and
//! measurements, at the same epsilon. So nobody gets here what a moment later the store would not give.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest, Sha256};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::Session;
use super::path::Known;
use super::surroundings::Surroundings;
use crate::error::{Error, Result};
use crate::policy::{Table, UniqueKey};
use crate::query::Verified;
use crate::release::{self, Origin, Stage};

type Key = [u8; 32];

/// Of a file that is read so fast that nobody waits for it.
const SHORT_BYTES: u64 = 4 << 20;

/// Questions that are being answered.
#[derive(Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<Key, Weak<Turn<()>>>>,
}

impl Flights {
    pub fn of(&self, key: Key) -> Arc<Turn<()>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = under_way.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        under_way.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        under_way.insert(key, Arc::downgrade(&turn));
        turn
    }
}

impl Session {
    /// Does a declared key hold on the data as it is now? Looked at once for each data, however many ask at the same time, and in turn
    /// with the other long work.
    pub(super) async fn key_holds(&self, table: &Table, key: &UniqueKey, snapshot: &str) -> Result<bool> {
        let server = &self.server;
        if server.catalog.key_is_verified(&table.name, key, snapshot).await? {
            return Ok(true);
        }
        let of = format!("{:?}", (&table.name, key, snapshot));
        let _turn = server.flights.of(Sha256::digest(of).into()).lock_owned().await;
        if server.catalog.key_is_verified(&table.name, key, snapshot).await? {
            return Ok(true);
        }
        let (files, read, asked) = (server.files.clone(), table.clone(), key.clone());
        let holds = match server.files.size(&table.location).await? {
            ..=SHORT_BYTES => files.key_holds(&read, &asked).await?,
            _ => server.engine.aside(async move { files.key_holds(&read, &asked).await }).await??,
        };
        if holds {
            server.catalog.record_verified_key(&table.name, key, snapshot).await?;
        }
        Ok(holds)
    }

    /// What is known of a statement's releases, once nobody else is about to know more. Where something is new: the turn, to be held until
    /// the answer is stored.
    pub(super) async fn known_in_turn(
        &self,
        around: &Surroundings,
        verified: &Verified,
    ) -> Result<(Known, Option<OwnedMutexGuard<()>>)> {
        let known = self.known(around, verified).await?;
        if !known.origins.contains(&Origin::New) {
            return Ok((known, None));
        }
        let Some(key) = key(around, verified)? else { return Ok((known, None)) };
        let turn = self.server.flights.of(key);
        if let Ok(free) = turn.clone().try_lock_owned() {
            return Ok((known, Some(free)));
        }
        let progress = &self.seat.backend().progress;
        progress.enter(Stage::Waiting);
        let taken = turn.lock_owned().await;
        progress.enter(Stage::Compile);
        Ok((self.known(around, verified).await?, Some(taken)))
    }
}

/// Of all releases of a statement that can be known before it runs; `None` without any.
fn key(around: &Surroundings, verified: &Verified) -> Result<Option<Key>> {
    let (context, mut hash, mut any) = (&around.context, Sha256::new(), false);
    for release in verified.releases() {
        let rows = release::rows_key(release, &[], &around.snapshots, &context.scopes, context.policies.release_epoch)?;
        // One that reads another's rows follows from it.
        let Some(rows) = rows else { continue };
        let identity = serde_json::to_vec(release.identity()).map_err(|_| Error::internal())?;
        hash.update(rows);
        hash.update((identity.len() as u64).to_le_bytes());
        hash.update(identity);
        any = true;
    }
    hash.update(context.epsilon.get().to_le_bytes());
    hash.update(context.mechanism.name().as_bytes());
    Ok(any.then(|| hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_key_has_one_turn_and_leaves_nothing_behind() {
        let flights = Flights::default();
        let first = flights.of([1; 32]).lock_owned().await;
        assert!(flights.of([1; 32]).try_lock_owned().is_err());
        assert!(flights.of([2; 32]).try_lock_owned().is_ok());
        drop(first);
        assert!(flights.of([1; 32]).try_lock_owned().is_ok());
        flights.of([3; 32]);
        assert_eq!(flights.under_way.lock().unwrap().len(), 1);
    }
}
