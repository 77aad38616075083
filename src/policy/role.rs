//! Roles and what they can do.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{TrainingDay, TrainingPeriod, Verifier};

pub type RoleName = String;

/// What a principal may do. Which built-in role gives which: [`BUILT_IN_ROLES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Accounts, memberships, training.
    ManageRoles,
    /// Tables, classes, grants of columns and privacy settings.
    Administer,
    /// Protected aggregates about everybody, of the columns that are granted.
    Analyse,
    /// Protected aggregates about those who report to oneself, and nobody else.
    AnalyseReports,
    /// May ask for access to rows, and use it while a grant by somebody else lives.
    HoldAccess,
    /// The query log, the log of changes and everybody's budget.
    Audit,
}

/// What a role is for. Nobody holds roles of two duties: who prepares the data does not read it, who hands out roles does not
/// prepare it, and who watches does neither. Carriers and collectors are outsiders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Duty {
    Accounts,
    Data,
    Insights,
    Oversight,
    Carrier,
    Collector,
}

/// A group that every server has.
pub(super) struct BuiltIn {
    pub name: &'static str,
    pub duty: Duty,
    pub capabilities: &'static [Capability],
}

/// The one table of who may do what; the README has the same. What the roles of an organisation may do follows from their
/// memberships in these, and from `CREATEROLE`, which is `ManageRoles` and `Administer` together.
///
/// A business leader asks about everyone and gets what an analyst gets, but never rows. A group manager's scope is the reports;
/// without one there is nobody to ask about. A carrier and a collector have no rights over people.
pub(super) const BUILT_IN_ROLES: [BuiltIn; 8] = [
    BuiltIn { name: "platform_admin", duty: Duty::Accounts, capabilities: &[Capability::ManageRoles] },
    BuiltIn { name: "insights_admin", duty: Duty::Data, capabilities: &[Capability::Administer] },
    BuiltIn {
        name: "insights_analyst",
        duty: Duty::Insights,
        capabilities: &[Capability::Analyse, Capability::HoldAccess],
    },
    BuiltIn { name: "business_leader", duty: Duty::Insights, capabilities: &[Capability::Analyse] },
    BuiltIn { name: "group_manager", duty: Duty::Insights, capabilities: &[Capability::AnalyseReports] },
    BuiltIn { name: "auditor", duty: Duty::Oversight, capabilities: &[Capability::Audit] },
    BuiltIn { name: "carrier", duty: Duty::Carrier, capabilities: &[] },
    BuiltIn { name: "collector", duty: Duty::Collector, capabilities: &[] },
];

impl Capability {
    /// Which role a client needs for it, for the detail of a refusal.
    pub fn needed_role(self) -> &'static str {
        match self {
            Self::ManageRoles => "a member of role platform_admin or a role with the CREATEROLE attribute",
            Self::Administer => "a member of role insights_admin",
            Self::Analyse => "a member of role insights_analyst or business_leader",
            Self::AnalyseReports => "a member of role group_manager",
            Self::HoldAccess => "a member of role insights_analyst",
            Self::Audit => "a member of role auditor",
        }
    }

    /// What to do without it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::ManageRoles => "ask a platform administrator: GRANT platform_admin TO another login",
            Self::Administer => {
                "ask an insights administrator, or a platform administrator: GRANT insights_admin TO another login"
            }
            Self::Analyse | Self::HoldAccess => {
                "a platform administrator grants it: GRANT insights_analyst TO another login"
            }
            Self::AnalyseReports => "a platform administrator grants it: GRANT group_manager TO another login",
            Self::Audit => "auditors read it: GRANT auditor TO another login",
        }
    }
}

impl Duty {
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "manage accounts",
            Self::Data => "administer data",
            Self::Insights => "analyse",
            Self::Oversight => "audit",
            Self::Carrier => "be a carrier",
            Self::Collector => "be a collector",
        }
    }

    /// May a role of this duty hold SELECT on anything?
    pub fn may_read(self) -> bool {
        match self {
            Self::Insights | Self::Carrier | Self::Collector => true,
            Self::Accounts | Self::Data | Self::Oversight => false,
        }
    }
}

/// A login or a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub login: bool,
    /// Manages roles and administers everything, as the bootstrap account does; only such a role can make another.
    pub createrole: bool,
    pub verifier: Option<Verifier>,
    /// Seconds since 1970; after it no login.
    pub valid_until: Option<i64>,
    pub member_of: BTreeSet<RoleName>,
    /// The epoch that made it: a role of the same name that is made later is another one.
    #[serde(default)]
    pub created: u64,
    /// Of a group: its members need a training, which is good for this long.
    #[serde(default)]
    pub requires_training: Option<TrainingPeriod>,
    /// Of a login: the day its training was completed.
    #[serde(default)]
    pub trained: Option<TrainingDay>,
    /// Of a login: sessions at once; `None`: as many as there is room for.
    #[serde(default)]
    pub connection_limit: Option<u32>,
    /// `ALTER ROLE … SET name = value`.
    pub settings: std::collections::BTreeMap<String, String>,
    /// Made by the server, cannot be dropped.
    pub built_in: bool,
    /// The person whose login it is, whose reports a group manager asks about: a digest of the person key. The name says to the log of
    /// changes that it is not shown.
    #[serde(default, rename = "privacy.person")]
    pub person: Option<String>,
}

impl Role {
    /// At `now`, in seconds since 1970.
    pub(super) fn may_log_in(&self, now: i64) -> bool {
        self.login && self.valid_until.is_none_or(|until| now < until)
    }
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
