//! A transaction as the jobs that share it see it: what they all would write last is written once, when the last of them is done.
//!
//! In: jobs, one after the other, each in a savepoint. Out: one commit. Law: at each commit the heads of the chains are those that
//! writing them after every row would have left. A head is read where the first row of the group needs it and held here from then on:
//! nobody else can write while the transaction is open, and what a failed job added to a chain is forgotten with its rows.

use std::cell::RefCell;
use std::ops::Deref;

use rusqlite::Transaction;

use super::chain::Heads;
use crate::error::Result;

/// What shares a transaction, and is answered for itself.
pub(super) trait Job: Send {
    /// Did it do what it was to do?
    fn run(&mut self, writing: &Writing) -> bool;
    /// `durable`: what it wrote is on disk.
    fn answer(self: Box<Self>, durable: bool);
}

/// Read and written as a transaction, which only the state's own thread can end.
pub struct Writing<'c> {
    transaction: Transaction<'c>,
    pub(super) heads: RefCell<Heads>,
}

impl<'c> Writing<'c> {
    pub(super) fn new(transaction: Transaction<'c>) -> Self {
        Self { transaction, heads: RefCell::default() }
    }

    /// `job` says whether it did what it was to do; where it did not, nothing that it wrote stays.
    pub(super) fn attempt(&self, job: impl FnOnce(&Self) -> bool) -> Result<()> {
        let before = self.heads.borrow().clone();
        self.prepare_cached("SAVEPOINT job")?.execute([])?;
        if !job(self) {
            self.prepare_cached("ROLLBACK TO job")?.execute([])?;
            self.heads.replace(before);
        }
        self.prepare_cached("RELEASE job")?.execute([])?;
        Ok(())
    }

    pub(super) fn commit(self) -> Result<()> {
        self.heads.borrow().write(&self.transaction)?;
        self.transaction.commit()?;
        Ok(())
    }
}

impl<'c> Deref for Writing<'c> {
    type Target = Transaction<'c>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}
