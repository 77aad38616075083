//! What was spent, what was asked, what was answered.
//!
//! In: what a statement is about to release and its price. Out: a [`Reservation`], the only proof of payment there is, after
//! the debit and the log row are on disk together. Nothing is ever refunded: what a statement found, or whether it
//! finished, changes no balance.
//!
//! **The promise of a window.** Windows are fixed: each starts at a multiple of its length since 1970. Within one window
//! everything that one policy releases is (epsilon, delta)-differentially private, per principal and for all together.
//! Several windows compose: two windows promise twice the epsilon and twice the delta.
//!
//! **The log.** Rows are only ever added. Each is sealed together with all rows before it, see [`Ledger::verify_chain`].

mod about;
mod answers;
mod batches;
mod budget;
mod evidence;
mod integrity;
mod lines;
mod log;
mod opened;
mod spent;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;

use about::About;
pub use answers::{StoredAnswer, ToStore};
pub use batches::{LogPart, budget_batch, budget_schema, query_log_schema};
pub use budget::{BudgetLine, Limits};
pub use evidence::PurposeUse;
pub use integrity::integrity_schema;
pub use spent::Spent;

use crate::error::{Error, Result, SqlState};
pub use crate::policy::Price;
pub use crate::state::Broken;
use crate::state::{Chain, State};
use integrity::verify;
use log::NewEntry;

/// What one policy pays for one statement. It follows from the plan and the settings, never from data.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    pub policy: String,
    pub price: Price,
}

/// What the log says of a statement before it runs. `statement` comes without passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The login: whose budget is debited.
    pub who: String,
    /// The roles it acted as.
    pub roles: Vec<String>,
    pub database: String,
    pub application_name: String,
    pub purpose: Option<String>,
    pub statement: String,
    /// `simple`, `extended`, …
    pub protocol: String,
    /// `SELECT`, `EXPLAIN`, `CREATE ROLE`, …
    pub kind: String,
    pub tables: Vec<String>,
    /// `table.column`, of what was read.
    pub columns: Vec<String>,
    /// The grant of access under which rows are read.
    pub access: Option<u64>,
    /// What was done to protect: floor, mask, bounds.
    pub protections: String,
}

/// A row of the query log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(i64);

impl LogId {
    pub fn get(self) -> i64 {
        self.0
    }
}

/// Proof that a statement was paid for and logged. Only [`Ledger::reserve`] makes one, and it cannot be copied.
#[derive(Debug)]
#[must_use = "a reservation was paid for"]
pub struct Reservation {
    log: LogId,
}

impl Reservation {
    pub fn log_id(&self) -> LogId {
        self.log
    }
}

/// What became of a statement that was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// `persons`: how many the answer is about, as released with noise.
    Answered {
        rows: u64,
        from_store: bool,
        persons: Option<u64>,
    },
    Failed {
        sqlstate: SqlState,
    },
    Cancelled,
}

/// Microseconds since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A handle; clones share the file.
#[derive(Clone)]
pub struct Ledger {
    state: State,
    chain: Chain,
    clock: Clock,
    about: Arc<About>,
}

impl Ledger {
    pub async fn open(state: State) -> Result<Self> {
        let clock = Arc::new(|| chrono::Utc::now().timestamp_micros());
        Self::open_with_clock(state, clock).await
    }

    async fn open_with_clock(state: State, clock: Clock) -> Result<Self> {
        let chain = state.chain().await?;
        let about = Arc::<About>::default();
        let at_start = about.clone();
        state.read(move |connection| at_start.read_on(connection)).await?;
        Ok(Self { state, chain, clock, about })
    }

    /// Checks every policy's budget and debits it, for all principals and for this one, and logs the statement as started:
    /// all in one transaction, so that of two statements that race for what is left exactly one gets it. A refusal
    /// debits nothing and is logged as refused. No charges: free, and logged all the same.
    pub async fn reserve(&self, entry: Entry, charges: Vec<Charge>, limits: &Limits) -> Result<Reservation> {
        if entry.who.is_empty() {
            return Err(Error::internal());
        }
        let (chain, now, limits) = (self.chain.clone(), (self.clock)(), *limits);
        let charges = one_per_policy(charges)?;
        let who = entry.who.clone();
        let entry = NewEntry::new(now, entry, &charges)?;
        self.state
            .write(move |tx| {
                let refusal = budget::refuse_overdraft(tx, &who, &charges, &limits, now)?;
                if let Some(refusal) = refusal {
                    let log = chain.append_entry(tx, entry.free()?)?;
                    chain.append_refusal(tx, now, log, &refusal)?;
                    return Ok(Err(refusal));
                }
                budget::debit(tx, &who, &charges, &limits, now)?;
                let log = chain.append_entry(tx, entry)?;
                Ok(Ok(Reservation { log }))
            })
            .await?
    }

    /// What became of a reserved statement; to be on disk before the first byte of its answer leaves.
    /// `store`: what is kept of its releases, in the same write.
    pub async fn finish(&self, log: LogId, outcome: Outcome, elapsed: Duration, store: Vec<ToStore>) -> Result<()> {
        let (chain, now) = (self.chain.clone(), (self.clock)());
        self.state
            .write(move |tx| {
                store.into_iter().try_for_each(|answer| answer.insert(tx))?;
                chain.append_outcome(tx, now, log, outcome, elapsed)
            })
            .await
    }

    /// Logs a statement that was refused, or failed, before it was reserved.
    pub async fn refuse(&self, entry: Entry, refusal: &Error) -> Result<()> {
        let (chain, now, refusal) = (self.chain.clone(), (self.clock)(), refusal.clone());
        let entry = NewEntry::new(now, entry, &BTreeMap::new())?;
        self.state
            .write(move |tx| {
                let log = chain.append_entry(tx, entry)?;
                chain.append_refusal(tx, now, log, &refusal)
            })
            .await
    }

    /// Logs a statement that released nothing and is done.
    pub async fn record(&self, entry: Entry) -> Result<()> {
        let (chain, now) = (self.chain.clone(), (self.clock)());
        let entry = NewEntry::new(now, entry, &BTreeMap::new())?;
        self.state
            .write(move |tx| {
                let log = chain.append_entry(tx, entry)?;
                chain.append_done(tx, now, log)
            })
            .await
    }

    /// Logs an answer that was given before and is given once more, for nothing; to be on disk before its first byte leaves.
    pub async fn repeat(&self, entry: Entry, outcome: Outcome, elapsed: Duration) -> Result<()> {
        let (chain, now) = (self.chain.clone(), (self.clock)());
        let entry = NewEntry::new(now, entry, &BTreeMap::new())?;
        self.state
            .write(move |tx| {
                let log = chain.append_entry(tx, entry)?;
                chain.append_outcome(tx, now, log, outcome, elapsed)
            })
            .await
    }

    /// Every line of the present window, and a line of nothing spent for each of `policies` that has none.
    pub async fn budget(&self, limits: &Limits, policies: &BTreeSet<String>) -> Result<Vec<BudgetLine>> {
        let (now, limits, policies) = ((self.clock)(), *limits, policies.clone());
        self.state.read(move |connection| budget::lines(connection, &limits, &policies, now)).await
    }

    /// A part of the log, oldest first, each statement with the last that is known of it.
    pub async fn query_log(&self, part: LogPart) -> Result<RecordBatch> {
        self.state.read(move |connection| batches::query_log(connection, &part)).await
    }

    /// The first and the last id of the log; of an empty one the last comes before the first.
    pub async fn log_ids(&self) -> Result<(i64, i64)> {
        self.state.read(batches::log_ids).await
    }

    /// The first row of the log or of the record of changes that is not what was written, or the budget lines when they hold less
    /// than the log says was paid, or `None` when all is whole. See [`crate::state::Chain`] for what this proves.
    pub async fn verify_chain(&self) -> Result<Option<Broken>> {
        let chain = self.chain.clone();
        let records = self.state.read_apart(move |connection| verify(&chain, connection)).await?;
        Ok(records.into_iter().find_map(|record| record.broken))
    }
}

/// Two releases of one statement from one policy add up.
fn one_per_policy(charges: Vec<Charge>) -> Result<BTreeMap<String, Price>> {
    let mut sums: BTreeMap<String, Price> = BTreeMap::new();
    for Charge { policy, price } in charges {
        let sum = sums.get(&policy).map_or(Ok(price), |held| held.and(price))?;
        sums.insert(policy, sum);
    }
    Ok(sums)
}
