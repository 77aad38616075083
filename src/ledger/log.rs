//! Rows of the query log and of the outcomes: how they are written, sealed and read back.
//!
//! In: entries and outcomes. Out: rows that are never changed again. What became of a statement is a row of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

use super::spent::Spent;
use super::{Entry, LogId, Outcome, Price};
use crate::error::{Error, Result, SqlState};
use crate::state::{Broken, Chain, ToSeal, Writing};

const LOG: &str = "query_log";
const OUTCOME: &str = "query_outcome";

/// What a log row's seal covers.
#[derive(Serialize)]
struct LogRow {
    at: i64,
    principal: String,
    roles: String,
    database: String,
    application: String,
    purpose: Option<String>,
    protocol: String,
    kind: String,
    statement: String,
    tables: String,
    /// JSON: a list of [`Charged`].
    charges: String,
    protections: String,
    /// Rows from before these columns were kept are sealed without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_grant: Option<i64>,
}

/// A row of the log, made before its turn to be written comes: then only its id is missing, and the seal before it.
pub(super) struct NewEntry {
    row: LogRow,
    to_seal: ToSeal,
}

impl NewEntry {
    pub(super) fn new(now: i64, entry: Entry, charges: &BTreeMap<String, Price>) -> Result<Self> {
        Self::of(LogRow::new(now, entry, charges)?)
    }

    /// The same of a statement that pays nothing.
    pub(super) fn free(mut self) -> Result<Self> {
        self.row.charges = "[]".to_owned();
        Self::of(self.row)
    }

    fn of(row: LogRow) -> Result<Self> {
        Ok(Self { to_seal: ToSeal::of(&row)?, row })
    }
}

/// What a policy paid for a statement, as the log keeps it: its name, rho, delta, and epsilon where it has one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Charged {
    Pure(String, f64, f64, f64),
    Concentrated(String, f64, f64),
}

impl Charged {
    fn new((policy, price): (&String, &Price)) -> Self {
        let (policy, rho, delta) = (policy.clone(), price.rho.get(), price.delta.get());
        match price.epsilon {
            Some(epsilon) => Self::Pure(policy, rho, delta, epsilon.get()),
            None => Self::Concentrated(policy, rho, delta),
        }
    }

    /// The charges of a row.
    pub(super) fn read(row: &Row) -> Result<Vec<Self>> {
        let charges: String = row.get("charges")?;
        serde_json::from_str(&charges).map_err(|_| Error::internal())
    }

    pub(super) fn policy(&self) -> &str {
        match self {
            Self::Pure(policy, ..) | Self::Concentrated(policy, ..) => policy,
        }
    }

    pub(super) fn spent(&self) -> Spent {
        let (rho, delta, epsilon, gaussian_rho) = match *self {
            Self::Pure(_, rho, delta, epsilon) => (rho, delta, epsilon, 0.0),
            Self::Concentrated(_, rho, delta) => (rho, delta, 0.0, rho),
        };
        Spent { rho, delta, epsilon, gaussian_rho, statements: 1 }
    }

    /// The setting that buys this.
    pub(super) fn epsilon(&self) -> f64 {
        match self {
            Self::Pure(.., epsilon) => *epsilon,
            Self::Concentrated(_, rho, _) => (2.0 * rho).sqrt(),
        }
    }
}

/// What an outcome's seal covers.
#[derive(Serialize)]
struct OutcomeRow {
    log_id: i64,
    at: i64,
    outcome: String,
    sqlstate: Option<String>,
    rows: Option<i64>,
    from_store: bool,
    elapsed_us: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    persons: Option<i64>,
}

impl Chain {
    pub(super) fn append_entry(&self, tx: &Writing, NewEntry { row, to_seal }: NewEntry) -> Result<LogId> {
        let link = self.next(tx, LOG)?;
        let chain = self.seal(tx, &link, &to_seal)?;
        tx.prepare_cached(
            "INSERT INTO query_log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute((
            link.id,
            row.at,
            row.principal,
            row.roles,
            row.database,
            row.application,
            row.purpose,
            row.protocol,
            row.kind,
            row.statement,
            row.tables,
            row.charges,
            row.protections,
            chain,
            row.columns,
            row.access_grant,
        ))?;
        Ok(LogId(link.id))
    }

    pub(super) fn append_outcome(
        &self,
        tx: &Writing,
        now: i64,
        log: LogId,
        outcome: Outcome,
        elapsed: Duration,
    ) -> Result<()> {
        let mut row = OutcomeRow::new(now, log, "answered");
        row.elapsed_us = Some(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX));
        match outcome {
            Outcome::Answered { rows, from_store, persons } => {
                row.rows = Some(i64::try_from(rows).unwrap_or(i64::MAX));
                row.persons = persons.map(|persons| i64::try_from(persons).unwrap_or(i64::MAX));
                row.from_store = from_store;
            }
            Outcome::Failed { sqlstate } => {
                row.outcome = "failed".to_owned();
                row.sqlstate = Some(sqlstate.code().to_owned());
            }
            Outcome::Cancelled => {
                row.outcome = "cancelled".to_owned();
                row.sqlstate = Some(SqlState::QueryCanceled.code().to_owned());
            }
        }
        self.append(tx, row)
    }

    pub(super) fn append_refusal(&self, tx: &Writing, now: i64, log: LogId, refusal: &Error) -> Result<()> {
        let failed = refusal.sqlstate == SqlState::InternalError;
        let mut row = OutcomeRow::new(now, log, if failed { "failed" } else { "refused" });
        row.sqlstate = Some(refusal.sqlstate.code().to_owned());
        self.append(tx, row)
    }

    pub(super) fn append_done(&self, tx: &Writing, now: i64, log: LogId) -> Result<()> {
        self.append(tx, OutcomeRow::new(now, log, "done"))
    }

    fn append(&self, tx: &Writing, row: OutcomeRow) -> Result<()> {
        let link = self.next(tx, OUTCOME)?;
        let chain = self.seal(tx, &link, &ToSeal::of(&row)?)?;
        tx.prepare_cached("INSERT INTO query_outcome VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?.execute((
            link.id,
            row.log_id,
            row.at,
            row.outcome,
            row.sqlstate,
            row.rows,
            row.from_store,
            row.elapsed_us,
            chain,
            row.persons,
        ))?;
        Ok(())
    }

    pub(super) fn verify_entries(&self, connection: &Connection) -> Result<Option<Broken>> {
        let mut log = connection.prepare("SELECT * FROM query_log ORDER BY id")?;
        let rows = log.query_and_then([], |row| Ok((row.get("id")?, LogRow::read(row)?, row.get("chain")?)))?;
        self.verify_table(connection, LOG, rows)
    }

    pub(super) fn verify_outcomes(&self, connection: &Connection) -> Result<Option<Broken>> {
        let mut outcomes = connection.prepare("SELECT * FROM query_outcome ORDER BY id")?;
        let rows =
            outcomes.query_and_then([], |row| Ok((row.get("id")?, OutcomeRow::read(row)?, row.get("chain")?)))?;
        self.verify_table(connection, OUTCOME, rows)
    }
}

impl LogRow {
    fn new(at: i64, entry: Entry, charges: &BTreeMap<String, Price>) -> Result<Self> {
        let charges: Vec<Charged> = charges.iter().map(Charged::new).collect();
        Ok(Self {
            at,
            principal: entry.who,
            roles: entry.roles.join(", "),
            database: entry.database,
            application: entry.application_name,
            purpose: entry.purpose,
            protocol: entry.protocol,
            kind: entry.kind,
            statement: entry.statement,
            tables: entry.tables.join(", "),
            charges: serde_json::to_string(&charges).map_err(|_| Error::internal())?,
            protections: entry.protections,
            columns: (!entry.columns.is_empty()).then(|| entry.columns.join(", ")),
            access_grant: entry.access.map(|id| i64::try_from(id).unwrap_or(i64::MAX)),
        })
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            at: row.get("at")?,
            principal: row.get("principal")?,
            roles: row.get("roles")?,
            database: row.get("database")?,
            application: row.get("application")?,
            purpose: row.get("purpose")?,
            protocol: row.get("protocol")?,
            kind: row.get("kind")?,
            statement: row.get("statement")?,
            tables: row.get("tables")?,
            charges: row.get("charges")?,
            protections: row.get("protections")?,
            columns: row.get("columns")?,
            access_grant: row.get("access_grant")?,
        })
    }
}

impl OutcomeRow {
    fn new(at: i64, log: LogId, outcome: &str) -> Self {
        Self {
            log_id: log.get(),
            at,
            outcome: outcome.to_owned(),
            sqlstate: None,
            rows: None,
            from_store: false,
            elapsed_us: None,
            persons: None,
        }
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            log_id: row.get("log_id")?,
            at: row.get("at")?,
            outcome: row.get("outcome")?,
            sqlstate: row.get("sqlstate")?,
            rows: row.get("rows")?,
            from_store: row.get("from_store")?,
            elapsed_us: row.get("elapsed_us")?,
            persons: row.get("persons")?,
        })
    }
}
