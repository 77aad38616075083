//! Access just in time: requested by who needs it, approved by somebody else, over by itself (requirements R1, R2, W6).
//!
//! In: a request, and decisions about it. Out: which grant of a principal is live at a moment. Must never: be live without the approval
//! of somebody other than the requester, nor longer than was asked for. Grants are kept for good: they are evidence.
//!
//! A `direct` grant is for one person, who is kept as a digest and shown to nobody. Who approves it names the person again, from the
//! person's own request, so that two people have read it. Of one table there is one open request or live grant at a time, whatever its
//! level: beside somebody's rows as they are, de-identified ones of the same table would tell which of them are theirs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Access, Capability, Class, GROUP_MANAGER, Policies, Principal, RoleName, Setting, Shown, Table};
use crate::error::{Error, Result, SqlState};

/// How much of a row a grant shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Identifiers are pseudonyms, rare combinations are left out, measures are perturbed.
    Deidentified,
    /// One person's rows as they are, to answer their request about their own data.
    Direct,
}

/// What was decided; that time is over is not a decision, see [`AccessGrant::state_at`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessState {
    Requested,
    Approved,
    Denied,
    Revoked,
}

/// A request for rows of one table, and what became of it. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessGrant {
    pub id: u64,
    /// Who asked, and who may read while it is live.
    pub principal: RoleName,
    pub table: String,
    pub columns: BTreeSet<String>,
    pub level: Level,
    pub reason: String,
    /// The person's request that a `direct` grant serves.
    pub rights_request: Option<String>,
    /// The one person whose rows a `direct` grant shows, as a digest. Grants from before it was asked for show nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// How long it lasts from its approval on.
    pub seconds: u64,
    pub requested: i64,
    pub state: AccessState,
    /// Who approved or denied it, or ended it.
    pub decided_by: Option<RoleName>,
    /// What who denied it said.
    pub decision: Option<String>,
    /// From its approval…
    pub from: Option<i64>,
    /// … until this moment, which is not part of it. An earlier end is when it was revoked.
    pub until: Option<i64>,
}

/// What a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    pub table: String,
    pub columns: BTreeSet<String>,
    pub level: Level,
    pub seconds: u64,
    pub reason: String,
    pub rights_request: Option<String>,
    /// A digest ([`super::DigestOf::Subject`]).
    pub person: Option<String>,
}

/// What is decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// `person`: as in the request, from who approves.
    Approve {
        person: Option<String>,
    },
    Deny {
        reason: String,
    },
    Revoke,
}

impl Level {
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "deidentified" => Ok(Self::Deidentified),
            "direct" => Ok(Self::Direct),
            _ => Err(Error::new(SqlState::InvalidParameterValue, "invalid value for argument \"level\"")
                .detail("rows are shown de-identified, or directly to serve a person's rights request")
                .hint("levels are 'deidentified' and 'direct'")),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Deidentified => "deidentified",
            Self::Direct => "direct",
        }
    }
}

impl AccessGrant {
    /// Does it show rows at `now` (seconds since 1970)?
    pub fn is_live(&self, now: i64) -> bool {
        self.state == AccessState::Approved
            && self.from.is_some_and(|from| from <= now)
            && self.until.is_some_and(|until| now < until)
    }

    /// `requested`, `live`, `expired`, `denied` or `revoked`.
    pub fn state_at(&self, now: i64) -> &'static str {
        match self.state {
            AccessState::Requested => "requested",
            AccessState::Approved if self.is_live(now) => "live",
            AccessState::Approved => "expired",
            AccessState::Denied => "denied",
            AccessState::Revoked => "revoked",
        }
    }

    pub fn covers(&self, column: &str) -> bool {
        self.columns.contains(column)
    }

    /// Does it show rows while it is live? A `direct` one only of a person that it names.
    fn serves(&self, principal: &Principal) -> bool {
        match self.level {
            Level::Deidentified => true,
            Level::Direct => self.person.is_some() && !principal.belongs_to(GROUP_MANAGER),
        }
    }

    /// Nothing more will come of it, also if the clock was ahead: what only a live grant needs may go.
    pub fn is_done(&self, now: i64) -> bool {
        match self.state {
            AccessState::Requested => false,
            AccessState::Denied | AccessState::Revoked => true,
            AccessState::Approved => self.until.is_some_and(|until| until.saturating_add(CLOCKS_DIFFER) <= now),
        }
    }

    /// Nothing more can come of it.
    fn is_over(&self, now: i64) -> bool {
        self.state != AccessState::Requested && !self.is_live(now)
    }
}

impl Policies {
    /// The grant under which `principal` may read rows of `table` at `now` (seconds since 1970). Of two, which there may be from
    /// before there was one a table, the less telling. Which columns it covers is for who reads to ask, and what their classes are now.
    pub fn live_access(&self, principal: &Principal, table: &str, now: i64) -> Option<&AccessGrant> {
        let live = self.access.values().filter(|grant| {
            principal.can(Capability::HoldAccess)
                && grant.serves(principal)
                && grant.principal == principal.name()
                && grant.table == table
                && grant.is_live(now)
                && principal.can(Capability::Analyse)
        });
        live.min_by_key(|grant| (grant.level, grant.id))
    }

    pub(super) fn request_access(&mut self, actor: &Principal, request: AccessRequest, now: i64) -> Result<()> {
        self.refuse_request(actor, &request)?;
        let same = |grant: &&AccessGrant| grant.principal == actor.name() && grant.table == request.table;
        if let Some(open) = self.access.values().filter(same).find(|grant| !grant.is_over(now)) {
            return Err(refuse_second(open, now));
        }
        let id = self.access.keys().next_back().map_or(1, |last| last + 1);
        let grant = AccessGrant {
            id,
            principal: actor.name().to_owned(),
            table: request.table,
            columns: request.columns,
            level: request.level,
            reason: request.reason,
            rights_request: request.rights_request,
            person: request.person,
            seconds: request.seconds,
            requested: now,
            state: AccessState::Requested,
            decided_by: None,
            decision: None,
            from: None,
            until: None,
        };
        self.access.insert(id, grant);
        Ok(())
    }

    fn refuse_request(&self, actor: &Principal, request: &AccessRequest) -> Result<()> {
        let longest = self.settings.max_access_seconds;
        if request.seconds == 0 || request.seconds > longest {
            return Err(Error::new(SqlState::InvalidParameterValue, "invalid value for argument \"interval\"")
                .detail(
                    "access ends by itself, after a time that is longer than none and within the administrator's limit",
                )
                .hint(format!(
                    "valid is an interval above 0, {} at most ({})",
                    self.settings.show(Setting::MaxAccessInterval),
                    Setting::MaxAccessInterval.name()
                )));
        }
        match (request.level, &request.rights_request) {
            (Level::Deidentified, None) | (Level::Direct, Some(_)) => {}
            (Level::Direct, None) => {
                return Err(Error::new(
                    SqlState::InvalidParameterValue,
                    "level \"direct\" is for a person's rights request",
                )
                .detail("rows are shown as they are only to answer what a person asked about their own data")
                .hint("say rights_request => '…', or ask for level 'deidentified'"));
            }
            (Level::Deidentified, Some(_)) => {
                return Err(Error::new(
                    SqlState::InvalidParameterValue,
                    "rights_request goes with level \"direct\" only",
                )
                .hint("leave rights_request out"));
            }
        }
        refuse_persons(actor, request)?;
        if self.tables.contains_key(&request.table) && !self.may_see(actor, &request.table) {
            return Err(super::apply_table::unknown_table(&request.table).hint(VISIBLE));
        }
        self.refuse_rows_of(&request.table, &request.columns, request.level)
    }

    /// Rows of these columns may be had at all.
    fn refuse_rows_of(&self, table: &str, columns: &BTreeSet<String>, level: Level) -> Result<()> {
        let table = self.known_table(table).map_err(|error| error.hint(VISIBLE))?;
        match table.access {
            Access::Protected { .. } | Access::Linked { .. } => {}
            Access::Public | Access::Directory | Access::Unclassified => {
                return Err(Error::new(
                    SqlState::WrongObjectType,
                    format!("table \"{}\" has no rows of persons", table.name),
                )
                .detail("access is granted to rows of tables with a person key")
                .hint("a public table needs no more than GRANT SELECT"));
            }
        }
        if columns.is_empty() {
            return Err(Error::new(SqlState::InvalidParameterValue, "access needs columns")
                .detail("no more is granted than what is named")
                .hint("name the columns: ARRAY['function', 'level']"));
        }
        columns.iter().try_for_each(|column| refuse_column(table, column, level))
    }

    pub(super) fn decide_access(&mut self, actor: &Principal, id: u64, decision: Decision, now: i64) -> Result<()> {
        let grant = self.known_access(id)?.clone();
        let mut next = grant.clone();
        next.decided_by = Some(actor.name().to_owned());
        match decision {
            Decision::Approve { person } => {
                refuse_decided(&grant, now)?;
                refuse_other_person(&grant, person.as_deref())?;
                let other = |other: &&AccessGrant| {
                    other.id != id && other.principal == grant.principal && other.table == grant.table
                };
                if let Some(live) = self.access.values().filter(other).find(|other| other.is_live(now)) {
                    return Err(refuse_second(live, now));
                }
                self.refuse_rows_of(&grant.table, &grant.columns, grant.level)?;
                let lasts = i64::try_from(grant.seconds.min(self.settings.max_access_seconds)).unwrap_or(i64::MAX);
                next.state = AccessState::Approved;
                (next.from, next.until) = (Some(now), Some(now.saturating_add(lasts)));
            }
            Decision::Deny { reason } => {
                refuse_decided(&grant, now)?;
                (next.state, next.decision) = (AccessState::Denied, Some(reason));
            }
            Decision::Revoke if grant.is_over(now) => {
                return Err(Error::new(
                    SqlState::ObjectNotInPrerequisiteState,
                    format!("access {id} is {} already", grant.state_at(now)),
                )
                .hint("SELECT * FROM privacy.grants says what is live"));
            }
            Decision::Revoke => next.revoke(now),
        }
        self.access.insert(id, next);
        Ok(())
    }

    /// What is open or live ends, because its role or its table is no more.
    pub(super) fn end_access(&mut self, of: impl Fn(&AccessGrant) -> bool) {
        for grant in self.access.values_mut().filter(|grant| of(grant)) {
            if matches!(grant.state, AccessState::Requested | AccessState::Approved) {
                grant.state = AccessState::Revoked;
            }
        }
    }

    fn known_access(&self, id: u64) -> Result<&AccessGrant> {
        self.access.get(&id).ok_or_else(|| {
            Error::new(SqlState::UndefinedObject, format!("access {id} does not exist"))
                .hint("SELECT id FROM privacy.grants names them")
        })
    }

    /// Who decides about a request is not who made it, nor acts as them, nor the other way round. Requesters may withdraw theirs.
    pub(super) fn refuse_decision_by(&self, actor: &Principal, id: u64, decision: &Decision) -> Result<()> {
        // That there is no such request is said to who may decide, and to nobody else.
        if let Some(grant) = self.access.get(&id) {
            let own = grant.principal == actor.name();
            let related =
                own || actor.belongs_to(&grant.principal) || self.memberships(&grant.principal).contains(actor.name());
            match decision {
                Decision::Revoke if own => return Ok(()),
                Decision::Approve { .. } | Decision::Deny { .. } if related => {
                    return Err(Error::new(
                        SqlState::InsufficientPrivilege,
                        format!("permission denied to decide about access {id}"),
                    )
                    .detail("nobody decides about their own request, nor about that of a role they act as or that acts as them")
                    .hint("ask another member of insights_admin"));
                }
                Decision::Approve { .. } | Decision::Deny { .. } | Decision::Revoke => {}
            }
        }
        if actor.can(Capability::Administer) {
            return Ok(());
        }
        Err(actor.denied(Capability::Administer, "permission denied to decide about access"))
    }
}

impl AccessGrant {
    fn revoke(&mut self, now: i64) {
        self.state = AccessState::Revoked;
        self.until = self.from.map(|_| now);
    }
}

/// The grants that there were and are, by id.
pub(super) type AccessGrants = BTreeMap<u64, AccessGrant>;

/// Seconds.
const CLOCKS_DIFFER: i64 = 3600;

const VISIBLE: &str = "access is requested for a table that you may see";

/// A `direct` request names one person, and no other does.
fn refuse_persons(actor: &Principal, request: &AccessRequest) -> Result<()> {
    match (request.level, &request.person) {
        (Level::Deidentified, None) => Ok(()),
        (Level::Direct, Some(_)) if actor.belongs_to(GROUP_MANAGER) => Err(Error::new(
            SqlState::InsufficientPrivilege,
            "permission denied: rights requests are not served by group managers",
        )
        .detail("a group manager asks about those who report to them, and sees nobody's rows as they are")
        .hint("have an analyst who leads nobody ask")),
        (Level::Direct, Some(_)) => Ok(()),
        (Level::Direct, None) => {
            Err(Error::new(SqlState::InvalidParameterValue, "level \"direct\" needs the person who asked")
                .detail("it shows rows of one person, who asked about their own data")
                .hint("say person => '…', the person key as the table has it; it is kept as a digest"))
        }
        (Level::Deidentified, Some(_)) => {
            Err(Error::new(SqlState::InvalidParameterValue, "person goes with level \"direct\" only")
                .detail("de-identified rows are nobody's in particular")
                .hint("leave person out"))
        }
    }
}

/// Who approves has read the same request.
fn refuse_other_person(grant: &AccessGrant, named: Option<&str>) -> Result<()> {
    match (grant.level, grant.person.as_deref(), named) {
        (Level::Deidentified, _, None) => Ok(()),
        (Level::Deidentified, _, Some(_)) => Err(Error::new(
            SqlState::InvalidParameterValue,
            format!("access {} is to nobody's rows in particular", grant.id),
        )
        .hint(format!("CALL privacy.approve_access({})", grant.id))),
        (Level::Direct, None, _) => {
            Err(Error::new(SqlState::ObjectNotInPrerequisiteState, format!("access {} names no person", grant.id))
                .detail("level \"direct\" shows rows of one person, who asked about their own data")
                .hint(format!("CALL privacy.deny_access({}, '…'), and have it requested again", grant.id)))
        }
        (Level::Direct, Some(person), Some(named)) if named == person => Ok(()),
        (Level::Direct, Some(_), Some(_)) => Err(Error::new(
            SqlState::InvalidParameterValue,
            format!("access {} is to rows of another person", grant.id),
        )
        .detail("who approves names the person from the person's own request, and the requester named another")
        .hint("read the request again; CALL privacy.deny_access(…) if the requester was wrong")),
        (Level::Direct, Some(_), None) => Err(Error::new(
            SqlState::InvalidParameterValue,
            format!("access {} needs the person from who approves it, too", grant.id),
        )
        .detail("two people read the person's request: who asks for access, and who approves")
        .hint(format!("CALL privacy.approve_access({}, person => '…')", grant.id))),
    }
}

fn refuse_second(open: &AccessGrant, now: i64) -> Error {
    Error::new(
        SqlState::DuplicateObject,
        format!("access {} to \"{}\" is {} already", open.id, open.table, open.state_at(now)),
    )
    .detail("there is one request or live grant of a table at a time")
    .hint(format!("wait for its end, or CALL privacy.revoke_access({})", open.id))
}

fn refuse_decided(grant: &AccessGrant, now: i64) -> Result<()> {
    match grant.state {
        AccessState::Requested => Ok(()),
        AccessState::Approved | AccessState::Denied | AccessState::Revoked => Err(Error::new(
            SqlState::ObjectNotInPrerequisiteState,
            format!("access {} is {} already", grant.id, grant.state_at(now)),
        )
        .detail("a request is decided once")
        .hint("CALL privacy.request_access(…) makes another")),
    }
}

fn refuse_column(table: &Table, name: &str, level: Level) -> Result<()> {
    let column = table.known_column(name).map_err(|error| error.hint("name columns of the table as it spells them"))?;
    let rules = column.class.map(Class::rules);
    let allowed = rules.is_some_and(|rules| match level {
        Level::Deidentified => rules.shown != Shown::Never,
        Level::Direct => rules.direct,
    });
    if allowed {
        return Ok(());
    }
    let detail = match column.class {
        Some(class) => {
            format!("columns of class {} are never shown for a person at level {}", class.name(), level.name())
        }
        None => "a column without a class cannot be read by anyone".to_owned(),
    };
    Err(Error::new(SqlState::InsufficientPrivilege, format!("permission denied for column \"{name}\""))
        .detail(detail)
        .hint("leave the column out"))
}
