//! The same question asked by several sessions at once is run and paid once.
//!
//! In: a statement whose releases are not in the answer store. Out: the turn of the first who asks them; whoever asks the same meanwhile
//! waits for its end, looks into the store again, and finds the answer there. Where the first one fails or is cancelled there is none,
//! and the next pays and runs as if it had been alone.
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
use crate::query::Verified;
use crate::release::{self, Origin, Stage};

type Key = [u8; 32];

/// Questions that are being answered.
#[derive(Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<Key, Weak<Turn<()>>>>,
}

impl Flights {
    fn of(&self, key: Key) -> Arc<Turn<()>> {
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
