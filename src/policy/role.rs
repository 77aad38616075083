//! Roles, what they can do, and who a session acts as.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Verifier;

pub type RoleName = String;

/// What membership in a built-in role allows. No login may hold `Analyse` and (`Administer` or `ManageRoles`) at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Accounts and memberships: the bootstrap account.
    ManageRoles,
    /// Tables, classes, grants and settings: `insights_admin`.
    Administer,
    /// Queries over people: `insights_analyst`.
    Analyse,
    /// The query log and the budget: `auditor`.
    Audit,
}

/// The groups that every server has, and what membership in each allows.
pub(super) const BUILT_IN_GROUPS: [(&str, Capability); 4] = [
    ("insights_admin", Capability::Administer),
    ("insights_analyst", Capability::Analyse),
    ("group_manager", Capability::Analyse),
    ("auditor", Capability::Audit),
];

impl Capability {
    /// Which role a client needs for it, for the detail of a refusal.
    pub fn needed_role(self) -> &'static str {
        match self {
            Self::ManageRoles => "a role with the CREATEROLE attribute",
            Self::Administer => "a member of role insights_admin",
            Self::Analyse => "a member of role insights_analyst",
            Self::Audit => "a member of role auditor",
        }
    }
}

/// A login or a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub login: bool,
    /// The bootstrap account: may create roles and administers everything.
    pub createrole: bool,
    pub verifier: Option<Verifier>,
    /// Seconds since 1970; after it no login.
    pub valid_until: Option<i64>,
    pub member_of: BTreeSet<RoleName>,
    /// `ALTER ROLE … SET name = value`.
    pub settings: std::collections::BTreeMap<String, String>,
    /// Made by the server, cannot be dropped.
    pub built_in: bool,
    /// The person whose reports a group manager asks about: a digest of the person key.
    #[serde(default)]
    pub person: Option<String>,
}

/// `GRANT SELECT [(columns)] ON table TO role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub role: RoleName,
    pub table: String,
    /// `None`: every column.
    pub columns: Option<BTreeSet<String>>,
}

impl Grant {
    pub fn covers(&self, column: &str) -> bool {
        self.columns.as_ref().is_none_or(|columns| columns.contains(column))
    }
}

/// Who a session acts as: a login and every role it is a member of, directly or not. Made by `Policies::principal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub(super) name: RoleName,
    /// Includes the login itself.
    pub(super) roles: BTreeSet<RoleName>,
    pub(super) capabilities: BTreeSet<Capability>,
}

impl Principal {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn roles(&self) -> &BTreeSet<RoleName> {
        &self.roles
    }

    pub fn is(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}
