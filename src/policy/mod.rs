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
mod comment;
mod digest;
mod domain;
mod dp;
mod duration;
mod form;
mod link;
mod load;
mod look_alike;
mod person;
mod principal;
mod purpose;
mod reporting;
mod role;
mod row_rules;
mod rules;
mod scope;
mod scram;
mod separation;
mod settings;
mod statistician;
mod table;
#[cfg(test)]
mod tests;
mod training;
mod view;
mod weights;

pub use access::{AccessGrant, AccessRequest, AccessState, Decision, Level};
pub use change::{Change, Reference};
pub use class::{Bounds, Class};
pub use comment::Comments;
pub use digest::{DigestOf, Digester};
pub use domain::elements;
pub use dp::{Delta, Epsilon, Mechanism, Price, Rho, add_up, epsilon_of, is_within, mechanism_by_name};
pub use duration::parse_interval;
pub use form::{TextForm, print_uuid, uuid};
pub use look_alike::looks_like;
pub use person::{ByPerson, Person};
pub use principal::Principal;
pub use purpose::{NewPurpose, Purpose};
pub use reporting::{Irregular, ReportingLines};
pub use role::{Capability, Grant, Role, RoleName};
pub use row_rules::RowRules;
pub use rules::{Comparing, Reading, Rules, Shown};
pub use scope::{Exclusion, GROUP_MANAGER, PERSON_SETTING, RowPolicy, RowPolicyChange};
pub use scram::Verifier;
pub use settings::{Setting, Settings};
pub use table::{Access, Column, ForeignKey, Format, Location, Table, UniqueKey};
pub use training::{Membership, TrainingDay, TrainingPeriod};
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
    /// `GRANT INSERT ON table TO roles`, by table.
    #[serde(default)]
    pub loaders: BTreeMap<String, BTreeSet<RoleName>>,
    /// How often the key of a family of pseudonyms was rotated, and 1; families that were never rotated are missing.
    #[serde(default)]
    pub key_epochs: BTreeMap<String, u64>,
    /// Persons who objected, by a digest of their key: their rows count in no answer.
    #[serde(default)]
    pub excluded: BTreeMap<String, Exclusion>,
    /// Requests for rows and what became of them, by id.
    #[serde(default)]
    pub access: access::AccessGrants,
    #[serde(default)]
    pub purposes: BTreeMap<String, Purpose>,
    #[serde(default)]
    pub comments: BTreeMap<String, Comments>,
}

/// The account made at the first start. It administers everything and reads nobody.
pub const BOOTSTRAP_ROLE: &str = "admin";

/// The policy of a protected table that names none.
pub const DEFAULT_POLICY: &str = "people";

impl Policies {
    /// The value before any statement: the built-in groups and default settings.
    pub fn new_with_built_ins() -> Self {
        Self::default().with_missing_built_ins()
    }

    /// These policies with the built-in groups that they lack, as those of an earlier version do. A role of an organisation's own
    /// that has such a name stays what it is, and gives nothing that the built-in one would.
    pub fn with_missing_built_ins(mut self) -> Self {
        let missing = role::BUILT_IN_ROLES.iter().filter(|group| !self.roles.contains_key(group.name));
        for name in missing.map(|group| group.name.to_owned()).collect::<Vec<_>>() {
            self.roles.insert(name, Role { built_in: true, ..Role::default() });
        }
        self
    }

    /// The bootstrap account, made once. It is not a [`Change`]: no statement can make a built-in role.
    pub fn with_bootstrap_account(mut self, verifier: Verifier) -> Self {
        let account =
            Role { login: true, createrole: true, verifier: Some(verifier), built_in: true, ..Role::default() };
        self.roles.insert(BOOTSTRAP_ROLE.to_owned(), account);
        self.epoch += 1;
        self
    }

    /// The verifier to check a login against; `None` when nobody may log in under this name now (seconds since 1970), for
    /// whatever reason: the caller then runs the exchange against [`Verifier::mock`].
    pub fn login_verifier(&self, user: &str, now: i64) -> Option<&Verifier> {
        self.roles.get(user).filter(|role| role.may_log_in(now))?.verifier.as_ref()
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
            || self.may_load(principal, table)
    }
}
