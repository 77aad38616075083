//! What a group of jobs keeps in memory until its commit, instead of writing it after each of them.
//!
//! In: rows, as each job leaves them. Out: the rows as the last job left them. Law: what a job finds here is what it would find in the
//! file, had every job before it that was done written its own; what a job that failed changed is forgotten with it.

use std::any::Any;
use std::collections::BTreeMap;

use rusqlite::Transaction;

use crate::error::Result;

/// Rows of one kind. Whoever reads them in a job reads them here and not in the file.
pub trait Kept: Any {
    /// The job is done: what it changed stays.
    fn keep(&mut self);
    /// The job failed.
    fn forget(&mut self);
    /// To be done once, before the commit.
    fn write(&self, tx: &Transaction) -> Result<()>;
}

/// A map that remembers what one job changed.
pub struct Rows<K, V> {
    now: BTreeMap<K, V>,
    before: Vec<(K, Option<V>)>,
}

impl<K: Ord + Clone, V> Rows<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.now.get(key)
    }

    pub fn put(&mut self, key: K, value: V) {
        let before = self.now.insert(key.clone(), value);
        self.before.push((key, before));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.now.iter()
    }

    pub fn keep(&mut self) {
        self.before.clear();
    }

    pub fn forget(&mut self) {
        while let Some((key, before)) = self.before.pop() {
            match before {
                Some(value) => self.now.insert(key, value),
                None => self.now.remove(&key),
            };
        }
    }
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), before: Vec::new() }
    }
}
