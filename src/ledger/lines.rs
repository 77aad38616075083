//! The budget lines that a group of statements debits: read once, decided upon statement by statement, written once.
//!
//! In: debits, in the order of the statements. Out: lines as the last of them left them. Law: each statement is decided against the
//! sums that all debits before it have left, with the same rounding as if every one of them had been written and read again; and no
//! line is written without the log rows of those who paid, because both are in one commit.

use rusqlite::Transaction;

use super::budget::spent_in;
use super::spent::Spent;
use crate::error::Result;
use crate::state::{Kept, Rows, Writing};

/// Start and end, in seconds since 1970.
pub(super) type Window = (i64, i64);

/// Policy and principal.
type Whose = (String, String);

#[derive(Default)]
struct Lines(Rows<Whose, Overlapping>);

/// Every line of theirs that overlaps a window, by window.
#[derive(Clone)]
struct Overlapping {
    window: Window,
    lines: Vec<(Window, Spent)>,
    debited: bool,
}

impl Kept for Lines {
    fn keep(&mut self) {
        self.0.keep();
    }

    fn forget(&mut self) {
        self.0.forget();
    }

    fn write(&self, tx: &Transaction) -> Result<()> {
        self.0.iter().try_for_each(|(whose, lines)| lines.write(tx, whose))
    }
}

/// Lines of every window that overlaps this one count in full: when an administrator changes the length of the window,
/// what was spent under the old one is not forgotten.
pub(super) fn spent_within(writing: &Writing, policy: &str, principal: &str, window: Window) -> Result<Spent> {
    let whose = (policy.to_owned(), principal.to_owned());
    writing.kept(|lines: &mut Lines| Ok(lines.of(writing, &whose, window)?.sum()))
}

pub(super) fn debit(writing: &Writing, policy: &str, principal: &str, window: Window, price: Spent) -> Result<()> {
    let whose = (policy.to_owned(), principal.to_owned());
    writing.kept(|lines: &mut Lines| {
        let debited = lines.of(writing, &whose, window)?.debited(price);
        lines.0.put(whose, debited);
        Ok(())
    })
}

impl Lines {
    fn of(&mut self, tx: &Transaction, whose: &Whose, window: Window) -> Result<Overlapping> {
        if let Some(held) = self.0.get(whose) {
            if held.window == window {
                return Ok(held.clone());
            }
            // The window's length was changed between two statements of the group: others overlap it.
            held.write(tx, whose)?;
        }
        let read = Overlapping::read(tx, whose, window)?;
        self.0.put(whose.clone(), read.clone());
        Ok(read)
    }
}

impl Overlapping {
    /// Sorted here: with ORDER BY, SQLite would prepare the statement anew each time.
    fn read(tx: &Transaction, (policy, principal): &Whose, window: Window) -> Result<Self> {
        let mut statement = tx.prepare_cached(
            "SELECT window_start, window_end, rho, delta, epsilon, gaussian_rho, statements FROM budget_line
             WHERE policy = ?1 AND principal = ?2 AND window_end > ?3 AND window_start < ?4",
        )?;
        let mut rows = statement.query((policy, principal, window.0, window.1))?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            lines.push(((row.get(0)?, row.get(1)?), spent_in(row, 2)?));
        }
        lines.sort_by_key(|line| line.0);
        Ok(Self { window, lines, debited: false })
    }

    fn write(&self, tx: &Transaction, (policy, principal): &Whose) -> Result<()> {
        let own = self.lines.iter().find(|line| self.debited && line.0 == self.window);
        let Some(((start, end), sum)) = own else {
            return Ok(());
        };
        tx.prepare_cached(
            "INSERT OR REPLACE INTO budget_line
                 (policy, principal, window_start, window_end, rho, delta, statements, epsilon, gaussian_rho)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            policy,
            principal,
            start,
            end,
            sum.rho,
            sum.delta,
            sum.statements as i64,
            sum.epsilon,
            sum.gaussian_rho,
        ))?;
        Ok(())
    }

    fn sum(&self) -> Spent {
        self.lines.iter().fold(Spent::default(), |sum, (_, spent)| sum.and(*spent))
    }

    fn debited(mut self, price: Spent) -> Self {
        match self.lines.binary_search_by_key(&self.window, |line| line.0) {
            Ok(at) => self.lines[at].1 = self.lines[at].1.and(price),
            Err(at) => self.lines.insert(at, (self.window, price)),
        }
        Self { debited: true, ..self }
    }
}
