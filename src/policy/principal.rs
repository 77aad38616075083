//! Who a session acts as, at a moment.
//!
//! In: policies, a role's name, the time. Out: every role it acts as and what these allow. A membership that asks for a training
//! gives nothing while the login has none that is valid: neither what the group may do, nor what it was granted, nor the
//! groups behind it.

use std::collections::{BTreeMap, BTreeSet};

use super::role::{BUILT_IN_ROLES, BuiltIn, Duty};
use super::{Capability, GROUP_MANAGER, Policies, Role, RoleName, Table, TrainingDay};
use crate::error::{Error, Result, SqlState};

/// A login and every role it is a member of, directly or not, at one moment. Made by [`Policies::principal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: RoleName,
    /// What it acts as; includes the login itself.
    roles: BTreeSet<RoleName>,
    /// The same with the memberships that give nothing at present.
    memberships: BTreeSet<RoleName>,
    capabilities: BTreeSet<Capability>,
    /// Memberships that give nothing for want of a training, and since when; `None`: there never was one.
    lapsed: BTreeMap<RoleName, Option<TrainingDay>>,
    /// Memberships that still give something and ask for a training: the first day on which it counts no more.
    ends: BTreeMap<RoleName, TrainingDay>,
    createrole: bool,
    /// Seconds since 1970.
    at: i64,
}

impl Principal {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn roles(&self) -> &BTreeSet<RoleName> {
        &self.roles
    }

    /// For what a role gives. A membership without its training gives nothing.
    pub fn is(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    /// For what a role takes away or forbids: that holds whether or not a training has lapsed.
    pub fn belongs_to(&self, role: &str) -> bool {
        self.memberships.contains(role)
    }

    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The same, whenever it is: two that are equal may the same.
    pub fn whenever(&self) -> Self {
        Self { at: 0, ..self.clone() }
    }

    /// May it ask about people at all? About whom is for the scopes to say.
    pub fn may_ask(&self) -> bool {
        self.can(Capability::Analyse) || self.can(Capability::AnalyseReports)
    }

    /// Has the attribute `CREATEROLE`, itself or through a group.
    pub(super) fn createrole(&self) -> bool {
        self.createrole
    }

    /// May it end sessions of a login, and cancel what they run? Everybody their own; who manages roles everybody's, but for those of
    /// roles that have `CREATEROLE`, on which only their like decide.
    pub fn may_signal(&self, policies: &Policies, role: &str) -> bool {
        role == self.name
            || (self.can(Capability::ManageRoles)
                && (self.createrole || !policies.any_createrole(&policies.memberships(role))))
    }

    /// The moment this is true at, in seconds since 1970.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Errors: 42501, with the reason where a membership lapsed.
    pub fn require(&self, capability: Capability) -> Result<()> {
        if self.can(capability) { Ok(()) } else { Err(self.denied(capability, "permission denied")) }
    }

    /// The refusal of what needs `capability`.
    pub fn denied(&self, capability: Capability, message: impl Into<String>) -> Error {
        Error::new(SqlState::InsufficientPrivilege, message)
            .detail(format!("this needs {}", capability.needed_role()))
            .hint(self.why_lapsed().unwrap_or_else(|| capability.hint().to_owned()))
    }

    /// What the login should be told of its trainings: those that are missing or over, and those that end within `seconds`. A text for
    /// each, and what helps.
    pub fn training_notices(&self, seconds: i64) -> Vec<(String, String)> {
        let record = format!(
            "a platform administrator records a new one: CALL privacy.record_training('{}', completed => DATE '…')",
            self.name
        );
        let over = self.lapsed.iter().map(|(group, ended)| match ended {
            Some(day) => format!("the membership in {group} gives nothing: its training was valid until {day}"),
            None => format!("the membership in {group} gives nothing: no training is recorded"),
        });
        let near = self.ends.iter().filter(|(_, day)| day.begins().saturating_sub(self.at) <= seconds);
        let near = near.map(|(group, day)| format!("the training for the membership in {group} is valid until {day}"));
        over.chain(near).map(|text| (text, record.clone())).collect()
    }

    /// Which memberships give nothing, why, and what restores them; `None` when all count.
    pub fn why_lapsed(&self) -> Option<String> {
        let (group, ended) = self.lapsed.first_key_value()?;
        let since = match ended {
            Some(day) => format!("its training was valid until {day}"),
            None => "no training is recorded".to_owned(),
        };
        Some(format!(
            "the membership in {group} gives nothing: {since}; a platform administrator records a new one: \
             CALL privacy.record_training('{}', completed => DATE '…')",
            self.name
        ))
    }
}

impl Policies {
    /// Who `role` acts as at `now` (seconds since 1970), through every membership; `None` when there is no such role.
    pub fn principal(&self, role: &str, now: i64) -> Option<Principal> {
        let login = self.roles.get(role)?;
        let (mut lapsed, mut ends) = (BTreeMap::new(), BTreeMap::new());
        let roles = self.reach(role, |name, group| match login.training_for(group) {
            Some(ended) if ended.is_none_or(|day| day.begins() <= now) => {
                lapsed.insert(name.to_owned(), ended);
                false
            }
            Some(ended) => {
                ends.extend(ended.map(|day| (name.to_owned(), day)));
                true
            }
            None => true,
        });
        let mut capabilities: BTreeSet<Capability> =
            self.built_ins(&roles).flat_map(|group| group.capabilities).copied().collect();
        let createrole = self.any_createrole(&roles);
        if createrole {
            capabilities.extend([Capability::ManageRoles, Capability::Administer]);
        }
        let memberships = self.memberships(role);
        Some(Principal { name: role.to_owned(), roles, memberships, capabilities, lapsed, ends, createrole, at: now })
    }

    /// Has a question by `principal` about `table` anybody it may count, whatever is granted? A group manager's has where it is known
    /// who that is and who reports to whom.
    pub fn has_scope(&self, principal: &Principal, table: &Table) -> bool {
        let Some(policy) = table.policy().filter(|_| principal.belongs_to(GROUP_MANAGER)) else {
            return true;
        };
        self.roles.get(principal.name()).is_some_and(|role| role.person.is_some())
            && self.reporting_table(policy).is_some()
    }

    /// Who a login that was made at epoch `created` acts as; `None` when it is gone, may log in no more, or is another of the
    /// same name.
    pub fn login(&self, name: &str, created: u64, now: i64) -> Option<Principal> {
        self.roles.get(name).filter(|role| role.created == created && role.may_log_in(now))?;
        self.principal(name, now)
    }

    /// `role` and every role it is a member of, directly or not, whether or not the memberships count at present.
    pub(super) fn memberships(&self, role: &str) -> BTreeSet<RoleName> {
        self.reach(role, |_, _| true)
    }

    /// Duties by membership, and `CREATEROLE`, which is accounts and data by intent.
    pub(super) fn duties(&self, roles: &BTreeSet<RoleName>) -> BTreeSet<Duty> {
        self.built_ins(roles).map(|group| group.duty).collect()
    }

    pub(super) fn any_createrole(&self, roles: &BTreeSet<RoleName>) -> bool {
        roles.iter().any(|name| self.roles.get(name).is_some_and(|role| role.createrole))
    }

    /// A role that somebody made before there was a built-in one of its name is nothing but that.
    fn built_ins<'a>(&'a self, roles: &'a BTreeSet<RoleName>) -> impl Iterator<Item = &'static BuiltIn> + 'a {
        let own = |name: &str| self.roles.get(name).is_some_and(|role| role.built_in);
        BUILT_IN_ROLES.iter().filter(move |group| roles.contains(group.name) && own(group.name))
    }

    fn reach(&self, role: &str, mut enter: impl FnMut(&str, &Role) -> bool) -> BTreeSet<RoleName> {
        let mut found = BTreeSet::new();
        let mut open = vec![role.to_owned()];
        while let Some(name) = open.pop() {
            if let Some(held) = self.roles.get(&name)
                && !found.contains(&name)
                && (name == role || enter(&name, held))
            {
                found.insert(name);
                open.extend(held.member_of.iter().cloned());
            }
        }
        found
    }
}
