//! A transaction as the jobs that share it see it: each in a savepoint of its own, and what they all would write last ([`Kept`]) is
//! written once, when the last of them is done.
//!
//! In: jobs, one after the other. Out: one commit. Nobody else can write while the transaction is open, so what was read once for a
//! group is true until its commit.

use std::any::Any;
use std::cell::RefCell;
use std::ops::Deref;

use rusqlite::Transaction;

use super::kept::Kept;
use crate::error::{Error, Result};

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
    kept: RefCell<Vec<Box<dyn Kept>>>,
}

impl<'c> Writing<'c> {
    pub(super) fn new(transaction: Transaction<'c>) -> Self {
        Self { transaction, kept: RefCell::default() }
    }

    /// The rows of this kind that the group has come to. `job` may read and write the file, but no other kind of these.
    pub fn kept<K: Kept + Default, T>(&self, job: impl FnOnce(&mut K) -> Result<T>) -> Result<T> {
        let mut kept = self.kept.try_borrow_mut().map_err(|_| Error::internal())?;
        let is_there = kept.iter().any(|rows| (rows.as_ref() as &dyn Any).is::<K>());
        if !is_there {
            kept.push(Box::new(K::default()));
        }
        let rows = kept.iter_mut().find_map(|rows| (rows.as_mut() as &mut dyn Any).downcast_mut::<K>());
        job(rows.ok_or_else(Error::internal)?)
    }

    /// `job` says whether it did what it was to do; where it did not, nothing that it wrote stays.
    pub(super) fn attempt(&self, job: impl FnOnce(&Self) -> bool) -> Result<()> {
        self.prepare_cached("SAVEPOINT job")?.execute([])?;
        let done = job(self);
        if !done {
            self.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        self.prepare_cached("RELEASE job")?.execute([])?;
        let end = if done { Kept::keep } else { Kept::forget };
        self.kept.borrow_mut().iter_mut().for_each(|rows| end(rows.as_mut()));
        Ok(())
    }

    pub(super) fn commit(self) -> Result<()> {
        self.kept.borrow().iter().try_for_each(|rows| rows.write(&self.transaction))?;
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
