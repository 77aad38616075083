//! `privacy.running_queries`, pg_stat_activity, and signals to sessions: who sees what of whom, and who may end what.
//!
//! In: the sessions there are, and who asks. Out: rows, and the doing of `pg_cancel_backend` and `pg_terminate_backend`.
//!
//! **Who sees what.** Everybody their own sessions, whole. Auditors, and those who manage roles, all the others without their
//! statements: what runs is nobody's to read before it is in the log, and the log is the auditors'. Nobody else learns who is at work.
//! **Who ends what.** Everybody their own; those who manage roles anybody's, but for sessions of roles that have `CREATEROLE`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::Utc;
use datafusion::common::TableReference;

use super::activity::{Backend, Now};
use super::listing::Listing;
use super::{Notice, Session, TransactionState};
use crate::catalog::system::{ActivityRow, Seen, Signal, Signals};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Capability, Principal};
use crate::release::Stage;

/// A session that the asker may see.
struct Visible {
    backend: Arc<Backend>,
    now: Now,
    runs: bool,
    /// The asker's own.
    own: bool,
}

impl Session {
    fn visible(&self, principal: &Principal) -> Vec<Visible> {
        let sees_all = principal.can(Capability::Audit) || principal.can(Capability::ManageRoles);
        let all = self.server.activities.all().into_iter().map(|backend| {
            let (now, runs) = backend.now();
            Visible { own: self.owns(&backend), backend, now, runs }
        });
        all.filter(|visible| visible.own || sees_all).collect()
    }

    /// A role of the same name that is made later is another one.
    fn owns(&self, backend: &Backend) -> bool {
        backend.role() == self.client.user && backend.role_created() == self.role_created
    }

    pub(super) fn running_queries(&self, principal: &Principal) -> Result<RecordBatch> {
        let now = Utc::now().timestamp_micros();
        let running: Vec<Visible> = self.visible(principal).into_iter().filter(|visible| visible.runs).collect();
        let began = |v: &Visible| v.now.statement_began;
        Listing::of(&running)
            .integer("pid", |v| Some(v.backend.pid()))
            .text("role", |v| Some(v.backend.role().to_owned()))
            .text("application_name", |v| Some(v.now.application_name.clone()))
            .text("stage", |v| Some(v.backend.progress.stage().name().to_owned()))
            .instant("started", began)
            .number("elapsed_ms", |v| began(v).map_or(0.0, |began| now.saturating_sub(began).max(0) as f64 / 1000.0))
            .maybe_number("fraction_scanned", |v| v.backend.progress.fraction_scanned())
            .text("statement", |v| v.own.then(|| v.now.statement.clone()))
            .batch()
    }

    /// The rows of pg_stat_activity, where a statement names it.
    pub(super) fn activity_rows(&self, principal: &Principal, relations: &[TableReference]) -> Vec<ActivityRow> {
        if !relations.iter().any(|name| name.table() == "pg_stat_activity") {
            return vec![];
        }
        let rows = self.visible(principal).into_iter().map(|visible| ActivityRow {
            pid: visible.backend.pid(),
            role: visible.backend.role().to_owned(),
            application_name: visible.now.application_name.clone(),
            seen: visible.own.then(|| visible.whole()),
        });
        rows.collect()
    }

    pub(super) fn signals(&self, principal: &Principal) -> Signals {
        let (server, principal) = (self.server.clone(), principal.clone());
        let warnings = self.warnings.clone();
        Signals(Arc::new(move |pid, signal| {
            let Some(backend) = server.activities.find(pid) else {
                if let Ok(mut warnings) = warnings.lock() {
                    warnings.push(Notice {
                        severity: "WARNING",
                        message: format!("PID {pid} is not a PostgreSQL backend process"),
                        hint: None,
                    });
                }
                return Ok(false);
            };
            if !principal.may_signal(&server.catalog.policies(), backend.role()) {
                return Err(refuse_signal(&principal, signal));
            }
            match signal {
                Signal::Cancel => backend.cancel(),
                Signal::Terminate => backend.terminate(),
            }
            Ok(true)
        }))
    }
}

impl Visible {
    fn whole(&self) -> Seen {
        let state = match (self.runs, self.now.transaction) {
            (true, _) => "active",
            (false, TransactionState::Idle) => "idle",
            (false, TransactionState::InTransaction) => "idle in transaction",
            (false, TransactionState::Failed) => "idle in transaction (aborted)",
        };
        Seen {
            client_address: self.backend.address().ip().to_string(),
            client_port: i32::from(self.backend.address().port()),
            began: self.backend.began(),
            transaction_began: self.now.transaction_began,
            statement_began: self.now.statement_began,
            state_changed: self.now.state_changed,
            state,
            waits: self.runs && self.backend.progress.stage() == Stage::Waiting,
            statement: self.now.statement.clone(),
        }
    }
}

fn refuse_signal(principal: &Principal, signal: Signal) -> Error {
    let what = match signal {
        Signal::Cancel => "cancel query",
        Signal::Terminate => "terminate process",
    };
    if principal.can(Capability::ManageRoles) {
        return Error::new(SqlState::InsufficientPrivilege, format!("permission denied to {what}"))
            .detail("the session is of a role with the CREATEROLE attribute, and only their like decide on it")
            .hint("log in as a role with the CREATEROLE attribute");
    }
    principal
        .denied(Capability::ManageRoles, format!("permission denied to {what}"))
        .hint("one's own sessions: SELECT pid, stage FROM privacy.running_queries")
}

#[cfg(test)]
mod tests;
