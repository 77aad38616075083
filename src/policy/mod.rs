//! What administrators decided, as plain data: roles, grants, classes, keys, bounds, limits.
//!
//! In: one [`Change`] at a time. Out: a new [`Policies`] or a refusal that changes nothing.
//! This room does no I/O and knows neither SQL text nor the engine.

mod access;
mod apply;
mod apply_role;
mod apply_table;
mod change;
mod class;
mod digest;
mod domain;
mod dp;
mod duration;
mod link;
mod person;
mod reporting;
mod role;
mod scope;
mod scram;
mod separation;
mod settings;
mod statistician;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod weights;

pub use access::{AccessGrant, AccessRequest, AccessState, Decision, Level};
pub use change::{Change, Reference};
pub use class::{Bounds, Class};
pub use digest::{DigestOf, Digester};
pub use domain::elements;
pub use dp::{Delta, Epsilon, Rho, epsilon_of};
pub use duration::parse_interval;
pub use person::{ByPerson, Person};
pub use reporting::{Irregular, ReportingLines};
pub use role::{Capability, Grant, Principal, Role, RoleName};
pub use scope::{Exclusion, GROUP_MANAGER, PERSON_SETTING, RowPolicy, RowPolicyChange};
pub use scram::Verifier;
pub use settings::{Setting, Settings};
pub use table::{Access, Column, ForeignKey, Format, Location, Table, UniqueKey};
pub use view::View;
pub use weights::Weights;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Everything administrators decided, at one moment. Immutable: a change makes a new value with the next epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Policies {
    /// Rises with every change.
    pub epoch: u64,
    /// The epoch of the last change of a table or a setting: a stored answer is good while this stands. Roles and grants
    /// decide who may ask, not what is released.
    pub release_epoch: u64,
    pub settings: Settings,
    pub roles: BTreeMap<RoleName, Role>,
    pub tables: BTreeMap<String, Table>,
    #[serde(default)]
    pub views: BTreeMap<String, View>,
    pub grants: Vec<Grant>,
    /// Persons who objected, by a digest of their key: their rows count in no answer.
    #[serde(default)]
    pub excluded: BTreeMap<String, Exclusion>,
    /// Requests for rows and what became of them, by id.
    #[serde(default)]
    pub access: access::AccessGrants,
}

/// The account made at the first start. It administers everything and reads nobody.
pub const BOOTSTRAP_ROLE: &str = "admin";

/// The policy of a protected table that names none.
pub const DEFAULT_POLICY: &str = "people";

impl Policies {
    /// The value before any statement: the built-in groups and default settings.
    pub fn new_with_built_ins() -> Self {
        let group = || Role { built_in: true, ..Role::default() };
        Self {
            roles: role::BUILT_IN_GROUPS.iter().map(|(name, _)| ((*name).to_owned(), group())).collect(),
            ..Self::default()
        }
    }

    /// The bootstrap account, made once. It is not a [`Change`]: no statement can make a built-in role.
    pub fn with_bootstrap_account(mut self, verifier: Verifier) -> Self {
        let account =
            Role { login: true, createrole: true, verifier: Some(verifier), built_in: true, ..Role::default() };
        self.roles.insert(BOOTSTRAP_ROLE.to_owned(), account);
        self.epoch += 1;
        self
    }

    /// Who `role` acts as, through every membership; `None` when there is no such role.
    pub fn principal(&self, role: &str) -> Option<Principal> {
        self.roles.get(role)?;
        let roles = self.memberships(role);
        let mut capabilities: BTreeSet<Capability> = role::BUILT_IN_GROUPS
            .iter()
            .filter(|(group, _)| roles.contains(*group))
            .map(|(_, capability)| *capability)
            .collect();
        let createrole = |name: &RoleName| self.roles.get(name).is_some_and(|role| role.createrole);
        if roles.iter().any(createrole) {
            capabilities.extend([Capability::ManageRoles, Capability::Administer]);
        }
        Some(Principal { name: role.to_owned(), roles, capabilities })
    }

    /// The verifier to check a login against; `None` when nobody may log in under this name now (seconds since 1970), for
    /// whatever reason: the caller then runs the exchange against [`Verifier::mock`].
    pub fn login_verifier(&self, user: &str, now: i64) -> Option<&Verifier> {
        let role = self.roles.get(user).filter(|role| role.login)?;
        let valid = role.valid_until.is_none_or(|until| now < until);
        role.verifier.as_ref().filter(|_| valid)
    }

    /// The settings that a session of `login` begins with: the system's, moved by its own `ALTER ROLE … SET` where that is
    /// still allowed. A cap that was lowered since counts for what was set before.
    pub fn session_settings(&self, login: &str) -> Settings {
        let own = self.roles.get(login).map(|role| &role.settings);
        let mut settings = self.settings.clone();
        for (name, value) in own.into_iter().flatten() {
            if let Some(setting) = Setting::by_name(name)
                && self.settings.session_setting_allowed(setting, value).is_ok()
                && let Ok(moved) = settings.set(setting, value)
            {
                settings = moved;
            }
        }
        settings
    }

    /// The policies that hold a table: one budget each.
    pub fn policy_names(&self) -> BTreeSet<String> {
        self.tables.values().filter_map(|table| Some(table.policy()?.to_owned())).collect()
    }

    /// `role` and every role it is a member of, directly or not.
    fn memberships(&self, role: &str) -> BTreeSet<RoleName> {
        let mut found = BTreeSet::new();
        let mut open = vec![role.to_owned()];
        while let Some(name) = open.pop() {
            if let Some(role) = self.roles.get(&name)
                && found.insert(name)
            {
                open.extend(role.member_of.iter().cloned());
            }
        }
        found
    }

    /// A table or a view.
    pub fn is_relation(&self, name: &str) -> bool {
        self.tables.contains_key(name) || self.views.contains_key(name)
    }

    /// May `principal` read `column` of `table` (subject to what the column's class allows)?
    pub fn may_read(&self, principal: &Principal, table: &str, column: &str) -> bool {
        self.grants.iter().any(|grant| grant.table == table && principal.is(&grant.role) && grant.covers(column))
    }

    /// May `principal` see that `table` exists?
    pub fn may_see(&self, principal: &Principal, table: &str) -> bool {
        principal.can(Capability::Administer)
            || self.grants.iter().any(|grant| grant.table == table && principal.is(&grant.role))
    }
}
