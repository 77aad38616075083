//! Transaction blocks: what may follow what, as Postgres has it.
//!
//! In: statements in the order they come. Out: refusals and warnings, and the state that ReadyForQuery tells. Nothing is
//! undone here: answers that left stay paid for and logged, whatever becomes of the block.

use chrono::{DateTime, Utc};

use super::Notice;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::Statement;

/// For ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    Idle,
    InTransaction,
    Failed,
}

#[derive(Debug, Clone)]
pub struct Transaction {
    state: TransactionState,
    /// When the transaction began that the present statement belongs to: what `now()` says until it ends.
    moment: Option<DateTime<Utc>>,
    /// In the order they were set; a name may come several times, and the last one counts.
    savepoints: Vec<String>,
}

/// How a block ended: the command tag tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Committed,
    RolledBack,
}

impl Default for Transaction {
    fn default() -> Self {
        Self { state: TransactionState::Idle, moment: None, savepoints: vec![] }
    }
}

impl Transaction {
    pub fn state(&self) -> TransactionState {
        self.state
    }

    /// A statement begins, and with it, where there is none, a transaction. What a client sends in one string, or up to one Sync, is
    /// one transaction.
    pub fn enter(&mut self, now: DateTime<Utc>) {
        self.moment.get_or_insert(in_microseconds(now));
    }

    /// The client was told that it may go on.
    pub fn rest(&mut self) {
        if !self.in_block() {
            self.moment = None;
        }
    }

    /// When it began.
    pub fn moment(&self) -> DateTime<Utc> {
        self.moment.unwrap_or_else(|| in_microseconds(Utc::now()))
    }

    pub fn in_block(&self) -> bool {
        self.state != TransactionState::Idle
    }

    /// How many savepoints there are.
    pub fn depth(&self) -> usize {
        self.savepoints.len()
    }

    /// In a failed block nothing is taken but what ends it or goes back to before the failure.
    pub fn check(&self, statement: &Statement) -> Result<()> {
        let ends = matches!(statement, Statement::Commit | Statement::Rollback | Statement::RollbackTo(_));
        if self.state == TransactionState::Failed && !ends {
            return Err(Error::new(
                SqlState::InFailedSqlTransaction,
                "current transaction is aborted, commands ignored until end of transaction block",
            )
            .hint("ROLLBACK"));
        }
        Ok(())
    }

    /// A statement failed.
    pub fn fail(&mut self) {
        if self.in_block() {
            self.state = TransactionState::Failed;
        }
    }

    pub fn begin(&mut self) -> Option<Notice> {
        if self.in_block() {
            return Some(warning("there is already a transaction in progress"));
        }
        self.state = TransactionState::InTransaction;
        None
    }

    pub fn commit(&mut self) -> (End, Option<Notice>) {
        let end = match self.state {
            TransactionState::Failed => End::RolledBack,
            TransactionState::Idle | TransactionState::InTransaction => End::Committed,
        };
        (end, self.end())
    }

    pub fn rollback(&mut self) -> Option<Notice> {
        self.end()
    }

    fn end(&mut self) -> Option<Notice> {
        let notice = (!self.in_block()).then(|| warning("there is no transaction in progress"));
        *self = Self::default();
        notice
    }

    pub fn savepoint(&mut self, name: &str) -> Result<()> {
        self.require_block("SAVEPOINT")?;
        if self.savepoints.len() >= SAVEPOINTS {
            return Err(Error::new(SqlState::ConfigurationLimitExceeded, "too many savepoints in this transaction"));
        }
        self.savepoints.push(name.to_owned());
        Ok(())
    }

    /// Forgets the savepoint and those after it. Gives how many were before it.
    pub fn release(&mut self, name: &str) -> Result<usize> {
        self.require_block("RELEASE SAVEPOINT")?;
        let before = self.find(name)?;
        self.savepoints.truncate(before);
        Ok(before)
    }

    /// Forgets the savepoints after it; a failed block goes on. Gives how many were before it.
    pub fn rollback_to(&mut self, name: &str) -> Result<usize> {
        self.require_block("ROLLBACK TO SAVEPOINT")?;
        let before = self.find(name)?;
        self.savepoints.truncate(before + 1);
        self.state = TransactionState::InTransaction;
        Ok(before)
    }

    /// Errors: 25P01 outside a block.
    pub fn require_block(&self, what: &str) -> Result<()> {
        if self.in_block() {
            return Ok(());
        }
        Err(Error::new(SqlState::NoActiveSqlTransaction, format!("{what} can only be used in transaction blocks")))
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|savepoint| savepoint == name).ok_or_else(|| {
            Error::new(SqlState::InvalidSavepointSpecification, format!("savepoint \"{name}\" does not exist"))
        })
    }
}

/// As Postgres has them.
fn in_microseconds(moment: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(moment.timestamp_micros()).unwrap_or(moment)
}

/// Each keeps a copy of the session's variables.
const SAVEPOINTS: usize = 100;

fn warning(message: &str) -> Notice {
    Notice { severity: "WARNING", message: message.to_owned(), hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(notice: Option<Notice>) -> String {
        notice.map(|notice| notice.message).unwrap_or_default()
    }

    #[test]
    fn a_block_begins_and_ends() {
        let mut block = Transaction::default();
        assert_eq!(message(block.begin()), "");
        assert_eq!(block.state(), TransactionState::InTransaction);
        assert_eq!(message(block.begin()), "there is already a transaction in progress");
        let (end, notice) = block.commit();
        assert_eq!((end, message(notice).as_str()), (End::Committed, ""));
        assert_eq!(block.state(), TransactionState::Idle);
        assert_eq!(message(block.commit().1), "there is no transaction in progress");
        assert_eq!(message(block.rollback()), "there is no transaction in progress");
    }

    #[test]
    fn a_failed_block_takes_nothing_but_its_end() {
        let mut block = Transaction::default();
        block.fail();
        assert_eq!(block.state(), TransactionState::Idle);
        block.begin();
        block.savepoint("a").unwrap();
        block.savepoint("b").unwrap();
        block.fail();
        for statement in [Statement::Begin, Statement::Show(None), Statement::Discard] {
            let error = block.check(&statement).unwrap_err();
            assert_eq!(error.sqlstate, SqlState::InFailedSqlTransaction);
        }
        for statement in [Statement::Commit, Statement::Rollback, Statement::RollbackTo("a".into())] {
            block.check(&statement).unwrap();
        }
        assert_eq!(block.clone().commit().0, End::RolledBack);
        assert_eq!(block.rollback_to("a").unwrap(), 0);
        assert_eq!((block.state(), block.depth()), (TransactionState::InTransaction, 1));
        assert_eq!(block.rollback_to("b").unwrap_err().sqlstate, SqlState::InvalidSavepointSpecification);
    }

    #[test]
    fn a_transaction_has_one_moment() {
        let (mut block, start) = (Transaction::default(), Utc::now());
        let later = |seconds| start + chrono::TimeDelta::seconds(seconds);
        block.enter(start);
        block.enter(later(1));
        assert_eq!(block.moment().timestamp_micros(), start.timestamp_micros());
        assert_eq!(block.moment().timestamp_subsec_nanos() % 1000, 0);
        block.rest();
        block.enter(later(2));
        block.begin();
        block.rest();
        block.enter(later(3));
        assert_eq!(block.moment().timestamp_micros(), later(2).timestamp_micros());
        block.commit();
        block.enter(later(4));
        assert_eq!(block.moment().timestamp_micros(), later(4).timestamp_micros());
    }

    #[test]
    fn savepoints_need_a_block_and_the_last_of_a_name_counts() {
        let mut block = Transaction::default();
        assert_eq!(block.savepoint("a").unwrap_err().message, "SAVEPOINT can only be used in transaction blocks");
        block.begin();
        for name in ["a", "b", "a", "c"] {
            block.savepoint(name).unwrap();
        }
        assert_eq!(block.release("a").unwrap(), 2);
        assert_eq!(block.depth(), 2);
        assert_eq!(block.release("a").unwrap(), 0);
        assert_eq!(block.depth(), 0);
    }
}
