//! Separation of duties: who prepares the data does not read it, and who audits does nothing else with people.
//!
//! In: policies after a change. Out: nothing, or the refusal of that change.

use super::{Capability, Policies, Principal};
use crate::error::{Error, Result, SqlState};

/// Analysing goes together with none of these.
const APART_FROM_ANALYSE: [(Capability, &str); 3] =
    [(Capability::Administer, "administer"), (Capability::ManageRoles, "manage roles"), (Capability::Audit, "audit")];

impl Policies {
    /// Holds for every role, not for logins only: a group that combines both could have no member anyway.
    pub(super) fn refuse_mixed_duties(&self) -> Result<()> {
        self.roles.keys().filter_map(|name| self.principal(name)).try_for_each(|principal| refuse_mixed(&principal))
    }
}

fn refuse_mixed(principal: &Principal) -> Result<()> {
    if !principal.can(Capability::Analyse) {
        return Ok(());
    }
    let mixed = APART_FROM_ANALYSE.iter().find(|(capability, _)| principal.can(*capability));
    match mixed {
        None => Ok(()),
        Some((_, verb)) => Err(Error::new(
            SqlState::InsufficientPrivilege,
            format!(
                "role \"{}\" cannot both analyse and {verb}",
                principal.name()
            ),
        )
        .detail("no role may hold insights_analyst together with insights_admin, auditor or CREATEROLE, directly or through groups")
        .hint("use two accounts")),
    }
}
