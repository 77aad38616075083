//! `CALL privacy.request_access(…)` and what is decided about requests; the view `privacy.grants`.
//!
//! In: arguments as texts. Out: changes; and the rows of the view. Who may make a change is checked where it is applied.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::Utc;

use super::Session;
use super::answer::Notice;
use super::procedures::Arguments;
use crate::error::{Error, Result};
use crate::policy::{AccessGrant, AccessRequest, Capability, Change, Decision, Level, Principal, parse_interval};
use crate::query::statement::{Admin, Call};

pub(super) fn request(call: &Call) -> Result<Vec<Change>> {
    let given = Arguments::new(call, &["table", "columns", "level", "interval", "reason", "rights_request"])?;
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
    };
    Ok(vec![Change::RequestAccess { request, now: Utc::now().timestamp() }])
}

pub(super) fn approve(call: &Call) -> Result<Vec<Change>> {
    let given = Arguments::new(call, &["id"])?;
    decide(&given, Decision::Approve)
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
        notice.hint = Some(format!("it begins when somebody else says CALL privacy.approve_access({})", grant.id));
        Some(notice)
    }

    /// Everybody's own; those who decide and those who audit see all.
    pub(super) async fn grants_view(&self, principal: &Principal) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        let uses = self.server.ledger.access_uses().await?;
        let now = Utc::now().timestamp();
        let all = principal.can(Capability::Audit) || principal.can(Capability::Administer);
        let grants: Vec<&AccessGrant> =
            policies.access.values().filter(|grant| all || grant.principal == principal.name()).collect();
        let texts = |text: &dyn Fn(&AccessGrant) -> Option<String>| -> ArrayRef {
            Arc::new(grants.iter().map(|grant| text(grant)).collect::<StringArray>())
        };
        let moments = |moment: &dyn Fn(&AccessGrant) -> Option<i64>| -> ArrayRef {
            let micros = |grant: &&AccessGrant| moment(grant).map(|seconds| seconds.saturating_mul(1_000_000));
            Arc::new(grants.iter().map(micros).collect::<TimestampMicrosecondArray>().with_timezone_utc())
        };
        let numbers = |number: &dyn Fn(&AccessGrant) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                grants.iter().map(|grant| i64::try_from(number(grant)).unwrap_or(i64::MAX)),
            ))
        };
        let list = |columns: &AccessGrant| columns.columns.iter().cloned().collect::<Vec<_>>().join(", ");
        RecordBatch::try_from_iter_with_nullable([
            ("id", numbers(&|grant| grant.id), true),
            ("state", texts(&|grant| Some(grant.state_at(now).to_owned())), true),
            ("requester", texts(&|grant| Some(grant.principal.clone())), true),
            ("table_name", texts(&|grant| Some(grant.table.clone())), true),
            ("columns", texts(&|grant| Some(list(grant))), true),
            ("level", texts(&|grant| Some(grant.level.name().to_owned())), true),
            ("reason", texts(&|grant| Some(grant.reason.clone())), true),
            ("rights_request", texts(&|grant| grant.rights_request.clone()), true),
            ("requested", moments(&|grant| Some(grant.requested)), true),
            ("decided_by", texts(&|grant| grant.decided_by.clone()), true),
            ("decision", texts(&|grant| grant.decision.clone()), true),
            ("valid_from", moments(&|grant| grant.from), true),
            ("valid_until", moments(&|grant| grant.until), true),
            ("uses", numbers(&|grant| uses.get(&grant.id).copied().unwrap_or_default()), true),
        ])
        .map_err(|_| Error::internal())
    }
}
