//! `CALL privacy.create_purpose(…)` and `privacy.end_purpose(…)`, the purpose that a session declares, and the view `privacy.purposes`.
//!
//! In: arguments as texts. Out: changes; the live purpose of a query; rows of the view. Who may change is checked where it is applied.

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use super::Session;
use super::admin::moment;
use super::listing::Listing;
use super::procedures::Arguments;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Capability, Change, NewPurpose, Policies, Principal, Purpose};
use crate::query::statement::Call;

const NAME: &str = "privacy.purpose";

pub(super) fn create(call: &Call) -> Result<Vec<Change>> {
    let given = Arguments::new(call, &["name", "tables", "columns", "population", "expires", "reason", "roles"])?;
    let expires = moment(given.required("expires")?).ok_or_else(|| {
        given
            .refuse_value("expires")
            .hint("valid is a date or a timestamp, such as '2030-01-01' or '2030-01-01 08:00:00'")
    })?;
    given.required("tables")?;
    let some = |name: &'static str| given.optional(name).map(|_| given.list(name)).transpose();
    let purpose = NewPurpose {
        name: given.required("name")?.trim().to_owned(),
        tables: given.list("tables")?,
        columns: some("columns")?,
        population: given.optional("population").map(str::to_owned),
        roles: some("roles")?,
        reason: given.required("reason")?.to_owned(),
        expires,
    };
    Ok(vec![Change::CreatePurpose { purpose, now: Utc::now().timestamp() }])
}

pub(super) fn end(call: &Call) -> Result<Vec<Change>> {
    let given = Arguments::new(call, &["name"])?;
    Ok(vec![Change::EndPurpose { name: given.required("name")?.to_owned(), now: Utc::now().timestamp() }])
}

impl Session {
    /// `SET privacy.purpose = value`: once there are purposes, it names one of them.
    pub(super) fn refuse_unknown_purpose(&self, name: &str, value: Option<&str>) -> Result<()> {
        if !name.eq_ignore_ascii_case(NAME) {
            return Ok(());
        }
        let policies = self.server.catalog.policies();
        let now = Utc::now().timestamp();
        policies.purpose(&self.principal()?, value.unwrap_or_default(), now).map(drop)
    }

    /// The purpose that queries run under: a purpose that has ended since it was set serves no more.
    pub(super) fn declared_purpose(
        &self,
        policies: &Policies,
        principal: &Principal,
        now: DateTime<Utc>,
    ) -> Result<Option<Purpose>> {
        let declared = self.purpose().unwrap_or_default();
        policies.purpose(principal, &declared, now.timestamp()).map(Option::<&Purpose>::cloned).map_err(|error| {
            let state = policies.purposes.get(&declared).map_or("not registered", |purpose| {
                match purpose.is_live(now.timestamp()) {
                    true => "not open to your roles",
                    false => purpose.state_at(now.timestamp()),
                }
            });
            let refusal =
                Error::new(SqlState::InsufficientPrivilege, "permission denied: the session's purpose is not live")
                    .detail(format!("purpose \"{declared}\" is {state}, and a query needs a purpose that is live"));
            match error.hint {
                Some(hint) => refusal.hint(format!("SET privacy.purpose to another, or RESET privacy.purpose; {hint}")),
                None => refusal,
            }
        })
    }

    /// Whoever may declare a purpose must be able to find it.
    pub(super) fn purposes_view(&self, principal: &Principal) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        let now = Utc::now().timestamp();
        let all = principal.can(Capability::Audit) || principal.can(Capability::Administer);
        let open = |purpose: &&Purpose| {
            all || purpose.roles.as_ref().is_none_or(|roles| roles.iter().any(|role| principal.is(role)))
        };
        Listing::of(policies.purposes.values().filter(open))
            .text("name", |purpose| Some(purpose.name.clone()))
            .text("state", |purpose| Some(purpose.state_at(now).to_owned()))
            .text("tables", |purpose| Some(purpose.tables.keys().cloned().collect::<Vec<_>>().join(", ")))
            .text("columns", columns)
            .text("population", |purpose| purpose.population.clone())
            .text("roles", |purpose| {
                purpose.roles.as_ref().map(|roles| roles.iter().cloned().collect::<Vec<_>>().join(", "))
            })
            .text("reason", |purpose| Some(purpose.reason.clone()))
            .moment("expires", |purpose| Some(purpose.expires))
            .text("created_by", |purpose| Some(purpose.created_by.clone()))
            .moment("created", |purpose| Some(purpose.created))
            .moment("ended", |purpose| purpose.ended)
            .batch()
    }
}

/// `table.column, …`; nothing where whole tables are named.
fn columns(purpose: &Purpose) -> Option<String> {
    let named = purpose.tables.iter().filter_map(|(table, columns)| Some((table, columns.as_ref()?)));
    let named: Vec<String> =
        named.flat_map(|(table, columns)| columns.iter().map(move |column| format!("{table}.{column}"))).collect();
    (!named.is_empty()).then(|| named.join(", "))
}
