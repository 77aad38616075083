//! pg_stat_activity, and the functions that cancel a statement or end a session.
//!
//! In: the sessions that the asker may see, and what the session does with a signal. Out: rows and functions. Whose session is whose,
//! and who may do what to it, is for the session to say.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::functions::volatile;
use super::objects::Objects;
use super::rows::Rows;
use crate::error::{self, Error, SqlState};

/// One session.
#[derive(Debug, Clone)]
pub struct ActivityRow {
    pub pid: i32,
    pub role: String,
    pub application_name: String,
    /// Everything below is for those who may see it; the others are told so in the place of the statement, as in Postgres.
    pub seen: Option<Seen>,
}

/// Moments are microseconds since 1970.
#[derive(Debug, Clone)]
pub struct Seen {
    pub client_address: String,
    pub client_port: i32,
    pub began: i64,
    pub transaction_began: Option<i64>,
    pub statement_began: Option<i64>,
    pub state_changed: i64,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: &'static str,
    /// Does it wait for its turn?
    pub waits: bool,
    /// What runs, or ran last.
    pub statement: String,
}

/// What there is to tell a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Its statement ends.
    Cancel,
    /// It ends.
    Terminate,
}

type Send = dyn Fn(i32, Signal) -> error::Result<bool> + std::marker::Send + Sync;

/// Sends a signal to the session of a pid. Gives whether there is one. Errors: 42501.
#[derive(Clone)]
pub struct Signals(pub Arc<Send>);

impl Default for Signals {
    /// There is nobody to signal.
    fn default() -> Self {
        Self(Arc::new(|_, _| Ok(false)))
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signals(..)")
    }
}

pub(super) fn functions(signals: &Signals) -> Vec<ScalarUDF> {
    [("pg_cancel_backend", Signal::Cancel), ("pg_terminate_backend", Signal::Terminate)]
        .into_iter()
        .map(|(name, signal)| {
            let signals = signals.clone();
            volatile(name, DataType::Boolean, Arc::new(move |arrays, rows| send(&signals, name, signal, arrays, rows)))
        })
        .collect()
}

fn send(signals: &Signals, name: &str, signal: Signal, arrays: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let refuse = |error: Error| DataFusionError::External(Box::new(error));
    let [pids] = arrays else {
        return Err(refuse(
            Error::new(SqlState::UndefinedFunction, format!("function {name} does not take these arguments"))
                .detail("a signal is sent and not waited for")
                .hint(format!("SELECT {name}(pid)")),
        ));
    };
    let pids = cast(pids, &DataType::Int32)?;
    let pids = pids.as_primitive::<Int32Type>();
    let sent = (0..rows).map(|row| match pids.is_valid(row) {
        true => (signals.0)(pids.value(row), signal).map(Some).map_err(refuse),
        false => Ok(None),
    });
    Ok(Arc::new(sent.collect::<Result<BooleanArray>>()?))
}

pub(super) fn table(objects: &Objects) -> Result<RecordBatch> {
    let role_oid = |name: &str| objects.roles.iter().find(|role| role.name == name).map(|role| role.oid);
    let seen = |row: &ActivityRow| row.seen.clone();
    Rows::of(&objects.activity)
        .all_int("datid", objects.database_oid)
        .all_text("datname", &objects.database)
        .int("pid", |r| r.pid)
        .maybe_int("leader_pid", |_| None)
        .maybe_int("usesysid", |r| role_oid(&r.role))
        .text("usename", |r| r.role.clone())
        .text("application_name", |r| r.application_name.clone())
        .maybe("client_addr", |r| seen(r).map(|s| s.client_address))
        .no_text("client_hostname")
        .maybe_int("client_port", |r| seen(r).map(|s| s.client_port))
        .moment("backend_start", |r| seen(r).map(|s| s.began))
        .moment("xact_start", |r| seen(r).and_then(|s| s.transaction_began))
        .moment("query_start", |r| seen(r).and_then(|s| s.statement_began))
        .moment("state_change", |r| seen(r).map(|s| s.state_changed))
        .maybe("wait_event_type", |r| seen(r).filter(|s| s.waits).map(|_| "Extension".to_owned()))
        .maybe("wait_event", |r| seen(r).filter(|s| s.waits).map(|_| "Admission".to_owned()))
        .maybe("state", |r| seen(r).map(|s| s.state.to_owned()))
        .maybe_int("backend_xid", |_| None)
        .maybe_int("backend_xmin", |_| None)
        .maybe_int("query_id", |_| None)
        .text("query", |r| seen(r).map_or_else(|| "<insufficient privilege>".to_owned(), |s| s.statement))
        .all_text("backend_type", "client backend")
        .batch()
}
