//! Who a session acts as, remembered for as long as nothing can have changed it: one statement asks several times.
//!
//! In: the policies, which their epoch names, and the second of the clock. Out: the principal, as they give it. Must never: give that of
//! other policies or of another second; a right that ends, ends.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Session, no_login};
use crate::error::Result;
use crate::policy::Principal;

/// The epoch, and who it was then; its second is the principal's own.
#[derive(Default)]
pub(super) struct Standing(Mutex<Option<(u64, Arc<Principal>)>>);

impl Session {
    /// Who this session acts as now: a role that was dropped or may log in no more, a membership that was revoked or whose
    /// training lapsed, is gone at once. Errors: 28000.
    pub(super) fn acts_as(&self) -> Result<Arc<Principal>> {
        let now = chrono::Utc::now().timestamp();
        let policies = self.server.catalog.policies();
        let mut held = self.standing.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, principal)) = held.as_ref()
            && *of == policies.epoch
            && principal.at() == now
        {
            return Ok(principal.clone());
        }
        let principal = policies.login(&self.client.user, self.role_created, now);
        let principal = Arc::new(principal.ok_or_else(|| no_login(&self.client.user))?);
        *held = Some((policies.epoch, principal.clone()));
        Ok(principal)
    }

    /// The same, to be kept.
    pub(super) fn principal(&self) -> Result<Principal> {
        self.acts_as().map(Arc::unwrap_or_clone)
    }
}
