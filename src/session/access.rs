//! `CALL privacy.request_access(…)` and what is decided about requests; the view `privacy.grants`.
//!
//! In: arguments as texts. Out: changes; and the rows of the view. Who may make a change is checked where it is applied.

use arrow::array::RecordBatch;
use chrono::Utc;

use super::Session;
use super::answer::Notice;
use super::listing::Listing;
use super::procedures::Arguments;
use crate::error::{Error, Result, SqlState};
use crate::policy::{
    AccessGrant, AccessRequest, Capability, Change, Decision, DigestOf, Digester, Level, Person, Principal,
    parse_interval,
};
use crate::query::statement::{Admin, Call};

const REQUEST: [&str; 7] = ["table", "columns", "level", "interval", "reason", "rights_request", "person"];

pub(super) fn request(call: &Call, digester: &Digester) -> Result<Vec<Change>> {
    let given = Arguments::new(call, &REQUEST)?;
    let seconds = parse_interval(given.required("interval")?).ok_or_else(|| {
        given
            .refuse_value("interval")
            .hint("valid is an interval above 0, such as '2 hours': access begins when it is approved")
    })?;
    given.required("columns")?;
    let request = AccessRequest {
        table: given.required("table")?.to_owned(),
        columns: given.list("columns")?,
        level: Level::parse(given.required("level")?)?,
        seconds,
        reason: given.required("reason")?.to_owned(),
        rights_request: given.optional("rights_request").map(str::to_owned).filter(|text| !text.trim().is_empty()),
        person: person(&given, digester),
    };
    Ok(vec![Change::RequestAccess { request, now: Utc::now().timestamp() }])
}

pub(super) fn approve(call: &Call, digester: &Digester) -> Result<Vec<Change>> {
    let given = Arguments::new(call, &["id", "person"])?;
    let person = person(&given, digester);
    decide(&given, Decision::Approve { person })
}

/// Nothing behind this line knows who it is.
fn person(given: &Arguments<'_>, digester: &Digester) -> Option<String> {
    let key = given.optional("person").filter(|text| !text.trim().is_empty())?;
    Some(digester.digest(DigestOf::Subject, Person::of_text(key)))
}

pub(super) fn deny(call: &Call) -> Result<Vec<Change>> {
    let given = Arguments::new(call, &["id", "reason"])?;
    let reason = given.required("reason")?.to_owned();
    decide(&given, Decision::Deny { reason })
}

pub(super) fn revoke(call: &Call) -> Result<Vec<Change>> {
    let given = Arguments::new(call, &["id"])?;
    decide(&given, Decision::Revoke)
}

fn decide(given: &Arguments<'_>, decision: Decision) -> Result<Vec<Change>> {
    let id = given.required("id")?.trim().parse();
    let id =
        id.map_err(|_| given.refuse_value("id").hint("valid is the id of a request: SELECT id FROM privacy.grants"))?;
    Ok(vec![Change::DecideAccess { id, decision, now: Utc::now().timestamp() }])
}

impl Session {
    /// Which request a call made: its id is what is decided about.
    pub(super) fn requested(&self, actor: &Principal, admin: &Admin) -> Option<Notice> {
        let Admin::Call(call) = admin else { return None };
        if call.procedure != "privacy.request_access" {
            return None;
        }
        let policies = self.server.catalog.policies();
        let grant = policies.access.values().rev().find(|grant| grant.principal == actor.name())?;
        let mut notice = Notice::new(format!("access {} is requested", grant.id));
        let named = if grant.person.is_some() { ", person => '…'" } else { "" };
        notice.hint =
            Some(format!("it begins when somebody else says CALL privacy.approve_access({}{named})", grant.id));
        Some(notice)
    }

    /// Rows that a cursor holds are shown as long as the grant lasts that they were read under. Errors: 42501.
    pub(super) fn refuse_ended_access(&mut self, cursor: &str) -> Result<()> {
        let (policies, now) = (self.server.catalog.policies(), Utc::now().timestamp());
        let live = |id: u64| policies.access.get(&id).is_some_and(|grant| grant.is_live(now));
        if !self.cursors.end_access(cursor, live) {
            return Ok(());
        }
        Err(Error::new(SqlState::InsufficientPrivilege, format!("permission denied for cursor \"{cursor}\""))
            .detail("the grant of access that its rows were shown under is over")
            .hint("CALL privacy.request_access(…)"))
    }

    /// Everybody's own; those who decide and those who audit see all.
    pub(super) async fn grants_view(&self, principal: &Principal) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        let uses = self.server.ledger.access_uses().await?;
        let rows = self.server.ledger.access_rows().await?;
        let now = Utc::now().timestamp();
        let all = principal.can(Capability::Audit) || principal.can(Capability::Administer);
        let mine = |grant: &&AccessGrant| all || grant.principal == principal.name();
        Listing::of(policies.access.values().filter(mine))
            .count("id", |grant| grant.id)
            .text("state", |grant| Some(grant.state_at(now).to_owned()))
            .text("requester", |grant| Some(grant.principal.clone()))
            .text("table_name", |grant| Some(grant.table.clone()))
            .text("columns", |grant| Some(grant.columns.iter().cloned().collect::<Vec<_>>().join(", ")))
            .text("level", |grant| Some(grant.level.name().to_owned()))
            .text("reason", |grant| Some(grant.reason.clone()))
            .text("rights_request", |grant| grant.rights_request.clone())
            .moment("requested", |grant| Some(grant.requested))
            .text("decided_by", |grant| grant.decided_by.clone())
            .text("decision", |grant| grant.decision.clone())
            .moment("valid_from", |grant| grant.from)
            .moment("valid_until", |grant| grant.until)
            .count("uses", |grant| uses.get(&grant.id).copied().unwrap_or_default())
            .count("rows_shown", |grant| rows.get(&grant.id).copied().unwrap_or_default())
            .batch()
    }
}
