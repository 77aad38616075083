//! What begins, ends and goes back in a transaction block, and everything that follows it: variables, cursors, loads, changes.
//!
//! In: the statements of transaction control. Out: their tags. Answers stay paid for, whatever becomes of a block.

use super::Session;
use super::answer::{Answer, Notice};
use super::transaction::End;
use crate::error::{Error, Result};
use crate::query::statement::Statement;

impl Session {
    /// Transaction blocks bracket the session's variables and cursors. Answers stay paid for, whatever becomes of a block.
    pub(super) fn block(&mut self, statement: &Statement) -> Result<Answer> {
        let (tag, notice) = match statement {
            Statement::Begin => {
                let notice = self.transaction.begin();
                if notice.is_none() {
                    self.variables.begin();
                }
                ("BEGIN", notice)
            }
            Statement::Commit => {
                let (end, notice) = self.transaction.commit();
                let committed = end == End::Committed;
                self.pending.forget();
                if committed {
                    self.variables.commit()
                } else {
                    self.variables.rollback()
                }
                self.cursors.end_of_transaction(committed);
                self.loads.forget();
                (if committed { "COMMIT" } else { "ROLLBACK" }, notice)
            }
            Statement::Rollback => ("ROLLBACK", self.roll_back()),
            Statement::Savepoint(name) => {
                self.transaction.savepoint(name)?;
                self.variables.savepoint();
                self.pending.savepoint();
                ("SAVEPOINT", None)
            }
            Statement::ReleaseSavepoint(name) => {
                let before = self.transaction.release(name)?;
                self.variables.release(before);
                self.pending.release(before);
                self.cursors.release(before);
                self.loads.release(before);
                ("RELEASE", None)
            }
            Statement::RollbackTo(name) => {
                let before = self.transaction.rollback_to(name)?;
                self.variables.rollback_to(before);
                self.pending.rollback_to(before);
                self.cursors.rollback_to(before);
                self.loads.rollback_to(before);
                ("ROLLBACK", None)
            }
            _ => return Err(Error::internal()),
        };
        Ok(Answer::done(tag).with_notices(notice.into_iter().collect()))
    }

    pub(super) fn roll_back(&mut self) -> Option<Notice> {
        let notice = self.transaction.rollback();
        self.pending.forget();
        self.variables.rollback();
        self.cursors.end_of_transaction(false);
        self.loads.forget();
        notice
    }
}
