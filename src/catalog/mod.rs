//! Tables, roles and settings, kept in the state file.
//!
//! In: changes by administrators. Out: [`Policies`], as they are now. A change is durable before it is visible, and several
//! servers on one state file see each other's changes from their next statement on.
//!
//! The lock around the snapshot is only ever held to copy a pointer, never across an await.

mod changes;
pub mod files;
mod keys;
mod store;
pub mod system;
#[cfg(test)]
mod tests;
mod yielding;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arrow::array::RecordBatch;

use crate::error::{Error, Result, SqlState};
use crate::policy::{BOOTSTRAP_ROLE, Change, Digester, Policies, Principal, Verifier};
use crate::state::State;
use keys::VerifiedKeys;
use store::Saved;
pub use yielding::Yielding;

/// A handle; clones share it.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

struct Inner {
    state: State,
    policies: RwLock<Arc<Policies>>,
    mock_secret: [u8; 32],
    digester: Digester,
    verified_keys: Mutex<VerifiedKeys>,
    statistics_epoch: AtomicU64,
}

impl Catalog {
    /// Reads the policies, or at the very first start makes them: the built-in groups and the account `admin`, whose password
    /// is `admin_password` or else a generated one that is handed out here and never again. At later starts
    /// `admin_password` is not looked at.
    pub async fn open(state: State, admin_password: Option<String>) -> Result<(Self, Option<String>)> {
        let mock_secret = state.secret("mock verifier").await?;
        let (policies, generated) = match state.read(store::load).await? {
            Some(policies) => (with_built_ins(&state, policies).await?, None),
            None => first_start(&state, admin_password).await?,
        };
        let digester = Digester::new(state.secret("digests of persons").await?)?;
        let (policies, verified_keys) = (RwLock::new(Arc::new(policies)), Mutex::default());
        let statistics_epoch = AtomicU64::default();
        let inner = Inner { state, policies, mock_secret, digester, verified_keys, statistics_epoch };
        let catalog = Self { inner: Arc::new(inner) };
        Ok((catalog, generated))
    }

    /// The policies as last seen: a pointer copy.
    pub fn policies(&self) -> Arc<Policies> {
        let held = self.inner.policies.read();
        Arc::clone(&held.unwrap_or_else(PoisonError::into_inner))
    }

    /// For [`Verifier::mock`].
    pub fn mock_secret(&self) -> &[u8; 32] {
        &self.inner.mock_secret
    }

    /// Makes the digests by which persons are kept in the state.
    pub fn digester(&self) -> &Digester {
        &self.inner.digester
    }

    /// Makes the changes of one statement, or refuses it and changes nothing. `statement` is what the record of changes will say: the
    /// caller has taken the passwords out. What the actor may do is looked up anew, since it may have been revoked meanwhile.
    pub async fn apply(&self, actor: &Principal, changes: &[Change], statement: &str) -> Result<()> {
        loop {
            let before = self.policies();
            let actor = before.principal(actor.name(), actor.at()).ok_or_else(|| unknown_actor(actor))?;
            let after = changes
                .iter()
                .try_fold(before.as_ref().clone(), |policies, change| policies.apply(&actor, change.clone()))?;
            let after = Arc::new(after);
            if after.epoch == before.epoch {
                return Ok(());
            }
            let (next, statement) = (Arc::clone(&after), statement.to_owned());
            let saved =
                self.inner.state.write(move |tx| store::save(tx, &before, &next, actor.name(), &statement)).await?;
            match saved {
                Saved::Done => {
                    self.swap(after);
                    return Ok(());
                }
                Saved::Outdated => self.reload().await?,
            }
        }
    }

    /// Takes over what another server changed. Cheap when nothing did: one indexed read.
    pub async fn refresh(&self) -> Result<()> {
        let (epoch, statistics) = self.inner.state.glance(store::epochs).await?.unzip();
        self.inner.statistics_epoch.fetch_max(statistics.unwrap_or_default(), Ordering::Relaxed);
        if epoch == Some(self.policies().epoch) {
            return Ok(());
        }
        self.reload().await
    }

    /// Moves whenever ANALYZE kept something; as of the last [`Self::refresh`].
    pub fn statistics_epoch(&self) -> u64 {
        self.inner.statistics_epoch.load(Ordering::Relaxed)
    }

    /// `audit.changes`: every change, and what it changed from what to what.
    pub async fn changes(&self) -> Result<RecordBatch> {
        self.inner.state.read(changes::batch).await
    }

    async fn reload(&self) -> Result<()> {
        let policies = self.inner.state.read(store::load).await?;
        self.swap(Arc::new(policies.ok_or_else(Error::internal)?));
        Ok(())
    }

    /// A snapshot never goes back in time.
    fn swap(&self, next: Arc<Policies>) {
        let held = self.inner.policies.write();
        let mut held = held.unwrap_or_else(PoisonError::into_inner);
        if next.epoch > held.epoch {
            *held = next;
        }
    }
}

/// When two servers start on one empty file, the first to write wins and the other reads.
async fn first_start(state: &State, admin_password: Option<String>) -> Result<(Policies, Option<String>)> {
    let generated = match admin_password {
        Some(_) => None,
        None => Some(store::generate_password()?),
    };
    let password = admin_password.or_else(|| generated.clone());
    let verifier = Verifier::from_password(password.as_deref().unwrap_or_default())?;
    let before = Policies::default();
    let after = Policies::new_with_built_ins().with_bootstrap_account(verifier);
    let next = after.clone();
    let saved = state.write(move |tx| store::save(tx, &before, &next, BOOTSTRAP_ROLE, "first start")).await?;
    match saved {
        Saved::Done => Ok((after, generated)),
        Saved::Outdated => {
            let policies = state.read(store::load).await?;
            Ok((policies.ok_or_else(Error::internal)?, None))
        }
    }
}

/// A file of an earlier version lacks the groups that came later.
async fn with_built_ins(state: &State, before: Policies) -> Result<Policies> {
    let mut after = before.clone().with_missing_built_ins();
    if after == before {
        return Ok(before);
    }
    after.epoch += 1;
    let next = after.clone();
    let saved = state.write(move |tx| store::save(tx, &before, &next, BOOTSTRAP_ROLE, "new built-in roles")).await?;
    match saved {
        Saved::Done => Ok(after),
        // Another server on this file did the same, or something else first; it has what this one would have made.
        Saved::Outdated => {
            state.read(store::load).await?.map(Policies::with_missing_built_ins).ok_or_else(Error::internal)
        }
    }
}

fn unknown_actor(actor: &Principal) -> Error {
    Error::new(SqlState::InvalidAuthorizationSpecification, format!("role \"{}\" does not exist", actor.name()))
}
