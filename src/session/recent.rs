//! Answers that were given a moment ago: a dashboard that refreshes is not compiled and run again.
//!
//! In: an answer whose every release lies in the answer store, under everything that it depends on: the statement and its parameters,
//! who asks and what they may, the session's settings, the rules, the identity of the data and of the scope. Out: the same rows, which
//! the store would give as well. Nothing new is told, so nothing is paid; it is logged like any other. Must never: keep an answer
//! that time alone changes, one whose rights hang on a purpose, or rows that are shown; those go the whole path each time.
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
use crate::release::Shaped;

/// All answers together.
const MOST_BYTES: usize = 64 << 20;

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

/// An answer, and what the log says of it.
pub(super) struct Given {
    pub shaped: Shaped,
    pub notices: Vec<Notice>,
    pub tables: Vec<String>,
    pub columns: Vec<String>,
    pub protections: String,
    pub persons: Option<u64>,
}

impl Recent {
    pub fn find(&self, key: &Key) -> Option<Arc<Given>> {
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

    pub fn keep(&self, key: Key, given: Given) {
        let bytes = given.shaped.bytes();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > MOST_BYTES / 4 || held.answers.contains_key(&key) {
            return;
        }
        while held.bytes + bytes > MOST_BYTES {
            let Some((_, oldest)) = held.order.pop_first() else { break };
            if let Some((_, dropped)) = held.answers.remove(&oldest) {
                held.bytes -= dropped.shaped.bytes();
            }
        }
        held.moments += 1;
        let now = held.moments;
        held.bytes += bytes;
        held.order.insert(now, key);
        held.answers.insert(key, (now, Arc::new(given)));
    }
}

impl Session {
    /// Everything that an answer depends on; nothing where it depends on more.
    ///
    /// `query`: what is asked, which is not always what was written: one ANALYZE asks many queries.
    pub(super) fn recent_key(&self, asked: &Asked<'_>, around: &Surroundings, query: &ast::Query) -> Option<Key> {
        let query = query.to_string();
        let views = around.context.views.values().map(|view| view.query.to_string());
        if self.purpose().is_some() || may_vary(&query) || views.into_iter().any(|text| may_vary(&text)) {
            return None;
        }
        let mut settings = self.all_settings();
        settings.remove("application_name");
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            // A length before each part: no two lists of parts give the same bytes.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        add(&query);
        add(&format!("{:?}", asked.parameters));
        add(&format!("{:?}", around.context.principal));
        add(&around.context.policies.epoch.to_string());
        add(&format!("{settings:?}"));
        for (name, table) in &around.context.tables {
            add(name);
            add(&format!("{} {:?} {:?}", table.snapshot, table.proven_keys, table.statistics));
            add(around.context.scopes.identity(name));
        }
        for (table, snapshot) in &around.scoping {
            add(&table.name);
            add(snapshot);
        }
        Some(hash.finalize().into())
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
