//! Answers that were given a moment ago: a dashboard that refreshes is not compiled and run again.
//!
//! In: an answer whose every release lies in the answer store, under everything that it depends on: the statement and its parameters,
//! who asks and what they may, what the session set, the epochs of the rules and of the statistics; and, held against the files each
//! time, the identity of all data that was looked at, also of that which says who is in a scope. Out: the same rows, which the store
//! would give as well. Nothing new is told, so nothing is paid; it is logged like any other. Must never: keep an answer that time alone
//! changes, one whose rights hang on a purpose or on a grant of access, or rows that are shown; those go the whole path each time.
//!
//! Law: what is compared here is all that the whole path reads before it finds the answer in the store. The text is compared before it is
//! resolved: under one epoch of the rules it means one thing to one principal.
//!
//! Held in memory, the oldest dropped first; the lock is held to look up and never across an await.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::sql::sqlparser::ast;
use sha2::{Digest, Sha256};

use super::Session;
use super::answer::Notice;
use super::path::Asked;
use super::surroundings::Surroundings;
use crate::error::Result;
use crate::ledger::{Entry, Outcome};
use crate::policy::Location;
use crate::release::Shaped;

/// All answers together.
const MOST_BYTES: usize = 64 << 20;
const MOST_ANSWERS: usize = 16_384;

type Key = [u8; 32];

#[derive(Default)]
pub(super) struct Recent {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    answers: HashMap<Key, (u64, Arc<Given>)>,
    /// By when each was last given.
    order: BTreeMap<u64, Key>,
    moments: u64,
    bytes: usize,
}

/// Everything that an answer depends on but the data, and the epoch of the rules in it.
pub(super) struct Question {
    key: Key,
    epoch: u64,
}

/// An answer, and what the log says of it.
pub(super) struct Given {
    /// The data that was looked at, and its identity then.
    pub looked: Vec<(Location, String)>,
    pub shaped: Shaped,
    pub notices: Vec<Notice>,
    pub tables: Vec<String>,
    pub columns: Vec<String>,
    pub protections: String,
    pub persons: Option<u64>,
}

impl Recent {
    fn find(&self, key: &Key) -> Option<Arc<Given>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.moments += 1;
        let now = held.moments;
        let (last, given) = held.answers.get_mut(key)?;
        let given = given.clone();
        let before = std::mem::replace(last, now);
        held.order.remove(&before);
        held.order.insert(now, *key);
        Some(given)
    }

    /// Instead of what was given before other data.
    fn keep(&self, key: Key, given: Given) {
        let bytes = given.shaped.bytes();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.forget(&key);
        if bytes > MOST_BYTES / 4 {
            return;
        }
        while held.bytes + bytes > MOST_BYTES || held.answers.len() >= MOST_ANSWERS {
            let Some(oldest) = held.order.first_key_value().map(|(_, key)| *key) else { break };
            held.forget(&oldest);
        }
        held.moments += 1;
        let now = held.moments;
        held.bytes += bytes;
        held.order.insert(now, key);
        held.answers.insert(key, (now, Arc::new(given)));
    }
}

impl Held {
    fn forget(&mut self, key: &Key) {
        if let Some((last, dropped)) = self.answers.remove(key) {
            self.order.remove(&last);
            self.bytes -= dropped.shaped.bytes();
        }
    }
}

impl Session {
    /// The question, where it may be asked again; `None`: it goes the whole path.
    pub(super) fn question(&self, asked: &Asked<'_>) -> Option<Question> {
        if self.refuse_while_pending("a question").is_err() || self.purpose().is_some() {
            return None;
        }
        let (catalog, principal) = (&self.server.catalog, self.acts_as().ok()?);
        let epoch = catalog.policies().epoch;
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            // A length before each part: no two lists of parts give the same bytes.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        add(asked.text);
        add(asked.kind);
        add(&format!("{:?}", asked.parameters));
        add(&format!("{:?} {}", principal.whenever(), self.role_created));
        add(&format!("{epoch} {}", catalog.statistics_epoch()));
        for (layer, name, value) in self.variables.chosen().filter(|(_, name, _)| *name != "application_name") {
            add(layer);
            add(name);
            add(value);
        }
        Some(Question { key: hash.finalize().into(), epoch })
    }

    /// What the question was answered with a moment ago, if it may be answered so now: the rules are those of then (they are part of the
    /// question), the data is as it was, and no grant of access shows more of it.
    pub(super) async fn given_before(&self, question: Option<&Question>) -> Option<Arc<Given>> {
        let question = question?;
        let given = self.server.recent.find(&question.key)?;
        let (policies, principal) = (self.server.catalog.policies(), self.acts_as().ok()?);
        let opened = |table: &String| policies.live_access(&principal, table, principal.at()).is_some();
        if policies.epoch != question.epoch || given.tables.iter().any(opened) {
            return None;
        }
        for (location, then) in &given.looked {
            if self.server.files.snapshot(location).await.ok()?.as_str() != then {
                return None;
            }
        }
        Some(given)
    }

    /// Keeps an answer for the next time, where the question is the only thing that it depends on.
    pub(super) fn keep_given(&self, question: Question, query: &ast::Query, around: &Surroundings, given: Given) {
        let context = &around.context;
        // As they were understood: a comment in the text hides nothing.
        let queries = std::iter::once(query).chain(context.views.values().map(|view| &view.query));
        let rules = context.tables.values().flat_map(|known| &known.table.row_policies);
        let rules = rules.filter_map(|rule| rule.using.clone());
        let constant = question.epoch == context.policies.epoch
            && context.access.is_empty()
            && context.purpose.is_none()
            && !queries.map(ast::Query::to_string).chain(rules).any(|text| may_vary(&text));
        if constant {
            self.server.recent.keep(question.key, given);
        }
    }

    /// The same answer once more, logged before it leaves.
    pub(super) async fn again(&mut self, asked: &Asked<'_>, given: &Given) -> Result<Shaped> {
        let mut entry: Entry = self.entry(asked)?;
        entry.tables.clone_from(&given.tables);
        entry.columns.clone_from(&given.columns);
        entry.protections.clone_from(&given.protections);
        let outcome = Outcome::Answered { rows: given.shaped.rows(), from_store: true, persons: given.persons };
        self.server.ledger.repeat(entry, outcome, asked.began.elapsed()).await?;
        self.notices.extend(given.notices.iter().cloned());
        Ok(given.shaped.clone())
    }
}

/// Does the text name anything that gives another value each time? Rather too often than not: then the whole path is gone.
fn may_vary(text: &str) -> bool {
    const VARYING: [&str; 13] = [
        "now(",
        "'now'",
        "current_",
        "local",
        "_timestamp",
        "random",
        "uuid",
        "timeofday",
        "age(",
        "today",
        "yesterday",
        "tomorrow",
        "nextval",
    ];
    let text: String = text.to_lowercase().split_whitespace().collect();
    VARYING.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::may_vary;

    #[test]
    fn what_time_or_chance_may_change_goes_the_whole_path() {
        for text in
            ["SELECT now ()", "SELECT CURRENT_DATE", "SELECT date 'today'", "SELECT gen_random_uuid()", "LOCALTIME"]
        {
            assert!(may_vary(text), "{text}");
        }
        assert!(!may_vary("SELECT function, count(*) FROM person GROUP BY 1"));
    }
}
