//! What administrators decided, as plain data: roles, grants, classes, keys, bounds, limits.
//!
//! In: one [`Change`] at a time. Out: a new [`Policies`] or a refusal that changes nothing.
//! This room does no I/O and knows neither SQL text nor the engine.

mod change;
mod class;
mod role;
mod scram;
mod settings;
mod table;

pub use change::Change;
pub use class::{Bounds, Class};
pub use role::{Capability, Grant, Principal, Role, RoleName};
pub use scram::Verifier;
pub use settings::{Setting, Settings};
pub use table::{Access, Column, Format, Location, Table, UniqueKey};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything administrators decided, at one moment. Immutable: a change makes a new value with the next epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Policies {
    /// Rises with every change. A stored answer is only good under the epoch it was given in.
    pub epoch: u64,
    pub settings: Settings,
    pub roles: BTreeMap<RoleName, Role>,
    pub tables: BTreeMap<String, Table>,
    pub grants: Vec<Grant>,
}

impl Policies {
    /// May `principal` read `column` of `table` (subject to what the column's class allows)?
    pub fn may_read(&self, principal: &Principal, table: &str, column: &str) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.table == table && principal.is(&grant.role) && grant.covers(column))
    }

    /// May `principal` see that `table` exists?
    pub fn may_see(&self, principal: &Principal, table: &str) -> bool {
        principal.can(Capability::Administer)
            || self
                .grants
                .iter()
                .any(|grant| grant.table == table && principal.is(&grant.role))
    }
}
